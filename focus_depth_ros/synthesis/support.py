"""What rests on or in what: read off the meshes where they stand, however they got there."""

from __future__ import annotations

from typing import Literal

import numpy as np

from focus_depth_ros.synthesis.collision import ROUND_VESSELS
from focus_depth_ros.synthesis.placement import CELL_M, Footprint, Placed, Surface, footprint

Support = Literal['on', 'in', 'over', 'unsure']
_VESSELS = ROUND_VESSELS | {'box', 'basket'}
_TOUCH_M = 0.004
_SUNK_M = 0.008
_SUNK_SHARE = 0.25


def supports(surface: Surface) -> dict[tuple[int, int], Support]:
    """(upper, lower) object ids -> how the upper one is borne; absent where it is not.

    'on' and 'in' need one bearer alone and no touch of the ground; 'over' is higher in one stack.
    'unsure' is what people would call by different words: leaning, bridging two things, lying in
    something that stands on something.
    """
    prints = [footprint(placed.mesh) for placed in surface.placed]
    numbers = range(1, len(prints) + 1)
    touching = {
        (upper, lower)
        for upper in numbers
        for lower in numbers
        if upper != lower and _bears(prints[lower - 1], prints[upper - 1])
    }
    found: dict[tuple[int, int], Support] = {}
    for upper, lower in touching:
        bearers = [pair for pair in touching if pair[0] == upper]
        grounded = surface.gap_to_ground_m(prints[upper - 1]) < _TOUCH_M
        sure = len(bearers) == 1 and not grounded and (lower, upper) not in touching
        found[upper, lower] = (
            _manner(surface.placed[upper - 1], surface.placed[lower - 1], prints[lower - 1])
            if sure
            else 'unsure'
        )
    return _through_others(found)


def _bears(lower: Footprint, upper: Footprint) -> bool:
    """Whether the upper one touches the lower one from above."""
    if (lower.cells.max(axis=0) < upper.cells.min(axis=0)).any():
        return False
    if (upper.cells.max(axis=0) < lower.cells.min(axis=0)).any():
        return False
    start = lower.cells.min(axis=0)
    tops = np.full(np.ptp(lower.cells, axis=0) + 1, np.inf)
    tops[tuple((lower.cells - start).T)] = lower.high_m
    over = ((upper.cells >= start) & (upper.cells < start + tops.shape)).all(axis=1)
    gaps = upper.low_m[over] - tops[tuple((upper.cells[over] - start).T)]
    return bool((np.abs(gaps) < _TOUCH_M).any())


def _manner(upper: Placed, lower: Placed, area: Footprint) -> Support:
    """'in' for a vessel that rises round the middle of what it holds."""
    if lower.thing.class_name not in _VESSELS:
        return 'on'
    distance = np.linalg.norm((area.cells + 0.5) * CELL_M - upper.middle_m, axis=1)
    floor_m = float(area.high_m[int(distance.argmin())])
    rim_m = float(lower.mesh.vertices[:, 2].max())
    deep = max(_SUNK_M, _SUNK_SHARE * float(lower.mesh.extent_m[2]))
    if upper.mesh.lowest_m > rim_m - _SUNK_M:
        return 'on'
    return 'in' if distance.min() < 2 * CELL_M and floor_m < rim_m - deep else 'unsure'


def _through_others(direct: dict[tuple[int, int], Support]) -> dict[tuple[int, int], Support]:
    """Adds pairs borne by way of other things."""
    found = dict(direct)
    while True:
        more: dict[tuple[int, int], Support] = {}
        for top, middle in found:
            for also, bottom in direct:
                if also == middle and bottom != top and (top, bottom) not in found:
                    links = {found[top, middle], direct[middle, bottom]}
                    more[top, bottom] = 'over' if links <= {'on', 'over'} else 'unsure'
        if not more:
            return found
        found |= more
