"""Triangle meshes and the few ways objects are built: parameter grids, lathes, sweeps, boxes.

Every surface carries texture coordinates inside a `Cell` of its object's picture, so one object
needs one mesh and one texture. Surfaces face outward (counter-clockwise); hollow things have their
inner wall as a surface of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Cell = tuple[float, float, float, float]
"""Part of a texture: left, top, right, bottom in [0, 1]."""
WHOLE: Cell = (0.0, 0.0, 1.0, 1.0)
_SMALLEST_RADIUS_M = 1e-5


@dataclass(frozen=True)
class Mesh:
    """vertices (V,3) metres, normals (V,3) unit, uv (V,2), faces (F,3) indices into all three."""

    vertices: Array
    normals: Array
    uv: Array
    faces: NDArray[np.int32]

    def transformed(self, rotation: Array, translation_m: Array | None = None) -> Mesh:
        """Rotated by the (3,3) matrix, then moved."""
        moved = self.vertices @ rotation.T
        if translation_m is not None:
            moved = moved + translation_m
        return replace(self, vertices=moved, normals=self.normals @ rotation.T)

    def moved(self, x_m: float, y_m: float, z_m: float) -> Mesh:
        """Translated, metres."""
        return replace(self, vertices=self.vertices + np.array([x_m, y_m, z_m]))

    @property
    def lowest_m(self) -> float:
        """Smallest z."""
        return float(self.vertices[:, 2].min())

    @property
    def extent_m(self) -> Array:
        """(3,) size along the axes."""
        size: Array = np.ptp(self.vertices, axis=0)
        return size


def rotation(axis: str, angle_rad: float) -> Array:
    """(3,3) rotation about one axis."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return {
        'x': np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        'y': np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        'z': np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]),
    }[axis]


def merge(*meshes: Mesh) -> Mesh:
    """One mesh of many."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate(
            [mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]
        ).astype(np.int32),
    )


def grid_surface(points: Array, cell: Cell = WHOLE, closed: bool = False) -> Mesh:
    """A smooth surface through a grid (M,N,3); its normal is d/dcolumn x d/drow.

    closed: the last column repeats the first (normals agree across the seam).
    """
    rows, columns, _ = points.shape
    if closed:
        padded = np.concatenate([points[:, -2:-1], points, points[:, 1:2]], axis=1)
        along = padded[:, 2:] - padded[:, :-2]
    else:
        along = np.gradient(points, axis=1)
    normals = np.cross(along, np.gradient(points, axis=0))
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-12)
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing='ij')
    left, top, right, bottom = cell
    uv = np.stack([left + (right - left) * u, bottom + (top - bottom) * v], axis=2)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack(t, axis=2).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return Mesh(
        points.reshape(-1, 3), normals.reshape(-1, 3), uv.reshape(-1, 2), faces.astype(np.int32)
    )


def lathe(profile: Array, cell: Cell = WHOLE, segments: int = 24, squareness: float = 2.0) -> Mesh:
    """Turn a profile (P,2) of (radius, z) about z: going up it faces outward, going down inward.

    squareness: exponent of the superellipse section; 2 is round, 6 nearly square.
    """
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    angle[-1] = 0.0
    cosine, sine = np.cos(angle), np.sin(angle)
    reach = (np.abs(cosine) ** squareness + np.abs(sine) ** squareness) ** (-1 / squareness)
    radius = np.maximum(profile[:, :1], _SMALLEST_RADIUS_M)
    x, y = radius * (reach * cosine), radius * (reach * sine)
    z = np.broadcast_to(profile[:, 1:], x.shape)
    return grid_surface(np.stack([x, y, z], axis=2), cell, closed=True)


def sweep(
    path: Array, radii: Array, cell: Cell = WHOLE, sides: int = 10, flatness: float = 1.0
) -> Mesh:
    """A tube along a path (P,3) with radii (P,), closed at both ends.

    Flatness scales its section along one axis.
    """
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-12)
    side = np.cross(tangent[0], [0.0, 0.0, 1.0] if abs(tangent[0, 2]) < 0.9 else [1.0, 0.0, 0.0])
    frames = []
    for direction in tangent:  # parallel transport: the section does not twist
        side = side - direction * (side @ direction)
        side = side / np.linalg.norm(side)
        frames.append((side, np.cross(direction, side)))
    sides_a = np.array([frame[0] for frame in frames])[:, None]
    sides_b = np.array([frame[1] for frame in frames])[:, None] * flatness
    angle = np.linspace(0, 2 * np.pi, sides + 1)[None, :, None]
    ring = np.cos(angle) * sides_a + np.sin(angle) * sides_b
    ends = np.concatenate([[0], np.arange(len(path)), [len(path) - 1]])
    widths = np.concatenate([[_SMALLEST_RADIUS_M], radii, [_SMALLEST_RADIUS_M]])
    points = path[ends][:, None] + ring[ends] * widths[:, None, None]
    return grid_surface(points, cell, closed=True)


def sheet(
    corner: Array, along: Array, up: Array, cell: Cell = WHOLE, rows: int = 2, columns: int = 2
) -> Mesh:
    """A flat parallelogram, rows x columns vertices, that faces in the direction `along` x `up`."""
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing='ij')
    return grid_surface(corner + u[..., None] * along + v[..., None] * up, cell)


def box(size_m: Array, cells: tuple[Cell, ...] = (WHOLE,) * 6, divisions: int = 2) -> Mesh:
    """A cuboid standing on z = 0, centred in x and y.

    cells: front (-y), back, right (+x), left, top, bottom.
    """
    w, d, h = np.asarray(size_m, float)
    x, y, z = np.array([w, 0, 0]), np.array([0, d, 0]), np.array([0, 0, h])
    low = np.array([-w / 2, -d / 2, 0.0])
    corners = (
        (low, x, z), (low + x + y, -x, z), (low + x, y, z),
        (low + y, -y, z), (low + z, x, y), (low + y, x, -y),
    )  # fmt: skip
    n = divisions
    return merge(*(sheet(*corner, cell, n, n) for corner, cell in zip(corners, cells, strict=True)))


def surface_points(mesh: Mesh, spacing_m: float) -> Array:
    """(N,3) points on the surface no farther apart than about spacing_m.

    They form a regular pattern in each triangle.
    """
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    ab, bc, ca = (np.einsum('ij,ij->i', p, p) for p in (a - b, b - c, c - a))
    longest = np.sqrt(np.maximum(np.maximum(ab, bc), ca))
    steps = np.clip(np.ceil(longest / spacing_m).astype(int), 1, 400)
    found = [mesh.vertices]
    for n in np.unique(steps[steps > 1]):
        i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing='ij')
        keep = i + j <= n
        u, v = (i[keep] / n)[None, :, None], (j[keep] / n)[None, :, None]
        chosen = steps == n
        first = a[chosen][:, None]
        grid = first + u * (b[chosen][:, None] - first) + v * (c[chosen][:, None] - first)
        found.append(grid.reshape(-1, 3))
    return np.concatenate(found)
