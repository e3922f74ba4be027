"""A camera picture at the network's input size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def stretch(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) stretched to `size` (w, h) without aliasing.

    Area averaging by exact halves, which is several times faster than by a broken factor and
    differs from it by a fifth of a grey level on average.
    """
    width, height = size
    while rgb.shape[1] >= 4 * width and rgb.shape[0] >= 4 * height:
        half = (rgb.shape[1] // 2, rgb.shape[0] // 2)
        rgb = np.asarray(cv2.resize(rgb, half, interpolation=cv2.INTER_AREA), np.uint8)
    if rgb.shape[1] >= 2 * width and rgb.shape[0] >= 2 * height:
        double = cv2.resize(rgb, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.resize(double, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
