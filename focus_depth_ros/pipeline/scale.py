"""Where metres come from: inverse depth gets a scale and a shift, or stays relative.

1/Z = scale * inverse_depth + shift, Z in metres along the optical axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Camera
from focus_depth_ros.pipeline.layers import RIM

SCALE_SOURCES = ('auto', 'model', 'reference_depth', 'none')
OF_PICTURE = 'reference_depth_of_picture'
"""The source of a target's scale that is but the picture's."""
MIN_REFERENCE_CELLS = 100
PAIRS, JUDGES = 300, 500
"""Lines through two cells that a fit may begin with, and cells that choose among them."""
MOST_CELLS = 4000
"""That a fit takes; more make it slower and no better."""
WORST_FIT = 0.3
"""Median relative error of a fit that is still one. Depth cameras' and true depth of 200 real and
rendered pictures stay under 0.16, uniform noise is at 0.57."""
MEASURED_SHARE = 0.6
"""Of a target's cells that a depth camera has to have measured to say where the target is. Of one
that it looks through it measures less, mostly (docs/decisions/0013-scale-of-each-target.md)."""
FEWEST_MEASURED = 12
"""Cells, of a target."""
PARTLY_MEASURED, FARTHER = 0.15, 0.02
"""So much is enough where what was measured is not farther than the picture's scale has it by more
than that share: nothing was looked through then."""
STEEPEST = 2.0
"""How much steeper or flatter a target's shape may be than the picture's scale makes it: of flat
ones measurements say little."""
SPARSE = 4
"""Each so many cells answers are compared at."""
LEAST_WEIGHT = 1e-6
LEAST_PER_METRE = 1e-3
"""1/m: what is farther counts as so far."""
FLAT = 1e-12
"""Variance below which a map has no slope."""


@dataclass(frozen=True)
class Scale:
    """`source` is 'model', 'reference_depth' or 'none' (then scale 1, shift 0 mean nothing).

    A target's may be `OF_PICTURE` too.
    """

    source: str
    scale: float = 1.0
    shift: float = 0.0

    @property
    def is_metric(self) -> bool:
        """True when 1/Z comes out in 1/m."""
        return self.source != 'none'


RELATIVE = Scale('none')


def rising_line(
    x: NDArray[np.floating[Any]],
    y: NDArray[np.floating[Any]],
    weights: NDArray[np.floating[Any]] | None = None,
) -> tuple[float, float]:
    """Slope and intercept of y over x, weighted least squares.

    Nearer stays nearer: where x is flat or y falls with it, the slope is 0 and y its mean.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    deviation = x - mean_x
    variance = np.average(deviation**2, weights=weights)
    covariance = np.average(deviation * (y - mean_y), weights=weights)
    slope = max(0.0, float(covariance / variance)) if variance >= FLAT else 0.0
    return slope, float(mean_y - slope * mean_x)


def aligned(
    view: Scale, inverse_depth: NDArray[np.float32], view_inverse_depth: NDArray[np.float32]
) -> Scale:
    """The scale that makes one prompt's map (h, w) agree with the view's over the whole picture.

    Both show the same scene, each up to a scale and a shift of its own; least squares finds
    them, so that targets of one picture stand in one space.
    """
    slope, shift = rising_line(inverse_depth, view_inverse_depth)
    return Scale(view.source, view.scale * slope, view.scale * shift + view.shift)


def scale_from_model(
    metric: NDArray[np.float32],
    camera: Camera,
    input_size: tuple[int, int],
    canonical_px: float | None,
) -> Scale:
    """Scale of the network's own metric head, `metric` (2,), de-canonicalised.

    The head speaks for a camera of focal length f_c = `canonical_px` at the network's input size
    (the canonical camera of Metric3D and Depth Pro); this camera's is f = sqrt(fx' fy') there.
    None: it speaks for any camera.
    """
    if canonical_px is None:
        return Scale('model', float(metric[0]), float(metric[1]))
    width, height = input_size
    focal_px = np.sqrt((camera.fx * width / camera.width) * (camera.fy * height / camera.height))
    factor = canonical_px / float(focal_px)
    return Scale('model', factor * float(metric[0]), factor * float(metric[1]))


def shared_scale(
    scales: Sequence[Scale],
    inverse_depth: NDArray[np.float32],
    weights: NDArray[np.float32],
    view: int,
) -> Scale:
    """One scale, of map `view`, from what several answers to a picture say of its metres.

    Answer t says `scales[t]` of its map `inverse_depth` (T, h, w). Each is off by a factor of its
    own: their weighted geometric mean is off by less than the surest one's, and than each by
    itself (docs/built_in_model.md). One that has most of the picture at no distance has no say.
    """
    cells = inverse_depth[:, ::SPARSE, ::SPARSE]
    slopes = np.array([scale.scale for scale in scales])
    shifts = np.array([scale.shift for scale in scales])
    per_metre = slopes[:, None, None] * cells + shifts[:, None, None]
    nearness = np.log(np.maximum(per_metre, LEAST_PER_METRE))
    factors = np.median(nearness - nearness[view], axis=(1, 2))
    is_sound = (slopes > 0) & (np.median(per_metre, axis=(1, 2)) > LEAST_PER_METRE)
    says = np.where(is_sound, weights, 0)
    says[view] = max(says[view], LEAST_WEIGHT)
    factor = float(np.exp(np.average(factors, weights=says)))
    own = scales[view]
    return Scale(own.source, factor * own.scale, factor * own.shift)


def _least_median_line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of the line through two points to which half of all lie nearest."""
    rng = np.random.default_rng(0)
    one, other, judges = (rng.integers(0, len(x), n) for n in (PAIRS, PAIRS, JUDGES))
    gap = x[other] - x[one]
    slopes = (y[other] - y[one]) / np.where(np.abs(gap) > FLAT, gap, np.inf)
    shifts = y[one] - slopes * x[one]
    residuals = np.abs(slopes[:, None] * x[judges] + shifts[:, None] - y[judges])
    best = int(np.median(residuals, axis=1).argmin())
    return float(slopes[best]), float(shifts[best])


def scale_from_reference(
    inverse_depth: NDArray[np.float32], reference_depth_m: NDArray[np.float32]
) -> Scale | None:
    """Robust least squares of `inverse_depth` (h, w) to 1/reference (H, W metres, NaN invalid).

    Both show the same view; the reference is sampled at the map's cells. The line with the least
    median residual (Rousseeuw, 1984), then Cauchy weights at 2.385 sigma keep out holes' rims,
    moved things and whole regions that a camera saw wrongly. None when under 100 cells are valid,
    the fit is not increasing, or half of the cells contradict it by more than `WORST_FIT`.
    """
    nearness, valid = _measured(reference_depth_m, inverse_depth.shape)
    if int(valid.sum()) < MIN_REFERENCE_CELLS:
        return None
    every = valid.sum() // MOST_CELLS + 1
    x, y = inverse_depth[valid][::every].astype(np.float64), nearness[valid][::every]
    scale, shift = _least_median_line(x, y)
    for _ in range(8):
        scale, shift = rising_line(x, y, cauchy_weights(scale * x + shift - y))
    if scale <= 0 or np.median(np.abs(scale * x + shift - y) / y) > WORST_FIT:
        return None
    return Scale('reference_depth', scale, shift)


def scale_of_target(
    scale: Scale,
    inside: NDArray[np.float32],
    mask: NDArray[np.bool_],
    reference_depth_m: NDArray[np.float32],
) -> Scale:
    """The picture's scale, moved and stretched to what a depth camera measured on one target.

    `inside` (h, w) is the target's inverse depth, `mask` (h, w) where it is; the reference (H, W
    metres, NaN invalid) shows the same view. Cauchy weights as for the picture. The mask's rim has
    no say, since two cameras agree on where things are within a cell at best. Where that leaves
    under 12 cells, or under three fifths of it were measured (under 15 %, where nothing farther
    was), it is `scale`, `OF_PICTURE`.
    """
    nearness, on_target, asked = measured_inside(mask, reference_depth_m)
    count = np.count_nonzero(on_target)
    if count < max(FEWEST_MEASURED, PARTLY_MEASURED * asked):
        return Scale(OF_PICTURE, scale.scale, scale.shift)
    every = count // MOST_CELLS + 1
    x = scale.scale * inside[on_target][::every].astype(np.float64) + scale.shift
    y = nearness[on_target][::every]
    if count < MEASURED_SHARE * asked and np.median(y - (1 - FARTHER) * x) < 0:
        return Scale(OF_PICTURE, scale.scale, scale.shift)
    slope, shift = 1.0, float(np.median(y - x))
    for _ in range(8):
        weights = cauchy_weights(slope * x + shift - y)
        slope = min(max(rising_line(x, y, weights)[0], 1 / STEEPEST), STEEPEST)
        shift = float(np.average(y - slope * x, weights=weights))
    return Scale(scale.source, slope * scale.scale, slope * scale.shift + shift)


def measured_inside(
    mask: NDArray[np.bool_], reference_depth_m: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """What a depth camera measured within a mask's (h, w) rim.

    1/reference (h, w), the cells within the rim that have one, and how many are within the rim.
    """
    nearness, valid = _measured(reference_depth_m, mask.shape)
    core = cv2.erode(mask.view(np.uint8), RIM).view(np.bool_)
    return nearness, core & valid, int(np.count_nonzero(core))


def _measured(
    reference_depth_m: NDArray[np.float32], grid: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """1/reference at the cells of a grid (h, w), and where there is one."""
    height, width = grid
    sampled = cv2.resize(reference_depth_m, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    valid = np.isfinite(sampled) & (sampled > 0.05)
    return 1.0 / np.where(valid, sampled, 1.0).astype(np.float64), valid


def cauchy_weights(residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cauchy weights at 2.385 sigma, which is taken from the median."""
    sigma = max(1.4826 * float(np.median(np.abs(residual))), 1e-9)
    return np.asarray(1.0 / (1.0 + (residual / (2.385 * sigma)) ** 2))
