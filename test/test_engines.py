"""One contract for every engine that this machine has, on models made here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focus_depth_ros.inference import onnxruntime_engine, onnxruntime_tensorrt
from focus_depth_ros.inference.backends import AUTOMATIC, BACKENDS, REFERENCE, backend_named
from focus_depth_ros.inference.engine import (
    MAX_TARGETS,
    Engine,
    EngineError,
    LoadOptions,
    Preparation,
)
from focus_depth_ros.inference.engine_manifest import Machine
from focus_depth_ros.inference.fallback import reference_pair
from focus_depth_ros.inference.graph_file import refuse_external_data, weights_beside
from focus_depth_ros.inference.model_folder import read_model_folder
from focus_depth_ros.inference.onnxruntime_tensorrt import COMPLETE, _cache_folder, checksums

OPTIONS = LoadOptions()


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Path:
    """The compact network where torch is there to make one, else the graphs made of text."""
    try:
        return request.getfixturevalue('compact_model')
    except pytest.skip.Exception:
        return request.getfixturevalue('tiny_model')


@pytest.mark.parametrize('name', BACKENDS[1:])
class TestEveryEngine:
    """Loads, says what it takes and gives, answers what the reference answers, refuses, closes."""

    @pytest.fixture
    def load(self, name: str) -> Callable[..., Engine]:
        backend = backend_named(name)
        if reason := backend.missing():
            pytest.skip(reason)

        def load(graph: Path, keep: bool = False) -> Engine:
            options = LoadOptions(keep_outputs=keep)
            if backend.preparation(graph, options) is not Preparation.READY:
                pytest.skip(f'{name} would have to be built')
            return backend.load(graph, options)

        return load

    def test_it_answers_what_the_reference_answers(
        self, load: Callable[..., Engine], model: Path
    ) -> None:
        folder = read_model_folder(model)
        reference = reference_pair(folder, 1)
        encoder, focus = load(folder.encoder, keep=True), load(folder.focus)
        width, height = folder.input_size
        assert dict(encoder.input_shapes) == {'image': (1, height, width, 3)}
        assert set(encoder.output_names) == set(folder.features)
        assert focus.input_shapes['box'] == (None, 4)
        assert focus.input_shapes['words'] == (None, folder.max_words)
        rng = np.random.default_rng(0)
        picture = rng.integers(0, 255, (height, width, 3), np.uint8)
        features, expected = encoder.infer({'image': picture[None]}), reference.encode(picture)
        for name, value in expected.items():
            np.testing.assert_allclose(np.asarray(features[name]), value, atol=1e-4)
        first: dict[str, np.ndarray] = {}
        for targets in (2, 1, MAX_TARGETS):
            boxes = np.sort(rng.random((targets, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
            words = rng.integers(0, len(folder.vocabulary), (targets, folder.max_words), np.int32)
            answer = focus.infer({**features, 'box': boxes, 'words': words})
            wanted = reference.focus(expected, boxes, words)
            for output in focus.output_names:
                assert isinstance(answer[output], np.ndarray)
                assert answer[output].dtype == np.float32
                np.testing.assert_allclose(answer[output], getattr(wanted, output), atol=1e-4)
            if not first:
                first = answer
                copies = {output: values.copy() for output, values in answer.items()}
        for output, values in first.items():
            assert np.array_equal(values, copies[output]), 'a later run wrote into an answer'
        for engine in (encoder, focus):
            engine.close()

    def test_a_second_look_answers_what_the_references_does(
        self, load: Callable[..., Engine], compact_model: Path
    ) -> None:
        folder = read_model_folder(compact_model)
        assert folder.fovea is not None
        wanted, fovea = backend_named(REFERENCE).load(folder.fovea, OPTIONS), load(folder.fovea)
        assert dict(fovea.input_shapes) == dict(wanted.input_shapes)
        rng = np.random.default_rng(0)
        inputs = {
            name: rng.random(shape, np.float32) if name != 'words' else np.zeros(shape, np.int32)
            for name, shape in wanted.input_shapes.items()
        }
        inputs |= {name: np.array([[0.2, 0.3, 0.6, 0.8]], np.float32) for name in ('window', 'box')}
        expected, found = wanted.infer(inputs), fovea.infer(inputs)
        for output, values in expected.items():
            np.testing.assert_allclose(found[output], values, atol=1e-4)
        for engine in (wanted, fovea):
            engine.close()

    def test_inputs_that_do_not_fit(self, load: Callable[..., Engine], model: Path) -> None:
        encoder = load(model / 'encoder.onnx')
        for inputs in ({'image': np.zeros((1, 3), np.uint8)}, {}):
            with pytest.raises(EngineError):
                encoder.infer(inputs)
        encoder.close()

    @pytest.mark.parametrize('content', [b'', b'not a graph', bytes(1000)])
    def test_files_that_are_no_graphs(
        self, load: Callable[..., Engine], model: Path, tmp_path: Path, content: bytes
    ) -> None:
        (tmp_path / 'model.json').write_bytes((model / 'model.json').read_bytes())
        (tmp_path / 'encoder.onnx').write_bytes(content)
        with pytest.raises(EngineError, match=r'encoder\.onnx'):
            load(tmp_path / 'encoder.onnx')

    def test_truncated_graphs(
        self, load: Callable[..., Engine], model: Path, tmp_path: Path
    ) -> None:
        (tmp_path / 'model.json').write_bytes((model / 'model.json').read_bytes())
        content = (model / 'focus.onnx').read_bytes()
        for share in (0.1, 0.5, 0.99):
            (tmp_path / 'focus.onnx').write_bytes(content[: int(share * len(content))])
            with pytest.raises(EngineError, match=r'focus\.onnx'):
                load(tmp_path / 'focus.onnx')


def test_every_backend_is_there_or_says_why() -> None:
    for name in BACKENDS[1:]:
        backend = backend_named(name)
        assert backend.name == name and isinstance(backend.missing(), str)
    assert backend_named(REFERENCE).missing() == ''
    assert AUTOMATIC[-1] == REFERENCE
    with pytest.raises(EngineError, match='there are: auto'):
        backend_named('abacus')


def test_a_runtime_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__('sys').modules, 'torch', None)
    monkeypatch.delitem(
        __import__('sys').modules, 'focus_depth_ros.inference.torch_engine', raising=False
    )
    assert "'torch'" in backend_named('torch').missing()


def test_features_stay_on_the_device(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of the GPU providers, with the CPU as their device."""
    monkeypatch.setitem(onnxruntime_engine.DEVICES, onnxruntime_engine.CPU, 'cpu')
    keeping = onnxruntime_engine.OnnxRuntimeEngine(
        tiny_model / 'encoder.onnx', LoadOptions(keep_outputs=True)
    )
    focus = onnxruntime_engine.OnnxRuntimeEngine(tiny_model / 'focus.onnx', OPTIONS)
    features = keeping.infer({'image': np.full((1, 168, 224, 3), 51, np.uint8)})
    assert not isinstance(features['colour'], np.ndarray)
    assert np.allclose(np.asarray(features['colour']), 0.2)
    box = np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)
    answer = focus.infer({**features, 'box': box, 'words': np.zeros((1, 8), np.int32)})
    assert isinstance(answer['mask'], np.ndarray) and answer['mask'][0, 10:40, 13:54].min() > 0.9
    with pytest.raises(EngineError):
        focus.infer({'box': box})


class TestHostileGraphs:
    """Each ends in one clear error, before or while a runtime looks at it."""

    def write(self, folder: Path, location: str = '', dims: list[int] | None = None) -> Path:
        onnx = pytest.importorskip('onnx')
        text = """
        <ir_version: 8, opset_import: ["" : 17]>
        hostile (float[4] x) => (float[N] y) <int64[1] size, float[4] w>
        { big = ConstantOfShape (size)  sum = Add (x, w)  y = Concat <axis = 0> (sum, big) }
        """
        model = onnx.parser.parse_model(text)
        del model.graph.initializer[:]
        size = onnx.numpy_helper.from_array(np.array(dims or [3], np.int64), 'size')
        weight = onnx.numpy_helper.from_array(np.ones(4, np.float32), 'w')
        if location:
            weight.ClearField('raw_data')
            weight.data_location = onnx.TensorProto.EXTERNAL
            weight.external_data.add(key='location', value=location)
        model.graph.initializer.extend([size, weight])
        path = folder / 'hostile.onnx'
        path.write_bytes(model.SerializeToString())
        return path

    @pytest.mark.parametrize('location', ['../secret.bin', '/etc/passwd', 'beside.bin'])
    def test_weights_in_another_file(self, tmp_path: Path, location: str) -> None:
        (tmp_path / 'beside.bin').write_bytes(bytes(16))
        path = self.write(tmp_path, location)
        with pytest.raises(EngineError, match=r'hostile\.onnx.*another file'):
            refuse_external_data(path)
        with pytest.raises(EngineError, match='another file'):
            backend_named(REFERENCE).load(path, OPTIONS)

    def test_weights_beside_the_graph_are_the_manifests_to_check(self, tmp_path: Path) -> None:
        (tmp_path / 'hostile.onnx.data').write_bytes(bytes(16))
        refuse_external_data(self.write(tmp_path, 'hostile.onnx.data'))

    def test_a_second_place_is_not_overlooked(self, tmp_path: Path) -> None:
        onnx = pytest.importorskip('onnx')
        path = self.write(tmp_path, '../secret.bin')
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[1].external_data.add(key='location', value='hostile.onnx.data')
        path.write_bytes(model.SerializeToString())
        with pytest.raises(EngineError, match='another file'):
            refuse_external_data(path)

    def test_weights_in_another_file_of_an_inner_graph(self, tmp_path: Path) -> None:
        onnx = pytest.importorskip('onnx')
        outer = onnx.load(self.write(tmp_path))
        inner = onnx.load(self.write(tmp_path, '../secret.bin'), load_external_data=False)
        branch = onnx.helper.make_node('If', ['c'], ['z'], then_branch=inner.graph)
        outer.graph.node.append(branch)
        path = tmp_path / 'nested.onnx'
        path.write_bytes(outer.SerializeToString())
        with pytest.raises(EngineError, match='another file'):
            refuse_external_data(path)

    def test_a_field_that_runtimes_would_read_as_another(self, tmp_path: Path) -> None:
        path = tmp_path / 'cut.onnx'
        tensor = _varint(1 << 32 | 13 << 3 | 2) + _varint(0)
        graph = bytes([5 << 3 | 2]) + _varint(len(tensor)) + tensor
        path.write_bytes(bytes([7 << 3 | 2]) + _varint(len(graph)) + graph)
        with pytest.raises(EngineError, match='more than 32 bits'):
            refuse_external_data(path)

    def test_graphs_nested_without_end(self, tmp_path: Path) -> None:
        message = b''
        for _ in range(2000):  # graph 7, or node 1 > attribute 5 > graph 6, of protobuf's bytes
            for field in (6, 5, 1):
                message = bytes([field << 3 | 2]) + _varint(len(message)) + message
        path = tmp_path / 'deep.onnx'
        path.write_bytes(bytes([7 << 3 | 2]) + _varint(len(message)) + message)
        with pytest.raises(EngineError, match='nested'):
            refuse_external_data(path)

    @pytest.mark.parametrize('size', [1 << 44, 1 << 62])
    def test_shapes_beyond_all_memory(self, tmp_path: Path, size: int) -> None:
        graph, inputs = self.write(tmp_path, dims=[size]), {'x': np.zeros(4, np.float32)}
        # versions of ONNX Runtime differ in when they notice
        with pytest.raises(EngineError, match=r'inference failed|hostile\.onnx: not a graph'):
            backend_named(REFERENCE).load(graph, OPTIONS).infer(inputs)

    def test_operators_nobody_knows(self, tmp_path: Path) -> None:
        onnx = pytest.importorskip('onnx')
        model = onnx.load(self.write(tmp_path))
        model.graph.node[0].op_type, model.graph.node[0].domain = 'Shell', 'evil.example'
        model.opset_import.append(onnx.helper.make_opsetid('evil.example', 1))
        path = tmp_path / 'custom.onnx'
        path.write_bytes(model.SerializeToString())
        with pytest.raises(EngineError, match=r'custom\.onnx.*evil\.example'):
            backend_named(REFERENCE).load(path, OPTIONS)


def test_other_weights_beside_a_graph_are_another_graph_to_the_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    backend, graph = backend_named('onnxruntime_tensorrt'), tmp_path / 'encoder.onnx'
    graph.write_bytes(b'graph')
    weights_beside(graph).write_bytes(b'weights')
    built = _cache_folder(graph, OPTIONS)
    built.mkdir(parents=True)
    (built / 'x.engine').touch()
    (built / COMPLETE).write_bytes(checksums(built))
    assert backend.preparation(graph, OPTIONS) is Preparation.READY
    weights_beside(graph).write_bytes(b'trained anew')
    assert backend.preparation(graph, OPTIONS) is Preparation.ABSENT


def test_the_provider_is_given_a_profile_where_sizes_are_open(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(onnxruntime_tensorrt, 'find_cuda', lambda: None)
    given: dict[str, Any] = {}

    class Recorder(onnxruntime_engine.OnnxRuntimeEngine):
        def __init__(self, graph: Path, options: LoadOptions, *provider: Any) -> None:
            super().__init__(graph, options)
            given[graph.stem] = provider[-1] if provider else given.get(graph.stem)

    monkeypatch.setattr(onnxruntime_tensorrt, 'OnnxRuntimeEngine', Recorder)
    for name in ('encoder', 'focus'):
        backend_named('onnxruntime_tensorrt').load(tiny_model / f'{name}.onnx', OPTIONS).close()
    # the provider refuses an empty text: 'The value for the key ... should be a string of ...'
    assert not any('profile' in name for name in given['encoder'])
    ends = ('min', 'opt', 'max')
    profile = [given['focus'][f'trt_profile_{end}_shapes'] for end in ends]
    assert [text.split(',')[0] for text in profile] == ['box:1x4', 'box:1x4', 'box:8x4']


def test_another_gpu_or_tensorrt_has_engines_of_its_own_with_the_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = tmp_path / 'encoder.onnx'
    graph.write_bytes(b'graph')
    folders = set()
    for machine in (
        Machine('10.3.0', 'Orin (nvgpu)', '8.7', 'aarch64'),
        Machine('10.3.0', 'Orin NX', '8.7', 'aarch64'),
        Machine('10.7.0', 'Orin NX', '8.7', 'aarch64'),
    ):
        monkeypatch.setattr(onnxruntime_tensorrt, 'this_machine', lambda machine=machine: machine)
        folders.add(_cache_folder(graph, OPTIONS).parent.name)
    assert folders == {
        '10.3.0-Orin__nvgpu_-8.7-aarch64',
        '10.3.0-Orin_NX-8.7-aarch64',
        '10.7.0-Orin_NX-8.7-aarch64',
    }


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
