"""GPU memory, one stream and its graphs: what an engine needs of CUDA, and nothing more.

Two implementations of one protocol: `cuda-bindings`, and `pycuda`, which older Jetson images carry
and which knows no CUDA graphs. Both use the first visible GPU (CUDA_VISIBLE_DEVICES chooses) and
its primary context, the one that TensorRT uses.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from focus_depth_ros.inference.engine import EngineError


class Device(Protocol):
    """The GPU with one stream of work and the memory that was allocated through it.

    `gpu` names it with its number of multiprocessors: every Orin is called Orin.
    """

    gpu: str
    compute_capability: str
    stream: int

    def active(self) -> AbstractContextManager[Any]:
        """Within it, this thread may use the device; wraps every use of it and of TensorRT."""
        ...

    def allocate(self, size: int) -> int:
        """Address of `size` bytes on the device, freed by `close`."""
        ...

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """`size` bytes of page-locked host memory, from and to which copies do not block."""
        ...

    def upload(self, address: int, host: NDArray[Any]) -> None:
        """Copy pinned `host` (contiguous) to the device, in the stream's order."""
        ...

    def download(self, host: NDArray[Any], address: int) -> None:
        """Copy from the device into pinned `host`, in the stream's order."""
        ...

    def synchronise(self) -> None:
        """Wait until the stream's work is done. Raises EngineError for what failed in it."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """What `work` puts into the stream, as one launch where the device knows graphs."""
        ...

    def mark(self) -> Any:
        """A mark in the stream that another stream can wait for."""
        ...

    def wait(self, mark: Any) -> None:
        """Let the stream's later work wait for another stream's mark."""
        ...

    def close(self) -> None:
        """Free everything; never raises, for the device may be lost."""
        ...


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """An engine's output that stayed on the device: opaque, but `np.asarray` fetches it.

    It lives in the engine's own buffer, so it is `fresh` until that engine infers again.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    address: int
    device: Device
    ready: Any
    fresh: Callable[[], bool]

    def check(self) -> None:
        """Raises EngineError when a later inference has overwritten it."""
        if not self.fresh():
            raise EngineError(
                'these features belong to an earlier picture and were overwritten: '
                'use or fetch them before the next picture is encoded'
            )

    def wait(self) -> None:
        """Return when it is computed."""
        with self.device.active():
            self.device.synchronise()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        self.check()
        with self.device.active():
            host = np.empty(self.shape, self.dtype)
            self.device.download(host, self.address)
            self.device.synchronise()
        return host if dtype is None else host.astype(dtype)


def open_device() -> Device:
    """The first GPU, through `cuda-bindings` or else `pycuda`. Raises EngineError with reasons."""
    reasons = []
    for kind in (CudaBindingsDevice, PycudaDevice):
        try:
            return kind()
        # Some cuda-bindings raise errors of their own without a driver, a pycuda that was built for
        # another NumPy a ValueError.
        except Exception as error:
            reasons.append(f'{kind.module}: {error}')
    raise EngineError(f'no usable CUDA device ({"; ".join(reasons)})')


DRIVER_ADVICE = ': the driver is too old for this cuda-bindings (docs/tensorrt.md names which)'


class CudaBindingsDevice:
    """The first GPU through NVIDIA's `cuda-bindings`. Raises ImportError, EngineError."""

    module = 'cuda-bindings'

    def __init__(self) -> None:
        from cuda.bindings import runtime

        self._cuda = runtime
        if not self._call(runtime.cudaGetDeviceCount):
            raise EngineError('this machine has no CUDA GPU')
        properties = self._call(runtime.cudaGetDeviceProperties, 0)
        name = properties.name
        name = name.decode() if isinstance(name, bytes) else str(name)
        self.gpu = f'{name}, {properties.multiProcessorCount} SMs'
        self.compute_capability = f'{properties.major}.{properties.minor}'
        self._addresses: list[int] = []
        self._pinned: list[int] = []
        self._graphs: list[Any] = []
        self._stream = self._call(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking)
        self._mark = self._call(runtime.cudaEventCreateWithFlags, runtime.cudaEventDisableTiming)
        self.stream = int(self._stream)

    def active(self) -> AbstractContextManager[Any]:
        """See Device; CUDA's runtime interface needs nothing."""
        return nullcontext()

    def allocate(self, size: int) -> int:
        """See Device."""
        address = int(self._call(self._cuda.cudaMalloc, size))
        self._addresses.append(address)
        return address

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """See Device."""
        address = int(self._call(self._cuda.cudaMallocHost, size))
        self._pinned.append(address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def upload(self, address: int, host: NDArray[Any]) -> None:
        """See Device."""
        self._copy(address, host.ctypes.data, host.nbytes, 'cudaMemcpyHostToDevice')

    def download(self, host: NDArray[Any], address: int) -> None:
        """See Device."""
        self._copy(host.ctypes.data, address, host.nbytes, 'cudaMemcpyDeviceToHost')

    def synchronise(self) -> None:
        """See Device."""
        self._call(self._cuda.cudaStreamSynchronize, self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """See Device."""
        cuda = self._cuda
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(cuda.cudaStreamBeginCapture, self._stream, mode)
        try:
            work()
        except EngineError:
            with suppress(EngineError):  # a stream that still captures would take nothing else
                graph = self._call(cuda.cudaStreamEndCapture, self._stream)
                self._call(cuda.cudaGraphDestroy, graph)
            raise
        graph = self._call(cuda.cudaStreamEndCapture, self._stream)
        launchable = self._call(cuda.cudaGraphInstantiate, graph, 0)
        self._call(cuda.cudaGraphDestroy, graph)
        self._graphs.append(launchable)
        return lambda: self._call(cuda.cudaGraphLaunch, launchable, self._stream)

    def mark(self) -> Any:
        """See Device."""
        self._call(self._cuda.cudaEventRecord, self._mark, self._stream)
        return self._mark

    def wait(self, mark: Any) -> None:
        """See Device."""
        self._call(self._cuda.cudaStreamWaitEvent, self._stream, mark, 0)

    def close(self) -> None:
        """See Device."""
        cuda = self._cuda
        cuda.cudaStreamSynchronize(self._stream)
        for release, things in (
            (cuda.cudaGraphExecDestroy, self._graphs),
            (cuda.cudaFree, self._addresses),
            (cuda.cudaFreeHost, self._pinned),
        ):
            while things:
                release(things.pop())
        cuda.cudaEventDestroy(self._mark)
        cuda.cudaStreamDestroy(self._stream)

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        direction = getattr(self._cuda.cudaMemcpyKind, kind)
        self._call(self._cuda.cudaMemcpyAsync, target, source, size, direction, self._stream)

    def _call(self, function: Any, *arguments: Any) -> Any:
        """Every function answers (error, values...)."""
        try:
            answer, *values = function(*arguments)
        except Exception as error:  # without a driver, or for a code newer than the bindings
            raise EngineError(f'{function.__name__}: {error}') from error
        if int(answer) != 0:
            advice = DRIVER_ADVICE if answer.name == 'cudaErrorInsufficientDriver' else ''
            raise EngineError(f'the GPU answered {answer.name} to {function.__name__}{advice}')
        return values[0] if values else None


class PycudaDevice:
    """The first GPU through `pycuda`: no graphs. Raises ImportError, EngineError."""

    module = 'pycuda'

    def __init__(self) -> None:
        import pycuda.driver as driver

        self._driver = driver
        try:
            driver.init()
            device = driver.Device(0)
            processors = device.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT)
            self.gpu = f'{device.name()}, {processors} SMs'
            self.compute_capability = '.'.join(map(str, device.compute_capability()))
            self.context = device.retain_primary_context()
            with self.active():
                self._stream = driver.Stream()
                self._mark = driver.Event(driver.event_flags.DISABLE_TIMING)
        except driver.Error as error:
            raise EngineError(str(error)) from error
        self.stream = int(self._stream.handle)
        self._memory: list[Any] = []
        self._pinned: list[NDArray[np.uint8]] = []

    def active(self) -> AbstractContextManager[Any]:
        """See Device."""
        return _Pushed(self)

    def allocate(self, size: int) -> int:
        """See Device."""
        memory = self.call(self._driver.mem_alloc, size)
        self._memory.append(memory)
        return int(memory)

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """See Device."""
        host: NDArray[np.uint8] = self.call(self._driver.pagelocked_empty, size, np.uint8)
        self._pinned.append(host)
        return host

    def upload(self, address: int, host: NDArray[Any]) -> None:
        """See Device."""
        self.call(self._driver.memcpy_htod_async, address, host, self._stream)

    def download(self, host: NDArray[Any], address: int) -> None:
        """See Device."""
        self.call(self._driver.memcpy_dtoh_async, host, address, self._stream)

    def synchronise(self) -> None:
        """See Device."""
        self.call(self._stream.synchronize)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """See Device."""
        return work

    def mark(self) -> Any:
        """See Device."""
        self.call(self._mark.record, self._stream)
        return self._mark

    def wait(self, mark: Any) -> None:
        """See Device."""
        self.call(self._stream.wait_for_event, mark)

    def close(self) -> None:
        """See Device.

        pycuda loses what is let go outside the context by another thread than the one that made it.
        """
        with self.active():
            for held in (*self._memory, *(host.base for host in self._pinned)):
                with suppress(self._driver.Error):
                    held.free()
            self._memory.clear()
            self._pinned.clear()
            self._stream = self._mark = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the driver answers. Raises EngineError."""
        try:
            return function(*arguments)
        except self._driver.Error as error:
            raise EngineError(f'the GPU answered: {error}') from error


class _Pushed:
    """A pycuda context that is this thread's for a while."""

    def __init__(self, device: PycudaDevice) -> None:
        self._device = device

    def __enter__(self) -> None:
        self._device.call(self._device.context.push)

    def __exit__(self, *_: object) -> None:
        self._device.call(self._device.context.pop)
