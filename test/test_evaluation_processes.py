"""Programs under test as children, and what their times are summed up by."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from focus_depth_ros.evaluation.child_process import ChildFailed, ChildProcess
from focus_depth_ros.evaluation.overhead import node_overhead
from focus_depth_ros.evaluation.percentiles import percentiles

WAITS = """
import signal
signal.signal(signal.SIGINT, lambda *_: exit(3))
print("ready", flush=True)
signal.pause()
"""
ENDS = 'print("no camera"); exit(1)'


def test_a_child_is_waited_for_and_interrupted(tmp_path: Path) -> None:
    child = ChildProcess('node', [sys.executable, '-c', WAITS], tmp_path)
    child.wait_for_words('ready')
    assert Path(f'/proc/{child.pid}').is_dir()
    assert child.stop() == 3
    assert child.stop() == 3


def test_a_child_that_ends_says_why(tmp_path: Path) -> None:
    child = ChildProcess('node', [sys.executable, '-c', ENDS], tmp_path)
    with pytest.raises(ChildFailed, match=r'the node did not start:\nno camera'):
        child.wait_for_words('ready')
    assert child.stop() == 1


def test_overhead_is_what_is_not_the_network() -> None:
    """Of 60, 90 and 50 ms the network takes 40, 50 and 40: 20, 40 and 10 ms, 1/2, 4/5 and 1/4."""
    found = node_overhead([60.0, 90.0, 50.0], [40.0, 50.0, 40.0])
    assert found['overhead_ms'] == {'p50': 20.0, 'p90': 36.0, 'p99': 39.6}
    assert found['overhead_ratio'] == {'p50': 0.5, 'p90': 0.74, 'p99': 0.794}
    assert found['overhead_times'] == [3, 3]


def test_overhead_is_unknown_once_a_time_was_lost() -> None:
    """The first inference time is missing, so that none would meet its own latency."""
    found = node_overhead([60.0, 90.0, 50.0], [50.0, 40.0])
    for name in ('overhead_ms', 'overhead_ratio'):
        assert all(map(math.isnan, found[name].values()))
    assert found['overhead_times'] == [3, 2]


def test_the_demo_charges_the_recorded_camera_to_nobody() -> None:
    """75 ms from a picture's stamp on, of which the camera took 15 and the network 40."""
    pytest.importorskip('rclpy', reason='the demo plays to a node')
    pytest.importorskip('rosbags', reason='the demo reads recordings')
    from focus_depth_ros.evaluation.demo import summarise
    from focus_depth_ros.evaluation.recording import Answers

    answers = Answers(times_ms={'pipeline_latency_ms': [75.0], 'inference_time_ms': [40.0]})
    summary = summarise({'sent': {}}, answers, [], camera_delay_ms=15.0)
    assert summary['latency_ms']['p50'] == 75.0
    assert summary['overhead_ms']['p50'] == 20.0
    assert summary['overhead_ratio']['p50'] == 0.5


def test_percentiles_are_rounded_and_nan_of_nothing() -> None:
    assert percentiles(np.arange(101) / 3) == {'p50': 16.67, 'p90': 30.0, 'p99': 33.0}
    assert percentiles([1.0, 2.0], digits=1) == {'p50': 1.5, 'p90': 1.9, 'p99': 2.0}
    assert all(map(math.isnan, percentiles([]).values()))
