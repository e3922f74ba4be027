"""Which engine runs a graph, by the name that a user gives."""

from __future__ import annotations

from pathlib import Path

from focus_depth_ros.inference.engine import Engine, EngineError
from focus_depth_ros.inference.onnxruntime_engine import OnnxRuntimeEngine, cuda_is_offered

BACKENDS = ('auto', 'onnxruntime', 'onnxruntime_cuda')


def load_engine(graph: Path, backend: str, threads: int) -> Engine:
    """Load `graph` with the engine that `backend` names.

    `auto` takes CUDA where this machine's ONNX Runtime offers it and the CPU otherwise.
    Raises EngineError for an unknown backend, one that is not there, or a broken file.
    """
    if backend not in BACKENDS:
        raise EngineError(f'no backend {backend!r}; there are: {", ".join(BACKENDS)}')
    cuda = cuda_is_offered() if backend == 'auto' else backend == 'onnxruntime_cuda'
    return OnnxRuntimeEngine(graph, threads=threads, cuda=cuda)
