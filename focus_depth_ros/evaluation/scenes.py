"""Labelled frames to score on: rendered shards and folders of real frames, in one form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.sample import (
    BOUNDARY_CONTACT,
    BOUNDARY_OCCLUSION,
    BOUNDARY_SELF,
    read_shard,
)

REAL_STEP_M = 0.015
"""A label change with at least this depth step is an occlusion boundary of a real frame."""


@dataclass(frozen=True)
class LabelledFrame:
    """One frame with its truth.

    rgb uint8 (H,W,3); depth_m float32 (H,W), NaN = unknown; ids uint8 (H,W), 0 = background;
    boundary and contact bool (H,W); K (3,3) px; captions by object id; absent_captions fit
    nothing in view; group: what the frame is summed up with.
    """

    name: str
    group: str
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    ids: NDArray[np.uint8]
    boundary: NDArray[np.bool_]
    contact: NDArray[np.bool_]
    K: NDArray[np.float64]
    captions: dict[int, list[str]]
    absent_captions: list[str] = field(default_factory=list)


def rendered_frames(folder: Path) -> Iterator[LabelledFrame]:
    """Frames of every shard of a folder, in order. Raises ValueError if there is none."""
    shards = sorted(folder.glob('*.tar'))
    if not shards:
        raise ValueError(f'{folder} holds no .tar shards; render some with `focus-depth render`')
    for shard in shards:
        for number, sample in enumerate(read_shard(shard)):
            yield LabelledFrame(
                name=f'{shard.stem}/{number}',
                group='rendered',
                rgb=sample.rgb,
                depth_m=sample.depth_m,
                ids=sample.ids,
                boundary=np.isin(sample.boundary, (BOUNDARY_OCCLUSION, BOUNDARY_SELF)),
                contact=sample.boundary == BOUNDARY_CONTACT,
                K=sample.K,
                captions={item.id: item.captions for item in sample.objects},
                absent_captions=sample.absent_captions,
            )


def real_frames(folder: Path) -> Iterator[LabelledFrame]:
    """Frames listed in a folder's frames.json: NAME.rgb.jpg, NAME.depth.png, NAME.labels.png.

    Groups are the names' first part. Raises ValueError naming the file that is missing or
    malformed.
    """
    listing = folder / 'frames.json'
    if not listing.is_file():
        raise ValueError(f'{folder} has no frames.json; give a folder of real frames')
    for row in json.loads(listing.read_text(encoding='utf-8')):
        name = str(row['name'])
        counts = _read(folder / f'{name}.depth.png', cv2.IMREAD_UNCHANGED)
        labels = _read(folder / f'{name}.labels.png', cv2.IMREAD_UNCHANGED).astype(np.uint8)
        rgb = _read(folder / f'{name}.rgb.jpg', cv2.IMREAD_COLOR)[:, :, ::-1].astype(np.uint8)
        depth_m = np.where(counts > 0, counts * float(row['depth_unit_m']), np.nan)
        depth_m = depth_m.astype(np.float32)
        yield LabelledFrame(
            name=name,
            group=name.split('_')[0],
            rgb=np.ascontiguousarray(rgb),
            depth_m=depth_m,
            ids=labels,
            boundary=label_steps(labels, depth_m),
            contact=np.zeros(labels.shape, np.bool_),
            K=np.array(row['K'], np.float64).reshape(3, 3),
            captions={int(label): [] for label in row['objects']},
        )


def label_steps(ids: NDArray[np.uint8], depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels, bool (H, W), on the nearer side of a label change with a step over REAL_STEP_M."""
    steps = np.zeros(ids.shape, np.bool_)
    for axis in (0, 1):
        first = [slice(None), slice(None)]
        second = [slice(None), slice(None)]
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(first), tuple(second)
        differ = ids[a] != ids[b]
        steps[a] |= differ & (depth_m[b] - depth_m[a] > REAL_STEP_M)
        steps[b] |= differ & (depth_m[a] - depth_m[b] > REAL_STEP_M)
    return steps


def _read(path: Path, flag: int) -> NDArray[Any]:
    image = cv2.imread(str(path), flag)
    if image is None:
        raise ValueError(f'{path} is missing or not a readable image')
    return np.asarray(image)
