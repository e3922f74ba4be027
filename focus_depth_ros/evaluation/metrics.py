"""Metrics of depth values and masks, each a function of arrays; images (H, W), depth in metres.

Relative predictions are aligned over the whole picture's valid pixels, in disparity and then
inverted (what answers depth: in depth); never per region. A metric over an empty region is NaN.
Occlusion boundaries are scored in boundary_metrics.py, edges of depth in depth_edges.py, clouds in
cloud_metrics.py.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

FARTHEST_M = 20.0
"""Aligned depth is clamped to it, or to the farthest true depth where that is more."""
NEAREST_M = 1e-2
"""Depth aligned as depth is clamped to it."""
SKY_RIM_PX = 3
"""So near to sky a picture's inverse depth is mixed with its 0 by the enlargement."""
ORDINAL_RATIO = 0.02
"""WHDR: depths whose ratio is within 1 + this count as equal."""
ORDINAL_PAIRS = 10_000
REFINED_BY = 0.05
"""R3: errors of inverse depth, 1/m, that differ by no more than this are equally good."""


def least_squares_alignment(prediction: Image, truth: Image, valid: Mask) -> tuple[float, float]:
    """(a, b) minimising sum (a prediction + b - truth)^2 over the valid pixels."""
    guess = prediction[valid].astype(np.float64)
    wanted = truth[valid].astype(np.float64)
    if guess.size < 2:
        raise ValueError('alignment needs at least two valid pixels')
    centred = guess - guess.mean()
    spread = float(centred @ centred)
    slope = float(centred @ (wanted - wanted.mean())) / spread if spread > 1e-12 else 0.0
    return slope, float(wanted.mean() - slope * guess.mean())


def aligned_depth(inverse_depth: Image, depth_m: Image, valid: Mask) -> Image:
    """Affine-invariant inverse depth -> metres, aligned in disparity over the valid pixels."""
    truth = np.where(valid, 1.0 / np.where(valid, depth_m, 1.0), 0.0).astype(np.float32)
    slope, offset = least_squares_alignment(inverse_depth, truth, valid)
    disparity = np.maximum(slope * inverse_depth + offset, 1.0 / _farthest_m(depth_m, valid))
    return np.asarray(1.0 / disparity, np.float32)


def _farthest_m(depth_m: Image, valid: Mask) -> float:
    return max(FARTHEST_M, float(depth_m[valid].max()))


def aligned_as_depth(inverse_depth: Image, depth_m: Image, valid: Mask) -> Image:
    """The same of a network that answers depth, aligned in depth.

    Sky, where the inverse depth is 0, and its rim take no part; sky is as far as anything may be.
    """
    seen = inverse_depth > 0
    window = np.ones((2 * SKY_RIM_PX + 1, 2 * SKY_RIM_PX + 1), np.uint8)
    clear = cv2.erode(seen.astype(np.uint8), window).view(np.bool_) & valid
    if np.count_nonzero(clear) < 2:
        return constant_depth(depth_m, valid)
    depth = np.reciprocal(inverse_depth, where=seen, out=np.zeros_like(inverse_depth))
    slope, offset = least_squares_alignment(depth, depth_m, clear)
    farthest_m = _farthest_m(depth_m, valid)
    metres = np.where(seen, slope * depth + offset, farthest_m)
    return np.asarray(np.clip(metres, NEAREST_M, farthest_m), np.float32)


def constant_depth(depth_m: Image, valid: Mask) -> Image:
    """Yardstick: the best constant in disparity, in metres."""
    return aligned_depth(np.zeros_like(depth_m), depth_m, valid)


def plane_depth(depth_m: Image, valid: Mask) -> Image:
    """Yardstick: the best plane in (column, row, disparity), in metres."""
    rows, columns = np.nonzero(valid)
    design = np.stack([columns, rows, np.ones_like(rows)], 1).astype(np.float64)
    solution, *_ = np.linalg.lstsq(design, 1.0 / depth_m[valid].astype(np.float64), rcond=None)
    height, width = depth_m.shape
    plane = solution[0] * np.arange(width)[None, :] + solution[1] * np.arange(height)[:, None]
    disparity = np.maximum(plane + solution[2], 1.0 / _farthest_m(depth_m, valid))
    return np.asarray(1.0 / disparity, np.float32)


def abs_rel(prediction_m: Image, depth_m: Image, region: Mask) -> float:
    """Mean |d - d^| / d over the region; NaN if it is empty."""
    truth = depth_m[region]
    return _mean(np.abs(prediction_m[region] - truth) / truth)


def delta(prediction_m: Image, depth_m: Image, region: Mask, power: int = 1) -> float:
    """delta_i: share of the region where max(d / d^, d^ / d) < 1.25^i, i = `power`.

    NaN if the region is empty.
    """
    ratio = prediction_m[region] / depth_m[region]
    return _mean(np.maximum(ratio, 1.0 / ratio) < 1.25**power)


def scale_error(prediction_m: Image, depth_m: Image, region: Mask) -> float:
    """Metric scale error: |median(d^ / d) - 1| over the region; NaN if it is empty.

    Points move along their rays as depth does: a cloud is too large or too small by this share.
    """
    ratio = prediction_m[region] / depth_m[region]
    return abs(float(np.median(ratio)) - 1) if ratio.size else float('nan')


def rmse(prediction: Image, truth: Image, region: Mask) -> float:
    """Root mean square of d - d^, in their unit: metres, or 1/m for inverse depth."""
    return float(np.sqrt(_mean(np.square(prediction[region] - truth[region]))))


def relative_to_prediction(prediction_m: Image, depth_m: Image, region: Mask) -> float:
    """RME: mean |d - d^| / d^, relative to the prediction as Semantic-MD has it."""
    guess = prediction_m[region]
    return _mean(np.abs(guess - depth_m[region]) / guess)


def log10_error(prediction_m: Image, depth_m: Image, region: Mask) -> float:
    """Mean |log10 d - log10 d^|."""
    return _mean(np.abs(np.log10(prediction_m[region] / depth_m[region])))


def scale_invariant_log(prediction_m: Image, depth_m: Image, region: Mask) -> float:
    """SILog: 100 times the standard deviation of log d^ - log d."""
    gap = np.log(prediction_m[region].astype(np.float64) / depth_m[region])
    return float(100 * np.std(gap)) if gap.size else float('nan')


def ordinal_disagreement(prediction_m: Image, depth_m: Image, region: Mask) -> float:
    """WHDR: share of `ORDINAL_PAIRS` random pairs of pixels whose order is wrong.

    Nearer, equal or farther; the pairs are always the same ones.
    """
    guess, truth = prediction_m[region], depth_m[region]
    if not truth.size:
        return float('nan')
    first, second = np.random.default_rng(0).integers(0, truth.size, (2, ORDINAL_PAIRS))

    def order(depth: Image) -> NDArray[np.int_]:
        ratio, limit = depth[first] / depth[second], 1 + ORDINAL_RATIO
        return np.asarray((ratio > limit).astype(int) - (ratio < 1 / limit))

    return _mean(order(guess) != order(truth))


def mask_boundary_error(prediction: Image, truth: Image, mask: Mask, valid: Mask) -> float:
    """MBE of one instance: the RMSE of inverse depth round its outline; NaN if none is valid.

    Round an outline: dilate 5x5 of M - erode(M).
    """
    solid = mask.astype(np.uint8)
    outline = solid - cv2.erode(solid, np.ones((3, 3), np.uint8))
    band = cv2.dilate(outline, np.ones((5, 5), np.uint8)) > 0
    return rmse(prediction, truth, band & valid)


def refined_pixels(
    refined_m: Image, initial_m: Image, depth_m: Image, region: Mask
) -> tuple[int, int]:
    """Pixels of a region that a refinement improved and worsened: R3 is their ratio.

    A pixel counts if the absolute error of its inverse depth, 1/m, changed by more than 0.05
    (layered depth refinement, CVPR 2022). All depths (H, W) in metres, aligned to the same truth.
    """
    truth = 1.0 / depth_m[region].astype(np.float64)
    before, after = (np.abs(1.0 / guess[region] - truth) for guess in (initial_m, refined_m))
    gain = before - after
    return int(np.count_nonzero(gain > REFINED_BY)), int(np.count_nonzero(gain < -REFINED_BY))


def mask_iou(prediction: Mask, truth: Mask) -> float:
    """Intersection over union; two empty masks agree (1)."""
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if values.size else float('nan')
