"""The node's state as one DiagnosticStatus: what runs, how many frames, what is wrong."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time

from focus_depth_ros.node.camera import FrameCounts


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
    if state == 'active' and counts.received == 0:
        problems.append('no picture has come yet')
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
