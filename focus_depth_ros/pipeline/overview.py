"""A sheet that shows results to people: image, depth, boundary, mask and cloud side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Camera
from focus_depth_ros.pipeline.cloud import viewing_rays
from focus_depth_ros.pipeline.overlay import TARGET_COLOURS, colour_inverse_depth, draw_result
from focus_depth_ros.pipeline.result import FocusResult

PANEL_WIDTH, MAX_PANEL_HEIGHT = 400, 800
TITLE_HEIGHT = 28
GAP = 6
VIEW_DEG = (40.0, 15.0)
"""From where a cloud is seen: yaw and pitch from the camera."""
INK, WHITE = (40, 40, 40), (255, 255, 255)


@dataclass(frozen=True)
class Row:
    """What one row of the sheet shows: maps (H, W), pictures (H, W, 3).

    `drawn` is the picture with its targets, `boundary` a probability x 255; metres and camera are
    None where there are none.
    """

    title: str
    rgb: NDArray[np.uint8]
    drawn: NDArray[np.uint8]
    inverse_depth: NDArray[np.float32]
    boundary: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    depth_m: NDArray[np.float32] | None
    camera: Camera | None


def row_of(title: str, result: FocusResult) -> Row:
    """The row that shows a result."""
    return Row(
        title=title,
        rgb=result.frame.rgb,
        drawn=draw_result(result),
        inverse_depth=result.inverse_depth,
        boundary=result.boundary,
        mask=result.mask,
        depth_m=result.depth_m,
        camera=result.frame.camera,
    )


def overview(rows: Sequence[Row]) -> NDArray[np.uint8]:
    """RGB sheet: one row of five panels for each result. Raises ValueError for no rows."""
    if not rows:
        raise ValueError('an overview needs at least one result')
    return np.vstack([_strip(row) for row in rows])


def _strip(row: Row) -> NDArray[np.uint8]:
    panels = [
        (row.title, row.drawn),
        (
            'depth' if row.depth_m is not None else 'depth (relative)',
            colour_inverse_depth(row.inverse_depth),
        ),
        ('occlusion boundary', cv2.cvtColor(255 - row.boundary, cv2.COLOR_GRAY2RGB)),
        ('target mask', _masked(row)),
        ('cloud, seen from the side', cloud_view(row)),
    ]
    cells = [_titled(name, np.asarray(picture, np.uint8)) for name, picture in panels]
    gap = np.full((cells[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([part for cell in cells for part in (cell, gap)][:-1])


def _titled(name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    size = _panel_size(width, height)
    panel = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    right = PANEL_WIDTH - size[0]
    panel = cv2.copyMakeBorder(panel, 0, 0, 0, right, cv2.BORDER_CONSTANT, value=WHITE)
    title = np.full((TITLE_HEIGHT, PANEL_WIDTH, 3), 255, np.uint8)
    cv2.putText(title, name, (4, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return np.vstack((title, panel)).astype(np.uint8)


def _panel_size(width: int, height: int) -> tuple[int, int]:
    """Of the panel that shows a picture of width x height px."""
    shrink = min(PANEL_WIDTH / width, MAX_PANEL_HEIGHT / height)
    return max(1, round(width * shrink)), max(1, round(height * shrink))


def _masked(row: Row) -> NDArray[np.uint8]:
    panel = (row.rgb * 0.25).astype(np.uint8)
    panel[row.mask] = row.rgb[row.mask]
    return panel


def cloud_view(row: Row) -> NDArray[np.uint8]:
    """The scene's points, targets in colour and the rest pale, seen from beside the camera.

    RGB uint8 at its panel's size; a plain panel when there are no metres.
    """
    camera, step = row.camera, max(1, max(row.rgb.shape) // 320)
    width, height = _panel_size(row.rgb.shape[1], row.rgb.shape[0])
    canvas = np.full((height, width, 3), 255, np.uint8)
    depth = None if row.depth_m is None else row.depth_m[::step, ::step]
    if camera is None or depth is None or not np.isfinite(depth).any():
        place = (width // 4, height // 2)
        cv2.putText(canvas, 'no metric scale', place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, INK, 2)
        return canvas
    rays = viewing_rays(camera)[::step, ::step]
    valid = (depth < 4.0 * np.nanmedian(depth)) & np.isfinite(rays[..., 0])
    points = np.concatenate((rays * depth[..., None], depth[..., None]), axis=-1)[valid]
    target = row.mask[::step, ::step][valid]
    colours = row.rgb[::step, ::step][valid]
    colours = np.where(target[:, None], colours, (170 + colours * 0.3).astype(np.uint8))
    pivot = np.median(points[target] if target.any() else points, axis=0)
    turned = (points - pivot) @ _rotation(*VIEW_DEG).T + (0, 0, pivot[2])
    front = turned[:, 2] > 0.05
    order = np.argsort(-turned[front, 2])
    turned, colours = turned[front][order], colours[front][order]
    shrink = width / row.rgb.shape[1], height / row.rgb.shape[0]
    columns = turned[:, 0] / turned[:, 2] * camera.fx * shrink[0] + width / 2
    rows = turned[:, 1] / turned[:, 2] * camera.fy * shrink[1] + height / 2
    columns, rows = np.rint(columns).astype(int), np.rint(rows).astype(int)
    for right in range(max(1, round(2 * step * shrink[0]))):
        for down in range(max(1, round(2 * step * shrink[1]))):
            x, y = columns + right, rows + down
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            canvas[y[inside], x[inside]] = colours[inside]
    cv2.circle(canvas, (width // 2, height // 2), 3, TARGET_COLOURS[0], -1)
    return canvas


def _rotation(yaw_degrees: float, pitch_degrees: float) -> NDArray[np.float64]:
    about_y, _ = cv2.Rodrigues(np.radians([0.0, yaw_degrees, 0.0]))
    about_x, _ = cv2.Rodrigues(np.radians([pitch_degrees, 0.0, 0.0]))
    return np.asarray(about_x @ about_y)
