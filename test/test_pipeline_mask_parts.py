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


@pytest.mark.parametrize(
    ('edge', 'doubt', 'is_filled'),
    [(0.1, 0.4, True), (0.8, 0.4, False), (0.1, 0.05, False), (0.8, 0.05, False)],
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
