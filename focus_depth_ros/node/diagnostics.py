"""The node's state as one DiagnosticStatus: what runs, how many frames, what is wrong."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time

from focus_depth_ros.node.camera import FrameCounts


def diagnostic_array(
    name: str,
    now: Time,
    state: str,
    counts: FrameCounts,
    facts: dict[str, str],
    active_problems: dict[str, str],
    problem_counts: dict[str, int],
) -> DiagnosticArray:
    """OK while nothing is wrong, WARN while problems are active, ERROR when no model is loaded."""
    level, message = DiagnosticStatus.OK, state
    if 'model' in active_problems or state == 'failed':
        level = DiagnosticStatus.ERROR
    elif active_problems:
        level = DiagnosticStatus.WARN
    if active_problems:
        message = f'{state}: ' + '; '.join(active_problems.values())
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
