"""A table on legs in a large furnished room: past its edges the floor and far things are seen.

All of it has id 0 in the labels. The surface of interest, the table's upper side, is z = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from focus_depth_ros.synthesis import materials
from focus_depth_ros.synthesis.materials import STRUCTURE_TEXTURE_PX, Texture, named_colour
from focus_depth_ros.synthesis.meshes import (
    Array,
    Mesh,
    box,
    grid_surface,
    lathe,
    merge,
    rotation,
    sheet,
    sweep,
)
from focus_depth_ros.synthesis.objects import Look
from focus_depth_ros.synthesis.photographs import crop_of
from focus_depth_ros.synthesis.surroundings import (
    MATT,
    Fixture,
    chair,
    floor_texture,
    four_walls,
    muted_tone,
    repeated,
    slab,
    table_top,
)
from focus_depth_ros.synthesis.vocabulary import COLOURS

FURNITURE_TEXTURES = 5


@dataclass(frozen=True)
class FreeTable:
    """A table's meshes; half_m: (2,) half size of the rectangle in its upper side, metres."""

    top: Mesh
    body: Mesh
    half_m: Array


def free_table(rng: np.random.Generator, height_m: float) -> FreeTable:
    """A rectangular table on four legs or, one in four, a round one on a column."""
    thick = rng.uniform(0.018, 0.05)
    if rng.random() < 0.25:
        return _round_table(rng.uniform(0.25, 0.6), thick, height_m)
    half = np.array([rng.uniform(0.25, 0.95), rng.uniform(0.2, 0.5)])
    return _rectangular_table(rng, half, thick, height_m)


def _round_table(radius_m: float, thick_m: float, height_m: float) -> FreeTable:
    angle = np.linspace(0, 2 * np.pi, 33)
    reach = np.linspace(radius_m, 0.001, 8)[:, None]
    disc = grid_surface(
        np.stack([reach * np.cos(angle), reach * np.sin(angle), 0 * reach * angle], axis=2)
    )
    top = replace(disc, uv=disc.vertices[:, :2] / 0.9)
    column = np.array([[0, 0, 0.02 - height_m], [0, 0, -thick_m]])
    body = merge(
        lathe(np.array([[radius_m, -thick_m], [radius_m, -0.001]]), segments=32),
        lathe(np.array([[0, -thick_m], [radius_m, -thick_m]]), segments=32),
        sweep(column, np.full(2, 0.035)),
        lathe(np.array([[0.25, -height_m], [0.25, 0.02 - height_m], [0, 0.05 - height_m]])),
    )
    return FreeTable(top, body, np.full(2, radius_m * 0.68))


def _rectangular_table(
    rng: np.random.Generator, half_m: Array, thick_m: float, height_m: float
) -> FreeTable:
    top, board = slab(-half_m, half_m, thick_m, rng.uniform(0.5, 1.5))
    body = merge(board, *_legs(rng, half_m, height_m - thick_m, -height_m))
    return FreeTable(top, body, half_m - 0.01)


def _legs(rng: np.random.Generator, half_m: Array, length_m: float, floor_m: float) -> list[Mesh]:
    """Four square or round ones near the corners, standing on the floor."""
    inset, thick = rng.uniform(0.03, 0.1), rng.uniform(0.025, 0.08)
    if rng.random() < 0.5:
        leg = box(np.array([thick, thick, length_m]))
    else:
        path = np.array([[0, 0, 0.0], [0, 0, length_m / 2], [0, 0, length_m]])
        leg = sweep(path, thick / 2 * rng.uniform([0.6, 0.9, 0.9], [1.0, 1.1, 1.2]), sides=8)
    at = np.maximum(half_m - inset, 0.02)
    return [leg.moved(x, y, floor_m) for x in (-at[0], at[0]) for y in (-at[1], at[1])]


def _desk(rng: np.random.Generator) -> Mesh:
    """Another table of the room, standing on z = 0; at times with boxes upon it."""
    half, high = rng.uniform([0.3, 0.25], [0.9, 0.45]), rng.uniform(0.4, 0.95)
    parts = [box(np.append(2 * half, 0.03)).moved(0, 0, high), *_legs(rng, half, high, 0.0)]
    for _ in range(int(rng.integers(0, 4))):
        size = rng.uniform([0.1, 0.1, 0.03], [0.5, 0.3, 0.4])
        x, y = rng.uniform(-half, half) * 0.8
        parts.append(box(size).moved(x, y, high + 0.03))
    return merge(*parts)


def _cabinet(rng: np.random.Generator) -> Mesh:
    return box(rng.uniform([0.3, 0.3, 0.3], [1.4, 0.7, 2.0]))


def _bin(rng: np.random.Generator) -> Mesh:
    wide, high = rng.uniform(0.12, 0.3), rng.uniform(0.2, 0.7)
    narrow = wide * rng.uniform(0.7, 1.0)
    return lathe(np.array([[narrow, 0], [wide, high], [wide * 0.93, high], [narrow * 0.9, 0.02]]))


def _crates(rng: np.random.Generator) -> Mesh:
    sizes = rng.uniform([0.2, 0.2, 0.15], [0.6, 0.5, 0.4], (int(rng.integers(1, 5)), 3))
    heights = np.cumsum(np.append(0, sizes[:-1, 2]))
    turned = [box(size).transformed(rotation('z', rng.normal(0, 0.2))) for size in sizes]
    return merge(*(crate.moved(0, 0, z) for crate, z in zip(turned, heights, strict=True)))


_PIECES: tuple[Callable[[np.random.Generator], Mesh], ...] = (
    chair,
    chair,
    _desk,
    _desk,
    _cabinet,
    _bin,
    _crates,
)


def open_room(
    rng: np.random.Generator,
    photographs: tuple[Texture, ...],
    radius_m: float,
    height_m: float,
    turn_rad: float,
) -> list[Fixture]:
    """Floor, far walls and furniture round a table of that radius and height at the origin.

    Furniture stands behind (+y) and beside the table; then `turn_rad` turns the room about z.
    """
    behind = rng.uniform(radius_m + 0.4, 6.0)
    left, right = rng.uniform(radius_m + 0.5, 5.0, 2)
    low, high = np.array([-left, -5.0]), np.array([right, behind])
    wide, deep = high - low
    tile = rng.uniform(0.5, 1.5)
    floor = sheet(
        np.append(low, -height_m),
        np.array([wide, 0, 0]),
        np.array([0, deep, 0]),
        repeated(wide / tile, deep / tile),
        20,
        20,
    )
    fixtures = [
        Fixture(floor, _floor(rng)),
        Fixture(four_walls(low, high, -height_m), _panel(rng)),
    ]
    groups: list[list[Mesh]] = [[] for _ in range(FURNITURE_TEXTURES)]
    for number in range(int(rng.integers(2, 15))):
        at = _free_place(rng, low, high, radius_m)
        piece = _PIECES[int(rng.integers(len(_PIECES)))](rng)
        turned = piece.transformed(rotation('z', rng.uniform(0, 6.3)))
        groups[number % FURNITURE_TEXTURES].append(turned.moved(at[0], at[1], -height_m))
    fixtures += [Fixture(merge(*group), _furniture(rng, photographs)) for group in groups if group]
    turn = rotation('z', turn_rad)
    return [replace(fixture, mesh=fixture.mesh.transformed(turn)) for fixture in fixtures]


def _free_place(rng: np.random.Generator, low_m: Array, high_m: Array, radius_m: float) -> Array:
    """(2,) where a piece of furniture hides neither table nor camera."""
    front = np.array([low_m[0], -0.3])
    while True:
        at = rng.uniform(front, high_m)
        if np.linalg.norm(at) > radius_m + 0.45:
            return at


def _floor(rng: np.random.Generator) -> Texture:
    """As other floors, and carpets of any colour."""
    if rng.random() < 0.6:
        return floor_texture(rng)
    colour = named_colour(str(rng.choice(COLOURS)), rng) * rng.uniform(0.3, 1.0)
    return materials.cloth(colour, rng)


def _panel(rng: np.random.Generator) -> Texture:
    return materials.wall(muted_tone(rng, (0.4, 1.0), (0.0, 0.25)), rng, STRUCTURE_TEXTURE_PX)


def _furniture(rng: np.random.Generator, photographs: tuple[Texture, ...]) -> Texture:
    """Painted, wooden or covered in any colour; with photographs, at times a part of one."""
    choice = rng.random()
    if photographs and choice < 0.3:
        return crop_of(photographs, (STRUCTURE_TEXTURE_PX, STRUCTURE_TEXTURE_PX), rng)
    if choice < 0.5:
        return table_top(rng)
    if choice < 0.75:
        colour = named_colour(str(rng.choice(COLOURS)), rng)
        return materials.plain(colour, rng, STRUCTURE_TEXTURE_PX)
    return materials.wall(muted_tone(rng, (0.05, 0.8), (0.0, 0.4)), rng, STRUCTURE_TEXTURE_PX)


def table_fixtures(rng: np.random.Generator, table: FreeTable) -> list[Fixture]:
    """The table with its textures."""
    edge = materials.plain(muted_tone(rng, (0.1, 0.8), (0.0, 0.5)), rng, STRUCTURE_TEXTURE_PX)
    if rng.random() < 0.4:
        edge = materials.wood(muted_tone(rng, (0.2, 0.8), (0.25, 0.7), 0.9), rng)
    look = Look(rng.uniform(0, 0.35), rng.uniform(0.1, 0.9))
    return [
        Fixture(table.top, table_top(rng), look),
        Fixture(table.body, edge, MATT, casts_shadow=True),
    ]
