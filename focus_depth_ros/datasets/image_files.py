"""Image files of a data set: read, with what is wrong with them said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import InvalidInput
from focus_depth_ros.datasets.frame import DatasetError
from focus_depth_ros.encoded_picture import decoded


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A colour picture, uint8 RGB (H,W,3). Raises DatasetError."""
    return np.ascontiguousarray(_read(path, cv2.IMREAD_COLOR)[:, :, ::-1])


def read_rgba(path: Path) -> NDArray[np.uint8]:
    """A cut-out, uint8 RGBA (H,W,4). Raises DatasetError."""
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        raise DatasetError(f'{path}: is {image.dtype} {image.shape}, it should be 8-bit RGBA')
    return np.ascontiguousarray(image[:, :, [2, 1, 0, 3]])


def read_plane(path: Path) -> NDArray[Any]:
    """An image of one channel as it is stored: uint8 or uint16 (H,W). Raises DatasetError."""
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 2:
        raise DatasetError(f'{path}: has {image.shape[2]} channels, it should have one')
    return image


def read_depth(path: Path, unit_m: float) -> NDArray[np.float32]:
    """uint16 counts of `unit_m` metres, 0 = unknown -> metres (H,W). Raises DatasetError."""
    counts = read_plane(path)
    if counts.dtype != np.uint16:
        raise DatasetError(f'{path}: is {counts.dtype}, depth is stored as 16-bit PNG')
    return np.where(counts > 0, counts * np.float64(unit_m), np.nan).astype(np.float32)


def _read(path: Path, flag: int) -> NDArray[Any]:
    if not path.is_file():
        raise DatasetError(f'{path} is missing')
    try:
        return decoded(path.read_bytes(), flag)
    except InvalidInput as problem:
        raise DatasetError(f'{path} is not a readable image: {problem}') from problem
