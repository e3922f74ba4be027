"""A picture read from the message as it came, its pixels not copied.

rclpy makes a Python message of a serialised picture by copying its pixels twice, which costs more
than all else that is done to a picture before the network. Here the fields are read in place, in
their order in sensor_msgs/Image, by the rules of plain CDR (OMG DDSI-RTPS, 10.2): numbers of four
bytes at multiples of four, strings and sequences behind their length, strings closed by a zero.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from focus_depth_ros.core import InvalidInput
from focus_depth_ros.node.transport import rclpy_major

BYTE_ORDERS = {b'\x00\x00': '>', b'\x00\x01': '<', b'\x00\x06': '>', b'\x00\x07': '<'}
"""Of plain CDR, versions 1 and 2, by the first two bytes of a message."""
ENCAPSULATION_BYTES = 4
LYRICAL_RCLPY = 10


@dataclass(frozen=True)
class SerialisedImage:
    """The fields of sensor_msgs/Image; `data` lies in the serialised message."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


def arrives_serialised() -> bool:
    """Whether messages that hold bytes reach a subscription that takes them serialised.

    From Lyrical (rclpy 10) on rmw_fastrtps hands these to such subscriptions in some releases only
    (rmw_fastrtps issue 881): there rclpy's own, slower messages are taken.
    """
    return rclpy_major() < LYRICAL_RCLPY


def read_image(message: bytes) -> SerialisedImage:
    """The picture of a serialised sensor_msgs/Image; raises InvalidInput when it is none."""
    order = BYTE_ORDERS.get(message[:2])
    body = memoryview(message)[ENCAPSULATION_BYTES:]
    try:
        if order is None:
            raise ValueError(f'it begins with {message[:4]!r}, which is no plain CDR')
        seconds, nanoseconds = struct.unpack_from(order + 'iI', body)
        frame_id, end = _string(body, 8, order)
        height, width = struct.unpack_from(order + 'II', body, end + -end % 4)
        encoding, end = _string(body, end + -end % 4 + 8, order)
        is_bigendian = body[end]
        end += 1
        step, size = struct.unpack_from(order + 'II', body, end + -end % 4)
        data = body[end + -end % 4 + 8 :][:size]
        if len(data) < size:
            raise ValueError(f'it holds {len(data)} of the {size} bytes of data it announces')
    except (struct.error, IndexError, ValueError) as error:
        raise InvalidInput('image', f'a picture cannot be read: {error}') from error
    header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)
    return SerialisedImage(header, height, width, encoding, is_bigendian, step, data)


def _string(body: memoryview, start: int, order: str) -> tuple[str, int]:
    """The text whose length stands at `start` (a multiple of four), and where it ends."""
    (length,) = struct.unpack_from(order + 'I', body, start)
    end = start + 4 + length
    return bytes(body[start + 4 : end]).rstrip(b'\0').decode(), end
