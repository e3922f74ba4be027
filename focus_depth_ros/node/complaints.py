"""Says what is wrong once per kind, not thirty times a second, and keeps it for /diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from focus_depth_ros.core import InvalidInput

QUIET_S = 30.0
ACTIVE_S = 3.0
MAX_CHARACTERS = 1000


@dataclass
class Complaint:
    """One kind of fault: the newest text, how often, when last logged and seen (monotonic s)."""

    text: str
    count: int
    logged_s: float
    seen_s: float


class Complaints:
    """Collects faults by kind; `log` hears of a kind at first and then every 30 s at most."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._by_kind: dict[str, Complaint] = {}

    def __call__(self, problem: InvalidInput) -> None:
        """Take note of a fault."""
        now = time.monotonic()
        text = str(problem)  # which may quote a message, whose names may be megabytes
        text = text if len(text) <= MAX_CHARACTERS else f'{text[:MAX_CHARACTERS]}...'
        with self._lock:
            known = self._by_kind.get(problem.kind)
            loud = known is None or now - known.logged_s > QUIET_S
            self._by_kind[problem.kind] = Complaint(
                text=text,
                count=1 if known is None else known.count + 1,
                logged_s=now if loud or known is None else known.logged_s,
                seen_s=now,
            )
        if loud:
            how_often = f'said at most every {QUIET_S:g} s, counted in /diagnostics'
            self._log(f'{text} [{problem.kind}; {how_often}]')

    def counts(self) -> dict[str, int]:
        """How often each kind was seen since the start."""
        with self._lock:
            return {kind: complaint.count for kind, complaint in self._by_kind.items()}

    def active(self) -> dict[str, str]:
        """Newest text of every kind seen within the last seconds."""
        now = time.monotonic()
        with self._lock:
            return {
                kind: complaint.text
                for kind, complaint in self._by_kind.items()
                if now - complaint.seen_s < ACTIVE_S
            }
