"""The protocol every engine speaks: load (the constructor), infer, close; named numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class EngineError(RuntimeError):
    """A graph that cannot be loaded or run; the text names the file and the reason."""


class Engine(Protocol):
    """One loaded graph."""

    name: str
    input_shapes: Mapping[str, tuple[int | None, ...]]
    output_names: tuple[str, ...]

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the graph once. Inputs and outputs by name; raises EngineError."""
        ...

    def close(self) -> None:
        """Free the graph's memory; the engine is not used afterwards."""
        ...
