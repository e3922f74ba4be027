"""Procedural textures: colours by name, wood, cloth, metal, walls.

Textures are uint8 (H,W,3) RGB. An object's texture is an atlas: the lower half wraps round its
sides, the upper half holds four plain patches (see the cells). All of them are drawn from one
random generator, so a seed is a texture.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.meshes import Cell
from focus_depth_ros.synthesis.vocabulary import COLOURS

Texture = NDArray[np.uint8]
Colour = NDArray[np.float64]
"""(3,) RGB in [0, 1]."""

OBJECT_TEXTURE_PX, STRUCTURE_TEXTURE_PX = 256, 512
_BUMP_PX = 6
WRAP: Cell = (0.0, 0.51, 1.0, 0.995)
BODY: Cell = (0.01, 0.01, 0.24, 0.49)
LID: Cell = (0.26, 0.01, 0.49, 0.49)
INSIDE: Cell = (0.51, 0.01, 0.74, 0.49)
ACCENT: Cell = (0.76, 0.01, 0.99, 0.49)
CARTON_FACES: tuple[Cell, ...] = (
    (0.0, 0.51, 0.38, 0.995), (0.40, 0.51, 0.78, 0.995), (0.80, 0.51, 0.995, 0.995),
    (0.80, 0.01, 0.995, 0.49), (0.0, 0.01, 0.38, 0.49), (0.40, 0.01, 0.78, 0.49),
)  # fmt: skip

# hue range (OpenCV's 0..179), saturation and value ranges (0..255)
_COLOUR_RANGES: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    'red': ((-5, 4), (170, 245), (130, 225)),
    'green': ((42, 80), (110, 230), (80, 200)),
    'blue': ((102, 122), (130, 235), (90, 215)),
    'yellow': ((23, 29), (120, 240), (190, 250)),
    'orange': ((8, 15), (180, 245), (190, 250)),
    'purple': ((132, 148), (80, 190), (80, 180)),
    'pink': ((160, 176), (60, 130), (200, 250)),
    'brown': ((7, 14), (90, 180), (60, 125)),
    'black': ((0, 179), (0, 40), (14, 45)),
    'white': ((15, 110), (0, 14), (222, 252)),
    'grey': ((0, 179), (0, 22), (95, 170)),
    'cyan': ((86, 98), (90, 220), (150, 235)),
}
assert tuple(_COLOUR_RANGES) == COLOURS


def named_colour(name: str, rng: np.random.Generator) -> Colour:
    """A random RGB that people would call by this name."""
    hue, saturation, value = (rng.integers(low, high + 1) for low, high in _COLOUR_RANGES[name])
    pixel = np.array([[[hue % 180, saturation, value]]], np.uint8)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0], np.float64) / 255


def colour_indices(rgb: NDArray[Any]) -> NDArray[np.intp]:
    """What people would call colours (..., 3) in [0, 255]: indices into COLOURS (...).

    The nearest of the named ranges in HSV.
    """
    pixels = np.clip(rgb, 0, 255).astype(np.uint8).reshape(-1, 1, 3)
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[:, 0].astype(np.float32)
    hue, saturation, value = hsv.T
    away = []
    for hues, saturations, values in _COLOUR_RANGES.values():
        middle, half = (hues[0] + hues[1]) / 2, (hues[1] - hues[0]) / 2
        turned = np.maximum(np.abs((hue - middle + 90) % 180 - 90) - half, 0)
        paler = _outside(saturation, saturations)
        away.append(
            np.hypot(np.hypot(4 * turned * saturation / 255, paler), _outside(value, values))
        )
    return np.asarray(np.argmin(away, axis=0), np.intp).reshape(rgb.shape[:-1])


def _outside(values: NDArray[np.float32], limits: tuple[int, int]) -> NDArray[np.float32]:
    """How far values lie outside of two limits, 0 within them."""
    return np.asarray(np.maximum(np.maximum(limits[0] - values, values - limits[1]), 0), np.float32)


def colour_name(rgb: NDArray[np.float64]) -> str:
    """What people would call a colour (3,) in [0, 255]."""
    return COLOURS[int(colour_indices(rgb))]


def smooth_noise(
    rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int], octaves: int = 3
) -> NDArray[np.float32]:
    """Noise in about [-1, 1], (H,W), that repeats without a seam, with `cells` bumps.

    cells: (rows, columns); finer octaves come at half the height. Broad bumps are drawn small and
    enlarged.
    """
    finest = max(cells) << (octaves - 1)
    reduced = max(1, min(size) // (_BUMP_PX * finest))
    height, width = size[0] // reduced, size[1] // reduced
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows, columns = (
            max(min(count << octave, limit), 2)
            for count, limit in zip(cells, (height, width), strict=True)
        )
        grid = np.pad(rng.uniform(-1, 1, (rows, columns)).astype(np.float32), 2, mode='wrap')
        tall, wide = (
            round(n * length / (n - 4))
            for n, length in zip(grid.shape, (height, width), strict=True)
        )
        bumps = cv2.resize(grid, (wide, tall), interpolation=cv2.INTER_CUBIC)
        top, left = 2 * height // rows, 2 * width // columns
        total += bumps[top : top + height, left : left + width] / 2**octave
    if reduced == 1:
        return total
    return np.asarray(cv2.resize(total, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def shade(colour: Colour, pattern: NDArray[np.float32], strength: float) -> Texture:
    """A plain colour made darker and lighter by a pattern (H,W)."""
    tone = (1 + np.float32(strength) * pattern[..., None]) * (255 * colour).astype(np.float32)
    return np.asarray(np.clip(tone, 0, 255, out=tone), np.uint8)


def plain(colour: Colour, rng: np.random.Generator, size_px: int = OBJECT_TEXTURE_PX) -> Texture:
    """Painted or moulded: nearly one colour."""
    size = (size_px, size_px)
    return shade(colour, smooth_noise(rng, size, (3, 3)), rng.uniform(0.0, 0.05))


def wood(
    colour: Colour, rng: np.random.Generator, size_px: int = STRUCTURE_TEXTURE_PX, planks: int = 1
) -> Texture:
    """Grain along the columns, optionally in planks with seams."""
    size = (size_px, size_px)
    warp = smooth_noise(rng, size, (4, 2), 2) * rng.uniform(0.2, 0.8)
    across = np.linspace(0, int(rng.integers(4, 15)), size_px, dtype=np.float32)[:, None]
    rings = np.sin((across + warp) * 2 * np.pi) * rng.uniform(0.1, 0.8)
    fibres = smooth_noise(rng, size, (size_px // 3, int(rng.integers(3, 9))), 2)
    pattern = rings * 0.5 + fibres * rng.uniform(0.3, 0.9)
    if planks > 1:
        band = (np.arange(size_px) * planks // size_px) % planks
        pattern += rng.uniform(-1.2, 1.2, planks).astype(np.float32)[band][:, None]
        seams = np.arange(planks) * size_px // planks
        pattern[seams] -= 3.0
    return shade(colour, pattern.astype(np.float32), rng.uniform(0.02, 0.12))


def cloth(colour: Colour, rng: np.random.Generator) -> Texture:
    """Weave, stripes or checks, with soft stains of light."""
    size_px = STRUCTURE_TEXTURE_PX
    size = (size_px, size_px)
    pattern = smooth_noise(rng, size, (size_px // 3, size_px // 3), 1) * 0.6 + smooth_noise(
        rng, size, (4, 4), 3
    )
    texture = shade(colour, pattern, rng.uniform(0.03, 0.15))
    if rng.random() < 0.4:
        other = named_colour(str(rng.choice(COLOURS)), rng)
        period = int(rng.integers(16, 128))
        bands = (np.arange(size_px) % period) < period * rng.uniform(0.1, 0.6)
        mask = (
            bands[None] | bands[:, None]
            if rng.random() < 0.5
            else np.broadcast_to(bands[None], size)
        )
        mixed = texture * 0.35 + other * 255 * 0.65
        texture = np.where(mask[..., None], mixed, texture).astype(np.uint8)
    return texture


def speckled(
    colour: Colour, rng: np.random.Generator, size_px: int = STRUCTURE_TEXTURE_PX
) -> Texture:
    """Laminate, stone, carpet: fine grain on a slow tone."""
    size = (size_px, size_px)
    grain = rng.normal(0, 1, size).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.5, 2.5))
    grain /= max(float(grain.std()), 1e-6)
    slow = smooth_noise(rng, size, (3, 3))
    return shade(colour, grain * rng.uniform(0.2, 1.0) + slow, rng.uniform(0.01, 0.09))


def brushed_metal(colour: Colour, rng: np.random.Generator) -> Texture:
    """Streaks along the columns and broad reflections down the rows."""
    size_px = OBJECT_TEXTURE_PX
    size = (size_px, size_px)
    streaks = smooth_noise(rng, size, (size_px // 2, 3), 1) * 0.3
    reflections = smooth_noise(rng, size, (1, int(rng.integers(4, 9))), 2)
    return shade(colour, (streaks + reflections).astype(np.float32), rng.uniform(0.1, 0.35))


def tiles(colour: Colour, rng: np.random.Generator) -> Texture:
    """Floor tiles or parquet blocks with joints."""
    size_px = STRUCTURE_TEXTURE_PX
    count = int(rng.integers(3, 9))
    step = size_px // count
    tone = rng.normal(0, rng.uniform(0.02, 0.12), (count, count)).astype(np.float32)
    pattern = np.kron(tone, np.ones((step, step), np.float32))
    pattern = cv2.resize(pattern, (size_px, size_px), interpolation=cv2.INTER_NEAREST)
    joint = np.arange(size_px) % step < max(1, step // 40)
    pattern[joint] -= 0.3
    pattern[:, joint] -= 0.3
    grain = (
        smooth_noise(rng, (size_px, size_px), (size_px // 4, int(rng.integers(8, size_px // 4))), 2)
        * 0.06
    )
    return shade(colour, pattern + grain, 1.0)


def wall(colour: Colour, rng: np.random.Generator, size_px: int = 256) -> Texture:
    """A painted wall: a slow gradient, sometimes rails, panels, posters and dark openings."""
    texture = shade(colour, smooth_noise(rng, (size_px, size_px), (2, 2)), rng.uniform(0.02, 0.15))
    for _ in range(int(rng.integers(0, 7))):
        other = named_colour(str(rng.choice(COLOURS)), rng)
        tone = (
            np.clip(colour * rng.uniform(0.5, 1.15), 0, 1) if rng.random() < 0.6 else other
        ) * 255
        x, y = (int(value) for value in rng.integers(-size_px // 4, size_px, 2))
        wide = size_px * 2 if rng.random() < 0.4 else int(rng.integers(10, size_px // 2))
        high = int(rng.integers(3, size_px // 3))
        cv2.rectangle(texture, (x, y), (x + wide, y + high), tone.tolist(), -1)
    return texture


def part(texture: Texture, cell: Cell) -> Texture:
    """The view of a texture that a cell covers."""
    height, width = texture.shape[:2]
    left, top, right, bottom = cell
    return texture[
        int(top * height) : int(np.ceil(bottom * height)),
        int(left * width) : int(np.ceil(right * width)),
    ]


def base_texture(material: str, colour: Colour, rng: np.random.Generator) -> Texture:
    """What the body of an object is made of."""
    size = OBJECT_TEXTURE_PX
    if material == 'wooden':
        return wood(colour, rng, size)
    if material == 'metal':
        return brushed_metal(colour, rng)
    if material in ('fabric', 'rubber'):
        return speckled(colour, rng, size)
    if material == 'ceramic' and rng.random() < 0.2:
        return speckled(colour, rng, size)
    return plain(colour, rng)
