"""A recording and the answers to it, from bags: what was shown, what is true, what came out."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Camera
from focus_depth_ros.encoded_picture import decode_jpeg_or_png, decoded
from focus_depth_ros.node.bag_reader import open_bag
from focus_depth_ros.node.replay_clock import DAY_NS
from focus_depth_ros.node.stamps import nanoseconds

DEPTH_UNIT_M = 1e-4
"""Unit of /truth/depth."""


@dataclass(frozen=True)
class TrueObject:
    """One object of the recorded scene: its number in the id pictures and what it may be called."""

    id: int
    class_name: str
    captions: tuple[str, ...]

    def is_called(self, label: str) -> bool:
        """True when a target of this label means this object."""
        return label == self.class_name or label in self.captions


@dataclass(frozen=True)
class Truth:
    """One true frame: depth float32 (h, w) metres, NaN invalid; ids uint8 (h, w), 0 background."""

    depth_m: NDArray[np.float32]
    ids: NDArray[np.uint8]


@dataclass
class Recording:
    """What was played. Pictures are JPEG bytes by stamp (ns); truth is there for some stamps.

    `camera_delay_ms` is how long after its stamp the camera handed a picture over (median); 0 where
    its stamps are not of the log's clock.
    """

    camera: Camera
    pictures: dict[int, bytes] = field(default_factory=dict)
    truths: dict[int, Truth] = field(default_factory=dict)
    objects: tuple[TrueObject, ...] = ()
    camera_delay_ms: float = 0.0

    def rgb(self, stamp_ns: int) -> NDArray[np.uint8]:
        """The picture of a stamp, uint8 RGB (H, W, 3)."""
        return decode_jpeg_or_png(self.pictures[stamp_ns])


@dataclass
class Answers:
    """What the node answered: messages by topic and the recording's stamp (ns), times in order."""

    messages: dict[str, dict[int, Any]] = field(default_factory=dict)
    arrivals_ns: dict[int, int] = field(default_factory=dict)
    times_ms: dict[str, list[float]] = field(default_factory=dict)
    diagnostics: dict[str, str] = field(default_factory=dict)


def read_recording(path: Path) -> Recording:
    """Read pictures, calibration and truth. Raises ValueError when it is incomplete."""
    camera: Camera | None = None
    pictures: dict[int, bytes] = {}
    objects: tuple[TrueObject, ...] = ()
    depths: dict[int, NDArray[np.float32]] = {}
    ids: dict[int, NDArray[np.uint8]] = {}
    delays_ms = []
    with closing(open_bag(path)) as reader:
        for connection, time_ns, data in reader.messages():
            message: Any = reader.deserialize(data, connection.msgtype)
            if connection.topic.endswith('/compressed'):
                stamp_ns = nanoseconds(message.header.stamp)
                pictures[stamp_ns] = bytes(message.data)
                if abs(time_ns - stamp_ns) < DAY_NS:
                    delays_ms.append((time_ns - stamp_ns) / 1e6)
            elif connection.topic.endswith('/camera_info'):
                k = message.k
                camera = Camera(message.width, message.height, k[0], k[4], k[2], k[5])
            elif connection.topic == '/truth/depth':
                counts = decoded(bytes(message.data), cv2.IMREAD_UNCHANGED).astype(np.float32)
                depths[nanoseconds(message.header.stamp)] = np.where(
                    counts > 0, counts * DEPTH_UNIT_M, np.nan
                )
            elif connection.topic == '/truth/ids':
                ids[nanoseconds(message.header.stamp)] = decoded(
                    bytes(message.data), cv2.IMREAD_UNCHANGED
                )
            elif connection.topic == '/truth/objects':
                objects = tuple(
                    TrueObject(row['id'], row['class'], tuple(row['captions']))
                    for row in json.loads(message.data)
                )
    if camera is None:
        raise ValueError(f'{path} holds no camera_info')
    truths = {
        stamp: Truth(depths[stamp].astype(np.float32), ids[stamp]) for stamp in depths.keys() & ids
    }
    delay_ms = float(np.median(delays_ms)) if delays_ms else 0.0
    return Recording(camera, pictures, truths, objects, delay_ms)


def read_answers(path: Path, offset_ns: int) -> Answers:
    """Read what the recorder wrote; stamps are moved back by the player's `offset_ns`."""
    answers = Answers()
    with closing(open_bag(path)) as reader:
        for connection, arrival_ns, data in reader.messages():
            message: Any = reader.deserialize(data, connection.msgtype)
            name = connection.topic.removeprefix('/focus_depth/')
            if name.startswith('debug/'):
                answers.times_ms.setdefault(name.removeprefix('debug/'), []).append(message.data)
            elif connection.topic == '/diagnostics':
                answers.diagnostics = {item.key: item.value for item in message.status[0].values}
            else:
                stamp = nanoseconds(message.header.stamp) - offset_ns
                answers.messages.setdefault(name, {})[stamp] = message
                if name == 'depth/image':
                    answers.arrivals_ns[stamp] = arrival_ns - offset_ns
    return answers
