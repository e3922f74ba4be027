"""torch, for development: the compact network's modules with the weights of an exported graph.

On a GPU each number of targets is recorded once as a CUDA graph and replayed from then on, so that
the hundreds of small kernels cost one launch. On a CPU the modules run as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from focus_depth_ros.inference.engine import Backend, Buffer, Engine, EngineError, LoadOptions
from focus_depth_ros.networks.compact import FEATURE_NAMES, CompactShape
from focus_depth_ros.networks.compact_graphs import FOVEA_INPUTS, load_graph, manifest_shape
from focus_depth_ros.networks.graph_pair import OUTPUT_NAMES

Shapes = dict[str, tuple[int | None, ...]]

WARM_UP_RUNS = 3
"""cuDNN chooses its algorithms in the first runs, which a recording must not hold."""


class TorchBackend(Backend):
    """The compact family in torch: fp16 on a GPU, fp32 on a CPU."""

    name = 'torch'

    def __init__(self) -> None:
        self._device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.precisions = ('fp16', 'fp32') if self._device.type == 'cuda' else ('fp32',)

    def load(self, graph: Path, options: LoadOptions) -> Engine:
        """A graph of a folder of the compact family. Raises EngineError."""
        try:
            return self._load(graph, options)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise EngineError(f'{graph}: not a graph that torch can take over: {error}') from error

    def _load(self, graph: Path, options: LoadOptions) -> Engine:
        if options.precision not in self.precisions:
            raise ValueError(f'no {options.precision} on {self._device.type}')
        manifest = json.loads((graph.parent / 'model.json').read_text(encoding='utf-8'))
        shape = manifest_shape(manifest)
        part = next(p for p, file in manifest['files'].items() if file['path'] == graph.name)
        module = load_graph(graph, part, shape, **manifest['boundary_calibration'])
        inputs = _inputs(shape, part)
        outputs = FEATURE_NAMES if part == 'encoder' else OUTPUT_NAMES
        if self._device.type == 'cpu':
            torch.set_num_threads(options.threads)
            return TorchEngine(module, inputs, outputs, options)
        return CudaEngine(module.to(self._device), inputs, outputs, options)


class DeviceTensor:
    """An output kept on a GPU; `np.asarray` fetches it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def wait(self) -> None:
        """Return when it is computed."""
        torch.cuda.current_stream().synchronize()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The values in host memory."""
        return np.asarray(self.tensor.cpu().numpy(), dtype)


class TorchEngine:
    """A module on the CPU; `inputs` by name with their shapes, None for the number of targets."""

    def __init__(
        self, module: nn.Module, inputs: Shapes, outputs: Sequence[str], options: LoadOptions
    ) -> None:
        self.name = f'torch {torch.__version__} {options.precision}'
        self.input_shapes: Mapping[str, tuple[int | None, ...]] = inputs
        self.output_names = tuple(outputs)
        self._module = module
        self._keeps_outputs = options.keep_outputs

    @torch.inference_mode()
    def infer(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run the module once; raises EngineError for inputs that do not fit, or lost memory."""
        try:
            given = [self._checked(name, inputs[name]) for name in self.input_shapes]
            outputs = self._run(given)
        except (KeyError, TypeError, RuntimeError) as error:
            raise EngineError(f'inference failed: {error!r}') from error
        return dict(zip(self.output_names, outputs, strict=True))

    def _checked(self, name: str, value: Buffer) -> Tensor:
        tensor = value.tensor if isinstance(value, DeviceTensor) else torch.from_numpy(value)
        wanted = self.input_shapes[name]
        if len(wanted) != tensor.ndim or any(
            size not in (None, found) for size, found in zip(wanted, tensor.shape, strict=True)
        ):
            raise TypeError(f'{name} is {tuple(tensor.shape)}, the graph takes {wanted}')
        return tensor

    def _run(self, inputs: list[Tensor]) -> list[Any]:
        return [output.numpy() for output in self._module(*inputs)]

    def close(self) -> None:
        """Drop the weights."""
        del self._module


class CudaEngine(TorchEngine):
    """A module on a GPU, replayed as a CUDA graph. Kept outputs are tensors of the recording.

    fp16 is torch's autocast with the weights of convolutions and linear layers halved beforehand.
    """

    def __init__(
        self, module: nn.Module, inputs: Shapes, outputs: Sequence[str], options: LoadOptions
    ) -> None:
        super().__init__(module, inputs, outputs, options)
        self.name += f' on {torch.cuda.get_device_name()}'
        self._halved = options.precision == 'fp16'
        if self._halved:
            for layer in module.modules():
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    layer.half()
        self._recordings: dict[tuple[torch.Size, ...], _Recording] = {}

    def _run(self, inputs: list[Tensor]) -> list[Any]:
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._recordings:
            self._recordings[shapes] = _Recording(self._answer, inputs)
        recording = self._recordings[shapes]
        recording.replay(inputs)
        if self._keeps_outputs:
            return [DeviceTensor(tensor) for tensor in recording.kept]
        return recording.fetched()

    def _answer(self, inputs: list[Tensor]) -> list[Tensor]:
        # no cache of casts: a cast made before the recording would be replayed from freed memory
        with torch.autocast('cuda', torch.float16, enabled=self._halved, cache_enabled=False):
            return [output.float() for output in self._module(*inputs)]

    def close(self) -> None:
        """Drop the recordings with their memory, then the weights."""
        self._recordings.clear()
        super().close()
        torch.cuda.empty_cache()


class _Recording:
    """One CUDA graph: inputs that stay in place, outputs that stay in place."""

    def __init__(self, answer: Any, inputs: list[Tensor]) -> None:
        self._inputs = [tensor.to('cuda', copy=True) for tensor in inputs]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP_RUNS):
                answer(self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self.kept = answer(self._inputs)
        self._hosts = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in self.kept]

    def replay(self, inputs: list[Tensor]) -> None:
        """Put the inputs in their place and run; does not wait for the GPU."""
        for place, given in zip(self._inputs, inputs, strict=True):
            place.copy_(given, non_blocking=True)
        self._graph.replay()

    def fetched(self) -> list[Any]:
        """The outputs as numpy arrays of their own, after one wait for all of them."""
        for host, output in zip(self._hosts, self.kept, strict=True):
            host.copy_(output, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return [host.numpy().copy() for host in self._hosts]


def _inputs(shape: CompactShape, part: str) -> Shapes:
    """What a graph of this network takes."""
    if part == 'encoder':
        return {'image': (1, shape.height, shape.width, 3)}
    features: Shapes = {
        'detail': (1, shape.detail, *shape.grid(2)),
        **{f'stride{s}': (1, shape.decoder, *shape.grid(s)) for s in (4, 8, 16, 32)},
        'grounding': (1, shape.grounding, *shape.grid(8)),
        'context': (1, 64, 1, 1),
    }
    if part == 'focus':
        return {**features, 'box': (None, 4), 'words': (None, shape.max_words)}
    prompts: Shapes = {
        'window': (1, 4),
        'first': (1, 2, *shape.grid(2)),
        'box': (1, 4),
        'words': (1, shape.max_words),
    }
    near = {f'near_{name}': size for name, size in features.items()}
    all_inputs = {**near, **features, **prompts}
    return {name: all_inputs[name] for name in FOVEA_INPUTS}
