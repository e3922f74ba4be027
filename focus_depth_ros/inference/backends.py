"""Which engine runs a graph, by the name that a user gives."""

from __future__ import annotations

from pathlib import Path

from focus_depth_ros.inference.engine import Engine, EngineError
from focus_depth_ros.inference.onnxruntime_engine import OnnxRuntimeEngine, cuda_is_offered

BACKENDS = ('auto', 'onnxruntime', 'onnxruntime_cuda')


def load_engine(graph: Path, backend: str, threads: int) -> Engine:
    """Load `graph` with the engine that `backend` names.

    `auto` takes CUDA where this machine's ONNX Runtime offers it and it starts, else the CPU.
    Raises EngineError for an unknown backend, one that is not there, or a broken file.
    """
    if backend not in BACKENDS:
        raise EngineError(f'no backend {backend!r}; there are: {", ".join(BACKENDS)}')
    if backend == 'auto' and cuda_is_offered():
        try:
            return OnnxRuntimeEngine(graph, threads, cuda=True)
        except EngineError:
            return OnnxRuntimeEngine(graph, threads)
    return OnnxRuntimeEngine(graph, threads, cuda=backend == 'onnxruntime_cuda')
