"""Hypersim: a scene's folder (`ai_VVV_NNN`), or one that holds several.

    images/scene_cam_XX_final_preview/frame.IIII.tonemap.jpg
    images/scene_cam_XX_geometry_hdf5/frame.IIII.{depth_meters,semantic,semantic_instance}.hdf5

Each HDF5 file holds one array named `dataset`. depth_meters is the distance to the camera's centre
and becomes depth along Z; semantic are NYU40 classes, semantic_instance things, -1 = none. Many
scenes have a camera of their own, some with a tilted lens, which no K describes: they are read from
the data set's `metadata_camera_parameters.csv` in the folder. Without it all are taken for pinholes
of 60 degrees across, and depth is off by over 1 % somewhere in every third scene, on the mean by
over 1 % in one of fifteen (by that file, 2026-11-29). Occlusion boundaries, as of OB-Hypersim, are
found from depth and instances by this package's own rule. With `metadata_images_split_scene_v1.csv`
in the folder frames are grouped by the official split.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame, nameless, unique_names
from focus_depth_ros.datasets.hdf5_files import opened, part
from focus_depth_ros.datasets.image_files import read_rgb
from focus_depth_ros.synthesis.boundaries import find_boundaries
from focus_depth_ros.synthesis.sample import (
    BOUNDARY_CONTACT,
    OCCLUSIONS,
)

FIELD_OF_VIEW = np.deg2rad(60.0)
SPLIT_FILE = 'metadata_images_split_scene_v1.csv'
CAMERA_FILE = 'metadata_camera_parameters.csv'
TILT = 1e-4
"""Of a camera's largest entry: what a pinhole's zeros may be."""
_NAMES = (
    'wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk '
    'shelves curtain dresser pillow mirror floormat clothes ceiling books refrigerator television '
    'paper towel shower_curtain box whiteboard person nightstand toilet sink lamp bathtub bag '
    'otherstructure otherfurniture otherprop'
)
NYU40 = tuple(_NAMES.split())
"""Names of the classes 1 to 40."""


def frames(folder: Path) -> Iterator[LabelledFrame]:
    """Every picture of every camera of every scene below, in order. Raises DatasetError."""
    groups, cameras = _split(folder / SPLIT_FILE), _cameras(folder / CAMERA_FILE)
    depths = sorted(folder.rglob('scene_cam_*_geometry_hdf5/frame.*.depth_meters.hdf5'))
    if not depths:
        raise DatasetError(f'{folder}: no scene_cam_XX_geometry_hdf5/frame.*.depth_meters.hdf5')
    for depth_file in depths:
        yield _frame(depth_file, groups, cameras)


def _frame(
    depth_file: Path,
    groups: dict[tuple[str, str, int], str],
    cameras: dict[str, NDArray[np.float64]],
) -> LabelledFrame:
    geometry, images = depth_file.parent, depth_file.parent.parent
    frame = depth_file.name.removesuffix('.depth_meters.hdf5')
    camera = geometry.name.removesuffix('_geometry_hdf5')
    scene = images.parent.name
    distance_m = _array(depth_file).astype(np.float64)
    if distance_m.ndim != 2:
        raise DatasetError(f'{depth_file}: is {distance_m.shape}, not (H, W)')
    classes = np.maximum(_array(geometry / f'{frame}.semantic.hdf5'), 0).astype(np.uint16)
    instances = _array(geometry / f'{frame}.semantic_instance.hdf5')
    ids = np.where(instances > 0, instances, 0).astype(np.int32)
    if not distance_m.shape == classes.shape == ids.shape:
        raise DatasetError(f'{geometry}: the files of {frame} differ in size')
    height, width = distance_m.shape
    if cameras and scene not in cameras:
        raise DatasetError(f'{scene} is not in {CAMERA_FILE}')
    ray_of = cameras[scene] if cameras else usual_camera(width, height)
    depth_m = planar_depth(distance_m, ray_of)
    kinds = find_boundaries(depth_m, _surfaces(ids, classes), ids)
    key = (scene, camera.removeprefix('scene_'), int(frame.split('.')[1]))
    return LabelledFrame(
        name=f'hypersim/{scene}/{camera}/{frame}',
        group=groups.get(key, 'hypersim'),
        rgb=read_rgb(images / f'{camera}_final_preview' / f'{frame}.tonemap.jpg'),
        depth_m=depth_m,
        ids=ids,
        K=camera_matrix(ray_of, width, height),
        captions=nameless(ids) | unique_names(_names(ids, classes), ids),
        boundary=np.isin(kinds, OCCLUSIONS),
        contact=kinds == BOUNDARY_CONTACT,
    )


def usual_camera(width: int, height: int) -> NDArray[np.float64]:
    """A pinhole of 60 degrees across, as the data set writes cameras.

    (3, 3): from (u, v, 1), u and v in [-1, 1] from the left and the bottom edge of the picture, to
    a point on the pixel's ray, x to the right, y up, z backwards.
    """
    across = np.tan(FIELD_OF_VIEW / 2)
    return np.diag([across, across * height / width, -1.0])


def camera_matrix(
    ray_of: NDArray[np.float64], width: int, height: int
) -> NDArray[np.float64] | None:
    """K (3,3) px, pixel centres at integers, of such a camera; None for a tilted lens."""
    zeros = ray_of[[0, 1, 2, 2], [1, 0, 0, 1]]
    if np.abs(zeros).max() > TILT * np.abs(ray_of).max():
        return None
    (a, _, left), (_, b, up), (_, _, depth) = ray_of
    fx, fy = -depth / a * width / 2, -depth / b * height / 2
    centre = (1 - left / a) * width / 2 - 0.5, (1 + up / b) * height / 2 - 0.5
    return np.array([[fx, 0, centre[0]], [0, fy, centre[1]], [0, 0, 1]], np.float64)


def planar_depth(
    distance_m: NDArray[np.float64], ray_of: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Distance along each pixel's ray (H,W) -> depth along Z; what is not positive becomes NaN."""
    height, width = distance_m.shape
    u = (np.arange(width) + 0.5) / width * 2 - 1
    v = 1 - (np.arange(height) + 0.5) / height * 2
    grid = np.stack([*np.meshgrid(u, v), np.ones(distance_m.shape)], axis=2)
    rays = grid @ ray_of.T
    depth = distance_m * -rays[..., 2] / np.linalg.norm(rays, axis=2)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)


def _surfaces(ids: NDArray[np.int32], classes: NDArray[np.uint16]) -> NDArray[np.int32]:
    """What the boundary rule tells apart: things, and classes where there is none."""
    return np.where(ids > 0, ids + 1000, classes.astype(np.int32) + 1).astype(np.int32)


def _names(ids: NDArray[np.int32], classes: NDArray[np.uint16]) -> dict[int, str]:
    """The class name of each thing, by the class of its first pixel."""
    things, first = np.unique(ids, return_index=True)
    found = {}
    for thing, label in zip(things, classes.ravel()[first], strict=True):
        name = NYU40[label - 1] if 0 < label <= len(NYU40) else ''
        if thing > 0 and name and not name.startswith('other'):
            found[int(thing)] = name.replace('_', ' ')
    return found


def _array(path: Path) -> NDArray[Any]:
    with opened(path) as file:
        return np.asarray(part(file, 'dataset')[()])


def _split(path: Path) -> dict[tuple[str, str, int], str]:
    """The group of each (scene, camera, frame); empty without the file."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding='utf-8', newline='') as stream:
            return {
                (row['scene_name'], row['camera_name'], int(row['frame_id'])): (
                    f'hypersim {row["split_partition_name"]}'
                )
                for row in csv.DictReader(stream)
            }
    except (KeyError, ValueError) as error:
        raise DatasetError(f'{path}: not the official split ({error!r})') from error


def _cameras(path: Path) -> dict[str, NDArray[np.float64]]:
    """Each scene's camera, see `usual_camera`; empty without the file."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding='utf-8', newline='') as stream:
            cameras = {
                row['scene_name']: np.array(
                    [[float(row[f'M_cam_from_uv_{i}{j}']) for j in range(3)] for i in range(3)]
                )
                for row in csv.DictReader(stream)
            }
    except (KeyError, ValueError) as error:
        raise DatasetError(f'{path}: not the official cameras ({error!r})') from error
    for scene, camera in cameras.items():
        if not np.isfinite(camera).all() or np.linalg.det(camera) == 0:
            raise DatasetError(f'{path}: {scene} has a camera that sees nothing')
    return cameras
