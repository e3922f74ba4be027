"""The int8 encoder: made beside the float one, taken where it answers alike, left where not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnx')

import onnx

from focus_depth_ros.inference.engine import EngineError
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.inference.model_folder import ModelError, read_model_folder
from focus_depth_ros.inference.self_check import check_picture
from focus_depth_ros.training.quantise import FILE_NAME, quantise


@pytest.fixture(scope='module')
def quantised(compact_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('int8') / 'model'
    shutil.copytree(compact_model, folder)
    seen = check_picture(read_model_folder(folder))
    noisy = [np.roll(seen, 7 * step, axis=(0, 1)) for step in range(8)]
    assert quantise(folder, noisy, 'rolled') == (folder / FILE_NAME).stat().st_size
    return folder


def test_it_is_taken_where_it_answers_alike(quantised: Path, compact_model: Path) -> None:
    entry = json.loads((quantised / 'model.json').read_text())['files']['encoder_int8']
    assert entry['calibrated_on'] == '8 pictures of rolled'
    assert entry['bytes'] < (quantised / 'encoder.onnx').stat().st_size
    model = FocusModel(quantised, 'onnxruntime')
    assert model.engine_name == 'onnxruntime CPU int8'
    assert model.facts()['engine self-check'].startswith('passed')
    model.close()
    for folder, precision in ((quantised, 'fp32'), (compact_model, 'auto')):
        model = FocusModel(folder, 'onnxruntime', precision=precision)
        assert model.engine_name == 'onnxruntime CPU fp32'
        model.close()


def test_it_names_no_operators_that_an_older_runtime_lacks(quantised: Path) -> None:
    graph = onnx.load(quantised / 'encoder.int8.onnx')
    assert [operators.domain for operators in graph.opset_import] == ['']


def test_it_is_left_where_it_does_not(quantised: Path, tmp_path: Path) -> None:
    """An encoder whose ranges were calibrated on black pictures."""
    folder = tmp_path / 'model'
    shutil.copytree(quantised, folder)
    quantise(folder, [np.zeros((56, 88, 3), np.uint8)], 'nothing')
    said: list[str] = []
    model = FocusModel(folder, 'onnxruntime', say=said.append)
    assert model.engine_name == 'onnxruntime CPU fp32'
    assert len(said) == 1 and 'onnxruntime int8: self-check failed' in said[0]
    model.close()


def test_an_altered_one_is_refused(quantised: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(quantised, folder)
    content = bytearray((folder / FILE_NAME).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / FILE_NAME).write_bytes(content)
    with pytest.raises(ModelError, match='altered'):
        FocusModel(folder, 'onnxruntime')


def test_a_folder_without_one_says_so(compact_model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    model = FocusModel(compact_model, 'onnxruntime', precision='int8', say=said.append)
    assert model.engine_name == 'onnxruntime CPU fp32' and 'focus-depth quantise' in said[0]
    model.close()
    with pytest.raises(ValueError, match='does not exist'):
        quantise(tmp_path / 'nothing', [], '')


def test_precisions_that_a_backend_does_not_have(compact_model: Path) -> None:
    from focus_depth_ros.inference.backends import backend_named
    from focus_depth_ros.inference.engine import LoadOptions

    with pytest.raises(EngineError, match='no fp16'):
        backend_named('onnxruntime').load(
            compact_model / 'encoder.onnx', LoadOptions(precision='fp16')
        )
