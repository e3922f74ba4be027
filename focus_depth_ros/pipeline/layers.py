"""Target in front, the rest behind: two complete layers, put together by the sharp mask.

A network's depth is blurred where the target ends, and a blurred step is a sheet of points that
float between target and table. So, as layered depth refinement does (CVPR 2022, D = M D1 +
(1 - M) D2), each side is first extended across the edge from where it is sure, and the
composite is taken at full resolution. Here the completion is a normalised convolution, not a
network.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

EDGE_CELLS = 3
"""Width of the completing window in network cells: as wide as the band in which depth is blurred."""


@dataclass(frozen=True)
class Layers:
    """Inverse depth of the target's side and of the rest, float32 (h, w), and the mask uint8."""

    inside: NDArray[np.float32]
    outside: NDArray[np.float32]
    mask: NDArray[np.uint8]


def separate(inverse_depth: NDArray[np.float32], mask: NDArray[np.float32]) -> Layers:
    """Split one map (h, w) by its mask in [0, 1] into two layers, complete near the edge."""
    surely_inside = np.clip(4.0 * mask - 2.0, 0.0, 1.0)  # from one half to three quarters
    surely_outside = np.clip(2.0 - 4.0 * mask, 0.0, 1.0)
    return Layers(
        inside=_extend(inverse_depth, surely_inside),
        outside=_extend(inverse_depth, surely_outside),
        mask=np.rint(mask * 255.0).astype(np.uint8),
    )


def _extend(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """`values` where `weight` is 1, their weighted neighbourhood mean where it falls to 0.

    Far from any weight the values stay what they were.
    """
    window = (EDGE_CELLS, EDGE_CELLS)
    total = cv2.blur(weight, window, borderType=cv2.BORDER_REPLICATE)
    mean = cv2.blur(values * weight, window, borderType=cv2.BORDER_REPLICATE)
    known = total > 1e-3
    completed = np.where(known, mean / np.maximum(total, 1e-3), values)
    return (weight * values + (1.0 - weight) * completed).astype(np.float32)


def upsample(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear to (width, height)."""
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)


def upsample_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A probability map (x 255) at (width, height), cut at one half."""
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) > 127)
