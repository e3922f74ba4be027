"""The exponential moving average of a network's weights along a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of the network that follows it, weights and statistics, at each `update_parameters`.

    The average is shorter at the start, so that early ones mean something.
    """

    @torch.no_grad()
    def average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        seen = float(count)
        keep = min(decay, (1 + seen) / (10 + seen))
        for kept, new in zip(averaged, current, strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - keep)
            else:
                kept.copy_(new)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)
