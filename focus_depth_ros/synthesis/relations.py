"""How the visible objects of one view stand to one another: the graph that captions speak of.

A relation is judged three ways: True, False, or None where people would disagree. Captions need a
True for their object and a False for every other one, so what is in doubt is never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.cameras import WIDTH_PX, Camera
from focus_depth_ros.synthesis.support import Support
from focus_depth_ros.synthesis.vocabulary import POSITIONS, RELATIONS

_ASIDE_PX = 12.0
_OVERLAP = 0.25
_SLANT = 1.5
_BEHIND_M = 0.04
Judgement = bool | None


@dataclass(frozen=True)
class Seen:
    """What one view shows of an object: its columns and rows, its place in metres.

    In px of a picture of WIDTH_PX columns: left_px, right_px, sides of the box; column_px, row_px,
    mean of the visible pixels. In metres, their medians: depth_m along Z, ahead_m along the ground,
    away from the camera.
    """

    left_px: float
    right_px: float
    column_px: float
    row_px: float
    depth_m: float
    ahead_m: float


def seen_objects(
    ids: NDArray[np.uint8], depth_m: NDArray[np.float32], camera: Camera
) -> dict[int, Seen]:
    """All objects with at least one visible pixel, by id."""
    rows, columns = np.nonzero((ids > 0) & np.isfinite(depth_m))
    scale = WIDTH_PX / camera.width
    labels, z = ids[rows, columns], depth_m[rows, columns].astype(np.float64)
    forward = camera.pose[:2, 2]
    forward = forward / max(float(np.linalg.norm(forward)), 1e-6)
    x, y = (columns - camera.cx_px) * z / camera.focal_px, (rows - camera.cy_px) * z
    along_x, along_y, along_z = forward @ camera.pose[:2, :3]
    ahead = along_x * x + along_y * y / camera.focal_px + along_z * z
    found = {}
    for number in np.unique(labels):
        own = labels == number
        found[int(number)] = Seen(
            left_px=scale * float(columns[own].min()),
            right_px=scale * float(columns[own].max() + 1),
            column_px=scale * float(columns[own].mean()),
            row_px=scale * float(rows[own].mean()),
            depth_m=float(np.median(z[own])),
            ahead_m=float(np.median(ahead[own])),
        )
    return found


def _left(item: Seen, anchor: Seen) -> Judgement:
    """Clearly aside, the boxes side by side and more across than up or down."""
    aside = anchor.column_px - item.column_px
    if aside <= 0:
        return False
    overlap = item.right_px - anchor.left_px
    narrow = min(item.right_px - item.left_px, anchor.right_px - anchor.left_px)
    level = abs(item.row_px - anchor.row_px) < _SLANT * aside
    return True if aside > _ASIDE_PX and overlap < _OVERLAP * narrow and level else None


def _farther(item: Seen, anchor: Seen) -> Judgement:
    """Along Z and along the ground."""
    farther, ahead = item.depth_m - anchor.depth_m, item.ahead_m - anchor.ahead_m
    if max(farther, ahead) <= 0:
        return False
    return True if min(farther, ahead) > _BEHIND_M else None


def _behind(item: Seen, anchor: Seen) -> Judgement:
    """Farther, and one before the other in the picture."""
    farther = _farther(item, anchor)
    apart = max(item.left_px, anchor.left_px) - min(item.right_px, anchor.right_px)
    wide, narrow = sorted(
        (item.right_px - item.left_px, anchor.right_px - anchor.left_px), reverse=True
    )
    if farther is False or apart > wide:
        return False
    return True if farther and apart < -_OVERLAP * narrow else None


@dataclass(frozen=True)
class SceneGraph:
    """Judges relations between the objects of one view. supports: see `support.supports`."""

    seen: Mapping[int, Seen]
    supports: Mapping[tuple[int, int], Support]

    def judge(self, relation: str, item: int, anchor: int) -> Judgement:
        """Whether object `item` stands in a relation of vocabulary.RELATIONS to `anchor`."""
        return _JUDGES[relation](self, item, anchor)

    def is_outermost(self, position: str, item: int, others: Iterable[int]) -> bool:
        """Whether of several objects one is surely the one at a place of vocabulary.POSITIONS."""
        return all(_OUTERMOST[position](self, item, other) is True for other in others)

    def _higher(self, item: int, other: int) -> Judgement:
        return self.supports.get((item, other)) in ('on', 'over')

    def _borne(self, how: Support, item: int, anchor: int) -> Judgement:
        found = self.supports.get((item, anchor))
        if found is None:
            return False
        return True if found == how else None

    def _apart(self, rule: Callable[[Seen, Seen], Judgement], item: int, anchor: int) -> Judgement:
        """A rule on places; what bears the other is neither behind nor beside it."""
        if (item, anchor) in self.supports or (anchor, item) in self.supports:
            return None
        return rule(self.seen[item], self.seen[anchor])


_Judge = Callable[[SceneGraph, int, int], Judgement]
_JUDGES: dict[str, _Judge] = {
    'left of': lambda graph, item, anchor: graph._apart(_left, item, anchor),
    'right of': lambda graph, item, anchor: graph._apart(
        lambda first, second: _left(second, first), item, anchor
    ),
    'behind': lambda graph, item, anchor: graph._apart(_behind, item, anchor),
    'in front of': lambda graph, item, anchor: graph._apart(
        lambda first, second: _behind(second, first), item, anchor
    ),
    'on': lambda graph, item, anchor: graph._borne('on', item, anchor),
    'in': lambda graph, item, anchor: graph._borne('in', item, anchor),
}
_OUTERMOST: dict[str, _Judge] = {
    'left': _JUDGES['left of'],
    'right': _JUDGES['right of'],
    'front': lambda graph, item, other: graph._apart(
        lambda first, second: _farther(second, first), item, other
    ),
    'back': lambda graph, item, other: graph._apart(_farther, item, other),
    'top': lambda graph, item, other: graph._higher(item, other),
    'bottom': lambda graph, item, other: graph._higher(other, item),
}
assert tuple(_JUDGES) == RELATIONS
assert tuple(_OUTERMOST) == POSITIONS
