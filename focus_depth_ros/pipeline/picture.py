"""A camera picture at the network's input size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_LINEAR_FACTOR = 1.5
"""Up to here two taps a pixel see everything; beyond, averaging is needed."""


def stretch(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) stretched to `size` (w, h) without aliasing.

    Halves are averaged, which is exact and fast; the rest is averaged or interpolated. From 640x480
    that is the way the training pictures went, in a ninth of the time of one step.
    """
    width, height = size
    while rgb.shape[1] >= 2 * width and rgb.shape[0] >= 2 * height:
        rgb = _averaged(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2))
    if max(rgb.shape[1] / width, rgb.shape[0] / height) > MAX_LINEAR_FACTOR:
        # OpenCV averages only where neither side grows
        rgb = _averaged(rgb, (min(rgb.shape[1], width), min(rgb.shape[0], height)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _averaged(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
