"""Percentiles of measured times, the same in every report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (50, 90, 99)


def percentiles(values: Sequence[float] | NDArray[np.float64], digits: int = 2) -> dict[str, float]:
    """p50, p90 and p99 of times (N,), rounded; NaN when nothing was measured."""
    found = np.percentile(values, PERCENTILES) if len(values) else np.full(3, np.nan)
    return {f'p{q}': round(float(v), digits) for q, v in zip(PERCENTILES, found, strict=True)}
