"""The figures of a target that take longer: values, edges of its depth map, its point cloud.

All are of the published map, aligned over the whole picture.
"""

from __future__ import annotations

import cv2
import numpy as np

from focus_depth_ros.datasets.frame import Triplet
from focus_depth_ros.evaluation import metrics
from focus_depth_ros.evaluation.cloud_metrics import (
    back_projected,
    cloud_score,
    flying_pixel_ratio,
)
from focus_depth_ros.evaluation.depth_edges import boundary_f1, depth_boundary_error, depth_edges
from focus_depth_ros.evaluation.metrics import Image, Mask
from focus_depth_ros.evaluation.regions import EDGE_RADIUS_PX, boundary_band

BLUR_PX = 7
"""Edges closer than this to unknown depth are left out: filling it would make some."""


def thorough_scores(depth_m: Image, mask: Mask, triplet: Triplet, valid: Mask) -> dict[str, float]:
    """All of them, by name, for the published depth (H, W) in metres and the published mask."""
    truth_m = np.where(valid, triplet.depth_m, 1.0).astype(np.float32)
    target = triplet.mask & valid
    values = {
        'rmse_m': metrics.rmse,
        'relative_to_prediction': metrics.relative_to_prediction,
        'log10': metrics.log10_error,
        'silog': metrics.scale_invariant_log,
    }
    found = {f'{n}_foreground': measure(depth_m, truth_m, target) for n, measure in values.items()}
    found['whdr_global'] = metrics.ordinal_disagreement(depth_m, truth_m, valid)
    found['mask_boundary_error'] = metrics.mask_boundary_error(
        np.reciprocal(depth_m), np.reciprocal(truth_m), triplet.mask, valid
    )
    return (
        found
        | _edge_scores(depth_m, truth_m, triplet.mask, valid)
        | _cloud_scores(depth_m, mask, triplet, valid)
    )


def _edge_scores(depth_m: Image, truth_m: Image, mask: Mask, valid: Mask) -> dict[str, float]:
    """Against edges of the true depth, which every data set has; MoDOT takes true boundaries."""
    known = cv2.erode(valid.astype(np.uint8), np.ones((BLUR_PX, BLUR_PX), np.uint8)) > 0
    region = boundary_band(mask, EDGE_RADIUS_PX) & known
    error = depth_boundary_error(depth_edges(depth_m, region), depth_edges(truth_m, region))
    return {
        'edge_accuracy_px': error.accuracy_px,
        'edge_completeness_px': error.completeness_px,
        'edge_f1': boundary_f1(depth_m, truth_m, region),
    }


def _cloud_scores(depth_m: Image, mask: Mask, triplet: Triplet, valid: Mask) -> dict[str, float]:
    if triplet.K is None:
        return {}
    cloud = back_projected(depth_m, mask, triplet.K)
    score = cloud_score(cloud, back_projected(triplet.depth_m, triplet.mask & valid, triplet.K))
    return {
        'cloud_chamfer_m': score.chamfer_m,
        'cloud_f_5mm': score.f_score_5mm,
        'cloud_f_1cm': score.f_score_1cm,
        'cloud_centroid_m': score.centroid_error_m,
        'cloud_flying': flying_pixel_ratio(depth_m, triplet.depth_m, mask, triplet.mask, triplet.K),
    }
