"""One object owns one camera: its topics, its calibration, its newest picture, its drops."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from focus_depth_ros.core import Camera, Frame, InvalidInput
from focus_depth_ros.node.image_codec import rgb_from_compressed, rgb_from_image
from focus_depth_ros.node.newest_picture import NewestPicture
from focus_depth_ros.node.qos import overridable, picture_profile
from focus_depth_ros.node.reference_depth import ReferenceDepth
from focus_depth_ros.node.serialised_image import arrives_serialised, read_image
from focus_depth_ros.node.stamps import nanoseconds
from focus_depth_ros.pipeline.cloud import corner_bend_px

CALIBRATION_FOLLOWS_S = 0.1
CALIBRATIONS_BEFORE_A_PICTURE = 10
"""More of them without a picture: pictures are lost on their way. Some drivers send them alone."""
BEND_SHARE = 0.05
"""Of the picture's width: a lens that bends the corners by more is said."""
SILENCE_S = 3.0
"""A camera that gives no picture for so long has stopped, or was never there."""

PictureMessage: TypeAlias = bytes | Image | CompressedImage
"""A picture as it came; bytes are a serialised Image."""


@dataclass
class FrameCounts:
    """Pictures that arrived, were answered, gave way to a newer one, or could not be used.

    `camera_infos` came beside them: where there are more, pictures were lost on their way.

    `newest_s`: when the newest one came (before that, when they were first waited for), on
    `time.monotonic`.
    """

    newest_s: float = field(default_factory=time.monotonic)
    received: int = 0
    answered: int = 0
    dropped: int = 0
    refused: int = 0
    camera_infos: int = 0


def camera_from_info(info: CameraInfo, is_rectified: bool) -> Camera:
    """Camera of a CameraInfo: K and D, or P alone for rectified pictures. Raises InvalidInput.

    Matrices and size there are of the whole sensor; the pictures are its region of interest,
    binned, as the message's definition has it.
    """
    matrix, columns = (info.p, 4) if is_rectified else (info.k, 3)
    fx, cx, fy, cy = matrix[0], matrix[2], matrix[columns + 1], matrix[columns + 2]
    roi, across, down = info.roi, max(1, info.binning_x), max(1, info.binning_y)
    width, height = (roi.width or info.width) // across, (roi.height or info.height) // down
    fx, cx = fx / across, (cx - roi.x_offset) / across
    fy, cy = fy / down, (cy - roi.y_offset) / down
    if is_rectified:
        return Camera(width, height, fx, fy, cx, cy)
    distortion = tuple(float(value) for value in info.d)
    if len(distortion) not in (0, 4, 5, 8, 12, 14):
        raise InvalidInput(
            'camera_info',
            f'camera_info has {len(distortion)} distortion coefficients; 4, 5 or 8 are usual',
        )
    return Camera(width, height, fx, fy, cx, cy, info.distortion_model, distortion)


@dataclass(frozen=True)
class Calibration:
    """A camera_info, the camera that was read from it, and how far its lens bends corners, px."""

    info: CameraInfo
    camera: Camera
    bend_px: float


class CameraInput:
    """Subscribes to one camera; its newest picture is in `pictures`.

    The executor's thread puts messages in, the worker's thread takes them out; a picture that a
    newer one replaces before it was taken is a counted drop.
    """

    def __init__(
        self,
        node: LifecycleNode,
        complain: Callable[[InvalidInput], None],
        compressed: bool,
        is_rectified: bool,
    ) -> None:
        self._node = node
        self._complain = complain
        self._is_rectified = is_rectified
        self.pictures = NewestPicture[PictureMessage]()
        self._calibration_came = threading.Event()
        self._calibration: Calibration | None = None
        self._is_first = True
        self._infos_at_picture = 0
        self.reference = ReferenceDepth(complain)
        self.counts = FrameCounts()
        raw_topic = node.resolve_topic_name('image')
        compressed_topic = raw_topic + '/compressed'
        self._subscriptions: list[Subscription[Any]] = []
        try:
            if compressed:
                self._subscribe(CompressedImage, compressed_topic, self._on_image)
            else:
                self._subscribe(Image, raw_topic, self._on_image, raw=arrives_serialised())
            self.topic: str = self._subscriptions[0].topic_name
            self._other_transport = (
                ('raw', raw_topic) if compressed else ('compressed', compressed_topic)
            )
            self._subscribe(CameraInfo, 'camera_info', self._on_camera_info)
            self._subscribe(Image, 'reference_depth', self.reference.put)
        except Exception:
            self.close()
            raise

    def _subscribe(
        self, kind: type, topic: str, callback: Callable[..., None], raw: bool = False
    ) -> None:
        subscription = self._node.create_subscription(
            kind,
            topic,
            callback,
            picture_profile(),
            raw=raw,
            qos_overriding_options=overridable(),
        )
        self._subscriptions.append(subscription)

    def _on_image(self, message: PictureMessage) -> None:
        self.counts.received += 1
        self._infos_at_picture = self.counts.camera_infos
        self.counts.newest_s = time.monotonic()
        self.counts.dropped += self.pictures.put(message)

    def _on_camera_info(self, info: CameraInfo) -> None:
        self.counts.camera_infos += 1
        known = self._calibration
        if known is not None and _same_calibration(info, known.info):
            return
        try:
            camera = camera_from_info(info, self._is_rectified)
            self._calibration = Calibration(info, camera, corner_bend_px(camera))
        except InvalidInput as problem:
            self._calibration = None
            self._complain(problem)
        self._calibration_came.set()

    def complain_of_silence(self) -> None:
        """Say why no picture has come for a while, if that can be seen."""
        if time.monotonic() - self.counts.newest_s < SILENCE_S:
            return
        transport, other = self._other_transport
        is_published = self._node.count_publishers(self.topic)
        if not is_published and self._node.count_publishers(other):
            reason = f'{self.topic} has no publisher, {other} has: image_transport is {transport}?'
        elif self.counts.camera_infos > self._infos_at_picture + CALIBRATIONS_BEFORE_A_PICTURE:
            reason = (
                f"camera_info comes, pictures on {self.topic} do not: start the camera's driver "
                'with the transport profile (docs/install.md), or does its QoS not fit?'
            )
        elif is_published:
            reason = f'{self.topic} has a publisher, but nothing comes: do type and QoS fit?'
        else:
            reason = f'{self.topic} has no publisher: is the camera on, is image remapped to it?'
        self._complain(InvalidInput('no_picture', reason))

    def decode(self, message: PictureMessage) -> tuple[Frame, CameraInfo | None]:
        """The picture as a Frame, and its camera_info; without camera and info where none fits it.

        Raises InvalidInput when the picture itself cannot be used.
        """
        header, rgb = _header_and_rgb(message)
        stamp, frame_id = nanoseconds(header.stamp), header.frame_id
        self.reference.expect(stamp)
        if not frame_id:
            self._complain(
                InvalidInput(
                    'frame_id',
                    'pictures have no frame_id: tf and RViz cannot place their clouds and boxes',
                )
            )
        calibration = self._awaited_calibration()
        if calibration is not None:
            self._compare_frames(calibration.info.header.frame_id, frame_id)
            try:
                return Frame(rgb, calibration.camera, stamp, frame_id), calibration.info
            except InvalidInput as problem:
                if problem.kind != 'camera_info_size':
                    raise
                self._complain(problem)
        return Frame(rgb, None, stamp, frame_id), None

    def _compare_frames(self, of_info: str, of_picture: str) -> None:
        if of_info and of_picture and of_info != of_picture:
            self._complain(
                InvalidInput(
                    'camera_info_frame',
                    f'camera_info is of {of_info!r}, pictures are of {of_picture!r}: if it is '
                    "another camera's, metres and points are wrong",
                )
            )

    def _awaited_calibration(self) -> Calibration | None:
        """The newest calibration, for which the first picture waits a little; its lack is said."""
        if self._is_first:  # a camera's calibration follows its picture
            self._is_first = False
            self.pictures.let_others_run()
            self._calibration_came.wait(CALIBRATION_FOLLOWS_S)
        calibration = self._calibration
        if calibration is None:
            self._complain(
                InvalidInput(
                    'camera_info_missing',
                    f'no usable camera_info on {self._node.resolve_topic_name("camera_info")}: '
                    'there are no points, and metres only from reference_depth',
                )
            )
        elif calibration.bend_px > BEND_SHARE * calibration.camera.width:
            self._complain(
                InvalidInput(
                    'distortion',
                    f'by camera_info the lens bends corners by {_pixels(calibration.bend_px)}: '
                    'points are put right, but the network sees the bent picture; subscribe to a '
                    'rectified one and set image_is_rectified',
                )
            )
        return calibration

    def close(self) -> None:
        """Unsubscribe and end the `pictures`."""
        self.pictures.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


def _pixels(bend_px: float) -> str:
    return f'{bend_px:.0f} px' if bend_px < math.inf else 'more than can be undone'


def _header_and_rgb(message: PictureMessage) -> tuple[Header, NDArray[np.uint8]]:
    if isinstance(message, CompressedImage):
        return message.header, rgb_from_compressed(message)
    picture = message if isinstance(message, Image) else read_image(message)
    return picture.header, rgb_from_image(picture)


def _same_calibration(one: CameraInfo, other: CameraInfo) -> bool:
    return bool(
        one.header.frame_id == other.header.frame_id
        and (one.width, one.height, one.distortion_model)
        == (other.width, other.height, other.distortion_model)
        and np.array_equal(one.k, other.k)
        and np.array_equal(one.r, other.r)
        and np.array_equal(one.p, other.p)
        and list(one.d) == list(other.d)
        and (one.binning_x, one.binning_y) == (other.binning_x, other.binning_y)
        and one.roi == other.roi
    )
