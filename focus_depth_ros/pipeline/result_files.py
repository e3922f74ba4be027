"""The files of one picture's result: depth, masks, boundaries, overview, cloud and a report."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.pipeline.cloud import write_ply
from focus_depth_ros.pipeline.overview import overview, row_of
from focus_depth_ros.pipeline.result import FocusResult, TargetResult, composite, to_depth
from focus_depth_ros.pipeline.scale import RELATIVE

OWN_FILES = (
    r'\.(target\d+\.(inverse_depth\.npy|depth\.npy|mask\.png)'
    r'|boundary\.png|overview\.png|ply|targets\.json)'
)
"""What follows a picture's name in the names of its results."""


def write_result(folder: Path, name: str, result: FocusResult, problems: Mapping[str, str]) -> None:
    """Write every file of one picture's result, listed in docs/predict.md, in place of older ones.

    `problems` says, by id, why a target could not be looked at. The older ones stay until all of
    the new ones are on the disk, so that two results are never mixed.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix='.unfinished_') as scratch:
        _write_files(Path(scratch), name, result, problems)
        _remove_result(folder, name)
        for path in Path(scratch).iterdir():
            path.replace(folder / path.name)


def _write_files(folder: Path, name: str, result: FocusResult, problems: Mapping[str, str]) -> None:
    for index, answer in enumerate(result.targets):
        _write_target(folder, f'{name}.target{index}', answer)
    _write_picture(folder / f'{name}.boundary.png', result.boundary)
    title = printable(name)
    title = title if len(title) < 40 else title[:37] + '...'
    _write_picture(folder / f'{name}.overview.png', overview([row_of(title, result)])[..., ::-1])
    if result.has_points:
        write_ply(folder / f'{name}.ply', result.target_points())
    width, height = result.frame.size
    report = {
        'picture': name,
        'width': width,
        'height': height,
        'targets': [
            {**target_record(answer), 'problem': problems.get(answer.target.id)}
            for answer in result.targets
        ],
    }
    (folder / f'{name}.targets.json').write_text(json.dumps(report, indent=1), encoding='utf-8')


def _write_target(folder: Path, name: str, answer: TargetResult) -> None:
    """Write one target's inverse depth, its metres where there are any, and its mask."""
    inverse_depth = _inverse_depth(replace(answer, scale=RELATIVE))
    np.save(folder / f'{name}.inverse_depth.npy', inverse_depth)
    if answer.scale.is_metric:
        depth_m = to_depth(_inverse_depth(answer), answer.max_depth_m)
        np.save(folder / f'{name}.depth.npy', depth_m)
    _write_picture(folder / f'{name}.mask.png', answer.mask.view(np.uint8) * np.uint8(255))


def _inverse_depth(answer: TargetResult) -> NDArray[np.float32]:
    """What one target's answer says of the whole picture, (H, W)."""
    return composite(answer, (answer,) if answer.found else ())


def target_record(answer: TargetResult) -> dict[str, Any]:
    """One target's answer as plain JSON values; metres are null where there are none."""
    geometry = answer.geometry
    record: dict[str, Any] = {
        'id': answer.target.id,
        'label': answer.target.label,
        'prompt': answer.target.text or list(answer.target.box or ()),
        'found': answer.found,
        'confidence': round(answer.confidence, 4),
        'box': None if answer.box is None else [round(value, 1) for value in answer.box],
        'scale_source': answer.scale.source,
        'centroid_m': None,
        'extent_m': None,
        'depth_median_m': None,
    }
    if geometry is not None:
        record['centroid_m'] = [round(float(value), 4) for value in geometry.centroid_m]
        record['extent_m'] = [round(float(value), 4) for value in geometry.extent_m]
        record['depth_median_m'] = round(geometry.depth_median_m, 4)
    return record


def _remove_result(folder: Path, name: str) -> None:
    """Remove an earlier result, of which files could be left between those of the next one.

    Where there was none, files of such names are somebody else's; those not written again stay.
    """
    if not (folder / f'{name}.targets.json').exists():
        return
    own = re.compile(re.escape(name) + OWN_FILES)
    for path in folder.iterdir():
        if own.fullmatch(path.name):
            path.unlink()


def _write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    path.write_bytes(cv2.imencode('.png', picture)[1].tobytes())


def printable(path: Path | str) -> str:
    """A path as it can be printed and drawn: a file name need not be UTF-8."""
    return os.fsencode(path).decode(errors='replace')
