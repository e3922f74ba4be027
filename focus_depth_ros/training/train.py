"""`focus-depth train CONFIG`: the whole training loop, top to bottom.

One file of settings, one folder of results. Killed at any moment and started again, it goes on
from the last checkpoint with the same data in the same order. `accelerate launch -m
focus_depth_ros train CONFIG` runs the same loop on several GPUs or machines: `batch` is then the
batch of all together.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast_object_list, send_to_device, tqdm
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from focus_depth_ros.heap import keep_large_blocks_in_the_heap
from focus_depth_ros.networks.mssa import vary
from focus_depth_ros.training.checkpoint import load_initial, restore, save_checkpoint, saved_state
from focus_depth_ros.training.config import Stage, TrainConfig, read_config
from focus_depth_ros.training.draws import DrawOrder, RankShare, list_shards
from focus_depth_ros.training.families import Batch, Family, family_named
from focus_depth_ros.training.moving_average import moving_average
from focus_depth_ros.training.precision import multiplies_bfloat16
from focus_depth_ros.training.stages import (
    freeze_all_but,
    learning_rate_share,
    make_optimizers,
    stage_bounds,
    train_mode,
)
from focus_depth_ros.training.validation import validate

LOG_EVERY = 20
OVERRIDES = ('steps', 'seed', 'threads', 'train', 'validation', 'output', 'initial')
LEAST = {
    'steps': 1,
    'seed': 0,
    'threads': 1,
    'batch': 1,
    'prompts': 1,
    'workers': 0,
    'checkpoint_every': 1,
    'validate_every': 1,
    'validation_frames': 1,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth train`; the options override the settings file."""
    parser.add_argument(
        'config',
        type=Path,
        help='settings file, e.g. focus_depth_ros/training/configs/compact.yaml',
    )
    parser.add_argument('--steps', type=int, help='steps of all stages together')
    parser.add_argument('--seed', type=int, help='of all chance: another one sees other examples')
    parser.add_argument('--threads', type=int, help='CPU threads of the network')
    parser.add_argument('--train', type=Path, help='folder of training shards')
    parser.add_argument('--validation', type=Path, help='folder of validation shards')
    parser.add_argument('--output', type=Path, help='folder of the results')
    parser.add_argument(
        '--from',
        dest='initial',
        type=Path,
        help='what to start from: a checkpoint (its averaged weights), an exported model folder, '
        'or published weights of EfficientNet-Lite1',
    )


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    keep_large_blocks_in_the_heap(one_arena=True)
    given = {name: getattr(arguments, name) for name in OVERRIDES}
    overrides = {name: value for name, value in given.items() if value is not None}
    config = replace(read_config(arguments.config), **overrides)
    for name, least in LEAST.items():
        if getattr(config, name) < least:
            raise ValueError(f'{name} is {getattr(config, name)}; it must be {least} or more')
    train(config)
    return 0


@dataclass
class RunState:
    """What lasts from the first step to the last; a checkpoint holds what changes of it."""

    config: TrainConfig
    accelerator: Accelerator
    family: Family
    network: nn.Module
    average: AveragedModel
    order: DrawOrder
    done: int = 0
    """Steps done."""

    @property
    def checkpoint(self) -> Path:
        """The file a killed run goes on from."""
        return checkpoint_of(self.config)

    def checkpoints_due(self) -> list[Path]:
        """Files to write after this step: what is kept comes before what a run goes on from."""
        kept = self.config.output / f'step{self.done}.pt'
        is_kept = self.done in self.config.keep and self.accelerator.is_main_process
        last = [self.checkpoint] if self.due(self.config.checkpoint_every) else []
        return [kept, *last] if is_kept else last

    def due(self, every: int) -> bool:
        """Whether what the first process does after so many steps and after the last is due."""
        at_last = self.done == self.config.steps
        return self.accelerator.is_main_process and (self.done % every == 0 or at_last)


def train(config: TrainConfig) -> None:
    """Train, or go on training, until `config.steps`; leaves checkpoint.pt in `config.output`."""
    state = begin(config)
    config = state.config
    stage_then, optimizers_then = resume(state)
    batches = load_batches(state)
    bar = tqdm(total=config.steps, initial=state.done, unit='step', dynamic_ncols=True)
    bounds = stage_bounds(config.stages, config.steps)
    for number, (stage, (first, end)) in enumerate(zip(config.stages, bounds, strict=True)):
        if state.done >= end:
            continue
        freeze_all_but(state.network, stage.trained, config.frozen)
        optimizers = make_optimizers(state.network, stage, config.weight_decay, config.trunk_rate)
        if state.done > first and stage_then == number:  # killed within this stage
            for optimizer, then in zip(optimizers, optimizers_then, strict=True):
                optimizer.load_state_dict(then)
        objective = stage_objective(state, stage)
        recent: list[dict[str, Tensor]] = []
        while state.done < end:
            share = learning_rate_share(state.done - first, end - first, stage)
            recent.append(one_step(state, objective, optimizers, batches, share))
            state.done += 1
            bar.update()
            if state.done % LOG_EVERY == 0:
                means = log_means(state, recent, share)
                bar.set_postfix({name: f'{value:.3f}' for name, value in means.items()})
                recent = []
            for path in state.checkpoints_due():
                save_checkpoint(
                    path, state.network, state.average, (number, optimizers), state.done,
                    state.order.passes, config, state.family.trainable(),
                )  # fmt: skip
            if state.due(config.validate_every):
                scores = validate(state.family, state.average.module, config, state.done)
                named = {f'validation {name}': value for name, value in scores.items()}
                state.accelerator.log(named, step=state.done)
                bar.write(f'{state.done}: ' + ' '.join(f'{n} {v:.3f}' for n, v in scores.items()))
    if state.accelerator.is_main_process:
        state.family.leave(state.average.module, config)
    state.accelerator.end_training()


def checkpoint_of(config: TrainConfig) -> Path:
    """Where a run leaves its checkpoint, and goes on from it."""
    return config.output / 'checkpoint.pt'


def begin(config: TrainConfig) -> RunState:
    """A run before its first step, or before `resume`, which needs no initial weights.

    Raises ValueError for folders without shards, and for weights that do not fit.
    """
    for folder in (config.train, config.validation):
        list_shards(folder)
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(
        log_with='tensorboard', project_dir=config.output, kwargs_handlers=[unused]
    )
    accelerator.init_trackers('tensorboard')
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    if config.bfloat16 and not multiplies_bfloat16(accelerator.device):
        accelerator.print('this CPU only emulates bfloat16: training in float32')
        config = replace(config, bfloat16=False)
    family = family_named(config.family)
    network = family.build(config)
    vary(network, config.fusion)
    if not checkpoint_of(config).exists():  # else `resume` brings all weights
        accelerator.print(start(network, family, config))
    network.to(accelerator.device)
    average = moving_average(network, config.ema)
    order = DrawOrder(config.train, config.seed, config.batch, lister=_same_everywhere)
    return RunState(config, accelerator, family, network, average, order)


def start(network: nn.Module, family: Family, config: TrainConfig) -> str:
    """Put in the weights that a run starts from; returns what they are.

    Raises ValueError for other weights, and where what is frozen would stay random.
    """
    if config.initial is None and config.frozen:
        raise ValueError(
            f'{config.frozen[0]} and what else is `frozen` would stay random: name weights to '
            'start from (`initial`, or --from), or set `frozen: []` and `trunk_rate: 1.0`'
        )
    if config.initial is None:
        return 'initial: none'
    weights = family.initial(config.initial, config)
    afresh = load_initial(network, weights, family.trainable())
    parts = sorted({name.rpartition('.')[0] for name in afresh})
    return f'from {config.initial}; afresh: {", ".join(parts) or "nothing"}'


def resume(state: RunState) -> tuple[int, list[dict[str, Any]]]:
    """Go on from the checkpoint, if there is one; returns its stage and its optimisers' states."""
    if not state.checkpoint.exists():
        return 0, []
    saved = saved_state(state.checkpoint)
    kept = state.family.trainable()
    restore(state.network, saved['network'], kept)
    restore(state.average, saved['average'], tuple(f'module.{name}' for name in kept))
    state.done = state.order.first_batch = int(saved['step'])
    state.order.passes = [list(names) for names in saved['passes']]
    state.accelerator.print(f'going on from step {state.done} of {state.checkpoint}')
    if state.done >= state.config.steps:
        state.accelerator.print(
            f'that is all of {state.config.steps} steps: raise --steps, or name another --output'
        )
    return int(saved['stage']), list(saved['optimizers'])


def load_batches(state: RunState) -> Iterator[Batch]:
    """The part of every batch still to come that falls to this process."""
    ranks = state.accelerator
    loader = DataLoader(
        state.family.examples(state.config, augment=True),
        batch_sampler=RankShare(state.order, ranks.process_index, ranks.num_processes),
        num_workers=state.config.workers,
        prefetch_factor=3 if state.config.workers else None,
    )
    return iter(loader)


def stage_objective(state: RunState, stage: Stage) -> nn.Module:
    """Batch -> the stage's loss terms, on every process."""
    accelerator, config = state.accelerator, state.config
    terms = stage.terms or config.terms
    objective = state.family.objective(state.network, replace(config, terms=terms))
    if accelerator.num_processes > 1 and accelerator.device.type == 'cuda':
        objective = nn.SyncBatchNorm.convert_sync_batchnorm(objective)
    prepared: nn.Module = accelerator.prepare(objective)
    return prepared


def one_step(
    state: RunState,
    objective: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    batches: Iterator[Batch],
    share: float,
) -> dict[str, Tensor]:
    """Learn from the next batch at this share of the peak rates; returns the loss and its terms."""
    accelerator = state.accelerator
    # Chance within a step depends on nothing before it: a resumed run repeats it.
    torch.manual_seed(hash((state.config.seed, state.done, accelerator.process_index)))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group['lr'] = group['peak'] * share
        optimizer.zero_grad(set_to_none=True)
    train_mode(objective)
    terms = objective(send_to_device(next(batches), accelerator.device))
    loss = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(loss):
        raise ValueError(f'step {state.done}: the loss is {loss.item()}; lower the learning rate')
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(state.network.parameters(), state.config.clip)
    for optimizer in optimizers:
        optimizer.step()
    state.average.update_parameters(state.network)
    return {'total': loss.detach(), **{name: term.detach() for name, term in terms.items()}}


def log_means(state: RunState, recent: list[dict[str, Tensor]], share: float) -> dict[str, float]:
    """Mean loss and terms of recent steps over all processes, into TensorBoard and returned."""
    means = {
        name: state.accelerator.reduce(torch.stack([step[name] for step in recent]).mean(), 'mean')
        for name in recent[0]
    }
    scalars = {name: value.item() for name, value in means.items()}
    state.accelerator.log({**scalars, 'learning rate share': share}, step=state.done)
    return scalars


def _same_everywhere(folder: Path) -> list[str]:
    """The shards the first process sees: more may appear while the others look."""
    names: list[list[str]] = broadcast_object_list([list_shards(folder)])
    return names[0]
