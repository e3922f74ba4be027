"""What learns in a stage of training, with which optimisers and at what rate.

FocusDepth trains in two stages with lists of what is frozen; a list here is file-name patterns on
parameter names. What is frozen is frozen whole: its normalisation keeps its statistics and its
dropout is off.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from focus_depth_ros.training.config import Stage
from focus_depth_ros.training.muon import Muon


def freeze_all_but(
    network: nn.Module, patterns: tuple[str, ...], frozen: tuple[str, ...] = ()
) -> None:
    """Let only the parameters learn whose name fits a pattern; `!pattern` takes some out again.

    So does a pattern of `frozen`. What is frozen has no gradient left of an earlier stage, which
    would count in the norm that is clipped. Raises ValueError naming a pattern that fits nothing.
    """
    patterns = (*patterns, *(f'!{pattern}' for pattern in frozen))
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern.removeprefix('!')) for name in names):
            raise ValueError(f'no parameter of the network is named like {pattern!r}')
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(learns(name, patterns))
        if not parameter.requires_grad:
            parameter.grad = None


def learns(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a parameter of that name learns by these patterns."""
    fits = {p[0] != '!' for p in patterns if fnmatchcase(name, p.removeprefix('!'))}
    return fits == {True}


def train_mode(network: nn.Module) -> None:
    """Training mode for what learns, evaluation mode for the parts that are frozen whole."""
    network.train()
    for part in network.modules():
        own = list(part.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            part.eval()


def make_optimizers(
    network: nn.Module, stage: Stage, weight_decay: float, trunk_rate: float = 1.0
) -> list[torch.optim.Optimizer]:
    """Muon for hidden convolutions and matrices, if it has a rate, and AdamW for everything else.

    Everything else: heads, norms, biases, word vectors, and the trunk, which knows real pictures
    and is to keep what it knows: it learns at `trunk_rate` times the rate and without decay.
    """
    hidden: list[Tensor] = []
    rest: list[Tensor] = []
    trunk: list[Tensor] = []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = parameter.ndim >= 2 and min(parameter.flatten(1).shape) >= 8
        if 'encoder.trunk.' in name:
            trunk.append(parameter)
        elif stage.muon_lr and matrix and 'words.vectors' not in name:
            hidden.append(parameter)
        else:
            rest.append(parameter)
    optimizers: list[torch.optim.Optimizer] = []
    if hidden:
        optimizers.append(Muon(hidden, lr=stage.muon_lr, weight_decay=weight_decay))
    if rest:
        optimizers.append(torch.optim.AdamW(rest, lr=stage.adam_lr, weight_decay=weight_decay))
    if trunk:
        rate = trunk_rate * stage.adam_lr
        optimizers.append(torch.optim.AdamW(trunk, lr=rate, weight_decay=0.0))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group['peak'] = group['lr']
    return optimizers


def learning_rate_share(step: int, steps: int, stage: Stage) -> float:
    """Linear warm-up, flat, then down to zero, as a line or a cosine, at the stage's last step."""
    warm = min(1.0, (step + 1) / max(stage.warm_up * steps, 1.0))
    fallen = (step / steps - stage.decay_from) / max(1 - stage.decay_from, 1e-9)
    fallen = min(max(fallen, 0.0), 1.0)
    down = 1 - fallen if stage.decay == 'linear' else 0.5 * (1 + math.cos(math.pi * fallen))
    return min(warm, down)


def stage_bounds(stages: tuple[Stage, ...], steps: int) -> list[tuple[int, int]]:
    """First and one past the last step of each stage."""
    ends, total = [], 0.0
    for stage in stages:
        total += stage.share
        ends.append(round(total * steps))
    return list(zip([0, *ends], ends, strict=False))
