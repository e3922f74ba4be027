"""Where a mask lies: the window of a map outside of which nothing is to be computed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Region = tuple[slice, slice]
"""Rows and columns of a map."""


def bounding_region(inside: NDArray[np.bool_], margin: int = 0) -> Region | None:
    """The tight rows and columns of the cells (h, w) inside, and `margin` cells more on each side.

    None when no cell is inside.
    """
    x, y, width, height = cv2.boundingRect(inside.view(np.uint8))
    if not width:
        return None
    rows = slice(max(0, y - margin), y + height + margin)
    return rows, slice(max(0, x - margin), x + width + margin)


def box_of(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Tight box (4,) xyxy / size of the cells (h, w) inside; zeros where there is none."""
    region = bounding_region(inside)
    if region is None:
        return np.zeros(4)
    (down, across), (rows, columns) = region, inside.shape
    box = [across.start, down.start, across.stop, down.stop]
    return np.array(box) / (columns, rows, columns, rows)
