"""Target in front, the rest behind: two complete layers, put together by the sharp mask.

A network's depth is blurred where the target ends, and a blurred step is a sheet of points that
float between target and table. So, as layered depth refinement does (CVPR 2022, D = M D1 +
(1 - M) D2), each side is first completed across the edge from where it is sure, and the composite
is taken at full resolution. Here the completion is no network: a cell at the edge keeps its value
as far as the sure cells beside it make that value plausible.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.pipeline.region import bounding_region

NEIGHBOURHOOD = np.ones((5, 5), np.uint8)
"""Cells that say what is plausible: the band in which depth is blurred is about 3 cells wide."""
RIM = np.ones((3, 3), np.uint8)
"""A cell is sure of its side when all its neighbours are on that side too."""
REACH_CELLS = 5
"""How far from a mask a layer depends on it: the rim and two neighbourhoods."""
FAR = np.float32(1e9)


@dataclass(frozen=True)
class Layers:
    """Inverse depth of the target's side and of the rest, float32 (h, w), and the mask uint8."""

    inside: NDArray[np.float32]
    outside: NDArray[np.float32]
    mask: NDArray[np.uint8]


def separate(inverse_depth: NDArray[np.float32], mask: NDArray[np.float32]) -> Layers:
    """Split one map (h, w) by its mask in [0, 1] into two layers, complete near the edge."""
    front, behind = inverse_depth.copy(), inverse_depth.copy()
    near = bounding_region(mask > 0.5, REACH_CELLS)
    if near is not None:
        inside = (mask[near] > 0.5).view(np.uint8)
        front[near] = _complete(front[near], cv2.erode(inside, RIM).view(np.bool_))
        behind[near] = _complete(behind[near], cv2.dilate(inside, RIM) == 0)
    return Layers(front, behind, cv2.convertScaleAbs(mask, alpha=255.0))


def _complete(values: NDArray[np.float32], sure: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`values`, bounded near the sure cells by what those say.

    A value may leave the range of the sure cells around it by that range's width, so that a
    slope goes on to the edge and a blurred step does not. Far from sure cells values stay.
    """
    highest = cv2.dilate(np.where(sure, values, -FAR), NEIGHBOURHOOD)
    lowest = cv2.erode(np.where(sure, values, FAR), NEIGHBOURHOOD)
    room = highest - lowest
    bounded = np.clip(values, lowest - room, highest + room)
    return np.asarray(np.where(sure | (highest < -0.5 * FAR), values, bounded), np.float32)


def upsample(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear to (width, height)."""
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)


def upsample_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A probability map (x 255) at (width, height), cut at one half."""
    large = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.threshold(large, 127, 1, cv2.THRESH_BINARY)[1]).view(np.bool_)
