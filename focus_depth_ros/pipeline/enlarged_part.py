"""A part of a map at the picture's size, without computing the rest of the picture.

Cells and pixels have edges in common every so often: with 288x216 cells on 640x480 px after every
9 cells and 20 px. A part between such edges is enlarged alone as within the whole, but for half a
cell along its rim and the last bits of the interpolation's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from focus_depth_ros.pipeline.region import Region


@dataclass(frozen=True)
class Part:
    """The same part of a picture as cells of a map and as pixels."""

    cells: Region
    pixels: Region

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        rows, columns = self.pixels
        return columns.stop - columns.start, rows.stop - rows.start


def part_around(near: Region, cells: tuple[int, int], size: tuple[int, int]) -> Part:
    """The least part that holds the region `near` of (h, w) `cells`, in a picture of `size` (W, H).

    It is the whole where the two sizes have no edges in common.
    """
    rows, rows_px = _between_edges(near[0], cells[0], size[1])
    columns, columns_px = _between_edges(near[1], cells[1], size[0])
    return Part((rows, columns), (rows_px, columns_px))


def _between_edges(near: slice, cells: int, pixels: int) -> tuple[slice, slice]:
    common = gcd(cells, pixels)
    step, step_px = cells // common, pixels // common
    first, last = near.start // step, min(-(-near.stop // step), common)
    return slice(first * step, last * step), slice(first * step_px, last * step_px)
