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
    is_hole = np.ones(len(areas) + 1, np.bool_)
    for side in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        is_hole[side] = False  # open to the outside, as all of the mask itself, which is 0
    is_hole[0] = False
    if not is_hole.any():
        return mask
    holes = np.where(is_hole[gaps], gaps, 0).astype(np.uint16)
    grown, shrunk = cv2.dilate(holes, WINDOW), cv2.erode(holes, WINDOW)
    doubt = _means(mask[near], holes, len(is_hole))
    edge = _means(boundary[near], np.where(shrunk, 0, grown), len(is_hole))
    is_none = is_hole & (doubt >= HOLE_MASK) & (edge < HOLE_EDGE)
    filled: NDArray[np.float32] = mask.copy()
    filled[near][is_none[holes]] = 1.0
    return filled


def _means(
    values: NDArray[np.float32], labels: NDArray[np.uint16], count: int
) -> NDArray[np.float64]:
    """Mean of the values (h, w) under each of `count` labels (h, w); 0 where there is none."""
    flat = labels.ravel()
    cells = np.bincount(flat, minlength=count)
    return np.bincount(flat, values.ravel(), count) / np.maximum(cells, 1)


def _parts(
    cells: NDArray[np.bool_], connectivity: int = 8
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The connected part that each of the cells (h, w) is of, from 1, 0 beside; and their areas."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(
        cells.view(np.uint8), connectivity=connectivity
    )
    return np.asarray(parts, np.int32), np.asarray(statistics[1:, cv2.CC_STAT_AREA], np.int32)
