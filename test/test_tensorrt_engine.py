"""The whole way from graph to answer on TensorRT 10 and 11, with fakes that keep to the facts."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnxscript', reason="needs the 'tensorrt' extra")

import onnx.parser
from tensorrt_rig import Rig, install
from tensorrt_rig import rig as rig

from focus_depth_ros.inference.device_memory import DeviceArray
from focus_depth_ros.inference.engine import Cancelled, EngineError, LoadOptions, Preparation
from focus_depth_ros.inference.engine_cache import read_manifest
from focus_depth_ros.inference.engine_manifest import BuildSettings
from focus_depth_ros.inference.graph_file import graph_sha256
from focus_depth_ros.inference.onnxruntime_engine import OnnxRuntimeEngine
from focus_depth_ros.inference.tensorrt_backend import TensorRTBackend
from focus_depth_ros.inference.tensorrt_build import build_engine
from focus_depth_ros.inference.tensorrt_engine import TensorRTEngine

PICTURE = np.random.default_rng(0).integers(0, 256, (1, 168, 224, 3), np.uint8)
BOXES = np.random.default_rng(1).uniform(0.1, 0.9, (9, 4)).astype(np.float32)
WORDS = np.zeros((9, 8), np.int32)


def reference(tiny_model: Path, rows: int) -> tuple[dict[str, Any], dict[str, Any]]:
    encoder = OnnxRuntimeEngine(tiny_model / 'encoder.onnx', LoadOptions())
    focus = OnnxRuntimeEngine(tiny_model / 'focus.onnx', LoadOptions())
    features = encoder.infer({'image': PICTURE})
    return features, focus.infer({**features, 'box': BOXES[:rows], 'words': WORDS[:rows]})


@pytest.mark.parametrize(('precision', 'tolerance'), [('fp32', 1e-6), ('fp16', 4e-3)])
def test_build_and_infer(rig: Rig, tiny_model: Path, precision: str, tolerance: float) -> None:
    encoder = TensorRTEngine(rig.build(tiny_model / 'encoder.onnx', precision=precision), True)
    focus = TensorRTEngine(rig.build(tiny_model / 'focus.onnx', precision=precision))
    assert encoder.input_shapes == {'image': (1, 168, 224, 3)}
    assert focus.input_shapes['box'] == (None, 4) and encoder.output_names == ('colour',)
    assert focus.name == f'tensorrt {rig.trt.__version__} {precision}'
    for rows in (1, 3, 1, 8, 9, 3):  # new, new, again, most, more than was built for, again
        features = encoder.infer({'image': PICTURE})
        answers = focus.infer({**features, 'box': BOXES[:rows], 'words': WORDS[:rows]})
        wanted_features, wanted = reference(tiny_model, rows)
        for name, values in wanted.items():
            assert answers[name].dtype == values.dtype and answers[name].shape == values.shape
            steep = 40 if name in ('mask', 'boundary') else 1  # the tiny model's edges are steep
            assert np.mean(np.abs(answers[name] - values)) <= tolerance * steep
        assert np.allclose(features['colour'], wanted_features['colour'], atol=tolerance)
    assert len(rig.gpu.graphs) == 1 + 3, 'one CUDA graph for each number of targets'
    assert [build['profile'].get('box') for build in rig.trt.fake.builds] == [
        None,
        [(1, 4), (1, 4), (8, 4)],
    ]
    encoder.close()
    focus.close()


BRIGHTNESS = """
<ir_version: 8, opset_import: ["" : 17]>
brightness (float[1,3,84,112] colour, float[T,1] gain) => (float[T,1] bright)
{
  mean = ReduceMean <axes = [1, 2, 3], keepdims = 0> (colour)
  bright = Mul (gain, mean)
}
"""


@pytest.fixture
def chain(
    rig: Rig, tiny_model: Path, tmp_path: Path
) -> Iterator[tuple[TensorRTEngine, TensorRTEngine]]:
    """An encoder that keeps its features on the device, and a graph that tells their mean."""
    graph = tmp_path / 'brightness.onnx'
    onnx.save(onnx.parser.parse_model(BRIGHTNESS), graph)
    encoder = TensorRTEngine(rig.build(tiny_model / 'encoder.onnx', precision='fp32'), True)
    brightness = TensorRTEngine(rig.build(graph, precision='fp32'))
    yield encoder, brightness
    encoder.close()
    brightness.close()


def grey(value: int) -> np.ndarray:
    return np.full_like(PICTURE, value)


def test_features_stay_on_the_device(
    rig: Rig, chain: tuple[TensorRTEngine, TensorRTEngine]
) -> None:
    encoder, brightness = chain
    for value, rows in ((51, 1), (102, 1), (153, 2), (204, 1), (255, 2)):
        features = encoder.infer({'image': grey(value)})
        assert isinstance(features['colour'], DeviceArray)
        gain = np.arange(1, rows + 1, dtype=np.float32)[:, None]
        told = brightness.infer({**features, 'gain': gain})
        assert np.allclose(told['bright'], gain * value / 255, atol=1e-3)
    fetched = {'colour': np.asarray(features['colour'])}
    assert np.allclose(fetched['colour'], 1.0)
    fetched['colour'] /= 4
    gain = np.ones((1, 1), np.float32)
    assert np.allclose(brightness.infer({**fetched, 'gain': gain})['bright'], 0.25, atol=1e-3)
    assert np.allclose(brightness.infer({**features, 'gain': gain})['bright'], 1.0, atol=1e-3)


def test_features_of_an_earlier_picture(
    rig: Rig, chain: tuple[TensorRTEngine, TensorRTEngine]
) -> None:
    encoder, brightness = chain
    old = encoder.infer({'image': grey(51)})
    new = encoder.infer({'image': grey(102)})
    gain = np.ones((1, 1), np.float32)
    with pytest.raises(EngineError, match='earlier picture'):
        brightness.infer({**old, 'gain': gain})
    with pytest.raises(EngineError, match='earlier picture'):
        np.asarray(old['colour'])
    assert np.allclose(brightness.infer({**new, 'gain': gain})['bright'], 0.4, atol=1e-3)


def test_one_inference_is_on_its_way_at_most(
    rig: Rig, chain: tuple[TensorRTEngine, TensorRTEngine]
) -> None:
    encoder, _ = chain
    waiting = []
    for value in (0, 50, 100, 150, 200):
        features = encoder.infer({'image': grey(value)})
        waiting.append(sum(len(stream.queue) for stream in rig.gpu.streams.values()))
    assert waiting[1] > 0, 'nobody has waited for the encoder yet'
    assert waiting[1:] == [waiting[1]] * 4
    assert np.allclose(features['colour'], 200 / 255)


def test_answers_are_the_callers_own(rig: Rig, tiny_model: Path) -> None:
    encoder = TensorRTEngine(rig.build(tiny_model / 'encoder.onnx', precision='fp32'))
    first = encoder.infer({'image': PICTURE})['colour']
    before = first.copy()
    encoder.infer({'image': 255 - PICTURE})
    assert np.array_equal(first, before)
    encoder.close()


def test_wrong_inputs_are_named(rig: Rig, tiny_model: Path) -> None:
    focus = TensorRTEngine(rig.build(tiny_model / 'focus.onnx', precision='fp32'))
    colour = np.zeros((1, 3, 84, 112), np.float32)
    good = {'colour': colour, 'box': BOXES[:2], 'words': WORDS[:2]}
    for bad, words in (
        ({'box': BOXES[:2].astype(np.float64)}, 'box is float64'),
        ({'box': BOXES[:2, :3]}, r'box is float32 \(2, 3\)'),
        ({'words': WORDS[:3]}, r'words is int32 \(3, 8\)'),
        ({'box': BOXES[:0], 'words': WORDS[:0]}, '1 or more'),
        ({'colour': colour[:, :2]}, 'colour is'),
        ({'extra': colour}, 'wanted are'),
    ):
        with pytest.raises(EngineError, match=words):
            focus.infer({**good, **bad})
    with pytest.raises(EngineError, match='wanted are'):
        focus.infer({'box': BOXES[:2]})
    assert focus.infer(good)['mask'].shape == (2, 84, 112)
    focus.close()


def test_without_cuda_graphs(rig: Rig, tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig.gpu.can_capture = False
    encoder = TensorRTEngine(rig.build(tiny_model / 'encoder.onnx', precision='fp32'))
    for value in (51, 102):
        answer = encoder.infer({'image': np.full_like(PICTURE, value)})
        assert np.allclose(answer['colour'], value / 255)
    assert 'without a CUDA graph' in caplog.text and not rig.gpu.launches
    encoder.close()


def test_with_pycuda(rig: Rig, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, rig.trt, rig.gpu, 'pycuda.driver')
    encoder = TensorRTEngine(rig.build(tiny_model / 'encoder.onnx', precision='fp32'), True)
    focus = TensorRTEngine(rig.build(tiny_model / 'focus.onnx', precision='fp32'))
    for rows in (2, 1, 2):
        features = encoder.infer({'image': PICTURE})
        answers = focus.infer({**features, 'box': BOXES[:rows], 'words': WORDS[:rows]})
        for name, values in reference(tiny_model, rows)[1].items():
            assert np.allclose(answers[name], values, atol=1e-5)
    assert not rig.gpu.launches
    encoder.close()
    focus.close()
    del encoder, focus, features, answers


def test_a_gpu_that_is_lost(rig: Rig, tiny_model: Path) -> None:
    encoder = TensorRTEngine(rig.build(tiny_model / 'encoder.onnx', precision='fp32'))
    encoder.infer({'image': PICTURE})
    rig.gpu.lost = True
    for _ in range(2):
        with pytest.raises(EngineError, match='cudaErrorLaunchFailure'):
            encoder.infer({'image': PICTURE})
    encoder.close()


def test_a_gpu_that_is_full(rig: Rig, tiny_model: Path) -> None:
    engine = rig.build(tiny_model / 'encoder.onnx', precision='fp32')
    rig.gpu.memory_limit = 100_000
    with pytest.raises(EngineError, match='cudaErrorMemoryAllocation'):
        TensorRTEngine(engine)


def test_surprises_while_loading_are_told_and_leave_nothing_behind(
    rig: Rig, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(dtype: Any) -> None:
        raise TypeError('Could not resolve TensorRT datatype')

    engine = rig.build(tiny_model / 'encoder.onnx', precision='fp32')
    monkeypatch.setattr(rig.trt, 'nptype', unknown)
    with pytest.raises(EngineError, match='Could not resolve'):
        TensorRTEngine(engine)
    assert not rig.gpu.blocks


def test_progress_rises_to_the_end(rig: Rig, tiny_model: Path) -> None:
    rig.build(tiny_model / 'encoder.onnx')
    shares = [share for _, share in rig.heard]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert len(set(shares)) > 15
    assert rig.heard[-1][0] == 'encoder fp16: Building Engine'


def test_a_build_that_is_called_off(rig: Rig, tiny_model: Path) -> None:
    cancelled = threading.Event()
    heard: list[float] = []

    def call_off(what: str, share: float) -> None:
        heard.append(share)
        if share > 0.3:
            cancelled.set()

    arguments = (tiny_model / 'encoder.onnx', BuildSettings(), rig.cache, call_off)
    with pytest.raises(Cancelled):
        build_engine(*arguments, cancelled)
    assert heard[-1] < 0.5 and not rig.trt.fake.builds
    assert not list(rig.cache.folder.glob('*.engine'))


def test_settings_reach_the_builder(rig: Rig, tiny_model: Path) -> None:
    focus = tiny_model / 'focus.onnx'
    rig.build(focus, targets=4, workspace_mib=64)
    rig.build(focus, version_compatible=True, hardware_compatible=True)
    plain, portable = rig.trt.fake.builds
    assert plain['pools'] == {'WORKSPACE': 64 << 20} and plain['profile']['box'][2] == (4, 4)
    assert plain['flags'] == [] and portable['flags'] == ['VERSION_COMPATIBLE']
    assert portable['hardware'] == rig.trt.HardwareCompatibilityLevel.AMPERE_PLUS
    engine, _ = rig.cache.find(graph_sha256(focus), 'fp16', rig.machine)
    loaded = TensorRTEngine(engine)  # needs host code to be allowed
    loaded.close()


def test_of_several_builds_the_one_asked_for_last_serves(rig: Rig, tiny_model: Path) -> None:
    focus = tiny_model / 'focus.onnx'
    first, second = rig.build(focus), rig.build(focus, targets=2)
    assert rig.cache.find(graph_sha256(focus), 'fp16', rig.machine)[0] == second
    assert rig.build(focus) == first and len(rig.trt.fake.builds) == 2
    assert rig.cache.find(graph_sha256(focus), 'fp16', rig.machine)[0] == first


def test_faults_of_the_builder_are_told(rig: Rig, tiny_model: Path, tmp_path: Path) -> None:
    rig.trt.fake.build_error = 'could not find any implementation for node X'
    with pytest.raises(EngineError, match='implementation for node X'):
        rig.build(tiny_model / 'encoder.onnx')
    garbage = tmp_path / 'garbage.onnx'
    garbage.write_bytes(b'no graph at all')
    with pytest.raises(EngineError, match=r'garbage\.onnx'):
        rig.build(garbage)
    with pytest.raises(EngineError, match='int8 needs pictures'):
        rig.build(tiny_model / 'encoder.onnx', precision='int8')


def test_the_second_build_takes_the_first(
    rig: Rig, tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = rig.build(tiny_model / 'encoder.onnx')
    assert 'none was built yet' in caplog.text
    assert rig.build(tiny_model / 'encoder.onnx') == first
    assert len(rig.trt.fake.builds) == 1
    assert read_manifest(first).machine == rig.machine


def test_timings_are_kept_and_damaged_ones_replaced(rig: Rig, tiny_model: Path) -> None:
    rig.build(tiny_model / 'encoder.onnx')
    (timings,) = rig.cache.folder.glob('timings-*')
    assert timings.read_bytes() == b'measured '
    rig.build(tiny_model / 'focus.onnx')
    assert timings.read_bytes() == b'measured measured '
    timings.write_bytes(b'damaged')
    rig.build(tiny_model / 'encoder.onnx', precision='fp32')
    assert timings.read_bytes() == b'measured '


def test_cuda_that_cannot_be_set_up_is_told(rig: Rig, tiny_model: Path) -> None:
    """The bindings answer with a TypeError that says nothing (NVIDIA/TensorRT issue 2913)."""
    engine = rig.build(tiny_model / 'encoder.onnx', precision='fp32')
    rig.trt.fake.cuda_error = 'CUDA initialization failure with error: 35'
    for attempt in (
        lambda: TensorRTEngine(engine),
        lambda: rig.build(tiny_model / 'encoder.onnx', precision='fp16'),
    ):
        with pytest.raises(EngineError, match=r'could not set up CUDA: .* error: 35'):
            attempt()
    assert engine.exists()


@pytest.mark.parametrize('damage', ['truncated', 'altered', 'no manifest', 'manifest altered'])
def test_damaged_engines_are_refused_and_built_anew(
    rig: Rig, tiny_model: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    caplog.set_level(logging.INFO)
    engine = rig.build(tiny_model / 'encoder.onnx')
    plan, manifest = engine.read_bytes(), engine.with_suffix('.json')
    if damage == 'truncated':
        engine.write_bytes(plan[:-10])
    elif damage == 'altered':
        engine.write_bytes(plan[:-1] + bytes([plan[-1] ^ 1]))
    elif damage == 'no manifest':
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:-30])
    with pytest.raises(EngineError, match=engine.stem):
        TensorRTEngine(engine)
    assert rig.build(tiny_model / 'encoder.onnx') == engine and len(rig.trt.fake.builds) == 2
    TensorRTEngine(engine).close()
    reason = {
        'truncated': 'bytes, its manifest says',
        'altered': 'checksum',
        'no manifest': 'none was built yet',
        'manifest altered': 'unreadable manifest',
    }
    assert reason[damage] in caplog.text


def test_an_engine_that_tensorrt_refuses_is_discarded(rig: Rig, tiny_model: Path) -> None:
    engine = rig.build(tiny_model / 'encoder.onnx')
    rig.trt.fake.load_error = 'Version tag does not match'
    with pytest.raises(EngineError, match='Version tag does not match'):
        TensorRTEngine(engine)
    assert not engine.exists()
    rig.trt.fake.load_error = ''
    TensorRTEngine(rig.build(tiny_model / 'encoder.onnx')).close()


def test_an_engine_that_has_no_room_now_is_kept(rig: Rig, tiny_model: Path) -> None:
    engine = rig.build(tiny_model / 'encoder.onnx')
    for fault in (
        'IRuntime::deserializeCudaEngine: Error Code 2: OutOfMemory (Requested size was 9000.)',
        'Error Code 1: Cuda Runtime (unspecified launch failure)',
    ):
        rig.trt.fake.load_error = fault
        with pytest.raises(EngineError, match='cannot load it now'):
            TensorRTEngine(engine)
    rig.trt.fake.load_error = ''
    TensorRTEngine(engine).close()


def test_an_engine_of_a_larger_gpu_of_the_same_name(rig: Rig, tiny_model: Path) -> None:
    engine = rig.build(tiny_model / 'encoder.onnx')
    rig.gpu.multiprocessors = 8
    with pytest.raises(EngineError, match=r'for Fake GPU, 16 SMs .* this is Fake GPU, 8 SMs'):
        TensorRTEngine(engine)


def test_the_backend(rig: Rig, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, graph = TensorRTBackend(), tiny_model / 'encoder.onnx'
    options = LoadOptions(precision='fp16')
    assert backend.missing() == ''
    assert backend.preparation(graph, options) is Preparation.ABSENT
    with pytest.raises(EngineError, match='none was built yet'):
        backend.load(graph, options)
    backend.prepare(graph, options, lambda what, share: None, threading.Event())
    assert backend.preparation(graph, options) is Preparation.READY
    backend.load(graph, options).close()
    backend.remember_check(graph, options, {'passed': True, 'worst': 0.01})
    assert backend.preparation(graph, options) is Preparation.READY
    backend.remember_check(graph, options, {'passed': False})
    assert backend.preparation(graph, options) is Preparation.REFUSED
    rig.gpu.present = False
    assert 'no CUDA GPU' in backend.missing()
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert 'JetPack' in backend.missing()
    old = ModuleType('tensorrt')
    old.__version__ = '8.6.1'  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'tensorrt', old)
    assert 'too old' in backend.missing()
