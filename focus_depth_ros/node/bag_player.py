"""The node `bag_player`: publishes a recording, on time, without ros2 bag.

Stamps are moved to now (`replay_clock.py`), so that latency can be read off them. Messages go out
as the bytes that are in the bag; only the eight bytes of the header's stamp are rewritten.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rich.progress import track
from rosbags.interfaces import Connection, ConnectionExtRosbag2, QosDurability

from focus_depth_ros.node.bag_reader import BUNDLED_RECORDING, messages_of, open_bag
from focus_depth_ros.node.bag_types import message_class
from focus_depth_ros.node.parameters import refuse_unknown_parameters
from focus_depth_ros.node.process import add_ros_arguments, run_command, run_in_ros
from focus_depth_ros.node.replay_clock import ReplayClock
from focus_depth_ros.node.stamps import NANOSECONDS_PER_SECOND

TRUTH = '/truth/'
"""Topics that score a recording; they are not played."""
OWN_ANSWERS = '/focus_depth/'
"""In the names of a node's own topics; beside a node that plays now, its old answers confuse."""

PAST_STATES = ('/clock', '/diagnostics', '/parameter_events', '/rosout')
"""What time it was and how nodes were at the recording, which those that run now must not hear."""

IMAGE_TYPES = {'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'}
SUBSCRIBER_WAIT_S = 15.0
LATCHED_DEPTH = 100
"""Messages kept for late subscribers of a latched topic, on which many may have spoken."""
STAMP = struct.Struct('<iI')
STAMP_OFFSET = 4
"""A CDR message that begins with a Header has its stamp after the 4 bytes of encapsulation."""


def quality_of(connection: Connection) -> QoSProfile:
    """What latched (a map, /tf_static) still does; all is reliable, which any subscriber takes."""
    extension = connection.ext
    assert isinstance(extension, ConnectionExtRosbag2)
    for offered in extension.offered_qos_profiles:
        if offered.durability is QosDurability.TRANSIENT_LOCAL:
            return QoSProfile(depth=LATCHED_DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return QoSProfile(depth=10)


def stamp_ns(data: bytes) -> int:
    """The header's stamp of a CDR message that begins with one."""
    seconds, nanoseconds = STAMP.unpack_from(data, STAMP_OFFSET)
    return int(seconds) * NANOSECONDS_PER_SECOND + int(nanoseconds)


def stamped(data: bytes, time_ns: int) -> bytes:
    """The same CDR message with another stamp in its header."""
    stamp = STAMP.pack(*divmod(time_ns, NANOSECONDS_PER_SECOND))
    return data[:STAMP_OFFSET] + stamp + data[STAMP_OFFSET + STAMP.size :]


def begins_with_header(kind: Any) -> bool:
    """True for message classes whose first field is a std_msgs/Header."""
    return next(iter(kind.get_fields_and_field_types().values()), '') == 'std_msgs/Header'


def is_played(topic: str) -> bool:
    """Whether a recorded topic is an input: no truth, no answer of a node like ours, no state."""
    return not topic.startswith((TRUTH, *PAST_STATES)) and OWN_ANSWERS not in topic


@dataclass(frozen=True)
class Channel:
    """One topic that is played, with what its type says of it."""

    publisher: Publisher[Any]
    is_picture: bool
    is_stamped: bool


class BagPlayer(Node):
    """Parameters: bag (default: the bundled recording), rate, loop, report (a JSON file).

    Messages are read as they are played, so that a bag may be larger than the memory.
    """

    def __init__(self) -> None:
        # nothing spins here: services would never answer
        super().__init__('bag_player', start_parameter_services=False)
        either = ParameterDescriptor(dynamic_typing=True)  # 2 is a rate as 2.0 is
        rate = self.declare_parameter('rate', 1.0, either).value
        self._loop = bool(self.declare_parameter('loop', False).value)
        self._report = str(self.declare_parameter('report', '').value)
        bag = Path(str(self.declare_parameter('bag', '').value) or BUNDLED_RECORDING).expanduser()
        refuse_unknown_parameters(self)  # a misspelt `bag` would play the bundled one
        if not (isinstance(rate, (int, float)) and 0 < rate < math.inf):
            raise ValueError(f'parameter rate is {rate}; it must be a number above 0')
        self._rate = float(rate)
        self._reader = open_bag(bag)
        self._channels: dict[tuple[str, str], Channel] = {}
        for connection in self._reader.connections:
            if is_played(connection.topic):
                self._advertise(connection)
        if not self._channels:
            raise ValueError(f'{bag} holds no topic that can be played')
        self.get_logger().info(f'plays {bag}: {", ".join(topic for topic, _ in self._channels)}')
        self._sent: Counter[str] = Counter()
        self._offset_ns = 0

    def _advertise(self, connection: Connection) -> None:
        topic, type_name = connection.topic, connection.msgtype
        try:
            kind = message_class(type_name)
            publisher = self.create_publisher(kind, topic, quality_of(connection))
        # RuntimeError: rclpy's, for a topic that has another type already
        except (ValueError, NameValidationException, RuntimeError) as error:
            self.get_logger().warning(f'{topic} is not played: {error}')
            return
        self._channels[topic, type_name] = Channel(
            publisher=publisher,
            is_picture=type_name in IMAGE_TYPES,
            is_stamped=begins_with_header(kind),
        )

    def play(self) -> None:
        """Wait for a subscriber of the pictures, then publish everything; again when looping."""
        self._wait_for_subscribers()
        self._play_once()
        while self._loop and rclpy.ok():
            self._play_once()
        self._write_report()

    def close(self) -> None:
        """Close the recording."""
        self._reader.close()

    def _wait_for_subscribers(self) -> None:
        pictures = [c.publisher for c in self._channels.values() if c.is_picture]
        deadline = time.monotonic() + SUBSCRIBER_WAIT_S
        while rclpy.ok() and not any(p.get_subscription_count() for p in pictures):
            if time.monotonic() > deadline:
                names = ', '.join(p.topic_name for p in pictures)
                self.get_logger().warning(
                    f'nobody subscribes to the pictures ({names}); playing anyway. The node '
                    'takes compressed ones with -p image_transport:=compressed'
                )
                return
            time.sleep(0.05)

    def _play_once(self) -> None:
        wanted = [c for c in self._reader.connections if (c.topic, c.msgtype) in self._channels]
        total = sum(connection.msgcount for connection in wanted)
        first_ns = self._reader.start_time
        # this node's clock stands: nothing spins
        clock, start = ReplayClock(first_ns, time.time_ns(), self._rate), time.monotonic()
        messages = messages_of(self._reader, wanted)
        for connection, time_ns, data in track(
            messages,
            total=total,
            description='playing',
            transient=True,
            disable=not sys.stdout.isatty(),  # a launcher's log would get an empty line
        ):
            elapsed_ns = int((time_ns - first_ns) / self._rate)
            _wait_until(start + elapsed_ns * 1e-9)
            if not rclpy.ok():
                return
            channel = self._channels[connection.topic, connection.msgtype]
            message = bytes(data)
            if channel.is_stamped:
                recorded_ns = stamp_ns(message)
                replayed_ns = clock.replayed_ns(recorded_ns, time_ns)
                message = stamped(message, replayed_ns)
                if channel.is_picture:
                    self._offset_ns = replayed_ns - recorded_ns
            channel.publisher.publish(message)
            self._sent[connection.topic] += 1
        if total and not self._sent:
            raise ValueError(
                'the recording holds messages that its metadata.yaml does not fit: mend it by '
                '`ros2 bag reindex`, or give the .mcap or .db3 file itself'
            )

    def _write_report(self) -> None:
        if self._report:
            report = {'sent': dict(self._sent), 'offset_ns': self._offset_ns, 'rate': self._rate}
            Path(self._report).write_text(json.dumps(report, indent=1), encoding='utf-8')


def _wait_until(moment: float) -> None:
    """Sleep until a time of `time.monotonic`, in parts, so that signals are heard in between."""
    while rclpy.ok() and (left := moment - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one recording; returns the exit status."""
    return run_in_ros('bag_player', arguments, _prepare)


def _prepare(stack: ExitStack) -> Callable[[], None]:
    player = BagPlayer()
    stack.callback(player.close)
    return player.play


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth play`."""
    add_ros_arguments(parser, '-p bag:=FOLDER -p rate:=0.5 -p loop:=true')


def run(arguments: argparse.Namespace) -> int:
    """`focus-depth play`: the player, for machines without ros2 bag."""
    return run_command(arguments, main)
