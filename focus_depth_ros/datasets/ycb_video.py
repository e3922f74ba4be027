"""YCB-Video: the folder that holds `data` and `image_sets`.

    data/SSSS/NNNNNN-color.png, -depth.png (uint16), -label.png (uint8, class from 1), -meta.mat
    image_sets/classes.txt    one name a line, as 002_master_chef_can
    image_sets/keyframe.txt   the benchmark's frames, as 0048/000001; without it all are read

The meta file's `factor_depth` divides depth into metres, `intrinsic_matrix` is K.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame, nameless, unique_names
from focus_depth_ros.datasets.image_files import read_depth, read_plane, read_rgb
from focus_depth_ros.datasets.mat_files import read_mat


def frames(folder: Path) -> Iterator[LabelledFrame]:
    """The listed frames, or every one, in order. Raises DatasetError."""
    data, names = folder / 'data', _names(folder / 'image_sets' / 'classes.txt')
    listing = folder / 'image_sets' / 'keyframe.txt'
    if listing.is_file():
        keys = listing.read_text(encoding='utf-8').split()
    else:
        pictures = sorted(data.glob('*/*-color.png'))
        keys = [f'{path.parent.name}/{path.name.removesuffix("-color.png")}' for path in pictures]
    if not keys:
        raise DatasetError(f'{folder} holds no data/SEQUENCE/NUMBER-color.png')
    for key in keys:
        meta = read_mat(data / f'{key}-meta.mat', ('factor_depth', 'intrinsic_matrix'))
        if meta['factor_depth'].size != 1 or meta['intrinsic_matrix'].shape != (3, 3):
            raise DatasetError(f'{data / key}-meta.mat: no single depth factor and 3x3 matrix')
        factor = float(meta['factor_depth'].item())
        if not (math.isfinite(factor) and factor > 0):
            raise DatasetError(f'{data / key}-meta.mat: factor_depth is {factor:g}')
        ids = read_plane(data / f'{key}-label.png').astype(np.int32)
        yield LabelledFrame(
            name=f'ycb_video/{key}',
            group='ycb_video',
            rgb=read_rgb(data / f'{key}-color.png'),
            depth_m=read_depth(data / f'{key}-depth.png', 1 / factor),
            ids=ids,
            K=meta['intrinsic_matrix'].astype(np.float64),
            captions=nameless(ids) | unique_names(names, ids),
        )


def _names(path: Path) -> dict[int, str]:
    """Words for each class, from 1: 002_master_chef_can is "master chef can"."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding='utf-8').split()
    return {
        label: line.lstrip('0123456789_').replace('_', ' ') for label, line in enumerate(lines, 1)
    }
