"""sensor_msgs/Image and CompressedImage to arrays and back, for every encoding a camera uses.

Own code instead of cv_bridge: that one is not everywhere, breaks with NumPy and OpenCV majors, and
does not check. Every message is taken for untrusted: its size, step and encoding must agree.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from focus_depth_ros.core import InvalidInput, check_size
from focus_depth_ros.encoded_picture import decode_jpeg_or_png
from focus_depth_ros.node.depth_encoding import metres_from_float, metres_from_millimetres
from focus_depth_ros.node.serialised_image import SerialisedImage

ToRgb = Callable[[NDArray[Any]], NDArray[np.uint8]]


@dataclass(frozen=True)
class _Layout:
    """How one encoding lies in memory: `channels` of `dtype` a pixel; height * `rows` rows."""

    dtype: str
    channels: int
    to_rgb: ToRgb
    rows: float = 1.0


def _convert(code: int) -> ToRgb:
    return lambda pixels: np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _mono16(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    high = (pixels >> 8).astype(np.uint8)
    return np.asarray(cv2.cvtColor(high, cv2.COLOR_GRAY2RGB))


COLOUR_LAYOUTS: dict[str, _Layout] = {
    'rgb8': _Layout('u1', 3, np.ascontiguousarray),
    'bgr8': _Layout('u1', 3, _convert(cv2.COLOR_BGR2RGB)),
    '8UC3': _Layout('u1', 3, _convert(cv2.COLOR_BGR2RGB)),
    'rgba8': _Layout('u1', 4, _convert(cv2.COLOR_RGBA2RGB)),
    'bgra8': _Layout('u1', 4, _convert(cv2.COLOR_BGRA2RGB)),
    'mono8': _Layout('u1', 1, _convert(cv2.COLOR_GRAY2RGB)),
    '8UC1': _Layout('u1', 1, _convert(cv2.COLOR_GRAY2RGB)),
    'mono16': _Layout('u2', 1, _mono16),
    '16UC1': _Layout('u2', 1, _mono16),
    'yuv422': _Layout('u1', 2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    'uyvy': _Layout('u1', 2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    'yuv422_yuy2': _Layout('u1', 2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    'yuyv': _Layout('u1', 2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    'nv12': _Layout('u1', 1, _convert(cv2.COLOR_YUV2RGB_NV12), rows=1.5),
    'nv21': _Layout('u1', 1, _convert(cv2.COLOR_YUV2RGB_NV21), rows=1.5),
    # OpenCV's short names tell the middle of the second row: BG is RGGB. The long ones
    # (BayerRGGB2RGB) are newer than the OpenCV 4.5.4 of Ubuntu 22.04
    'bayer_rggb8': _Layout('u1', 1, _convert(cv2.COLOR_BayerBG2RGB)),
    'bayer_bggr8': _Layout('u1', 1, _convert(cv2.COLOR_BayerRG2RGB)),
    'bayer_gbrg8': _Layout('u1', 1, _convert(cv2.COLOR_BayerGR2RGB)),
    'bayer_grbg8': _Layout('u1', 1, _convert(cv2.COLOR_BayerGB2RGB)),
}


def rgb_from_image(message: Image | SerialisedImage) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of a colour picture. Raises InvalidInput saying what disagrees."""
    layout = COLOUR_LAYOUTS.get(message.encoding)
    if layout is None:
        raise InvalidInput(
            'encoding',
            f'image encoding {message.encoding[:40]!r} is not one of: {", ".join(COLOUR_LAYOUTS)}',
        )
    pixels = _pixels(message, layout.dtype, layout.channels, layout.rows)
    try:
        return layout.to_rgb(pixels)
    except cv2.error as error:  # an odd width where pairs of pixels share their colour, say
        raise InvalidInput(
            'image_size', f'{message.width}x{message.height} px cannot be {message.encoding}'
        ) from error


def rgb_from_compressed(message: CompressedImage) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of a JPEG or PNG as the sensor has it: no orientation is applied.

    `format` begins with the encoding before compression. A Bayer picture lies within as it is,
    unless `format` ends with what it was made, bgr8. Raises InvalidInput when it is truncated,
    neither, or of a size that no camera has.
    """
    mode = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = decode_jpeg_or_png(bytes(message.data), mode)
    raw, _, compressed = message.format.partition(';')
    layout = COLOUR_LAYOUTS.get(raw.strip().replace('16', '8'))
    if layout is None or not raw.startswith('bayer_') or 'bgr8' in compressed:
        return pixels
    return layout.to_rgb(np.ascontiguousarray(pixels[..., 0]))


def _pixels(
    message: Image | SerialisedImage, dtype: str, channels: int, rows: float = 1.0
) -> NDArray[Any]:
    """The message's memory as (rows, width[, channels]), row padding cut, native byte order."""
    width, height, step = message.width, message.height, message.step
    check_size(width, height)
    row_count = int(height * rows)
    row_bytes = width * channels * np.dtype(dtype).itemsize
    if step < row_bytes:
        raise InvalidInput(
            'step',
            f'step {step} is shorter than a row: {width} px of {message.encoding} need {row_bytes}',
        )
    data = np.frombuffer(message.data, np.uint8)
    if data.size != step * row_count:
        raise InvalidInput(
            'data_size',
            f'{data.size} bytes of data, but step {step} x {row_count} rows are {step * row_count}',
        )
    table = data.reshape(row_count, step)[:, :row_bytes]
    pixels = np.ascontiguousarray(table).view(
        np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    )
    if np.dtype(dtype).itemsize > 1:
        pixels = pixels.astype(np.dtype(dtype), copy=False)
    return np.asarray(pixels if channels == 1 else pixels.reshape(row_count, width, channels))


def depth_from_image(message: Image) -> NDArray[np.float32]:
    """float32 metres (H, W), NaN invalid, of a 32FC1 (m) or 16UC1 / mono16 (mm) depth picture."""
    if message.encoding == '32FC1':
        return metres_from_float(_pixels(message, 'f4', 1))
    if message.encoding in ('16UC1', 'mono16'):
        return metres_from_millimetres(_pixels(message, 'u2', 1))
    raise InvalidInput(
        'reference_encoding', f'depth encoding {message.encoding[:40]!r}; 32FC1 or 16UC1 are read'
    )


def image_from_array(pixels: NDArray[Any], encoding: str) -> Image:
    """An Image message of a C-contiguous array (H, W) or (H, W, C); the header is left empty."""
    message = Image()
    message.height, message.width = pixels.shape[:2]
    message.encoding = encoding
    message.is_bigendian = int(sys.byteorder == 'big')
    message.step = pixels.strides[0]
    append_bytes(message.data, pixels)
    return message


def append_bytes(data: array.array[int], values: NDArray[Any]) -> None:
    """Put an array's memory into the `data` that a message has from the start.

    Assigned to the field it would be copied once more: with field checks off, as Kilted has them,
    a message copies even the one type that rclpy takes without converting item by item.
    """
    data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
