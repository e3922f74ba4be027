"""One frame's questions put to a model, and what its answers are worth.

Each target is asked for alone, as FDE-Bench does: all prompts of a frame go through the focus half
in one batch, the encoder runs once a frame. Beside the network's own map stands what is published:
the two layers put together by the mask at full size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Camera, tight_box
from focus_depth_ros.datasets.frame import LabelledFrame, Triplet, triplets
from focus_depth_ros.evaluation.boundary_metrics import BoundaryScore, picture_edges
from focus_depth_ros.evaluation.metrics import (
    Image,
    Mask,
    abs_rel,
    aligned_as_depth,
    aligned_depth,
    constant_depth,
    delta,
    mask_iou,
    plane_depth,
    refined_pixels,
    scale_error,
)
from focus_depth_ros.evaluation.regions import target_regions
from focus_depth_ros.inference.focus_model import FocusMaps, FocusModel
from focus_depth_ros.pipeline.layers import separate, upsample
from focus_depth_ros.pipeline.looks import look
from focus_depth_ros.pipeline.mask_parts import cleaned
from focus_depth_ros.pipeline.measured_shape import as_measured
from focus_depth_ros.pipeline.picture import stretch
from focus_depth_ros.pipeline.prompts import PromptEncoder, prompt_encoder
from focus_depth_ros.pipeline.result import TargetResult, composite
from focus_depth_ros.pipeline.scale import (
    RELATIVE,
    Scale,
    scale_from_model,
    scale_from_reference,
)
from focus_depth_ros.pipeline.settings import Settings

INPAINT_RADIUS_PX = 3.0
ONE_LOOK = Settings()


@dataclass
class Scores:
    """What was measured on one group of frames: one dict a target, confidences, boundary counts.

    `unknown_words` counts the names that the model has no word for, so that could not be asked.
    """

    targets: dict[str, list[dict[str, float]]] = field(
        default_factory=lambda: {'box': [], 'text': [], 'relation': []}
    )
    unprompted_global: list[float] = field(default_factory=list)
    absent_confidence: dict[str, list[float]] = field(
        default_factory=lambda: {'text': [], 'relation': []}
    )
    boundaries: BoundaryScore = field(default_factory=BoundaryScore)
    unknown_words: int = 0
    frames: int = 0


Extra = Callable[[Image, Mask, Triplet, Mask], dict[str, float]]
"""More figures of one target: published depth in metres, published mask, truth, valid pixels."""


def score(
    model: FocusModel,
    frames: Iterable[LabelledFrame],
    groups: dict[str, Scores],
    extra: Extra | None = None,
    settings: Settings = ONE_LOOK,
) -> None:
    """Add every frame's scores to its group, of answers after the looks that `settings` name."""
    encoder = prompt_encoder(model.folder)
    for frame in frames:
        scores = groups.setdefault(frame.group, Scores())
        score_frame(model, encoder, frame, scores, extra, settings)


def score_frame(
    model: FocusModel,
    encoder: PromptEncoder,
    frame: LabelledFrame,
    scores: Scores,
    extra: Extra | None,
    settings: Settings,
) -> None:
    """Ask for every target of one frame, and for nothing, and record the scores."""
    scores.frames += 1
    height, width = frame.ids.shape
    valid = np.isfinite(frame.depth_m) & (frame.depth_m > 0)
    questions = triplets(frame)
    asked = [triplet for triplet in questions if encoder.understands(triplet.target)]
    scores.unknown_words += len(questions) - len(asked)
    boxes, words = encoder.encode([triplet.target for triplet in asked], width, height)
    prompts = np.pad(boxes, ((0, 1), (0, 0))), np.pad(words, ((0, 1), (0, 0)))  # nothing, last
    picture = stretch(frame.rgb, model.folder.input_size)
    maps = look(model, encoder, frame.rgb, picture, prompts, settings)
    if frame.boundary is not None:
        edges = upsample(maps.boundary[-1], (width, height))
        texture = picture_edges(frame.rgb)
        scores.boundaries.add(edges, frame.boundary, frame.contact, texture, valid)
    if np.count_nonzero(valid) < 2:
        return
    if frame.sensor_depth_m is not None and not np.isfinite(frame.sensor_depth_m).any():
        frame = replace(frame, sensor_depth_m=None)  # that camera saw nothing at all
    unprompted = upsample(maps.inverse_depth[-1], (width, height))
    others = _yardsticks(frame, valid, aligned(model, unprompted, frame.depth_m, valid))
    scores.unprompted_global.append(abs_rel(others['unprompted'], frame.depth_m, valid))
    for row, triplet in enumerate(asked):
        if triplet.is_absent:
            scores.absent_confidence[triplet.kind].append(float(maps.confidence[row]))
        else:
            published, mask = as_published(maps, row, triplet)
            published_m = aligned(model, published, triplet.depth_m, valid)
            depths = {'published': published_m, **others}
            found = target_scores(model, maps, row, triplet, valid, depths)
            found['iou'] = mask_iou(mask, triplet.mask)
            if extra is not None:
                found |= extra(published_m, mask, triplet, valid)
            if frame.sensor_depth_m is not None:
                metres = by_sensor(maps, row, triplet, frame.sensor_depth_m)
                found |= sensor_scores(metres, triplet, frame.sensor_depth_m, valid)
            scores.targets[triplet.kind].append(found)


def aligned(model: FocusModel, inverse_depth: Image, depth_m: Image, valid: Mask) -> Image:
    """A model's inverse depth -> metres, aligned over the valid pixels in what it answers.

    In disparity, as the published protocol has it for models that answer inverse depth; in depth
    for others.
    """
    align = aligned_as_depth if model.folder.answers_depth else aligned_depth
    return align(inverse_depth, depth_m, valid)


def _yardsticks(frame: LabelledFrame, valid: Mask, unprompted_m: Image) -> dict[str, Image]:
    """What a target's depth is compared with, each in metres, aligned over the whole picture."""
    found = {
        'unprompted': unprompted_m,
        'plane': plane_depth(frame.depth_m, valid),
        'constant': constant_depth(frame.depth_m, valid),
    }
    if frame.sensor_depth_m is not None:
        nearness = np.reciprocal(inpainted(frame.sensor_depth_m))
        found['sensor'] = aligned_depth(nearness, frame.depth_m, valid)
    return found


def inpainted(depth_m: Image) -> Image:
    """A depth camera's picture (H, W) with its holes (NaN) filled from their rims."""
    known = np.isfinite(depth_m) & (depth_m > 0)
    if not known.any():
        raise ValueError("the depth camera's picture holds no measurement")
    filled = cv2.inpaint(
        np.where(known, depth_m, 0).astype(np.float32),
        (~known).astype(np.uint8),
        INPAINT_RADIUS_PX,
        cv2.INPAINT_NS,
    )
    return np.asarray(np.maximum(filled, depth_m[known].min()), np.float32)


def target_scores(
    model: FocusModel,
    maps: FocusMaps,
    row: int,
    triplet: Triplet,
    valid: Mask,
    others: dict[str, Image],
) -> dict[str, float]:
    """Figures of one target: AbsRel of each method in each region, metres, the filled box's IoU.

    `others`: what is compared with the model's depth, in metres, aligned; `published` is among it.
    `improved_px` and `worsened_px`: what the two layers of the published map did to the network's.
    """
    height, width = triplet.mask.shape
    inverse_depth = upsample(maps.inverse_depth[row], (width, height))
    depths = {'model': aligned(model, inverse_depth, triplet.depth_m, valid), **others}
    regions = target_regions(triplet.mask, valid)
    found = {
        f'{name}_{region}': abs_rel(depth_m, triplet.depth_m, pixels)
        for name, depth_m in depths.items()
        for region, pixels in regions.items()
    }
    for region, pixels in regions.items():
        for power in (1, 2, 3):
            share = delta(depths['model'], triplet.depth_m, pixels, power)
            found[f'delta{power}_{region}'] = share
    found['improved_px'], found['worsened_px'] = refined_pixels(
        depths['published'], depths['model'], triplet.depth_m, valid
    )
    x0, y0, x1, y1 = map(int, tight_box(triplet.mask))
    filled = np.zeros_like(triplet.mask)
    filled[y0:y1, x0:x1] = True
    found['filled_box_iou'] = mask_iou(filled, triplet.mask)
    found['confidence'] = float(maps.confidence[row])
    scale = _model_scale(model, maps, row, triplet)
    if scale is not None:
        found |= unaligned_scores('metric', _metres(inverse_depth, scale), triplet, regions)
    return found


def unaligned_scores(
    name: str, prediction_m: Image, triplet: Triplet, regions: dict[str, Mask]
) -> dict[str, float]:
    """Metres (H, W) scored as they are: AbsRel and delta_1 of each region, the target's scale."""
    found = {}
    for region, pixels in regions.items():
        found[f'{name}_{region}'] = abs_rel(prediction_m, triplet.depth_m, pixels)
        found[f'{name}_delta1_{region}'] = delta(prediction_m, triplet.depth_m, pixels)
    target = regions['foreground']
    found[f'{name}_scale_error'] = scale_error(prediction_m, triplet.depth_m, target)
    return found


def as_published(maps: FocusMaps, row: int, triplet: Triplet) -> tuple[Image, NDArray[np.bool_]]:
    """Inverse depth and mask of one target at the picture's size, as the pipeline makes them."""
    answer = _answer(maps, row, triplet)
    return composite(answer, (answer,)), answer.mask


def by_sensor(maps: FocusMaps, row: int, triplet: Triplet, sensor_depth_m: Image) -> Image | None:
    """The published map in metres by a depth camera's scale; None where it gives none."""
    scale = scale_from_reference(maps.inverse_depth[row], sensor_depth_m)
    if scale is None:
        return None
    view = replace(_answer(maps, row, triplet), scale=scale)
    layers, scale = as_measured(view.layers, scale, sensor_depth_m)
    return _to_metres(composite(view, (replace(view, layers=layers, scale=scale),)))


def _answer(maps: FocusMaps, row: int, triplet: Triplet) -> TargetResult:
    height, width = triplet.mask.shape
    return TargetResult(
        target=triplet.target,
        confidence=float(maps.confidence[row]),
        scale=RELATIVE,
        layers=separate(maps.inverse_depth[row], cleaned(maps.mask[row], maps.boundary[row])),
        box=None,
        size=(width, height),
        camera=None,
        max_depth_m=np.inf,
    )


def sensor_scores(
    model_m: Image | None, triplet: Triplet, sensor_depth_m: Image, valid: Mask
) -> dict[str, float]:
    """Metres, unaligned: the depth camera's own, and the model scaled by them.

    `sensor_metric`: the sensor with its holes inpainted. `model_by_sensor_metric`: `model_m`, the
    published map with the scales that the pipeline takes from the sensor's valid pixels (None: it
    takes none). `sensor_holes`: share of the target that the sensor did not see.
    """
    regions = target_regions(triplet.mask, valid)
    unseen = ~np.isfinite(sensor_depth_m)
    found = unaligned_scores('sensor_metric', inpainted(sensor_depth_m), triplet, regions)
    found['sensor_holes'] = float(np.mean(unseen[triplet.mask]))
    if model_m is not None:
        found |= unaligned_scores('model_by_sensor_metric', model_m, triplet, regions)
    return found


def _model_scale(model: FocusModel, maps: FocusMaps, row: int, triplet: Triplet) -> Scale | None:
    """The model's own way to metres; None when it has none, or the frame has no camera."""
    if triplet.K is None:
        return None
    height, width = triplet.mask.shape
    (fx, _, cx), (_, fy, cy) = triplet.K[:2]
    camera = Camera(width, height, float(fx), float(fy), float(cx), float(cy))
    folder = model.folder
    scale = scale_from_model(maps.metric[row], camera, folder.input_size, folder.canonical_focal_px)
    return scale if scale.scale > 0 else None


def _metres(inverse_depth: Image, scale: Scale) -> Image:
    return _to_metres(scale.scale * inverse_depth + scale.shift)


def _to_metres(disparity: Image) -> Image:
    return np.asarray(1.0 / np.maximum(disparity, 1e-3), np.float32)
