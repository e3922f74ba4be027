"""`focus-depth average`: one network from several checkpoints of a run.

The mean of weights along a run lies flatter than the run's end and does better where pictures
differ from the training's (Izmailov et al., 2018; Wortsman et al., "Model soups", 2022). The
statistics of batch normalisation do not average: they are taken anew from training pictures.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import tqdm
from torch import Tensor
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader

from focus_depth_ros.training.config import TrainConfig, read_config
from focus_depth_ros.training.dataset import DrawOrder
from focus_depth_ros.training.families import family_named

STATISTICS_BATCHES = 40
"""About a thousand pictures: statistics settle well before."""
PREFIX = 'module.'
"""Of the averaged weights' names in a checkpoint."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth average`."""
    parser.add_argument('config', type=Path, help="the run's settings file")
    parser.add_argument(
        'checkpoints', type=Path, nargs='+', help='copies of its checkpoint.pt, taken on the way'
    )
    parser.add_argument('--output', type=Path, required=True, help='checkpoint to write')


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    config = read_config(arguments.config)
    states = [
        torch.load(path, weights_only=True, map_location='cpu') for path in arguments.checkpoints
    ]
    weights = with_statistics(mean_weights(states), config)
    partial = arguments.output.with_suffix('.part')
    torch.save({**states[-1], 'average': weights}, partial)
    os.replace(partial, arguments.output)
    print(f'{arguments.output}: the mean of {len(states)} checkpoints')
    return 0


def mean_weights(states: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Mean of the averaged weights of checkpoints, by name; whole numbers are the last one's.

    Raises ValueError for checkpoints of different networks.
    """
    averages = [state['average'] for state in states]
    shapes = [{name: value.shape for name, value in one.items()} for one in averages]
    if any(other != shapes[0] for other in shapes):
        raise ValueError('the checkpoints are of different networks; they have no mean')
    return {
        name: torch.stack([one[name] for one in averages]).mean(0)
        if last.is_floating_point()
        else last
        for name, last in averages[-1].items()
    }


def with_statistics(weights: dict[str, Tensor], config: TrainConfig) -> dict[str, Tensor]:
    """The weights with statistics of batch normalisation from the run's training pictures."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    family = family_named(config.family)
    network = family.build(config)
    names = {name[len(PREFIX) :]: name for name in weights if name.startswith(PREFIX)}
    network.load_state_dict({name: weights[long] for name, long in names.items()}, strict=False)
    loader = DataLoader(
        family.examples(config, augment=True),
        batch_sampler=DrawOrder(config.train, config.seed, config.batch),
        num_workers=config.workers,
    )
    batches = itertools.islice(loader, STATISTICS_BATCHES)
    update_bn(tqdm(batches, total=STATISTICS_BATCHES), family.objective(network, config))
    fresh = network.state_dict()
    return weights | {long: fresh[name].clone() for name, long in names.items() if name in fresh}
