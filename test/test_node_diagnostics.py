"""What /diagnostics says of frames that come, come no more, and never came."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.time import Time

from focus_depth_ros.node import diagnostics
from focus_depth_ros.node.camera import FrameCounts
from focus_depth_ros.node.diagnostics import SILENCE_S, Rates, diagnostic_array


def status(counts: FrameCounts, state: str = 'active', failure: str = '') -> DiagnosticStatus:
    (found,) = diagnostic_array('me', Time(), state, failure, counts, {}, {}, {}).status
    return found


def counts(ago_s: float, received: int = 10, answered: int = 0) -> FrameCounts:
    return FrameCounts(diagnostics.time.monotonic() - ago_s, received, answered)


def test_a_camera_that_stops_is_noticed() -> None:
    assert status(counts(0.1)).level == DiagnosticStatus.OK
    silent = status(counts(SILENCE_S + 2))
    assert silent.level == DiagnosticStatus.WARN
    assert silent.message == f'active: no picture has come for {SILENCE_S + 2:.0f} s'
    assert 'no picture has come yet' in status(counts(60, received=0)).message
    assert status(counts(60), state='inactive').level == DiagnosticStatus.OK
    assert status(counts(60), failure='no model').level == DiagnosticStatus.ERROR


def test_rates_are_those_since_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(diagnostics.time, 'monotonic', lambda: now[0])
    rates = Rates()
    assert rates.since_last(counts(0, 50, 40)) == {}
    now[0] += 2.0
    found = rates.since_last(replace(counts(0, 110, 70), camera_infos=90))
    assert found == {
        'rate received Hz': '30.0',
        'rate answered Hz': '15.0',
        'rate camera_info Hz': '45.0',
    }
    now[0] += 1.0
    assert rates.since_last(counts(0, 5, 0)) == {}  # activated anew
    now[0] += 1.0
    assert rates.since_last(counts(0, 5, 0)) == {
        'rate received Hz': '0.0',
        'rate answered Hz': '0.0',
        'rate camera_info Hz': '0.0',
    }
