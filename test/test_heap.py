"""Large blocks are used again: without that every one of them costs its page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, threading
from focus_depth_ros.heap import keep_large_blocks_in_the_heap
if sys.argv[1] == 'kept':
    keep_large_blocks_in_the_heap(one_arena=True)
def use():
    for _ in range(10):
        bytes(b'x') * (100 << 20)
thread = threading.Thread(target=use)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc alone is told')
def test_large_blocks_are_not_mapped_anew() -> None:
    faults = {}
    for way in ('kept', 'mapped'):
        done = subprocess.run(
            [sys.executable, '-c', FAULTS, way], capture_output=True, text=True, check=True
        )
        faults[way] = int(done.stdout)
    assert faults['kept'] < 0.3 * faults['mapped'], faults
