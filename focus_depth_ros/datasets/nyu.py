"""NYU Depth V2, the labelled set: `nyu_depth_v2_labeled.mat`, or the folder it lies in.

MATLAB 7.3 is HDF5 with the axes reversed: `images` uint8 (N,3,640,480), `depths` float32 metres
(N,640,480), `labels` uint16 and `instances` uint8 (N,640,480), `names` references to UTF-16 codes.
A thing is a (label, instance) pair; 0 = unlabelled. The picture keeps a white border from its
undistortion, which the usual crop (Eigen et al. 2014) leaves out. With `splits.mat` beside it
(`trainNdxs`, `testNdxs`, from 1) frames are grouped by the official split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame, nameless, unique_names
from focus_depth_ros.datasets.hdf5_files import opened, part
from focus_depth_ros.datasets.mat_files import read_mat

WIDTH, HEIGHT = 640, 480
TOP, BOTTOM, LEFT, RIGHT = 45, 471, 41, 601
FX, FY, CX, CY = 518.857901, 519.469611, 325.582449, 253.736166
"""The colour camera's calibration, px of the whole picture (the toolbox' camera_params.m)."""


def frames(path: Path) -> Iterator[LabelledFrame]:
    """Every labelled picture, in the file's order. Raises DatasetError."""
    file_path = path / 'nyu_depth_v2_labeled.mat' if path.is_dir() else path
    groups = _split(file_path.with_name('splits.mat'))
    with opened(file_path) as file:
        images, depths = part(file, 'images'), part(file, 'depths')
        labels, instances = part(file, 'labels'), part(file, 'instances')
        count = len(images)
        for data, shape in (
            (images, (count, 3, WIDTH, HEIGHT)),
            (depths, (count, WIDTH, HEIGHT)),
            (labels, (count, WIDTH, HEIGHT)),
            (instances, (count, WIDTH, HEIGHT)),
        ):
            if data.shape != shape:
                raise DatasetError(f'{file_path}: {data.name} is {data.shape}, not {shape}')
        names = _names(file)
        for number in range(count):
            classes = _cropped(labels[number]).astype(np.uint16)
            ids = _things(classes, _cropped(instances[number]))
            depth_m = _cropped(depths[number]).astype(np.float32)
            by_id = {int(k): names[k >> 8] for k in np.unique(ids) if names.get(k >> 8)}
            yield LabelledFrame(
                name=f'nyu/{number + 1:04d}',
                group=groups.get(number + 1, 'nyu'),
                rgb=np.ascontiguousarray(_cropped(images[number]), np.uint8),
                depth_m=np.where(depth_m > 0, depth_m, np.nan).astype(np.float32),
                ids=ids,
                K=np.array([[FX, 0, CX - LEFT], [0, FY, CY - TOP], [0, 0, 1]], np.float64),
                captions=nameless(ids) | unique_names(by_id, ids),
            )


def _cropped(stored: NDArray[Any]) -> NDArray[Any]:
    """One picture (..., 640, 480) as stored -> rows first, channels last, without the border."""
    return np.asarray(stored.T[TOP:BOTTOM, LEFT:RIGHT])


def _things(classes: NDArray[np.uint16], instances: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Label x 256 + instance where both are known, else 0."""
    known = (classes > 0) & (instances > 0)
    return np.where(known, classes.astype(np.int32) * 256 + instances, 0).astype(np.int32)


def _names(file: Any) -> dict[int, str]:
    """Class names by label, from 1."""
    references = np.ravel(part(file, 'names')[()])
    return {
        label: ''.join(chr(int(code)) for code in np.ravel(file[reference][()]))
        for label, reference in enumerate(references, 1)
    }


def _split(path: Path) -> dict[int, str]:
    """The group of each picture (numbered from 1); empty without the file."""
    if not path.is_file():
        return {}
    found = read_mat(path, ('trainNdxs', 'testNdxs'))
    return {
        int(number): group
        for key, group in (('trainNdxs', 'nyu train'), ('testNdxs', 'nyu test'))
        for number in np.ravel(found[key])
    }
