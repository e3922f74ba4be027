"""ONNX Runtime: the engine that runs on any CPU, and on its GPU providers where a build has them.

The CPU engine is also the reference that every other engine is checked against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from focus_depth_ros.inference.engine import Backend, Buffer, Engine, EngineError, LoadOptions
from focus_depth_ros.inference.graph_file import refuse_external_data

CPU = 'CPUExecutionProvider'
CUDA = 'CUDAExecutionProvider'
TENSORRT = 'TensorrtExecutionProvider'
DEVICES = {CPU: '', CUDA: 'cuda', TENSORRT: 'cuda'}
"""Where a provider's outputs can be kept; nowhere else than in numpy's memory for the CPU's."""
HELPERS = {CPU: [], CUDA: [CPU], TENSORRT: [CUDA, CPU]}
"""The providers that take the nodes which another one does not know."""
OPTIONS: dict[str, dict[str, Any]] = {CUDA: {'cudnn_conv_algo_search': 'HEURISTIC'}}
"""By default cuDNN tries every algorithm at each new number of targets, for up to a second."""


class OnnxRuntimeBackend(Backend):
    """ONNX Runtime on one of its execution providers."""

    def __init__(self, name: str, provider: str) -> None:
        self.name = name
        self._provider = provider
        if provider == CPU:
            self.precisions, self.takes_quantised = ('int8', 'fp32'), True

    def missing(self) -> str:
        """Why this build of ONNX Runtime lacks the provider."""
        if self._provider in onnxruntime.get_available_providers():
            return ''
        kind = self._provider.removesuffix('ExecutionProvider')
        return f'this ONNX Runtime has no {kind} provider (install onnxruntime-gpu)'

    def load(self, graph: Path, options: LoadOptions) -> Engine:
        """A session; raises EngineError for a file that is no graph or an absent provider."""
        if reason := self.missing():
            raise EngineError(f'backend {self.name!r}: {reason}')
        if options.precision not in self.precisions:
            raise EngineError(f'{self.name} has no {options.precision}, only {self.precisions}')
        if self._provider != CPU:
            find_cuda()
        return OnnxRuntimeEngine(graph, options, self._provider)


def find_cuda() -> None:
    """Load the CUDA and cuDNN that pip installs; ONNX Runtime looks in the system's places only."""
    if hasattr(onnxruntime, 'preload_dlls'):  # since 1.21
        with redirect_stdout(StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()


class DeviceOutput:
    """An output kept on a GPU; `np.asarray` fetches it in every version of ONNX Runtime."""

    def __init__(self, value: onnxruntime.OrtValue) -> None:
        self.value = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The values in host memory."""
        return np.asarray(self.value.numpy(), dtype)


class OnnxRuntimeEngine:
    """One ONNX graph in an ONNX Runtime session.

    `threads` bounds the session's own threads; they do not spin while idle, so that the core
    they leave belongs to ROS. Outputs that are kept on a GPU are `DeviceOutput`s. Raises
    EngineError for a file that is no graph or a provider that does not start.
    """

    def __init__(
        self,
        graph: Path,
        options: LoadOptions,
        provider: str = CPU,
        provider_options: Mapping[str, Any] | None = None,
    ) -> None:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 4  # what is wrong comes as an exception
        settings.add_session_config_entry('session.intra_op.allow_spinning', '0')
        refuse_external_data(graph)
        wanted = (provider, OPTIONS.get(provider, {}) | dict(provider_options or {}))
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), settings, providers=[wanted, *HELPERS[provider]], enable_fallback=0
            )
        except Exception as error:
            raise EngineError(f'{graph}: {provider} cannot load it: {error}') from error
        self._session.disable_fallback()  # a failing provider is ours to see and to replace
        if self._session.get_providers()[0] != provider:
            raise EngineError(f'{provider} is built in but did not start (driver, cuDNN?)')
        self.name = f'onnxruntime {provider.removesuffix("ExecutionProvider")} {options.precision}'
        self._device = DEVICES[provider]
        self._keeps_outputs = options.keep_outputs
        self.input_shapes: Mapping[str, tuple[int | None, ...]] = {
            node.name: tuple(size if isinstance(size, int) else None for size in node.shape)
            for node in self._session.get_inputs()
        }
        self.output_names = tuple(node.name for node in self._session.get_outputs())

    def infer(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run the graph once; raises EngineError when the runtime refuses the inputs."""
        try:
            if self._device:
                outputs = self._run_on_device(inputs)
            else:
                outputs = self._session.run(self.output_names, inputs)
        except Exception as error:
            raise EngineError(f'inference failed: {error}') from error
        return dict(zip(self.output_names, outputs, strict=True))

    def _run_on_device(self, inputs: Mapping[str, Buffer]) -> Sequence[Buffer]:
        """Bind what lies on the device where it lies, copy the rest."""
        binding = self._session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, DeviceOutput):
                binding.bind_ortvalue_input(name, value.value)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self.output_names:
            binding.bind_output(name, self._device if self._keeps_outputs else 'cpu')
        self._session.run_with_iobinding(binding)
        if self._keeps_outputs:
            return [DeviceOutput(value) for value in binding.get_outputs()]
        outputs: Sequence[Buffer] = binding.copy_outputs_to_cpu()
        return outputs

    def close(self) -> None:
        """Drop the session and with it the runtime's memory."""
        del self._session
