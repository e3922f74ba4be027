"""Times of a recording, moved to the time of its replay."""

from __future__ import annotations

from focus_depth_ros.node.stamps import NANOSECONDS_PER_SECOND

DAY_NS = 86_400 * NANOSECONDS_PER_SECOND
"""Times farther apart are of two clocks."""
LAST_NS = (1 << 31) * NANOSECONDS_PER_SECOND - 1
"""The last time that a header's stamp can hold."""


class ReplayClock:
    """Says when a recorded stamp is, in a replay that begins now; all times in ns.

    Besides the computer's time, in which a bag logs, stamps may be of a clock of their own: a
    camera's that counts from when it was switched on, a simulation's. The first stamp of such a
    clock is moved to when its message is played, others with it. Those of the log's clock keep
    their distance to it, so that latency can be read off them. All stamps of a clock are moved
    alike, whenever they were logged: a picture, its depth and its detections keep one in common.
    """

    def __init__(self, first_ns: int, now_ns: int, rate: float) -> None:
        self._first_ns = first_ns
        self._now_ns = now_ns
        self._rate = rate
        self._clocks: list[tuple[int, int]] = []  # of each its first stamp, recorded and replayed

    def replayed_ns(self, stamp_ns: int, logged_ns: int) -> int:
        """Of a stamp whose message was logged at `logged_ns`; 0, which is no time, stays."""
        if stamp_ns == 0:
            return 0
        recorded_ns, replayed_ns = self._clock_of(stamp_ns, logged_ns)
        moved_ns = replayed_ns + int((stamp_ns - recorded_ns) / self._rate)
        return min(max(moved_ns, 0), LAST_NS)

    def _clock_of(self, stamp_ns: int, logged_ns: int) -> tuple[int, int]:
        for clock in self._clocks:
            if abs(stamp_ns - clock[0]) < DAY_NS:
                return clock
        played_ns = self._now_ns + int((logged_ns - self._first_ns) / self._rate)
        before_ns = logged_ns - stamp_ns
        clock = stamp_ns, played_ns - (before_ns if abs(before_ns) < DAY_NS else 0)
        self._clocks.append(clock)
        return clock
