"""The node's state as one DiagnosticStatus: what runs, how many frames, what is wrong."""

from __future__ import annotations

import time
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time

from focus_depth_ros.node.camera import FrameCounts

SILENCE_S = 3.0
"""A camera that gives no picture for so long has stopped."""


@dataclass
class Rates:
    """Pictures a second since the last time one asked."""

    _seen_s: float = 0.0
    _received: int = 0
    _answered: int = 0

    def since_last(self, counts: FrameCounts) -> dict[str, str]:
        """For the diagnostics; nothing the first time and after the counts began anew."""
        now_s = time.monotonic()
        passed_s, began_anew = now_s - self._seen_s, counts.received < self._received
        rates = {
            'rate received Hz': (counts.received - self._received) / passed_s,
            'rate answered Hz': (counts.answered - self._answered) / passed_s,
        }
        is_first = not self._seen_s
        self._seen_s, self._received, self._answered = now_s, counts.received, counts.answered
        return {} if is_first or began_anew else {k: f'{rate:.1f}' for k, rate in rates.items()}


def diagnostic_array(
    name: str,
    now: Time,
    state: str,
    failure: str,
    counts: FrameCounts,
    facts: dict[str, str],
    active_problems: dict[str, str],
    problem_counts: dict[str, int],
) -> DiagnosticArray:
    """OK while nothing is wrong, WARN while problems are active, ERROR after a `failure`."""
    problems = list(active_problems.values())
    silent_s = time.monotonic() - counts.newest_s
    if state == 'active' and counts.received == 0:
        problems.append('no picture has come yet')
    elif state == 'active' and silent_s > SILENCE_S:
        problems.append(f'no picture has come for {silent_s:.0f} s')
    level = DiagnosticStatus.OK
    if failure:
        level, problems = DiagnosticStatus.ERROR, [failure]
    elif problems:
        level = DiagnosticStatus.WARN
    message = f'{state}: ' + '; '.join(problems) if problems else state
    values = {
        'frames received': str(counts.received),
        'frames answered': str(counts.answered),
        'frames dropped': str(counts.dropped),
        'frames refused': str(counts.refused),
        **facts,
        **{f'problem {kind}': str(count) for kind, count in problem_counts.items()},
    }
    status = DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id='none',
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = now.to_msg()
    return array
