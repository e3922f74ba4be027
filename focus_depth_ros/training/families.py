"""What the training loop asks of a family of networks: one module with these functions each."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from focus_depth_ros.training.config import TrainConfig

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Review:
    """Scores of one validation batch, each a list over its prompts, and a picture (H, W, 3) BGR."""

    scores: dict[str, list[float]]
    sheet: NDArray[np.uint8]


class Family(Protocol):
    """The functions of `training/compact.py`, `training/fovea.py` and `training/foundation.py`."""

    def build(self, config: TrainConfig) -> nn.Module:
        """The network, initialised at random or from its pretrained parts."""

    def trainable(self) -> tuple[str, ...]:
        """Beginnings of the parameters' names that some stage may train: what checkpoints hold."""

    def initial(self, path: Path, config: TrainConfig) -> dict[str, Tensor]:
        """Weights by name to start from: of a checkpoint, or of what else the family reads."""

    def objective(self, network: nn.Module, config: TrainConfig) -> nn.Module:
        """A module: batch -> weighted loss terms by name, each a scalar."""

    def examples(self, config: TrainConfig, augment: bool) -> Dataset[dict[str, Any]]:
        """A data set whose items are asked for by `Draw`."""

    def review(self, objective: nn.Module, batch: Batch) -> Review:
        """Scores and a picture of one validation batch; no gradients."""

    def leave(self, network: nn.Module, config: TrainConfig) -> None:
        """Write what comes after training needs besides the checkpoint, into its folder."""


def chosen(terms: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Those loss terms that a configuration asks for. Raises ValueError for what is not there."""
    if unknown := set(wanted) - set(terms):
        raise ValueError(f'terms: {sorted(unknown)} are not to be had from this network')
    return {name: terms[name] for name in wanted}


def family_named(name: str) -> Family:
    """The family's module; a robot's checkout never imports the one it does not train."""
    return cast(Family, importlib.import_module(f'focus_depth_ros.training.{name}'))
