"""What a depth camera would have measured: a stereo or structured-light camera's faults on depth.

Shadows beside near things, holes on what is transparent, dark, glossy or seen at a grazing angle,
steps of disparity, noise that grows with the square of the distance (Khoshelham and Elberink 2012,
Nguyen et al. 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_BASELINE_M = (0.045, 0.08)
_NEAREST_M, _FARTHEST_M = 0.25, 6.0
_STEPS_A_PX = 8
_DARK = 45.0
_GLARE = 250.0
_GRAZING = 0.2


@dataclass(frozen=True)
class SensorView:
    """What the faults depend on, each (H,W): see `sensor_depth`.

    depth_m, behind_m: with and without what is transparent, NaN = nothing; rgb uint8 (H,W,3);
    facing: cosine between the normal and the line of sight; transparent: bool.
    """

    depth_m: NDArray[np.float32]
    behind_m: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    facing: NDArray[np.float32]
    transparent: NDArray[np.bool_]


def sensor_depth(
    seen: SensorView, focal_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Measured depth (H,W) in metres, NaN = hole."""
    baseline_m = rng.uniform(*_BASELINE_M)
    through = seen.transparent & (_blotches(rng, seen.depth_m.shape, 9) > rng.uniform(-0.6, 0.6))
    depth = np.where(through, seen.behind_m, seen.depth_m).astype(np.float64)
    disparity = focal_px * baseline_m / depth
    shadow = _shadow(np.nan_to_num(disparity))
    sigma_px = rng.uniform(0.03, 0.09)
    noise = cv2.GaussianBlur(rng.normal(0, 1, depth.shape), (0, 0), 0.8) * 2.3
    noisy = disparity + sigma_px * noise
    measured = focal_px * baseline_m / (np.maximum(np.rint(noisy * _STEPS_A_PX), 1) / _STEPS_A_PX)
    hole = shadow | (seen.transparent & ~through) | _weak(seen, rng)
    hole |= ~np.isfinite(depth) | (measured < _NEAREST_M) | (measured > _FARTHEST_M)
    return np.where(hole, np.nan, measured).astype(np.float32)


def _shadow(disparity: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels that are lost left of a nearer thing, the second eye being to the right.

    Those whose match would lie beyond that of a nearer pixel farther right: a matcher that keeps
    their order loses them, even where the second eye sees past a thin thing.
    """
    column = np.arange(disparity.shape[1]) - disparity
    covered_from = np.minimum.accumulate(column[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(covered_from < column - 1.0)


def _weak(seen: SensorView, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where too little light comes back: dark, over-exposed or grazing surfaces, in blotches."""
    light = seen.rgb.astype(np.float64).mean(axis=2)
    lost = np.clip((_DARK - light) / _DARK, 0, 1) + np.clip((light - _GLARE) / 5, 0, 0.6)
    lost += np.clip((_GRAZING - seen.facing) / _GRAZING, 0, 1)
    blotches = (_blotches(rng, light.shape, 4) + 1) / 2
    return np.asarray(lost * rng.uniform(0.6, 1.4) > blotches)


def _blotches(
    rng: np.random.Generator, size: tuple[int, ...], radius_px: float
) -> NDArray[np.float64]:
    """Smooth noise of unit deviation, clipped to [-1, 1]."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, size), (0, 0), radius_px)
    return np.asarray(np.clip(noise / max(float(noise.std()), 1e-9) / 2, -1, 1))
