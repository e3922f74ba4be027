"""The typed core that every part speaks: what goes in (Frame, Target) and the camera behind it.

Arrays state shape, dtype and unit; every class validates at the door, so that code behind it
need not. Nothing here knows ROS, a network or a file format.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

MAX_SIDE_PX = 8192
MAX_PIXELS = 1 << 25
"""Largest picture accepted (33 megapixels): beyond it a size is a lie rather than a camera."""


FISHEYE_MODELS = ('equidistant', 'fisheye')
DISTORTION_MODELS = ('', 'plumb_bob', 'rational_polynomial', *FISHEYE_MODELS)
"""Those of sensor_msgs/CameraInfo whose pixels can be undistorted; "" is plumb_bob."""
MIN_FOCAL_SHARE, MAX_FOCAL_SHARE, MAX_CENTRE_SHARE = 0.02, 1000.0, 10.0
"""Of a picture's side: beyond, intrinsics are of another unit or size, and points overflow."""


class InvalidInput(ValueError):
    """Input that cannot be used. `kind` names the sort of fault, the text says what and where."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def check_size(width: int, height: int) -> None:
    """Raise InvalidInput for a picture size in px that no camera has."""
    sides_fit = 16 <= height <= MAX_SIDE_PX and 16 <= width <= MAX_SIDE_PX
    if not sides_fit or width * height > MAX_PIXELS:
        raise InvalidInput(
            'image_size',
            f'picture of {width}x{height} px; sides of 16 to {MAX_SIDE_PX} px and at most '
            f'{MAX_PIXELS // 1_000_000} megapixels are accepted',
        )


@dataclass(frozen=True)
class Camera:
    """A calibrated camera in the optical frame of REP-103 (x right, y down, z forward).

    `fx fy cx cy` in pixels of a `width` x `height` picture. `distortion` holds the coefficients of
    `distortion_model` (`plumb_bob`, `rational_polynomial`, `equidistant`); empty for a pinhole.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = ''
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        intrinsics = (self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(value) for value in intrinsics + self.distortion):
            raise InvalidInput('camera_info', 'camera intrinsics hold NaN or infinity')
        if self.fx <= 0 or self.fy <= 0:
            raise InvalidInput(
                'camera_info',
                f'focal length is {self.fx:g} x {self.fy:g} px: the camera is not calibrated '
                '(K or, of rectified pictures, P is zero); publish a calibrated camera_info',
            )
        sides = (self.width, self.height)
        if not all(
            MIN_FOCAL_SHARE * side <= focal <= MAX_FOCAL_SHARE * side
            and abs(centre) <= MAX_CENTRE_SHARE * side
            for focal, centre, side in zip(intrinsics[:2], intrinsics[2:], sides, strict=True)
        ):
            raise InvalidInput(
                'camera_info',
                'focal length {:g} x {:g} px, centre ({:g}, {:g}) px'.format(*intrinsics)
                + ' is no camera of {}x{} px; are these pixels of that size?'.format(*sides),
            )
        if self.distortion_model not in DISTORTION_MODELS and self.is_distorted:
            raise InvalidInput(
                'camera_info',
                f'distortion model {self.distortion_model[:40]!r} is not one of: '
                f'{", ".join(DISTORTION_MODELS[1:])}; rectify the pictures',
            )

    @property
    def is_distorted(self) -> bool:
        """True when pixels are not those of a pinhole; a fisheye's are not even with zeros."""
        is_fisheye = self.distortion_model in FISHEYE_MODELS and len(self.distortion) >= 4
        return is_fisheye or any(abs(value) > 1e-9 for value in self.distortion)


@dataclass(frozen=True)
class Frame:
    """One picture. `rgb` uint8 (H, W, 3); `stamp_ns` and `frame_id` travel to every output.

    `camera` is None while no calibration is known. Raises InvalidInput for anything else.
    """

    rgb: NDArray[np.uint8]
    camera: Camera | None = None
    stamp_ns: int = 0
    frame_id: str = ''

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise InvalidInput(
                'image', f'a picture is uint8 (H, W, 3), got {self.rgb.dtype} {self.rgb.shape}'
            )
        height, width = self.rgb.shape[:2]
        check_size(width, height)
        camera = self.camera
        if camera is not None and (camera.width, camera.height) != (width, height):
            raise InvalidInput(
                'camera_info_size',
                f'camera_info is for {camera.width}x{camera.height} px, the picture has '
                f'{width}x{height} px; metres would be wrong, so they are withheld',
            )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""


@dataclass(frozen=True)
class Target:
    """What to look at: a box (pixels) or words. `score` is the detector's, or NaN."""

    id: str
    label: str
    box: Box | None = None
    text: str = ''
    score: float = math.nan

    def __post_init__(self) -> None:
        if (self.box is None) == (not self.text):
            raise InvalidInput('target', f'target {self.id!r} needs a box or words, and not both')

    def with_box(self, box: Box) -> Target:
        """The same target seen elsewhere."""
        return replace(self, box=box)


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """The box of a mask's pixels, xyxy px, right and lower edge exclusive; it has some."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def box_iou(one: Box | None, other: Box | None) -> float:
    """Intersection over union of two boxes; 0 without a box."""
    if one is None or other is None:
        return 0.0
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return across * down / (sum(areas) - across * down)


def clip_box(box: Box, width: int, height: int) -> Box:
    """The part of a box inside a picture of width x height px.

    Raises InvalidInput when the box holds NaN, has no area or lies outside the picture.
    """
    if not all(math.isfinite(value) for value in box):
        raise InvalidInput('box', f'box {box} holds NaN or infinity')
    if box[2] <= box[0] or box[3] <= box[1]:
        raise InvalidInput('box', f'box {_text(box)} has no area')
    clipped = (
        max(box[0], 0.0),
        max(box[1], 0.0),
        min(box[2], float(width)),
        min(box[3], float(height)),
    )
    across, down = clipped[2] - clipped[0], clipped[3] - clipped[1]
    if across <= 0 or down <= 0:
        raise InvalidInput('box', f'box {_text(box)} lies outside the {width}x{height} picture')
    if across < 2 or down < 2:
        raise InvalidInput(
            'box',
            f'box {_text(box)} has {across:.1f} x {down:.1f} px in the {width}x{height} picture; '
            '2 x 2 px are the least',
        )
    return clipped


def _text(box: Box) -> str:
    return '(' + ', '.join(f'{value:.1f}' for value in box) + ')'
