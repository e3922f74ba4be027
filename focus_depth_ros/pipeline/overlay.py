"""Results as colours: depth, boundaries and targets drawn so that people see what the robot sees."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.pipeline.result import FocusResult, TargetResult

TARGET_COLOURS = ((255, 166, 0), (0, 200, 255), (120, 220, 60), (235, 90, 220))
BOUNDARY_COLOUR = (255, 40, 40)
REFUSED_COLOUR = (160, 160, 160)


def colour_inverse_depth(inverse_depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB (H, W, 3): near is warm, far is dark; stretched over the 1st to 99th percentile."""
    finite = inverse_depth[np.isfinite(inverse_depth)]
    if finite.size == 0:
        return np.zeros((*inverse_depth.shape, 3), np.uint8)
    low, high = np.percentile(finite[:: max(1, finite.size // 20_000)], (1, 99))
    stretched = np.clip((inverse_depth - low) / max(high - low, 1e-9), 0.0, 1.0)
    grey = np.rint(np.nan_to_num(stretched) * 255.0).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB))


def draw_overlay(result: FocusResult) -> NDArray[np.uint8]:
    """The picture, RGB uint8 (H, W, 3), with boundaries in red and each target tinted and named."""
    picture = result.frame.rgb.copy()
    edge = cv2.compare(result.boundary, 127, cv2.CMP_GT)
    picture[edge > 0] = BOUNDARY_COLOUR
    for index, answer in enumerate(result.targets):
        _draw_target(picture, answer, TARGET_COLOURS[index % len(TARGET_COLOURS)], result.frame.size)
    return picture


def _draw_target(
    picture: NDArray[np.uint8],
    answer: TargetResult,
    colour: tuple[int, int, int],
    size: tuple[int, int],
) -> None:
    if not answer.found:
        colour = REFUSED_COLOUR
    box = answer.box or answer.target.box
    if answer.found:
        mask = cv2.resize(answer.layers.mask, size, interpolation=cv2.INTER_LINEAR)
        shade = (mask > 127)[..., None] * np.uint8(1)
        x0, y0, x1, y1 = _whole(answer.box, size)
        window = picture[y0:y1, x0:x1]
        tint = (window * 0.6 + np.array(colour) * 0.4).astype(np.uint8)
        cv2.copyTo(tint, shade[y0:y1, x0:x1], window)
    corner = (4, 16)
    if box is not None:
        x0, y0, x1, y1 = _whole(box, size)
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 2)
        corner = (x0, max(14, y0 - 5))
    cv2.putText(picture, _caption(answer), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, _caption(answer), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def _caption(answer: TargetResult) -> str:
    name = answer.target.label or answer.target.text or answer.target.id
    if not answer.found:
        return f'{name}: not found ({answer.confidence:.2f})'
    if answer.geometry is None:
        return f'{name} ({answer.confidence:.2f})'
    return f'{name} {answer.geometry.depth_median_m:.2f} m ({answer.confidence:.2f})'


def _whole(
    box: tuple[float, float, float, float] | None, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    assert box is not None
    width, height = size
    return (
        max(0, int(box[0])), max(0, int(box[1])), min(width, round(box[2])), min(height, round(box[3]))
    )
