"""The depth camera's images that set the metric scale: which of them belongs to a picture."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from focus_depth_ros.core import Frame, InvalidInput
from focus_depth_ros.node.image_codec import depth_from_image
from focus_depth_ros.node.stamps import nanoseconds

SLOP_NS = 100_000_000
KEPT = 10
"""Of the newest ones, for the picture that is taken next."""
FARTHEST_M = 100.0
"""Median of a reference beyond which it is no robot's surroundings, but in millimetres."""


class ReferenceDepth:
    """One thread puts images in, another asks for the one of the picture that it has at hand.

    They come after the colour picture that they belong to, so that they are asked for when the
    network has answered. What belongs to the picture at hand is kept, however long that takes.
    """

    def __init__(self, complain: Callable[[InvalidInput], None]) -> None:
        self._complain = complain
        self._lock = threading.Lock()
        self._images: list[Image] = []
        self._expected_ns = 0

    def put(self, message: Image) -> None:
        """One more image."""
        with self._lock:
            self._images.append(message)
            nearest, newest = self._nearest(self._expected_ns), self._images[-KEPT:]
            self._images = newest if any(nearest is one for one in newest) else [nearest, *newest]

    def expect(self, stamp_ns: int) -> None:
        """The picture at hand is stamped so: what belongs to it is kept."""
        with self._lock:
            self._expected_ns = stamp_ns

    def _nearest(self, stamp_ns: int) -> Image:
        return min(
            reversed(self._images),  # the newest of equal ones: some drivers stamp all 0
            key=lambda message: abs(nanoseconds(message.header.stamp) - stamp_ns),
        )

    def of(self, frame: Frame) -> NDArray[np.float32] | None:
        """The depth that belongs to a picture, metres, NaN invalid; None without one.

        What is there but cannot be used is said: its stamp is over 0.1 s away, its shape or frame
        is not the picture's, its encoding is no depth, its values are no metres.
        """
        with self._lock:
            nearest = self._nearest(frame.stamp_ns) if self._images else None
        if nearest is None:
            return None
        try:
            _check_reference(nearest, frame)
            return _in_metres(depth_from_image(nearest))
        except InvalidInput as problem:
            self._complain(problem)
            return None


def _check_reference(message: Image, frame: Frame) -> None:
    apart_ns = abs(nanoseconds(message.header.stamp) - frame.stamp_ns)
    if apart_ns > SLOP_NS:
        raise InvalidInput(
            'reference_stamp',
            f'the nearest reference_depth is {apart_ns / 1e9:.2f} s from the picture',
        )
    width, height = frame.size
    if abs(message.width * height - message.height * width) > 0.02 * message.width * height:
        raise InvalidInput(
            'reference_size',
            f'reference_depth of {message.width}x{message.height} px does not show the view of '
            f'a picture of {width}x{height} px: align it to the colour camera',
        )
    if message.header.frame_id != frame.frame_id:
        raise InvalidInput(
            'reference_frame',
            f'reference_depth is in frame {message.header.frame_id!r}, the picture in '
            f'{frame.frame_id!r}: align it to the colour camera',
        )


def _in_metres(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same; raises InvalidInput for what must be millimetres. A sample of pixels decides."""
    sample = depth_m[:: max(1, len(depth_m) // 64), ::8]
    sample = sample[np.isfinite(sample)]
    if sample.size and (median := float(np.median(sample))) > FARTHEST_M:
        raise InvalidInput(
            'reference_unit',
            f'reference_depth is {median:.0f} m in the median: 32FC1 is read as metres, 16UC1 as '
            'millimetres (REP 118)',
        )
    return depth_m
