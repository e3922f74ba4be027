"""How well a network does on the validation shards while it is trained: scores and a picture."""

from __future__ import annotations

import cv2
import numpy as np
from accelerate.utils import send_to_device
from torch import nn
from torch.utils.data import DataLoader

from focus_depth_ros.training.config import TrainConfig
from focus_depth_ros.training.draws import spread_draws
from focus_depth_ros.training.families import Family


def validate(
    family: Family, network: nn.Module, config: TrainConfig, step: int
) -> dict[str, float]:
    """Mean scores on frames of the validation shards, and a picture of the first batch."""
    objective = family.objective(network, config).eval()
    device = next(network.parameters()).device
    draws = spread_draws(config.validation, config.validation_frames)
    if config.prompt == 'wrong' and len(draws) % config.batch == 1:
        draws.pop()  # alone in the last batch, it would be asked its own prompt
    loader = DataLoader(
        family.examples(config, augment=False),
        config.batch,
        sampler=draws,
    )
    totals: dict[str, list[float]] = {}
    for number, batch in enumerate(loader):
        found = family.review(objective, send_to_device(batch, device))
        for name, values in found.scores.items():
            totals.setdefault(name, []).extend(values)
        if number == 0:
            cv2.imwrite(str(config.output / f'validation_{step:06d}.png'), found.sheet)
    return {name: float(np.mean(values)) for name, values in totals.items() if values}
