"""A frame made of plain colours, for tests of training."""

from __future__ import annotations

import cv2
import numpy as np

from focus_depth_ros.synthesis.sample import Sample, SceneObject


def sample(seed: int = 0) -> Sample:
    """A red block before a far wall."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((240, 320), np.uint8)
    left, top = int(rng.integers(20, 180)), int(rng.integers(20, 120))
    ids[top : top + 80, left : left + 100] = 4
    rgb = np.full((240, 320, 3), 150, np.uint8)
    rgb[ids == 4] = (200, 20, 20)
    depth_m = np.where(ids == 4, 0.8, 1.6).astype(np.float32)
    depth_m[:6, :6] = np.nan
    edges = ids - cv2.erode(ids, np.ones((3, 3), np.uint8))
    box = (float(left), float(top), left + 100.0, top + 80.0)
    item = SceneObject(4, 'block', 'red', 'plastic', box, 8000, ['the red block'])
    calibration = np.array([[300.0, 0, 159.5], [0, 300.0, 119.5], [0, 0, 1]])
    return Sample(
        rgb, depth_m, ids, (edges > 0).astype(np.uint8), calibration, [item], ['the blue mug']
    )
