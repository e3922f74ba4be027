"""Which frame comes when: draws from a folder of shards, in an order that can be replayed.

The order is a list of draws made in the trainer's process, so it can be replayed up to any step
after a kill; a draw names a frame and a seed and is turned into arrays in a loader process. The
folder is listed again at the start of every pass: training may begin while shards are still being
rendered.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from focus_depth_ros.synthesis.sample import Sample, check_end, decode_sample


@dataclass(frozen=True)
class Draw:
    """One example to be: frame `number` of a shard, and the seed of all that is random."""

    shard: str
    number: int
    seed: tuple[int, int]


@lru_cache(maxsize=1024)
def shard_index(path: str) -> tuple[dict[str, tuple[int, int]], ...]:
    """Where each frame's files lie in a tar: ending -> (offset, size), bytes.

    Frames in shard order.
    """
    frames: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(path, 'r:') as shard:
            for entry in shard:
                key, _, ending = entry.name.partition('.')
                frames.setdefault(key, {})[ending] = (entry.offset_data, entry.size)
            check_end(path, shard)
    except tarfile.TarError as error:
        raise ValueError(f'{path}: not a readable shard ({error}); delete it') from error
    return tuple(frames.values())


def read_frame(path: str, number: int) -> Sample:
    """Frame `number` of a shard, read by offset."""
    files = {}
    with open(path, 'rb') as stream:
        for ending, (offset, size) in shard_index(path)[number].items():
            stream.seek(offset)
            files[ending] = stream.read(size)
    return decode_sample(files, f'{path} frame {number}')


def drawn(draw: Draw) -> tuple[Sample, np.random.Generator]:
    """The frame of a draw, and the generator of all that is random about its example."""
    cv2.setNumThreads(0)  # loaders are processes side by side, whose threads would fight for cores
    return read_frame(draw.shard, draw.number), np.random.default_rng(draw.seed)


def list_shards(folder: Path) -> list[str]:
    """Names of the finished shards in a folder, sorted."""
    names = sorted(path.name for path in folder.glob('*.tar'))
    if not names:
        raise ValueError(f'{folder} holds no .tar shards; render some with `focus-depth render`')
    return names


@dataclass
class DrawOrder:
    """An endless, replayable order of batches of draws over a folder of shards.

    `passes` records the shard names each pass began with: the whole state, with the seed.
    Iterating anew replays the recorded passes before any folder is listed again; `first_batch`
    skips what was consumed before. `lister` names a folder's finished shards.
    """

    folder: Path
    seed: int
    batch: int
    passes: list[list[str]] = field(default_factory=list)
    first_batch: int = 0
    lister: Callable[[Path], list[str]] = list_shards

    def __iter__(self) -> Iterator[list[Draw]]:
        waiting: list[Draw] = []
        number = count = 0
        while True:
            if number == len(self.passes):
                self.passes.append(self.lister(self.folder))
            names = self.passes[number]
            frames = [
                (name, index)
                for name in names
                for index in range(len(shard_index(str(self.folder / name))))
            ]
            order = np.random.default_rng([self.seed, number]).permutation(len(frames))
            for place in order:
                name, index = frames[place]
                waiting.append(Draw(str(self.folder / name), index, (self.seed, count)))
                count += 1
                if len(waiting) == self.batch:
                    if count > self.first_batch * self.batch:
                        yield waiting
                    waiting = []
            number += 1


@dataclass
class RankShare:
    """The part of every batch that one process sees: ranks take equal shares in turn."""

    order: DrawOrder
    rank: int
    ranks: int

    def __post_init__(self) -> None:
        if self.order.batch % self.ranks:
            raise ValueError(
                f'batch {self.order.batch} cannot be shared by {self.ranks} processes; '
                f'take a multiple of {self.ranks}'
            )

    def __iter__(self) -> Iterator[list[Draw]]:
        size = self.order.batch // self.ranks
        for batch in self.order:
            yield batch[self.rank * size : (self.rank + 1) * size]


def spread_draws(folder: Path, count: int) -> list[Draw]:
    """At most `count` fixed draws spread evenly over a folder's frames, for validation."""
    draws = [
        Draw(str(folder / name), number, (0, number))
        for name in list_shards(folder)
        for number in range(len(shard_index(str(folder / name))))
    ]
    count = min(count, len(draws))
    return [draws[index * len(draws) // count] for index in range(count)]
