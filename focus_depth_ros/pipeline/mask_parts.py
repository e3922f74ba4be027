"""What a mask is made of: parts, specks that are none, and holes that are none."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.pipeline.region import bounding_region

SPECK_SHARE = 0.1
"""Of the largest part; what is smaller is no part of an occluded target but a few stray cells."""
HOLE_EDGE = 0.35
"""Mean occlusion boundary probability on a hole's rim from which the hole is one. With this one
rendered validation masks neither gain nor lose; real prints and shines would bear a larger one."""
HOLE_MASK = 0.2
"""Mean mask probability in a hole under which the network is sure enough that it is one."""
WINDOW = np.ones((3, 3), np.uint8)


def cleaned(mask: NDArray[np.float32], boundary: NDArray[np.float32]) -> NDArray[np.float32]:
    """A target's mask (h, w) in [0, 1] less its specks, and with the holes filled that are none."""
    return without_holes(without_specks(mask), boundary)


def without_specks(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mask (h, w) less its small parts: those under a tenth of the largest one.

    An occluded target may well have several parts; a few stray cells are no part of it, but they
    would stretch its cloud across the scene.
    """
    near = bounding_region(mask > 0.5, 1)
    if near is None:
        return mask
    parts, areas = _parts(mask[near] > 0.5)
    if len(areas) == 1:
        return mask
    is_speck = np.concatenate(([False], areas < SPECK_SHARE * areas.max()))
    kept: NDArray[np.float32] = mask.copy()
    kept[near][is_speck[parts]] = 0.0
    return kept


def large_parts(mask: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The mask (h, w) with each of its parts alone, the largest first; specks are no part."""
    near = bounding_region(mask > 0.5, 1)
    if near is None:
        return []
    parts, areas = _parts(mask[near] > 0.5)
    large = np.flatnonzero(areas >= SPECK_SHARE * areas.max())
    alone = []
    for part in large[np.argsort(-areas[large], kind='stable')] + 1:
        kept = mask.copy()
        kept[near][(parts > 0) & (parts != part)] = 0.0
        alone.append(kept)
    return alone


def without_holes(mask: NDArray[np.float32], boundary: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mask (h, w) with those holes filled whose rim is no occlusion boundary (h, w).

    Where one sees through a target, or something lies on it, depth jumps at the hole's rim. Where
    it does not, a print or a shine was taken for another thing.
    """
    near = bounding_region(mask > 0.5, 1)
    if near is None:
        return mask
    gaps, areas = _parts(mask[near] <= 0.5, connectivity=4)
    outer = np.concatenate((gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]))
    filled = mask
    for gap in np.setdiff1d(np.arange(1, len(areas) + 1), outer):
        hole = (gaps == gap).view(np.uint8)
        rim = cv2.morphologyEx(hole, cv2.MORPH_GRADIENT, WINDOW).view(np.bool_)
        inside = hole.view(np.bool_)
        if mask[near][inside].mean() >= HOLE_MASK and boundary[near][rim].mean() < HOLE_EDGE:
            filled = mask.copy() if filled is mask else filled
            filled[near][inside] = 1.0
    return filled


def _parts(
    cells: NDArray[np.bool_], connectivity: int = 8
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The connected part that each of the cells (h, w) is of, from 1, 0 beside; and their areas."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(
        cells.view(np.uint8), connectivity=connectivity
    )
    return np.asarray(parts, np.int32), np.asarray(statistics[1:, cv2.CC_STAT_AREA], np.int32)
