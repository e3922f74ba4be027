"""Metrics on cases small enough to work out by hand."""

import numpy as np
import pytest

from focus_depth_ros.datasets.label_steps import label_steps
from focus_depth_ros.evaluation import metrics
from focus_depth_ros.evaluation.metrics import (
    abs_rel,
    aligned_depth,
    constant_depth,
    delta,
    least_squares_alignment,
    mask_iou,
    plane_depth,
)
from focus_depth_ros.evaluation.regions import boundary_band, target_regions

EVERYWHERE = np.ones((6, 8), np.bool_)


def test_alignment_undoes_scale_and_shift() -> None:
    rng = np.random.default_rng(0)
    depth_m = rng.uniform(0.5, 2.0, (6, 8)).astype(np.float32)
    slope, offset = least_squares_alignment((1 / depth_m - 0.3) / 1.7, 1 / depth_m, EVERYWHERE)
    assert (slope, offset) == (pytest.approx(1.7, rel=1e-4), pytest.approx(0.3, rel=1e-3))
    again = aligned_depth(((1 / depth_m - 0.3) / 1.7).astype(np.float32), depth_m, EVERYWHERE)
    assert again == pytest.approx(depth_m, rel=1e-4)


def test_aligned_depth_ends_at_twenty_metres() -> None:
    truth = np.array([[1.0, 2.0, 4.0, 4.0]], np.float32)
    guess = np.array([[1.0, 0.5, 0.25, -5.0]], np.float32)
    valid = np.array([[True, True, True, False]])
    assert aligned_depth(guess, truth, valid)[0].tolist() == pytest.approx([1, 2, 4, 20])


def test_alignment_uses_valid_pixels_only() -> None:
    depth_m = np.full((6, 8), 2.0, np.float32)
    depth_m[:, 4:] = 1.0
    guess = 1 / depth_m
    depth_m[0, 0], guess[0, 0] = np.nan, 1000.0
    valid = np.isfinite(depth_m)
    assert abs_rel(aligned_depth(guess, depth_m, valid), depth_m, valid) < 1e-5


def test_constant_is_the_mean_disparity() -> None:
    depth_m = np.full((6, 8), 1.0, np.float32)
    depth_m[:, 4:] = 2.0  # disparities 1 and 0.5: their mean 0.75 is 4/3 m
    guess = constant_depth(depth_m, EVERYWHERE)
    assert guess == pytest.approx(np.full((6, 8), 4 / 3), rel=1e-5)
    assert abs_rel(guess, depth_m, EVERYWHERE) == pytest.approx((1 / 3 + 1 / 3) / 2, rel=1e-5)


def test_plane_fits_a_table_exactly() -> None:
    rows, columns = np.mgrid[:6, :8]
    depth_m = (1 / (0.5 + 0.02 * columns + 0.1 * rows)).astype(np.float32)
    valid = EVERYWHERE.copy()
    valid[2, 3] = False
    assert plane_depth(depth_m, valid) == pytest.approx(depth_m, rel=1e-5)


def test_a_plane_ends_at_twenty_metres() -> None:
    disparity = np.tile(1 - 0.1 * np.arange(16), (6, 1))
    valid = np.tile(np.arange(16) < 8, (6, 1))
    depth_m = np.where(valid, 1 / np.where(valid, disparity, 1), np.nan).astype(np.float32)
    found = plane_depth(depth_m, valid)[0]
    assert found[[5, 7]] == pytest.approx([2, 1 / 0.3], rel=1e-4)
    assert (found[10:] == 20).all()


def test_delta_counts_ratios_both_ways() -> None:
    truth = np.ones((1, 4), np.float32)
    guess = np.array([[1.2, 1.3, 0.85, 0.75]], np.float32)
    assert delta(guess, truth, np.ones((1, 4), np.bool_)) == 0.5
    assert np.isnan(delta(guess, truth, np.zeros((1, 4), np.bool_)))


def test_iou() -> None:
    first, second = np.zeros((4, 4), np.bool_), np.zeros((4, 4), np.bool_)
    assert mask_iou(first, second) == 1.0
    first[:2], second[1:3] = True, True
    assert mask_iou(first, second) == pytest.approx(1 / 3)


def test_band_surrounds_the_outline_and_not_the_picture_border() -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[:, :30] = True  # touches three borders: only the edge at column 30 is an outline
    band = boundary_band(mask, radius_px=4)
    assert np.flatnonzero(band.any(0)).tolist() == list(range(26, 34))
    assert band[:, 26:34].all()
    regions = target_regions(mask, np.ones_like(mask))
    assert regions['foreground'].sum() == 1800
    assert regions['global'].all()


def test_the_band_is_ten_px_wide_to_each_side() -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[:, :30] = True
    band = target_regions(mask, np.ones_like(mask))['boundary']
    assert np.flatnonzero(band[30]).tolist() == list(range(20, 40))


def test_no_region_holds_pixels_without_truth() -> None:
    mask, valid = np.zeros((60, 60), np.bool_), np.ones((60, 60), np.bool_)
    mask[:, :30], valid[20:40, 15:45] = True, False
    regions = target_regions(mask, valid)
    areas = {name: int(pixels.sum()) for name, pixels in regions.items()}
    assert areas == {'boundary': 40 * 20, 'foreground': 60 * 30 - 20 * 15, 'global': 3600 - 600}


def test_label_steps_lie_on_the_nearer_side() -> None:
    ids = np.zeros((4, 6), np.uint8)
    ids[:, 3:] = 1
    depth_m = np.where(ids == 1, 0.5, 1.0).astype(np.float32)
    boundary, unknown = label_steps(ids, depth_m)
    assert np.flatnonzero(boundary.any(0)).tolist() == [3] and not unknown.any()
    flat = np.ones((4, 6), np.float32)
    assert not label_steps(ids, flat)[0].any()
    depth_m[1, 2] = depth_m[2, 5] = np.nan  # beside the change, and far from it
    boundary, unknown = label_steps(ids, depth_m)
    assert np.argwhere(boundary).tolist() == [[0, 3], [2, 3], [3, 3]]
    assert np.argwhere(unknown).tolist() == [[1, 2], [1, 3]]


def row(*values: float) -> 'np.ndarray':
    return np.array([values], np.float32)


ALL = np.ones((1, 4), np.bool_)
EMPTY = np.zeros((1, 4), np.bool_)


def test_errors_of_four_pixels() -> None:
    truth, guess = row(1, 2, 4, 5), row(2, 2, 2, 4)
    assert metrics.rmse(guess, truth, ALL) == pytest.approx(np.sqrt((1 + 0 + 4 + 1) / 4))
    assert abs_rel(guess, truth, ALL) == pytest.approx((1 + 0 + 0.5 + 0.2) / 4)
    assert metrics.relative_to_prediction(guess, truth, ALL) == pytest.approx(
        (0.5 + 0 + 1 + 0.25) / 4
    )
    assert metrics.log10_error(row(10, 1, 1, 1), row(1, 10, 1, 1), ALL) == pytest.approx(0.5)
    for metric in (
        abs_rel, delta, metrics.rmse, metrics.relative_to_prediction, metrics.log10_error,
        metrics.scale_invariant_log, metrics.ordinal_disagreement,
    ):  # fmt: skip
        assert np.isnan(metric(guess, truth, EMPTY))


def test_delta_is_the_same_too_near_and_too_far() -> None:
    assert delta(row(1.2, 1.3, 0.82, 0.79), row(1, 1, 1, 1), ALL) == 0.5


def test_the_higher_deltas_allow_more() -> None:
    """1.25^2 is 1.5625 and 1.25^3 is 1.953."""
    truth, guess = row(1, 1, 1, 1), row(1.2, 1.5, 1.6, 2)
    shares = [delta(guess, truth, ALL, power) for power in (1, 2, 3)]
    assert shares == [0.25, 0.5, 0.75]


def test_scale_error_is_that_of_the_middle_pixel() -> None:
    truth = row(1, 2, 4, 8)
    assert metrics.scale_error(truth * row(1.2, 1.2, 1.2, 9), truth, ALL) == pytest.approx(0.2)
    assert metrics.scale_error(0.75 * truth, truth, ALL) == pytest.approx(0.25)
    assert np.isnan(metrics.scale_error(truth, truth, EMPTY))


def test_silog_ignores_a_scale() -> None:
    truth = row(1, 2, 3, 4)
    assert metrics.scale_invariant_log(3 * truth, truth, ALL) == pytest.approx(0, abs=1e-4)
    doubled = truth * row(2, 2, 1, 1)
    assert metrics.scale_invariant_log(doubled, truth, ALL) == pytest.approx(100 * np.log(2) / 2)


def test_ordinal_disagreement_counts_wrong_pairs() -> None:
    """Of two pixels a quarter of the pairs is (a, b), a quarter (b, a), half equal to itself."""
    truth, region = row(1, 2, 9, 9), np.array([[True, True, False, False]])
    assert metrics.ordinal_disagreement(2 * truth, truth, region) == 0
    swapped = metrics.ordinal_disagreement(row(2, 1, 9, 9), truth, region)
    assert swapped == pytest.approx(0.5, abs=0.03)
    flat = metrics.ordinal_disagreement(row(1, 1.01, 9, 9), truth, region)
    assert flat == pytest.approx(0.5, abs=0.03)


def test_mask_boundary_error_looks_round_the_outline_only() -> None:
    truth = np.zeros((40, 40), np.float32)
    mask = np.zeros((40, 40), np.bool_)
    mask[10:30, 10:30] = True
    valid = np.ones_like(mask)
    inside, round_it = truth.copy(), truth.copy()
    inside[14:26, 14:26] = 9  # 4 px from the outline: not seen
    assert metrics.mask_boundary_error(inside, truth, mask, valid) == 0
    round_it[:, 8:13] = 3  # the band left of the mask: columns 8 to 12 of rows 8 to 31
    band = 24**2 - 14**2  # from 2 px outside to 3 px inside
    expected = np.sqrt(9 * 24 * 5 / band)
    assert metrics.mask_boundary_error(round_it, truth, mask, valid) == pytest.approx(expected)
    unseen = np.zeros_like(mask)
    unseen[1:4, 1:4] = True
    valid[:8, :8] = False
    assert np.isnan(metrics.mask_boundary_error(round_it, truth, unseen, valid))


def test_refined_pixels_are_those_whose_inverse_depth_changed_enough() -> None:
    """Truth 1 / m; errors 0.2, 0.2, 0 and 0.04 / m become 0.1, 0.3, 0 and 0."""
    truth = row(1, 1, 1, 1)
    initial, refined = 1 / row(1.2, 0.8, 1, 1.04), 1 / row(0.9, 1.3, 1, 1)
    assert metrics.refined_pixels(refined, initial, truth, ALL) == (1, 1)
    assert metrics.refined_pixels(initial, refined, truth, ALL) == (1, 1)
    first = np.array([[True, False, False, True]])
    assert metrics.refined_pixels(refined, initial, truth, first) == (1, 0)
    assert metrics.refined_pixels(initial, refined, truth, first) == (0, 1)
    assert metrics.refined_pixels(initial, refined, truth, EMPTY) == (0, 0)


def test_truth_beyond_the_usual_reach_is_met() -> None:
    """A perfect prediction of a street errs nowhere, however it is aligned."""
    truth = np.linspace(2, 60, 60 * 80, dtype=np.float32).reshape(60, 80)
    everywhere = np.ones(truth.shape, np.bool_)
    for align in (metrics.aligned_depth, metrics.aligned_as_depth):
        assert metrics.abs_rel(align(1 / truth, truth, everywhere), truth, everywhere) < 1e-3


def test_depth_aligned_as_depth_ends_at_a_centimetre_and_at_twenty_metres() -> None:
    depth = row(3, 4, 5, 1, 50)
    valid = np.array([[True, True, True, False, False]])
    found = metrics.aligned_as_depth(1 / depth, depth - 2, valid)
    assert found[0] == pytest.approx([1, 2, 3, 0.01, 20], rel=1e-4)


def test_a_picture_of_nothing_but_sky_is_aligned_to_a_constant() -> None:
    truth = row(1, 2, 1, 2)
    found = metrics.aligned_as_depth(row(0, 0, 0, 0), truth, ALL)
    assert found[0] == pytest.approx([4 / 3] * 4)


def test_what_enlarging_mixes_with_sky_takes_no_part_in_the_alignment() -> None:
    truth = np.tile(np.linspace(1, 4, 80, dtype=np.float32), (60, 1))
    depth = truth + 0.5  # affine in depth
    nearness = 1 / depth
    nearness[:20] = 0
    nearness[20:22] *= 0.2  # between sky and what stands before it
    valid = np.ones(truth.shape, np.bool_)
    valid[:20] = False
    found = metrics.aligned_as_depth(nearness, truth, valid)
    assert np.abs(found - truth)[24:].max() < 1e-3
