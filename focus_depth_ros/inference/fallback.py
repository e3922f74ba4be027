"""From what a user wants to what this machine can run: the order of attempts, each with its reason.

Nothing serves that failed its self-check; what is passed over is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from focus_depth_ros.inference.backends import AUTOMATIC, REFERENCE, backend_named
from focus_depth_ros.inference.engine import Backend, EngineError, LoadOptions, Preparation
from focus_depth_ros.inference.engine_pair import EnginePair
from focus_depth_ros.inference.model_folder import ModelError, ModelFolder
from focus_depth_ros.inference.self_check import CheckReport, self_check

PRECISIONS = ('auto', 'fp32', 'fp16', 'int8')


@dataclass(frozen=True)
class Attempt:
    """One thing to try: a backend at a precision."""

    backend: Backend
    precision: str

    @property
    def is_reference(self) -> bool:
        """True for what every other attempt is checked against."""
        return self.backend.name == REFERENCE and self.precision == 'fp32'

    def __str__(self) -> str:
        """As diagnostics name it."""
        return f'{self.backend.name} {self.precision}'


@dataclass(frozen=True)
class Choice:
    """What serves, what was passed over and why.

    `failed`: something was there that should have served and could not. `unbuilt`: something may
    serve once it is built.
    """

    pair: EnginePair
    check: CheckReport | None
    passed_over: tuple[str, ...]
    failed: bool
    unbuilt: bool

    def __str__(self) -> str:
        """The whole reasoning in one line."""
        return '; '.join([f'{self.pair.name} serves', *self.passed_over])


def attempts(folder: ModelFolder, backend: Backend, precision: str) -> Iterator[Attempt]:
    """A backend at the precision a user names, or at its own ones in order.

    Behind a backend that has a precision of its own, the reference serves as it is.
    """
    named = (precision,)
    if backend.name == REFERENCE and precision not in backend.precisions:
        named = ('fp32',)
    for each in backend.precisions if precision == 'auto' else named:
        is_there = each != 'int8' or not backend.takes_quantised or folder.quantised_graphs
        if is_there or precision == 'int8':
            yield Attempt(backend, each)


def choose(folder: ModelFolder, wanted: str, precision: str, threads: int) -> Choice:
    """Load the first engine that is there, is built and answers rightly.

    Whatever fails falls back on ONNX Runtime on the CPU. Raises EngineError for a backend that
    was named and cannot run here, ModelError for graphs that are not what the manifest says.
    """
    passed_over: list[str] = []
    failed = unbuilt = False
    for name in AUTOMATIC if wanted == 'auto' else dict.fromkeys((wanted, REFERENCE)):
        backend = backend_named(name)
        if reason := backend.missing():
            if wanted != 'auto':
                raise EngineError(f'backend {name!r}: {reason}')
            passed_over.append(f'{name}: {reason}')
            continue
        if name == REFERENCE and precision not in ('auto', *backend.precisions):
            passed_over.append(f'{name}: it computes in no {precision}')
        for attempt in attempts(folder, backend, precision):
            if attempt.is_reference:
                break
            try:
                state = preparation(folder, attempt)
                if state is Preparation.READY:
                    pair, check = open_checked(folder, attempt, threads)
                    return Choice(pair, check, tuple(passed_over), failed, unbuilt)
                passed_over.append(f'{attempt}: {state.value}')
            except EngineError as error:
                state = Preparation.REFUSED
                passed_over.append(f'{attempt}: {error}')
            if state is not Preparation.ABSENT:
                failed = True
                continue
            unbuilt = True
            if wanted != 'auto':  # it is about to be built
                break
    reference = reference_pair(folder, threads)
    return Choice(reference, None, tuple(passed_over), failed, unbuilt)


def preparation(folder: ModelFolder, attempt: Attempt) -> Preparation:
    """The worst state of the graphs."""
    options = LoadOptions(precision=attempt.precision)
    states = [attempt.backend.preparation(graph, options) for graph in folder.graphs]
    return max(states, key=list(Preparation).index)


def open_checked(
    folder: ModelFolder, attempt: Attempt, threads: int
) -> tuple[EnginePair, CheckReport]:
    """A pair that agrees with the reference, and the report on it.

    Raises EngineError when it cannot be loaded or answers wrongly, which is remembered.
    """
    try:
        pair = EnginePair(folder, attempt.backend, attempt.precision, threads)
    except ModelError as error:
        raise EngineError(str(error)) from error
    try:
        report = _checked(pair, attempt, threads)
    except (EngineError, ModelError, OSError) as error:
        pair.close()
        raise EngineError(str(error)) from error
    return pair, report


def _checked(pair: EnginePair, attempt: Attempt, threads: int) -> CheckReport:
    reference = reference_pair(pair.folder, threads)
    try:
        report = self_check(pair, reference)
    finally:
        reference.close()
    for graph in pair.folder.graphs:
        options = LoadOptions(precision=attempt.precision)
        with suppress(EngineError):  # a cache that cannot be written to is no reason not to serve
            attempt.backend.remember_check(graph, options, report.as_dict())
    if not report.passed:
        raise EngineError(f'self-check {report}')
    return report


def reference_pair(folder: ModelFolder, threads: int) -> EnginePair:
    """ONNX Runtime on the CPU. Raises EngineError or ModelError."""
    return EnginePair(folder, backend_named(REFERENCE), 'fp32', threads)
