"""ONNX graph -> TensorRT engine in the cache: slow once, shown while it lasts, and cancellable."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from focus_depth_ros.inference.engine import Cancelled, EngineError, Progress
from focus_depth_ros.inference.engine_cache import (
    EngineCache,
    read_own,
    refuse_full_disk,
    write_whole,
)
from focus_depth_ros.inference.engine_manifest import BuildSettings, Recipe
from focus_depth_ros.inference.graph_file import graph_sha256
from focus_depth_ros.inference.quantised_graph import Inputs, quantised
from focus_depth_ros.inference.tensorrt_library import (
    created,
    load_tensorrt,
    logger_of,
    this_machine,
)
from focus_depth_ros.inference.typed_graph import clean_graph, half_precision, serialised

LOG = logging.getLogger(__name__)

PREPARED = 0.05
"""Share of the progress that preparing the graph is given; TensorRT gets the rest."""

SPACE = 3
"""Sizes of the graph that have to be free: the engine, before its name is changed, and timings."""


def build_engine(
    graph: Path,
    settings: BuildSettings,
    cache: EngineCache,
    progress: Progress,
    cancelled: threading.Event,
    calibration: tuple[str, Sequence[Inputs]] = ('', ()),
) -> Path:
    """The engine of `graph` in the cache: one that is there and valid, else a new one.

    `calibration` is the checksum and the inputs that int8 needs. Blocks for minutes. Raises
    Cancelled when `cancelled` is set, EngineError for everything else.
    """
    digest, inputs = calibration
    if settings.precision == 'int8' and not inputs:
        raise EngineError(
            'int8 needs pictures to calibrate on: focus-depth compile --precision int8 '
            '--recording YOUR_BAG'
        )
    recipe = Recipe(graph_sha256(graph), settings, digest)
    machine = this_machine()
    what = f'{graph.stem} {settings.precision}'
    with cache.locked(lambda: progress(f'{what}: another build is waited for', 0.0), cancelled):
        found, reason = cache.find(recipe.onnx_sha256, settings.precision, machine, recipe)
        if found is not None:
            os.utime(found)  # asked for last: of several for this graph the newest serves
            LOG.info('%s: %s serves', what, found.name)
            return found
        refuse_full_disk(cache.folder, SPACE * graph.stat().st_size)
        LOG.info('%s: building, since %s', what, reason)
        start = time.monotonic()
        progress(f'{what}: preparing the graph', 0.0)
        typed = _typed(graph, settings.precision, inputs)
        if cancelled.is_set():
            raise Cancelled(f'{what}: called off')
        timings = cache.folder / f'timings-{machine.file_name}'
        build = _Build(what, settings, _Progress(what, progress, cancelled))
        plan = build.plan(typed, read_own(timings))
        engine = cache.put(graph.stem, recipe, machine, plan, time.monotonic() - start)
        try:
            write_whole(timings, build.timings)
        except EngineError as error:  # the engine is kept, the next build only takes longer
            LOG.warning('%s', error)
        return engine


def _typed(graph: Path, precision: str, inputs: Sequence[Inputs]) -> bytes:
    model = clean_graph(graph)
    if precision == 'fp16':
        model = half_precision(model)
    elif precision == 'int8':
        model = quantised(model, inputs)
    return serialised(model)


class _Progress:
    """TensorRT's nested phases as one share that never falls; hears of them from any thread."""

    def __init__(self, what: str, progress: Progress, cancelled: threading.Event) -> None:
        self.cancelled = cancelled
        self._what = what
        self._progress = progress
        self._phases: list[tuple[str, int, int]] = []
        self._lock = threading.Lock()
        self._share = PREPARED

    def start(self, phase: str, steps: int) -> None:
        with self._lock:
            self._phases.append((phase, 0, max(1, steps)))

    def step(self, phase: str, done: int) -> bool:
        """True to go on, False to stop the build."""
        with self._lock:
            self._phases = [
                (name, done if name == phase else at, steps) for name, at, steps in self._phases
            ]
            inner = 0.0
            for _, at, steps in reversed(self._phases):
                inner = min(1.0, (at + inner) / steps)
            self._share = max(self._share, PREPARED + (1 - PREPARED) * inner)
            outermost, share = self._phases[0][0] if self._phases else phase, self._share
        self._progress(f'{self._what}: {outermost}', share)
        return not self.cancelled.is_set()

    def finish(self, phase: str) -> None:
        with self._lock:
            self._phases = [entry for entry in self._phases if entry[0] != phase]


class _Build:
    """One run of TensorRT's builder; `timings` are what it measured, for the next one."""

    def __init__(self, what: str, settings: BuildSettings, progress: _Progress) -> None:
        self.timings: Any = b''
        self._what = what
        self._settings = settings
        self._progress = progress

    def plan(self, typed: bytes, timings: bytes) -> Any:
        """The serialised engine (a buffer) of an ONNX graph. Raises EngineError, Cancelled."""
        trt = load_tensorrt()
        logger = logger_of(trt)
        logger.errors.clear()
        builder = created(trt.Builder, logger)
        flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        network = builder.create_network(1 << int(flag))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(typed):
            faults = [parser.get_error(index).desc() for index in range(parser.num_errors)]
            raise EngineError(f'{self._what}: TensorRT cannot read the graph: {"; ".join(faults)}')
        config = builder.create_builder_config()
        self._configure(trt, config)
        self._open_first_sizes(builder, network, config)
        config.progress_monitor = _monitor(trt, self._progress)
        measured = _attach_timings(config, timings)
        plan = builder.build_serialized_network(network, config)
        if self._progress.cancelled.is_set():
            raise Cancelled(f'{self._what}: called off')
        if plan is None:
            faults = logger.errors or ['it did not say why']
            raise EngineError(f'{self._what}: TensorRT built no engine: {"; ".join(faults)}')
        self.timings = measured.serialize()
        return plan

    def _configure(self, trt: Any, config: Any) -> None:
        settings = self._settings
        config.clear_flag(trt.BuilderFlag.TF32)  # what is to be float32 is float32
        if settings.workspace_mib is not None:
            size = settings.workspace_mib << 20
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
        if settings.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if settings.hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS

    def _open_first_sizes(self, builder: Any, network: Any, config: Any) -> None:
        """One to `targets` rows, best at one, for each input that leaves its first size open."""
        profile = builder.create_optimization_profile()
        is_open = False
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            shape = tuple(tensor.shape)
            if -1 in shape[1:]:
                raise EngineError(
                    f'{self._what}: input {tensor.name} is {shape}; only its first size may vary'
                )
            if -1 in shape:
                one, most = (1, *shape[1:]), (self._settings.targets, *shape[1:])
                profile.set_shape(tensor.name, one, one, most)
                is_open = True
        if is_open and config.add_optimization_profile(profile) < 0:
            raise EngineError(f'{self._what}: TensorRT refuses its range of targets')


def _attach_timings(config: Any, timings: bytes) -> Any:
    """TensorRT's timing cache: that of earlier builds on this machine, or an empty one."""
    for data in (timings, b''):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    raise EngineError('TensorRT accepts no timing cache')


def _monitor(trt: Any, progress: _Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step + 1)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
