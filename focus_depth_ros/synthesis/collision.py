"""What physics feels of an object: a few convex solids that fill its mesh and leave hollows open.

Physics knows convex solids only. Round and compact things are one hull, long ones a row of hulls,
vessels a floor and a ring of staves, trays five boards. A vessel's inner wall and its handle are
told by the texture cells they carry.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.materials import ACCENT, INSIDE, LID
from focus_depth_ros.synthesis.meshes import Array, Cell, Mesh, rotation, surface_points

ROUND_VESSELS = {'mug', 'cup', 'glass', 'bowl', 'pot', 'pitcher'}
"""Classes with a floor and an inner wall all round that can hold things."""
_SLABS = {
    'bottle': 4,
    'banana': 4,
    'screwdriver': 6,
    'hammer': 8,
    'wrench': 5,
    'rod': 1,
    'cable': 12,
    'pot': 2,
    'drill': 4,
    'scissors': 5,
    'clamp': 4,
    'pliers': 5,
    'spoon': 4,
    'knife': 2,
    'toy': 4,
}
_STAVES, _BANDS = 12, 3
_LEAST_WALL_M = 0.004
_SPACING_M = 0.008


@dataclass(frozen=True)
class Solid:
    """The hull of points (N,3), or a cuboid.

    A cuboid has half sizes half_m (3,) along the columns of `axes` (3,3) about centre_m. All in
    the frame of the mesh, metres.
    """

    points: Array | None = None
    half_m: Array | None = None
    centre_m: Array | None = None
    axes: Array | None = None


def solids_of(class_name: str, mesh: Mesh) -> list[Solid]:
    """The solids of an object in its mesh's own frame; classes without a rule are one hull."""
    hollow = _in_cell(mesh, INSIDE)
    if class_name == 'box' and hollow.any():
        return tray_solids(mesh)
    if class_name in ROUND_VESSELS | {'plate'} and hollow.any() and not _has_lid(mesh):
        return _vessel(mesh, hollow)
    if class_name == 'ring':
        return _sectors(mesh.vertices)
    if class_name == 'basket':
        return _basket(mesh.vertices)
    return _slabs(mesh, _SLABS.get(class_name, 1))


def tray_solids(mesh: Mesh) -> list[Solid]:
    """Floor and walls of `shapes.tray`, wherever it stands upright and unturned."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    floor = mesh.vertices[_in_cell(mesh, INSIDE)]
    thick = float(np.ptp(floor[:, 2]))
    solids = [cuboid(low, np.array([high[0], high[1], low[2] + thick]))]
    for axis in (0, 1):
        for inner, outer in ((low, low + thick), (high - thick, high)):
            first, last = low.copy(), high.copy()
            first[axis], last[axis] = inner[axis], outer[axis]
            solids.append(cuboid(first, last))
    return solids


def cuboid(low_m: Array, high_m: Array) -> Solid:
    """An upright cuboid between two opposite corners."""
    return Solid(half_m=np.abs(high_m - low_m) / 2, centre_m=(low_m + high_m) / 2, axes=np.eye(3))


def _in_cell(mesh: Mesh, cell: Cell) -> NDArray[np.bool_]:
    left, top, right, bottom = cell
    u, v = mesh.uv.T
    return np.asarray(
        (u > left - 1e-6) & (u < right + 1e-6) & (v > top - 1e-6) & (v < bottom + 1e-6)
    )


def _has_lid(mesh: Mesh) -> bool:
    """Whether something closes the top: lid-coloured surface near the axis."""
    lid = mesh.vertices[_in_cell(mesh, LID)]
    return bool(len(lid)) and float(np.hypot(lid[:, 0], lid[:, 1]).min()) < 0.02


def _slabs(mesh: Mesh, count: int) -> list[Solid]:
    """Hulls of `count` slices across the longest axis; each reaches into the next by a little."""
    if count == 1:
        return [Solid(points=_distinct(mesh.vertices))]
    points = surface_points(mesh, _SPACING_M)
    axis = int(np.ptp(points, axis=0).argmax())
    edges = np.linspace(points[:, axis].min(), points[:, axis].max(), count + 1)
    found = []
    for low, high in itertools.pairwise(edges):
        slack = max(0.2 * (high - low), 0.6 * _SPACING_M)
        inside = (points[:, axis] > low - slack) & (points[:, axis] < high + slack)
        found.append(Solid(points=_distinct(points[inside])))
    return found


def _sectors(points: Array) -> list[Solid]:
    """Hulls of the sectors about the z axis."""
    angle = np.arctan2(points[:, 1], points[:, 0])
    wide = 2 * np.pi / _STAVES
    away = [np.abs((angle - k * wide + np.pi) % (2 * np.pi) - np.pi) for k in range(_STAVES)]
    return [Solid(points=_distinct(points[a < 0.75 * wide])) for a in away]


def _basket(points: Array) -> list[Solid]:
    """A floor and the sectors of a wall; points are those of a wire frame that stands upright."""
    foot = points[:, 2] < points[:, 2].min() + 0.01
    return [Solid(points=_distinct(points[foot])), *_sectors(points[~foot])]


def _vessel(mesh: Mesh, hollow: NDArray[np.bool_]) -> list[Solid]:
    """A solid floor, staves along the inner wall, and the handle."""
    handle = _in_cell(mesh, ACCENT)
    inner = _profile(mesh.vertices[hollow])
    outer = _profile(mesh.vertices[~hollow & ~handle])
    floor_m, rim_m = float(inner[0, 1]), float(inner[-1, 1])
    foot = mesh.vertices[~handle & (mesh.vertices[:, 2] <= floor_m + 1e-4)]
    solids = [Solid(points=_distinct(foot))]
    levels = np.linspace(floor_m, rim_m, _BANDS + 1)
    reach = np.interp(levels, inner[:, 1], inner[:, 0])
    thick = np.maximum(np.interp(levels, outer[:, 1], outer[:, 0]) - reach, _LEAST_WALL_M)
    for k in range(_BANDS):
        low = np.array([reach[k], 0, levels[k]])
        high = np.array([reach[k + 1], 0, levels[k + 1]])
        solids += _staves(low, high, float(thick[k : k + 2].mean()))
    if handle.any():
        solids += _handles(mesh.vertices[handle])
    return solids


def _profile(points: Array) -> Array:
    """(N,2) radius and height of a turned surface from its foot up; on a floor the outermost."""
    heights, inverse = np.unique(np.round(points[:, 2], 5), return_inverse=True)
    radii = np.zeros(len(heights))
    np.maximum.at(radii, inverse, np.hypot(points[:, 0], points[:, 1]))
    return np.column_stack([radii, heights])


def _staves(low_m: Array, high_m: Array, thick_m: float) -> list[Solid]:
    """A ring of boards whose inner faces run from one point to another in the plane y = 0."""
    up = (high_m - low_m) / np.linalg.norm(high_m - low_m)
    out = np.array([up[2], 0, -up[0]])
    along = np.array([0.0, 1, 0])
    wide = max(low_m[0], high_m[0]) * np.tan(np.pi / _STAVES)
    half = np.array([thick_m / 2, wide, float(np.linalg.norm(high_m - low_m)) / 2])
    centre = (low_m + high_m) / 2 + out * thick_m / 2
    found = []
    for turn in np.arange(_STAVES) * 2 * np.pi / _STAVES:
        about = rotation('z', turn)
        axes = about @ np.column_stack([out, along, up])
        found.append(Solid(half_m=half, centre_m=about @ centre, axes=axes))
    return found


def _handles(points: Array) -> list[Solid]:
    """Each side of the axis in three pieces from below to above, so that fingers fit through."""
    found = []
    for side in (points[points[:, 0] > 0], points[points[:, 0] < 0]):
        if len(side) < 8:
            continue
        edges = np.linspace(side[:, 2].min(), side[:, 2].max(), 4)
        for low, high in itertools.pairwise(edges):
            slack = 0.25 * (high - low)
            piece = side[(side[:, 2] > low - slack) & (side[:, 2] < high + slack)]
            if len(_distinct(piece)) >= 8:
                found.append(Solid(points=_distinct(piece)))
    return found


def _distinct(points: Array) -> Array:
    """Points that differ by more than a twentieth of a millimetre."""
    _, index = np.unique(np.round(points / 5e-5).astype(np.int64), axis=0, return_index=True)
    return points[np.sort(index)]
