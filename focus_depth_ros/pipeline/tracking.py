"""A box moves with the picture between two detections: median flow (Kalal et al., ICPR 2010)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box
from focus_depth_ros.pipeline.region import Region

MIN_POINTS = 6
MAX_POINTS = 24
REACH_PX = 32
"""How far round the box is looked: more than a target moves between two pictures at this size."""
MAX_RETURN_ERROR_PX = 1.0
SAMPLES = 24
"""Each way, in which two views of a box are compared."""
LIKENESS = 0.6
"""Correlation of two views of one thing, at least (docs/decisions/0012-lost-targets.md)."""
PLAIN = 3.0
"""Standard deviation of these samples, in grey levels, under which a box shows nothing."""


@dataclass(frozen=True)
class Patch:
    """A box (px) of a grey picture (h, w), to be followed into a later picture."""

    picture: NDArray[np.uint8]
    box: Box

    def follow(self, after: NDArray[np.uint8]) -> Box | None:
        """Where the box is in another grey picture (h, w); None when it is lost.

        Its corners are followed forward and back; those that return within a pixel vote by their
        medians for a shift and a change of size.
        """
        if self.corners is None:
            return None
        rows, columns = self._pixels
        left, top = max(columns.start - REACH_PX, 0), max(rows.start - REACH_PX, 0)
        near = (slice(top, rows.stop + REACH_PX), slice(left, columns.stop + REACH_PX))
        start = self.corners + np.array([[[columns.start - left, rows.start - top]]], np.float32)
        before, after = self.picture[near], after[near]
        end, found = _follow(before, after, start)
        back, returned = _follow(after, before, end)
        good = found & returned & (_lengths((back - start)[:, 0]) < MAX_RETURN_ERROR_PX)
        if int(good.sum()) < MIN_POINTS:
            return None
        return _moved(self.box, start[good, 0], end[good, 0])

    def looks_alike(self, after: NDArray[np.uint8]) -> bool:
        """Whether the box, which lies in the picture, shows the same in another, darker or blurred.

        Also where it shows nothing in either: what corners there are is noise, which no two
        pictures have in common.
        """
        seen, now = self._sampled(self.picture), self._sampled(after)
        if max(seen.std(), now.std()) < PLAIN:
            return True
        contrast = float(np.linalg.norm(seen) * np.linalg.norm(now))
        return contrast > 0 and float(np.vdot(seen, now)) >= LIKENESS * contrast

    def _sampled(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What is seen of the box as (SAMPLES, SAMPLES), about its mean."""
        size = (SAMPLES, SAMPLES)
        sampled = cv2.resize(picture[self._pixels], size, interpolation=cv2.INTER_AREA)
        return np.asarray(sampled - sampled.mean(), np.float32)

    @cached_property
    def corners(self) -> NDArray[np.float32] | None:
        """Corners (N, 1, 2) px inside the box, from its own corner; None where they are too few."""
        window = self.picture[self._pixels]
        if min(window.shape) < 4:
            return None
        corners = cv2.goodFeaturesToTrack(window, MAX_POINTS, 0.01, 2)
        if corners is None or len(corners) < MIN_POINTS:
            return None
        return np.asarray(corners, np.float32)

    @property
    def _pixels(self) -> Region:
        """The whole pixels that the box touches."""
        (height, width), (x0, y0, x1, y1) = self.picture.shape, self.box
        rows = slice(max(int(y0), 0), min(max(ceil(y1), 0), height))
        return rows, slice(max(int(x0), 0), min(max(ceil(x1), 0), width))


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
    """The median along the first axis; np.median takes five times as long on a few points.

    Of two middle values it is their mean: always the upper one would shift a box that stands still
    a little with every picture.
    """
    ordered = np.sort(values, axis=0)
    return np.asarray((ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2)
