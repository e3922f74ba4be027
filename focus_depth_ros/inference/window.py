"""Which part of a picture a second look sees: a window of the picture's shape, round a box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Box4 = NDArray[Any]
"""(4,) xyxy / picture size."""

MARGIN = 1.75
"""Longer side of the window over that of the box, each as a share of the picture's."""
SMALLEST_SHARE, LARGEST_SHARE = 0.3, 0.9
"""Of the picture's sides; a target that needs a larger window is near enough as it is."""


@dataclass(frozen=True)
class Window:
    """A window of the picture's shape, in cells of a `grid` (h, w) over the picture."""

    left: int
    top: int
    width: int
    height: int
    grid: tuple[int, int]

    @property
    def cells(self) -> tuple[slice, slice]:
        """Rows and columns of a map."""
        rows = slice(self.top, self.top + self.height)
        return rows, slice(self.left, self.left + self.width)

    def cut(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a picture (H, W, 3) shows in the window."""
        down, across = rgb.shape[0] / self.grid[0], rgb.shape[1] / self.grid[1]
        top, bottom = round(self.top * down), round((self.top + self.height) * down)
        left, right = round(self.left * across), round((self.left + self.width) * across)
        return np.ascontiguousarray(rgb[top:bottom, left:right])

    def in_picture(self) -> Floats:
        """The window itself (4,) xyxy / picture size."""
        height, width = self.grid
        sides = (self.left, self.top, self.left + self.width, self.top + self.height)
        return np.asarray(np.array(sides) / (width, height, width, height), np.float32)

    def of(self, box: Box4) -> Floats:
        """A box (4,) xyxy / picture size as a share of the window instead."""
        height, width = self.grid
        scaled = box * np.array([width, height, width, height])
        moved = scaled - np.array([self.left, self.top, self.left, self.top])
        shares = moved / np.array([self.width, self.height, self.width, self.height])
        return np.asarray(np.clip(shares, 0.0, 1.0), np.float32)


def window_around(box: Box4, grid: tuple[int, int], margin: float = MARGIN) -> Window | None:
    """The window of a box (4,) xyxy / picture size; None for a target that fills the picture."""
    height, width = grid
    share = margin * float(max(box[2] - box[0], box[3] - box[1]))
    if share <= 0 or share > LARGEST_SHARE:
        return None
    share = max(share, SMALLEST_SHARE)
    columns, rows = round(share * width), round(share * height)
    left = round(float(box[0] + box[2]) / 2 * width - columns / 2)
    top = round(float(box[1] + box[3]) / 2 * height - rows / 2)
    return Window(
        min(max(left, 0), width - columns), min(max(top, 0), height - rows), columns, rows, grid
    )
