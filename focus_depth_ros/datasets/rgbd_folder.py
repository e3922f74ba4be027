"""A folder of RGB-D pictures with labels: the form for your own frames.

    frames.json               a list of {name, K, depth_unit_m, objects: {label: name}, group}
    NAME.rgb.jpg              the picture
    NAME.depth.png            uint16, depth_unit_m metres a count, 0 = no measurement
    NAME.labels.png           uint8 or uint16, 0 = background, k = object k
    NAME.sensor_depth.png     optional: what a depth camera saw, where NAME.depth.png knows better

`K` is row-major, pixels; `group` (optional) says what a frame is summed up with, else the first
part of its name does, and frames with a sensor's depth stand apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from focus_depth_ros.core import Camera, InvalidInput
from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame, unique_names
from focus_depth_ros.datasets.image_files import read_depth, read_plane, read_rgb
from focus_depth_ros.datasets.label_steps import label_steps

NAMELESS = 'object'
"""An object of this name is asked for by box alone."""


def frames(folder: Path) -> Iterator[LabelledFrame]:
    """Frames listed in a folder's frames.json, in order. Raises DatasetError."""
    listing = folder / 'frames.json'
    if not listing.is_file():
        raise DatasetError(f'{folder} has no frames.json; give a folder of RGB-D frames')
    try:
        rows = json.loads(listing.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f'{listing}: not JSON ({error})') from error
    if not isinstance(rows, list):
        raise DatasetError(f'{listing}: holds no list of frames')
    for row in rows:
        yield _frame(folder, row, listing)


def _frame(folder: Path, row: dict[str, Any], listing: Path) -> LabelledFrame:
    try:
        name, unit_m = str(row['name']), float(row['depth_unit_m'])
        if Path(name).name != name:
            raise ValueError(f'{name!r} is no name of a file in the folder')
        K = np.array(row['K'], np.float64).reshape(3, 3)
        names = {int(label): text for label, text in row['objects'].items()}
        if not (0 < unit_m < 1 and np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
            raise ValueError('depth_unit_m is above 0 and under 1, K finite, focal lengths above 0')
        if min(names, default=1) < 1:
            raise ValueError('labels of objects begin at 1; 0 is what belongs to none')
        if not all(isinstance(text, str) and text.strip() for text in names.values()):
            raise ValueError(f'an object without a name of its own is called {NAMELESS!r}')
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DatasetError(
            f'{listing}: a frame needs name, depth_unit_m, K (9 numbers) and objects; '
            f'{error!r} in {row}'
        ) from error
    ids = read_plane(folder / f'{name}.labels.png').astype(np.int32)
    depth_m = read_depth(folder / f'{name}.depth.png', unit_m)
    try:
        height, width = depth_m.shape
        Camera(width, height, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    except InvalidInput as error:
        raise DatasetError(f'{listing}: K of {name}: {error}') from error
    sensor = folder / f'{name}.sensor_depth.png'
    named = {label: name for label, name in names.items() if name != NAMELESS}
    first = name.split('_')[0]
    boundary = unknown = None
    if ids.shape == depth_m.shape:
        boundary, unknown = label_steps(ids, depth_m)
    return LabelledFrame(
        name=name,
        group=str(row.get('group') or (f'{first}+sensor' if sensor.is_file() else first)),
        rgb=read_rgb(folder / f'{name}.rgb.jpg'),
        depth_m=depth_m,
        ids=ids,
        K=K,
        captions={label: [] for label in names} | unique_names(named, ids),
        boundary=boundary,
        contact=unknown,
        sensor_depth_m=read_depth(sensor, unit_m) if sensor.is_file() else None,
    )
