"""A run's first batches: what the statistics of normalisations are taken from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from accelerate.utils import tqdm
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from focus_depth_ros.training.config import TrainConfig
from focus_depth_ros.training.draws import DrawOrder


def first_batches(
    examples: Dataset[dict[str, Any]], config: TrainConfig, count: int
) -> Iterator[dict[str, Tensor]]:
    """The first `count` of them, with a progress bar."""
    order = DrawOrder(config.train, config.seed, config.batch)
    loader = DataLoader(examples, batch_sampler=order, num_workers=config.workers)
    yield from tqdm(islice(loader, count), total=count, desc='statistics', unit='batch')
