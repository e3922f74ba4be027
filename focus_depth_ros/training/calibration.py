"""Boundary logits to probabilities: Platt's slope and bias, fitted on validation scenes.

The boundary head is trained with balanced classes, which is what thin lines need to be found at
all, and so its sigmoid says far too much. A slope and a bias keep the order of all pixels, and
with it every ODS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from focus_depth_ros.networks.compact import CompactNetwork
from focus_depth_ros.networks.fovea import FoveaNetwork
from focus_depth_ros.training.compact import predict, prompt_wise
from focus_depth_ros.training.draws import spread_draws
from focus_depth_ros.training.example import FocusDataset, PromptShares


@dataclass(frozen=True)
class BoundaryCalibration:
    """probability = sigmoid(slope * logit + bias)."""

    slope: float = 1.0
    bias: float = 0.0


@torch.no_grad()
def boundary_samples(
    network: CompactNetwork | FoveaNetwork, folder: Path, frames: int
) -> tuple[Tensor, Tensor]:
    """Logits and 0 / 1 truth of every asked cell of so many frames of a folder, one dimension.

    Those of the first look; a fovea's own boundaries are taken to need the same correction.
    """
    network.eval()
    dataset = FocusDataset(network.shape, 1, PromptShares(), augment=False)
    logits, truths = [], []
    for batch in DataLoader(dataset, 16, sampler=spread_draws(folder, frames)):
        output, _ = predict(network, batch, bfloat16=False)
        truth = prompt_wise(batch)['boundary']
        asked = truth != 255
        logits.append(output.boundary[asked])
        truths.append((truth[asked] == 1).float())
    return torch.cat(logits), torch.cat(truths)


def fit_calibration(logits: Tensor, truth: Tensor) -> BoundaryCalibration:
    """Slope and bias of least cross entropy, by L-BFGS (the problem is convex)."""
    values = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    wide, wanted = logits.double(), truth.double()
    optimizer = torch.optim.LBFGS([values], max_iter=50, line_search_fn='strong_wolfe')

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(values[0] * wide + values[1], wanted)
        loss.backward()
        return loss

    optimizer.step(closure)
    slope, bias = values.tolist()
    if not slope > 0:
        raise ValueError('boundary logits do not follow the truth: was the network trained?')
    return BoundaryCalibration(slope, bias)
