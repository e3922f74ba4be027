"""Pinhole cameras: intrinsics of depth cameras and webcams, poses that look at a point."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from focus_depth_ros.synthesis.meshes import Array

WIDTH_PX, HEIGHT_PX = 320, 240
"""Of a rendered picture, unless another width is asked for."""


@dataclass(frozen=True)
class Camera:
    """pose: (4,4) world_T_optical, metres; optical axes x right, y down, z forward (REP 103).

    Square pixels.
    """

    pose: Array
    focal_px: float
    cx_px: float
    cy_px: float
    width: int = WIDTH_PX
    height: int = HEIGHT_PX

    @property
    def K(self) -> Array:  # noqa: N802 - the name of the camera matrix in this field
        """(3,3) intrinsics, pixel centres at integers."""
        return np.array(
            [[self.focal_px, 0, self.cx_px], [0, self.focal_px, self.cy_px], [0, 0, 1.0]]
        )

    def at_width(self, width: int) -> Camera:
        """The same view in a picture of this width, px."""
        if width == self.width:  # to the bit: a scene's bytes hang on it
            return self
        scale = width / self.width
        return replace(
            self,
            focal_px=self.focal_px * scale,
            cx_px=(self.cx_px + 0.5) * scale - 0.5,
            cy_px=(self.cy_px + 0.5) * scale - 0.5,
            width=width,
            height=round(self.height * scale),
        )


def look_at(eye_m: Array, target_m: Array, roll_rad: float = 0.0) -> Array:
    """(4,4) world_T_optical of a camera at `eye_m` that sees `target_m` in its middle.

    World z is up.
    """
    forward = target_m - eye_m
    forward = forward / np.linalg.norm(forward)
    upward = np.array([0.0, 0, 1]) if abs(forward[2]) < 0.999 else np.array([0.0, 1, 0])
    right = np.cross(forward, upward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cosine, sine = np.cos(roll_rad), np.sin(roll_rad)
    pose = np.eye(4)
    pose[:3, 0] = cosine * right + sine * down
    pose[:3, 1] = cosine * down - sine * right
    pose[:3, 2] = forward
    pose[:3, 3] = eye_m
    return pose


def random_focal_px(rng: np.random.Generator) -> float:
    """Focal length.

    Four in ten near a Kinect's 57-63 degrees across, the rest anywhere from 40 to 75.
    """
    degrees = rng.uniform(56, 64) if rng.random() < 0.4 else rng.uniform(40, 75)
    return float(WIDTH_PX / 2 / np.tan(np.radians(degrees) / 2))


def orbit_camera(
    rng: np.random.Generator,
    target_m: Array,
    distance_m: tuple[float, float],
    tilt_deg: tuple[float, float],
    azimuth_deg: tuple[float, float],
) -> Camera:
    """A camera round a target.

    Distance, tilt below the horizon (90 looks straight down) and azimuth (-90 is the front).
    """
    focal = random_focal_px(rng)
    # a long lens stands farther back: the ranges given hold for 60 degrees across
    reach = rng.uniform(*distance_m) * (focal / 277.0) ** 0.7
    tilt, azimuth = np.radians(rng.uniform(*tilt_deg)), np.radians(rng.uniform(*azimuth_deg))
    back = np.array([np.cos(tilt) * np.cos(azimuth), np.cos(tilt) * np.sin(azimuth), np.sin(tilt)])
    roll = (
        np.radians(rng.normal(0, 2.5)) if rng.random() < 0.8 else np.radians(rng.uniform(-25, 25))
    )
    pose = look_at(target_m + back * reach, target_m, roll)
    return Camera(pose, focal, 159.5 + rng.normal(0, 4), 119.5 + rng.normal(0, 4))
