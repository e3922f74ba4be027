"""Programs under test as children, and what their times are summed up by."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from focus_depth_ros.evaluation.child_process import ChildFailed, ChildProcess
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


def test_percentiles_are_rounded_and_nan_of_nothing() -> None:
    assert percentiles(np.arange(101) / 3) == {'p50': 16.67, 'p90': 30.0, 'p99': 33.0}
    assert percentiles([1.0, 2.0], digits=1) == {'p50': 1.5, 'p90': 1.9, 'p99': 2.0}
    assert all(map(math.isnan, percentiles([]).values()))
