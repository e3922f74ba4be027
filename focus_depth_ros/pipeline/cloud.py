"""Depth to points: viewing rays of a camera (distortion included), clouds, PLY files."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import FISHEYE_MODELS, Camera
from focus_depth_ros.pipeline.region import Region, bounding_region

MAX_RAY = 10.0
"""Largest x/z or y/z of a point, 84 degrees off the axis: beyond, a fisheye's depth along the axis
says nothing of where a thing is."""
LATTICE = 320
"""Columns at which distortion is undone, at least: it is smooth, and undoing it is slow."""
ANGLES = np.linspace(0, np.arctan(np.sqrt(2) * MAX_RAY), 4096)
"""Off the axis, at which a fisheye is known: up to a point at `MAX_RAY` both across and down."""
UNDISTORTED = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)
"""When the search for a ray ends: after so many turns, or at so many pixels of error."""
MAX_UNDISTORTION_ERROR_PX = 0.5
"""How far from its pixel a ray may come out again. Towards the corners a distortion may have no way
back; OpenCV then hands out about the ray of a lens without any."""


@lru_cache(maxsize=2)
def viewing_rays(camera: Camera) -> NDArray[np.float32]:
    """x/z and y/z of every pixel, float32 (H, W, 2), in the optical frame (REP-103).

    For a picture with lens distortion the pixels are undistorted first, so that the points are
    right although the picture is not rectified; NaN where that leads beyond `MAX_RAY`, and where
    the distortion cannot be undone. Of a large picture each few pixels are, and those between are
    interpolated: within .2 px, .8 px in the corners of an action camera.
    """
    across, down = np.arange(camera.width), np.arange(camera.height)
    step = 1
    while camera.is_distorted and 2 * step * LATTICE <= camera.width:
        step *= 2
    if step == 1:
        return _rays_at(camera, across, down)
    lattice = _rays_at(
        camera,
        np.arange(0, camera.width + step, step),
        np.arange(0, camera.height + step, step),
    )
    columns, rows = np.meshgrid(np.float32(across / step), np.float32(down / step))
    return np.asarray(cv2.remap(lattice, columns, rows, cv2.INTER_LINEAR), np.float32)


@lru_cache(maxsize=2)
def cell_rays(camera: Camera, size: tuple[int, int]) -> NDArray[np.float32]:
    """x/z and y/z at the centres of (w, h) cells that tile the picture, float32 (h, w, 2)."""
    width, height = size
    across = (np.arange(width) + 0.5) * (camera.width / width) - 0.5
    down = (np.arange(height) + 0.5) * (camera.height / height) - 0.5
    return _rays_at(camera, across, down)


def corner_bend_px(camera: Camera) -> float:
    """How far, at most, a corner of the picture lies from where a lens without distortion has it.

    Infinite where the distortion cannot be undone.
    """
    corners = (np.array([0, camera.width - 1]), np.array([0, camera.height - 1]))
    straight = replace(camera, distortion_model='', distortion=())
    bend = _rays_at(camera, *corners) - _rays_at(straight, *corners)
    farthest = float(np.hypot(bend[..., 0] * camera.fx, bend[..., 1] * camera.fy).max())
    return farthest if np.isfinite(farthest) else float('inf')


def _rays_at(
    camera: Camera, across: NDArray[np.number], down: NDArray[np.number]
) -> NDArray[np.float32]:
    """x/z and y/z at every pair of a column and a row in px, float32 (rows, columns, 2)."""
    columns, rows = np.meshgrid(across, down)
    if not camera.is_distorted:
        return np.stack(
            ((columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy), axis=-1
        ).astype(np.float32)
    pixels = np.stack((columns, rows), axis=-1).reshape(-1, 1, 2).astype(np.float64)
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1.0]])
    coefficients = np.asarray(camera.distortion, np.float64)
    if camera.distortion_model in FISHEYE_MODELS:
        found = _fisheye_rays((pixels - matrix[:2, 2]) / (camera.fx, camera.fy), coefficients[:4])
        back = cv2.fisheye.distortPoints(found, matrix, coefficients[:4])
    else:
        found = cv2.undistortPointsIter(pixels, matrix, coefficients, None, None, UNDISTORTED)
        ahead = cv2.convertPointsToHomogeneous(found.reshape(-1, 2))
        back, _ = cv2.projectPoints(ahead, np.zeros(3), np.zeros(3), matrix, coefficients)
    returns = np.abs(back - pixels).max(axis=(1, 2)) <= MAX_UNDISTORTION_ERROR_PX
    rays = np.asarray(found.reshape(-1, 2), np.float32)
    rays[~(returns & (np.abs(rays).max(axis=-1) <= MAX_RAY))] = np.nan
    return np.asarray(rays.reshape(len(down), len(across), 2))


def _fisheye_rays(
    points: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Undistorted (..., 2) from points of the picture in focal lengths; NaN where nothing leads to.

    Kannala-Brandt (2006): what lies at the angle t off the axis is t (1 + k1 t^2 + ... + k4 t^8)
    from the middle. By a table, since OpenCV's search ends at the radius pi / 2.
    """
    squared = ANGLES**2
    radii = ANGLES * np.polynomial.polynomial.polyval(squared, np.append(1.0, coefficients))
    falls = np.flatnonzero(np.diff(radii) <= 0)
    last = falls[0] if falls.size else len(radii) - 1
    radius = np.linalg.norm(points, axis=-1, keepdims=True)
    angle = np.interp(radius, radii[: last + 1], ANGLES[: last + 1], right=np.nan)
    return points * np.where(radius > 1e-9, np.tan(angle) / np.maximum(radius, 1e-9), 1.0)


def pack_rgb(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colours (..., 3) as the float32 that PointCloud2's `rgb` field holds (0x00RRGGBB)."""
    wide = rgb.astype(np.uint32)
    packed = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return np.asarray(packed.view(np.float32))


def fill_cloud(
    cloud: NDArray[np.float32],
    depth_m: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    rays: NDArray[np.float32],
) -> Region | None:
    """Write x, y, z, rgb of the masked pixels into an organised cloud, float32 (H, W, 4).

    `cloud` is NaN everywhere before (REP-117) and stays so outside the mask. Returns the region
    that was written, so that its owner can blank it for the next picture.
    """
    region = bounding_region(mask)
    if region is not None:
        window = cloud[region]
        shown = mask[region] & np.isfinite(rays[region][..., 0])
        z = np.where(shown, depth_m[region], np.float32(np.nan))
        np.multiply(rays[region][..., 0], z, out=window[..., 0])
        np.multiply(rays[region][..., 1], z, out=window[..., 1])
        window[..., 2] = z
        window[..., 3] = pack_rgb(rgb[region])
        window[..., 3][np.isnan(z)] = np.nan
    return region


def target_points(
    depth_m: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    rays: NDArray[np.float32],
) -> NDArray[np.float32]:
    """x, y, z, rgb of the target's valid pixels only, float32 (N, 4)."""
    region = bounding_region(mask)
    if region is None:
        return np.empty((0, 4), np.float32)
    z = depth_m[region]
    chosen = mask[region] & np.isfinite(z) & np.isfinite(rays[region][..., 0])
    points = np.empty((int(chosen.sum()), 4), np.float32)
    points[:, 2] = z[chosen]
    points[:, :2] = rays[region][chosen] * points[:, 2:3]
    points[:, 3] = pack_rgb(rgb[region][chosen])
    return points


def write_ply(path: Path, points: NDArray[np.float32]) -> None:
    """Write points (N, 4: x y z in metres, packed rgb) as a binary PLY that every viewer opens."""
    record = np.dtype([('xyz', '<f4', 3), ('rgb', 'u1', 3)])
    rows = np.empty(len(points), record)
    rows['xyz'] = points[:, :3]
    packed = np.ascontiguousarray(points[:, 3]).view(np.uint32)
    rows['rgb'] = np.stack((packed >> 16 & 255, packed >> 8 & 255, packed & 255), axis=-1)
    header = (
        'ply\nformat binary_little_endian 1.0\n'
        f'comment metres, optical frame: x right, y down, z forward\nelement vertex {len(points)}\n'
        'property float x\nproperty float y\nproperty float z\n'
        'property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n'
    )
    path.write_bytes(header.encode('ascii') + rows.tobytes())
