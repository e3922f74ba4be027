"""What our code uses of TensorRT and CUDA exists, with these arguments, in the real bindings.

Everywhere: every `trt.X.Y` in the code is in the facts of 10.3 (JetPack 6.1), 10.16 and 11.4, and
the fakes that run the code hold each call to the signatures in the facts. Where the wheels are, the
facts themselves are held to the real bindings: name the folders, separated by colons, in
FOCUS_DEPTH_TENSORRT_BINDINGS (see docs/tensorrt.md).
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import FakeGpu
from fake_tensorrt import FACTS, VERSIONS, fake_tensorrt
from tensorrt_facts import build_stubs, read_bindings

import focus_depth_ros

CODE = sorted((Path(focus_depth_ros.__file__).parent / 'inference').glob('tensorrt_*.py'))
BINDINGS = [
    Path(folder)
    for folder in os.environ.get('FOCUS_DEPTH_TENSORRT_BINDINGS', '').split(':')
    if folder
]
needs_bindings = pytest.mark.skipif(
    not BINDINGS,
    reason='FOCUS_DEPTH_TENSORRT_BINDINGS names no folders with the bindings (docs/tensorrt.md)',
)


def used_names(code: str, root: str) -> set[str]:
    """Every 'A.B' that `code` takes from the module called `root`."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            parts = ast.unparse(node).removeprefix('self._').split('.')
            if parts[0] == root and len(parts) > 1 and not parts[1].startswith('__'):
                found.add('.'.join(parts[1:]))
    return found


USED = set().union(*(used_names(path.read_text(), 'trt') for path in CODE))


def test_the_scan_sees_what_is_used() -> None:
    assert {'Builder', 'IProgressMonitor', 'MemoryPoolType.WORKSPACE', 'nptype'} <= USED
    assert len(USED) > 20


def test_facts_of_both_majors() -> None:
    assert [version.split('.')[:2] for version in VERSIONS] == [
        ['10', '3'],
        ['10', '16'],
        ['11', '4'],
    ]
    _, old, new = (FACTS[version]['enums']['BuilderFlag'] for version in VERSIONS)
    assert 'FP16' in old and 'FP16' not in new, 'what 11 removed is really gone from its facts'


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('name', sorted(USED))
def test_names_are_in_the_facts(version: str, name: str) -> None:
    facts = FACTS[version]
    owner, _, member = name.partition('.')
    if owner in facts['enums']:
        assert not member or member.split('.')[0] in facts['enums'][owner]
    elif owner in facts['classes']:
        assert not member or member in facts['classes'][owner]
    else:
        assert owner in facts['functions']


@pytest.mark.parametrize('version', VERSIONS)
def test_the_fake_refuses_what_the_bindings_refuse(version: str) -> None:
    trt: Any = fake_tensorrt(version, FakeGpu())
    logger = trt.ILogger()
    builder = trt.Builder(logger)
    with pytest.raises(TypeError):
        trt.Builder()
    with pytest.raises(TypeError):
        trt.Builder('logger')
    with pytest.raises(TypeError):
        builder.create_network('STRONGLY_TYPED')
    with pytest.raises(TypeError):
        builder.build_serialized_network(builder)
    with pytest.raises(AttributeError):
        builder.build_engine(None, None)
    config = builder.create_builder_config()
    with pytest.raises(TypeError):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)
    with pytest.raises(AttributeError):
        config.max_workspace_size = 1
    with pytest.raises(NotImplementedError):
        config.get_flag(trt.BuilderFlag.TF32)


@needs_bindings
@pytest.mark.parametrize('folder', BINDINGS, ids=str)
def test_facts_are_those_of_the_real_bindings(folder: Path) -> None:
    ((version, facts),) = read_bindings(folder).items()
    assert version in FACTS, f'write the facts anew: they know {VERSIONS}'
    assert facts == FACTS[version]


SUBCLASSES = """
import sys, threading
import tensorrt_bindings as trt
sys.modules['tensorrt'] = trt
from focus_depth_ros.inference.tensorrt_build import _monitor, _Progress
from focus_depth_ros.inference.tensorrt_library import load_tensorrt, logger_of
assert load_tensorrt() is trt
logger = logger_of(trt)
assert isinstance(logger, trt.ILogger)
logger.log(trt.ILogger.ERROR, 'a fault')
assert list(logger.errors) == ['a fault']
heard = []
off = threading.Event()
monitor = _monitor(trt, _Progress('x', lambda *told: heard.append(told), off))
assert isinstance(monitor, trt.IProgressMonitor)
monitor.phase_start('outer', None, 2)
assert monitor.step_complete('outer', 0) is True
off.set()
assert monitor.step_complete('outer', 1) is False
monitor.phase_finish('outer')
assert [round(share, 3) for _, share in heard] == [0.525, 1.0], heard
for name in sys.argv[1:]:
    value = trt
    for part in name.split('.'):
        value = getattr(value, part)
print('fine', trt.__version__)
"""


@needs_bindings
@pytest.mark.parametrize('folder', BINDINGS, ids=str)
def test_our_subclasses_of_the_real_classes(folder: Path, tmp_path: Path) -> None:
    build_stubs(folder, tmp_path)
    paths = [str(folder), str(Path(focus_depth_ros.__file__).parent.parent)]
    answer = subprocess.run(
        [sys.executable, '-c', SUBCLASSES, *sorted(USED)],
        env={**os.environ, 'PYTHONPATH': ':'.join(paths), 'LD_LIBRARY_PATH': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert answer.stdout.startswith('fine'), answer.stderr


def test_the_fake_runtime_is_like_the_real_one() -> None:
    real = pytest.importorskip('cuda.bindings.runtime', reason='cuda-bindings is not installed')
    fake = FakeGpu().runtime()
    for name in (name for name in vars(fake) if name.startswith('cuda')):
        there, here = getattr(real, name), getattr(fake, name)
        if inspect.ismethod(here):
            arguments = re.search(rf'{name}\((.*)\)', there.__doc__.splitlines()[0])
            assert arguments is not None
            count = len([each for each in arguments.group(1).split(',') if each])
            assert count == len(inspect.signature(here).parameters), name
        elif not isinstance(here, int):
            assert all(hasattr(there, member) for member in vars(here)), name


def test_the_fake_runtime_knows_all_that_is_used() -> None:
    device = (CODE[0].parent / 'device_memory.py').read_text()
    names = {name for root in ('cuda', 'runtime') for name in used_names(device, root)}
    fake = FakeGpu().runtime()
    assert len(names) > 15
    for name in names:
        assert hasattr(fake, name.split('.')[0]), name
