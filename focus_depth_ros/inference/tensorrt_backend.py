"""TensorRT as a backend: engines are built once into the user's cache and loaded from there."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from focus_depth_ros.inference.engine import (
    Backend,
    Engine,
    EngineError,
    LoadOptions,
    Preparation,
    Progress,
)
from focus_depth_ros.inference.engine_cache import (
    EngineCache,
    annotate,
    default_cache_folder,
    read_manifest,
)
from focus_depth_ros.inference.engine_manifest import BuildSettings
from focus_depth_ros.inference.graph_file import graph_sha256
from focus_depth_ros.inference.tensorrt_build import build_engine
from focus_depth_ros.inference.tensorrt_engine import TensorRTEngine
from focus_depth_ros.inference.tensorrt_library import this_machine

SELF_CHECK = 'self_check'
"""The note in a manifest that keeps the self-check's report."""


class TensorRTBackend(Backend):
    """Native TensorRT 10 or 11 on the first visible GPU."""

    name = 'tensorrt'
    precisions = ('fp16', 'fp32')

    @cached_property
    def _cache(self) -> EngineCache:
        return EngineCache(default_cache_folder())

    def builder(self, model: Path, precision: str) -> str:
        """Its own command, which shows the progress; int8 is calibrated on a recording."""
        asked = '' if precision == 'auto' else f' --precision {precision}'
        recording = ' --recording BAG' if precision == 'int8' else ''
        return f'focus-depth compile {model}{asked}{recording}'

    def missing(self) -> str:
        """What of TensorRT, CUDA and the GPU is not there."""
        try:
            this_machine()
            _ = self._cache
        except EngineError as error:
            return str(error)
        return ''

    def preparation(self, graph: Path, options: LoadOptions) -> Preparation:
        """Whether the cache has an engine that suits this machine and was not found wrong."""
        engine, _ = self._find(graph, options)
        if engine is None:
            return Preparation.ABSENT
        report = read_manifest(engine).notes.get(SELF_CHECK, {})
        return Preparation.READY if report.get('passed', True) else Preparation.REFUSED

    def prepare(
        self, graph: Path, options: LoadOptions, progress: Progress, cancelled: threading.Event
    ) -> None:
        """Build with the default settings; other ones are chosen by `focus-depth compile`."""
        settings = BuildSettings(precision=options.precision)
        build_engine(graph, settings, self._cache, progress, cancelled)

    def load(self, graph: Path, options: LoadOptions) -> Engine:
        """The engine from the cache. Raises EngineError when none suits."""
        engine, reason = self._find(graph, options)
        if engine is None:
            raise EngineError(f'no TensorRT engine of {graph} can be used: {reason}')
        return TensorRTEngine(engine, options.keep_outputs)

    def remember_check(self, graph: Path, options: LoadOptions, report: dict[str, Any]) -> None:
        """Write the report into the engine's manifest."""
        engine, _ = self._find(graph, options)
        if engine is not None:
            annotate(engine, SELF_CHECK, report)

    def _find(self, graph: Path, options: LoadOptions) -> tuple[Path | None, str]:
        return self._cache.find(graph_sha256(graph), options.precision, this_machine())
