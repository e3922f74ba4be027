"""Scores of boundaries and of depth edges, on lines whose scores can be counted by hand."""

import numpy as np
import pytest

from focus_depth_ros.evaluation import depth_edges
from focus_depth_ros.evaluation.boundary_metrics import (
    BoundaryScore,
    average_precision,
    picture_edges,
    thinned,
)


def test_boundary_score_of_a_perfect_and_of_a_shifted_line() -> None:
    truth = np.zeros((240, 320), np.bool_)
    truth[:, 100] = True
    perfect = BoundaryScore()
    perfect.add(truth.astype(np.float32) * 0.9, truth)
    assert perfect.summary()['ods'] == pytest.approx(1.0)
    near, far = np.zeros((240, 320), np.float32), np.zeros((240, 320), np.float32)
    near[:, 103], far[:, 104] = 0.9, 0.9  # the tolerance is 0.0075 x 400 = 3 px
    within, beyond = BoundaryScore(), BoundaryScore()
    within.add(near, truth)
    beyond.add(far, truth)
    assert within.summary()['ods'] == pytest.approx(1.0)
    assert beyond.summary()['ods'] == 0.0


def test_boundary_score_weighs_false_lines_and_ignores_contacts() -> None:
    truth, contact = np.zeros((240, 320), np.bool_), np.zeros((240, 320), np.bool_)
    truth[:, 100], contact[:, 200] = True, True
    drawn = np.zeros((240, 320), np.float32)
    drawn[:, 100], drawn[:, 200] = 0.9, 0.9
    strict, lenient = BoundaryScore(), BoundaryScore()
    strict.add(drawn, truth)
    lenient.add(drawn, truth, contact)
    assert strict.summary()['precision'] == pytest.approx(0.5)
    assert strict.summary()['recall'] == pytest.approx(1.0)
    assert lenient.summary()['precision'] == pytest.approx(1.0)


def test_predictions_where_nothing_is_known_are_left_out() -> None:
    known = np.ones((240, 320), np.bool_)
    known[:, 180:220] = known[:, 98:101] = False
    score = BoundaryScore()
    score.add(line(100) + line(200), line(100) > 0, known=known)
    found = score.summary()
    assert (found['precision'], found['recall']) == pytest.approx((1.0, 1.0))


def test_what_is_ignored_takes_no_true_boundary() -> None:
    truth, contact = np.zeros((240, 320), np.bool_), np.zeros((240, 320), np.bool_)
    truth[:, 100], contact[:, 102] = True, True
    score = BoundaryScore()
    score.add(truth.astype(np.float32) * 0.9, truth, contact)
    assert score.summary()['recall'] == pytest.approx(1.0)


def line(column: int, probability: float = 0.9) -> 'np.ndarray':
    picture = np.zeros((240, 320), np.float32)
    picture[:, column] = probability
    return picture


def test_a_thick_line_is_thinned_to_its_ridge() -> None:
    thick = np.zeros((40, 60), np.float32)
    for offset, value in ((-2, 0.3), (-1, 0.6), (0, 0.9), (1, 0.6), (2, 0.3)):
        thick[:, 30 + offset] = value
    kept = thinned(thick)
    assert np.flatnonzero(kept[20]).tolist() == [30]
    assert kept[20, 30] == np.float32(0.9)


@pytest.mark.parametrize('degrees', [45, -45, 60])
def test_a_slanted_line_is_thinned_to_its_ridge(degrees: int) -> None:
    rows, columns = np.mgrid[:40, :60]
    across = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    distance = np.abs((columns - 30) * across[0] + (rows - 20) * across[1])
    kept = thinned(np.maximum(0, 0.9 - 0.3 * distance).astype(np.float32)) > 0
    inside = np.s_[4:-4, 4:-4]
    assert kept[inside][distance[inside] < 0.4].all()
    assert not kept[inside][distance[inside] > 0.6].any()


def test_one_threshold_for_all_pictures_or_the_best_for_each() -> None:
    """Two pictures whose right lines need different thresholds, each with a false line below."""
    score = BoundaryScore()
    for right, wrong in ((0.9, 0.6), (0.5, 0.2)):
        score.add(line(100, right) + line(200, wrong), line(100) > 0)
    found = score.summary()
    # At 0.2 to 0.5 all right ones and one or two wrong: P 2/3, R 1. Per picture: P 1, R 1.
    assert found['ods'] == pytest.approx(0.8)
    assert found['ois'] == pytest.approx(1.0)
    assert found['recall'] == 1.0


def test_a_picture_without_boundaries_is_best_left_empty() -> None:
    score = BoundaryScore()
    score.add(line(100), line(100) > 0)
    score.add(line(100, 0.05), np.zeros((240, 320), np.bool_))
    found = score.summary()
    assert found['ods'] == found['ois'] == pytest.approx(1.0)


def test_average_precision_by_hand() -> None:
    """Recall 0 at precision 1, then 0.5 at 1, then 1 at 0.5: 1 up to 0.5, then falling to 0.5."""
    precision, recall = np.array([1.0, 1.0, 0.5, 0.4]), np.array([0.0, 0.5, 1.0, 1.0])
    expected = np.interp(np.linspace(0, 1, 101), [0, 0.5, 1], [1, 1, 0.5]).mean()
    assert average_precision(precision, recall) == pytest.approx(expected)
    half = average_precision(np.array([1.0, 1.0]), np.array([0.0, 0.5]))
    assert half == pytest.approx(51 / 101)  # nothing beyond a recall of 0.5
    perfect = BoundaryScore()
    perfect.add(line(100), line(100) > 0)
    assert perfect.summary()['ap'] == pytest.approx(1.0)
    assert perfect.summary()['strict_f1'] == pytest.approx(1.0)


def test_strict_score_wants_the_very_pixel() -> None:
    score = BoundaryScore()
    score.add(line(101), line(100) > 0)
    assert score.summary()['ods'] == pytest.approx(1.0)
    assert score.summary()['strict_f1'] == 0.0


def test_texture_is_reported_apart_from_other_mistakes() -> None:
    """One right line, one on texture, one on nothing: P 1/3 in all, 1/2 against texture."""
    score = BoundaryScore()
    drawn = line(100) + line(200) + line(280)
    texture = (line(200) + line(102)) > 0  # the one beside the true line is no excuse
    score.add(drawn, line(100) > 0, texture=texture)
    found = score.summary()
    assert found['precision'] == pytest.approx(1 / 3)
    assert found['texture_precision'] == pytest.approx(1 / 2)


def test_picture_edges_follow_brightness() -> None:
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:] = 200
    columns = np.flatnonzero(picture_edges(rgb)[20])
    assert len(columns) == 1
    assert abs(columns[0] - 29.5) <= 1


def step(column: int) -> 'np.ndarray':
    depth = np.ones((60, 80), np.float32)
    depth[:, column:] = 2.0
    return depth


EVERYWHERE = np.ones((60, 80), np.bool_)


def test_depth_edges_lie_on_the_step_and_follow_the_thresholds() -> None:
    edges = depth_edges.depth_edges(step(40), EVERYWHERE)
    assert np.flatnonzero(edges[30]).tolist() in ([39], [40])
    small = step(40)
    small[:, 60:] = 40.0  # a far wall: the step of 1 m is now 1/39 of the range
    assert np.flatnonzero(depth_edges.depth_edges(small, EVERYWHERE)[30]).min() > 50
    near = np.zeros_like(EVERYWHERE)
    near[:, :55] = True
    assert depth_edges.depth_edges(small, near)[30, 39:41].any()
    assert not depth_edges.depth_edges(small, ~EVERYWHERE).any()


def test_depth_boundary_error_of_a_line_three_pixels_off() -> None:
    true, off, far = (np.zeros((60, 80), np.bool_) for _ in range(3))
    true[:, 40], off[:, 43], far[:, 60] = True, True, True
    found = depth_edges.depth_boundary_error(off, true)
    assert (found.accuracy_px, found.completeness_px) == (3.0, 3.0)
    none = depth_edges.depth_boundary_error(far, true)
    assert (none.accuracy_px, none.completeness_px) == (10.0, 10.0)
    # Half of the true lines found exactly: 60 and 60 pixels at 0, 60 at 10 (cut off).
    both = true.copy()
    both[:, 70] = True
    half = depth_edges.depth_boundary_error(true, both)
    assert half.accuracy_px == 0
    assert half.completeness_px == pytest.approx(10 / 3)
    assert depth_edges.depth_boundary_error(~EVERYWHERE, true).accuracy_px == 10


def test_a_false_depth_edge_counts_as_ten_pixels_off() -> None:
    """60 pixels 3 px off, 60 more 30 px off, and 60 true ones 3 px from the nearest."""
    true, predicted = np.zeros((60, 80), np.bool_), np.zeros((60, 80), np.bool_)
    true[:, 40], predicted[:, 43], predicted[:, 70] = True, True, True
    found = depth_edges.depth_boundary_error(predicted, true)
    assert found.accuracy_px == 3.0
    assert found.completeness_px == pytest.approx((3 + 10 + 3) / 3)


def test_without_a_true_depth_edge_there_is_nothing_to_find() -> None:
    for predicted in (EVERYWHERE, ~EVERYWHERE):
        found = depth_edges.depth_boundary_error(predicted, ~EVERYWHERE)
        assert np.isnan(found.accuracy_px) and np.isnan(found.completeness_px)


def test_scale_invariant_boundary_f1() -> None:
    """A square before a wall has its steps in all four directions; a step to the right in one."""
    square = np.full((60, 80), 2.0, np.float32)
    square[20:40, 30:50] = 1.0
    assert depth_edges.boundary_f1(7 * square, square, EVERYWHERE) == pytest.approx(1.0)
    assert depth_edges.boundary_f1(7 * step(40), step(40), EVERYWHERE) == pytest.approx(1.0)
    # A step that is not there, to the left, beside the true ones: half of the directions is wrong.
    doubled = step(40).copy()
    doubled[:, :10] = 4.0
    found = depth_edges.boundary_f1(doubled, step(40), EVERYWHERE)
    assert found == pytest.approx(2 * 0.5 * 0.5 / (0.5 + 0.5))
    assert depth_edges.boundary_f1(np.ones_like(square), square, EVERYWHERE) == 0
    # Right up to a ratio of 1.15 only: 5 of the 10 ratios, weighted by themselves.
    soft = np.where(square == 1, 1.0, 1.15).astype(np.float32)
    below = depth_edges.RATIOS[depth_edges.RATIOS < 1.15]
    expected = below.sum() / depth_edges.RATIOS.sum()
    assert depth_edges.boundary_f1(soft, square, EVERYWHERE) == pytest.approx(expected)
    hidden = EVERYWHERE.copy()
    hidden[18:42, 28:52] = False
    assert np.isnan(depth_edges.boundary_f1(square, square, hidden))
