"""Scores of target clouds, on points whose distances are known."""

import numpy as np
import pytest

pytest.importorskip('scipy', reason='cloud scores need scipy (extra: train)')

from focus_depth_ros.datasets.frame import Triplet
from focus_depth_ros.evaluation.cloud_metrics import (
    back_projected,
    cloud_score,
    flying_pixel_ratio,
)
from focus_depth_ros.evaluation.thorough import thorough_scores

K = np.array([[100.0, 0, 15.5], [0, 100.0, 11.5], [0, 0, 1]])


def grid() -> 'np.ndarray':
    """A board of 11 x 11 points every 5 cm at 1 m."""
    x, y = np.meshgrid(np.arange(11) * 0.05, np.arange(11) * 0.05)
    return np.stack([x.ravel(), y.ravel(), np.ones(121)], axis=1)


def test_a_board_seven_millimetres_too_far() -> None:
    found = cloud_score(grid() + np.array([0, 0, 0.007]), grid())
    assert found.chamfer_m == pytest.approx(0.007)
    assert (found.f_score_5mm, found.f_score_1cm) == (0.0, 1.0)
    assert found.centroid_error_m == pytest.approx(0.007)


def test_half_a_board_is_precise_but_not_complete() -> None:
    """Columns 0 to 5 of 11: nearest distances of the rest are 5 to 25 cm."""
    half = grid()[grid()[:, 0] < 0.26]
    found = cloud_score(half, grid())
    recall = 6 / 11
    assert found.f_score_5mm == pytest.approx(2 * recall / (1 + recall))
    assert found.chamfer_m == pytest.approx(0.05 * (1 + 2 + 3 + 4 + 5) / 11 / 2)
    assert found.centroid_error_m == pytest.approx(0.125)


def test_no_points_score_nothing() -> None:
    found = cloud_score(np.zeros((0, 3)), grid())
    assert np.isnan(found.chamfer_m)
    assert found.f_score_1cm == 0


def test_back_projection() -> None:
    depth_m = np.full((24, 32), 2.0, np.float32)
    region = np.zeros((24, 32), np.bool_)
    region[21, 25] = True
    points = back_projected(depth_m, region, K)
    assert points[0].tolist() == pytest.approx([(25 - 15.5) / 100 * 2, (21 - 11.5) / 100 * 2, 2.0])


def test_flying_pixels_are_those_between_object_and_background() -> None:
    truth_m = np.full((24, 32), 1.5, np.float32)
    truth_m[:, :16] = 1.0
    target = np.zeros((24, 32), np.bool_)
    target[:, 6:16] = True
    depth_m = truth_m.copy()
    depth_m[:, 14:16] = [1.2, 1.4]  # a soft edge
    depth_m[:, 6] = 1.015  # 1.5 cm off: still on the surface
    assert flying_pixel_ratio(depth_m, truth_m, target, target, K) == pytest.approx(0.2)
    truth_m[:, 14:16] = np.nan
    assert flying_pixel_ratio(depth_m, truth_m, target, target, K) == 0
    assert flying_pixel_ratio(depth_m, truth_m, target, ~np.isfinite(truth_m), K) == 0
    assert np.isnan(flying_pixel_ratio(depth_m, truth_m, ~np.isfinite(truth_m), target, K))


def test_a_point_between_a_thin_object_and_its_table_flies() -> None:
    """A step of 3 cm, so that the middle is within 2 cm of either; 10 points, 5 on the object.

    Of those beside it two are in between (12 and 15 mm behind the object), one is 2 mm behind the
    object and so 2.8 cm before the table, and two are within 5 mm of the table.
    """
    truth_m = np.full((24, 32), 1.03, np.float32)
    visible, published = np.zeros((24, 32), np.bool_), np.zeros((24, 32), np.bool_)
    visible[:, :11], published[:, 6:16] = True, True
    truth_m[visible] = 1.0
    depth_m = truth_m.copy()
    depth_m[:, 10] = 1.015  # on the object's ray: hidden, and within 2 cm of its surface
    depth_m[:, 11:16] = [1.012, 1.002, 1.015, 1.028, 1.03]
    assert flying_pixel_ratio(depth_m, truth_m, published, visible, K) == pytest.approx(0.3)


def test_thorough_scores_of_the_truth_and_of_a_soft_edge() -> None:
    truth_m = np.full((96, 128), 1.5, np.float32)
    mask = np.zeros((96, 128), np.bool_)
    mask[30:70, 40:90] = True
    truth_m[mask] = 1.0
    truth_m[:4] = np.nan
    valid = np.isfinite(truth_m)
    camera = np.array([[100.0, 0, 63.5], [0, 100.0, 47.5], [0, 0, 1]])
    triplet = Triplet('a', 'box', np.zeros((96, 128, 3), np.uint8), mask, truth_m, camera)
    depth_m = np.where(valid, truth_m, 1.5).astype(np.float32)
    right = thorough_scores(depth_m, mask, triplet, valid)
    assert right['edge_f1'] == right['cloud_f_5mm'] == pytest.approx(1)
    for name in set(right) - {'edge_f1', 'cloud_f_5mm', 'cloud_f_1cm'}:
        assert right[name] == pytest.approx(0, abs=1e-5), name
    rows = np.abs(np.arange(96) - 49.5)[:, None] - 20
    columns = np.abs(np.arange(128) - 64.5)[None] - 25
    outside = np.clip(np.maximum(rows, columns) / 8 + 0.5, 0, 1)  # 8 px wide
    soft = thorough_scores((1 + 0.5 * outside).astype(np.float32), mask, triplet, valid)
    assert soft['cloud_flying'] > 0.2
    assert soft['edge_f1'] < 0.7
    assert soft['mask_boundary_error'] > 0.05
    without_camera = Triplet('a', 'box', triplet.rgb, mask, truth_m, None)
    assert 'cloud_flying' not in thorough_scores(depth_m, mask, without_camera, valid)
