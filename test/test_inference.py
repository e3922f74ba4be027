"""Model folders and what serves them: every fault a clear message, and an engine behind it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focus_depth_ros.inference.engine import EngineError
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.inference.model_folder import (
    BUILT_IN,
    ModelError,
    _identity,
    file_entry,
    read_model_folder,
)


def test_prompts_share_one_encoding(tiny_model: Path) -> None:
    model = FocusModel(tiny_model)
    features = model.encode(np.zeros((168, 224, 3), np.uint8))
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0, 0, 0, 0]], np.float32)
    words = np.array([[0] * 8, [3, 4, 0, 0, 0, 0, 0, 0]], np.int32)
    maps = model.focus(features, boxes, words)
    assert maps.mask.shape == (2, 84, 112) and maps.metric.shape == (2, 2)
    one = model.focus(features, boxes[:1], words[:1])
    assert np.array_equal(one.mask[0], maps.mask[0])
    many = model.focus(features, boxes.repeat(10, 0), words.repeat(10, 0))  # more than one batch
    assert np.array_equal(many.mask[::10], maps.mask) and many.confidence.shape == (20,)
    assert maps.mask[0, 10:40, 13:54].min() > 0.9 and maps.mask[1, 25:60, 30:80].min() > 0.9
    model.close()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'format': 2}, 'format 2'),
        ({'features': ['other']}, 'asks for'),
        ({'input': {'width': 64, 'height': 64}}, 'the manifest says'),
        ({'files': {}}, 'malformed'),
        ({'vocabulary': 3}, 'malformed'),
        ({'input': {'width': 1 << 40, 'height': 168}}, 'not in 1 to 4096'),
        ({'output': {'width': -112, 'height': 84}}, 'not in 1 to 4096'),
        ({'max_words': 10**9}, 'not in 1 to 512'),
        ({'max_words': float('inf')}, 'malformed'),
        ({'max_words': 1.5}, 'max_words is 1.5, no whole number'),
        ({'max_words': True}, 'max_words is True, no whole number'),
        ({'canonical_focal_px': float('inf')}, 'canonical_focal_px is inf, no focal length'),
        ({'canonical_focal_px': 0}, 'canonical_focal_px is 0, no focal length'),
        ({'vocabulary': ['word'] * (1 << 20)}, 'more than the 4194304 accepted'),
        ({'output': {'width': 56, 'height': 42}}, r'inverse_depth is float32 \(1, 84, 112\)'),
    ],
)
def test_manifests_that_disagree(
    tiny_model: Path, tmp_path: Path, change: dict, words: str
) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(tiny_model, folder)
    manifest = json.loads((folder / 'model.json').read_text())
    (folder / 'model.json').write_text(json.dumps(manifest | change))
    with pytest.raises(ModelError, match=words):
        FocusModel(folder)


def test_a_closed_model_answers_no_more(tiny_model: Path) -> None:
    model = FocusModel(tiny_model, 'onnxruntime')
    width, height = model.folder.input_size
    model.close()
    model.close()
    with pytest.raises(EngineError):
        model.encode(np.zeros((height, width, 3), np.uint8))
    assert not model.trouble
    with pytest.raises(EngineError, match='1 to 256 are possible'):
        FocusModel(tiny_model, 'onnxruntime', threads=2**31)


def test_a_word_that_the_graph_does_not_know_is_no_word(
    compact_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(compact_model, folder)
    manifest = json.loads((folder / 'model.json').read_text())
    manifest['vocabulary'] += ['more'] * 1000
    (folder / 'model.json').write_text(json.dumps(manifest))
    with pytest.raises(EngineError, match='inference failed'):
        FocusModel(folder, 'onnxruntime')


def test_a_manifest_nested_without_end(tmp_path: Path) -> None:
    (tmp_path / 'model.json').write_text('[' * 200_000)
    with pytest.raises(ModelError, match=r'model\.json: malformed'):
        read_model_folder(tmp_path)


def test_a_manifest_cannot_point_outside_its_folder(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(tiny_model, folder)
    manifest = json.loads((folder / 'model.json').read_text())
    manifest['files']['focus']['path'] = '../../etc/focus.onnx'
    (folder / 'model.json').write_text(json.dumps(manifest))
    assert read_model_folder(folder).focus == folder / 'focus.onnx'


def test_weights_beside_a_graph_are_part_of_which_model_it_is() -> None:
    def files(weights: str) -> dict[str, Any]:
        return {'focus': {'sha256': 'a', 'data': {'sha256': weights}}}

    assert _identity(files('b')) != _identity(files('c'))


def test_weights_that_no_checksum_covers(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(tiny_model, folder)
    (folder / 'focus.onnx.data').write_bytes(b'weights')
    with pytest.raises(ModelError, match='no checksum covers it'):
        read_model_folder(folder)
    manifest = json.loads((folder / 'model.json').read_text())
    manifest['files']['focus'] = file_entry(folder / 'focus.onnx')
    (folder / 'model.json').write_text(json.dumps(manifest))
    read_model_folder(folder)
    (folder / 'other.data').write_bytes(b'weights')
    manifest['files']['focus']['data'] = file_entry(folder / 'other.data')
    (folder / 'model.json').write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r'may lie in focus\.onnx\.data only'):
        read_model_folder(folder)


@pytest.mark.parametrize('graph', sorted(path.name for path in BUILT_IN.glob('*.onnx')))
def test_no_built_in_graph_counts_padding_that_is_none(graph: str) -> None:
    """ONNX Runtime up to 1.28, the last for Python 3.10, divides by cells beyond the map's end."""
    onnx = pytest.importorskip('onnx')
    for node in onnx.load(BUILT_IN / graph).graph.node:
        if node.op_type == 'AveragePool':
            settings = {one.name: one.i for one in node.attribute}
            assert not (settings.get('ceil_mode') and settings.get('count_include_pad')), node.name


@pytest.mark.skipif(
    not (BUILT_IN / 'model.json').is_file(), reason='no built-in model in this checkout'
)
def test_the_built_in_model() -> None:
    folder = read_model_folder(BUILT_IN)
    assert folder.licence == 'Apache-2.0'
    assert sum(path.stat().st_size for path in (folder.encoder, folder.focus)) < 20e6
    model = FocusModel(BUILT_IN)
    width, height = folder.input_size
    picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    boxes = np.array([[0.2, 0.2, 0.6, 0.7], [0, 0, 0, 0]], np.float32)
    maps = model.focus(model.encode(picture), boxes, np.zeros((2, folder.max_words), np.int32))
    for name in ('inverse_depth', 'mask', 'boundary'):
        values = getattr(maps, name)
        assert values.shape == (2, height // 2, width // 2) and np.isfinite(values).all()
    assert maps.mask.min() >= 0 and maps.mask.max() <= 1
