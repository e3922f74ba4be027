"""Device memory, streams and graphs: one contract for both adapters, and for a real GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from fake_cuda import FakeGpu
from fake_tensorrt import VERSIONS, fake_tensorrt
from tensorrt_rig import install

from focus_depth_ros.inference.device_memory import Device, DeviceArray, open_device
from focus_depth_ros.inference.engine import EngineError


def real_gpus() -> int:
    try:
        from cuda.bindings import runtime

        error, count = runtime.cudaGetDeviceCount()
    except (ImportError, RuntimeError):
        return 0
    return int(count) if int(error) == 0 else 0


REAL = pytest.param(
    None, id='real GPU', marks=pytest.mark.skipif(not real_gpus(), reason='no CUDA GPU here')
)


@pytest.fixture(params=['cuda.bindings.runtime', 'pycuda.driver', REAL])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    gpu = FakeGpu()
    if request.param is not None:
        install(monkeypatch, fake_tensorrt(VERSIONS[0], gpu), gpu, request.param)
    opened = open_device()
    with opened.active():
        yield opened
    opened.close()
    del opened
    assert not gpu.blocks and not gpu.graphs


def test_there_and_back(device: Device) -> None:
    address = device.allocate(1000)
    there, back = device.pinned(1000), device.pinned(1000)
    there[:] = np.arange(1000) % 251
    back[:] = 0
    device.upload(address, there)
    device.download(back, address)
    device.synchronise()
    assert np.array_equal(there, back)
    part = back[:40].view(np.float32).reshape(2, 5)
    device.download(part, address + 4)
    device.synchronise()
    assert np.array_equal(back[:40], there[4:44])


def test_what_is_captured_can_be_launched_again(device: Device) -> None:
    address = device.allocate(64)
    there, back = device.pinned(64), device.pinned(64)

    def work() -> None:
        device.upload(address, there)
        device.download(back, address)

    launch = device.capture(work)
    for value in (1, 2, 3):
        there[:] = value
        launch()
        device.synchronise()
        assert np.all(back == value)


def test_one_stream_waits_for_another(device: Device) -> None:
    other = open_device()
    address = device.allocate(1 << 20)
    there, back = device.pinned(1 << 20), device.pinned(1 << 20)
    for value in (1, 2, 3):
        there[:] = value
        device.upload(address, there)
        other.wait(device.mark())
        other.download(back, address)
        other.synchronise()
        assert np.all(back == value)
    other.close()


def test_it_says_what_it_is(device: Device) -> None:
    assert device.gpu and int(device.compute_capability.split('.')[0]) >= 5
    assert device.stream != 0, 'the default stream would wait for everything else'


def test_too_much_memory_is_refused(device: Device) -> None:
    with pytest.raises(EngineError, match=r'(?i)memory'):
        device.allocate(1 << 50)


def test_no_gpu_and_no_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    gpu.present = False
    install(monkeypatch, fake_tensorrt(VERSIONS[0], gpu), gpu, 'cuda.bindings.runtime')
    with pytest.raises(EngineError, match=r'cuda-bindings: this machine has no CUDA GPU; pycuda: '):
        open_device()
    install(monkeypatch, fake_tensorrt(VERSIONS[0], gpu), gpu, 'pycuda.driver')
    with pytest.raises(EngineError, match='pycuda: no CUDA-capable device'):
        open_device()


def test_bindings_that_find_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuda-bindings 12.8 raise this themselves, as in a container without the GPU's runtime."""
    gpu = FakeGpu()
    install(monkeypatch, fake_tensorrt(VERSIONS[0], gpu), gpu, 'cuda.bindings.runtime')

    def dlopen() -> None:
        raise RuntimeError('Failed to dlopen libcuda.so.1')

    monkeypatch.setattr(sys.modules['cuda.bindings.runtime'], 'cudaGetDeviceCount', dlopen)
    with pytest.raises(EngineError, match=r'cuda-bindings: dlopen: .*libcuda\.so\.1'):
        open_device()


@pytest.mark.skipif(bool(real_gpus()), reason='this machine has a GPU')
def test_the_real_runtime_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('cuda.bindings.runtime', reason='cuda-bindings is not installed')
    monkeypatch.setitem(sys.modules, 'pycuda', None)
    with pytest.raises(EngineError, match='cuda-bindings: the GPU answered cudaError'):
        open_device()


@pytest.mark.parametrize('module', ['cuda.bindings.runtime', 'pycuda.driver'])
def test_an_output_is_waited_for_on_its_device(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    gpu = FakeGpu()
    install(monkeypatch, fake_tensorrt(VERSIONS[0], gpu), gpu, module)
    device = open_device()
    DeviceArray((1,), np.dtype(np.float32), 0, device, None, lambda: True).wait()
    device.close()
