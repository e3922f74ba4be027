"""Built engines on disk, each beside its manifest.

An engine is used only when its manifest suits what is wanted on this machine, its bytes have the
checksum that the manifest names, and both files belong to this user: an engine is a program, and
only those that this user's builds wrote are run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from focus_depth_ros.inference.engine import Cancelled, EngineError
from focus_depth_ros.inference.engine_manifest import FORMAT, Machine, Manifest, Recipe

LOCK_POLL_S = 0.2
ABANDONED_S = 3600
"""Temporary files older than this belong to a build that was killed."""


def default_cache_folder() -> Path:
    """`focus_depth_ros/engines` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache).

    Raises EngineError for a user without a home, as in some containers.
    """
    try:
        caches = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    except RuntimeError as error:
        raise EngineError(f'no folder for engines: set XDG_CACHE_HOME ({error})') from error
    return Path(caches) / 'focus_depth_ros' / 'engines'


class CacheError(EngineError):
    """The folder for engines cannot take one, of whatever precision."""


class EngineCache:
    """One folder of engines. Safe against other processes, kills, full disks and other users."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(
        self, onnx_sha256: str, precision: str, machine: Machine, recipe: Recipe | None = None
    ) -> tuple[Path | None, str]:
        """The newest engine of a graph that this machine can run, or None and the reasons.

        With `recipe`, only an engine built exactly so.
        """
        reasons = []
        for path, manifest in self._manifests():
            if isinstance(manifest, str):
                reasons.append(f'{path.name}: {manifest}')
                continue
            built = manifest.recipe
            if (built.onnx_sha256, built.settings.precision) != (onnx_sha256, precision):
                continue
            reason = manifest.objection(machine)
            if not reason and recipe is not None:
                reason = built.difference(recipe)
            if not reason:
                try:
                    read_engine(path)
                except EngineError as error:
                    reason = str(error)
                else:
                    return path, ''
            reasons.append(f'{path.name}: {reason}')
        return None, '; '.join(reasons) or f'none was built yet for this graph in {precision}'

    def put(self, graph: str, recipe: Recipe, machine: Machine, plan: Any, build_s: float) -> Path:
        """Keep a built engine (any buffer) and its manifest; returns the engine's path.

        Both files appear whole or not at all. Raises EngineError when they cannot be written.
        """
        key = json.dumps([FORMAT, graph, asdict(recipe), asdict(machine)], sort_keys=True)
        name = (
            f'{graph}-{recipe.settings.precision}-{hashlib.sha256(key.encode()).hexdigest()[:16]}'
        )
        path = self.folder / f'{name}.engine'
        view = memoryview(plan)
        manifest = Manifest(
            format=FORMAT,
            graph=graph,
            recipe=recipe,
            machine=machine,
            sha256=hashlib.sha256(view).hexdigest(),
            size=view.nbytes,
            built=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            build_s=round(build_s, 1),
            notes={},
        )
        write_whole(path, view)
        _write_manifest(path, manifest)
        return path

    @contextmanager
    def locked(self, waiting: Callable[[], None], cancelled: threading.Event) -> Iterator[None]:
        """One build at a time in this folder; the lock goes with the process that holds it.

        Raises EngineError for a folder that cannot be used, before minutes go into a build, and
        Cancelled when called off while another build is waited for.
        """
        with self._open_lock() as lock:
            while not self._takes(lock):
                waiting()
                if cancelled.wait(LOCK_POLL_S):
                    raise Cancelled('called off while waiting for another build')
            self._sweep()
            yield

    def _open_lock(self) -> IO[str]:
        make_own_folder(self.folder)
        try:
            return (self.folder / '.lock').open('w')
        except OSError as error:
            raise CacheError(_advice(self.folder, error)) from error

    def _takes(self, lock: IO[str]) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # some network file systems have no locks
            raise CacheError(_advice(self.folder, error)) from error
        return True

    def _sweep(self) -> None:
        for path in self.folder.glob('.*.part'):
            with suppress(FileNotFoundError):  # another process's, which has just been renamed
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()

    def _manifests(self) -> Iterator[tuple[Path, Manifest | str]]:
        """Engines with their manifests, or what is wrong with them; newest first."""
        try:
            found = sorted(self.folder.glob('*.json'), key=_built, reverse=True)
        except OSError:
            return
        for path in found:
            engine = path.with_suffix('.engine')
            try:
                yield engine, read_manifest(engine)
            except EngineError as error:
                yield engine, str(error)


def make_own_folder(folder: Path) -> None:
    """Make a folder for engines that nobody else may write to.

    Raises EngineError where it cannot be made, or is there and somebody else may write to it.
    """
    try:
        for each in (*reversed(folder.parents), folder):
            each.mkdir(mode=0o700, exist_ok=True)
        objection = foreign(folder)
    except OSError as error:
        raise CacheError(_advice(folder, error)) from error
    if objection:
        raise CacheError(f'engine cache {folder}: {objection}')


def read_manifest(engine: Path) -> Manifest:
    """The manifest beside an engine. Raises EngineError: absent, malformed, another user's."""
    path = engine.with_suffix('.json')
    try:
        objection = foreign(engine.parent) or foreign(path)
        if objection:
            raise EngineError(f'{path}: {objection}')
        return Manifest.from_json(json.loads(path.read_text(encoding='utf-8')))
    except FileNotFoundError as error:
        raise EngineError(
            f'{engine}: no manifest stands beside it; engines are programs, and only those that '
            '`focus-depth compile` or the node built here are loaded'
        ) from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise EngineError(f'{path}: unreadable manifest ({error!r})') from error


def read_engine(engine: Path) -> tuple[bytes, Manifest]:
    """An engine's bytes, checked, and its manifest. Raises EngineError naming what is wrong."""
    manifest = read_manifest(engine)
    try:
        objection = foreign(engine)
        if objection:
            raise EngineError(f'{engine}: {objection}')
        size = engine.stat().st_size
        if size != manifest.size:
            raise EngineError(f'{engine}: has {size} bytes, its manifest says {manifest.size}')
        plan = engine.read_bytes()
    except OSError as error:
        raise EngineError(f'{engine}: cannot be read ({error.strerror})') from error
    if hashlib.sha256(plan).hexdigest() != manifest.sha256:
        raise EngineError(f'{engine}: its checksum is not the one in its manifest: damaged')
    return plan, manifest


def annotate(engine: Path, note: str, value: Any) -> None:
    """Add a finding (JSON) to an engine's manifest. Raises EngineError."""
    manifest = read_manifest(engine)
    manifest.notes[note] = value
    _write_manifest(engine, manifest)


def discard(engine: Path) -> None:
    """Take an engine that does not load out of use, so that it is built anew."""
    engine.with_suffix('.json').unlink(missing_ok=True)
    engine.unlink(missing_ok=True)


def write_whole(path: Path, data: Any) -> None:
    """Write a file that is there whole or not at all, also after a power cut.

    Raises EngineError with advice when the disk is full or the folder cannot be written.
    """
    part = path.with_name(f'.{path.name}.{os.getpid()}-{threading.get_ident()}.part')
    try:
        with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CacheError(_advice(path.parent, error)) from error
    finally:
        part.unlink(missing_ok=True)  # gone already, where all went well


def refuse_full_disk(folder: Path, size: int) -> None:
    """Raises CacheError where fewer bytes are free than an engine and its parts may take."""
    if shutil.disk_usage(folder).free < size:
        raise CacheError(
            f'engine cache {folder}: less than {size >> 20} MiB are free; '
            'free space there, or name another folder in XDG_CACHE_HOME'
        )


def read_own(path: Path) -> bytes:
    """A file's bytes, or none where it is absent or may be another user's."""
    try:
        return b'' if foreign(path) else path.read_bytes()
    except OSError:
        return b''


def _write_manifest(engine: Path, manifest: Manifest) -> None:
    text = json.dumps(asdict(manifest), indent=1) + '\n'
    write_whole(engine.with_suffix('.json'), text.encode())


def foreign(path: Path) -> str:
    """Why a file or folder may have been written by somebody else; empty where it was not."""
    status = path.stat()
    if status.st_uid != os.geteuid():
        return f'belongs to user {status.st_uid}, this is user {os.geteuid()}; not used'
    if status.st_mode & 0o022:
        return 'others may write to it; not used (chmod go-w)'
    return ''


def _advice(folder: Path, error: OSError) -> str:
    return (
        f'engine cache {folder}: {error.strerror}; '
        'free space there, or name another folder in XDG_CACHE_HOME'
    )


def _built(manifest: Path) -> float:
    """When the engine beside a manifest was written; the manifest itself is annotated later."""
    try:
        return manifest.with_suffix('.engine').stat().st_mtime
    except OSError:
        return 0.0
