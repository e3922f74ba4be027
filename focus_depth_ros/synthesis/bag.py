"""Messages of a recording, as a rosbag2 folder (MCAP) written without ROS.

Field layouts of vision_msgs are given here as text; all others come with rosbags.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from focus_depth_ros.core import Box

FRAME_ID = 'camera_color_optical_frame'
_VISION_MESSAGES = {
    'vision_msgs/msg/Point2D': 'float64 x\nfloat64 y\n',
    'vision_msgs/msg/Pose2D': 'vision_msgs/Point2D position\nfloat64 theta\n',
    'vision_msgs/msg/BoundingBox2D': 'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n',
    'vision_msgs/msg/ObjectHypothesis': 'string class_id\nfloat64 score\n',
    'vision_msgs/msg/ObjectHypothesisWithPose': (
        'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n'
    ),
    'vision_msgs/msg/Detection2D': (
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox2D bbox\nstring id\n'
    ),
    'vision_msgs/msg/Detection2DArray': (
        'std_msgs/Header header\nvision_msgs/Detection2D[] detections\n'
    ),
}
NANOSECONDS = 1_000_000_000


class Bag:
    """An open recording: one method a kind of message, stamps and publishing times in nanoseconds.

    Use as a context manager. Raises FileExistsError when the folder is there already.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists():
            raise FileExistsError(f'{folder} exists; name a new folder or remove it first')
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        for name, text in _VISION_MESSAGES.items():
            self._store.register(get_types_from_msg(text, name))
        # version 8 of the metadata is read by Humble to Kilted; Humble fails on the lists of 9
        self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> Bag:
        self._writer.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def _make(self, name: str, **fields: Any) -> Any:
        return self._store.types[name](**fields)

    def _write(self, topic: str, name: str, at_ns: int, message: Any) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, name, typestore=self._store
            )
        data = self._store.serialize_cdr(message, name)
        self._writer.write(self._connections[topic], at_ns, data)

    def _header(self, stamp_ns: int) -> Any:
        seconds, rest = divmod(stamp_ns, NANOSECONDS)
        time = self._make('builtin_interfaces/msg/Time', sec=seconds, nanosec=rest)
        return self._make('std_msgs/msg/Header', stamp=time, frame_id=FRAME_ID)

    def picture(self, topic: str, at_ns: int, stamp_ns: int, form: str, data: bytes) -> None:
        """A CompressedImage: `form` is its format field, `data` the encoded file."""
        name = 'sensor_msgs/msg/CompressedImage'
        header, content = self._header(stamp_ns), np.frombuffer(data, np.uint8)
        self._write(topic, name, at_ns, self._make(name, header=header, format=form, data=content))

    def camera_info(
        self, topic: str, at_ns: int, stamp_ns: int, size: tuple[int, int], K: NDArray[np.float64]
    ) -> None:
        """A CameraInfo without distortion; size is (width, height) px."""
        name = 'sensor_msgs/msg/CameraInfo'
        region = self._make(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
        )  # fmt: skip
        message = self._make(
            name, header=self._header(stamp_ns), height=size[1], width=size[0],
            distortion_model='plumb_bob', d=np.zeros(5), k=K.ravel(), r=np.eye(3).ravel(),
            p=np.column_stack([K, np.zeros(3)]).ravel(), binning_x=0, binning_y=0, roi=region,
        )  # fmt: skip
        self._write(topic, name, at_ns, message)

    def detections(
        self,
        topic: str,
        at_ns: int,
        stamp_ns: int,
        found: list[tuple[str, float, Box]],
    ) -> None:
        """A Detection2DArray of (class name, score, xyxy box in px)."""
        name = 'vision_msgs/msg/Detection2DArray'
        rows = [self._detection(stamp_ns, *row) for row in found]
        header = self._header(stamp_ns)
        self._write(topic, name, at_ns, self._make(name, header=header, detections=rows))

    def _detection(self, stamp_ns: int, class_name: str, score: float, box: Box) -> Any:
        make = self._make
        point = make('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0)
        turn = make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
        pose = make(
            'geometry_msgs/msg/PoseWithCovariance',
            pose=make('geometry_msgs/msg/Pose', position=point, orientation=turn),
            covariance=np.zeros(36),
        )
        guess = make('vision_msgs/msg/ObjectHypothesis', class_id=class_name, score=score)
        result = make('vision_msgs/msg/ObjectHypothesisWithPose', hypothesis=guess, pose=pose)
        left, top, right, bottom = box
        middle = make('vision_msgs/msg/Point2D', x=(left + right) / 2, y=(top + bottom) / 2)
        centre = make('vision_msgs/msg/Pose2D', position=middle, theta=0.0)
        bbox = make(
            'vision_msgs/msg/BoundingBox2D',
            center=centre, size_x=right - left, size_y=bottom - top,
        )  # fmt: skip
        return make(
            'vision_msgs/msg/Detection2D',
            header=self._header(stamp_ns), results=[result], bbox=bbox, id='',
        )  # fmt: skip

    def text(self, topic: str, at_ns: int, content: str) -> None:
        """A std_msgs/String."""
        name = 'std_msgs/msg/String'
        self._write(topic, name, at_ns, self._make(name, data=content))
