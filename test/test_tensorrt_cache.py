"""The engine cache: whole files or none, one build at a time, nobody else's engines."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from focus_depth_ros.inference import tensorrt_backend
from focus_depth_ros.inference.engine import Cancelled, EngineError
from focus_depth_ros.inference.engine_cache import (
    ABANDONED_S,
    CacheError,
    EngineCache,
    annotate,
    default_cache_folder,
    discard,
    make_own_folder,
    read_engine,
    read_manifest,
    refuse_full_disk,
    write_whole,
)
from focus_depth_ros.inference.engine_manifest import BuildSettings, Machine, Recipe

ORIN = Machine('10.3.0', 'Orin', '8.7')
RECIPE = Recipe('a' * 64, BuildSettings())
NEVER = threading.Event()


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    made = EngineCache(tmp_path / 'engines')
    with made.locked(lambda: None, NEVER):
        pass
    return made


def put(cache: EngineCache, recipe: Recipe = RECIPE, machine: Machine = ORIN) -> Path:
    return cache.put('encoder', recipe, machine, b'plan of ' + machine.gpu.encode(), 1.0)


def test_the_newest_engine_serves(cache: EngineCache) -> None:
    old, new = put(cache), put(cache, replace(RECIPE, calibration='c' * 64))
    for path, seconds in ((old, 1000), (new, 2000)):
        os.utime(path, (seconds, seconds))
    assert cache.find('a' * 64, 'fp16', ORIN)[0] == new
    os.utime(old, (3000, 3000))
    assert cache.find('a' * 64, 'fp16', ORIN)[0] == old


def test_there_and_back(cache: EngineCache) -> None:
    engine = put(cache)
    assert cache.find('a' * 64, 'fp16', ORIN) == (engine, '')
    plan, manifest = read_engine(engine)
    assert plan == b'plan of Orin' and manifest.recipe == RECIPE and manifest.machine == ORIN
    assert engine.stat().st_mode & 0o777 == 0o600 and cache.folder.stat().st_mode & 0o077 == 0
    annotate(engine, 'self_check', {'passed': True})
    assert read_manifest(engine).notes == {'self_check': {'passed': True}}
    assert read_engine(engine)[0] == plan
    discard(engine)
    assert cache.find('a' * 64, 'fp16', ORIN)[0] is None
    assert sorted(path.name for path in cache.folder.iterdir()) == ['.lock']


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'tensorrt': '10.7.0'}, 'built with TensorRT 10.3.0, this is 10.7.0'),
        ({'gpu': 'RTX 4090'}, 'built for Orin'),
        ({'compute_capability': '8.9'}, r'SM 8.9'),
        ({'processor': 'riscv64'}, 'this is riscv64'),
    ],
)
def test_another_machine(cache: EngineCache, change: dict[str, str], words: str) -> None:
    put(cache)
    engine, reason = cache.find('a' * 64, 'fp16', replace(ORIN, **change))
    assert engine is None and words in reason


def test_another_graph_precision_or_recipe(cache: EngineCache) -> None:
    put(cache)
    assert cache.find('b' * 64, 'fp16', ORIN) == (
        None,
        'none was built yet for this graph in fp16',
    )
    assert cache.find('a' * 64, 'fp32', ORIN)[0] is None
    wanted = replace(RECIPE, settings=BuildSettings(targets=4))
    assert 'targets is 8, wanted 4' in cache.find('a' * 64, 'fp16', ORIN, wanted)[1]
    wanted = replace(RECIPE, calibration='c' * 64)
    assert 'calibration' in cache.find('a' * 64, 'fp16', ORIN, wanted)[1]
    put(cache, wanted)
    assert cache.find('a' * 64, 'fp16', ORIN, wanted)[0] is not None
    assert len(list(cache.folder.glob('*.engine'))) == 2


def test_compatible_engines(cache: EngineCache) -> None:
    settings = BuildSettings(version_compatible=True, hardware_compatible=True)
    put(cache, replace(RECIPE, settings=settings), Machine('10.3.0', 'RTX 3060', '8.6'))
    for machine, fits in (
        (Machine('10.3.0', 'RTX 4090', '8.9'), True),
        (Machine('10.16.1', 'B200', '10.0'), True),
        (Machine('10.1.0', 'RTX 3060', '8.6'), False),  # older than the one that built it
        (Machine('11.0.0', 'RTX 3060', '8.6'), False),
        (Machine('10.3.0', 'T4', '7.5'), False),
        (Machine('10.3.0', 'Orin', '8.7', 'riscv64'), False),  # another computer's
    ):
        assert (cache.find('a' * 64, 'fp16', machine)[0] is not None) is fits, machine


def test_a_disk_without_room_is_told_before_a_build(cache: EngineCache) -> None:
    make_own_folder(cache.folder)
    refuse_full_disk(cache.folder, 1)
    with pytest.raises(CacheError, match='MiB are free; free space there'):
        refuse_full_disk(cache.folder, 1 << 60)


def test_a_folder_without_locks(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, 'flock', flock)
    with (
        pytest.raises(CacheError, match='No locks available'),
        cache.locked(lambda: None, threading.Event()),
    ):
        pass


def test_engines_of_older_versions_of_this_package(cache: EngineCache) -> None:
    manifest = put(cache).with_suffix('.json')
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(values | {'format': 0}))
    assert 'another version of this package' in cache.find('a' * 64, 'fp16', ORIN)[1]
    recipe = values['recipe']
    for part in (
        {'size': 'large', 'machine': {'gpu': 3}},
        {'machine': []},
        {'notes': []},
        {'notes': {'self_check': None}},
        {'recipe': recipe | {'calibration': None}},
        {'recipe': recipe | {'settings': []}},
        {'machine': values['machine'] | {'tensorrt': '9' * 6000}},
        {'build_s': 'long'},
    ):
        manifest.write_text(json.dumps(values | part))
        assert 'unreadable manifest' in cache.find('a' * 64, 'fp16', ORIN)[1], part
    manifest.write_text('[' * 200_000)
    assert 'unreadable manifest' in cache.find('a' * 64, 'fp16', ORIN)[1]


def test_foreign_files_are_not_run(cache: EngineCache, tmp_path: Path) -> None:
    alone = tmp_path / 'downloaded.engine'
    alone.write_bytes(b'plan of somebody')
    with pytest.raises(EngineError, match='no manifest stands beside it'):
        read_engine(alone)
    engine = put(cache)
    for path in (engine, engine.with_suffix('.json'), cache.folder):
        mode = path.stat().st_mode
        path.chmod(mode | 0o020)
        with pytest.raises(EngineError, match='others may write'):
            read_engine(engine)
        assert 'others may write' in cache.find('a' * 64, 'fp16', ORIN)[1]
        path.chmod(mode)
    read_engine(engine)


def test_files_of_another_user(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = put(cache)
    monkeypatch.setattr(os, 'geteuid', lambda: engine.stat().st_uid + 1)
    with pytest.raises(EngineError, match='belongs to user'):
        read_engine(engine)
    with pytest.raises(EngineError, match='belongs to user'), cache.locked(lambda: None, NEVER):
        pass


def test_a_full_disk(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = put(cache).read_bytes()
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(EngineError, match='No space left on device; free space there'):
        cache.put('encoder', RECIPE, ORIN, b'a new plan', 1.0)
    monkeypatch.undo()
    engine, _ = cache.find('a' * 64, 'fp16', ORIN)
    assert engine is not None and engine.read_bytes() == before, 'the old one still serves'
    assert not list(cache.folder.glob('.*.part'))


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    cache = EngineCache(tmp_path / 'file' / 'engines')
    assert cache.find('a' * 64, 'fp16', ORIN)[0] is None
    with pytest.raises(EngineError, match='XDG_CACHE_HOME'), cache.locked(lambda: None, NEVER):
        pass
    if os.geteuid() != 0:  # nothing is read-only to root
        tmp_path.chmod(0o500)
        cache = EngineCache(tmp_path / 'engines')
        with (
            pytest.raises(EngineError, match='Permission denied'),
            cache.locked(lambda: None, NEVER),
        ):
            pass
        tmp_path.chmod(0o700)


def test_one_build_at_a_time(cache: EngineCache) -> None:
    inside: list[str] = []
    waited = threading.Event()

    def second() -> None:
        with cache.locked(waited.set, NEVER):
            inside.append('second')

    other = threading.Thread(target=second)
    with cache.locked(lambda: None, NEVER):
        other.start()
        assert waited.wait(5)
        inside.append('first')
    other.join(5)
    assert inside == ['first', 'second']


def test_waiting_can_be_called_off(cache: EngineCache) -> None:
    called_off = threading.Event()
    with (
        cache.locked(lambda: None, NEVER),
        pytest.raises(Cancelled),
        cache.locked(called_off.set, called_off),
    ):
        pass


def test_leftovers_are_swept(cache: EngineCache) -> None:
    old, new = cache.folder / '.x.engine.1-1.part', cache.folder / '.y.engine.1-1.part'
    for path in (old, new):
        path.write_bytes(b'half')
    os.utime(old, (0, time.time() - 2 * ABANDONED_S))
    with cache.locked(lambda: None, NEVER):
        assert not old.exists() and new.exists(), 'the new one may be in use'


def test_a_file_is_never_half_there(tmp_path: Path) -> None:
    path = tmp_path / 'x'
    path.write_bytes(b'old')
    with pytest.raises(TypeError):
        write_whole(path, 'no bytes')
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    assert default_cache_folder() == Path('/somewhere/focus_depth_ros/engines')
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', '/elsewhere')
    assert default_cache_folder() == Path('/elsewhere/.cache/focus_depth_ros/engines')


BUILDER = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from types import ModuleType
from fake_cuda import FakeGpu
from fake_tensorrt import VERSIONS, fake_tensorrt
gpu = FakeGpu()
trt = sys.modules['tensorrt'] = fake_tensorrt(VERSIONS[0], gpu)
trt.fake.step_s = float(sys.argv[4])
for name in ('cuda', 'cuda.bindings'):
    sys.modules[name] = ModuleType(name)
sys.modules['cuda.bindings'].runtime = sys.modules['cuda.bindings.runtime'] = gpu.runtime()
from focus_depth_ros.inference.engine_cache import EngineCache
from focus_depth_ros.inference.engine_manifest import BuildSettings
from focus_depth_ros.inference.tensorrt_build import build_engine
tell = lambda what, share: print(round(share, 3), what, flush=True)
cache = EngineCache(Path(sys.argv[3]))
graph = Path(sys.argv[2])
print(build_engine(graph, BuildSettings(), cache, tell, threading.Event()).name)
print('builds', len(trt.fake.builds))
"""


def start(tiny_model: Path, folder: Path, step_s: float) -> subprocess.Popen[str]:
    words = [str(Path(__file__).parent), str(tiny_model / 'encoder.onnx'), str(folder), str(step_s)]
    return subprocess.Popen(
        [sys.executable, '-c', BUILDER, *words], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_build_once(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip('onnxscript')
    both = [start(tiny_model, tmp_path / 'engines', 0.02) for _ in range(2)]
    told = [process.communicate(timeout=60)[0] for process in both]
    assert sorted(text.split('builds ')[1].strip() for text in told) == ['0', '1']
    assert 'another build is waited for' in ''.join(told)
    assert len(list((tmp_path / 'engines').glob('*.engine'))) == 1


def test_a_build_that_is_killed(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip('onnxscript')
    victim = start(tiny_model, tmp_path / 'engines', 0.5)
    assert victim.stdout is not None
    for line in victim.stdout:
        if float(line.split()[0]) > 0.05:
            break
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    victim.stdout.close()
    assert not list((tmp_path / 'engines').glob('*.engine'))
    told, _ = start(tiny_model, tmp_path / 'engines', 0.0).communicate(timeout=60)
    assert told.endswith('builds 1\n')
    assert 'waited for' not in told, 'the lock went with the process'


def test_a_user_without_a_home_has_no_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(Path, 'home', homeless)
    with pytest.raises(EngineError, match='set XDG_CACHE_HOME'):
        default_cache_folder()
    monkeypatch.setattr(tensorrt_backend, 'this_machine', lambda: ORIN)
    assert 'set XDG_CACHE_HOME' in tensorrt_backend.TensorRTBackend().missing()
