"""Backends for tests: ONNX Runtime behind another name, with the faults that real engines have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from focus_depth_ros.inference.engine import (
    Backend,
    Buffer,
    Cancelled,
    Engine,
    EngineError,
    LoadOptions,
    Preparation,
    Progress,
)
from focus_depth_ros.inference.onnxruntime_engine import OnnxRuntimeEngine

Fault = Callable[[dict[str, Any]], dict[str, Any]]


class FakeBackend(Backend):
    """Answers as ONNX Runtime does, through `faults`, one for each precision.

    `faulty_graph` names the one graph that has them, else all that answer prompts have. `built`
    holds the precisions that are in its cache. A build lasts until `may_finish`, and once `is_lost`
    every run fails. Outputs that it keeps lie where the next run writes, as on a GPU.
    """

    name = 'fake'
    precisions = ('fp16', 'fp32')

    def __init__(self, **faults: Fault) -> None:
        self.faults = faults
        self.faulty_graph = ''
        self.built = {'fp16', 'fp32'}
        self.reports: dict[str, dict[str, Any]] = {}
        self.absent = ''
        self.may_finish: Callable[[], bool] = lambda: True
        self.is_lost: Callable[[], bool] = lambda: False
        self.loaded: list[FakeEngine] = []

    def missing(self) -> str:
        return self.absent

    def preparation(self, graph: Path, options: LoadOptions) -> Preparation:
        if not self.reports.get(options.precision, {'passed': True})['passed']:
            return Preparation.REFUSED
        return Preparation.READY if options.precision in self.built else Preparation.ABSENT

    def prepare(
        self, graph: Path, options: LoadOptions, progress: Progress, cancelled: threading.Event
    ) -> None:
        progress(f'{graph.stem} {options.precision}', 0.5)
        while not self.may_finish():
            if cancelled.wait(0.02):
                raise Cancelled('called off')
        self.built.add(options.precision)

    def load(self, graph: Path, options: LoadOptions) -> Engine:
        engine = FakeEngine(graph, options, self)
        self.loaded.append(engine)
        return engine

    def remember_check(self, graph: Path, options: LoadOptions, report: dict[str, Any]) -> None:
        self.reports[options.precision] = report


class FakeEngine:
    def __init__(self, graph: Path, options: LoadOptions, backend: FakeBackend) -> None:
        self._inner = OnnxRuntimeEngine(graph, options)
        self._backend = backend
        self._fault = backend.faults.get(options.precision, lambda outputs: outputs)
        self._is_faulty = backend.faulty_graph in ('', graph.stem)
        self._kept: dict[str, Any] | None = {} if options.keep_outputs else None
        self.name = f'fake {options.precision}'
        self.input_shapes = self._inner.input_shapes
        self.output_names = self._inner.output_names
        self.is_closed = False

    def infer(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        if self._backend.is_lost():
            raise EngineError('the device is gone')
        outputs = self._inner.infer(inputs)
        if self._kept is not None:
            for name, values in outputs.items():
                np.copyto(self._kept.setdefault(name, values), values)
            return dict(self._kept)
        return self._fault(outputs) if 'mask' in outputs and self._is_faulty else outputs

    def close(self) -> None:
        self.is_closed = True


def rounded(outputs: dict[str, Any]) -> dict[str, Any]:
    """As half precision rounds."""
    return {name: value.astype(np.float16).astype(np.float32) for name, value in outputs.items()}


def scaled(outputs: dict[str, Any]) -> dict[str, Any]:
    """The right map, 1.2 times too large."""
    return {**outputs, 'inverse_depth': np.float32(1.2) * outputs['inverse_depth']}
