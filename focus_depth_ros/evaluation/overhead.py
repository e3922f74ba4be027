"""What a node costs beside its network, from the times that it publishes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.evaluation.percentiles import percentiles

Times = Sequence[float] | NDArray[np.float64]


def node_overhead(latency_ms: Times, inference_ms: Times) -> dict[str, Any]:
    """p50, p90 and p99 of (end to end - inference), ms, and of its ratio to inference.

    Both are of the same N pictures in the same order. `std_msgs/Float64` has no stamp to pair them
    by: where their numbers differ a message was lost, and the percentiles are NaN. (As many lost of
    each would not be noticed.) `overhead_times` says how many there were of each.
    """
    latency, inference = np.asarray(latency_ms, float), np.asarray(inference_ms, float)
    counts = [len(latency), len(inference)]
    if len(latency) != len(inference):
        latency = inference = np.empty(0)
    overhead = latency - inference
    return {
        'overhead_ms': percentiles(overhead),
        'overhead_ratio': percentiles(overhead / inference, digits=3),
        'overhead_times': counts,
    }
