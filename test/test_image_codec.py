"""Every encoding the node claims, there and back, with padding and byte order; units of depth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip('sensor_msgs.msg')

from sensor_msgs.msg import CompressedImage, Image

from focus_depth_ros.core import InvalidInput
from focus_depth_ros.node.depth_encoding import (
    metres_from_float,
    metres_from_millimetres,
    millimetres_from_metres,
)
from focus_depth_ros.node.image_codec import (
    COLOUR_LAYOUTS,
    depth_from_image,
    image_from_array,
    rgb_from_compressed,
    rgb_from_image,
)
from focus_depth_ros.node.image_memory import ImageMemory

WIDTH, HEIGHT = 32, 24


def smooth_rgb() -> np.ndarray:
    """Colours that change slowly, so that chroma subsampling and Bayer mosaics can carry them."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    return (
        np.stack((60 + 120 * x, 200 - 100 * y, 90 + 60 * x * y), axis=-1).round().astype(np.uint8)
    )


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    cells = np.empty(rgb.shape[:2], np.uint8)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        cells[row::2, column::2] = rgb[row::2, column::2, 'rgb'.index(letter)]
    return cells


def packed_yuv(rgb: np.ndarray, order: str) -> np.ndarray:
    """4:2:2 with limited range (BT.601), `order` 'uyvy' or 'yuyv'."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    chroma = np.empty_like(y)
    chroma[:, ::2], chroma[:, 1::2] = u[:, ::2], v[:, ::2]
    parts = (chroma, y) if order == 'uyvy' else (y, chroma)
    return np.stack(parts, axis=-1).round().astype(np.uint8)


def planar_yuv(rgb: np.ndarray, order: str) -> np.ndarray:
    """4:2:0: a luma plane, then interleaved chroma, 'uv' (nv12) or 'vu' (nv21)."""
    packed = packed_yuv(rgb, 'yuyv')
    chroma = packed[::2, :, 1].reshape(HEIGHT // 2, WIDTH // 2, 2)
    if order == 'vu':
        chroma = chroma[..., ::-1]
    return np.vstack((packed[..., 0], chroma.reshape(HEIGHT // 2, WIDTH)))


def grey(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


ENCODERS = {
    'rgb8': (lambda rgb: rgb, 0),
    'bgr8': (lambda rgb: rgb[..., ::-1], 0),
    '8UC3': (lambda rgb: rgb[..., ::-1], 0),
    'rgba8': (lambda rgb: np.dstack((rgb, rgb[..., :1])), 0),
    'bgra8': (lambda rgb: np.dstack((rgb[..., ::-1], rgb[..., :1])), 0),
    'mono8': (grey, 0),
    '8UC1': (grey, 0),
    'mono16': (lambda rgb: grey(rgb).astype(np.uint16) * 256 + 77, 0),
    '16UC1': (lambda rgb: grey(rgb).astype(np.uint16) * 256 + 77, 0),
    'yuv422': (lambda rgb: packed_yuv(rgb, 'uyvy'), 8),
    'uyvy': (lambda rgb: packed_yuv(rgb, 'uyvy'), 8),
    'yuv422_yuy2': (lambda rgb: packed_yuv(rgb, 'yuyv'), 8),
    'yuyv': (lambda rgb: packed_yuv(rgb, 'yuyv'), 8),
    'nv12': (lambda rgb: planar_yuv(rgb, 'uv'), 10),
    'nv21': (lambda rgb: planar_yuv(rgb, 'vu'), 10),
    'bayer_rggb8': (lambda rgb: mosaic(rgb, 'rggb'), 8),
    'bayer_bggr8': (lambda rgb: mosaic(rgb, 'bggr'), 8),
    'bayer_gbrg8': (lambda rgb: mosaic(rgb, 'gbrg'), 8),
    'bayer_grbg8': (lambda rgb: mosaic(rgb, 'grbg'), 8),
}


def message(pixels: np.ndarray, encoding: str, padding: int, bigendian: bool = False) -> Image:
    rows = np.ascontiguousarray(pixels)
    if bigendian:
        rows = rows.byteswap()
    table = rows.view(np.uint8).reshape(rows.shape[0], -1)
    table = np.pad(table, ((0, 0), (0, padding)), constant_values=170)
    return Image(
        width=WIDTH,
        height=HEIGHT,
        encoding=encoding,
        step=table.shape[1],
        is_bigendian=int(bigendian),
        data=table.tobytes(),
    )


def test_every_claimed_encoding_is_tested() -> None:
    assert set(ENCODERS) == set(COLOUR_LAYOUTS)


@pytest.mark.parametrize('padding', [0, 12])
@pytest.mark.parametrize('encoding', ENCODERS)
def test_colour_encodings(encoding: str, padding: int) -> None:
    encode, tolerance = ENCODERS[encoding]
    rgb = smooth_rgb()
    wanted = rgb
    if encoding in ('mono8', '8UC1', 'mono16', '16UC1'):
        wanted = np.dstack([grey(rgb)] * 3)
    read = rgb_from_image(message(encode(rgb), encoding, padding))
    assert read.shape == (HEIGHT, WIDTH, 3) and read.dtype == np.uint8
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(read[inner].astype(int) - wanted[inner]).max() <= tolerance


def test_big_endian_mono16() -> None:
    pixels = (np.arange(HEIGHT * WIDTH, dtype=np.uint16) * 80).reshape(HEIGHT, WIDTH)
    read = rgb_from_image(message(pixels, 'mono16', 6, bigendian=True))
    assert np.array_equal(read[..., 0], (pixels >> 8).astype(np.uint8))


@pytest.mark.parametrize(
    ('changes', 'kind'),
    [
        ({'encoding': 'rgb9'}, 'encoding'),
        ({'step': 10}, 'step'),
        ({'height': HEIGHT + 1}, 'data_size'),
        ({'width': 0}, 'image_size'),
        ({'width': 20_000}, 'image_size'),
    ],
)
def test_lies_are_refused(changes: dict, kind: str) -> None:
    lie = message(smooth_rgb(), 'rgb8', 0)
    for name, value in changes.items():
        setattr(lie, name, value)
    with pytest.raises(InvalidInput) as refusal:
        rgb_from_image(lie)
    assert refusal.value.kind == kind


@pytest.mark.parametrize(('ending', 'tolerance'), [('.png', 0), ('.jpg', 12)])
def test_compressed(ending: str, tolerance: int) -> None:
    data = cv2.imencode(ending, smooth_rgb()[..., ::-1])[1].tobytes()
    read = rgb_from_compressed(CompressedImage(format=ending[1:], data=data))
    assert np.abs(read.astype(int) - smooth_rgb()).max() <= tolerance


@pytest.mark.parametrize('encoding', ['bayer_rggb8', 'bayer_gbrg8'])
def test_a_bayer_picture_is_compressed_as_it_is(encoding: str) -> None:
    wall = np.full((HEIGHT, WIDTH, 3), (220, 30, 10), np.uint8)
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place, letter in enumerate(encoding[6:10]):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = wall[row::2, column::2, 'rgb'.index(letter)]
    data = cv2.imencode('.png', mosaic)[1].tobytes()
    read = rgb_from_compressed(CompressedImage(format=f'{encoding}; png compressed ', data=data))
    assert np.array_equal(read[2:-2, 2:-2], wall[2:-2, 2:-2])
    data = cv2.imencode('.png', wall[..., ::-1])[1].tobytes()
    made = rgb_from_compressed(
        CompressedImage(format=f'{encoding}; png compressed bgr8', data=data)
    )
    assert np.array_equal(made, wall)


@pytest.mark.parametrize('ending', ['.png', '.jpg'])
def test_no_truncation_of_a_compressed_picture_goes_through(ending: str) -> None:
    data = cv2.imencode(ending, smooth_rgb())[1].tobytes()
    for length in range(0, len(data) - 2, 37):
        with pytest.raises(InvalidInput):
            rgb_from_compressed(CompressedImage(data=data[:length]))


def test_only_jpeg_and_png_are_decoded() -> None:
    for ending in ('.bmp', '.webp', '.tiff'):
        data = cv2.imencode(ending, smooth_rgb())[1].tobytes()
        with pytest.raises(InvalidInput, match='no readable JPEG or PNG'):
            rgb_from_compressed(CompressedImage(data=data))


def test_a_jpeg_announces_its_size_behind_whatever_comes_first() -> None:
    jpeg = cv2.imencode('.jpg', np.zeros((16, 9000, 3), np.uint8))[1].tobytes()
    segment = b'\xff\xe5' + (65000).to_bytes(2, 'big') + bytes(64998)
    for hidden in (jpeg, jpeg[:2] + 3 * segment + jpeg[2:], jpeg[:2] + b'\xff\xff' + jpeg[2:]):
        with pytest.raises(InvalidInput, match='9000x16'):
            rgb_from_compressed(CompressedImage(data=hidden))


def test_zeros_behind_a_jpeg_are_padding() -> None:
    data = cv2.imencode('.jpg', smooth_rgb()[..., ::-1])[1].tobytes() + bytes(200)
    assert rgb_from_compressed(CompressedImage(data=data)).shape == (HEIGHT, WIDTH, 3)


def test_images_there_and_back() -> None:
    metres = np.linspace(0.1, 3, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    there = image_from_array(metres, '32FC1')
    assert there.step == 4 * WIDTH and len(there.data) == 4 * WIDTH * HEIGHT
    assert np.array_equal(depth_from_image(there), metres)


def test_what_is_put_into_an_images_memory_is_in_its_message() -> None:
    metres = np.linspace(0.1, 3, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    image = ImageMemory((HEIGHT, WIDTH), np.float32, '32FC1')
    for picture in (metres, metres[::-1]):
        image.pixels[:] = picture
        assert np.array_equal(depth_from_image(image.message), picture)


def test_depth_units() -> None:
    assert metres_from_millimetres(np.array([1500], np.uint16))[0] == np.float32(1.5)
    assert np.isnan(metres_from_millimetres(np.array([0], np.uint16))[0])
    invalid = np.array([np.nan, np.inf, -1.0, 0.0], np.float32)
    assert np.isnan(metres_from_float(invalid)).all()
    metres = np.array([1.2344, np.nan, 70.0, 65.535], np.float32)
    assert millimetres_from_metres(metres).tolist() == [1234, 0, 0, 65535]
