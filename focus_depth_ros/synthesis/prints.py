"""What is printed on packages, lids and papers: bands, photographs, drawings, words, bar codes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.materials import (
    Colour,
    Texture,
    named_colour,
    shade,
    smooth_noise,
)
from focus_depth_ros.synthesis.photographs import crop_of
from focus_depth_ros.synthesis.vocabulary import COLOURS

SMALLEST_PHOTOGRAPH_PX = 16
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)
_LETTERS = np.array(list('abcdefghijklmnoprstuvwxyzAEIOUSTRN'))


def _print_line(area: Texture, rng: np.random.Generator, tone: list[float], scale: float) -> None:
    word = ''.join(rng.choice(_LETTERS, int(rng.integers(3, 9))))
    height, width = area.shape[:2]
    at = (int(rng.integers(-5, max(width // 2, 1))), int(rng.integers(height // 6, height + 1)))
    thickness = max(1, int(scale * rng.uniform(1, 4)))
    font = int(rng.choice(_FONTS))
    cv2.putText(area, word, at, font, scale, tone, thickness, cv2.LINE_AA)


def _drawn_photograph(area: Texture, rng: np.random.Generator) -> None:
    """Draw in place what the picture on a package looks like: things in light on mixed tones."""
    height, width = area.shape[:2]
    names = rng.choice(COLOURS, int(rng.integers(3, 6)))
    palette = 255 * np.array([named_colour(str(name), rng) for name in names])
    noise = smooth_noise(rng, (height, width), (int(rng.integers(2, 6)), int(rng.integers(2, 6))))
    levels = np.linspace(-0.9, 0.9, len(palette))
    area[:] = np.stack([np.interp(noise, levels, channel) for channel in palette.T], axis=-1)
    light = rng.uniform(-1, 1, 2)
    for _ in range(int(rng.integers(0, 25))):
        middle = np.array([rng.integers(0, width), rng.integers(0, height)])
        axes = np.array([rng.integers(2, max(side // 5, 3)) for side in (width, height)])
        tone = palette[int(rng.integers(len(palette)))] * rng.uniform(0.7, 1.2)
        angle = float(rng.uniform(0, 180))
        if rng.random() < 0.5:  # its shadow
            _ellipse(area, middle - 0.4 * light * axes, axes, angle, 0.3 * tone)
        _ellipse(area, middle, axes, angle, tone)
        if rng.random() < 0.5:  # where the light falls on it
            _ellipse(area, middle + 0.3 * light * axes, axes // 2, angle, 1.4 * tone)


def _ellipse(
    area: Texture, middle: NDArray[Any], axes: NDArray[Any], angle: float, tone: NDArray[Any]
) -> None:
    at, half = np.rint(middle).astype(int).tolist(), axes.tolist()
    cv2.ellipse(area, at, half, angle, 0, 360, tone.clip(0, 255).tolist(), -1, cv2.LINE_AA)


def print_label(
    area: Texture,
    rng: np.random.Generator,
    colour: Colour,
    photographs: tuple[Texture, ...] = (),
) -> None:
    """Draw on an area in place as packaging is printed.

    Bands, what stands for a photograph, drawings, big words, small print, a bar code; and, of
    the user's photographs where there are any, a part of one on most areas.
    """
    _print_design(area, rng, colour)
    if photographs and min(area.shape[:2]) >= SMALLEST_PHOTOGRAPH_PX and rng.random() < 0.75:
        _print_photograph(area, rng, photographs)


def _print_photograph(
    area: Texture, rng: np.random.Generator, photographs: tuple[Texture, ...]
) -> None:
    """A part of a photograph, at most nine tenths as tall as the area, under some words."""
    height, width = area.shape[:2]
    rows, columns = int(height * rng.uniform(0.35, 0.9)), int(width * rng.uniform(0.5, 1.0))
    top = int(rng.integers(0, height - rows + 1))
    left = int(rng.integers(0, width - columns + 1))
    picture = crop_of(photographs, (rows, columns), rng)
    area[top : top + rows, left : left + columns] = picture
    for _ in range(int(rng.integers(0, 4))):
        ink = (255 * named_colour(str(rng.choice(COLOURS)), rng)).tolist()
        _print_line(area, rng, ink, height / 128 * rng.uniform(0.6, 1.8))


def _print_design(area: Texture, rng: np.random.Generator, colour: Colour) -> None:
    """The motifs, each there or not; their order is part of what a seed means."""
    height, width = area.shape[:2]
    if rng.random() < 0.6:
        _print_band(area, rng)
    if rng.random() < 0.55 and min(height, width) >= SMALLEST_PHOTOGRAPH_PX:
        _print_drawn_photograph(area, rng)
    for _ in range(int(rng.integers(0, 4))):
        _print_shape(area, rng)
    for _ in range(int(rng.integers(0, 3))):
        _print_line(area, rng, _tone(rng), height / 128 * rng.uniform(0.6, 1.6))
    if rng.random() < 0.5:
        _print_small_print(area, rng)
    if rng.random() < 0.2:
        _print_bar_code(area, rng)
    if rng.random() < 0.3:
        worn = shade(colour, smooth_noise(rng, (height, width), (3, 3)), 0.2)
        area[:] = worn // 4 + area // 4 * 3


def _tone(rng: np.random.Generator) -> list[float]:
    """White or any colour, RGB in [0, 255]."""
    if rng.random() < 0.45:
        return [255.0 * value for value in named_colour('white', rng)]
    return [255.0 * value for value in named_colour(str(rng.choice(COLOURS)), rng)]


def _spot(area: Texture, rng: np.random.Generator) -> tuple[int, int]:
    """Column and row of a random pixel."""
    height, width = area.shape[:2]
    return int(rng.integers(0, width)), int(rng.integers(0, height))


def _print_band(area: Texture, rng: np.random.Generator) -> None:
    """A band or a field of another colour."""
    height, width = area.shape[:2]
    top = int(rng.integers(0, height))
    end = top + int(rng.integers(max(height // 12, 1), max(height // 3, 2)))
    cv2.rectangle(area, (0, top), (width, end), _tone(rng), -1)


def _print_drawn_photograph(area: Texture, rng: np.random.Generator) -> None:
    height, width = area.shape[:2]
    rows, columns = (int(side * min(rng.uniform(0.4, 1.2), 1.0)) for side in (height, width))
    top = int(rng.integers(0, height - rows + 1))
    left = int(rng.integers(0, width - columns + 1))
    _drawn_photograph(area[top : top + rows, left : left + columns], rng)


def _print_shape(area: Texture, rng: np.random.Generator) -> None:
    """An ellipse or a polygon; several that overlap are a drawing."""
    height, width = area.shape[:2]
    if rng.random() < 0.5:
        axes = tuple(int(rng.integers(3, max(side // 4, 4))) for side in (width, height))
        at, angle = _spot(area, rng), float(rng.uniform(0, 180))
        cv2.ellipse(area, at, axes, angle, 0, 360, _tone(rng), -1, cv2.LINE_AA)
    else:
        at, count = _spot(area, rng), int(rng.integers(3, 7))
        corners = np.array(at) + rng.integers(-height // 5, height // 5 + 1, (count, 2))
        cv2.fillPoly(area, [corners.astype(np.int32)], _tone(rng), cv2.LINE_AA)


def _print_small_print(area: Texture, rng: np.random.Generator) -> None:
    x, y = _spot(area, rng)
    ink = _tone(rng)
    for line in range(int(rng.integers(3, 9))):
        end = x + int(rng.integers(8, max(area.shape[1] // 2, 9)))
        cv2.line(area, (x, y + 4 * line), (end, y + 4 * line), ink, 1)


def _print_bar_code(area: Texture, rng: np.random.Generator) -> None:
    x, y = _spot(area, rng)
    cv2.rectangle(area, (x, y), (x + 24, y + 14), (245, 245, 245), -1)
    for bar in np.flatnonzero(rng.random(22) < 0.5):
        cv2.line(area, (x + 1 + int(bar), y + 1), (x + 1 + int(bar), y + 12), (20, 20, 20), 1)
