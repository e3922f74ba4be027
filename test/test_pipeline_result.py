"""What one frame gives: where targets are, pictures of all of them, metres that they share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import CAMERA

from focus_depth_ros.core import Frame, InvalidInput, Target
from focus_depth_ros.inference.focus_model import FocusMaps, FocusModel
from focus_depth_ros.inference.model_folder import ModelFolder, read_model_folder
from focus_depth_ros.pipeline.cloud import viewing_rays
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline
from focus_depth_ros.pipeline.layers import separate
from focus_depth_ros.pipeline.overlay import TARGET_COLOURS, Mark, draw
from focus_depth_ros.pipeline.result import FocusResult, TargetResult, measure
from focus_depth_ros.pipeline.scale import Scale
from focus_depth_ros.pipeline.settings import Settings

BLACK = np.zeros((48, 64, 3), np.uint8)
FRAME = Frame(BLACK, CAMERA)


def test_where_a_target_is_off_the_axis() -> None:
    rays = viewing_rays(CAMERA)
    mask = np.zeros((48, 64), np.uint8)
    mask[4:16, 36:60] = 255
    z = np.tile(np.linspace(0.6, 1.4, 64, dtype=np.float32), (48, 1))
    points = np.concatenate((rays * z[..., None], z[..., None]), axis=-1)[mask > 0]
    found = measure(1 / z, mask, rays, 10.0)
    assert found is not None
    assert found.centroid_m == pytest.approx(points.mean(0), abs=1e-5)
    low, high = np.percentile(points, (2, 98), axis=0)
    assert found.box_centre_m == pytest.approx((low + high) / 2, abs=0.01)
    assert found.extent_m == pytest.approx(high - low, abs=0.02)
    quantiles = (found.depth_p05_m, found.depth_median_m, found.depth_p95_m)
    assert quantiles == pytest.approx(np.percentile(points[:, 2], (5, 50, 95)), abs=0.01)


def test_what_is_too_far_is_nowhere() -> None:
    z = np.full((48, 64), 12.0, np.float32)
    assert measure(1 / z, np.full((48, 64), 255, np.uint8), viewing_rays(CAMERA), 10.0) is None


def answer_of(confidence: float, inverse_depth: float, box: tuple[int, ...]) -> TargetResult:
    """A target that fills a box of cells (48, 64) of a picture of 256 x 192 px."""
    x0, y0, x1, y1 = box
    mask = np.zeros((48, 64), np.float32)
    mask[y0:y1, x0:x1] = 1
    layers = separate(np.full((48, 64), inverse_depth, np.float32), mask)
    target = Target(str(confidence), '', box=(0, 0, 1, 1))
    box_px = (4 * x0, 4 * y0, 4 * x1, 4 * y1)
    return TargetResult(target, confidence, Scale('model'), layers, box_px, (256, 192), None, 10.0)


def result_of(*answers: TargetResult) -> FocusResult:
    frame = Frame(np.zeros((192, 256, 3), np.uint8))
    return FocusResult(frame, answers, answers[0], np.full((48, 64), 0.5, np.float32))


def test_the_surest_target_wins_where_masks_overlap() -> None:
    sure, unsure = answer_of(0.9, 2.0, (10, 10, 40, 30)), answer_of(0.4, 1.0, (20, 15, 50, 40))
    for order in ((sure, unsure), (unsure, sure)):
        result = result_of(*order)
        assert result.inverse_depth[80, 120] == pytest.approx(2.0)
        assert result.inverse_depth[140, 180] == pytest.approx(1.0)
        assert result.labels[80, 120] == 1 + order.index(sure)
        assert result.labels[140, 180] == 1 + order.index(unsure)
        assert np.array_equal(result.labels > 0, result.mask)


def test_points_to_grasp_keep_half_a_cell_from_the_edge() -> None:
    result = result_of(answer_of(0.9, 2.0, (10, 10, 40, 30)))
    wanted = cv2.erode(result.mask.view(np.uint8), np.ones((5, 5), np.uint8))
    assert np.array_equal(result.grasp_mask, wanted > 0)
    assert result.grasp_mask.sum() < result.mask.sum()


def test_the_rim_of_points_to_grasp_is_half_a_cell_each_way() -> None:
    answer = replace(answer_of(0.9, 2.0, (10, 10, 40, 30)), size=(256, 480))
    frame = Frame(np.zeros((480, 256, 3), np.uint8))
    result = FocusResult(frame, (answer,), answer, np.full((48, 64), 0.5, np.float32))
    window = np.ones((11, 5), np.uint8)  # cells of 4 px across, 10 down
    assert np.array_equal(result.grasp_mask, cv2.erode(result.mask.view(np.uint8), window) > 0)


def test_masks_of_neighbours_are_all_there() -> None:
    one, other = answer_of(0.9, 2.0, (10, 10, 30, 30)), answer_of(0.4, 1.0, (30, 15, 50, 40))
    both, alone = result_of(one, other), (result_of(one), result_of(other))
    assert np.array_equal(both.mask, alone[0].mask | alone[1].mask)
    assert np.array_equal(both.grasp_mask, alone[0].grasp_mask | alone[1].grasp_mask)


def test_a_boundary_is_255_times_its_probability() -> None:
    result = result_of(answer_of(0.9, 2.0, (10, 10, 40, 30)))
    assert result.boundary.shape == (192, 256)
    assert set(np.unique(result.boundary)) <= {127, 128}


def test_boundaries_are_those_of_every_target(tiny_model: Path) -> None:
    left, right = 64 * 20.5 / 112, 64 * 80.5 / 112  # on cells' middles: the model says 1 there
    targets = [Target('a', '', box=(left, 5, 30, 40)), Target('b', '', box=(right, 5, 60, 40))]
    cells = FocusPipeline(FocusModel(tiny_model))(FRAME, targets).boundary_cells
    assert cells[40, 20] > 0.9 and cells[40, 80] > 0.9


class Answers:
    """Two targets: the second is the surer one; the first one's depth is 4 times as steep.

    By itself the first one would say that all is 1.6 times as near.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.depth = np.random.default_rng(0).uniform(1, 2, (84, 112)).astype(np.float32)
        mask = np.zeros((2, 84, 112), np.float32)
        mask[0, 10:40, 10:40], mask[1, 10:40, 60:90] = 1, 1
        self.maps = FocusMaps(
            np.stack((4 * self.depth - 1, self.depth)), mask, np.zeros_like(mask),
            np.array([0.6, 0.9], np.float32), np.array([[0.4, 0.4], [1, 0]], np.float32),
        )  # fmt: skip

    def encode(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def focus(self, features: np.ndarray, boxes: np.ndarray, words: np.ndarray) -> FocusMaps:
        return self.maps


@pytest.fixture
def answers(tiny_model: Path) -> Answers:
    return Answers(read_model_folder(tiny_model))


TWO = [Target('a', '', box=(5.0, 5.0, 25.0, 25.0)), Target('b', '', box=(34.0, 5.0, 52.0, 25.0))]


def test_targets_stand_in_the_mean_of_their_metres(answers: Answers) -> None:
    result = FocusPipeline(answers)(FRAME, TWO)
    factor = 200 / (60 * 3.5)  # canonical over this camera's focal length, both at 224 px
    factor *= 1.6 ** (0.6 / (0.6 + 0.9))
    first, second = result.targets
    assert result.view.target is second.target
    assert result.view.scale == second.scale
    assert (second.scale.scale, second.scale.shift) == pytest.approx((factor, 0))
    assert np.allclose(first.scaled(4 * answers.depth - 1), factor * answers.depth, rtol=1e-4)


def test_what_is_not_found_has_no_say_in_metres(answers: Answers) -> None:
    result = FocusPipeline(answers, Settings(min_confidence=0.7))(FRAME, TWO)
    assert [target.found for target in result.targets] == [False, True]
    assert result.targets[1].scale.scale == pytest.approx(200 / (60 * 3.5))


def test_a_target_stands_where_the_depth_camera_measured_it(answers: Answers) -> None:
    """The first is a tenth nearer than the picture's scale makes it, the second as it is."""
    nearness = 2 * answers.depth + 0.5
    nearness[10:40, 10:40] *= 1.1
    reference = (1 / nearness).astype(np.float32)
    result = FocusPipeline(answers)(FRAME, TWO, reference)
    first, second = result.targets
    assert result.scale.source == first.scale.source == 'reference_depth'
    assert (result.scale.scale, result.scale.shift) == pytest.approx((2, 0.5), rel=1e-3)
    on_first, on_second = np.s_[12:38, 12:38], np.s_[12:38, 62:88]
    assert np.allclose(first.scaled(first.layers.inside)[on_first], nearness[on_first], rtol=0.002)
    assert np.allclose(second.scaled(second.layers.inside)[on_second], nearness[on_second], 0.002)
    depth_m = cv2.resize(result.depth_m, (112, 84), interpolation=cv2.INTER_NEAREST_EXACT)
    behind = np.s_[50:80, 5:100]
    assert np.median(depth_m[behind] * nearness[behind]) == pytest.approx(1, abs=0.02)
    assert np.median(depth_m[on_first] * nearness[on_first]) == pytest.approx(1, abs=0.02)


def test_without_a_camera_targets_share_a_space_too(answers: Answers) -> None:
    result = FocusPipeline(answers)(Frame(BLACK), TWO)
    first, second = result.targets
    assert result.depth_m is None
    assert first.scale.source == second.scale.source == 'none'
    assert np.allclose(first.scaled(4 * answers.depth - 1), answers.depth, rtol=1e-4)


def test_a_network_that_answers_nan_is_left_out(answers: Answers) -> None:
    answers.maps.inverse_depth[0, 3, 3] = np.nan
    with pytest.raises(InvalidInput, match='answered NaN'):
        FocusPipeline(answers)(FRAME, TWO)


def test_farther_than_max_depth_is_nan(answers: Answers) -> None:
    depth_m = FocusPipeline(answers, Settings(max_depth_m=0.7))(FRAME, TWO).depth_m
    assert np.nanmax(depth_m) <= 0.7 and np.isnan(depth_m).any()


def test_specks_are_no_part_of_a_target(answers: Answers) -> None:
    answers.maps.mask[1, 70:72, 5:7] = 1
    result = FocusPipeline(answers)(FRAME, TWO)
    wanted = (64 * 60 / 112, 48 * 10 / 84, 64 * 90 / 112, 48 * 40 / 84)
    assert result.targets[1].box == pytest.approx(wanted)


def test_no_metres_without_a_scale_or_a_reference(answers: Answers) -> None:
    answers.maps.metric[1] = 0
    assert FocusPipeline(answers)(FRAME, TWO).depth_m is None
    answers.maps.metric[1] = 1
    assert FocusPipeline(answers)(FRAME, TWO).depth_m is not None
    asked = FocusPipeline(answers, Settings(scale_source='reference_depth'))
    assert asked(FRAME, TWO).depth_m is None


@pytest.mark.parametrize(
    ('asked', 'source'),
    [
        ('auto', 'reference_depth'),
        ('reference_depth', 'reference_depth'),
        ('model', 'model'),
        ('none', 'none'),
    ],
)
def test_metres_come_from_what_was_asked(answers: Answers, asked: str, source: str) -> None:
    pipeline = FocusPipeline(answers, Settings(scale_source=asked))
    result = pipeline(FRAME, TWO, reference_depth_m=1 / answers.depth)
    assert result.scale.source == source
    assert all(target.found for target in result.targets)
    has_metres = [target.geometry is not None for target in result.targets]
    assert has_metres == [source != 'none'] * 2
    assert (result.depth_m is not None) == (source != 'none')


def test_masks_are_outlined_and_any_caption_is_drawn() -> None:
    rgb, nothing = np.full((48, 64, 3), 100, np.uint8), np.zeros((48, 64), np.uint8)
    mask = np.zeros((48, 64), np.bool_)
    mask[26:44, 30:50] = True
    mask[32:38, 37:43] = False
    seen = draw(rgb, nothing, [Mark('a', True, None, mask)])
    drawn = (seen == TARGET_COLOURS[0]).all(-1)
    rim = mask & ~cv2.erode(mask.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
    assert drawn[rim].all(), 'that of its hole, too'
    assert not drawn[20:][
        ~cv2.dilate(rim.view(np.uint8), np.ones((5, 5))).view(np.bool_)[20:]
    ].any()
    assert (rgb == 100).all()
    draw(rgb, nothing, [Mark('mug \udc80', True, None, mask)])


def test_captions_of_targets_side_by_side_do_not_cover_each_other() -> None:
    rgb, nothing = np.full((480, 640, 3), 100, np.uint8), np.zeros((480, 640), np.uint8)
    boxes = [(300.0, 100.0, 400.0, 200.0), (310.0, 104.0, 420.0, 220.0), (630.0, 0.0, 700.0, 9.0)]
    seen = draw(rgb, nothing, [Mark('the red mug 0.71 m', True, box, None) for box in boxes])
    for colour in TARGET_COLOURS[:3]:  # a plate is of its target's colour but for the letters
        assert 1500 < (seen == colour).all(-1).sum() < 6000
