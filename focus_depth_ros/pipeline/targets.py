"""Which targets are wanted now, and where they are in the newest picture.

Detections speak of a picture that is already past. The last pictures are therefore kept (grey and
small); a detection is matched to its picture by stamp and carried from there to the newest one by
tracking, and put right by the network's masks. Where nothing can be tracked (a plain surface has no
corners) a box stays where it is and then follows its mask. What is lost is not asked about until it
is seen again: a box tells the network that there is something, whatever there is. Commands (a box,
words) stand above detections until cleared.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box, InvalidInput, Target, box_iou, clip_box
from focus_depth_ros.pipeline.anchored import Anchored, View

HISTORY_LENGTH = 60
PENDING_LENGTH = 8
FUTURE_NS = 1_000_000_000
CLOCK_JUMP_NS = 500_000_000
SKIPPED_NS = 500_000_000
"""How far a skipped picture may be from those that were taken: a node at 1 Hz still knows where its
detections were; after a longer pause nobody does."""
SLOW_CAMERA = 5
"""Times the timeout: how long after a detection the next picture may come and is asked about it."""
SAME_OBJECT_IOU = 0.3


@dataclass(frozen=True)
class _Detections:
    stamp_ns: int
    targets: tuple[Target, ...]


class TargetsInView:
    """Follows the wanted targets from picture to picture; safe to call from two threads.

    `complain` hears of everything that had to be left out. Times in nanoseconds.
    """

    def __init__(
        self,
        complain: Callable[[InvalidInput], None],
        max_targets: int,
        detection_slop_s: float,
        detection_timeout_s: float,
    ) -> None:
        self._complain = complain
        self._max_targets = max_targets
        self._slop_ns = int(detection_slop_s * 1e9)
        self._timeout_ns = int(detection_timeout_s * 1e9)
        self._lock = threading.Lock()
        self._history: deque[View] = deque(maxlen=HISTORY_LENGTH)
        self._newest_at_ns = 0
        self._is_commanded = False
        self._commanded: list[Anchored] = []
        self._detected: list[Anchored] = []
        self._pending: deque[_Detections] = deque(maxlen=PENDING_LENGTH)
        self._accepted_ns = 0
        self._last_of_other_size_ns = -1
        self._named = 0
        self._given_names: set[str] = set()
        self._numbers: Counter[str] = Counter()

    @property
    def is_commanded(self) -> bool:
        """Whether a command stands above detections, be its target in view or not."""
        with self._lock:
            return self._is_commanded

    def command(self, target: Target, append: bool, stamp_ns: int = 0) -> str:
        """Look at this target, in place of all others or (`append`) beside commanded ones.

        Returns its id, with a number where another one has it or, for a box, had it: answers of
        pictures on their way are then not taken for its own. A box speaks of the picture of
        `stamp_ns`, 0 for the newest. Raises InvalidInput when that picture is no longer kept, the
        box is outside it, or there are too many targets.
        """
        with self._lock:
            view = None
            if target.box is not None and stamp_ns and not self._history:
                raise InvalidInput('box', 'no picture has come yet: leave the stamp empty')
            if target.box is not None and self._history:
                view = self._view_at(stamp_ns) if stamp_ns else self._history[-1]
                target = target.with_box(clip_box(target.box, *view.size))
            others = self._commanded if append else []
            if len(others) >= self._max_targets:
                raise InvalidInput(
                    'targets', f'there are already {len(others)} targets, the maximum'
                )
            target = replace(target, id=self._free_name(target, others))
            self._commanded = [*others, Anchored(target, view, target.box)]
            self._is_commanded = True
            return target.id

    def _free_name(self, target: Target, others: Sequence[Anchored]) -> str:
        """The target's id, with a number where that is taken: for a box, where it ever was."""
        taken = {other.target.id for other in others}
        is_box = target.box is not None
        name, number = target.id, self._numbers[target.id] if is_box else 0
        while name in taken or (is_box and self._was_given(name)):
            number += 1
            name = f'{target.id}_{number}'
        if is_box:
            self._numbers[target.id] = number
        if not is_box or name == target.id:
            self._given_names.add(name)
        return name

    def _was_given(self, name: str) -> bool:
        """Whether a target has had this name; numbers of boxes are only counted."""
        stem, _, number = name.rpartition('_')
        is_number = number.isascii() and number.isdigit()
        return name in self._given_names or (is_number and int(number) <= self._numbers[stem])

    def detect(self, stamp_ns: int, targets: Sequence[Target]) -> None:
        """Take a detector's targets for the picture of `stamp_ns`, best score first.

        Targets without an id of their own get that of the followed one they lie on, or a new one;
        so do those that share theirs. The best that can be used are taken, up to the maximum.
        Detections older than those already taken are left out. Raises InvalidInput when that
        picture is not, and will not be, among the kept ones.
        """
        detections = _Detections(stamp_ns, tuple(targets))
        with self._lock:
            newest = self._history[-1].stamp_ns if self._history else None
            at_hand_ns = time.monotonic_ns() - self._newest_at_ns  # a slow node's may be old
            if newest is not None and stamp_ns > newest + FUTURE_NS + at_hand_ns:
                raise InvalidInput(
                    'detections_stamp',
                    f'detections are stamped {(stamp_ns - newest) / 1e9:.1f} s after the newest '
                    'picture; do camera and detector share a clock?',
                )
            if newest is None or stamp_ns > newest:
                self._pending.append(detections)
            else:
                self._accept(detections)

    def clear(self) -> int:
        """Forget every target; detections count again. Returns how many were forgotten."""
        with self._lock:
            count = len(self._commanded) + len(self._detected)
            self._commanded, self._detected, self._is_commanded = [], [], False
            self._pending.clear()
            return count

    def forget_pictures(self) -> None:
        """Forget the history and everything whose place was known only through it."""
        with self._lock:
            self._forget_pictures()

    def locate(self, stamp_ns: int, grey: NDArray[np.uint8], size: tuple[int, int]) -> list[Target]:
        """The targets in this picture: `grey` small uint8 (h, w), boxes in px of `size` (w, h).

        Lost ones are left out; of commanded ones that is said.
        """
        with self._lock:
            self._notice_breaks(stamp_ns, size)
            before_ns = self._history[-1].stamp_ns if self._history else stamp_ns
            self._history.append(View(stamp_ns, grey, size))
            self._newest_at_ns = time.monotonic_ns()
            self._accept_due(stamp_ns)
            if self._is_commanded:
                asked = self._commanded
                self._commanded = self._carried(asked)
                if asked and not self._commanded and all(seen.view is None for seen in asked):
                    self._is_commanded = False  # boxes of no picture that has come: no command
                if lost := [seen.target.id for seen in self._commanded if seen.is_lost]:
                    self._complain(_lost(lost))
                return _in_view(self._commanded)
            # of a camera that is slower than the timeout each detection is asked about once
            newest_known_ns = max(before_ns, stamp_ns - SLOW_CAMERA * self._timeout_ns)
            oldest_ns = min(stamp_ns - self._timeout_ns, newest_known_ns)
            self._detected = self._carried(s for s in self._detected if s.confirmed_ns >= oldest_ns)
            return _in_view(self._detected)

    def settle(self, boxes: Mapping[str, Box]) -> None:
        """Put boxes where the newest picture's masks are, by id: see `Anchored.corrected`.

        Meant for the time between an answer and the next picture: what can be followed from the
        newest one is found here, so that `locate` need not.
        """
        with self._lock:
            self._commanded = [seen.corrected(boxes) for seen in self._commanded]
            self._detected = [seen.corrected(boxes) for seen in self._detected]
            for seen in (*self._commanded, *self._detected):
                if seen.patch is not None:
                    _ = seen.patch.corners

    def _notice_breaks(self, stamp_ns: int, size: tuple[int, int]) -> None:
        if not self._history:
            return
        last = self._history[-1]
        if stamp_ns < last.stamp_ns:  # what was detected before the clock went back is not newer
            self._accepted_ns = min(self._accepted_ns, stamp_ns - 1)
        if stamp_ns < last.stamp_ns - CLOCK_JUMP_NS:
            self._complain(
                InvalidInput(
                    'clock',
                    f'the clock went back by {(last.stamp_ns - stamp_ns) / 1e9:.1f} s (a bag that '
                    'loops?); tracked boxes were forgotten',
                )
            )
            self._forget_pictures()
            self._last_of_other_size_ns = -1
        elif size != last.size:
            self._complain(
                InvalidInput(
                    'image_size_change',
                    f'pictures changed from {last.size[0]}x{last.size[1]} to {size[0]}x{size[1]} '
                    'px; tracked boxes were forgotten',
                )
            )
            self._forget_pictures()
            self._last_of_other_size_ns = last.stamp_ns
        elif stamp_ns == last.stamp_ns:
            self._complain(
                InvalidInput(
                    'image_stamp',
                    f'pictures repeat the stamp {stamp_ns / 1e9:.3f}: detections cannot be matched '
                    'to them',
                )
            )

    def _forget_pictures(self) -> None:
        self._history.clear()
        self._pending.clear()
        self._detected, self._accepted_ns = [], 0
        self._commanded = [seen for seen in self._commanded if seen.target.box is None]

    def _accept_due(self, stamp_ns: int) -> None:
        due = [detections for detections in self._pending if detections.stamp_ns <= stamp_ns]
        for detections in due:
            self._pending.remove(detections)
        if due:
            try:
                self._accept(max(due, key=lambda detections: detections.stamp_ns))
            except InvalidInput as problem:
                self._complain(problem)

    def _accept(self, detections: _Detections) -> None:
        view = self._view_at(detections.stamp_ns)
        if detections.stamp_ns < self._accepted_ns:
            return
        self._accepted_ns = detections.stamp_ns
        if self._is_commanded:  # they would be forgotten with the command
            return
        # some detectors give all the same id
        ids = Counter(target.id for target in detections.targets)
        # both in the newest picture: what moves is compared where it is, not where it was
        carried = self._carried(self._detected)
        followed = {seen.target.id: seen for seen in carried if ids[seen.target.id] != 1}
        accepted: list[Anchored] = []
        for target in detections.targets:
            if len(accepted) == self._max_targets:
                break
            assert target.box is not None, 'detections are boxes'
            try:
                target = target.with_box(clip_box(target.box, *view.size))
            except InvalidInput as problem:
                self._complain(problem)
                continue
            now = self._carry(Anchored(target, view, target.box, self._history[-1].stamp_ns))
            if now is None:
                continue
            if not target.id or ids[target.id] > 1:
                name = self._identify(now, followed, ids)
                now = replace(now, target=replace(now.target, id=name))
            followed.pop(now.target.id, None)
            # masks so far are of what was asked before: they say nothing of this box
            accepted.append(replace(now, is_untracked=False, moved_px=0.0))
        self._detected = accepted

    def _identify(
        self, now: Anchored, followed: Mapping[str, Anchored], given: Mapping[str, int]
    ) -> str:
        """The id of the followed target that this one lies on, or a new one that none is given.

        A lost one's box is where it was: only one that is lost as well may lie on it.
        """
        target = now.target
        overlaps = {
            name: box_iou(target.box, other.target.box)
            for name, other in followed.items()
            if other.target.label == target.label and (now.is_lost or not other.is_lost)
        }
        best = max(overlaps, key=lambda name: overlaps[name], default=None)
        if best is not None and overlaps[best] > SAME_OBJECT_IOU:
            return best
        name = ''
        while not name or name in given:
            self._named += 1
            name = f'{target.label or "detection"}_{self._named}'
        return name

    def _view_at(self, stamp_ns: int) -> View:
        """The kept picture nearest to the stamp.

        Pictures that were skipped have none of their own: between two that were taken it may be
        farther than the slop. Raises InvalidInput when it is too far.
        """
        if stamp_ns <= self._last_of_other_size_ns < self._history[0].stamp_ns:
            raise InvalidInput(
                'detections_stamp',
                f'stamp {stamp_ns / 1e9:.3f} is that of a picture of another size',
            )
        nearest = min(reversed(self._history), key=lambda view: abs(view.stamp_ns - stamp_ns))
        distance_ns = abs(nearest.stamp_ns - stamp_ns)
        first_ns, last_ns = self._history[0].stamp_ns, self._history[-1].stamp_ns
        if stamp_ns < first_ns - self._slop_ns and len(self._history) == HISTORY_LENGTH:
            raise InvalidInput(
                'detections_stamp',
                f'stamp {stamp_ns / 1e9:.3f} is {(last_ns - stamp_ns) / 1e9:.1f} s older than the '
                f'newest picture, and only pictures of the last {(last_ns - first_ns) / 1e9:.1f} s '
                'are kept: what named it is too slow for this camera, or has another clock',
            )
        is_between = first_ns < stamp_ns < last_ns
        if distance_ns > max(self._slop_ns, SKIPPED_NS if is_between else 0):
            raise InvalidInput(
                'detections_stamp',
                f'no kept picture within {self._slop_ns / 1e9:g} s of stamp {stamp_ns / 1e9:.3f}: '
                f'the nearest is {distance_ns / 1e9:.2f} s away',
            )
        return nearest

    def _carried(self, anchored: Iterable[Anchored]) -> list[Anchored]:
        carried = (self._carry(seen) for seen in anchored)
        return [seen for seen in carried if seen is not None]

    def _carry(self, seen: Anchored) -> Anchored | None:
        """The target in the newest picture; None, and a complaint, when it has left it."""
        later = [*takewhile(lambda view: view is not seen.view, reversed(self._history))][::-1]
        if not later:
            return seen
        try:
            return seen.carried(later)
        except InvalidInput as outside:
            name = seen.target.label or seen.target.id
            left = InvalidInput('tracking', f'target {name!r} has left the picture')
            self._complain(outside if seen.view is None else left)
            return None


def _in_view(followed: Iterable[Anchored]) -> list[Target]:
    return [seen.target for seen in followed if not seen.is_lost]


def _lost(ids: list[str]) -> InvalidInput:
    return InvalidInput(
        'target_lost',
        f'lost: {", ".join(ids)} (covered, blurred, or moved too far in one step); left out until '
        'seen again where it was, or named anew',
    )
