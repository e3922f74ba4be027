"""ONNX Runtime's own TensorRT provider: it builds in the first session and keeps what it built.

The native TensorRT engine tells its progress, can be called off and is faster; this one is for
machines whose ONNX Runtime already carries TensorRT, as NVIDIA's images for Jetson do.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import onnxruntime

from focus_depth_ros.inference.engine import (
    MAX_TARGETS,
    Cancelled,
    Engine,
    EngineError,
    LoadOptions,
    Preparation,
    Progress,
)
from focus_depth_ros.inference.engine_cache import (
    EngineCache,
    default_cache_folder,
    foreign,
    make_own_folder,
    write_whole,
)
from focus_depth_ros.inference.graph_file import graph_sha256
from focus_depth_ros.inference.onnxruntime_engine import (
    TENSORRT,
    OnnxRuntimeBackend,
    OnnxRuntimeEngine,
    find_cuda,
)
from focus_depth_ros.inference.tensorrt_library import this_machine

COMPLETE = 'complete'
"""The file of the checksums of all engines, written when a build came to its end. A build that was
killed or met a full disk leaves engines too, and the provider never builds those anew."""
POLL_S = 0.2
LAST_WORDS = 1000
"""Characters that are told of what a failed build said."""


class OnnxRuntimeTensorRTBackend(OnnxRuntimeBackend):
    """The TensorRT provider with a cache folder of ours for every graph and precision."""

    precisions = ('fp16', 'fp32')

    def __init__(self) -> None:
        super().__init__('onnxruntime_tensorrt', TENSORRT)

    def preparation(self, graph: Path, options: LoadOptions) -> Preparation:
        """Ready where the provider's cache holds an engine for this graph and precision.

        Raises EngineError for a folder that others may write to: the provider runs whatever lies
        there. Its files are as open as the umask lets them be; nobody reaches them past the folder.
        """
        folder = _cache_folder(graph, options)
        if not _is_whole(folder):
            return Preparation.ABSENT
        if objection := foreign(folder):
            raise EngineError(f'{folder}: {objection}')
        return Preparation.READY

    def prepare(
        self, graph: Path, options: LoadOptions, progress: Progress, cancelled: threading.Event
    ) -> None:
        """Open a session once, in a process of its own. The provider tells no progress."""
        what, folder = f'{graph.stem} {options.precision}', _cache_folder(graph, options)
        cache = EngineCache(folder)
        with cache.locked(lambda: progress(f'{what}: another build is waited for', 0.0), cancelled):
            if _is_whole(folder):
                return
            progress(f'{what}: ONNX Runtime builds, no progress known', 0.0)
            for part in (folder / COMPLETE, *folder.glob('*.engine')):
                part.unlink(missing_ok=True)
            build_apart(graph, options, cancelled)
            write_whole(folder / COMPLETE, checksums(folder))

    def load(self, graph: Path, options: LoadOptions) -> Engine:
        """A session with the provider's cache. Raises EngineError.

        An engine that TensorRT will never load is built anew when `prepare` is called next.
        """
        folder = _cache_folder(graph, options)
        make_own_folder(folder)
        provider_options = {
            'trt_fp16_enable': options.precision == 'fp16',
            'trt_engine_cache_enable': True,
            'trt_engine_cache_path': str(folder),
            **_profile(graph),
        }
        find_cuda()
        try:
            return OnnxRuntimeEngine(graph, options, TENSORRT, provider_options)
        except EngineError as error:
            if 'could not deserialize' in str(error):
                (folder / COMPLETE).unlink(missing_ok=True)
            raise


def build_apart(graph: Path, options: LoadOptions, cancelled: threading.Event) -> None:
    """Load a graph once in a child process, which leaves its engine in the cache folder.

    Some versions of ONNX Runtime hold Python's lock for the minutes of a build, and no topic would
    be answered meanwhile; and a build that runs out of memory may take its process with it. Raises
    EngineError with what the child said, Cancelled when called off.
    """
    command = [sys.executable, '-Wignore', '-m', __name__, str(graph), options.precision]
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            while child.poll() is None:
                if cancelled.wait(POLL_S):
                    raise Cancelled(f'{graph}: the build was called off')
        finally:
            child.kill()
            status = child.wait()
        said.seek(0)
        words = said.read().decode(errors='replace').strip()[-LAST_WORDS:]
    if status:
        reason = words or f'the build ended with status {status} (-9: is there memory enough?)'
        raise EngineError(reason)


def checksums(folder: Path) -> bytes:
    """The sha256 of each engine in a folder, as a text. Raises OSError."""
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob('*.engine')
    }
    return json.dumps(digests, sort_keys=True).encode()


def _is_whole(folder: Path) -> bool:
    """Whether a build came to its end there, and left what is there now."""
    try:
        built = (folder / COMPLETE).read_bytes()
        return any(folder.glob('*.engine')) and built == checksums(folder)
    except OSError:
        return False


def _profile(graph: Path) -> dict[str, str]:
    """One to MAX_TARGETS targets, best at one, for a graph that leaves their number open.

    Without it every new number of targets would build the engine again. A graph of fixed sizes has
    none, and the provider refuses empty ones.
    """
    engine = OnnxRuntimeEngine(graph, LoadOptions())
    is_open = {name: shape for name, shape in engine.input_shapes.items() if None in shape}
    engine.close()
    return {
        f'trt_profile_{end}_shapes': ','.join(
            f'{name}:' + 'x'.join(str(targets if size is None else size) for size in shape)
            for name, shape in is_open.items()
        )
        for end, targets in (('min', 1), ('opt', 1), ('max', MAX_TARGETS))
        if is_open
    }


def _cache_folder(graph: Path, options: LoadOptions) -> Path:
    """A folder for one graph's content and precision on this machine.

    The provider's own names tell apart neither TensorRT's versions nor GPUs of one generation.
    """
    folder = default_cache_folder() / f'onnxruntime-{onnxruntime.__version__}' / _machine()
    return folder / f'{graph_sha256(graph)[:16]}-{options.precision}'


def _machine() -> str:
    """GPU and TensorRT as a folder's name; what Python cannot ask is left to the self-check."""
    try:
        return this_machine().file_name
    except EngineError:  # the provider needs neither TensorRT's Python module nor CUDA's
        return 'unknown'


def _build(graph: Path, precision: str) -> int:
    """What the child of `build_apart` does; returns its exit status."""
    try:
        OnnxRuntimeTensorRTBackend().load(graph, LoadOptions(precision=precision)).close()
    except EngineError as error:
        print(error)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(_build(Path(sys.argv[1]), sys.argv[2]))
