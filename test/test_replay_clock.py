"""Stamps of a replay: of the log's clock, of a camera's own, and those that are no time."""

import pytest

from focus_depth_ros.node.replay_clock import DAY_NS, LAST_NS, ReplayClock

LOGGED = 1_700_000_000_000_000_000
NOW = LOGGED + 400 * DAY_NS
MS = 1_000_000


@pytest.mark.parametrize(('rate', 'slower'), [(1.0, 1), (0.5, 2)])
def test_stamps_of_the_logs_clock_keep_their_distance_to_it(rate: float, slower: int) -> None:
    clock = ReplayClock(LOGGED, NOW, rate)
    taken = LOGGED + 970 * MS  # 30 ms before it was logged
    assert clock.replayed_ns(taken, LOGGED + 1000 * MS) == NOW + (slower * 1000 - 30) * MS
    later = clock.replayed_ns(taken + 100 * MS, LOGGED + 1100 * MS)
    assert later == NOW + (slower * 1100 - 30) * MS
    assert clock.replayed_ns(taken, LOGGED + 5000 * MS) == NOW + (slower * 1000 - 30) * MS


@pytest.mark.parametrize(('rate', 'slower'), [(1.0, 1), (0.5, 2)])
def test_stamps_of_a_cameras_own_clock_become_the_replays(rate: float, slower: int) -> None:
    clock = ReplayClock(LOGGED, NOW, rate)
    clock.replayed_ns(LOGGED, LOGGED)
    since_start = 12_000 * MS  # of the camera
    assert clock.replayed_ns(since_start, LOGGED + 200 * MS) == NOW + slower * 200 * MS
    later = clock.replayed_ns(since_start + 33 * MS, LOGGED + 240 * MS)
    assert later == NOW + slower * 233 * MS
    assert clock.replayed_ns(LOGGED + 300 * MS, LOGGED + 300 * MS) == NOW + slower * 300 * MS


def test_a_stamp_of_no_time_stays() -> None:
    clock = ReplayClock(LOGGED, NOW, 0.5)
    assert clock.replayed_ns(0, LOGGED) == 0
    assert clock.replayed_ns(LOGGED, LOGGED) == NOW


def test_no_stamp_leaves_what_a_header_can_hold() -> None:
    clock = ReplayClock(LOGGED, LAST_NS - MS, 1.0)
    assert clock.replayed_ns(LOGGED, LOGGED) == LAST_NS - MS
    assert clock.replayed_ns(LOGGED + 2 * MS, LOGGED) == LAST_NS
    assert clock.replayed_ns(LOGGED - DAY_NS + 1, LOGGED) > 0
    assert ReplayClock(LOGGED, MS, 1.0).replayed_ns(LOGGED - 2 * MS, LOGGED) == 0
