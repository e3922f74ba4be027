"""Results as colours: depth, boundaries and targets drawn for people to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box
from focus_depth_ros.pipeline.region import bounding_region
from focus_depth_ros.pipeline.result import FocusResult, TargetResult

TARGET_COLOURS = ((255, 166, 0), (0, 200, 255), (120, 220, 60), (235, 90, 220))
BOUNDARY_COLOUR = (255, 40, 40)
NOT_FOUND_COLOUR = (160, 160, 160)
OUTLINE_PX = 2


LETTERS, SMALLEST_LETTERS = 0.55, 0.7
"""Size of captions in a picture of 640 px, and for how small a share of that it shrinks."""
INK = (0, 0, 0)


@dataclass(frozen=True)
class Plate:
    """Where a caption is written, px."""

    left: int
    top: int
    width: int
    height: int

    def overlaps(self, other: Plate) -> bool:
        """True where both cover a pixel."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )


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
            caption=caption(answer),
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
    """A copy of `rgb`, in `out` if given: boundaries (p x 255) in red, targets outlined and named.

    Targets are not coloured in: their colour may be what they were asked by.
    """
    picture = np.empty_like(rgb) if out is None else out
    np.copyto(picture, rgb)
    colours = [
        TARGET_COLOURS[index % len(TARGET_COLOURS)] if mark.found else NOT_FOUND_COLOUR
        for index, mark in enumerate(marks)
    ]
    height, width = boundary.shape
    edges = cv2.compare(boundary, 127, cv2.CMP_GT)
    cv2.copyTo(_canvas(width, height, BOUNDARY_COLOUR), edges, picture)
    for mark, colour in zip(marks, colours, strict=True):
        if mark.mask is not None:
            _outline(picture, mark.mask, colour)
        if mark.box is not None:
            cv2.rectangle(picture, *_corners(mark.box, picture.shape), colour, 2)
    plates: list[Plate] = []
    for mark, colour in zip(marks, colours, strict=True):
        plates.append(_name(picture, mark, colour, plates))
    return picture


@lru_cache(maxsize=8)
def _canvas(width: int, height: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A picture of one colour, made once: filling one costs more than all the drawing."""
    return np.full((height, width, 3), colour, np.uint8)


def _outline(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int]
) -> None:
    region = bounding_region(mask)
    if region is None:
        return
    inside = mask[region].view(np.uint8)
    lines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corner = (region[1].start, region[0].start)
    cv2.drawContours(picture, lines, -1, colour, OUTLINE_PX, offset=corner)


def _corners(box: Box, shape: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Upper left and lower right pixel of the part of a box that is in the picture."""
    height, width = shape[:2]
    x0, x1 = (min(max(0, round(x)), width - 1) for x in box[::2])
    y0, y1 = (min(max(0, round(y)), height - 1) for y in box[1::2])
    return (x0, y0), (x1, y1)


def _name(
    picture: NDArray[np.uint8], mark: Mark, colour: tuple[int, int, int], taken: Sequence[Plate]
) -> Plate:
    """Write a mark's caption on a plate above its box, or below plates that are there already."""
    height, width = picture.shape[:2]
    size = max(SMALLEST_LETTERS, width / 640) * LETTERS
    caption = mark.caption.encode('utf-8', 'replace').decode()  # a lone surrogate crashes OpenCV
    (across, up), below = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    tall = up + below + 2
    x0, y0 = (0, tall) if mark.box is None else _corners(mark.box, picture.shape)[0]
    plate = Plate(max(0, min(x0, width - across)), max(0, y0 - tall), across, tall)
    for other in sorted(taken, key=lambda one: one.top):
        if plate.overlaps(other):
            plate = replace(plate, top=other.top + other.height)
    plate = replace(plate, top=max(0, min(plate.top, height - tall)))
    corner = plate.left, plate.top
    cv2.rectangle(picture, (*corner, across, tall), colour, -1)
    base = plate.left, plate.top + up + 1
    cv2.putText(picture, caption, base, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
    return plate


def caption(answer: TargetResult) -> str:
    """What is written beside a target: its name, how far it is, how sure that is."""
    name = answer.target.label or answer.target.text or answer.target.id
    if not answer.found:
        return f'{name}: not found ({answer.confidence:.2f})'
    if answer.geometry is None:
        return f'{name} ({answer.confidence:.2f})'
    return f'{name} {answer.geometry.depth_median_m:.2f} m ({answer.confidence:.2f})'
