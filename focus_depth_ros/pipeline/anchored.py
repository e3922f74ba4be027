"""A target and the picture in which its box holds, and how it is carried to later pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box, Target, box_iou, clip_box
from focus_depth_ros.pipeline.tracking import Patch

AGREEING_IOU = 0.5
"""Of a tracked box and its mask's, at least: else either may be right."""
CORRECTED_SHARE = 0.1
"""Of the way that a tracked box has gone (docs/decisions/0012-lost-targets.md)."""


@dataclass(frozen=True)
class View:
    """A past picture: grey (h, w) uint8, and the (width, height) px its boxes are given in."""

    stamp_ns: int
    grey: NDArray[np.uint8]
    size: tuple[int, int]

    @property
    def to_grey(self) -> tuple[float, float]:
        """What makes px of `grey` of px of `size`, across and down."""
        return self.grey.shape[1] / self.size[0], self.grey.shape[0] / self.size[1]


@dataclass(frozen=True)
class Anchored:
    """A target with the view in which its box holds; no view: it holds in the next one.

    `target.box` is what lies in the picture of `whole`, which may reach out of it, so that a target
    that comes back has all of its box again. `confirmed_ns` is the newest picture's stamp when it
    was last detected; `is_untracked` says that the box stayed where it was because nothing in it
    could be followed. `seen_in` is then the view in which it last was seen: later pictures are
    compared with that one, not with a blurred or black one between. None: that is `view` itself.
    `is_lost` says that what could be followed there is neither found nor still in its place.
    `moved_px` is the farthest that a side moved when last carried.
    """

    target: Target
    view: View | None
    whole: Box | None
    confirmed_ns: int = 0
    is_untracked: bool = False
    seen_in: View | None = None
    is_lost: bool = False
    moved_px: float = 0.0

    def carried(self, later: Sequence[View]) -> Anchored:
        """The target in the last of some later views (oldest first, one at least).

        It is followed from view to view, since in one step it may have gone farther than tracking
        reaches; a view in which it is lost (a blurred one) is passed over. Raises InvalidInput
        when it has left the picture.
        """
        seen, newest = self, later[-1]
        for view in later:
            box = seen._followed(view)
            if box is not None:
                seen = replace(seen, view=view, whole=box, seen_in=None)
        if seen.whole is None:
            return replace(self, view=newest)
        patch = seen.patch
        is_untracked = self.view is not None and seen.view is not newest
        can_be_found = is_untracked and patch is not None and patch.corners is not None
        return Anchored(
            self.target.with_box(clip_box(seen.whole, *newest.size)),
            newest,
            seen.whole,
            self.confirmed_ns,
            is_untracked=is_untracked,
            seen_in=(seen.seen_in or seen.view) if can_be_found else None,
            is_lost=can_be_found and patch is not None and not patch.looks_alike(newest.grey),
            moved_px=0.0 if self.whole is None else _farthest(self.whole, seen.whole),
        )

    def corrected(self, boxes: Mapping[str, Box]) -> Anchored:
        """By the box that its id has among these, the mask's.

        What could not be tracked goes there. What was tracked goes there by a part of how far it
        has moved, where both agree: errors of tracking grow with the way, and a mask's do not.
        """
        box = boxes.get(self.target.id)
        if box is None or self.whole is None:
            return self
        if not self.is_untracked:
            if self.target.box != self.whole or box_iou(self.whole, box) < AGREEING_IOU:
                return self
            box = _towards(self.whole, box, CORRECTED_SHARE * self.moved_px)
        return replace(self, target=self.target.with_box(box), whole=box, seen_in=None)

    @cached_property
    def patch(self) -> Patch | None:
        """What can be followed from here, in the small grey picture; None without box and view."""
        view, box = self.seen_in or self.view, self.whole
        if view is None or box is None:
            return None
        across, down = view.to_grey
        small = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        return Patch(view.grey, small)

    def _followed(self, view: View) -> Box | None:
        """Where the box is in a view, px of its full size; None when it is lost."""
        moved = None if self.patch is None else self.patch.follow(view.grey)
        if moved is None:
            return None
        across, down = view.to_grey
        return moved[0] / across, moved[1] / down, moved[2] / across, moved[3] / down


def _farthest(one: Box, other: Box) -> float:
    """How far the sides of two boxes are apart, at most, px."""
    return max(abs(before - after) for before, after in zip(one, other, strict=True))


def _towards(box: Box, other: Box, most_px: float) -> Box:
    """The box with each side moved towards another's, by so much at most."""
    x0, y0, x1, y1 = (
        side + min(max(wanted - side, -most_px), most_px)
        for side, wanted in zip(box, other, strict=True)
    )
    return x0, y0, x1, y1
