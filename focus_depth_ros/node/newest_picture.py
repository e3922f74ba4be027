"""The newest picture goes from the executor's thread to the worker's; what it replaces is dropped.

A worker slower than its camera finds, whenever it is done, a picture that has waited for it. Taking
that one at once gives the most answers, and old ones. Past half of the camera's period the next
picture is nearer than the last: waiting for it gives fewer answers, each of a picture that has just
come, and the newest answer that a robot has is then younger on the mean (Sun et al., Update or
Wait: How to Keep Your Data Fresh, IEEE Transactions on Information Theory, 2017). A worker that
keeps up and was held up once takes what there is, and catches up.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from statistics import median
from typing import Generic, TypeVar

Picture = TypeVar('Picture')

HANDOVER_S = 0.005
"""Longer than a picture is prepared: nothing waits for a worker that died."""
TIMES_KEPT = 5
STALE_SHARE = 0.5
"""Of the camera's period: an older picture gives way to the next one."""
LATE_SHARE = 1.5
"""Of the camera's period: when the next picture has not come by then, the last one is taken."""


class NewestPicture(Generic[Picture]):
    """One picture, put by one thread and taken by another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._picture: Picture | None = None
        self._arrived_s = 0.0
        self._taken_s = 0.0
        self._intervals_s: deque[float] = deque(maxlen=TIMES_KEPT)
        self._works_s: deque[float] = deque(maxlen=TIMES_KEPT)
        self._closed = False
        self._is_awaited = False
        self._work_goes_on = threading.Event()

    def put(self, picture: Picture) -> bool:
        """Leave a picture; True when it replaced one that nobody took.

        When the worker waits for it, the caller rests until `let_others_run`.
        """
        now_s = time.monotonic()
        with self._changed:
            if self._arrived_s:
                self._intervals_s.append(now_s - self._arrived_s)
            replaced = self._picture is not None
            self._picture, self._arrived_s = picture, now_s
            self._changed.notify()
            is_awaited = self._is_awaited
            self._work_goes_on.clear()
        if is_awaited:
            self._work_goes_on.wait(HANDOVER_S)
        return replaced

    def let_others_run(self) -> None:
        """To be called when the worker leaves the interpreter to others, for the network.

        Until then the executor's thread rests in the picture's callback: its bookkeeping would
        take the interpreter from the worker at each of its steps, and the answer would wait.
        """
        self._work_goes_on.set()

    def take(self) -> Picture | None:
        """Wait for a picture that was not taken yet and is fresh; None once closed."""
        self.let_others_run()
        if self._taken_s:
            self._works_s.append(time.monotonic() - self._taken_s)
        with self._changed:
            self._is_awaited = True
            self._changed.wait_for(lambda: self._closed or self._picture is not None)
            self._await_fresher()
            self._is_awaited = False
            picture, self._picture = self._picture, None
        self._taken_s = time.monotonic()
        return None if self._closed else picture

    def _await_fresher(self) -> None:
        """Let the next picture come first when the one at hand is stale and the next is due."""
        if not (self._intervals_s and self._works_s):
            return
        stale, period_s = self._picture, median(self._intervals_s)
        if median(self._works_s) <= period_s:
            return
        age_s = time.monotonic() - self._arrived_s
        if STALE_SHARE * period_s < age_s < LATE_SHARE * period_s:
            self._changed.wait_for(
                lambda: self._closed or self._picture is not stale,
                timeout=LATE_SHARE * period_s - age_s,
            )

    def close(self) -> None:
        """Let `take` return None, also when it waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
