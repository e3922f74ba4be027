"""TensorRT: one engine with its buffers on the GPU and a CUDA graph for each number of targets.

Everything is allocated before it is needed: an inference writes its inputs into page-locked memory,
launches one graph (copies in, network, copies out) and waits. Outputs that are kept on the device
are not waited for, so that the next engine's inputs are prepared while this one computes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.inference.device_memory import DeviceArray, open_device
from focus_depth_ros.inference.engine import Buffer, EngineError
from focus_depth_ros.inference.engine_cache import discard, read_engine
from focus_depth_ros.inference.engine_manifest import Machine
from focus_depth_ros.inference.tensorrt_library import created, load_tensorrt, logger_of

LOG = logging.getLogger(__name__)

OF_THE_ENGINE = ('Serialization', 'Version tag', 'Magic tag', 'plan file')
"""What TensorRT says of an engine that it will never load; anything else, as too little memory or a
GPU that failed before, says nothing of it."""


@dataclass(frozen=True)
class _Buffer:
    """One input or output on the device and in page-locked memory, for the most targets."""

    dtype: np.dtype[Any]
    address: int
    host: NDArray[np.uint8]


@dataclass(frozen=True)
class _Run:
    """One number of targets from certain addresses: what comes out, and how to launch it."""

    context: Any
    output_shapes: Mapping[str, tuple[int, ...]]
    launch: Callable[[], None]


class TensorRTEngine:
    """An engine of the cache, deserialised. Not thread-safe: one caller at a time.

    Raises EngineError for an engine that this user's builds did not write, that is damaged or was
    built for something else; one whose content TensorRT refuses is discarded, so that the next
    build replaces it.
    """

    def __init__(self, engine: Path, keep_outputs: bool = False) -> None:
        plan, manifest = read_engine(engine)
        trt = load_tensorrt()
        self._device = open_device()
        here = Machine(trt.__version__, self._device.gpu, self._device.compute_capability)
        if objection := manifest.objection(here):
            self._device.close()
            raise EngineError(f'{engine}: {objection}')
        self.name = f'tensorrt {trt.__version__} {manifest.recipe.settings.precision}'
        self._keeps_outputs = keep_outputs
        self._runs: dict[tuple[int, ...], _Run] = {}
        self._turn = 0
        self._in_flight = False
        try:
            with self._device.active():
                self._load(trt, engine, plan, manifest.recipe.settings.version_compatible)
        except Exception as error:
            self._device.close()
            raise EngineError(f'{engine}: {error}') from error

    def _load(self, trt: Any, path: Path, plan: bytes, has_host_code: bool) -> None:
        self._trt = trt
        logger = logger_of(trt)
        logger.errors.clear()
        self._runtime = created(trt.Runtime, logger)
        self._runtime.engine_host_code_allowed = has_host_code
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            faults = '; '.join(logger.errors) or 'no reason given'
            if not any(words in faults for words in OF_THE_ENGINE):
                raise EngineError(f'TensorRT cannot load it now ({faults})')
            discard(path)
            raise EngineError(f'TensorRT cannot load it ({faults}); it was discarded')
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._shapes = {name: tuple(engine.get_tensor_shape(name)) for name in inputs}
        self.input_shapes: Mapping[str, tuple[int | None, ...]] = {
            name: tuple(None if size == -1 else size for size in shape)
            for name, shape in self._shapes.items()
        }
        self.output_names = tuple(name for name in names if name not in inputs)
        self._open = [name for name in inputs if -1 in self._shapes[name]]
        self._most = max((self._most_rows(name) for name in self._open), default=1)
        self._scratch_size = max(1, int(engine.device_memory_size_v2))
        self._scratch = self._device.allocate(self._scratch_size)
        context = self._context(self._most)
        self._buffers = {
            name: self._allocated(name, tuple(context.get_tensor_shape(name))) for name in names
        }

    def _most_rows(self, name: str) -> int:
        _, _, largest = self._engine.get_tensor_profile_shape(name, 0)
        return int(tuple(largest)[self._shapes[name].index(-1)])

    def _allocated(self, name: str, shape: tuple[int, ...]) -> _Buffer:
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        size = math.prod(shape) * dtype.itemsize
        return _Buffer(dtype, self._device.allocate(size), self._device.pinned(size))

    def _pinned(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The beginning of an input's or output's page-locked memory as an array."""
        buffer = self._buffers[name]
        size = math.prod(shape) * buffer.dtype.itemsize
        return buffer.host[:size].view(buffer.dtype).reshape(shape)

    def _shape(self, name: str, rows: int) -> tuple[int, ...]:
        """The shape of an input for `rows` targets."""
        return tuple(rows if size == -1 else size for size in self._shapes[name])

    def _context(self, rows: int) -> Any:
        """A context for `rows` targets. All share one scratch memory: they run in turn."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise EngineError(f'{self.name}: no memory for a context of {rows} targets')
        context.set_device_memory(self._scratch, self._scratch_size)
        for name in self._shapes:
            if not context.set_input_shape(name, self._shape(name, rows)):
                raise EngineError(f'{self.name}: {name} cannot be {self._shape(name, rows)}')
        return context

    def infer(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run the engine; more targets than it was built for are answered in several calls.

        Raises EngineError for wrong inputs, for overwritten device arrays, and when the GPU fails.
        """
        rows = self._check(inputs)
        if rows <= self._most:
            with self._device.active():
                return self._infer(inputs, rows)
        if self._keeps_outputs:
            raise EngineError(f'{rows} rows, the engine was built for {self._most}')
        parts = []
        for first in range(0, rows, self._most):
            last = min(rows, first + self._most)
            part = {
                name: np.asarray(value)[first:last] if name in self._open else value
                for name, value in inputs.items()
            }
            parts.append(self.infer(part))
        return {name: np.concatenate([part[name] for part in parts]) for name in self.output_names}

    def _check(self, inputs: Mapping[str, Buffer]) -> int:
        """How many targets the inputs speak of."""
        if set(inputs) != set(self._shapes):
            raise EngineError(f'inputs are {sorted(inputs)}, wanted are {sorted(self._shapes)}')
        rows = next((len(inputs[name]) for name in self._open if inputs[name].shape), 1)
        for name, value in inputs.items():
            dtype = self._buffers[name].dtype
            if value.shape != self._shape(name, rows) or value.dtype != dtype or not rows:
                raise EngineError(
                    f'{name} is {value.dtype} {value.shape}, '
                    f'wanted is {dtype} {self._shapes[name]} (-1: the number of targets, 1 or more)'
                )
        return rows

    def _infer(self, inputs: Mapping[str, Buffer], rows: int) -> dict[str, Buffer]:
        if self._in_flight:  # one at most, and its inputs may still be on their way
            self._device.synchronise()
        self._turn += 1
        addresses = {}
        for name, value in inputs.items():
            if isinstance(value, DeviceArray):
                value.check()
                self._device.wait(value.ready)
                addresses[name] = value.address
            else:
                np.copyto(self._pinned(name, value.shape), value)
                addresses[name] = self._buffers[name].address
        key = (rows, *(addresses[name] for name in self._shapes))
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = self._prepare(rows, addresses)
        run.launch()
        self._in_flight = True
        if self._keeps_outputs:
            return self._kept(run)
        self._device.synchronise()
        self._in_flight = False
        return {name: self._pinned(name, shape).copy() for name, shape in run.output_shapes.items()}

    def _kept(self, run: _Run) -> dict[str, Buffer]:
        ready, turn = self._device.mark(), self._turn
        return {
            name: DeviceArray(
                shape,
                self._buffers[name].dtype,
                self._buffers[name].address,
                self._device,
                ready,
                lambda: self._turn == turn,
            )
            for name, shape in run.output_shapes.items()
        }

    def _prepare(self, rows: int, addresses: Mapping[str, int]) -> _Run:
        """Run once for this number of targets and these inputs, and capture that as a graph.

        A captured graph holds on to its context as it was, so each has a context of its own.
        """
        context = self._context(rows)
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in self.output_names}
        uploads, downloads = [], []
        for name in self._shapes:
            self._point(context, name, addresses[name])
            if addresses[name] == self._buffers[name].address:
                uploads.append((addresses[name], self._pinned(name, self._shape(name, rows))))
        for name, shape in shapes.items():
            self._point(context, name, self._buffers[name].address)
            if not self._keeps_outputs:
                downloads.append((self._pinned(name, shape), self._buffers[name].address))

        def work() -> None:
            for address, host in uploads:
                self._device.upload(address, host)
            if not context.execute_async_v3(self._device.stream):
                raise EngineError(f'{self.name}: the inference could not be started')
            for host, address in downloads:
                self._device.download(host, address)

        work()  # TensorRT sets itself up in the first run, which cannot be captured
        self._device.synchronise()
        try:
            launch = self._device.capture(work)
        except EngineError as error:
            LOG.warning('%s: runs without a CUDA graph (%s)', self.name, error)
            launch = work
        return _Run(context, shapes, launch)

    def _point(self, context: Any, name: str, address: int) -> None:
        if not context.set_tensor_address(name, address):
            raise EngineError(f'{self.name}: {name} cannot lie where it was put')

    def close(self) -> None:
        """Free everything on the GPU."""
        with self._device.active():
            with suppress(EngineError):  # a GPU that is lost has nothing left to wait for
                self._device.synchronise()
            self._runs.clear()
            del self._engine, self._runtime
        self._device.close()
