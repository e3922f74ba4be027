"""The int8 graphs: made beside the float ones, taken where they answer alike, left where not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnx')

import onnx

from focus_depth_ros.datasets.frame import LabelledFrame
from focus_depth_ros.inference.engine import EngineError
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.inference.model_folder import BUILT_IN, ModelError, read_model_folder
from focus_depth_ros.inference.self_check import check_picture, check_prompts
from focus_depth_ros.training.quantise import asked_about, quantise


@pytest.fixture(scope='module')
def quantised(compact_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('int8') / 'model'
    shutil.copytree(compact_model, folder)
    opened = read_model_folder(folder)
    seen, (boxes, words) = check_picture(opened), check_prompts(opened)
    asked = [(np.roll(seen, 7 * step, axis=(0, 1)), boxes, words) for step in range(8)]
    files = quantise(folder, asked, 'rolled')
    assert files == [folder / 'encoder.int8.onnx', folder / 'focus.int8.onnx']
    return folder


def test_they_are_taken_where_they_answer_alike(quantised: Path, compact_model: Path) -> None:
    files = json.loads((quantised / 'model.json').read_text())['files']
    for part in ('encoder', 'focus'):
        assert files[f'{part}_int8']['calibrated_on'] == '8 pictures of rolled'
    model = FocusModel(quantised, 'onnxruntime')
    assert model.engine_name == 'onnxruntime CPU int8'
    assert model.facts()['engine self-check'].startswith('passed')
    model.close()
    for folder, precision in ((quantised, 'fp32'), (compact_model, 'auto')):
        model = FocusModel(folder, 'onnxruntime', precision=precision)
        assert model.engine_name == 'onnxruntime CPU fp32'
        model.close()


def test_a_model_whose_manifest_cannot_be_written_stays(
    compact_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(compact_model, folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError('no space left')

    monkeypatch.setattr(Path, 'write_text', full)
    opened = read_model_folder(folder)
    asked = [(check_picture(opened), *check_prompts(opened))]
    with pytest.raises(OSError, match='no space'):
        quantise(folder, asked, 'nothing')
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_the_built_in_ones_are_smaller() -> None:
    files = json.loads((BUILT_IN / 'model.json').read_text())['files']
    for part, share in (('encoder', 0.4), ('focus', 0.6)):
        assert files[f'{part}_int8']['bytes'] < share * files[part]['bytes']


def test_a_folder_may_hold_the_encoder_alone(quantised: Path, tmp_path: Path) -> None:
    """As those of former versions do."""
    folder = tmp_path / 'model'
    shutil.copytree(quantised, folder)
    manifest = json.loads((folder / 'model.json').read_text())
    del manifest['files']['focus_int8']
    (folder / 'model.json').write_text(json.dumps(manifest))
    opened = read_model_folder(folder)
    assert opened.quantised_graphs == (folder / 'encoder.int8.onnx', *opened.graphs[1:])
    model = FocusModel(folder, 'onnxruntime')
    assert model.engine_name == 'onnxruntime CPU int8'
    model.close()


@pytest.mark.parametrize('part', ['encoder', 'focus'])
def test_they_name_no_operators_that_an_older_runtime_lacks(quantised: Path, part: str) -> None:
    graph = onnx.load(quantised / f'{part}.int8.onnx')
    assert [operators.domain for operators in graph.opset_import] == ['']


def convolutions(path: Path) -> dict[str, bool]:
    """Which of a graph's convolutions are int8, by name."""
    graph = onnx.load(path).graph
    made = {name: node.op_type for node in graph.node for name in node.output}
    return {
        node.name: made.get(node.input[1]) == 'DequantizeLinear'
        for node in graph.node
        if node.op_type == 'Conv'
    }


def test_what_gives_the_answers_stays_float(quantised: Path) -> None:
    is_int8 = convolutions(quantised / 'focus.int8.onnx')
    assert is_int8['/focus/refine4/refine4.0/refine4.0.0/Conv']
    assert not is_int8['/focus/depth_and_mask/Conv']
    assert not is_int8['/focus/boundary_head/Conv']


def test_what_the_trunk_does_first_stays_float(quantised: Path) -> None:
    is_int8 = convolutions(quantised / 'encoder.int8.onnx')
    trunk = {name.removeprefix('/encoder/trunk/'): kind for name, kind in is_int8.items()}
    first = [kind for name, kind in trunk.items() if name.startswith(('stem', 'first', 'stages.0'))]
    rest = [kind for name, kind in trunk.items() if name.startswith('stages.1')]
    assert len(first) == 9 and not any(first)
    assert len(rest) == 3 and all(rest)


def test_every_kind_of_question_is_asked(compact_model: Path) -> None:
    ids = np.zeros((60, 80), np.int32)
    ids[20:40, 10:30], ids[20:40, 50:70] = 1, 2
    rgb, depth_m = np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), np.float32)
    captions = {1: ['7'], 2: ['no word that it knows']}
    frame = LabelledFrame('a', 'b', rgb, depth_m, ids, None, captions, ['9'])
    ((picture, boxes, words),) = asked_about([frame], read_model_folder(compact_model))
    assert picture is rgb
    kinds = list(zip(boxes.any(1).tolist(), words.any(1).tolist(), strict=True))
    box, text, nothing = (True, False), (False, True), (False, False)
    assert kinds == [box, text, box, text, nothing]


def test_they_are_left_where_they_do_not(quantised: Path, tmp_path: Path) -> None:
    """Graphs whose ranges were calibrated on a black picture."""
    folder = tmp_path / 'model'
    shutil.copytree(quantised, folder)
    nothing = np.zeros((1, 4), np.float32), np.zeros((1, 8), np.int32)
    quantise(folder, [(np.zeros((56, 88, 3), np.uint8), *nothing)], 'nothing')
    said: list[str] = []
    model = FocusModel(folder, 'onnxruntime', say=said.append)
    assert model.engine_name == 'onnxruntime CPU fp32'
    assert len(said) == 1 and 'onnxruntime int8: self-check failed' in said[0]
    model.close()


def test_an_altered_one_is_refused(quantised: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(quantised, folder)
    file = folder / 'focus.int8.onnx'
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match='altered'):
        FocusModel(folder, 'onnxruntime')


def test_a_folder_without_one_says_so(compact_model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    model = FocusModel(compact_model, 'onnxruntime', precision='int8', say=said.append)
    assert model.engine_name == 'onnxruntime CPU fp32' and 'focus-depth quantise' in said[0]
    model.close()
    with pytest.raises(ModelError, match='does not exist'):
        quantise(tmp_path / 'nothing', [], '')
    with pytest.raises(ValueError, match='no picture'):
        quantise(compact_model, [], '')


def test_precisions_that_a_backend_does_not_have(compact_model: Path) -> None:
    from focus_depth_ros.inference.backends import backend_named
    from focus_depth_ros.inference.engine import LoadOptions

    with pytest.raises(EngineError, match='no fp16'):
        backend_named('onnxruntime').load(
            compact_model / 'encoder.onnx', LoadOptions(precision='fp16')
        )
