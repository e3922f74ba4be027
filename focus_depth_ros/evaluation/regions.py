"""Where a target's error is counted: on it, on the band round its outline, everywhere."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

REGIONS = ('boundary', 'foreground', 'global')
BAND_RADIUS_PX = 10
"""FocusDepth's r, at the ground truth's resolution."""
EDGE_RADIUS_PX = 20
"""Edges of depth are looked for, and depth brought to [0, 1], this near a target's outline."""


def boundary_band(mask: NDArray[np.bool_], radius_px: int = BAND_RADIUS_PX) -> NDArray[np.bool_]:
    """dilate(M, r) & ~erode(M, r) with an ellipse; the picture's border is no outline."""
    side = 2 * radius_px + 1
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    solid = mask.astype(np.uint8)
    grown = cv2.dilate(solid, ellipse, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    shrunk = cv2.erode(solid, ellipse, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return np.asarray((grown > 0) & (shrunk == 0))


def target_regions(
    mask: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """The three regions of one target, each bool (H, W) and within `valid`."""
    return {
        'boundary': boundary_band(mask) & valid,
        'foreground': mask & valid,
        'global': valid,
    }
