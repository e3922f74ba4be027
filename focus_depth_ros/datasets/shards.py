"""Scenes rendered by this package: a folder of WebDataset shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame
from focus_depth_ros.synthesis.sample import (
    BOUNDARY_CONTACT,
    OCCLUSIONS,
    Sample,
    SceneObject,
    read_shard,
)


def frames(folder: Path) -> Iterator[LabelledFrame]:
    """Frames of every shard of a folder, in order. Raises DatasetError if there is none."""
    for name, sample in samples(folder):
        yield labelled(name, 'rendered', sample, sample.objects)


def samples(folder: Path) -> Iterator[tuple[str, Sample]]:
    """Name and sample of each frame; the name begins with the shard's, SPLIT-NNNNNN."""
    if not folder.is_dir():
        raise DatasetError(f'{folder} is no folder; give the one that its shards lie in')
    shards = sorted(folder.glob('*.tar'))
    if not shards:
        raise DatasetError(f'{folder} holds no .tar shards; render some with `focus-depth render`')
    for shard in shards:
        for number, sample in enumerate(read_shard(shard)):
            yield f'{shard.stem}/{number}', sample


def labelled(
    name: str, group: str, sample: Sample, targets: Sequence[SceneObject]
) -> LabelledFrame:
    """A sample in the common form, of which some objects are targets."""
    return LabelledFrame(
        name=name,
        group=group,
        rgb=sample.rgb,
        depth_m=sample.depth_m,
        ids=sample.ids.astype(np.int32),
        K=sample.K,
        captions={item.id: item.captions for item in targets},
        absent_captions=sample.absent_captions,
        relations={item.id: [r.caption for r in item.relation_captions] for item in targets},
        absent_relations=sample.absent_relation_captions,
        boundary=np.isin(sample.boundary, OCCLUSIONS),
        contact=sample.boundary == BOUNDARY_CONTACT,
        sensor_depth_m=sample.extras.sensor_depth_m if sample.extras else None,
    )
