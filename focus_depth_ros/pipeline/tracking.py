"""A box moves with the picture between two detections: median flow (Kalal et al., ICPR 2010)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box

MIN_POINTS = 6
MAX_POINTS = 24
REACH_PX = 32
"""How far round the box is looked: more than a target moves between two pictures at this size."""
MAX_RETURN_ERROR_PX = 1.0


def propagate_box(before: NDArray[np.uint8], after: NDArray[np.uint8], box: Box) -> Box | None:
    """Where `box` (px of `before`) is in `after`; both grey (h, w). None when it is lost.

    Corners inside the box are followed forward and back; those that return within a pixel vote
    by their medians for a shift and a change of size.
    """
    height, width = before.shape
    x0, y0 = max(int(box[0]), 0), max(int(box[1]), 0)
    x1, y1 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return None
    corners = cv2.goodFeaturesToTrack(before[y0:y1, x0:x1], MAX_POINTS, 0.01, 2)
    if corners is None or len(corners) < MIN_POINTS:
        return None
    left, top = max(x0 - REACH_PX, 0), max(y0 - REACH_PX, 0)
    near = (slice(top, y1 + REACH_PX), slice(left, x1 + REACH_PX))
    start = corners + np.array([[[x0 - left, y0 - top]]], np.float32)
    end, found = _follow(before[near], after[near], start)
    back, returned = _follow(after[near], before[near], end)
    good = found & returned & (_lengths((back - start)[:, 0]) < MAX_RETURN_ERROR_PX)
    if int(good.sum()) < MIN_POINTS:
        return None
    return _moved(box, start[good, 0], end[good, 0])


def _follow(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Points (N, 1, 2) in the other picture, and which were found (Lucas-Kanade, pyramidal)."""
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.03)
    end, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, points.copy(), winSize=(9, 9), maxLevel=3, criteria=stop
    )
    return np.asarray(end, np.float32), np.asarray(found[:, 0] == 1)


def _moved(box: Box, start: NDArray[np.float32], end: NDArray[np.float32]) -> Box:
    """The box, shifted and grown as its points (N, 2) did: their middle, their spread about it."""
    shift = _median(end - start)
    before = float(_median(_lengths(start - _median(start))))
    after = float(_median(_lengths(end - _median(end))))
    growth = after / before if before > 1.0 else 1.0
    centre_x = (box[0] + box[2]) / 2 + float(shift[0])
    centre_y = (box[1] + box[3]) / 2 + float(shift[1])
    half_width = (box[2] - box[0]) / 2 * growth
    half_height = (box[3] - box[1]) / 2 * growth
    return (
        centre_x - half_width,
        centre_y - half_height,
        centre_x + half_width,
        centre_y + half_height,
    )


def _lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of vectors (N, 2); np.linalg.norm takes three times as long on a few."""
    return np.hypot(vectors[:, 0], vectors[:, 1])


def _median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The upper median along the first axis; np.median takes five times as long on a few points."""
    return np.asarray(np.sort(values, axis=0)[len(values) // 2])
