"""`focus-depth compile`: a model's TensorRT engines into the cache, before a robot needs them.

The node builds what is missing by itself; this command is for doing it in the workshop, for int8,
which needs a recording, and for engines that are to survive updates.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from focus_depth_ros.inference.calibration import Calibration, calibration_of
from focus_depth_ros.inference.engine import MAX_TARGETS, Cancelled, EngineError
from focus_depth_ros.inference.engine_cache import (
    EngineCache,
    default_cache_folder,
    read_manifest,
)
from focus_depth_ros.inference.engine_manifest import BuildSettings
from focus_depth_ros.inference.fallback import Attempt, open_checked
from focus_depth_ros.inference.model_folder import (
    BUILT_IN,
    ModelError,
    ModelFolder,
    read_model_folder,
)
from focus_depth_ros.inference.quantised_graph import Inputs
from focus_depth_ros.inference.tensorrt_backend import TensorRTBackend
from focus_depth_ros.inference.tensorrt_build import build_engine
from focus_depth_ros.inference.tensorrt_library import this_machine

WAIT_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth compile`."""
    parser.add_argument('model', type=Path, nargs='?', default=BUILT_IN, help='model folder')
    parser.add_argument('--precision', choices=('fp16', 'fp32', 'int8'), default='fp16')
    parser.add_argument(
        '--recording', type=Path, help='rosbag2 recording of your camera; int8 is calibrated on it'
    )
    parser.add_argument(
        '--targets',
        type=int,
        default=MAX_TARGETS,
        help='most targets answered in one call; fewer take less memory (%(default)s)',
    )
    parser.add_argument('--workspace', type=int, metavar='MIB', help='bound on scratch memory')
    parser.add_argument(
        '--version-compatible',
        action='store_true',
        help='survives updates of TensorRT within its major; slower',
    )
    parser.add_argument(
        '--hardware-compatible',
        action='store_true',
        help='runs on every desktop GPU since Ampere; slower',
    )


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    settings = BuildSettings(
        precision=arguments.precision,
        targets=_positive('--targets', arguments.targets),
        workspace_mib=(
            None if arguments.workspace is None else _positive('--workspace', arguments.workspace)
        ),
        version_compatible=arguments.version_compatible,
        hardware_compatible=arguments.hardware_compatible,
    )
    if (settings.precision == 'int8') != (arguments.recording is not None):
        raise ValueError('--precision int8 and --recording BAG go together')
    try:
        folder = read_model_folder(arguments.model)
        machine = this_machine()
        print(f'TensorRT {machine.tensorrt} on {machine.gpu} (SM {machine.compute_capability})')
        for engine in _compiled(
            folder, settings, EngineCache(default_cache_folder()), arguments.recording
        ):
            manifest = read_manifest(engine)
            print(f'{engine}: {manifest.size / 1e6:.1f} MB, built in {manifest.build_s:.0f} s')
        attempt = Attempt(TensorRTBackend(), settings.precision)
        pair, report = open_checked(folder, attempt, threads=1)
        pair.close()
        print(f'self-check {report}')
    except Cancelled as error:
        print(f'focus-depth compile: {error}', file=sys.stderr)
        return 130
    except (EngineError, ModelError) as error:
        print(f'focus-depth compile: {error}', file=sys.stderr)
        return 1
    return 0


def _compiled(
    folder: ModelFolder, settings: BuildSettings, cache: EngineCache, recording: Path | None
) -> list[Path]:
    digest = ''
    inputs: tuple[list[Inputs], ...] = tuple([] for _ in folder.graphs)
    if recording is not None:
        calibration = _calibration(folder, recording)
        digest, inputs = calibration.sha256, calibration.graphs
    return [
        _shown(graph, settings, cache, (digest, rows))
        for graph, rows in zip(folder.graphs, inputs, strict=True)
    ]


def _calibration(folder: ModelFolder, recording: Path) -> Calibration:
    """Of a user's recording. Only here does this folder ask of those above it, as a command may."""
    from focus_depth_ros.node.bag_pictures import pictures_of
    from focus_depth_ros.pipeline.picture import stretch

    pictures = [stretch(rgb, folder.input_size) for rgb in pictures_of(recording)]
    return calibration_of(folder, pictures)


def _shown(
    graph: Path,
    settings: BuildSettings,
    cache: EngineCache,
    calibration: tuple[str, Sequence[Inputs]],
) -> Path:
    """Build in a thread, so that Ctrl-C is heard while TensorRT works, and show the progress."""
    cancelled = threading.Event()
    columns = (TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar, ThreadPoolExecutor(1) as pool:
        task = bar.add_task(graph.stem, total=1.0)

        def show(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        building = pool.submit(build_engine, graph, settings, cache, show, cancelled, calibration)
        while True:
            try:
                engine = building.result(WAIT_S)
                bar.update(task, completed=1.0)
                return engine
            except TimeoutError:
                continue
            except KeyboardInterrupt:
                cancelled.set()


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f'{name} must be at least 1, not {value}')
    return value
