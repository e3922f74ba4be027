"""Results as colours: depth, boundaries and targets drawn for people to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box
from focus_depth_ros.pipeline.result import FocusResult, TargetResult

TARGET_COLOURS = ((255, 166, 0), (0, 200, 255), (120, 220, 60), (235, 90, 220))
BOUNDARY_COLOUR = (255, 40, 40)
NOT_FOUND_COLOUR = (160, 160, 160)
TINT = 0.4


@dataclass(frozen=True)
class Mark:
    """One target to draw: its caption, its box in px and its mask bool (H, W), where there are."""

    caption: str
    found: bool
    box: Box | None
    mask: NDArray[np.bool_] | None


def colour_inverse_depth(inverse_depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB (H, W, 3): near is bright, far is dark; stretched over the 1st to 99th percentile."""
    finite = inverse_depth[np.isfinite(inverse_depth)]
    if finite.size == 0:
        return np.zeros((*inverse_depth.shape, 3), np.uint8)
    low, high = np.percentile(finite[:: max(1, finite.size // 20_000)], (1, 99))
    stretched = np.clip((inverse_depth - low) / max(high - low, 1e-9), 0.0, 1.0)
    grey = np.rint(np.nan_to_num(stretched) * 255.0).astype(np.uint8)
    coloured = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB), np.uint8)


def draw_result(result: FocusResult, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The picture of a result with its boundaries and targets, RGB uint8 (H, W, 3)."""
    marks = [
        Mark(
            caption=_caption(answer),
            found=answer.found,
            box=answer.box or answer.target.box,
            mask=answer.mask if answer.found else None,
        )
        for answer in result.targets
    ]
    return draw(result.frame.rgb, result.boundary, marks, out)


def draw(
    rgb: NDArray[np.uint8],
    boundary: NDArray[np.uint8],
    marks: Sequence[Mark],
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """A copy of `rgb`, in `out` if given: boundaries (p x 255) in red, targets tinted and named."""
    picture = np.empty_like(rgb) if out is None else out
    np.copyto(picture, rgb)
    colours = [
        TARGET_COLOURS[index % len(TARGET_COLOURS)] if mark.found else NOT_FOUND_COLOUR
        for index, mark in enumerate(marks)
    ]
    for mark, colour in zip(marks, colours, strict=True):
        if mark.mask is not None:
            _tint(picture, mark.mask, colour)
    height, width = boundary.shape
    edges = cv2.compare(boundary, 127, cv2.CMP_GT)
    cv2.copyTo(_canvas(width, height, BOUNDARY_COLOUR), edges, picture)
    for mark, colour in zip(marks, colours, strict=True):
        _name(picture, mark, colour)
    return picture


@lru_cache(maxsize=8)
def _canvas(width: int, height: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A picture of one colour, made once: filling one costs more than all the drawing."""
    return np.full((height, width, 3), colour, np.uint8)


def _tint(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int]
) -> None:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return
    window = picture[y : y + height, x : x + width]
    plain = _canvas(picture.shape[1], picture.shape[0], colour)[:height, :width]
    tinted = cv2.addWeighted(window, 1 - TINT, plain, TINT, 0.0)
    cv2.copyTo(tinted, mask[y : y + height, x : x + width].view(np.uint8), window)


def _name(picture: NDArray[np.uint8], mark: Mark, colour: tuple[int, int, int]) -> None:
    corner = (4, 16)
    if mark.box is not None:
        height, width = picture.shape[:2]
        x0, x1 = (min(max(0, round(x)), width - 1) for x in mark.box[::2])
        y0, y1 = (min(max(0, round(y)), height - 1) for y in mark.box[1::2])
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 2)
        corner = (x0, max(14, y0 - 5))
    font = cv2.FONT_HERSHEY_SIMPLEX
    caption = mark.caption.encode('utf-8', 'replace').decode()  # a lone surrogate crashes OpenCV
    cv2.putText(picture, caption, corner, font, 0.45, (0, 0, 0), 3, cv2.LINE_8)
    cv2.putText(picture, caption, corner, font, 0.45, colour, 1, cv2.LINE_AA)


def _caption(answer: TargetResult) -> str:
    name = answer.target.label or answer.target.text or answer.target.id
    if not answer.found:
        return f'{name}: not found ({answer.confidence:.2f})'
    if answer.geometry is None:
        return f'{name} ({answer.confidence:.2f})'
    return f'{name} {answer.geometry.depth_median_m:.2f} m ({answer.confidence:.2f})'
