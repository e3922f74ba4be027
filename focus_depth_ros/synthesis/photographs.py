"""Photographs of the user's, for prints on packages: read once, checked, cropped and tinted.

What stands for a photograph otherwise is blobs of mixed tones; real ones have edges, shading and
depth that are not the package's, which is what a network must learn not to believe.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from focus_depth_ros.core import InvalidInput
from focus_depth_ros.encoded_picture import read_picture
from focus_depth_ros.synthesis.materials import Texture

ENDINGS = ('.jpg', '.jpeg', '.png')
SMALLEST_PX = 64
_LONGEST_PX = 1024
_SMALLEST_SHARE = 0.15
"""Of the photograph's height that a crop shows."""


class PhotographError(ValueError):
    """A folder or picture that cannot be used; the message names it."""


def read_photographs(folder: Path) -> tuple[Texture, ...]:
    """All pictures under a folder, RGB, in the order of their paths. Raises PhotographError."""
    paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in ENDINGS)
    if not paths:
        raise PhotographError(f'{folder} holds no photographs ({", ".join(ENDINGS)})')
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Texture:
    try:
        picture = read_picture(path)
    except InvalidInput as problem:
        raise PhotographError(f'{path}: {problem}') from problem
    if min(picture.shape[:2]) < SMALLEST_PX:
        raise PhotographError(f'{path} is smaller than {SMALLEST_PX} px')
    smaller = min(1.0, _LONGEST_PX / max(picture.shape[:2]))
    reduced = cv2.resize(picture, None, fx=smaller, fy=smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.uint8)


def crop_of(
    photographs: tuple[Texture, ...], size: tuple[int, int], rng: np.random.Generator
) -> Texture:
    """A part of one of them, (H,W) = size: at times mirrored or turned, in other colours."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    if rng.random() < 0.3:
        photograph = np.rot90(photograph, int(rng.integers(1, 4)))
    if rng.random() < 0.5:
        photograph = photograph[:, ::-1]
    height, width = size
    tall, wide = photograph.shape[:2]
    rows = rng.uniform(_SMALLEST_SHARE, 1.0) * min(tall, wide * height / width)
    part = max(round(rows), 1), max(round(rows * width / height), 1)
    top, left = (
        int(rng.integers(0, whole - kept + 1))
        for whole, kept in zip((tall, wide), part, strict=True)
    )
    crop = np.ascontiguousarray(photograph[top : top + part[0], left : left + part[1]])
    return _tinted(cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA), rng)


def _tinted(picture: Texture, rng: np.random.Generator) -> Texture:
    """Three in five in other hues; all of them paler or stronger, darker or brighter."""
    values = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.float32)
    if rng.random() < 0.6:
        values[..., 0] = (values[..., 0] + rng.uniform(0, 180)) % 180
    values[..., 1] *= rng.uniform(0.5, 1.8)
    values[..., 2] = values[..., 2] * rng.uniform(0.7, 1.4) + rng.uniform(-10, 30)
    clipped = np.clip(values, 0, (179, 255, 255)).astype(np.uint8)
    return np.asarray(cv2.cvtColor(clipped, cv2.COLOR_HSV2RGB), np.uint8)
