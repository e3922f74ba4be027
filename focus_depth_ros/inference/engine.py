"""What every engine is: one loaded graph that infers and closes; and how a backend loads one.

A new engine is one file with a subclass of `Backend`, and its line in `backends.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

MAX_TARGETS = 8
"""Every engine answers one to eight targets a call; what asks for more asks several times."""

Buffer = Any
"""A numpy array, or what an engine keeps on its device: opaque, but `np.asarray` fetches it."""

Progress = Callable[[str, float], None]
"""Hears what is being prepared, and how much of it is done, in [0, 1]; from any thread."""


class EngineError(RuntimeError):
    """A graph that cannot be loaded or run; the text names the file and the reason."""


class Cancelled(EngineError):
    """A preparation that was called off."""


class Engine(Protocol):
    """One loaded graph."""

    name: str
    input_shapes: Mapping[str, tuple[int | None, ...]]
    output_names: tuple[str, ...]

    def infer(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run the graph once, inputs and outputs by name.

        Raises EngineError for whatever goes wrong: inputs, memory, a device that is gone.
        """
        ...

    def close(self) -> None:
        """Free the graph's memory; the engine is not used afterwards."""
        ...


@dataclass(frozen=True)
class LoadOptions:
    """How a graph is loaded.

    `precision` is fp32, fp16 or int8. `keep_outputs`: the outputs may stay on the device, valid
    until the engine infers again, since an engine of the same backend takes them as its inputs.
    """

    threads: int = 1
    precision: str = 'fp32'
    keep_outputs: bool = False


class Preparation(Enum):
    """Whether a graph can be loaded at once, has to be built first, or must not be used."""

    READY = 'ready'
    ABSENT = 'not built yet'
    REFUSED = 'built, but its answers were found wrong'


class Backend:
    """One kind of engine. `precisions` are tried in this order when the user names none.

    `takes_quantised`: int8 is the model folder's own quantised graphs, not ones made here.
    """

    name = ''
    precisions: tuple[str, ...] = ('fp32',)
    takes_quantised = False

    def missing(self) -> str:
        """Why it cannot run on this machine; empty where it can."""
        return ''

    def preparation(self, graph: Path, options: LoadOptions) -> Preparation:
        """Whether `load` will be quick. Engines that build nothing are always ready."""
        return Preparation.READY

    def builder(self, model: Path, precision: str) -> str:
        """The command by which a user builds what is absent: the node does it in the background.

        `precision` as it was asked for, perhaps auto.
        """
        asked = '' if precision == 'auto' else f' -p precision:={precision}'
        return f'focus-depth run --ros-args -p backend:={self.name} -p model:={model}{asked}'

    def prepare(
        self, graph: Path, options: LoadOptions, progress: Progress, cancelled: threading.Event
    ) -> None:
        """Build what `load` needs; takes minutes. Raises EngineError, Cancelled when called off."""

    def load(self, graph: Path, options: LoadOptions) -> Engine:
        """The engine of one graph. Raises EngineError."""
        raise NotImplementedError

    def remember_check(self, graph: Path, options: LoadOptions, report: dict[str, Any]) -> None:
        """Keep the self-check's report (its `passed` decides) where `preparation` looks."""
