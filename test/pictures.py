"""Pictures without a renderer: what tracking can hold on to, and a camera for small ones."""

from __future__ import annotations

import cv2
import numpy as np

from focus_depth_ros.core import Camera

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blocks of 4 x 4 px, each of a grey of its own: (height, width) uint8."""
    blocks = np.random.default_rng(seed).integers(
        0, 255, (height // 4 + 1, width // 4 + 1), np.uint8
    )
    return np.ascontiguousarray(np.kron(blocks, np.ones((4, 4), np.uint8))[:height, :width])


def pan(shift: int) -> np.ndarray:
    """A picture (168, 224) whose things lie `shift` px farther right than in that of 0."""
    world = cv2.GaussianBlur(noise(168, 900), (0, 0), 1)
    return np.ascontiguousarray(world[:, 300 - shift : 524 - shift])
