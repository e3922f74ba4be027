"""The node `bag_player`: publishes a recording, on time, without ros2 bag.

Stamps are moved to now (all by the same amount), so that latency can be read off them. Messages go
out as the bytes that are in the bag; only the eight bytes of the header's stamp are rewritten.
"""

from __future__ import annotations

import argparse
import json
import struct
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rich.progress import track
from rosbags.highlevel import AnyReader

from focus_depth_ros.node.bag_types import message_class
from focus_depth_ros.node.process import add_arguments as add_arguments
from focus_depth_ros.node.process import run_command, run_in_ros

BUNDLED_RECORDING = Path(__file__).resolve().parent.parent / 'demo' / 'recording'
TRUTH = '/truth/'
"""Topics that score a recording; they are not played."""

SENSOR_TYPES = {
    'sensor_msgs/msg/Image',
    'sensor_msgs/msg/CompressedImage',
    'sensor_msgs/msg/CameraInfo',
    'sensor_msgs/msg/PointCloud2',
}
IMAGE_TYPES = {'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'}
SUBSCRIBER_WAIT_S = 15.0
STAMP = struct.Struct('<iI')
STAMP_OFFSET = 4
"""A CDR message that begins with a Header has its stamp after the 4 bytes of encapsulation."""


@dataclass(frozen=True)
class Message:
    """One recorded message: when (ns, bag time), where, what (CDR)."""

    time_ns: int
    topic: str
    type_name: str
    data: bytes


def read_bag(path: Path) -> list[Message]:
    """All messages of a rosbag2 folder (MCAP or sqlite3), in order of time.

    Raises FileNotFoundError or ValueError when there is no readable recording.
    """
    if not path.exists():
        raise FileNotFoundError(f'there is no recording at {path}')
    try:
        with AnyReader([path]) as reader:
            return [
                Message(time_ns, connection.topic, connection.msgtype, bytes(data))
                for connection, time_ns, data in reader.messages()
            ]
    except Exception as error:
        raise ValueError(f'{path} is not a readable rosbag2 recording: {error}') from error


def moved_stamp(data: bytes, offset_ns: int) -> bytes:
    """The same CDR message with its header's stamp later by `offset_ns`."""
    seconds, nanoseconds = STAMP.unpack_from(data, STAMP_OFFSET)
    seconds, nanoseconds = divmod(seconds * 1_000_000_000 + nanoseconds + offset_ns, 1_000_000_000)
    stamp = STAMP.pack(seconds, nanoseconds)
    return data[:STAMP_OFFSET] + stamp + data[STAMP_OFFSET + STAMP.size :]


def begins_with_header(kind: Any) -> bool:
    """True for message classes whose first field is a std_msgs/Header."""
    return next(iter(kind.get_fields_and_field_types().values()), '') == 'std_msgs/Header'


class BagPlayer(Node):
    """Parameters: bag (default: the bundled recording), rate, loop, report (a JSON file)."""

    def __init__(self) -> None:
        super().__init__('bag_player')
        self._rate = float(self.declare_parameter('rate', 1.0).value)
        self._loop = bool(self.declare_parameter('loop', False).value)
        self._report = str(self.declare_parameter('report', '').value)
        bag = Path(str(self.declare_parameter('bag', '').value) or BUNDLED_RECORDING)
        if self._rate <= 0:
            raise ValueError(f'parameter rate is {self._rate:g}; it must be above 0')
        self._messages = [m for m in read_bag(bag) if not m.topic.startswith(TRUTH)]
        if not self._messages:
            raise ValueError(f'{bag} holds no messages to play')
        self._types = {message.topic: message.type_name for message in self._messages}
        kinds = {topic: message_class(name) for topic, name in self._types.items()}
        self._stamped = {topic for topic, kind in kinds.items() if begins_with_header(kind)}
        self._publishers_by_topic: dict[str, Publisher[Any]] = {
            topic: self.create_publisher(kind, topic, self._qos(topic))
            for topic, kind in kinds.items()
        }
        self._sent: Counter[str] = Counter()
        self._offset_ns = 0

    def _qos(self, topic: str) -> QoSProfile:
        return (
            qos_profile_sensor_data if self._types[topic] in SENSOR_TYPES else QoSProfile(depth=10)
        )

    def play(self) -> None:
        """Wait for a subscriber of the pictures, then publish everything; again when looping."""
        self._wait_for_subscribers()
        self._play_once()
        while self._loop and rclpy.ok():
            self._play_once()
        self._write_report()

    def _wait_for_subscribers(self) -> None:
        pictures = [
            publisher
            for topic, publisher in self._publishers_by_topic.items()
            if self._types[topic] in IMAGE_TYPES
        ]
        deadline = time.monotonic() + SUBSCRIBER_WAIT_S
        while rclpy.ok() and not any(p.get_subscription_count() for p in pictures):
            if time.monotonic() > deadline:
                self.get_logger().warning('nobody subscribes to the pictures; playing anyway')
                return
            time.sleep(0.05)

    def _play_once(self) -> None:
        first_ns = self._messages[0].time_ns
        start_ns = self.get_clock().now().nanoseconds
        start = time.monotonic()
        self._offset_ns = start_ns - first_ns
        for message in track(self._messages, description='playing', transient=True):
            if not rclpy.ok():
                return
            elapsed_s = (message.time_ns - first_ns) * 1e-9 / self._rate
            time.sleep(max(0.0, start + elapsed_s - time.monotonic()))
            data = message.data
            if message.topic in self._stamped:
                late_ns = int((message.time_ns - first_ns) * (1.0 / self._rate - 1.0))
                data = moved_stamp(data, self._offset_ns + late_ns)
            self._publishers_by_topic[message.topic].publish(data)
            self._sent[message.topic] += 1

    def _write_report(self) -> None:
        if self._report:
            report = {'sent': dict(self._sent), 'offset_ns': self._offset_ns, 'rate': self._rate}
            Path(self._report).write_text(json.dumps(report, indent=1), encoding='utf-8')


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one recording; returns the exit status."""
    return run_in_ros('bag_player', arguments, lambda stack: BagPlayer().play())


def run(arguments: argparse.Namespace) -> int:
    """`focus-depth play`: the player, for machines without ros2 bag."""
    return run_command(arguments, main)
