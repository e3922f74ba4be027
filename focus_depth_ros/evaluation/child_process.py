"""A program under test in a process of its own: started, waited for, interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.005


class ChildFailed(ValueError):
    """A child that did not start, or ended otherwise than it should."""


class ChildProcess:
    """A child in a session of its own, its output in a file of the folder `scratch`."""

    def __init__(self, name: str, command: list[str], scratch: Path) -> None:
        self.name = name
        self._log = scratch / f'{name}.log'
        with self._log.open('w', encoding='utf-8') as sink:
            self._process = subprocess.Popen(
                command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_for_words(self, words: str) -> None:
        """Wait until the child has printed `words`; else ChildFailed with what it said instead."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while words not in (said := self._log.read_text(encoding='utf-8')):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ChildFailed(f'the {self.name} did not start:\n{said}')
            time.sleep(POLL_S)

    def stop(self) -> int:
        """Interrupt the child; its exit status."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self._process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()
