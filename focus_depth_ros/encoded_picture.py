"""JPEG, PNG and other encoded pictures to RGB, taken for untrusted.

A few bytes may announce gigabytes, and OpenCV fills what a truncated JPEG lacks with grey, without
a word. Both are refused here for JPEG and PNG, before they are decoded: all that camera messages
may hold. Files of other kinds are bounded by OpenCV alone, at 2^30 pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import InvalidInput, check_size

JPEG, PNG = b'\xff\xd8', b'\x89PNG\r\n\x1a\n'
END_OF_JPEG, END_OF_PNG = b'\xff\xd9', b'IEND'
START_OF_SCAN = 0xDA
NO_FRAME_HEADER = (0xC4, 0xC8, 0xCC)
"""Markers in the range of JPEG's frame headers (C0 to CF) that are none."""


def decode_jpeg_or_png(data: bytes, mode: int = cv2.IMREAD_COLOR) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of a JPEG or PNG; `mode` is one of cv2's for reading colour.

    Raises InvalidInput when it is neither, is truncated or has a size that no camera has.
    """
    width, height, header_bytes = _header(data)
    check_size(width, height)
    _check_end(data, header_bytes)
    return _rgb(_opened(data, mode))


def decoded(data: bytes, mode: int) -> NDArray[Any]:
    """Any picture as OpenCV gives it in this mode (colours BGR), of any size that OpenCV takes.

    Raises InvalidInput when it cannot be read, or is half of a JPEG or PNG.
    """
    if data[:8] == PNG or data[:2] == JPEG:
        _check_end(data, _header(data)[2])
    return _opened(data, mode)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of a picture file, upright as its EXIF orientation says.

    Raises InvalidInput when there is no such file or no whole picture in it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput('picture', error.strerror or str(error)) from error
    if data[:8] == PNG or data[:2] == JPEG:
        return decode_jpeg_or_png(data)
    return _rgb(_opened(data, cv2.IMREAD_COLOR))


def _header(data: bytes) -> tuple[int, int, int]:
    """(width, height, bytes of the header) of a JPEG or PNG. Raises InvalidInput."""
    return _png_header(data) if data[:8] == PNG else _jpeg_header(data)


def _check_end(data: bytes, header_bytes: int) -> None:
    """Raise InvalidInput for half of a JPEG or PNG."""
    kind, end = ('PNG', END_OF_PNG) if data[:8] == PNG else ('JPEG', END_OF_JPEG)
    # after the header, since a JPEG's thumbnail has an end of its own; a camera may append more
    if data.rfind(end, header_bytes) < 0:
        raise InvalidInput('compressed', f'the {kind} of {len(data)} bytes is truncated')


def _opened(data: bytes, mode: int) -> NDArray[Any]:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error:  # no bytes at all, or more pixels than OpenCV takes
        picture = None
    if picture is None:
        raise InvalidInput('compressed', f'the picture of {len(data)} bytes cannot be decoded')
    return np.asarray(picture)


def _rgb(picture: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _png_header(data: bytes) -> tuple[int, int, int]:
    """(width, height, bytes of the header) from a PNG's IHDR. Raises InvalidInput."""
    if len(data) < 24:
        raise _unreadable(data)
    return int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big'), 24


def _jpeg_header(data: bytes) -> tuple[int, int, int]:
    """(width, height, bytes before the first scan) from a JPEG's markers. Raises InvalidInput."""
    width = height = 0
    position = 2 if data[:2] == JPEG else len(data)
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == START_OF_SCAN and width:
            return width, height, position
        if 0xC0 <= marker <= 0xCF and marker not in NO_FRAME_HEADER:
            height = int.from_bytes(data[position + 5 : position + 7], 'big')
            width = int.from_bytes(data[position + 7 : position + 9], 'big')
        position += 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
    raise _unreadable(data)


def _unreadable(data: bytes) -> InvalidInput:
    return InvalidInput('compressed', f'{len(data)} bytes are no readable JPEG or PNG')
