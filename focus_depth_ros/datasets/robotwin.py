"""RoboTwin 2.0 episodes: an `episodeN.hdf5`, or any folder above some.

Of `observation/head_camera`: `rgb` (T,) JPEG bytes, `depth` (T,H,W) millimetres along Z, 0 =
nothing, `intrinsic_cv` (T,3,3) px, and `actor_segmentation` (T,H,W,3), a colour for each actor.
The pictures were given to OpenCV's encoder as RGB, so its decoder returns RGB.

Segmentation is collected only with `data_type: {actor_segmentation: true}`. Which colour is which
actor is not stored: `names.json` beside the episode or above may say it,
{"#00ffff": "hammer", ...}; then only those are targets. Else every actor is, robot links too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import InvalidInput
from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame, nameless, unique_names
from focus_depth_ros.datasets.hdf5_files import opened, part
from focus_depth_ros.datasets.side_file import nearest_above
from focus_depth_ros.encoded_picture import decoded

NAMES_FILE = 'names.json'
LARGEST_SHARE = 0.5
"""An actor that fills more of the picture is a wall or the table."""


def frames(path: Path) -> Iterator[LabelledFrame]:
    """Every head camera picture of every episode, in order. Raises DatasetError."""
    episodes = [path] if path.is_file() else sorted(path.rglob('episode*.hdf5'))
    if not episodes:
        raise DatasetError(f'{path}: no episode*.hdf5 in it or below')
    top = path.parent if path.is_file() else path
    for episode in episodes:
        names = _names(episode, top)
        with opened(episode) as file:
            camera = part(part(file, 'observation'), 'head_camera')
            pictures, depths = part(camera, 'rgb'), part(camera, 'depth')
            actors, matrices = part(camera, 'actor_segmentation'), part(camera, 'intrinsic_cv')
            if not len(pictures) == len(depths) == len(actors):
                raise DatasetError(f'{episode}: pictures, depth and segmentation differ in number')
            for number in range(len(pictures)):
                K = matrices[number] if matrices.ndim == 3 else matrices[()]
                yield _frame(
                    f'robotwin/{episode.parent.name}/{episode.stem}/{number}',
                    _decoded(pictures[number], f'{episode}: picture {number}'),
                    np.asarray(depths[number]),
                    np.asarray(actors[number]),
                    np.asarray(K, np.float64),
                    names,
                )


def _frame(
    name: str,
    rgb: NDArray[np.uint8],
    depth_mm: NDArray[Any],
    colours: NDArray[np.uint8],
    K: NDArray[np.float64],
    names: dict[int, str] | None,
) -> LabelledFrame:
    if colours.ndim != 3 or colours.shape[2] != 3:
        raise DatasetError(f'{name}: the segmentation is {colours.shape}, not (H, W, 3)')
    weights = np.array([1 << 16, 1 << 8, 1], np.int32)
    ids = (colours.astype(np.int32) * weights).sum(2, dtype=np.int32)
    values, counts = np.unique(ids, return_counts=True)
    ids[np.isin(ids, values[counts > LARGEST_SHARE * ids.size])] = 0
    depth_m = np.where(depth_mm > 0, depth_mm / 1000.0, np.nan).astype(np.float32)
    return LabelledFrame(
        name=name,
        group='robotwin',
        rgb=rgb,
        depth_m=depth_m,
        ids=ids,
        K=K,
        captions=nameless(ids) if names is None else unique_names(names, ids),
    )


def _decoded(data: bytes, where: str) -> NDArray[np.uint8]:
    """A stored picture, uint8 RGB (H,W,3)."""
    try:
        return np.asarray(decoded(bytes(data), cv2.IMREAD_COLOR), np.uint8)
    except InvalidInput as problem:
        raise DatasetError(f'{where} is not a readable JPEG: {problem}') from problem


def _names(episode: Path, top: Path) -> dict[int, str] | None:
    """Actors' names by colour (0xRRGGBB), from the nearest names.json; None without one."""
    path = nearest_above(episode.parent, top, NAMES_FILE)
    if path is None:
        return None
    try:
        rows = json.loads(path.read_text(encoding='utf-8'))
        return {int(colour.lstrip('#'), 16): str(name) for colour, name in rows.items()}
    except (ValueError, AttributeError) as error:
        raise DatasetError(f'{path}: should be {{"#rrggbb": name}} ({error})') from error
