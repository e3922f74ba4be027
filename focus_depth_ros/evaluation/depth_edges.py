"""Edges that a depth map itself has: the depth boundary error, and Depth Pro's boundary F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.evaluation.boundary_metrics import distance_to
from focus_depth_ros.evaluation.metrics import Image, Mask

CANNY_SIGMA_PX = 2**0.5
CANNY_LOW, CANNY_HIGH = 0.15, 0.3
FARTHEST_PX = 10.0
"""Distances between edges are cut off here; a prediction without edges gets this much."""
RATIOS = np.linspace(1.05, 1.25, 10)
THRESHOLDS = {
    'canny_sigma_px': CANNY_SIGMA_PX,
    'canny_low': CANNY_LOW,
    'canny_high': CANNY_HIGH,
    'farthest_px': FARTHEST_PX,
    'f1_ratios': [float(ratio) for ratio in RATIOS],
}
"""What every figure of this file hangs on, to be stated with it."""
_UNIT = 4000.0
"""A gradient of 1 as OpenCV's Canny gets it, in whole numbers of 16 bits."""


def depth_edges(depth: Image, region: Mask) -> Mask:
    """Canny edges of a depth map brought to [0, 1] over `region`; none outside of it.

    The thresholds are of the Sobel gradient; a step of 1 has about 2.0. Table-top steps fall below
    them where the region holds a far wall: choose the region, and state `THRESHOLDS` with every
    figure.
    """
    if not region.any():
        return np.zeros(depth.shape, np.bool_)
    nearest, farthest = float(depth[region].min()), float(depth[region].max())
    scaled = np.clip((depth - nearest) / max(farthest - nearest, 1e-9), 0, 1)
    scaled = np.where(np.isfinite(scaled), scaled, 0).astype(np.float32)
    smooth = cv2.GaussianBlur(scaled, (0, 0), CANNY_SIGMA_PX)
    across, down = (
        np.clip(cv2.Sobel(smooth, cv2.CV_32F, *axis, ksize=3) * _UNIT, -32767, 32767)
        for axis in ((1, 0), (0, 1))
    )
    limits = CANNY_LOW * _UNIT, CANNY_HIGH * _UNIT
    edges = cv2.Canny(across.astype(np.int16), down.astype(np.int16), *limits, L2gradient=True)
    return np.asarray((edges > 0) & region)


@dataclass(frozen=True)
class DepthBoundaryError:
    """eps_acc and eps_comp, pixels: smaller is better, 10 is the worst; NaN: nothing to find."""

    accuracy_px: float
    completeness_px: float


def depth_boundary_error(predicted: Mask, true: Mask) -> DepthBoundaryError:
    """How far predicted depth edges lie from the true ones, and true ones from predicted.

    Both are edges, bool (H, W). As iBims-1 (Koch et al., 2018) computes them: eps_acc is the mean
    distance of the predicted edges within 10 px of a true one; eps_comp the mean, over all
    predicted and all true edges, of the distance to the other kind, cut off at 10 px. No predicted
    edge within 10 px: 10 and 10. No true edge: NaN.
    """
    if not true.any():
        return DepthBoundaryError(float('nan'), float('nan'))
    to_true, to_predicted = distance_to(true), distance_to(predicted)
    close = predicted & (to_true < FARTHEST_PX)
    if not close.any():
        return DepthBoundaryError(FARTHEST_PX, FARTHEST_PX)
    both = np.minimum(np.concatenate([to_true[predicted], to_predicted[true]]), FARTHEST_PX)
    return DepthBoundaryError(float(to_true[close].mean()), float(both.mean()))


def boundary_f1(prediction: Image, depth: Image, valid: Mask) -> float:
    """Depth Pro's scale-invariant boundary F1, over neighbours of which one is much farther.

    For each ratio t, precision and recall of `d(neighbour) / d > t` are averaged over the four
    directions; their F1s are averaged with weights t. Scale cancels out; both are depths. Named
    deviation: the paper scores whole pictures, which have steps of each kind; in the band round one
    target a direction without any step, true or predicted, does not count, nor a ratio without a
    true one. NaN: nothing to find.
    """
    scores = np.array([_f1_at(prediction, depth, valid, float(ratio)) for ratio in RATIOS])
    known = np.isfinite(scores)
    return float(np.average(scores[known], weights=RATIOS[known])) if known.any() else float('nan')


def _f1_at(prediction: Image, depth: Image, valid: Mask, ratio: float) -> float:
    precisions, recalls, is_there = [], [], False
    for axis in (0, 1):
        for step in (1, -1):
            both = _pairs(valid, axis, step)
            known = both[0] & both[1]
            guess = _steps(prediction, axis, step, ratio) & known
            truth = _steps(depth, axis, step, ratio) & known
            guessed, true = int(np.count_nonzero(guess)), int(np.count_nonzero(truth))
            if guessed or true:
                right = int(np.count_nonzero(guess & truth))
                precisions.append(right / max(guessed, 1))
                recalls.append(right / max(true, 1))
            is_there = is_there or true > 0
    if not is_there:
        return float('nan')
    precision, recall = float(np.mean(precisions)), float(np.mean(recalls))
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _pairs(values: NDArray[Any], axis: int, step: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Each value and its neighbour one step along the axis."""
    length = values.shape[axis]
    first, second = (np.take(values, range(i, length - 1 + i), axis) for i in (0, 1))
    return (first, second) if step > 0 else (second, first)


def _steps(depth: Image, axis: int, step: int, ratio: float) -> Mask:
    here, there = _pairs(depth, axis, step)
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.asarray(there / here > ratio)
