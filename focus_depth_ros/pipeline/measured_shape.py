"""A target's shape by what a depth camera measured on it.

Scale and shift put a target where the camera saw it (`scale.scale_of_target`) and leave its shape
to the network: surfaces stay tilted and round ones too flat. So a tilt is fitted to the same
cells, and what then remains is smoothed and added: less noise than the camera's own depth, and no
hole, since where nothing was measured the network's shape goes on.
docs/decisions/0013-scale-of-each-target.md says what that gains.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.pipeline.layers import REACH_CELLS, Layers
from focus_depth_ros.pipeline.region import bounding_region
from focus_depth_ros.pipeline.scale import (
    FLAT,
    MEASURED_SHARE,
    MOST_CELLS,
    OF_PICTURE,
    STEEPEST,
    Scale,
    cauchy_weights,
    measured_inside,
    scale_of_target,
)

SMOOTHED_OVER = 0.005
"""Standard deviation of the smoothing, of the map's width: .7 cells of a first look."""
LEAST_NOISE = 0.004
"""Of inverse depth: measurements are not believed to agree better with each other."""
CUT = 3.0
"""Cauchy weights of what remains, in standard deviations."""
PRIOR = 0.05
"""The weight of "nothing remains": it counts where few cells were measured."""
RIDGE = 0.01
"""Keeps the tilt of thin targets, whose cells say nothing across them, small."""

Map = NDArray[np.floating[Any]]


def as_measured(
    layers: Layers, scale: Scale, reference_depth_m: NDArray[np.float32]
) -> tuple[Layers, Scale]:
    """A target's layers and scale by what a depth camera measured on it.

    `scale` is the picture's. Where too little of the target was measured both stay, and the scale
    says so (`scale.scale_of_target`).
    """
    mask = layers.mask > 127
    own = scale_of_target(scale, layers.inside, mask, reference_depth_m)
    if own.source == OF_PICTURE:
        return layers, own
    inside = measured_shape(own, layers.inside, mask, reference_depth_m)
    return replace(layers, inside=inside), own


def measured_shape(
    scale: Scale,
    inside: NDArray[np.float32],
    mask: NDArray[np.bool_],
    reference_depth_m: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The target's inverse depth `inside` (h, w), reshaped to what was measured on it.

    It stays where under three fifths of it were: a tilt seen on a corner says nothing of the rest.

    `scale` is the target's own, `mask` (h, w) where it is; the reference (H, W metres, NaN
    invalid) shows the same view. 1/Z is `scale` of what comes out, as it was of `inside`.
    """
    nearness, seen, asked = measured_inside(mask, reference_depth_m)
    region = bounding_region(mask, REACH_CELLS)
    is_measured = asked > 0 and np.count_nonzero(seen) >= MEASURED_SHARE * asked
    if region is None or not is_measured or scale.scale < FLAT:
        return inside
    nearness, seen = nearness[region], seen[region]
    shape = scale.scale * inside[region].astype(np.float64) + scale.shift
    shape += _tilt(shape, nearness, seen)
    shape += _remainder(nearness - shape, nearness, seen, SMOOTHED_OVER * inside.shape[1])
    inside = inside.copy()
    inside[region] = (shape - scale.shift) / scale.scale
    return inside


def _tilt(shape: Map, nearness: Map, seen: NDArray[np.bool_]) -> Map:
    """What to add to `shape`: a plane and a share of itself, robustly fitted to `nearness`."""
    rows, columns = np.nonzero(seen)
    every = len(rows) // MOST_CELLS + 1
    rows, columns = rows[::every], columns[::every]
    extent = max(float(rows.std()), float(columns.std()), 1.0)
    own, wanted = shape[rows, columns], nearness[rows, columns] - shape[rows, columns]
    spread = max(float(own.std()), FLAT)
    ones = np.ones_like(own)
    terms = np.stack(
        (
            ones,
            (columns - columns.mean()) / extent,
            (rows - rows.mean()) / extent,
            (own - own.mean()) / spread,
        ),
        axis=1,
    )
    ridge = RIDGE * len(own) * np.diag((0.0, 1.0, 1.0, 1.0))
    found = np.zeros(4)
    for _ in range(8):
        weighted = terms * cauchy_weights(terms @ found - wanted)[:, None]
        found = np.linalg.solve(weighted.T @ terms + ridge, weighted.T @ wanted)
    steeper = min(max(found[3] / spread, 1 / STEEPEST - 1), STEEPEST - 1)
    down, across = np.indices(shape.shape)
    plane = found[1] * (across - columns.mean()) + found[2] * (down - rows.mean())
    tilt = found[0] + plane / extent + steeper * (shape - own.mean())
    low, high = float(tilt[seen].min()), float(tilt[seen].max())
    return np.asarray(np.clip(tilt, 2 * low - high, 2 * high - low))  # no plane goes on for long


def _remainder(difference: Map, nearness: Map, seen: NDArray[np.bool_], sigma: float) -> Map:
    """`difference` where it was `seen`, smoothed over `sigma` cells, without its outliers."""
    typical = 1.4826 * float(np.median(np.abs(difference[seen])))
    noise = CUT * max(typical, LEAST_NOISE * float(np.median(nearness[seen])))
    trust = np.where(seen, 1.0 / (1.0 + (difference / noise) ** 2), 0.0)
    known = cv2.GaussianBlur(trust, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    total = cv2.GaussianBlur(trust * difference, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(total / (known + PRIOR))
