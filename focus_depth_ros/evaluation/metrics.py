"""The metrics, each a function of arrays. Depth in metres, disparity in 1/m, images (H, W).

Relative predictions are aligned over the whole picture's valid pixels in disparity, then
inverted; never per region. Boundary scores use distance-transform matching instead of one-to-one
assignment (named deviation).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

FARTHEST_M = 20.0
"""Aligned disparity is clamped to 1 / FARTHEST_M before it is inverted."""
BOUNDARY_TOLERANCE = 0.0075
"""Matching distance as a share of the picture's diagonal."""
BOUNDARY_THRESHOLDS = np.linspace(0.01, 0.99, 99)


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
    disparity = np.maximum(slope * inverse_depth + offset, 1.0 / FARTHEST_M)
    return np.asarray(1.0 / disparity, np.float32)


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
    disparity = np.maximum(plane + solution[2], 1.0 / FARTHEST_M)
    return np.asarray(1.0 / disparity, np.float32)


def abs_rel(prediction_m: Image, depth_m: Image, region: Mask) -> float:
    """Mean |d - d^| / d over the region; NaN if it is empty."""
    if not region.any():
        return float('nan')
    truth = depth_m[region]
    return float(np.mean(np.abs(prediction_m[region] - truth) / truth))


def delta(prediction_m: Image, depth_m: Image, region: Mask, threshold: float = 1.25) -> float:
    """Share of the region where max(d / d^, d^ / d) < threshold; NaN if it is empty."""
    if not region.any():
        return float('nan')
    ratio = prediction_m[region] / depth_m[region]
    return float(np.mean(np.maximum(ratio, 1.0 / ratio) < threshold))


def mask_iou(prediction: Mask, truth: Mask) -> float:
    """Intersection over union; two empty masks agree (1)."""
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def thinned(probability: Image) -> Image:
    """Non-maximum suppression across the boundary: the probability on ridges, 0 elsewhere.

    The direction across comes from the structure of second differences of the smoothed map, as in
    the usual edge benchmarks.
    """
    smooth = cv2.GaussianBlur(probability, (0, 0), 1.0)
    xx = cv2.Sobel(smooth, cv2.CV_32F, 2, 0, ksize=5)
    yy = cv2.Sobel(smooth, cv2.CV_32F, 0, 2, ksize=5)
    xy = cv2.Sobel(smooth, cv2.CV_32F, 1, 1, ksize=5)
    # Eigenvector of the most negative curvature: the direction in which the ridge falls off.
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    across, down = np.cos(angle), np.sin(angle)
    height, width = probability.shape
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    keep = np.ones(probability.shape, np.bool_)
    for side in (-1.0, 1.0):
        neighbour = cv2.remap(
            smooth,
            (columns + side * across).astype(np.float32),
            (rows + side * down).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        keep &= smooth >= neighbour
    return np.where(keep, probability, 0.0).astype(np.float32)


def _distance_to(pixels: Mask) -> Image:
    if not pixels.any():
        return np.full(pixels.shape, np.inf, np.float32)
    return np.asarray(
        cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE),
        np.float32,
    )


def _disk(radius_px: float) -> NDArray[np.uint8]:
    steps = np.arange(-int(radius_px), int(radius_px) + 1)
    return np.asarray(np.hypot(steps[:, None], steps[None, :]) <= radius_px, np.uint8)


def _count_at_thresholds(values: NDArray[np.float32]) -> NDArray[np.float64]:
    ordered = np.sort(values, axis=None)
    below = np.searchsorted(ordered, BOUNDARY_THRESHOLDS.astype(np.float32), side='left')
    return np.asarray(ordered.size - below, np.float64)


@dataclass
class BoundaryScore:
    """Counts of matched boundary pixels over many pictures, and the scores that follow."""

    found: NDArray[np.float64] = field(default_factory=lambda: np.zeros(99))
    predicted: NDArray[np.float64] = field(default_factory=lambda: np.zeros(99))
    recalled: NDArray[np.float64] = field(default_factory=lambda: np.zeros(99))
    true: float = 0.0

    def add(self, probability: Image, truth: Mask, ignored: Mask | None = None) -> None:
        """Count one picture: boundary probability and true boundary pixels.

        Predictions near `ignored` pixels are left out, unless they are near true ones.
        """
        radius_px = BOUNDARY_TOLERANCE * float(np.hypot(*truth.shape))
        near_truth = _distance_to(truth) <= radius_px
        ridge = thinned(probability)
        if ignored is not None:
            ridge = np.where((_distance_to(ignored) <= radius_px) & ~near_truth, 0.0, ridge)
        # The strongest ridge within reach of each pixel tells at which thresholds the pixel is
        # recalled.
        reach = cv2.dilate(ridge, _disk(radius_px))
        self.true += float(np.count_nonzero(truth))
        self.predicted += _count_at_thresholds(ridge)
        self.found += _count_at_thresholds(ridge[near_truth])
        self.recalled += _count_at_thresholds(reach[truth])

    def ods(self) -> dict[str, float]:
        """The best F1 over one threshold for all pictures: ods, precision, recall, threshold."""
        precision = self.found / np.maximum(self.predicted, 1.0)
        recall = self.recalled / max(self.true, 1.0)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        best = int(np.argmax(f1))
        return {
            'ods': float(f1[best]),
            'precision': float(precision[best]),
            'recall': float(recall[best]),
            'threshold': float(BOUNDARY_THRESHOLDS[best]),
        }
