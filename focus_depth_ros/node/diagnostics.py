"""The node's state as one DiagnosticStatus: what runs, how many frames, what is wrong."""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time

from focus_depth_ros.node.camera import SILENCE_S, FrameCounts


class Rates:
    """Messages a second since the last time one asked."""

    def __init__(self) -> None:
        self._seen_s = 0.0
        self._counts: dict[str, int] = {}

    def since_last(self, counts: FrameCounts) -> dict[str, str]:
        """For the diagnostics; nothing the first time and after the counts began anew."""
        now_s, then_s = time.monotonic(), self._seen_s
        now, then = _counted(counts), self._counts
        self._seen_s, self._counts = now_s, now
        if not then or any(now[name] < then[name] for name in now):
            return {}
        return {
            f'rate {name} Hz': f'{(now[name] - then[name]) / (now_s - then_s):.1f}' for name in now
        }


def _counted(counts: FrameCounts) -> dict[str, int]:
    return {
        'received': counts.received,
        'answered': counts.answered,
        'camera_info': counts.camera_infos,
    }


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
