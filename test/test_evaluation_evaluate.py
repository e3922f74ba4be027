"""The evaluation command on a model whose answers are known: a box is its own mask."""

import argparse
import json
import math
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from focus_depth_ros.datasets import rgbd_folder
from focus_depth_ros.datasets.frame import LabelledFrame, Triplet
from focus_depth_ros.evaluation import evaluate, scoring
from focus_depth_ros.inference.focus_model import FocusMaps, FocusModel
from focus_depth_ros.inference.model_folder import read_model_folder
from focus_depth_ros.synthesis.sample import Sample, SceneObject, write_sample


def scene() -> Sample:
    """A block of 96 x 72 px before a wall, and a speck too small to be asked for."""
    ids = np.zeros((240, 320), np.uint8)
    ids[96:168, 96:192], ids[10:20, 10:20] = 1, 2
    depth_m = np.where(ids > 0, 0.5, 1.0).astype(np.float32)
    edges = (ids - cv2.erode(ids, np.ones((3, 3), np.uint8)) > 0).astype(np.uint8)
    objects = [
        SceneObject(1, 'block', 'red', 'plastic', (96, 96, 192, 168), 6912, ['the red mug']),
        SceneObject(2, 'block', 'blue', 'plastic', (10, 10, 20, 20), 100, []),
    ]
    calibration = np.array([[300.0, 0, 159.5], [0, 300.0, 119.5], [0, 0, 1]])
    rgb = np.full((240, 320, 3), 128, np.uint8)
    return Sample(rgb, depth_m, ids, edges, calibration, objects, ['the missing mug'])


@pytest.fixture
def arguments(tmp_path: Path, tiny_model: Path) -> argparse.Namespace:
    with tarfile.open(tmp_path / 'test-000000.tar', 'w') as shard:
        write_sample(shard, '000000', scene())
        write_sample(shard, '000001', scene())
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    output = tmp_path / 'figures.json'
    return parser.parse_args(
        ['--model', str(tiny_model), '--dataset', 'shards', str(tmp_path), '--output', str(output)]
    )


def test_figures_of_a_known_model(
    arguments: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.run(arguments) == 0
    group = json.loads(arguments.output.read_text())['groups']['rendered']
    assert group['frames'] == 2
    assert group['box']['targets'] == group['text']['targets'] == 2
    assert group['box']['iou_mean'] > 0.9
    assert group['box']['filled_box_iou_mean'] == 1.0
    assert group['absent'] == {
        'asked': 2,
        'rejected': 1.0,
        'confidence_median': 0.0,
        'best_threshold': {},  # no caption gives a right mask
    }
    # A constant's disparity is the mean of 2 (on 7012 px) and 1.
    mean = 1 + 7012 / 76800
    expected = abs(1 / mean - 0.5) / 0.5
    assert group['box']['median']['constant_foreground'] == pytest.approx(expected, rel=1e-3)
    # Of disparities 0.452 + 0.414 times what the model says, 1 + y + 0.5 on the target.
    shares = [group['box']['median'][f'delta{power}_global'] for power in (1, 2, 3)]
    assert shares == pytest.approx([0.838, 0.969, 0.999], abs=0.01)
    printed = capsys.readouterr().out
    assert 'metres unaligned, model: ' in printed
    assert 'rendered: 2 frames' in printed
    assert 'turned down 1.000' in printed


def write_real_frame(folder: Path, name: str, objects: dict[str, str]) -> Sample:
    """A frame of the rgbd_folder layout whose listing holds it alone."""
    frame = scene()
    cv2.imwrite(str(folder / f'{name}.rgb.jpg'), frame.rgb)
    cv2.imwrite(str(folder / f'{name}.depth.png'), (frame.depth_m * 1e4).astype(np.uint16))
    cv2.imwrite(str(folder / f'{name}.labels.png'), frame.ids)
    row = {
        'name': name,
        'K': frame.K.flatten().tolist(),
        'depth_unit_m': 1e-4,
        'objects': objects,
    }
    (folder / 'frames.json').write_text(json.dumps([row]))
    return frame


def scored(folder: Path, tiny_model: Path) -> dict[str, scoring.Scores]:
    groups: dict[str, scoring.Scores] = {}
    scoring.score(FocusModel(tiny_model), rgbd_folder.frames(folder), groups)
    return groups


class Told:
    """A model that answers what it was told, whatever it is asked, at the picture's size.

    The target is flat and has a speck beside it; the answer to nothing is the true depth, with a
    line of boundary at column 100 and another at 250.
    """

    def __init__(self, folder: Path, metric: float) -> None:
        self.folder = read_model_folder(folder)
        frame = scene()
        inverse_depth = np.stack((np.full_like(frame.depth_m, 2.0), 1 / frame.depth_m))
        mask, boundary = np.zeros((2, 2, 240, 320), np.float32)
        mask[0] = frame.ids == 1
        mask[0, 10:14, 300:304] = 1
        boundary[1, :, 100] = boundary[1, :, 250] = 0.9
        metrics = np.array([[metric, 0], [9, 9]], np.float32)
        self.maps = FocusMaps(inverse_depth, mask, boundary, np.ones(2, np.float32), metrics)

    def encode(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def focus(self, features: np.ndarray, boxes: np.ndarray, words: np.ndarray) -> FocusMaps:
        return self.maps


def told_scores(folder: Path, metric: float = 1.0) -> scoring.Scores:
    """Of the scene without depth in its lower rows, a boundary and a contact where Told has one."""
    frame = scene()
    frame.depth_m[200:] = 0
    line, contact = np.zeros((2, 240, 320), np.bool_)
    line[:, 100] = contact[:, 250] = True
    labelled = LabelledFrame(
        'a', 'told', frame.rgb, frame.depth_m, frame.ids.astype(np.int32), frame.K, {1: []},
        boundary=line, contact=contact,
    )  # fmt: skip
    groups: dict[str, scoring.Scores] = {}
    scoring.score(Told(folder, metric), [labelled], groups)  # type: ignore[arg-type]
    return groups['told']


def test_boundaries_and_the_yardstick_are_of_the_answer_to_nothing(tiny_model: Path) -> None:
    found = told_scores(tiny_model)
    assert found.unprompted_global == [pytest.approx(0, abs=1e-6)]
    boundary = found.boundaries.summary()
    assert (boundary['precision'], boundary['recall']) == (1.0, 1.0)  # contacts do not count


def test_figures_of_a_target_are_of_the_answer_to_it(tiny_model: Path) -> None:
    """Flat, it is a constant: the mean of 2 (on 7012 of 64000 px) and 1, instead of 2.

    By 200 px over 300 px x 224 / 320 its 2 are 0.525 m instead of 0.5 m.
    """
    (found,) = told_scores(tiny_model).targets['box']
    assert np.isfinite(list(found.values())).all()
    assert found['model_foreground'] == pytest.approx(2 / (1 + 7012 / 64000) - 1)
    assert found['metric_foreground'] == pytest.approx(0.05)
    assert found['iou'] == 1.0  # less the speck


def test_a_model_without_a_scale_has_no_figures_in_metres(tiny_model: Path) -> None:
    (found,) = told_scores(tiny_model, metric=0.0).targets['box']
    assert found and not [name for name in found if name.startswith('metric_')]


def test_thorough_figures_on_demand(
    arguments: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('scipy', reason='target clouds need scipy')
    arguments.thorough, arguments.frames = True, 1
    assert evaluate.run(arguments) == 0
    result = json.loads(arguments.output.read_text())
    median = result['groups']['rendered']['box']['median']
    assert {'edge_f1', 'cloud_flying', 'whdr_global', 'silog_foreground'} <= set(median)
    assert '--thorough' in result['command']
    edges = result['depth_edges']
    assert (edges['canny_low'], edges['canny_high'], edges['farthest_px']) == (0.15, 0.3, 10)
    assert edges['within_px_of_outline'] == 20
    printed = capsys.readouterr().out
    assert 'flying' in printed
    assert '(Canny 0.15 / 0.3)' in printed


def test_names_are_asked_for_if_the_model_has_a_word_of_them(
    tmp_path: Path, tiny_model: Path
) -> None:
    write_real_frame(tmp_path, 'desk_1', {'1': 'red mug', '2': 'speck'})
    groups = scored(tmp_path, tiny_model)
    assert list(groups) == ['desk']
    assert len(groups['desk'].targets['box']) == len(groups['desk'].targets['text']) == 1
    write_real_frame(tmp_path, 'desk_1', {'1': 'samovar', '2': 'speck'})
    unnamed = scored(tmp_path, tiny_model)['desk']
    assert not unnamed.targets['text']
    assert unnamed.unknown_words == 1


def test_a_depth_camera_is_a_yardstick(tmp_path: Path, tiny_model: Path) -> None:
    frame = write_real_frame(tmp_path, 'glass_1', {'1': 'object'})
    seen = frame.depth_m.copy()
    seen[96:168, 96:144] = 1.0  # half of the thing is seen through,
    seen[120:140, 150:170] = 0.0  # and there is a hole in the other half
    cv2.imwrite(str(tmp_path / 'glass_1.sensor_depth.png'), (seen * 1e4).astype(np.uint16))
    (found,) = scored(tmp_path, tiny_model)['glass+sensor'].targets['box']
    assert found['sensor_metric_foreground'] == pytest.approx(0.5, abs=0.01)  # 1 m for 0.5 m
    assert found['sensor_metric_delta1_foreground'] == pytest.approx(0.5, abs=0.06)  # on a half
    assert found['sensor_metric_global'] == pytest.approx(72 * 48 / 76800, abs=0.005)
    assert found['sensor_holes'] == pytest.approx(400 / (72 * 96))
    assert found['sensor_foreground'] < found['constant_foreground']
    cv2.imwrite(str(tmp_path / 'glass_1.sensor_depth.png'), np.zeros(seen.shape, np.uint16))
    (blind,) = scored(tmp_path, tiny_model)['glass+sensor'].targets['box']
    assert 'sensor_metric_foreground' not in blind
    both = evaluate._kind_summary([blind, found])['median']
    assert both['sensor_metric_foreground'] == found['sensor_metric_foreground']
    assert both == evaluate._kind_summary([found, blind])['median']


def summary_of(**columns: list[float]) -> dict[str, Any]:
    """The summary of as many targets as each column has values."""
    count = len(next(iter(columns.values())))
    plain = ('iou', 'filled_box_iou', 'confidence', 'improved_px', 'worsened_px')
    columns = {name: [0.0] * count for name in plain} | columns
    return evaluate._kind_summary(
        [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    )


def test_shares_and_quartiles_of_a_summary() -> None:
    """A mask of exactly half an IoU is not grounded; a confidence of one half is confident."""
    found = summary_of(
        iou=[0.1, 0.5, 0.6, 0.8, 1.0],
        confidence=[0.2, 0.5, 0.4, 0.9, 0.7],
        model_foreground=[4.0, 1.0, 2.0, 3.0, 10.0],
        metric_foreground=[math.nan, 0.2, math.nan, 0.4, math.nan],
        edge_accuracy_px=[math.nan] * 5,
    )
    assert (found['targets'], found['grounded'], found['confident']) == (5, 0.6, 0.6)
    assert found['iou_mean'] == pytest.approx(0.6)
    assert found['quartiles']['model_foreground'] == [2.0, 4.0]
    assert (found['median']['model_foreground'], found['mean']['model_foreground']) == (3.0, 4.0)
    assert found['quartiles']['metric_foreground'] == pytest.approx([0.25, 0.35])
    assert found['median']['metric_foreground'] == pytest.approx(0.3)
    assert 'edge_accuracy_px' not in found['median']


def test_the_table_of_targets_that_were_all_missed() -> None:
    """No mask, so no cloud whose distance there is; and no true edge of depth near the outline."""
    plain = ('boundary', 'foreground', 'global')
    columns = {f'{name}_{region}': [0.1] for name in ('model', 'delta1') for region in plain}
    group = summary_of(**columns, edge_f1=[0.0], cloud_f_1cm=[0.0], cloud_chamfer_m=[math.nan])
    printed = evaluate.table({'desk': {'frames': 1, 'unknown_words': 0, 'box': group}})
    assert 'Chamfer nan mm' in printed and 'eps_acc nan px' in printed


def test_r3_is_of_the_pixels_of_all_pictures() -> None:
    found = summary_of(improved_px=[300.0, 0.0, 60.0], worsened_px=[0.0, 80.0, 40.0])
    assert found['r3'] == 3.0
    assert 'r3' not in summary_of(improved_px=[300.0], worsened_px=[0.0])


def test_metres_are_scored_as_they_are_in_each_region() -> None:
    """A target of 4 of 8 pixels is 10 % too far, the rest twice as far as it is."""
    mask = np.zeros((2, 4), np.bool_)
    mask[:, :2] = True
    truth_m = np.full((2, 4), 2.0, np.float32)
    triplet = Triplet('a', 'box', np.zeros((2, 4, 3), np.uint8), mask, truth_m, None)
    metres = np.where(mask, np.float32(2.2), np.float32(4.0))
    regions = {'foreground': mask, 'global': np.ones_like(mask)}
    assert scoring.unaligned_scores('metric', metres, triplet, regions) == pytest.approx(
        {
            'metric_foreground': 0.1,
            'metric_delta1_foreground': 1.0,
            'metric_global': (0.1 + 1) / 2,
            'metric_delta1_global': 0.5,
            'metric_scale_error': 0.1,
        }
    )


def test_what_answers_depth_is_aligned_in_depth(
    arguments: argparse.Namespace, tmp_path: Path
) -> None:
    """Depth with a wrong scale and shift is right, its inverse is not; sky takes no part."""
    answered = np.linspace(1, 3, 48, dtype=np.float32).reshape(6, 8)
    truth_m = 2 * answered + 0.5
    inverse_depth = 1 / answered
    inverse_depth[0] = 0
    valid = np.ones((6, 8), bool)
    errors = {}
    for answers_depth in (True, False):
        model = SimpleNamespace(folder=SimpleNamespace(answers_depth=answers_depth))
        found = scoring.aligned(model, inverse_depth, truth_m, valid)
        errors[answers_depth] = np.abs(found - truth_m)[1:].max()
    assert errors[True] < 1e-5 < 0.1 < errors[False]
    arguments.model = Path(shutil.copytree(arguments.model, tmp_path / 'model'))
    manifest = json.loads((arguments.model / 'model.json').read_text())
    for flag, said in (({}, 'disparity'), ({'answers_depth': True}, 'depth')):
        (arguments.model / 'model.json').write_text(json.dumps(manifest | flag))
        assert evaluate.run(arguments) == 0
        assert json.loads(arguments.output.read_text())['aligned_in'] == said


def test_best_threshold_separates_what_can_be_separated() -> None:
    found = evaluate.best_threshold(np.array([0.4, 0.6, 0.8]), np.array([0.1, 0.2, 0.3, 0.5]))
    assert 0.3 < found['confidence'] <= 0.4
    assert found['right_accepted'] == 1.0
    assert found['absent_rejected'] == 0.75


def test_wrong_data_sets_are_said(arguments: argparse.Namespace, tmp_path: Path) -> None:
    arguments.dataset = [['cityscapes', str(tmp_path)]]
    with pytest.raises(ValueError, match=r'no data set .cityscapes.; there are: shards, fde_bench'):
        evaluate.run(arguments)
    arguments.dataset = [['nyu', str(tmp_path / 'elsewhere')]]
    with pytest.raises(ValueError, match='elsewhere does not exist'):
        evaluate.run(arguments)


def test_faults_are_found_before_anything_is_scored(
    arguments: argparse.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, 'score', lambda *_: pytest.fail('scored'))
    good = arguments.dataset
    (tmp_path / 'empty').mkdir()
    arguments.dataset = [*good, ['rgbd_folder', str(tmp_path / 'empty')]]
    with pytest.raises(ValueError, match=r'has no frames\.json'):
        evaluate.run(arguments)
    (tmp_path / 'empty' / 'frames.json').write_text('[]')
    with pytest.raises(ValueError, match='empty holds no frame'):
        evaluate.run(arguments)
    arguments.dataset, arguments.threads = good, -5
    with pytest.raises(ValueError, match='--threads is -5'):
        evaluate.run(arguments)
    arguments.threads, arguments.output = 1, Path('/proc/figures.json')
    with pytest.raises(ValueError, match='--output names a JSON file to write'):
        evaluate.run(arguments)


def test_a_bad_frame_costs_what_follows_it_alone(
    arguments: argparse.Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / 'test-000000.tar'
    whole = good.read_bytes()
    broken = tmp_path / 'broken'
    broken.mkdir()
    (broken / good.name).write_bytes(whole[: int(0.75 * len(whole))])
    arguments.dataset = [['shards', str(broken)], *arguments.dataset]
    assert evaluate.run(arguments) == 1
    fault = 'broken was scored up to a frame that cannot be used: '
    assert fault in capsys.readouterr().err
    result = json.loads(arguments.output.read_text())
    assert fault in result['incomplete'][0]
    assert [group['frames'] for group in result['groups'].values()] == [1, 2]


def test_frames_of_which_nothing_is_known_are_no_success(
    arguments: argparse.Namespace, tmp_path: Path
) -> None:
    unknown = scene()
    unknown.depth_m[:] = np.nan
    with tarfile.open(tmp_path / 'test-000000.tar', 'w') as shard:
        write_sample(shard, '000000', replace(unknown, boundary=0 * unknown.boundary))
    with pytest.raises(ValueError, match='nothing was scored: no frame has known depth'):
        evaluate.run(arguments)
    assert not arguments.output.exists()


def test_data_sets_of_one_kind_are_told_apart(arguments: argparse.Namespace) -> None:
    (first,) = arguments.dataset
    arguments.dataset, arguments.frames = [first, first], 1
    assert evaluate.run(arguments) == 0
    groups = json.loads(arguments.output.read_text())['groups']
    assert {name: group['frames'] for name, group in groups.items()} == {
        'rendered': 1,
        f'rendered of {first[1]}': 1,
    }
