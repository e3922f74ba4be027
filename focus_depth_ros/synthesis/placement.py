"""Placing things on surfaces without physics (`settling` goes on from here).

A height map of what is there, and objects dropped on it.

An object is a cloud of surface points. Its lower outline is laid over the map's tops; the largest
overlap gives the height at which it rests. Sliding an object until it would climb gives exact
touching and leaning.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from focus_depth_ros.synthesis.collision import Solid
from focus_depth_ros.synthesis.meshes import Array, Mesh, rotation, surface_points
from focus_depth_ros.synthesis.objects import Thing

CELL_M = 0.004
_CONTACT_M = 0.004


@dataclass(frozen=True)
class Placed:
    """A thing at its pose in the world; `mesh` is already moved there."""

    thing: Thing
    mesh: Mesh

    @property
    def middle_m(self) -> Array:
        """(2,) middle of its bounds in x and y."""
        bounds = self.mesh.vertices[:, :2]
        return np.asarray((bounds.min(axis=0) + bounds.max(axis=0)) / 2)


@dataclass(frozen=True)
class Footprint:
    """Cells (N,2) of CELL_M a mesh covers, counted from its origin, and its z (N,) there, metres.

    low_m and high_m: the lowest and the highest point over each cell.
    """

    cells: Array
    low_m: Array
    high_m: Array


def footprint(mesh: Mesh) -> Footprint:
    """What the mesh covers, seen from above."""
    points = surface_points(mesh, CELL_M * 0.9)
    x, y = (np.floor(points[:, axis] / CELL_M).astype(np.int64) for axis in (0, 1))
    left, front = x.min(), y.min()
    across, along = int(x.max() - left) + 1, int(y.max() - front) + 1
    flat = (x - left) * along + (y - front)
    low, high = np.full(across * along, np.inf), np.full(across * along, -np.inf)
    np.minimum.at(low, flat, points[:, 2])
    np.maximum.at(high, flat, points[:, 2])
    used = np.flatnonzero(np.isfinite(low))
    cells = np.stack(np.divmod(used, along), axis=1) + np.array([left, front])
    return Footprint(cells, low[used], high[used])


def centred(mesh: Mesh) -> Mesh:
    """Moved so that it stands on z = 0 with the middle of its bounds at x = y = 0."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    middle = (low + high) / 2
    return mesh.moved(-float(middle[0]), -float(middle[1]), -float(low[2]))


_LIES = {
    'carton': 0.6,
    'box': 0.1,
    'block': 0.3,
    'can': 0.3,
    'bottle': 0.25,
    'mug': 0.12,
    'cup': 0.15,
    'glass': 0.12,
    'bowl': 0.08,
    'pot': 0.04,
    'book': 0.15,
    'ring': 0.1,
    'bag': 0.0,
    'pitcher': 0.1,
    'sponge': 0.2,
    'rack': 0.1,
    'basket': 0.05,
}


def resting(thing: Thing, rng: np.random.Generator) -> Mesh:
    """The thing in a pose it may rest in, turned at random about the vertical."""
    mesh = thing.mesh
    if rng.random() < _LIES.get(thing.class_name, 0.0):
        if thing.class_name in ('bowl', 'pot', 'basket'):
            mesh = mesh.transformed(rotation('x', np.pi))
        else:
            mesh = mesh.transformed(
                rotation(str(rng.choice(['x', 'y'])), np.pi / 2 * rng.choice([-1, 1]))
            )
    elif thing.class_name in ('stone', 'ball', 'toy'):
        mesh = mesh.transformed(
            rotation('x', rng.uniform(0, 6.3)) @ rotation('y', rng.uniform(0, 6.3))
        )
    return centred(mesh.transformed(rotation('z', rng.uniform(0, 2 * np.pi))))


class Surface:
    """A rectangle of the world with what stands on it. Heights are in the world's z, metres."""

    ground_m = 0.0

    def __init__(self, low_m: Array, high_m: Array, ceiling_m: float = np.inf) -> None:
        """low_m, high_m: (2,) corners in x, y; nothing may reach above ceiling_m."""
        self.low_m, self.high_m = np.asarray(low_m, float), np.asarray(high_m, float)
        size = np.ceil((self.high_m - self.low_m) / CELL_M).astype(int)
        self._tops = np.full(size, self.ground_m)
        self._ground = self._tops.copy()
        self.ceiling_m = ceiling_m
        self.solids: list[Solid] = []
        """Fixed things round it that physics feels."""
        self.placed: list[Placed] = []

    def cleared(self) -> Surface:
        """The same surface with nothing on it but what is fixed."""
        empty = copy(self)
        empty._tops, empty.placed = self._ground.copy(), []
        return empty

    def occupy(self, mesh: Mesh) -> None:
        """Raise the map by a fixed thing such as a wall of a tote."""
        area = footprint(mesh)
        cells = area.cells - np.floor(self.low_m / CELL_M).astype(int)
        inside = ((cells >= 0) & (cells < self._tops.shape)).all(axis=1)
        x, y = cells[inside].T
        self._tops[x, y] = np.maximum(self._tops[x, y], area.high_m[inside])
        self._ground[x, y] = self._tops[x, y]

    def gap_to_ground_m(self, area: Footprint) -> float:
        """How far a mesh, where it stands in the world, is above ground and fixed things."""
        cells = area.cells - np.floor(self.low_m / CELL_M).astype(int)
        inside = ((cells >= 0) & (cells < self._ground.shape)).all(axis=1)
        x, y = cells[inside].T
        gaps = area.low_m[inside] - self._ground[x, y]
        return float(np.abs(gaps).min(initial=np.inf))

    def _rest(self, area: Footprint, at_m: Array) -> tuple[float, Array] | None:
        """Height of rest and the gap below each cell, metres.

        None if it would stick out of the map or through the ceiling.
        """
        cells = area.cells + np.round((at_m - self.low_m) / CELL_M).astype(int)
        if (cells < 0).any() or (cells >= self._tops.shape).any():
            return None
        gaps = self._tops[cells[:, 0], cells[:, 1]] - area.low_m
        height = float(gaps.max())
        if height + float(area.high_m.max()) > self.ceiling_m:
            return None
        return height, height - gaps

    def _settle(
        self, thing: Thing, mesh: Mesh, area: Footprint, at_m: Array, height_m: float
    ) -> Placed:
        snapped = np.round((at_m - self.low_m) / CELL_M) * CELL_M + self.low_m
        moved = mesh.moved(float(snapped[0]), float(snapped[1]), height_m)
        cells = area.cells + np.round((at_m - self.low_m) / CELL_M).astype(int)
        x, y = cells.T
        self._tops[x, y] = np.maximum(self._tops[x, y], area.high_m + height_m)
        placed = Placed(thing, moved)
        self.placed.append(placed)
        return placed

    def hover(self, thing: Thing, mesh: Mesh, at_m: Array, above_m: float) -> Placed | None:
        """Just above whatever is there, for physics to let go; None where there is no room."""
        area = footprint(mesh)
        rest = self._rest(area, at_m)
        if rest is None:
            return None
        return self._settle(thing, mesh, area, at_m, rest[0] + above_m)

    def stand(self, thing: Thing, mesh: Mesh, at_m: Array) -> Placed | None:
        """On the bare ground at a point, touching nothing; None where there is no room."""
        area = footprint(mesh)
        rest = self._rest(area, at_m)
        if rest is None or rest[0] > self.ground_m + 1e-3:
            return None
        return self._settle(thing, mesh, area, at_m, rest[0])

    def drop(self, thing: Thing, mesh: Mesh, at_m: Array) -> Placed | None:
        """From above on whatever is there.

        None unless the contacts lie on all sides of the centre.
        """
        area = footprint(mesh)
        rest = self._rest(area, at_m)
        if rest is None:
            return None
        height, gaps = rest
        contact = area.cells[gaps < _CONTACT_M] * CELL_M
        spread = 0.15 * np.ptp(area.cells * CELL_M, axis=0)
        if (contact.max(axis=0) < spread).any() or (contact.min(axis=0) > -spread).any():
            return None
        return self._settle(thing, mesh, area, at_m, height)

    def sink(
        self, thing: Thing, mesh: Mesh, rng: np.random.Generator, half_m: Array, highest_m: float
    ) -> Placed | None:
        """Dropped at the lowest of a few random points within +-half_m.

        None if it would still rise above highest_m.
        """
        area = footprint(mesh)
        spots = rng.uniform(-half_m, half_m, (8, 2))
        rests = [(self._rest(area, spot), spot) for spot in spots]
        found = [(rest[0], spot) for rest, spot in rests if rest is not None]
        if not found:
            return None
        height, spot = min(found, key=lambda pair: pair[0])
        if height > highest_m:
            return None
        return self._settle(thing, mesh, area, spot, height)

    def slide(self, thing: Thing, mesh: Mesh, start_m: Array, goal_m: Array) -> Placed | None:
        """Along the ground from a free place towards a goal until it touches something.

        None if it never does.
        """
        area = footprint(mesh)
        steps = max(int(np.linalg.norm(goal_m - start_m) / (CELL_M / 2)), 1)
        last = None
        for fraction in np.linspace(0, 1, steps + 1):
            at = start_m + fraction * (goal_m - start_m)
            rest = self._rest(area, at)
            if rest is None:
                continue
            if rest[0] > self.ground_m + 1.5e-3:
                return (
                    None if last is None else self._settle(thing, mesh, area, last, self.ground_m)
                )
            last = at
        return None

    def lean(
        self, thing: Thing, mesh: Mesh, against: Placed, rng: np.random.Generator
    ) -> Placed | None:
        """Tilted towards another object and slid up to it, so that the two touch."""
        target = against.middle_m
        angle = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        turned = (
            rotation('z', angle)
            @ rotation('y', np.radians(rng.uniform(8, 35)))
            @ rotation('z', -angle)
        )
        tilted = centred(mesh.transformed(turned))
        return self.slide(thing, tilted, target - direction * 0.4, target)

    def touch(
        self, thing: Thing, mesh: Mesh, beside: Placed, rng: np.random.Generator
    ) -> Placed | None:
        """Pushed against the side of another object."""
        target = beside.middle_m
        angle = rng.uniform(0, 2 * np.pi)
        away = np.array([np.cos(angle), np.sin(angle)])
        return self.slide(thing, mesh, target + away * 0.4, target + rng.normal(0, 0.02, 2))

    def stack(
        self, thing: Thing, mesh: Mesh, upon: Placed, rng: np.random.Generator
    ) -> Placed | None:
        """On top of (or inside) another object, if it stays there."""
        offset = rng.normal(0, 0.15, 2) * upon.mesh.extent_m[:2]
        return self.drop(thing, mesh, upon.middle_m + offset)


def recoloured(thing: Thing, twin: Thing) -> Thing:
    """The thing with the look of its twin: same print, colour and material."""
    return replace(
        thing, texture=twin.texture, colour=twin.colour, material=twin.material, look=twin.look
    )
