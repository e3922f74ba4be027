"""Scores of a target's point cloud against its true visible surface; metres, optical frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from focus_depth_ros.evaluation.metrics import Image, Mask

Points = NDArray[np.float64]
FLYING_M = 0.02
BETWEEN_M = 0.005
"""Points closer than this to object or background are not between them."""
TOLERANCES_M = (0.005, 0.01)


@dataclass(frozen=True)
class CloudScore:
    """One target's cloud: Chamfer distance, F-scores at 5 mm and 1 cm, centroid error."""

    chamfer_m: float
    f_score_5mm: float
    f_score_1cm: float
    centroid_error_m: float


def cloud_score(points: Points, truth: Points) -> CloudScore:
    """Score points (N, 3) against the true visible surface's (M, 3).

    Chamfer: the mean of both mean nearest distances. An empty cloud: NaN distances, F-scores 0.
    """
    if not len(points) or not len(truth):
        return CloudScore(float('nan'), 0.0, 0.0, float('nan'))
    to_truth, _ = KDTree(truth).query(points)
    to_points, _ = KDTree(points).query(truth)
    f_scores = []
    for tolerance_m in TOLERANCES_M:
        precision, recall = np.mean(to_truth <= tolerance_m), np.mean(to_points <= tolerance_m)
        f_scores.append(float(2 * precision * recall / max(precision + recall, 1e-9)))
    return CloudScore(
        chamfer_m=float((to_truth.mean() + to_points.mean()) / 2),
        f_score_5mm=f_scores[0],
        f_score_1cm=f_scores[1],
        centroid_error_m=float(np.linalg.norm(points.mean(0) - truth.mean(0))),
    )


def back_projected(depth_m: Image, region: Mask, K: NDArray[np.float64]) -> Points:
    """Points (N, 3) of a region's pixels; pixel centres at whole numbers."""
    rows, columns = np.nonzero(region)
    z = depth_m[rows, columns].astype(np.float64)
    x = (columns - K[0, 2]) / K[0, 0] * z
    y = (rows - K[1, 2]) / K[1, 1] * z
    return np.stack([x, y, z], axis=1)


def flying_pixel_ratio(
    depth_m: Image, truth_m: Image, published: Mask, visible: Mask, K: NDArray[np.float64]
) -> float:
    """Share of a target's published points that fly, in [0, 1]; NaN without any.

    Depths (H, W) in metres; `published`: pixels with a point, of which those without a true depth
    are left out; `visible`: the object's true pixels. A point flies if it is farther than 2 cm from
    the true surface along its ray, or in free space between object and background: its ray passes
    the object by, and it is over 5 mm before what the ray meets and over 5 mm behind the object
    where that is nearest in the picture. The 5 mm are ours: without them the background's own noise
    would fly. On the object's rays what is behind its surface is hidden, not free.
    """
    has_truth = np.isfinite(truth_m) & (truth_m > 0)
    known = published & has_truth & np.isfinite(depth_m)
    if not known.any():
        return float('nan')
    metres_a_depth = np.linalg.norm(back_projected(np.ones_like(truth_m), known, K), axis=1)
    depth = depth_m[known].astype(np.float64)
    before_surface_m = (truth_m[known] - depth) * metres_a_depth
    flies = np.abs(before_surface_m) > FLYING_M
    surface = visible & has_truth
    if surface.any():
        behind_object_m = (depth - _nearest_value(truth_m, surface)[known]) * metres_a_depth
        is_between = np.minimum(before_surface_m, behind_object_m) > BETWEEN_M
        flies |= is_between & ~visible[known]
    return float(np.mean(flies))


def _nearest_value(values: Image, where: Mask) -> Image:
    """At every pixel the value of the nearest pixel of `where`."""
    rows, columns = distance_transform_edt(~where, return_distances=False, return_indices=True)
    return np.asarray(values[rows, columns])
