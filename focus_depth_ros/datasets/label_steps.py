"""Occlusion boundaries of measured frames, whose depth is too coarse for exact ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEP_M = 0.015
"""A label change with at least this depth step counts: beyond a Kinect's noise at 2 m."""


def label_steps(
    ids: NDArray[np.int32], depth_m: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Boundaries, and label changes that cannot be asked about, each bool (H, W).

    A boundary lies on the nearer side of a label change with a step over STEP_M. The others lie on
    both sides of a label change where the depth of one is not known.
    """
    steps, unknown = np.zeros(ids.shape, np.bool_), np.zeros(ids.shape, np.bool_)
    for axis in (0, 1):
        first = [slice(None), slice(None)]
        second = [slice(None), slice(None)]
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(first), tuple(second)
        differ = ids[a] != ids[b]
        steps[a] |= differ & (depth_m[b] - depth_m[a] > STEP_M)
        steps[b] |= differ & (depth_m[a] - depth_m[b] > STEP_M)
        blind = differ & ~np.isfinite(depth_m[a] - depth_m[b])
        unknown[a] |= blind
        unknown[b] |= blind
    return steps, unknown
