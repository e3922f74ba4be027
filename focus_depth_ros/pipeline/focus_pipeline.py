"""One frame and its targets in, one result out. Called like a function; knows no ROS."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box, Frame, InvalidInput, Target
from focus_depth_ros.inference.focus_model import FocusMaps, FocusModel
from focus_depth_ros.pipeline.layers import separate
from focus_depth_ros.pipeline.looks import look
from focus_depth_ros.pipeline.mask_parts import cleaned
from focus_depth_ros.pipeline.measured_shape import as_measured
from focus_depth_ros.pipeline.picture import stretch
from focus_depth_ros.pipeline.prompts import prompt_encoder
from focus_depth_ros.pipeline.region import box_of
from focus_depth_ros.pipeline.result import FocusResult, TargetResult
from focus_depth_ros.pipeline.scale import (
    RELATIVE,
    Scale,
    aligned,
    scale_from_model,
    scale_from_reference,
    shared_scale,
)
from focus_depth_ros.pipeline.settings import Settings

NO_TARGET = Target(id='', label='', box=(0.0, 0.0, 1.0, 1.0))


class FocusPipeline:
    """A loaded model with everything round it. Not thread-safe: one caller at a time."""

    def __init__(self, model: FocusModel, settings: Settings | None = None) -> None:
        self.model = model
        self.settings = settings or Settings()
        self.prompts = prompt_encoder(model.folder)
        self.inference_s = 0.0

    def picture(self, frame: Frame) -> NDArray[np.uint8]:
        """The frame at the network's input size, uint8 RGB (h, w, 3), stretched."""
        return stretch(frame.rgb, self.model.folder.input_size)

    def __call__(
        self,
        frame: Frame,
        targets: Sequence[Target] = (),
        reference_depth_m: NDArray[np.float32] | None = None,
    ) -> FocusResult:
        """Look at `targets` in `frame`: `maps`, and then the `result`; raises what these raise."""
        maps = self.maps(frame, targets, self.picture(frame))
        return self.result(frame, targets, maps, reference_depth_m)

    def maps(
        self, frame: Frame, targets: Sequence[Target], picture: NDArray[np.uint8]
    ) -> FocusMaps:
        """What the network says of `targets` in `frame`, whose `self.picture` is given too.

        Raises InvalidInput for unusable prompts or a network that answers NaN, EngineError when
        inference fails. `inference_s` then holds the seconds spent in the graphs.
        """
        prompts = self.prompts.encode(targets, *frame.size)
        start = time.perf_counter()
        maps = look(self.model, self.prompts, frame.rgb, picture, prompts, self.settings)
        self.inference_s = time.perf_counter() - start
        if not maps.is_finite:
            raise InvalidInput('network', 'the network answered NaN; the picture is left out')
        return maps

    def result(
        self,
        frame: Frame,
        targets: Sequence[Target],
        maps: FocusMaps,
        reference_depth_m: NDArray[np.float32] | None,
    ) -> FocusResult:
        """The answer to `targets` by their `maps`.

        `reference_depth_m` (H, W) is an aligned depth picture in metres, NaN invalid.
        """
        view = int(np.argmax(maps.confidence))
        view_scale = self._scale(frame, maps, view, reference_depth_m)
        measured_m = reference_depth_m if view_scale.source == 'reference_depth' else None
        answers = []
        for row, target in enumerate(targets or (NO_TARGET,)):
            scale = view_scale
            if row != view:
                scale = aligned(view_scale, maps.inverse_depth[row], maps.inverse_depth[view])
            answers.append(self._answer(frame, target, maps, row, scale, measured_m))
        return FocusResult(
            frame=frame,
            targets=tuple(answers) if targets else (),
            view=replace(answers[view], scale=view_scale),
            boundary_cells=maps.boundary.max(axis=0),
        )

    def _answer(
        self,
        frame: Frame,
        target: Target,
        maps: FocusMaps,
        row: int,
        scale: Scale,
        measured_m: NDArray[np.float32] | None,
    ) -> TargetResult:
        confidence = float(maps.confidence[row])
        found = target is not NO_TARGET and confidence >= self.settings.min_confidence
        mask = np.zeros_like(maps.mask[row])
        if found:
            mask = cleaned(maps.mask[row], maps.boundary[row])
        layers = separate(maps.inverse_depth[row], mask)
        inside = layers.mask > 127
        box = _box_px(inside, frame.size) if found else None
        if box is not None and measured_m is not None:
            layers, scale = as_measured(layers, scale, measured_m)
        return TargetResult(
            target=target,
            confidence=confidence,
            scale=scale,
            layers=layers,
            box=box,
            size=frame.size,
            camera=frame.camera,
            max_depth_m=self.settings.max_depth_m,
        )

    def _scale(
        self,
        frame: Frame,
        maps: FocusMaps,
        view: int,
        reference_depth_m: NDArray[np.float32] | None,
    ) -> Scale:
        source = self.settings.scale_source
        if source in ('auto', 'reference_depth') and reference_depth_m is not None:
            scale = scale_from_reference(maps.inverse_depth[view], reference_depth_m)
            if scale is not None:
                return scale
        if source in ('auto', 'model') and frame.camera is not None:
            size, canonical_px = self.model.folder.input_size, self.model.folder.canonical_focal_px
            scales = [
                scale_from_model(metric, frame.camera, size, canonical_px) for metric in maps.metric
            ]
            if scales[view].scale > 0:
                is_there = maps.confidence >= self.settings.min_confidence
                weights = np.where(is_there, maps.confidence, 0)
                return shared_scale(scales, maps.inverse_depth, weights, view)
        return RELATIVE


def _box_px(inside: NDArray[np.bool_], size: tuple[int, int]) -> Box | None:
    x0, y0, x1, y1 = (box_of(inside) * (*size, *size)).tolist()
    return (x0, y0, x1, y1) if x1 else None
