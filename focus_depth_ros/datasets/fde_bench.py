"""Rendered scenes in FDE-Bench's form, with splits that share no combination asked for.

The shards of one split, of which only those objects are targets whose combination of colour and
class is this split's own: no other split has it, as no other has its scenes, meshes and textures.
A caption may be told in another split of another class: a yellow mug is a yellow cup too.
Things of a user's own classes are no targets: whose they are, only the user knows. Nor are things
that show no colour of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame
from focus_depth_ros.datasets.shards import labelled, samples
from focus_depth_ros.synthesis.splits import SPLITS, split_of
from focus_depth_ros.synthesis.vocabulary import CLASS_WORDS


def frames(folder: Path) -> Iterator[LabelledFrame]:
    """Frames that hold a target of their split's own, in order. Raises DatasetError."""
    for name, sample in samples(folder):
        split = name.split('-')[0]
        if split not in SPLITS:
            raise DatasetError(f'{folder}: {name} is of no split; shards are SPLIT-NNNNNN.tar')
        targets = [
            item
            for item in sample.objects
            if item.class_name in CLASS_WORDS
            and item.colour
            and split_of(item.class_name, item.colour) == split
        ]
        if targets:
            yield labelled(name, f'FDE-Bench {split}', sample, targets)
