"""Checkpoints: everything a resumed run, a run on top of it, or an export needs, in one file."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from focus_depth_ros.networks.mssa import MSSA
from focus_depth_ros.training.config import TrainConfig
from focus_depth_ros.training.draws import shard_index
from focus_depth_ros.training.example import VOCABULARY


def save_checkpoint(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    learning: tuple[int, list[torch.optim.Optimizer]],
    step: int,
    passes: list[list[str]],
    config: TrainConfig,
    trainable: tuple[str, ...],
) -> None:
    """Write a checkpoint; a kill while writing leaves the former file whole.

    Of the weights only those whose names begin as in `trainable`: the rest is a user's own.
    `learning`: number of the stage and its optimisers.
    """
    stage, optimizers = learning
    averaged = ('n_averaged', *(f'module.{beginning}' for beginning in trainable))
    state = {
        'network': _beginning(network.state_dict(), trainable),
        'average': _beginning(average.state_dict(), averaged),
        'stage': stage,
        'optimizers': [optimizer.state_dict() for optimizer in optimizers],
        'step': step,
        'passes': passes,
        'frames': _count_frames(config.train, passes),
        'config': plain(asdict(config)),
        'vocabulary': VOCABULARY,
    }
    write_whole(path, state)


def write_whole(path: Path, state: dict[str, Any]) -> None:
    """Write a file of weights; a kill while writing leaves the former one whole."""
    partial = path.with_suffix('.part')
    torch.save(state, partial)
    os.replace(partial, path)


def _beginning(weights: dict[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith(names)}


def plain(value: Any) -> Any:
    """Settings as words, numbers, lists and mappings only, which weights-only loading accepts."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def restore(network: nn.Module, weights: dict[str, Tensor], trainable: tuple[str, ...]) -> None:
    """Put a checkpoint's weights back; raises ValueError if they are another network's."""
    try:
        found = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ValueError(f'the checkpoint is of a network of other sizes ({error})') from error
    lacking = [name for name in found.missing_keys if name.startswith(trainable)]
    if strangers := [*lacking, *found.unexpected_keys]:
        raise ValueError(
            f'the checkpoint is of another network ({strangers[0]}); name another output folder'
        )


def saved_state(path: Path) -> dict[str, Any]:
    """What a killed run left. Raises ValueError for a file that is not all of one."""
    try:
        state = torch.load(path, weights_only=True, map_location='cpu')
        needed = ('network', 'average', 'step', 'passes', 'optimizers')
        return {name: state[name] for name in needed} | {'stage': int(state.get('stage', 0))}
    except OSError:
        raise
    except Exception as error:  # bytes of another kind may be taken for any instruction of pickle's
        raise ValueError(
            f'{path}: not a whole checkpoint of `focus-depth train`; take it away to begin anew, '
            'or name another output folder'
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """All that a checkpoint holds. Raises ValueError if the file is not one."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location='cpu')
        return {**state, 'average': state['average']}
    except OSError:
        raise
    except Exception as error:  # bytes of another kind may be taken for any instruction of pickle's
        raise ValueError(f'{path}: not a checkpoint of `focus-depth train`') from error


def averaged_weights(path: Path) -> dict[str, Tensor]:
    """The averaged network's weights of a checkpoint. Raises ValueError if it is not one."""
    return averaged(read_checkpoint(path))


def averaged(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The averaged network's weights of all that a checkpoint holds."""
    prefix = 'module.'
    return {
        name.removeprefix(prefix): value
        for name, value in checkpoint['average'].items()
        if name.startswith(prefix)
    }


def load_initial(
    network: nn.Module, weights: dict[str, Tensor], trainable: tuple[str, ...] = ('',)
) -> list[str]:
    """Start from another network's weights; returns the names of those that start afresh.

    Afresh start weights that are not given, and an MSSA of another form as a whole. A vocabulary
    that has grown keeps the vectors of its former words. Raises ValueError if less than half of
    the network is given.
    """
    wanted = _beginning(network.state_dict(), trainable)
    given = {
        name: _grown(value, wanted[name]) if 'words.' in name else value
        for name, value in weights.items()
        if name in wanted
    }
    afresh = [n for n in wanted if n not in given or given[n].shape != wanted[n].shape]
    for adapter, part in network.named_modules():
        inside = [name for name in wanted if name.startswith(f'{adapter}.')]
        if isinstance(part, MSSA) and not set(afresh).isdisjoint(inside):
            afresh = sorted({*afresh, *inside})
    if sum(wanted[name].numel() for name in afresh) > sum(w.numel() for w in wanted.values()) / 2:
        raise ValueError(f'{afresh[0]} and most other initial weights do not fit the network')
    network.load_state_dict({n: given[n] for n in wanted if n not in afresh}, strict=False)
    return afresh


def _grown(rows: Tensor, wanted: Tensor) -> Tensor:
    """A table with the rows it lacks taken from the one wanted."""
    more = rows.ndim == wanted.ndim and rows.shape[1:] == wanted.shape[1:]
    return torch.cat([rows, wanted[rows.shape[0] :].to(rows)]) if more else rows


def _count_frames(folder: Path, passes: list[list[str]]) -> int:
    names = {name for shards in passes for name in shards}
    return sum(len(shard_index(str(folder / name))) for name in names)
