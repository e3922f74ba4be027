"""RLBench demonstrations: any folder above `front_rgb`, `front_depth` and `front_mask`.

`front_depth/N.png` codes a 24-bit number in R (high), G, B: the share of the way from the near to
the far clipping plane, along Z. `front_mask/N.png` codes an object handle as R + 256 G + 65536 B.

The planes and the camera matrix lie in `low_dim_obs.pkl`. A pickle runs whatever code it holds, so
it is not opened here: `camera.json` beside the pictures, or in any folder above them, gives

    {"near_m": 0.01, "far_m": 4.5, "K": [fx, 0, cx, 0, fy, cy, 0, 0, 1], "names": {"83": "red jar"}}

`K` and `names` may be left out. With `names` only those handles are targets; without, all are,
walls and robot too. docs/datasets.md says how to write the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame, nameless, unique_names
from focus_depth_ros.datasets.image_files import read_rgb
from focus_depth_ros.datasets.side_file import nearest_above

LARGEST_CODE = 2**24 - 1
CAMERA_FILE = 'camera.json'


@dataclass(frozen=True)
class FrontCamera:
    """Clipping planes in metres, camera matrix or None, and the handles that have names."""

    near_m: float
    far_m: float
    K: NDArray[np.float64] | None
    names: dict[int, str] | None


def frames(folder: Path) -> Iterator[LabelledFrame]:
    """Every front picture of every episode below, in order. Raises DatasetError."""
    episodes = sorted(path.parent for path in folder.rglob('front_rgb'))
    if not episodes:
        raise DatasetError(f'{folder}: no folder front_rgb in it or below')
    for episode in episodes:
        camera = read_camera(_camera_file(episode, folder))
        numbers = sorted(int(path.stem) for path in (episode / 'front_rgb').glob('*.png'))
        for number in numbers:
            yield _frame(episode, number, camera, str(episode.relative_to(folder)))


def _frame(episode: Path, number: int, camera: FrontCamera, name: str) -> LabelledFrame:
    red, green, blue = _channels(episode / 'front_depth' / f'{number}.png')
    code = (red << 16) + (green << 8) + blue
    depth_m = camera.near_m + code / LARGEST_CODE * (camera.far_m - camera.near_m)
    red, green, blue = _channels(episode / 'front_mask' / f'{number}.png')
    ids = (red + (green << 8) + (blue << 16)).astype(np.int32)
    ids[ids == LARGEST_CODE] = 0
    return LabelledFrame(
        name=f'rlbench/{name}/{number}',
        group='rlbench',
        rgb=read_rgb(episode / 'front_rgb' / f'{number}.png'),
        depth_m=np.where(code < LARGEST_CODE, depth_m, np.nan).astype(np.float32),
        ids=ids,
        K=camera.K,
        captions=nameless(ids) if camera.names is None else unique_names(camera.names, ids),
    )


def _channels(path: Path) -> NDArray[np.int64]:
    """Red, green and blue (3, H, W)."""
    return np.asarray(read_rgb(path).transpose(2, 0, 1), np.int64)


def _camera_file(episode: Path, top: Path) -> Path:
    """The nearest camera.json from the episode's folder up to the given one."""
    if path := nearest_above(episode, top, CAMERA_FILE):
        return path
    raise DatasetError(
        f'{episode}: depth is coded between the clipping planes, and these are only in a pickle, '
        f'which is not opened; write {CAMERA_FILE} with near_m and far_m there or above '
        '(docs/datasets.md says how)'
    )


def read_camera(path: Path) -> FrontCamera:
    """A camera.json. Raises DatasetError."""
    try:
        row: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        near_m, far_m = float(row['near_m']), float(row['far_m'])
        K = np.array(row['K'], np.float64).reshape(3, 3) if 'K' in row else None
        names = None
        if 'names' in row:
            names = {int(handle): str(name) for handle, name in row['names'].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(
            f'{path}: needs near_m and far_m, and may hold K (9 numbers) and names; {error!r}'
        ) from error
    if not 0 < near_m < far_m:
        raise DatasetError(f'{path}: near_m {near_m:g} and far_m {far_m:g} are no clipping planes')
    return FrontCamera(near_m, far_m, K, names)
