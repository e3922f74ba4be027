# ruff: noqa: N802, N815 - the names are CUDA's
"""CUDA stood in for: "device" memory is host memory, and a stream does its work when waited for.

Work is put off as long as a GPU might put it off, so that a forgotten wait, or a buffer written
while it is still being read, shows. Function names and argument lists are those of
`cuda.bindings.runtime` and `pycuda.driver`; a test holds them to the real `cuda-bindings`.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

NAME = 'Fake GPU'
GPU = f'{NAME}, 16 SMs'
"""What a device of ours is called."""


class Error:
    """One of CUDA's error codes."""

    def __init__(self, code: int, name: str) -> None:
        self._code, self.name = code, name

    def __int__(self) -> int:
        return self._code


SUCCESS = Error(0, 'cudaSuccess')
OUT_OF_MEMORY = Error(2, 'cudaErrorMemoryAllocation')
CAPTURE_INVALID = Error(901, 'cudaErrorStreamCaptureInvalidated')
GPU_LOST = Error(719, 'cudaErrorLaunchFailure')

Work = Callable[[], None]


class Stream:
    """Work in its order; done when somebody waits, or collected while capturing."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.queue: list[Work] = []
        self.captured: list[Work] | None = None

    def __int__(self) -> int:
        return self.handle

    def put(self, work: Work) -> None:
        (self.queue if self.captured is None else self.captured).append(work)

    def drain(self, count: int | None = None) -> None:
        todo = len(self.queue) if count is None else max(0, count)
        while self.queue and todo:
            self.queue.pop(0)()
            todo -= 1


class Event:
    """A place in a stream."""

    def __init__(self) -> None:
        self.reach: Work = lambda: None

    def place(self, stream: Stream) -> None:
        reached: list[bool] = []
        stream.put(lambda: reached.append(True))

        def reach() -> None:
            while not reached and stream.queue:
                stream.drain(1)

        self.reach = reach


class FakeGpu:
    """The machine that both fakes below show; tests look into it and break it."""

    def __init__(self) -> None:
        self.present = True
        self.capability = (8, 7)
        self.multiprocessors = 16
        self.can_capture = True
        self.lost = False
        self.memory_limit = 1 << 40
        self.blocks: dict[int, Any] = {}
        self.streams: dict[int, Stream] = {}
        self.graphs: list[list[Work]] = []
        self.launches = 0
        self._handles = itertools.count(0x1000)

    def allocate(self, size: int) -> int | None:
        if size + sum(map(len, self.blocks.values())) > self.memory_limit:
            return None
        block = (ctypes.c_uint8 * size)()
        ctypes.memset(block, 0xCD, size)
        address = ctypes.addressof(block)
        self.blocks[address] = block
        return address

    def new_stream(self) -> Stream:
        stream = Stream(next(self._handles))
        self.streams[stream.handle] = stream
        return stream

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        stream.put(lambda: ctypes.memmove(target, source, size) and None)

    def runtime(self) -> ModuleType:
        """The module `cuda.bindings.runtime`."""
        module = ModuleType('cuda.bindings.runtime')
        for name in dir(_Runtime):
            if name.startswith('cuda'):
                setattr(module, name, getattr(_Runtime(self), name))
        return module

    def driver(self) -> ModuleType:
        """The module `pycuda.driver`."""
        module = ModuleType('pycuda.driver')
        for name, value in _driver_of(self).items():
            setattr(module, name, value)
        return module


class _Runtime:
    """Functions of `cuda.bindings.runtime`: each answers (error, values...)."""

    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu

    def cudaGetDeviceCount(self):
        return SUCCESS, int(self._gpu.present)

    def cudaGetDeviceProperties(self, device):
        major, minor = self._gpu.capability
        count = self._gpu.multiprocessors
        return SUCCESS, SimpleNamespace(
            name=NAME.encode(), major=major, minor=minor, multiProcessorCount=count
        )

    def cudaMalloc(self, size):
        address = self._gpu.allocate(size)
        return (OUT_OF_MEMORY, 0) if address is None else (SUCCESS, address)

    def cudaFree(self, devPtr):
        del self._gpu.blocks[devPtr]
        return (SUCCESS,)

    cudaMallocHost = cudaMalloc

    def cudaFreeHost(self, ptr):
        return self.cudaFree(ptr)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        if self._gpu.lost:
            return (GPU_LOST,)
        self._gpu.copy(dst, src, count, stream)
        return (SUCCESS,)

    def cudaStreamCreateWithFlags(self, flags):
        return SUCCESS, self._gpu.new_stream()

    def cudaStreamSynchronize(self, stream):
        if self._gpu.lost:
            return (GPU_LOST,)
        stream.drain()
        return (SUCCESS,)

    def cudaStreamDestroy(self, stream):
        del self._gpu.streams[stream.handle]
        return (SUCCESS,)

    def cudaStreamWaitEvent(self, stream, event, flags):
        stream.put(event.reach)
        return (SUCCESS,)

    def cudaEventCreateWithFlags(self, flags):
        return SUCCESS, Event()

    def cudaEventRecord(self, event, stream):
        event.place(stream)
        return (SUCCESS,)

    def cudaEventDestroy(self, event):
        return (SUCCESS,)

    def cudaStreamBeginCapture(self, stream, mode):
        stream.captured = []
        return (SUCCESS,)

    def cudaStreamEndCapture(self, stream):
        graph, stream.captured = stream.captured, None
        return (SUCCESS, graph) if self._gpu.can_capture else (CAPTURE_INVALID, None)

    def cudaGraphInstantiate(self, graph, flags):
        self._gpu.graphs.append(graph)
        return SUCCESS, graph

    def cudaGraphDestroy(self, graph):
        return (SUCCESS,)

    def cudaGraphExecDestroy(self, graphExec):
        self._gpu.graphs.remove(graphExec)
        return (SUCCESS,)

    def cudaGraphLaunch(self, graphExec, stream):
        if self._gpu.lost:
            return (GPU_LOST,)
        self._gpu.launches += 1
        for work in graphExec:
            stream.put(work)
        return (SUCCESS,)


def _driver_of(gpu: FakeGpu) -> dict[str, Any]:
    """What is used of `pycuda.driver`; everything there asks for a current context."""
    current: list[Any] = []

    class DriverError(Exception):
        pass

    def ask_for_context() -> None:
        if not current:
            raise DriverError('invalid device context')

    class Context:
        def push(self):
            current.append(self)

        @staticmethod
        def pop():
            current.pop()

    class Device:
        def __init__(self, number):
            if not gpu.present:
                raise DriverError('no CUDA-capable device is detected')

        def name(self):
            return NAME

        def get_attribute(self, attribute):
            assert attribute == 'multiprocessors'
            return gpu.multiprocessors

        def compute_capability(self):
            return gpu.capability

        def retain_primary_context(self):
            return Context()

    class DriverStream:
        def __init__(self):
            ask_for_context()
            self.inner = gpu.new_stream()
            self.handle = self.inner.handle

        def synchronize(self):
            ask_for_context()
            self.inner.drain()

        def wait_for_event(self, event):
            self.inner.put(event.inner.reach)

        def __del__(self):
            with contextlib.suppress(KeyError):
                del gpu.streams[self.handle]

    class DriverEvent:
        def __init__(self, flags):
            ask_for_context()
            self.inner = Event()

        def record(self, stream):
            self.inner.place(stream.inner)

    class Allocation:
        def __init__(self, address):
            self.address = address

        def __int__(self):
            return self.address

        def free(self):
            ask_for_context()
            del gpu.blocks[self.address]

    def mem_alloc(size):
        ask_for_context()
        address = gpu.allocate(size)
        if address is None:
            raise DriverError('out of memory')
        return Allocation(address)

    def pagelocked_empty(shape, dtype):
        ask_for_context()
        allocation = Allocation(gpu.allocate(shape))
        raw = (ctypes.c_uint8 * shape).from_address(allocation.address)
        allocation.__array_interface__ = np.ctypeslib.as_array(raw).__array_interface__
        return np.asarray(allocation)

    def memcpy_htod_async(dest, src, stream):
        ask_for_context()
        stream.inner.put(lambda: ctypes.memmove(dest, src.ctypes.data, src.nbytes) and None)

    def memcpy_dtoh_async(dest, src, stream):
        ask_for_context()
        stream.inner.put(lambda: ctypes.memmove(dest.ctypes.data, src, dest.nbytes) and None)

    return {
        'init': lambda: None,
        'Error': DriverError,
        'Device': Device,
        'Stream': DriverStream,
        'Event': DriverEvent,
        'event_flags': SimpleNamespace(DISABLE_TIMING=2),
        'device_attribute': SimpleNamespace(MULTIPROCESSOR_COUNT='multiprocessors'),
        'mem_alloc': mem_alloc,
        'pagelocked_empty': pagelocked_empty,
        'memcpy_htod_async': memcpy_htod_async,
        'memcpy_dtoh_async': memcpy_dtoh_async,
    }
