"""Everything the node publishes for one result. Nobody listens to a topic: it is not computed."""

from __future__ import annotations

import math
from copy import copy

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Vector3
from numpy.typing import DTypeLike
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle.publisher import LifecyclePublisher
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, RegionOfInterest
from std_msgs.msg import Float64, Header
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from focus_depth_ros.core import Box
from focus_depth_ros.msg import FocusTarget, FocusTargetArray
from focus_depth_ros.node.clouds import OrganisedCloud, dense_cloud_message
from focus_depth_ros.node.depth_encoding import millimetres_from_metres
from focus_depth_ros.node.detections import detections_3d
from focus_depth_ros.node.image_codec import image_from_array
from focus_depth_ros.node.image_memory import ImageMemory
from focus_depth_ros.node.markers import target_markers
from focus_depth_ros.node.parameters import Parameters
from focus_depth_ros.node.qos import overridable, result_profile
from focus_depth_ros.node.stamps import NANOSECONDS_PER_SECOND
from focus_depth_ros.pipeline.overlay import draw_result
from focus_depth_ros.pipeline.result import FocusResult, TargetResult

TOPICS: dict[str, type] = {
    'depth/image': Image,
    'depth/camera_info': CameraInfo,
    'depth/relative': Image,
    'boundary/image': Image,
    'target/mask': Image,
    'target/labels': Image,
    'target/points': PointCloud2,
    'targets': FocusTargetArray,
    'target/detections_3d': Detection3DArray,
    'target/markers': MarkerArray,
    'overlay/image': Image,
}
TIMINGS = ('inference_time_ms', 'processing_time_ms', 'pipeline_latency_ms')


class Outputs:
    """The node's publishers."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._results: dict[str, LifecyclePublisher] = {}
        self._timings: dict[str, LifecyclePublisher] = {}
        self._cloud: OrganisedCloud | None = None
        self._images: dict[str, ImageMemory] = {}
        try:
            for name, kind in TOPICS.items():
                self._results[name] = self._advertise(name, kind)
            for name in TIMINGS:
                self._timings[name] = self._advertise(f'debug/{name}', Float64)
        except Exception:
            self.close()
            raise

    def _advertise(self, name: str, kind: type) -> LifecyclePublisher:
        return self._node.create_lifecycle_publisher(
            kind,
            f'~/{name}',
            result_profile(),
            qos_overriding_options=overridable(),
        )

    def any_wanted(self) -> bool:
        """True when somebody listens to any result."""
        return any(self._wanted(name) for name in TOPICS)

    def _wanted(self, name: str) -> bool:
        return bool(self._results[name].get_subscription_count())

    def publish(
        self, result: FocusResult, camera_info: CameraInfo | None, parameters: Parameters
    ) -> None:
        """Publish whatever somebody listens to, under the picture's own stamp and frame."""
        header = header_of(result)
        for name, message in (
            ('depth/image', lambda: self._depth_message(result, parameters.depth_encoding)),
            ('depth/camera_info', lambda: _camera_info_message(camera_info)),
            ('depth/relative', lambda: _relative_message(result)),
            (
                'targets',
                lambda: FocusTargetArray(targets=list(map(target_message, result.targets))),
            ),
            ('target/detections_3d', lambda: detections_3d(result, header)),
            ('target/markers', lambda: target_markers(result, header)),
            ('boundary/image', lambda: image_from_array(result.boundary, 'mono8')),
            ('target/mask', lambda: self._mask_message(result)),
            ('target/labels', lambda: image_from_array(result.labels, 'mono8')),
            ('target/points', lambda: self._points_message(result, parameters.dense_cloud)),
            ('overlay/image', lambda: self._overlay_message(result)),
        ):
            if self._wanted(name):
                content = message()
                if content is None:
                    continue
                if not isinstance(content, MarkerArray):  # its markers have one each
                    content.header = header
                self._results[name].publish(content)

    def _depth_message(self, result: FocusResult, encoding: str) -> Image | None:
        """Metric depth, or nothing: relative depth is never published as metres."""
        if not result.scale.is_metric:
            return None
        if encoding == '16UC1':
            assert result.depth_m is not None
            return image_from_array(millimetres_from_metres(result.depth_m), '16UC1')
        image = self._image('32FC1', result.frame.rgb.shape[:2], np.float32)
        result.put_depth(image.pixels)
        return image.message

    def _mask_message(self, result: FocusResult) -> Image:
        image = self._image('mono8', result.mask.shape, np.uint8)
        np.multiply(result.mask, np.uint8(255), out=image.pixels)
        return image.message

    def _overlay_message(self, result: FocusResult) -> Image:
        image = self._image('rgb8', result.frame.rgb.shape, np.uint8)
        draw_result(result, out=image.pixels)
        return image.message

    def _image(self, encoding: str, shape: tuple[int, ...], dtype: DTypeLike) -> ImageMemory:
        """The one image of this encoding, made anew when pictures change their size."""
        known = self._images.get(encoding)
        if known is None or known.pixels.shape != shape:
            known = self._images[encoding] = ImageMemory(shape, dtype, encoding)
        return known

    def _points_message(self, result: FocusResult, dense: bool) -> PointCloud2 | None:
        if not result.has_points:
            return None
        if dense:
            return dense_cloud_message(result.target_points())
        if self._cloud is None or self._cloud.size != result.frame.size:
            self._cloud = OrganisedCloud(result.frame.size)
        return self._cloud.message(result)

    def publish_timings(self, **milliseconds: float) -> None:
        """Publish the debug times, by topic name."""
        for name, value in milliseconds.items():
            if self._timings[name].get_subscription_count():
                self._timings[name].publish(Float64(data=value))

    def close(self) -> None:
        """Take every publisher down."""
        for publisher in (*self._results.values(), *self._timings.values()):
            self._node.destroy_lifecycle_publisher(publisher)


def header_of(result: FocusResult) -> Header:
    """The input picture's stamp and frame."""
    seconds, nanoseconds = divmod(result.frame.stamp_ns, NANOSECONDS_PER_SECOND)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=result.frame.frame_id)


def _relative_message(result: FocusResult) -> Image | None:
    return None if result.scale.is_metric else image_from_array(result.inverse_depth, '32FC1')


def _camera_info_message(info: CameraInfo | None) -> CameraInfo | None:
    """The input's calibration, whole: a result has the picture's pixels.

    Where a camera gives K alone, P is filled in, because consumers of rectified pictures read P.
    """
    if info is None:
        return None
    message = copy(info)
    if not np.any(info.p):
        message.p = [*info.k[:3], 0.0, *info.k[3:6], 0.0, *info.k[6:], 0.0]
    return message


def target_message(answer: TargetResult) -> FocusTarget:
    """One target's answer; NaN metres where there are none."""
    message = FocusTarget(
        id=answer.target.id,
        label=answer.target.label,
        score=answer.target.score,
        confidence=answer.confidence,
        found=answer.found,
        scale_source=answer.scale.source,
    )
    if answer.box is not None:
        message.box = region_of(answer.box)
    geometry = answer.geometry
    if geometry is None:
        nan = math.nan
        message.centroid, message.extent = Point(x=nan, y=nan, z=nan), Vector3(x=nan, y=nan, z=nan)
        message.depth_p05_m = message.depth_median_m = message.depth_p95_m = nan
        return message
    x, y, z = map(float, geometry.centroid_m)
    message.centroid = Point(x=x, y=y, z=z)
    x, y, z = map(float, geometry.extent_m)
    message.extent = Vector3(x=x, y=y, z=z)
    message.depth_p05_m = geometry.depth_p05_m
    message.depth_median_m = geometry.depth_median_m
    message.depth_p95_m = geometry.depth_p95_m
    return message


def region_of(box: Box) -> RegionOfInterest:
    """A box as whole pixels."""
    x0, y0 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    return RegionOfInterest(
        x_offset=x0,
        y_offset=y0,
        width=max(0, math.ceil(box[2]) - x0),
        height=max(0, math.ceil(box[3]) - y0),
    )
