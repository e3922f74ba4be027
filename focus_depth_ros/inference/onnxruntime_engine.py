"""ONNX Runtime: the engine that runs on any CPU, and on CUDA where its build offers that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from focus_depth_ros.inference.engine import Arrays, EngineError


def cuda_is_offered() -> bool:
    """True when this build of ONNX Runtime carries the CUDA provider."""
    return 'CUDAExecutionProvider' in onnxruntime.get_available_providers()


class OnnxRuntimeEngine:
    """One ONNX graph in an ONNX Runtime session.

    `threads` bounds the session's own threads; they do not spin while idle, so that the core
    they leave belongs to ROS. Raises EngineError for a file that is no graph or a missing provider.
    """

    def __init__(self, graph: Path, threads: int, cuda: bool = False) -> None:
        if cuda and not cuda_is_offered():
            raise EngineError(
                "backend 'onnxruntime_cuda': this ONNX Runtime has no CUDA provider "
                '(install onnxruntime-gpu, or choose backend auto)'
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        providers = ['CUDAExecutionProvider'] if cuda else []
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=[*providers, 'CPUExecutionProvider']
            )
        except Exception as error:
            raise EngineError(
                f'{graph}: not a graph that ONNX Runtime can load: {error}'
            ) from error
        if cuda and self._session.get_providers()[0] != 'CUDAExecutionProvider':
            raise EngineError(
                "backend 'onnxruntime_cuda': CUDA is built in but did not start (driver, cuDNN?)"
            )
        self.name = 'onnxruntime ' + self._session.get_providers()[0].removesuffix(
            'ExecutionProvider'
        )
        self.input_shapes: Mapping[str, tuple[int | None, ...]] = {
            node.name: tuple(size if isinstance(size, int) else None for size in node.shape)
            for node in self._session.get_inputs()
        }
        self.output_names = tuple(node.name for node in self._session.get_outputs())

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the graph once; raises EngineError when the runtime refuses the inputs."""
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:
            raise EngineError(f'inference failed: {error}') from error
        return dict(zip(self.output_names, outputs, strict=True))

    def close(self) -> None:
        """Drop the session and with it the runtime's memory."""
        del self._session
