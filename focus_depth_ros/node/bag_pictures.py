"""Pictures of a recording as arrays, without playing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

from focus_depth_ros.core import InvalidInput
from focus_depth_ros.node.bag_reader import open_bag
from focus_depth_ros.node.image_codec import rgb_from_compressed, rgb_from_image

PICTURES = 64
DEPTH_ENCODINGS = ('16UC1', '32FC1')
TO_RGB = {
    'sensor_msgs/msg/Image': rgb_from_image,
    'sensor_msgs/msg/CompressedImage': rgb_from_compressed,
}


def pictures_of(recording: Path, count: int = PICTURES) -> Iterator[NDArray[np.uint8]]:
    """Up to `count` colour pictures (H, W, 3) RGB, evenly from a rosbag2 recording.

    Topics that are named after depth or truth are left out, and pictures that are depth or damaged.
    Raises FileNotFoundError when there is no recording, ValueError when it cannot be read or holds
    no pictures.
    """
    is_empty = True
    with closing(open_bag(recording)) as reader:
        try:
            for picture in _evenly(reader, count):
                is_empty = False
                yield picture
        except Exception as error:
            raise ValueError(f'{recording} is not a readable recording: {error}') from error
    if is_empty:
        raise ValueError(f'{recording} holds no colour pictures')


def _evenly(reader: AnyReader, count: int) -> Iterator[NDArray[np.uint8]]:
    cameras = [
        connection
        for connection in reader.connections
        if connection.msgtype in TO_RGB
        and not any(word in connection.topic for word in ('depth', 'truth'))
    ]
    total = sum(connection.msgcount for connection in cameras)
    chosen = set(np.linspace(0, total - 1, min(count, total)).astype(int))
    for index, (connection, _, data) in enumerate(reader.messages(cameras)):
        if index in chosen:
            message: Any = reader.deserialize(data, connection.msgtype)
            if not _is_depth(message):
                with suppress(InvalidInput):
                    yield TO_RGB[connection.msgtype](message)


def _is_depth(message: Any) -> bool:
    """By the encoding, which a CompressedImage has before the `;` of its format."""
    said = message.encoding if hasattr(message, 'encoding') else message.format
    return said.partition(';')[0] in DEPTH_ENCODINGS
