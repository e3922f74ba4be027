"""The one truth about depth units: what is valid, to metres, from metres (REP-117, REP-118).

32FC1 is metres, invalid is not finite or <= 0; 16UC1 is millimetres, invalid is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MILLIMETRES_PER_METRE = np.float32(1000.0)


def metres_from_float(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """32FC1 pixels as metres, NaN invalid."""
    metres = np.asarray(pixels, np.float32)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(np.nan))


def metres_from_millimetres(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """16UC1 pixels as metres, NaN invalid."""
    metres = pixels.astype(np.float32) / MILLIMETRES_PER_METRE
    return np.asarray(np.where(pixels == 0, np.float32(np.nan), metres))


def millimetres_from_metres(metres: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Metres as 16UC1, 0 invalid: NaN, negative or beyond 65.535 m."""
    millimetres = np.rint(np.nan_to_num(metres, nan=0.0) * MILLIMETRES_PER_METRE)
    fits = (millimetres >= 0) & (millimetres <= 65535)
    return np.where(fits, millimetres, 0).astype(np.uint16)
