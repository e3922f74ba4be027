"""`focus-depth average`: one network from several checkpoints of a run.

The mean of weights along a run lies flatter than the run's end and does better where pictures
differ from the training's (Izmailov et al., 2018; Wortsman et al., "Model soups", 2022). The
statistics of batch normalisation do not average: they are taken anew from training pictures, but
for those that no stage touches (`frozen`), which are the same in all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from focus_depth_ros.heap import keep_large_blocks_in_the_heap
from focus_depth_ros.networks.mssa import vary
from focus_depth_ros.training.checkpoint import (
    averaged,
    read_checkpoint,
    restore,
    write_whole,
)
from focus_depth_ros.training.config import TrainConfig, read_config
from focus_depth_ros.training.families import family_named
from focus_depth_ros.training.first_batches import first_batches
from focus_depth_ros.training.stages import freeze_all_but, train_mode

STATISTICS_BATCHES = 40
"""About a thousand pictures: statistics settle well before."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth average`."""
    parser.add_argument('config', type=Path, help="the run's settings file")
    parser.add_argument(
        'checkpoints', type=Path, nargs='+', help='copies of its checkpoint.pt, taken on the way'
    )
    parser.add_argument('--train', type=Path, help="the run's shards, where not the file's")
    parser.add_argument('--output', type=Path, required=True, help='checkpoint to write')


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    keep_large_blocks_in_the_heap(one_arena=True)
    config = read_config(arguments.config)
    config = replace(config, train=arguments.train or config.train)
    if any(stage.trained != ('*',) for stage in config.stages):
        raise ValueError(
            f'{arguments.config}: its run freezes parts, whose statistics would be taken anew too'
        )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    states = [read_checkpoint(path) for path in arguments.checkpoints]
    weights = with_statistics(mean_weights([averaged(one) for one in states]), config)
    state = states[-1]
    state['average'] |= {f'module.{name}': value for name, value in weights.items()}
    write_whole(arguments.output, state)
    print(f'{arguments.output}: the mean of {len(states)} checkpoints')
    return 0


def mean_weights(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of several networks' weights, by name; whole numbers are the last one's.

    Raises ValueError for different networks.
    """
    shapes = [{name: value.shape for name, value in one.items()} for one in parts]
    if any(other != shapes[0] for other in shapes):
        raise ValueError('the checkpoints are of different networks; they have no mean')
    return {
        name: torch.stack([one[name] for one in parts]).mean(0)
        if last.is_floating_point()
        else last
        for name, last in parts[-1].items()
    }


def with_statistics(weights: dict[str, Tensor], config: TrainConfig) -> dict[str, Tensor]:
    """The weights with statistics of batch normalisation from the run's training pictures.

    In float32, whatever the run computes in: a CPU may only emulate bfloat16, seven times slower.
    """
    config = replace(config, bfloat16=False)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    family = family_named(config.family)
    network = family.build(config)
    vary(network, config.fusion)
    restore(network, weights, family.trainable())
    freeze_all_but(network, ('*',), config.frozen)
    train_mode(network)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.training:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
    objective = family.objective(network, config)
    with torch.no_grad():
        examples = family.examples(config, augment=True)
        for batch in first_batches(examples, config, STATISTICS_BATCHES):
            objective(batch)
    fresh = network.state_dict()
    return {name: fresh[name].clone() for name in weights}
