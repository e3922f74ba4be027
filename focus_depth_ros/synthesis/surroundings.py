"""What is not an object: tables, floors, walls, shelves, totes and far furniture.

All of it has id 0 in the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from focus_depth_ros.synthesis import materials
from focus_depth_ros.synthesis.collision import cuboid, tray_solids
from focus_depth_ros.synthesis.materials import (
    STRUCTURE_TEXTURE_PX,
    Colour,
    Texture,
    named_colour,
)
from focus_depth_ros.synthesis.meshes import (
    WHOLE,
    Array,
    Cell,
    Mesh,
    box,
    merge,
    rotation,
    sheet,
    sweep,
)
from focus_depth_ros.synthesis.objects import Look
from focus_depth_ros.synthesis.placement import Surface
from focus_depth_ros.synthesis.prints import print_label
from focus_depth_ros.synthesis.shapes import tray
from focus_depth_ros.synthesis.splits import Split, asset_seed
from focus_depth_ros.synthesis.vocabulary import COLOURS

FLOOR_DROP_M, WALL_M = 0.73, 2.9
"""How far the floor is under a table's upper side, and how high walls are."""


MATT = Look(0.05, 0.2)


@dataclass(frozen=True)
class Fixture:
    """One structural mesh with its texture."""

    mesh: Mesh
    texture: Texture
    look: Look = MATT
    casts_shadow: bool = False


def muted_tone(
    rng: np.random.Generator,
    value: tuple[float, float],
    saturation: tuple[float, float],
    warm: float = 0.6,
) -> Colour:
    """A muted colour: mostly warm hues."""
    hue = rng.uniform(12, 28) if rng.random() < warm else rng.uniform(0, 179)
    pixel = np.array(
        [[[hue, 255 * rng.uniform(*saturation), 255 * rng.uniform(*value)]]], np.float32
    ).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0], np.float64) / 255


def pale_top(rng: np.random.Generator) -> Texture:
    """Office desks: maple, beech, white and grey laminate."""
    tone = muted_tone(rng, (0.72, 1.0), (0.02, 0.38), 0.85)
    if rng.random() < 0.6:
        return materials.wood(tone, rng)
    return materials.speckled(tone, rng)


def table_top(rng: np.random.Generator) -> Texture:
    """Any table: wood of all tones, planks, cloths, stone."""
    choice = rng.random()
    if choice < 0.4:
        return materials.wood(
            muted_tone(rng, (0.2, 0.8), (0.25, 0.7), 0.9), rng, planks=int(rng.choice([1, 1, 3, 5]))
        )
    if choice < 0.75:
        return materials.cloth(named_colour(str(rng.choice(COLOURS)), rng), rng)
    return materials.speckled(muted_tone(rng, (0.1, 0.9), (0.0, 0.4)), rng)


def floor_texture(rng: np.random.Generator) -> Texture:
    """Parquet, tiles, carpet, concrete."""
    choice = rng.random()
    tone = muted_tone(rng, (0.2, 0.85), (0.05, 0.5), 0.85)
    if choice < 0.4:
        return materials.wood(tone, rng, planks=int(rng.integers(4, 9)))
    if choice < 0.65:
        return materials.tiles(tone, rng)
    return materials.speckled(tone, rng)


def texture_generator(split: Split, rng: np.random.Generator) -> np.random.Generator:
    """A random source for textures that this split may use."""
    return np.random.default_rng([3, asset_seed(split, rng)])


def _sized(texture: Texture) -> Texture:
    size = (STRUCTURE_TEXTURE_PX, STRUCTURE_TEXTURE_PX)
    return np.asarray(cv2.resize(texture, size, interpolation=cv2.INTER_LINEAR))


def repeated(times_x: float, times_y: float) -> Cell:
    """A cell that tiles the texture."""
    return (0.0, 0.0, times_x, times_y)


def slab(low_m: Array, high_m: Array, thick_m: float, times: float) -> tuple[Mesh, Mesh]:
    """A table's upper side at z = 0, fine enough for lamps to shade it smoothly, and its body.

    Between two corners (2,); the texture comes `times` a metre.
    """
    wide, deep = high_m - low_m
    top = sheet(
        np.array([low_m[0], low_m[1], 0.0]),
        np.array([wide, 0, 0]),
        np.array([0, deep, 0]),
        repeated(wide * times, deep * times),
        14,
        14,
    )
    x, y = (low_m + high_m) / 2
    return top, box(np.array([wide, deep, thick_m - 0.001])).moved(float(x), float(y), -thick_m)


def table(rng: np.random.Generator, top: Texture, low_m: Array, high_m: Array) -> list[Fixture]:
    """A slab with its textures."""
    thick = rng.uniform(0.018, 0.05)
    top_mesh, body = slab(low_m, high_m, thick, rng.uniform(0.5, 1.5))
    look = Look(rng.uniform(0, 0.35), rng.uniform(0.1, 0.9))
    edge = materials.plain(muted_tone(rng, (0.2, 0.8), (0.0, 0.5)), rng, STRUCTURE_TEXTURE_PX)
    return [Fixture(top_mesh, top, look), Fixture(body, edge, casts_shadow=True)]


def room(
    split: Split,
    rng: np.random.Generator,
    low_m: Array,
    high_m: Array,
    floor_m: float,
    wall_close: float = 0.5,
) -> list[Fixture]:
    """Floor, four walls and far furniture round the rectangle.

    The wall behind (+y) is near with chance wall_close.
    """
    texture_rng = texture_generator(split, rng)
    behind = rng.uniform(0.02, 0.6) if rng.random() < wall_close else rng.uniform(0.6, 3.0)
    left = rng.uniform(0.05, 0.8) if rng.random() < 0.3 else rng.uniform(0.8, 3.0)
    right = rng.uniform(0.05, 0.8) if rng.random() < 0.3 else rng.uniform(0.8, 3.0)
    x0, x1 = low_m[0] - left, high_m[0] + right
    y0, y1 = low_m[1] - 4.0, high_m[1] + behind
    wide, deep = x1 - x0, y1 - y0
    corner = np.array([x0, y0, floor_m])
    floor = sheet(
        corner,
        np.array([wide, 0, 0]),
        np.array([0, deep, 0]),
        repeated(wide / 1.2, deep / 1.2),
        10,
        10,
    )
    tone = muted_tone(texture_rng, (0.7, 1.0), (0.0, 0.15))
    wall_texture = _sized(materials.wall(tone, texture_rng))
    walls = four_walls(np.array([x0, y0]), np.array([x1, y1]), floor_m)
    fixtures = [Fixture(floor, floor_texture(texture_rng)), Fixture(walls, wall_texture)]
    furniture = []
    for _ in range(int(rng.integers(0, 7))):
        size = rng.uniform([0.25, 0.25, 0.3], [1.0, 0.7, 1.3])
        x, y = rng.uniform(x0, x1), rng.uniform(low_m[1] - 0.5, y1)
        inside = low_m[0] - 0.6 < x < high_m[0] + 0.6 and y < high_m[1] + 0.4
        if inside:
            continue
        shape = box(size, (repeated(1, 1),) * 6).transformed(rotation('z', rng.uniform(0, 6.3)))
        if rng.random() < 0.3:
            shape = chair(rng)
        furniture.append(shape.moved(x, y, floor_m))
    if furniture:
        fixtures.append(Fixture(merge(*furniture), _furniture_texture(texture_rng)))
    return fixtures


def four_walls(low_m: Array, high_m: Array, floor_m: float) -> Mesh:
    """Round the rectangle between two corners (2,), from the floor up."""
    (x0, y0), (x1, y1) = low_m, high_m
    wide, deep, up = x1 - x0, y1 - y0, np.array([0, 0, WALL_M])
    return merge(
        sheet(np.array([x0, y1, floor_m]), np.array([wide, 0, 0]), up, WHOLE, 7, 7),
        sheet(np.array([x0, y0, floor_m]), np.array([0, deep, 0]), up, WHOLE, 7, 7),
        sheet(np.array([x1, y1, floor_m]), np.array([0, -deep, 0]), up, WHOLE, 7, 7),
        sheet(np.array([x1, y0, floor_m]), np.array([-wide, 0, 0]), up, WHOLE, 2, 2),
    )


def chair(rng: np.random.Generator) -> Mesh:
    """An office chair on a star foot, standing on z = 0."""
    seat, wide = rng.uniform(0.42, 0.55), rng.uniform(0.4, 0.5)
    parts = [
        box(np.array([wide, wide, 0.07])).moved(0, 0, seat),
        box(np.array([wide * 0.9, 0.05, rng.uniform(0.3, 0.6)])).moved(0, wide / 2, seat + 0.15),
        sweep(np.array([[0, 0, 0.08], [0, 0, seat]]), np.full(2, 0.03), sides=6),
    ]
    for turn in np.arange(5) * 2 * np.pi / 5:
        tip = np.array([0.3 * np.cos(turn), 0.3 * np.sin(turn), 0.03])
        parts.append(sweep(np.stack([[0, 0, 0.1], tip]), np.full(2, 0.025), sides=5))
    return merge(*parts).transformed(rotation('z', rng.uniform(0, 6.3)))


def papers(
    rng: np.random.Generator, low_m: Array, high_m: Array, photographs: tuple[Texture, ...]
) -> Fixture:
    """One to three printed sheets lying flat on the table: marks that are not objects."""
    texture = materials.plain(named_colour('white', rng), rng, STRUCTURE_TEXTURE_PX)
    halves: tuple[Cell, ...] = ((0, 0, 0.5, 1), (0.5, 0, 1, 1))
    for cell in halves:
        if rng.random() < 0.6:
            white = named_colour('white', rng)
            print_label(materials.part(texture, cell), rng, white, photographs)
    sheets = []
    for number in range(int(rng.integers(1, 4))):
        size = rng.uniform([0.05, 0.07], [0.21, 0.30])
        flat = sheet(
            np.array([-size[0] / 2, -size[1] / 2, 0]),
            np.array([size[0], 0, 0]),
            np.array([0, size[1], 0]),
            halves[number % 2],
        ).transformed(rotation('z', rng.uniform(0, 6.3)))
        x, y = rng.uniform(low_m + 0.15, np.maximum(high_m - 0.15, low_m + 0.16))
        sheets.append(flat.moved(x, y, 0.0005 * (number + 1)))
    return Fixture(merge(*sheets), texture)


def _furniture_texture(rng: np.random.Generator) -> Texture:
    tone = muted_tone(rng, (0.05, 0.8), (0.0, 0.4))
    return _sized(materials.wall(tone, rng))


def shelf(split: Split, rng: np.random.Generator) -> tuple[list[Fixture], Surface]:
    """Boards at several heights with sides and a back; the board at z = 0 holds the objects."""
    texture_rng = texture_generator(split, rng)
    wide, deep, pitch = rng.uniform(0.7, 1.2), rng.uniform(0.28, 0.45), rng.uniform(0.32, 0.48)
    thick = rng.uniform(0.012, 0.03)
    board = box(np.array([wide, deep, thick]), (WHOLE,) * 6, 5)
    parts = [board.moved(0, 0, -thick + level * pitch) for level in (-1, 0, 1)]
    side = box(np.array([thick, deep, 3 * pitch]), (WHOLE,) * 6, 5)
    parts += [side.moved(x, 0, -1.3 * pitch) for x in (-wide / 2 - thick / 2, wide / 2 + thick / 2)]
    fixtures = [
        Fixture(
            merge(*parts),
            pale_top(texture_rng) if rng.random() < 0.5 else table_top(texture_rng),
        )
    ]
    if rng.random() < 0.7:
        back = sheet(
            np.array([-wide / 2, deep / 2, -1.3 * pitch]),
            np.array([wide, 0, 0]),
            np.array([0, 0, 3 * pitch]),
            WHOLE,
            7,
            7,
        )
        fixtures.append(
            Fixture(
                back,
                _sized(materials.wall(muted_tone(texture_rng, (0.2, 0.95), (0, 0.4)), texture_rng)),
            )
        )
    margin = np.array([wide / 2 - 0.01, deep / 2 - 0.01])
    surface = Surface(-margin, margin, ceiling_m=pitch - thick)
    high = np.array([wide / 2 + 0.1, deep / 2 + 0.1, pitch])
    for way in (-1, 1):
        inner = np.array([way * wide / 2, -deep / 2, 0.0])
        surface.solids.append(cuboid(inner, high * [way, 1, 1]))
    surface.solids.append(cuboid(np.array([-wide / 2, deep / 2, 0.0]), high))
    return fixtures, surface


def tote(split: Split, rng: np.random.Generator, surface: Surface) -> tuple[Fixture, Array]:
    """An open box fixed on the surface; returns it and the half size (2,) of its inside, metres."""
    texture_rng = texture_generator(split, rng)
    size = rng.uniform([0.28, 0.22, 0.08], [0.6, 0.42, 0.26])
    thick = rng.uniform(0.003, 0.008)
    colour = named_colour(
        str(
            texture_rng.choice(
                ['red', 'blue', 'grey', 'black', 'brown', 'white', 'yellow', 'green']
            )
        ),
        texture_rng,
    )
    base = materials.plain(colour, texture_rng, STRUCTURE_TEXTURE_PX)
    if rng.random() < 0.3:
        base = materials.speckled(colour, texture_rng)
    mesh = tray(size, thick)
    surface.occupy(mesh)
    surface.solids += tray_solids(mesh)
    return Fixture(mesh, base, Look(rng.uniform(0, 0.5), 0.5), casts_shadow=True), size[
        :2
    ] / 2 - thick
