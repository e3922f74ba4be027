"""The protocol every engine speaks: load (the constructor), infer, close; named numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

BACKENDS = ('auto', 'onnxruntime', 'onnxruntime_cuda')


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


def load_engine(graph: Path, backend: str, threads: int) -> Engine:
    """Load `graph` with the engine that `backend` names.

    `auto` takes CUDA where this machine's ONNX Runtime offers it and the CPU otherwise.
    Raises EngineError for an unknown backend, one that is not there, or a broken file.
    """
    from focus_depth_ros.inference.onnxruntime_engine import OnnxRuntimeEngine, cuda_is_offered

    if backend not in BACKENDS:
        raise EngineError(f'no backend {backend!r}; there are: {", ".join(BACKENDS)}')
    cuda = cuda_is_offered() if backend == 'auto' else backend == 'onnxruntime_cuda'
    return OnnxRuntimeEngine(graph, threads=threads, cuda=cuda)


def warm_up(engine: Engine) -> None:
    """Run once on zeros (dynamic axes as 1), so that the first real frame is not the slow one."""
    engine.infer(
        {
            name: np.zeros([size or 1 for size in shape], _dtype_of(name))
            for name, shape in engine.input_shapes.items()
        }
    )


def _dtype_of(name: str) -> str:
    return {'image': 'uint8', 'words': 'int32'}.get(name, 'float32')
