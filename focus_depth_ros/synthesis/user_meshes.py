"""Meshes of the user's own things: OBJ, STL and GLB files, read once, checked and put to scale.

A file's class is the folder it lies in, or its own name at the top of the folder of meshes. What
cannot be used is left out with a line that names the file; a folder with nothing usable is an
error.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.collision import Solid
from focus_depth_ros.synthesis.materials import OBJECT_TEXTURE_PX, Texture
from focus_depth_ros.synthesis.meshes import Mesh, rotation

ENDINGS = ('.obj', '.stl', '.glb')
OTHER_ENDINGS = ('.ply', '.dae', '.fbx', '.gltf', '.off', '.3mf', '.step', '.stp', '.usd', '.usdz')
SMALLEST_M, LARGEST_M = 0.03, 0.40
MOST_TRIANGLES = 50_000
MOST_BYTES = 200_000_000
_USUAL_M = 0.15
_THINNEST_M = 0.001
_MOST_PIECES = 16
_log = logging.getLogger(__name__)


class MeshError(ValueError):
    """A mesh that cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class UserMesh:
    """One thing of the user's, standing on z = 0 about the origin, metres.

    texture: its own picture, or None where the file has no colours; then each use draws a colour.
    """

    class_name: str
    mesh: Mesh
    solids: tuple[Solid, ...]
    texture: Texture | None


def read_folder(folder: Path) -> tuple[UserMesh, ...]:
    """All usable meshes under a folder, in the order of their paths. Raises MeshError."""
    if not folder.is_dir():
        raise MeshError(f'{folder} is not a folder; give the folder that holds your meshes')
    paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in ENDINGS)
    if not paths:
        raise MeshError(f'{folder} holds no meshes ({", ".join(ENDINGS)})')
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() in OTHER_ENDINGS:
            _log.warning('left out: %s; %s are read', path, ', '.join(ENDINGS))
    found = []
    for path in paths:
        try:
            found.append(read_mesh(path, path.stem if path.parent == folder else path.parent.name))
        except MeshError as error:
            _log.warning('left out: %s', error)
    if not found:
        raise MeshError(f'{folder}: none of {len(paths)} meshes can be used; see the lines above')
    return tuple(found)


def read_mesh(path: Path, class_name: str) -> UserMesh:
    """One file as a thing. Raises MeshError; warns where units or the surface look wrong."""
    shape = _load(path)
    shape.merge_vertices()
    shape.update_faces(shape.nondegenerate_faces() & shape.unique_faces())
    shape.remove_unreferenced_vertices()
    if not len(shape.faces):
        raise MeshError(f'{path}: no triangle has an area')
    if path.suffix.lower() == '.glb':  # glTF says y is up
        shape.vertices = shape.vertices @ rotation('x', np.pi / 2).T
    shape.vertices = (shape.vertices - _foot(shape.vertices)) * _scale(path, shape.extents)
    whole = shape.copy()
    whole.merge_vertices(merge_tex=True, merge_norm=True)  # a seam of the texture is no hole
    closed = bool(whole.is_watertight)
    if not closed:
        _log.warning('%s: the surface has holes; both of its sides are drawn', path)
    elif whole.volume < 0:
        shape.invert()
    return UserMesh(
        class_name, _as_mesh(shape, both_sides=not closed), _solids(shape), _texture(shape)
    )


def _load(path: Path) -> Any:
    """The file as one triangle mesh whose numbers are finite."""
    import trimesh

    try:
        size = path.stat().st_size
    except OSError as error:
        raise MeshError(f'{path}: cannot be read ({error.strerror})') from error
    if size > MOST_BYTES:
        raise MeshError(
            f'{path}: {size / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB. '
            'Simplify the mesh, for example in Blender or MeshLab'
        )
    try:
        shape = trimesh.load(path, force='mesh', process=False)
    except Exception as error:  # trimesh's readers raise whatever the bytes lead them to
        raise MeshError(
            f'{path}: cannot be read ({type(error).__name__}: {error}); if it is damaged or cut '
            'short, export it again'
        ) from error
    if not isinstance(shape, trimesh.Trimesh) or not len(shape.faces):
        raise MeshError(f'{path}: holds no triangles')
    if len(shape.faces) > MOST_TRIANGLES:
        raise MeshError(
            f'{path}: {len(shape.faces)} triangles; at most {MOST_TRIANGLES}. '
            'Simplify the mesh, for example in Blender or MeshLab'
        )
    if not np.isfinite(shape.vertices).all():
        raise MeshError(f'{path}: vertices that are not numbers; export the mesh again')
    if shape.faces.min() < 0 or shape.faces.max() >= len(shape.vertices):
        raise MeshError(f'{path}: triangles of vertices that are not there; export the mesh again')
    return shape


def _foot(vertices: Any) -> Any:
    """The middle of the bounds at the lowest height."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return np.array([*(low + high)[:2] / 2, low[2]])


def _scale(path: Path, extents: Any) -> float:
    """Metres of one unit of the file, guessed from its size."""
    size = float(extents.max())
    if not 0 < size < np.inf:
        raise MeshError(f'{path}: the mesh is a point')
    if SMALLEST_M <= size <= LARGEST_M:
        return 1.0
    for unit, name in ((1e-3, 'millimetres'), (1e-2, 'centimetres')):
        if SMALLEST_M <= size * unit <= LARGEST_M:
            _log.warning('%s: %g units across, taken for %s', path, size, name)
            return unit
    _log.warning('%s: %g units across; scaled to %g m', path, size, _USUAL_M)
    return _USUAL_M / size


def _as_mesh(shape: Any, both_sides: bool) -> Mesh:
    """Vertices, normals and texture coordinates for the renderer."""
    vertices, normals = np.array(shape.vertices), np.array(shape.vertex_normals)
    uv = getattr(shape.visual, 'uv', None)
    if uv is None or len(uv) != len(vertices):
        uv = 0.02 + 0.2 * vertices[:, [0, 2]] / max(float(shape.extents.max()), 1e-9)
    else:
        uv = np.column_stack([uv[:, 0], 1 - uv[:, 1]])  # rows of a picture run downwards
    faces = np.array(shape.faces, np.int32)
    if both_sides:
        faces = np.concatenate([faces, faces[:, ::-1] + len(vertices)]).astype(np.int32)
        vertices, normals = np.tile(vertices, (2, 1)), np.concatenate([normals, -normals])
        uv = np.tile(uv, (2, 1))
    return Mesh(vertices, normals, np.asarray(uv, np.float64), faces)


def _solids(shape: Any) -> tuple[Solid, ...]:
    """A hull of each separate piece; things as flat as paper, or as a wire, get some thickness."""
    pieces = shape.split(only_watertight=False) if shape.body_count > 1 else [shape]
    solid = [piece for piece in pieces if _spreads(piece.vertices)[0].min() > _THINNEST_M]
    if not 0 < len(solid) <= _MOST_PIECES:
        solid = [shape]
    return tuple(Solid(points=_hull(_thickened(piece.vertices))) for piece in solid)


def _spreads(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far points (N, 3) spread along their own three axes, m, and those axes as rows."""
    axes = np.linalg.eigh(np.cov(points.T))[1].T
    return np.ptp(points @ axes.T, axis=0), axes


def _thickened(points: NDArray[np.float64]) -> NDArray[np.float64]:
    for spread, axis in zip(*_spreads(points), strict=True):
        if spread < _THINNEST_M:
            off = axis * _THINNEST_M / 2
            points = np.concatenate([points - off, points + off])
    return points


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import ConvexHull

    return np.asarray(points[ConvexHull(points).vertices], np.float64)


def _texture(shape: Any) -> Texture | None:
    """The file's picture, else its mean colour, else None."""
    material = getattr(shape.visual, 'material', None)
    picture = getattr(material, 'image', None) or getattr(material, 'baseColorTexture', None)
    size = (OBJECT_TEXTURE_PX, OBJECT_TEXTURE_PX)
    if picture is not None and getattr(shape.visual, 'uv', None) is not None:
        rgb = np.array(picture.convert('RGB'))
        return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    if not shape.visual.defined:
        return None
    coloured = shape.visual.to_color() if hasattr(shape.visual, 'to_color') else shape.visual
    colours = np.array(coloured.vertex_colors)
    mean = colours.reshape(-1, colours.shape[-1])[:, :3].mean(axis=0)
    return np.full((*size, 3), mean, np.uint8)
