"""Times of messages as whole nanoseconds."""

from __future__ import annotations

from typing import Any

NANOSECONDS_PER_SECOND = 1_000_000_000


def nanoseconds(stamp: Any) -> int:
    """A builtin_interfaces/Time in ns, whichever library read it."""
    return int(stamp.sec) * NANOSECONDS_PER_SECOND + int(stamp.nanosec)
