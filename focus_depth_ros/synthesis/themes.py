"""Whole scenes by theme: surroundings, which things stand how, and from where they are seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from focus_depth_ros.synthesis import open_room, surroundings
from focus_depth_ros.synthesis.cameras import Camera, orbit_camera
from focus_depth_ros.synthesis.lighting import Lighting, random_lighting
from focus_depth_ros.synthesis.meshes import Array, rotation
from focus_depth_ros.synthesis.objects import RECIPES, Thing
from focus_depth_ros.synthesis.placement import Placed, Surface, centred, recoloured, resting
from focus_depth_ros.synthesis.settling import settled
from focus_depth_ros.synthesis.stock import Stock
from focus_depth_ros.synthesis.surroundings import Fixture

VIEWS_PER_SCENE = 5
ANYWHERE_SHARE = 0.12
ANYWHERE_M = (0.25, 3.0)
"""How many views of any theme come from how near or far, metres at 60 degrees across."""
Span = tuple[float, float]


@dataclass
class Scene:
    """Everything in world metres, z up, the surface of interest at z = 0."""

    theme: str
    fixtures: list[Fixture]
    surface: Surface
    distance_m: Span = (0.45, 1.15)
    tilt_deg: Span = (25.0, 70.0)
    azimuth_deg: Span = (-140.0, -40.0)
    softness: Span = (0.03, 0.45)
    centre: Array = field(default_factory=lambda: np.zeros(3))

    @property
    def placed(self) -> list[Placed]:
        """The objects, in the order they were placed."""
        return self.surface.placed

    def view(self, rng: np.random.Generator) -> tuple[Camera, Lighting]:
        """A random camera and lighting for this scene.

        Most look at the middle, some at one object.
        """
        aim = self.centre
        if self.placed and rng.random() < 0.5:
            vertices = self.placed[int(rng.integers(len(self.placed)))].mesh.vertices
            aim = 0.5 * aim + 0.5 * vertices.mean(axis=0)
        aim = aim + np.append(rng.normal(0, 0.07, 2), rng.uniform(-0.03, 0.08))
        distance_m = ANYWHERE_M if rng.random() < ANYWHERE_SHARE else self.distance_m
        camera = orbit_camera(rng, aim, distance_m, self.tilt_deg, self.azimuth_deg)
        return camera, random_lighting(rng, self.centre, self.softness)


_HOUSEHOLD = {
    'carton': 7.0,
    'can': 4,
    'bottle': 2.5,
    'mug': 2.5,
    'bowl': 2.5,
    'box': 2,
    'book': 1.5,
    'cup': 1.5,
    'block': 1.5,
    'pot': 1.2,
    'glass': 0.8,
    'plate': 0.8,
    'ball': 1,
    'banana': 0.8,
    'screwdriver': 0.6,
    'hammer': 0.5,
    'wrench': 0.5,
    'rod': 0.7,
    'cable': 0.7,
    'ring': 0.8,
    'stone': 1,
    'bag': 1.2,
    'pitcher': 0.8,
    'drill': 0.5,
    'scissors': 0.5,
    'clamp': 0.4,
    'pliers': 0.5,
    'marker': 0.7,
    'spoon': 0.6,
    'fork': 0.5,
    'knife': 0.5,
    'sponge': 0.6,
    'rack': 0.5,
    'basket': 0.6,
    'toy': 1,
}
_EVERYTHING = dict.fromkeys(RECIPES, 1.0)
_PACKAGES = {'carton': 8.0, 'box': 1, 'book': 1.5, 'bag': 1, 'can': 0.7, 'block': 0.5}
_UPRIGHT = {'carton': 6.0, 'box': 1, 'book': 1, 'can': 1, 'bottle': 1}
_TABLEWARE = {
    'bowl': 5.0,
    'mug': 4,
    'pot': 3,
    'cup': 3,
    'glass': 2,
    'plate': 1.5,
    'ball': 1,
    'banana': 0.7,
    'can': 0.7,
    'box': 1,
    'pitcher': 1.5,
    'basket': 1.5,
    'spoon': 1,
}
_SMALL = {
    'block': 3.0,
    'ball': 2,
    'banana': 1,
    'screwdriver': 2,
    'wrench': 2,
    'ring': 2,
    'rod': 1.5,
    'cable': 1.5,
    'stone': 2,
    'can': 1,
    'carton': 1.5,
    'bag': 1.5,
    'hammer': 1,
    'cup': 1,
    'drill': 1,
    'scissors': 1,
    'clamp': 1,
    'pliers': 1.5,
    'marker': 1,
    'spoon': 0.7,
    'fork': 0.7,
    'knife': 0.7,
    'sponge': 1,
    'toy': 2,
}
_SHINY = {
    'glass': 4.0,
    'bottle': 4,
    'can': 2,
    'bowl': 1.5,
    'mug': 1.5,
    'pot': 1.5,
    'wrench': 1,
    'carton': 1.5,
    'ball': 1,
    'pitcher': 1,
    'spoon': 0.5,
    'fork': 0.5,
    'rack': 0.5,
}
_STANDS = {
    *('carton', 'box', 'block', 'can', 'book', 'bowl', 'mug', 'pot', 'cup', 'plate', 'glass'),
    *('pitcher', 'basket', 'rack', 'sponge'),
}
_OPEN = {'bowl', 'pot', 'plate', 'basket'}
_LEANS = {
    *('carton', 'book', 'box', 'block', 'rod', 'screwdriver', 'plate', 'marker', 'spoon', 'fork'),
    *('knife', 'rack'),
}


def _spot(rng: np.random.Generator, spread_m: float, surface: Surface) -> Array:
    at = rng.normal(0, spread_m, 2)
    return np.clip(at, surface.low_m + 0.02, surface.high_m - 0.02)


def _arrange(
    stock: Stock,
    rng: np.random.Generator,
    surface: Surface,
    weights: dict[str, float],
    count: int,
    spread_m: float = 0.16,
    together: float = 0.4,
) -> None:
    """Put things on the surface.

    A share `together` of them stacked on, leaning on or touching an earlier one.
    """
    for _ in range(count):
        thing = stock.pick(weights, rng)
        _add(rng, surface, thing, spread_m, together)


def _add(
    rng: np.random.Generator, surface: Surface, thing: Thing, spread_m: float, together: float
) -> Placed | None:
    bases = [placed for placed in surface.placed if placed.thing.class_name in _STANDS]
    for _ in range(4):
        mesh = resting(thing, rng)
        placed = None
        if bases and rng.random() < together:
            base = bases[int(rng.integers(len(bases)))]
            way = rng.random()
            if way < 0.4:
                placed = surface.stack(thing, mesh, base, rng)
            elif way < 0.85 or thing.class_name not in _LEANS:
                placed = surface.touch(thing, mesh, base, rng)
            else:
                placed = surface.lean(thing, mesh, base, rng)
        else:
            placed = surface.stand(thing, mesh, _spot(rng, spread_m, surface))
        if placed is not None:
            return placed
    return None


def _line_up(stock: Stock, rng: np.random.Generator, surface: Surface) -> None:
    """Upright things one before another as the camera sees them: little of the last is in view."""
    across, front = rng.normal(0, 0.08), rng.uniform(0.0, 0.2)
    for _ in range(int(rng.integers(2, 5))):
        thing = stock.pick(_UPRIGHT, rng)
        mesh = centred(thing.mesh.transformed(rotation('z', rng.normal(0, 0.3))))
        placed = surface.stand(thing, mesh, np.array([across, front - mesh.extent_m[1] / 2]))
        if placed is not None:
            across = placed.middle_m[0] + rng.normal(0, 0.05)
            front = placed.mesh.vertices[:, 1].min() - rng.uniform(0.005, 0.08)


def _desk_surroundings(
    stock: Stock, rng: np.random.Generator, pale: bool
) -> tuple[list[Fixture], Surface]:
    wide, deep = rng.uniform(1.0, 2.6), rng.uniform(0.7, 2.2)
    shift = rng.uniform([-0.35, -0.25], [0.35, 0.25]) * np.array([wide, deep])
    low, high = shift - np.array([wide, deep]) / 2, shift + np.array([wide, deep]) / 2
    texture_rng = surroundings.texture_generator(stock.split, rng)
    top = surroundings.pale_top(texture_rng) if pale else surroundings.table_top(texture_rng)
    fixtures = surroundings.table(rng, top, low, high) + surroundings.room(
        stock.split, rng, low, high, -surroundings.FLOOR_DROP_M
    )
    if rng.random() < 0.2:
        fixtures.append(surroundings.papers(texture_rng, low, high, stock.photographs))
    reach = np.array([0.7, 0.5])
    return fixtures, Surface(np.maximum(low, -reach) + 0.01, np.minimum(high, reach) - 0.01)


def desk(stock: Stock, rng: np.random.Generator) -> Scene:
    """A pale office desk with a few household things, as depth-camera data sets show it."""
    fixtures, surface = _desk_surroundings(stock, rng, pale=True)
    _arrange(
        stock,
        rng,
        surface,
        _HOUSEHOLD,
        int(rng.integers(1, 9)),
        rng.uniform(0.08, 0.2),
        rng.uniform(0.2, 0.7),
    )
    return Scene('desk', fixtures, surface, softness=(0.1, 0.6))


def table(stock: Stock, rng: np.random.Generator) -> Scene:
    """A wooden or cloth-covered table; every class is as likely."""
    fixtures, surface = _desk_surroundings(stock, rng, pale=False)
    _arrange(stock, rng, surface, _EVERYTHING, int(rng.integers(2, 11)), rng.uniform(0.1, 0.25))
    return Scene('table', fixtures, surface)


def shelves(stock: Stock, rng: np.random.Generator) -> Scene:
    """Inside a shelf, seen from the front."""
    fixtures, surface = surroundings.shelf(stock.split, rng)
    fixtures += surroundings.room(
        stock.split, rng, np.array([-0.7, -0.3]), np.array([0.7, 0.3]), -1.0, 0.9
    )
    _arrange(stock, rng, surface, _HOUSEHOLD, int(rng.integers(4, 13)), 0.25, 0.3)
    centre = np.array([0.0, 0, 0.1])
    return Scene('shelf', fixtures, surface, (0.6, 1.2), (3, 32), (-120, -60), (0.02, 0.3), centre)


def tote(stock: Stock, rng: np.random.Generator) -> Scene:
    """A box of clutter seen from above, at times so near that little but the clutter is in view."""
    fixtures, surface = _desk_surroundings(stock, rng, pale=rng.random() < 0.4)
    fixture, half = surroundings.tote(stock.split, rng, surface)
    fixtures.append(fixture)
    near = rng.random() < 0.4
    weights = _HOUSEHOLD | _PACKAGES if near else (_SMALL, _HOUSEHOLD)[int(rng.integers(2))]
    for _ in range(int(rng.integers(4, 26))):
        thing = stock.pick(weights, rng)
        for _ in range(3):
            mesh = resting(thing, rng)
            if rng.random() < 0.5:
                tilt = rotation('x', rng.normal(0, 0.25)) @ rotation('y', rng.normal(0, 0.25))
                mesh = mesh.transformed(tilt)
                mesh = mesh.moved(0, 0, -mesh.lowest_m)
            room_left = half - mesh.extent_m[:2] / 2
            if (room_left > 0).all() and surface.sink(thing, mesh, rng, room_left, highest_m=0.16):
                break
    distance_m, tilt_deg = ((0.35, 0.6), (65, 90)) if near else ((0.45, 1.0), (42, 90))
    centre = np.array([0, 0, 0.06])
    return Scene('tote', fixtures, surface, distance_m, tilt_deg, (-180, 0), centre=centre)


def floor(stock: Stock, rng: np.random.Generator) -> Scene:
    """Things lying on the floor."""
    low, high = np.array([-0.6, -0.5]), np.array([0.6, 0.5])
    fixtures = surroundings.room(stock.split, rng, low, high, 0.0)
    surface = Surface(low, high)
    _arrange(
        stock,
        rng,
        surface,
        _SMALL if rng.random() < 0.5 else _HOUSEHOLD,
        int(rng.integers(2, 12)),
        0.25,
        0.3,
    )
    return Scene('floor', fixtures, surface, (0.6, 1.8), (25, 90))


def lookalikes(stock: Stock, rng: np.random.Generator) -> Scene:
    """Cartons, boxes or books of the same print, touching and stacked."""
    fixtures, surface = _desk_surroundings(stock, rng, pale=rng.random() < 0.7)
    kind = str(rng.choice(['carton', 'carton', 'carton', 'box', 'block', 'book', 'can']))
    first = stock.make(kind, rng)
    for turn in range(int(rng.integers(2, 10))):
        thing = first
        if turn and rng.random() < 0.6:  # another shape with the same print
            thing = recoloured(stock.make(kind, rng, first.colour), first)
        _add(rng, surface, thing, 0.06, 0.9)
    _arrange(stock, rng, surface, _HOUSEHOLD, int(rng.integers(0, 3)))
    return Scene('lookalikes', fixtures, surface, softness=(0.1, 0.5))


def pile(stock: Stock, rng: np.random.Generator) -> Scene:
    """Packages of different prints across, upon and against each other, or in a row."""
    fixtures, surface = _desk_surroundings(stock, rng, pale=rng.random() < 0.7)
    if rng.random() < 0.4:
        _line_up(stock, rng, surface)
    for _ in range(int(rng.integers(2, 8)) - len(surface.placed)):
        _add(rng, surface, stock.pick(_PACKAGES, rng), 0.04, 0.95)
    return Scene('pile', fixtures, surface, (0.5, 1.2), (20, 65), softness=(0.1, 0.6))


def vessels(stock: Stock, rng: np.random.Generator) -> Scene:
    """Open and nested bowls, mugs and pots, mostly seen from above."""
    fixtures, surface = _desk_surroundings(stock, rng, pale=rng.random() < 0.6)
    _arrange(stock, rng, surface, _TABLEWARE, int(rng.integers(2, 7)), 0.15, 0.25)
    for base in [placed for placed in surface.placed if placed.thing.class_name in _OPEN]:
        if rng.random() < 0.6:
            thing = stock.pick(_TABLEWARE | _SMALL, rng)
            surface.stack(thing, resting(thing, rng), base, rng)
    return Scene('vessels', fixtures, surface, (0.45, 1.1), (35, 88), (-180, 0), (0.1, 0.5))


def shiny(stock: Stock, rng: np.random.Generator) -> Scene:
    """Glossy, dark and transparent-looking things."""
    fixtures, surface = _desk_surroundings(stock, rng, pale=rng.random() < 0.5)
    _arrange(stock, rng, surface, _SHINY, int(rng.integers(2, 8)), 0.18, 0.25)
    return Scene('shiny', fixtures, surface)


def room(stock: Stock, rng: np.random.Generator) -> Scene:
    """A table on legs in a large room: the floor and far furniture past its edges."""
    height = rng.uniform(0.35, 0.8)
    look = surroundings.texture_generator(stock.split, rng)
    free = open_room.free_table(rng, height)
    turn = rng.uniform(0, 2 * np.pi)
    radius = float(np.linalg.norm(free.half_m))
    fixtures = open_room.table_fixtures(look, free)
    fixtures += open_room.open_room(look, stock.photographs, radius, height, turn)
    surface = Surface(-free.half_m, free.half_m)
    weights = _HOUSEHOLD if rng.random() < 0.6 else _EVERYTHING
    _arrange(stock, rng, surface, weights, int(rng.integers(3, 14)), rng.uniform(0.1, 0.3), 0.25)
    facing = np.degrees(turn) - 90
    azimuth = (facing - 65, facing + 65)
    return Scene('room', fixtures, surface, (0.5, 1.5), (14, 64), azimuth, (0.05, 0.6))


@dataclass(frozen=True)
class Theme:
    """share: of all scenes, zero for what is drawn where it is named only.

    settled: which part of them is left to gravity; tumbling: how many things start tilted there.
    """

    build: Callable[[Stock, np.random.Generator], Scene]
    share: float
    settled: float
    tumbling: float


THEMES: dict[str, Theme] = {
    'desk': Theme(desk, 0.24, 0.35, 0.4),
    'pile': Theme(pile, 0.18, 0.4, 0.3),
    'table': Theme(table, 0.17, 0.35, 0.4),
    'tote': Theme(tote, 0.12, 0.8, 0.8),
    'vessels': Theme(vessels, 0.1, 0.5, 0.4),
    'lookalikes': Theme(lookalikes, 0.08, 0.55, 0.6),
    'shelf': Theme(shelves, 0.04, 0.4, 0.25),
    'floor': Theme(floor, 0.04, 0.4, 0.6),
    'shiny': Theme(shiny, 0.03, 0.3, 0.4),
    'room': Theme(room, 0.0, 0.3, 0.3),
}
DRAWN = tuple(name for name, theme in THEMES.items() if theme.share)
"""Themes that scenes have where none is named."""


def build_scene(stock: Stock, rng: np.random.Generator, theme: str | None = None) -> Scene:
    """A scene with at least one object; the theme is drawn by its share unless given.

    Raises UnsettledError: then draw again.
    """
    names = list(THEMES)
    shares = np.array([kind.share for kind in THEMES.values()])
    chosen = THEMES[theme or str(rng.choice(names, p=shares / shares.sum()))]
    scene = chosen.build(stock, rng)
    while not scene.placed:
        scene = chosen.build(stock, rng)
    if rng.random() < chosen.settled:
        scene.surface = settled(scene.surface, rng, chosen.tumbling)
    return scene


assert set(_HOUSEHOLD) == set(RECIPES)
