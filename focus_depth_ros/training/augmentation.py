"""What a camera may do to a rendered picture: framing, light, haze, blur, noise, JPEG.

All draws come from the generator given, so a sample is repeatable from its seed. Captions are
mirrored with their picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box
from focus_depth_ros.synthesis.relation_captions import mirrored
from focus_depth_ros.synthesis.sample import Sample, SceneObject
from focus_depth_ros.training.camera_effects import camera_effects

SMALLEST_NEAR_SHARE = 0.15
"""Of the source's sides: a nearer window of a rendered frame shows nothing but its pixels."""


@dataclass(frozen=True)
class Crop:
    """A window of the source picture, in whole pixels, and whether it is mirrored."""

    left: int
    top: int
    width: int
    height: int
    mirrored: bool


def draw_crop(width: int, height: int, rng: np.random.Generator) -> Crop:
    """A random window. Half of the time nearly everything is seen, else a crop of free aspect.

    The window is later stretched to the network's input: aspects from 0.75 to 1.4 times the
    source's cover square and 16:9 cameras.
    """
    if rng.random() < 0.5:
        share = rng.uniform(0.9, 1.0)
        aspect = rng.uniform(0.97, 1.03)
    else:
        share = rng.uniform(0.6, 1.0)
        aspect = np.exp(rng.uniform(np.log(0.75), np.log(1.4)))
    across = min(1.0, share * np.sqrt(aspect))
    down = min(1.0, across / aspect)
    across = down * aspect
    window_width, window_height = round(across * width), round(down * height)
    return Crop(
        left=int(rng.integers(0, width - window_width + 1)),
        top=int(rng.integers(0, height - window_height + 1)),
        width=window_width,
        height=window_height,
        mirrored=bool(rng.random() < 0.5),
    )


def draw_near_crop(box: Box, width: int, height: int, rng: np.random.Generator) -> Crop:
    """A random window round a box xyxy, px: what a second look at it sees.

    Of about the source's aspect, 1.2 to 3.2 times as long as the box, which is anywhere near its
    middle. See pipeline/fovea.py.
    """
    x0, y0, x1, y1 = box
    share = max((x1 - x0) / width, (y1 - y0) / height) * rng.uniform(1.2, 3.2)
    aspect = np.exp(rng.uniform(-0.2, 0.2, 2))
    across, down = np.clip(share * aspect, SMALLEST_NEAR_SHARE, 1.0)
    window_width, window_height = round(across * width), round(down * height)
    off = rng.uniform(-0.2, 0.2, 2)
    left = round((x0 + x1 - window_width) / 2 + off[0] * window_width)
    top = round((y0 + y1 - window_height) / 2 + off[1] * window_height)
    return Crop(
        left=min(max(left, 0), width - window_width),
        top=min(max(top, 0), height - window_height),
        width=window_width,
        height=window_height,
        mirrored=bool(rng.random() < 0.5),
    )


def whole_crop(width: int, height: int) -> Crop:
    """Everything, unmirrored."""
    return Crop(0, 0, width, height, False)


def apply_crop(sample: Sample, crop: Crop) -> Sample:
    """The sample as seen through a window: K moves with it, boxes stay, extras are dropped."""
    rows = slice(crop.top, crop.top + crop.height)
    columns = slice(crop.left, crop.left + crop.width)
    step = -1 if crop.mirrored else 1
    calibration = sample.K.copy()
    calibration[0, 2] -= crop.left
    calibration[1, 2] -= crop.top
    if crop.mirrored:
        calibration[0, 2] = crop.width - 1 - calibration[0, 2]
    said = mirrored if crop.mirrored else str
    return replace(
        sample,
        objects=[_said_of(item, said) for item in sample.objects],
        absent_relation_captions=[said(text) for text in sample.absent_relation_captions],
        rgb=np.ascontiguousarray(sample.rgb[rows, columns][:, ::step]),
        depth_m=np.ascontiguousarray(sample.depth_m[rows, columns][:, ::step]),
        ids=np.ascontiguousarray(sample.ids[rows, columns][:, ::step]),
        boundary=np.ascontiguousarray(sample.boundary[rows, columns][:, ::step]),
        K=calibration,
        extras=None,
    )


def _said_of(item: SceneObject, said: Callable[[str], str]) -> SceneObject:
    captions = [replace(row, caption=said(row.caption)) for row in item.relation_captions]
    return replace(item, relation_captions=captions)


def degrade(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random photometric change of an RGB picture uint8 (H, W, 3)."""
    picture = rgb.astype(np.float32) / 255.0
    if rng.random() < 0.8:
        picture = picture ** np.float32(np.exp(rng.normal(0, 0.25)))
        picture *= np.exp(rng.normal(0, 0.25, 1) + rng.normal(0, 0.08, 3)).astype(np.float32)
    if rng.random() < 0.35:
        picture *= _uneven_light(picture.shape[0], picture.shape[1], rng)[..., None]
    if rng.random() < 0.3:
        haze = rng.uniform(0, 0.35)
        picture = picture * np.float32(1 - haze) + np.float32(haze * rng.uniform(0.3, 0.9))
    if rng.random() < 0.25:
        grey = picture.mean(axis=2, keepdims=True)
        picture = grey + (picture - grey) * np.float32(rng.uniform(0.5, 1.3))
    picture = camera_effects(picture, rng)
    if rng.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.2)).astype(np.float32)
    elif rng.random() < 0.25:
        soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.7, 1.5))
        picture = picture + (picture - soft) * np.float32(rng.uniform(0.3, 1.2))
    if rng.random() < 0.6:
        strength = abs(rng.normal(0, 0.02))
        picture = picture + rng.standard_normal(picture.shape, np.float32) * np.float32(strength)
    result = (np.clip(picture, 0, 1) * 255.0 + 0.5).astype(np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.integers(35, 95))
        done, data = cv2.imencode('.jpg', result[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
        if decoded is not None:
            result = decoded[..., ::-1].astype(np.uint8)
    return np.asarray(result)


def _uneven_light(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth field (H, W) of about 0.5 to 1.6: a lamp aside, a soft shadow across the table."""
    cells = rng.normal(0, rng.uniform(0.05, 0.3), (3, 4)).astype(np.float32)
    field = np.exp(cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC))
    return np.asarray(np.clip(field, 0.5, 1.6), np.float32)
