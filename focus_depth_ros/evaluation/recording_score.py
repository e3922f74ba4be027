"""Scores a node's answers to a recording against the recording's truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Camera
from focus_depth_ros.evaluation.metrics import abs_rel, aligned_depth, mask_iou
from focus_depth_ros.evaluation.recording import Answers, Recording, TrueObject, Truth

LEAST_PIXELS = 60


@dataclass(frozen=True)
class TargetScore:
    """One target in one true frame. Shares of 1; NaN where there was nothing to score.

    The published mask is that of all targets: `mask_iou` is of what it holds in this target's box,
    less what is another target's; 0 for one that was not found. `abs_rel_metric` of the published
    metres as they are, `abs_rel_aligned` after the usual whole-picture alignment in disparity; the
    centroid is of the visible surface, metres.
    """

    label: str
    stamp_ns: int
    confidence: float
    mask_iou: float
    abs_rel_metric: float
    abs_rel_aligned: float
    centroid_error_m: float


def score(recording: Recording, answers: Answers) -> list[TargetScore]:
    """Every target of every true frame that was answered."""
    scores = []
    found = answers.messages
    depths, masks = found.get('depth/image', {}), found.get('target/mask', {})
    for stamp, message in sorted(found.get('targets', {}).items()):
        truth = recording.truths.get(stamp)
        if truth is None or stamp not in depths or stamp not in masks:
            continue
        size = (truth.ids.shape[1], truth.ids.shape[0])
        depth = _shrink(image_array(depths[stamp]), size)
        mask = _shrink(image_array(masks[stamp]), size) > 127
        looked_at = [(target, _object(recording, target.label)) for target in message.targets]
        wanted = np.isin(truth.ids, [item.id for _, item in looked_at if item is not None])
        for target, item in looked_at:
            if item is not None and int((truth.ids == item.id).sum()) >= LEAST_PIXELS:
                is_it = truth.ids == item.id
                own = mask & _inside(target.box, recording.camera, size) & (is_it | ~wanted)
                iou = mask_iou(own, is_it)
                scores.append(_score(recording, truth, target, item, depth, iou, stamp))
    return scores


def _inside(box: Any, camera: Camera, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) of a picture of `size` (W, H) that a box of the camera's picture covers."""
    across, down = size[0] / camera.width, size[1] / camera.height
    columns, rows = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    x0, y0 = box.x_offset * across, box.y_offset * down
    x1, y1 = x0 + box.width * across, y0 + box.height * down
    covered = ((rows >= y0) & (rows < y1))[:, None] & (columns >= x0) & (columns < x1)
    return np.asarray(covered, np.bool_)


def _score(
    recording: Recording,
    truth: Truth,
    target: Any,
    item: TrueObject,
    depth: NDArray[np.float32],
    iou: float,
    stamp_ns: int,
) -> TargetScore:
    valid = np.isfinite(depth) & np.isfinite(truth.depth_m)
    region = (truth.ids == item.id) & valid
    disparity = np.where(valid, 1.0 / np.where(valid, depth, 1.0), 0.0).astype(np.float32)
    aligned = depth
    if np.count_nonzero(valid) >= 2:
        aligned = aligned_depth(disparity, truth.depth_m, valid)
    centroid = np.array([target.centroid.x, target.centroid.y, target.centroid.z])
    return TargetScore(
        label=target.label,
        stamp_ns=stamp_ns,
        confidence=float(target.confidence),
        mask_iou=iou,
        abs_rel_metric=abs_rel(depth, truth.depth_m, region),
        abs_rel_aligned=abs_rel(aligned, truth.depth_m, region),
        centroid_error_m=float(np.linalg.norm(centroid - _centroid(recording, truth, item))),
    )


def _centroid(recording: Recording, truth: Truth, item: TrueObject) -> NDArray[np.float64]:
    """Mean of the object's visible points, metres, optical frame."""
    height, width = truth.ids.shape
    camera = recording.camera
    across, down = camera.width / width, camera.height / height
    rows, columns = np.nonzero((truth.ids == item.id) & np.isfinite(truth.depth_m))
    z = truth.depth_m[rows, columns].astype(np.float64)
    x = ((columns + 0.5) * across - 0.5 - camera.cx) / camera.fx * z
    y = ((rows + 0.5) * down - 0.5 - camera.cy) / camera.fy * z
    return np.array([x.mean(), y.mean(), z.mean()])


def _object(recording: Recording, label: str) -> TrueObject | None:
    return next((item for item in recording.objects if item.is_called(label)), None)


def image_array(message: Any) -> NDArray[Any]:
    """Pixels (H, W) of a recorded 32FC1 or mono8 image without row padding."""
    dtype = {'32FC1': np.float32, 'mono8': np.uint8}[message.encoding]
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def _shrink(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST_EXACT))


def median(values: list[float]) -> float:
    """Median of the numbers that are numbers; NaN when there is none."""
    numbers = [value for value in values if not math.isnan(value)]
    return float(np.median(numbers)) if numbers else math.nan
