"""A fake machine with TensorRT 10 or 11 and a GPU, for tests of everything that uses them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_cuda import GPU, FakeGpu
from fake_tensorrt import VERSIONS, fake_tensorrt

from focus_depth_ros.inference.engine_cache import EngineCache, default_cache_folder
from focus_depth_ros.inference.engine_manifest import BuildSettings, Machine
from focus_depth_ros.inference.tensorrt_build import build_engine


class Rig:
    """A fake machine and what is built on it."""

    def __init__(self, trt: Any, gpu: FakeGpu) -> None:
        self.trt, self.gpu = trt, gpu
        self.cache = EngineCache(default_cache_folder())
        self.machine = Machine(trt.__version__, GPU, '8.7')
        self.heard: list[tuple[str, float]] = []

    def build(self, graph: Path, **settings: Any) -> Path:
        return build_engine(
            graph,
            BuildSettings(**settings),
            self.cache,
            lambda what, share: self.heard.append((what, share)),
            threading.Event(),
        )


def install(monkeypatch: pytest.MonkeyPatch, trt: ModuleType, gpu: FakeGpu, cuda: str) -> None:
    for name in ('cuda', 'cuda.bindings', 'cuda.bindings.runtime', 'pycuda', 'pycuda.driver'):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, 'tensorrt', trt)
    package, module = ModuleType(cuda.rpartition('.')[0]), ModuleType('')
    module = gpu.runtime() if cuda.startswith('cuda') else gpu.driver()
    setattr(package, cuda.rpartition('.')[2], module)
    for name in ('cuda',) if cuda.startswith('cuda') else ():
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, cuda, module)


@pytest.fixture(params=(VERSIONS[0], VERSIONS[-1]))
def rig(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Rig]:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    gpu = FakeGpu()
    trt = fake_tensorrt(request.param, gpu)
    install(monkeypatch, trt, gpu, 'cuda.bindings.runtime')
    yield Rig(trt, gpu)
    assert not gpu.blocks and not gpu.streams and not gpu.graphs, 'something was not freed'
