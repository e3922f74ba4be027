"""Parts, specks and holes of masks."""

from __future__ import annotations

import numpy as np
import pytest

from focus_depth_ros.pipeline.mask_parts import (
    cleaned,
    large_parts,
    without_holes,
    without_specks,
)

NOTHING = np.zeros((84, 112), np.float32)


def test_specks_go_and_parts_stay() -> None:
    mask = NOTHING.copy()
    mask[20:40, 20:40] = mask[20:40, 50:60] = 0.9
    mask[70, 100] = mask[0, 0] = 0.8
    solid = without_specks(mask)
    assert solid[20:40, 20:40].all()
    assert solid[20:40, 50:60].all()
    assert np.count_nonzero(solid) == 600
    assert without_specks(NOTHING) is NOTHING
    first, second = large_parts(mask)
    assert np.count_nonzero(first) == 400 and first[20:40, 20:40].all()
    assert np.count_nonzero(second) == 200 and second[20:40, 50:60].all()
    assert large_parts(NOTHING) == []


@pytest.mark.parametrize(('rows', 'is_part'), [(1, False), (3, True)])
def test_a_part_is_at_least_a_tenth_of_the_largest(rows: int, is_part: bool) -> None:
    mask = NOTHING.copy()
    mask[20:40, 20:40] = 0.9
    mask[60 : 60 + rows, 20:40] = 0.9  # 5 % or 15 % of that
    assert without_specks(mask)[60:].any() == is_part
    assert len(large_parts(mask)) == 1 + is_part


@pytest.mark.parametrize(
    ('edge', 'doubt', 'is_filled'),
    [
        (0.1, 0.4, True),
        (0.8, 0.4, False),
        (0.1, 0.05, False),
        (0.8, 0.05, False),
        (0.3, 0.4, True),
        (0.4, 0.4, False),
        (0.1, 0.25, True),
        (0.1, 0.15, False),
    ],
)
def test_a_hole_without_an_edge_in_depth_is_none(
    edge: float, doubt: float, is_filled: bool
) -> None:
    mask, boundary = NOTHING.copy(), np.full_like(NOTHING, 0.9)
    mask[20:60, 20:60] = 0.9
    mask[30:40, 30:45] = doubt
    boundary[25:50, 25:50] = edge
    before = mask.copy()
    found = without_holes(mask, boundary)
    assert (mask == before).all()
    assert (found[30:40, 30:45] > 0.5).all() == is_filled
    found[30:40, 30:45] = doubt
    assert (found == mask).all()


def test_an_edge_on_the_rim_alone_makes_a_hole() -> None:
    mask, boundary = NOTHING.copy(), NOTHING.copy()
    mask[20:60, 20:60] = 0.9
    mask[30:50, 30:50] = 0.4
    boundary[29:51, 29:51] = 0.9
    boundary[31:49, 31:49] = 0.0
    assert np.array_equal(without_holes(mask, boundary), mask)


def test_a_hole_that_meets_the_outside_at_a_corner_only_is_filled() -> None:
    mask = NOTHING.copy()
    mask[20:40, 20:40] = 0.9
    mask[30:39, 30:39] = mask[39, 39] = 0.4
    filled = mask.copy()
    filled[30:39, 30:39] = 1.0
    assert np.array_equal(without_holes(mask, NOTHING), filled)


def test_what_is_open_to_the_outside_or_the_picture_s_side_is_no_hole() -> None:
    mask = NOTHING.copy()
    mask[0:40, 0:40] = 0.9
    mask[0:10, 10:20] = 0.4  # at the picture's upper side
    mask[20:30, 30:40] = 0.4  # a notch
    assert without_holes(mask, NOTHING) is mask
    assert without_holes(NOTHING, NOTHING) is NOTHING


def test_each_hole_is_judged_alone_and_after_the_specks() -> None:
    mask, boundary = NOTHING.copy(), NOTHING.copy()
    mask[10:70, 10:70] = 0.9
    mask[20:30, 20:30] = mask[50:60, 50:60] = 0.4
    mask[24:26, 24:26] = 0.9  # an island in the first one
    boundary[48:62, 48:62] = 0.9
    found = cleaned(mask, boundary)
    assert (found[10:45, 10:70] > 0.5).all()
    assert (found[50:60, 50:60] < 0.5).all()
