"""Builds an engine in a thread of its own while another one serves, and checks it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from focus_depth_ros.inference.engine import Cancelled, EngineError, LoadOptions, Preparation
from focus_depth_ros.inference.engine_cache import CacheError
from focus_depth_ros.inference.engine_pair import EnginePair
from focus_depth_ros.inference.fallback import Attempt, open_checked, preparation
from focus_depth_ros.inference.model_folder import ModelFolder, check_unchanged
from focus_depth_ros.inference.self_check import CheckReport

CANCEL_WAIT_S = 3.0
"""A launcher kills what has not ended five seconds after it was asked to."""

Done = Callable[[EnginePair, CheckReport], None]
Say = Callable[[str], None]


class BackgroundPreparation:
    """Works through the attempts until one is built and answers rightly, which `done` gets.

    `failed` hears of each attempt that came to nothing. `progress` is what /diagnostics shows.
    """

    def __init__(
        self,
        folder: ModelFolder,
        wanted: Iterable[Attempt],
        threads: int,
        done: Done,
        failed: Say,
    ) -> None:
        self.progress = 'starts'
        self._folder, self._wanted, self._threads = folder, wanted, threads
        self._done, self._failed = done, failed
        self._cancelled = threading.Event()
        self._thread = threading.Thread(
            target=self._work, name='focus_depth engine build', daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Call the work off and wait for its end; what is built stays in the cache."""
        self._cancelled.set()
        self._thread.join(CANCEL_WAIT_S)

    def _work(self) -> None:
        for attempt in self._wanted:
            try:
                pair, report = self._try(attempt)
            except Cancelled:
                self.progress = 'cancelled'
                return
            except Exception as error:  # a builder must not take the node down, whatever it does
                self.progress = f'{attempt} failed: {error}'
                self._failed(f'{attempt}: {error}')
                if isinstance(error, CacheError):  # minutes more would end in the same
                    return
                continue
            if self._cancelled.is_set():
                pair.close()
                self.progress = 'cancelled'
                return
            self.progress = f'{attempt} is ready'
            self._done(pair, report)
            return

    def _try(self, attempt: Attempt) -> tuple[EnginePair, CheckReport]:
        check_unchanged(self._folder)
        state = preparation(self._folder, attempt)
        if state is Preparation.REFUSED:
            raise EngineError(state.value)
        if state is Preparation.ABSENT:
            options = LoadOptions(self._threads, attempt.precision)
            for graph in self._folder.graphs:
                self._stop_where_cancelled(attempt)
                attempt.backend.prepare(graph, options, self._report, self._cancelled)
        self._stop_where_cancelled(attempt)
        self.progress = f'{attempt}: self-check'
        return open_checked(self._folder, attempt, self._threads)

    def _stop_where_cancelled(self, attempt: Attempt) -> None:
        if self._cancelled.is_set():
            raise Cancelled(str(attempt))

    def _report(self, what: str, share: float) -> None:
        self.progress = f'{what}: {share:.0%}'
