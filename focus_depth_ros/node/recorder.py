"""The node `recorder`: writes topics into a rosbag2 recording (MCAP), without ros2 bag."""

from __future__ import annotations

import argparse
import errno
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from focus_depth_ros.node.bag_types import message_class, typestore_for
from focus_depth_ros.node.parameters import refuse_unknown_parameters
from focus_depth_ros.node.process import add_ros_arguments, run_command, run_in_ros
from focus_depth_ros.node.serialised_image import arrives_serialised

FREE_BYTES = 64 << 20
"""What is left free on the disk, so that a recording can still be finished and read."""
DEFAULT_TOPICS = [
    '/focus_depth/depth/image=sensor_msgs/msg/Image',
    '/focus_depth/depth/relative=sensor_msgs/msg/Image',
    '/focus_depth/depth/camera_info=sensor_msgs/msg/CameraInfo',
    '/focus_depth/boundary/image=sensor_msgs/msg/Image',
    '/focus_depth/target/mask=sensor_msgs/msg/Image',
    '/focus_depth/target/labels=sensor_msgs/msg/Image',
    '/focus_depth/target/points=sensor_msgs/msg/PointCloud2',
    '/focus_depth/target/detections_3d=vision_msgs/msg/Detection3DArray',
    '/focus_depth/targets=focus_depth_ros/msg/FocusTargetArray',
    '/focus_depth/debug/inference_time_ms=std_msgs/msg/Float64',
    '/focus_depth/debug/processing_time_ms=std_msgs/msg/Float64',
    '/focus_depth/debug/pipeline_latency_ms=std_msgs/msg/Float64',
    '/diagnostics=diagnostic_msgs/msg/DiagnosticArray',
]


class Recorder(Node):
    """Parameters: output (a folder that does not exist yet), topics (a list of TOPIC=TYPE).

    A topic is recorded from when it has a publisher, as reliably as that one offers it, and with
    what a latched one said before. Says "recording" once all have one.
    """

    def __init__(self) -> None:
        super().__init__('recorder')
        named = str(self.declare_parameter('output', '').value)
        topics = list(self.declare_parameter('topics', DEFAULT_TOPICS).value)
        refuse_unknown_parameters(self)
        output = Path(named).expanduser()
        if not named or output.exists():
            raise ValueError(
                f'the folder {named!r} exists: parameter output names one that is to be made'
                if named
                else 'parameter output is not given: -p output:=FOLDER, one that is to be made'
            )
        types = dict(_topic_and_type(entry) for entry in topics)
        store = typestore_for(list(types.values()))
        for name in types.values():
            message_class(name)  # what is not installed ends it here
        self._writer = Writer(output, version=8, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._store = store
        self._awaited = types
        self._of_another_type: set[str] = set()
        self._waiting = self.create_timer(0.1, self._hear_what_is_offered)

    def _write_to(self, topic: str, offered: list[QoSProfile]) -> Callable[[bytes], None]:
        connection = self._writer.add_connection(
            topic,
            self._awaited[topic],
            typestore=self._store,
            offered_qos_profiles=[as_recorded(profile) for profile in offered],
        )

        def write(data: bytes) -> None:
            if shutil.disk_usage(self._writer.path).free < FREE_BYTES:
                raise OSError(errno.ENOSPC, 'the disk is nearly full: the recording ends here')
            self._writer.write(connection, self.get_clock().now().nanoseconds, data)

        return write

    def _hear_what_is_offered(self) -> None:
        for topic, wanted in list(self._awaited.items()):
            ends = self.get_publishers_info_by_topic(topic)
            offered = [end.qos_profile for end in ends if end.topic_type == wanted]
            if not offered:
                self._say_of_what_type(topic, {end.topic_type for end in ends})
                continue
            kind, write = message_class(wanted), self._write_to(topic, offered)
            del self._awaited[topic]
            raw = arrives_serialised()
            heard = write if raw else _serialised(write)
            self.create_subscription(kind, topic, heard, common_quality(offered), raw=raw)
        if not self._awaited:
            print('recording', flush=True)
            self._waiting.cancel()

    def _say_of_what_type(self, topic: str, types: set[str]) -> None:
        if types and topic not in self._of_another_type:
            self._of_another_type.add(topic)
            others, wanted = ' and '.join(sorted(types)), self._awaited[topic]
            self.get_logger().warning(f'{topic} is {others}, not {wanted}: nothing is recorded')

    def close(self) -> None:
        """Finish the recording, so that it can be read; a topic that nobody offered is empty."""
        for topic in self._awaited:
            self._write_to(topic, [])
        self._writer.close()
        self.destroy_node()


def _serialised(write: Callable[[bytes], None]) -> Callable[[Any], None]:
    return lambda message: write(serialize_message(message))


def common_quality(offered: list[QoSProfile]) -> QoSProfile:
    """The most that all publishers can keep: a camera's is often best effort, tf_static latched."""
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in offered)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in offered)
    return QoSProfile(
        depth=20,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def as_recorded(profile: QoSProfile) -> Qos:
    """What a recording says of a publisher: whether it is latched and reliable, how many it keeps.

    Its times (deadline, lifespan, lease) stay unset: a replay keeps other ones.
    """
    unset = QosTime(0, 0)
    return Qos(
        history=QosHistory(int(profile.history)),
        depth=profile.depth,
        reliability=QosReliability(int(profile.reliability)),
        durability=QosDurability(int(profile.durability)),
        deadline=unset,
        lifespan=unset,
        liveliness=QosLiveliness.SYSTEM_DEFAULT,
        liveliness_lease_duration=unset,
        avoid_ros_namespace_conventions=False,
    )


def _topic_and_type(entry: str) -> tuple[str, str]:
    topic, separator, name = entry.partition('=')
    if not separator or name.count('/') != 2:
        raise ValueError(f'topic {entry!r} is not of the form /topic=package/msg/Type')
    return topic, name


def main(arguments: Sequence[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM; returns the exit status."""
    return run_in_ros('recorder', arguments, _prepare)


def _prepare(stack: ExitStack) -> Callable[[], None]:
    recorder = Recorder()
    stack.callback(recorder.close)
    return lambda: rclpy.spin(recorder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth record`."""
    add_ros_arguments(parser, '-p output:=FOLDER')


def run(arguments: argparse.Namespace) -> int:
    """`focus-depth record`: the recorder, for machines without ros2 bag."""
    return run_command(arguments, main)
