"""Points as PointCloud2: x y z rgb, organised like the picture, or the valid ones alone."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

from focus_depth_ros.node.image_codec import append_bytes
from focus_depth_ros.pipeline.region import Region
from focus_depth_ros.pipeline.result import FocusResult

POINT_STEP = 16
FIELDS = [
    PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
    for index, name in enumerate(('x', 'y', 'z', 'rgb'))
]


class OrganisedCloud:
    """A cloud message whose five megabytes are written once and then only where targets are.

    The points are computed in the message's own memory; what the last picture left there is blanked
    to NaN first. `size` is (width, height) px.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._message = blank_cloud(size)
        self._points = np.frombuffer(self._message.data, np.float32).reshape(*size[::-1], 4)
        self._written: Region | None = None

    def message(self, result: FocusResult) -> PointCloud2:
        """The cloud of a result that has points; valid until the next call."""
        if self._written is not None:
            self._points[self._written] = np.nan
        self._written = result.fill_cloud(self._points)
        return self._message


def blank_cloud(size: tuple[int, int]) -> PointCloud2:
    """An organised message of (width, height) points, all NaN."""
    width, height = size
    blank = np.full((height, width, 4), np.nan, np.float32)
    return _message(blank, width, height, is_dense=False)


def dense_cloud_message(points: NDArray[np.float32]) -> PointCloud2:
    """A message of points (N, 4), all valid."""
    return _message(points, len(points), 1, is_dense=True)


def _message(points: NDArray[np.float32], width: int, height: int, is_dense: bool) -> PointCloud2:
    message = PointCloud2(
        height=height,
        width=width,
        fields=FIELDS,
        is_bigendian=sys.byteorder == 'big',
        point_step=POINT_STEP,
        row_step=POINT_STEP * width,
        is_dense=is_dense,
    )
    append_bytes(message.data, points)
    return message
