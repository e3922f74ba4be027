"""The compact family's second look as the training loop sees it: a fovea on a trained network.

Encoder and first look stay as they are: what learns is how the second look uses them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from focus_depth_ros.networks.compact import FocusOutput
from focus_depth_ros.networks.fovea import FoveaNetwork, first_look
from focus_depth_ros.networks.prompt import BoxMaps
from focus_depth_ros.training import compact
from focus_depth_ros.training.checkpoint import averaged_weights
from focus_depth_ros.training.compact_losses import compact_terms
from focus_depth_ros.training.config import TrainConfig
from focus_depth_ros.training.families import Batch, Review, chosen
from focus_depth_ros.training.first_batches import first_batches
from focus_depth_ros.training.fovea_example import FoveaDataset
from focus_depth_ros.training.mask_scores import iou_by_prompt
from focus_depth_ros.training.unfolded import kept_weights, unfolded_network


def build(config: TrainConfig) -> FoveaNetwork:
    """The network of a settings file."""
    network = FoveaNetwork(compact.shape_of(config.network))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def trainable() -> tuple[str, ...]:
    """All of it is in a checkpoint, so that it can be exported; stages train the fovea."""
    return ('',)


def initial(path: Path, config: TrainConfig) -> dict[str, Tensor]:
    """A trained network's weights, of a checkpoint or a model folder, by name.

    Where it has no fovea yet, its focus half is also what the fovea's starts as.
    """
    if not path.is_dir():
        return with_second_half(averaged_weights(path))
    network = build(config).eval()
    weights = with_second_half(kept_weights(unfolded_network(path)))
    batches = first_batches(examples(config, augment=True), config, compact.STATISTICS_BATCHES)
    passes = (predict(network, batch, bfloat16=False) for batch in batches)
    return compact.settled(network, weights, passes)


def with_second_half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights, with a copy of the focus half for the fovea where there is none."""
    beginning = 'focus.'
    second = {f'fovea.{n}': value for n, value in weights.items() if n.startswith(beginning)}
    return {**second, **weights}


def examples(config: TrainConfig, augment: bool) -> Dataset[dict[str, Any]]:
    """Pictures with `config.prompts` windows each."""
    shape = compact.shape_of(config.network)
    return FoveaDataset(shape, config.prompts, config.ask, augment)


def predict(network: FoveaNetwork, batch: Batch, bfloat16: bool) -> tuple[FocusOutput, Tensor]:
    """Float32 outputs for the batch's B x P windows, and word logits (B x P, V, H/8, W/8)."""
    windows = batch['box'].shape[1]
    with torch.autocast(batch['box'].device.type, torch.bfloat16, enabled=bfloat16):
        with torch.no_grad():
            pictures = network.encoder(compact.normalised(batch['picture']))
            near = network.encoder(compact.normalised(batch['near'].flatten(0, 1)))
            whole = {name: maps.repeat_interleave(windows, 0) for name, maps in pictures.items()}
            box, words = batch['box'].flatten(0, 1), batch['words'].flatten(0, 1)
            first = first_look(network.focus(whole, box, words))
        window, near_box = batch['window'].flatten(0, 1), batch['near_box'].flatten(0, 1)
        joined = network.fovea.fusion(near, whole, window, first)
        output = network.fovea.focus(joined, near_box, words)
        word_logits = network.fovea.focus.prompt.words.all_words(joined['grounding'])
    return compact.in_float32(output), word_logits.float()


class FoveaObjective(nn.Module):
    """Batch -> the terms that `config.terms` names, weighted, each on the windows."""

    def __init__(self, network: FoveaNetwork, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.boxes = BoxMaps(*network.shape.grid(2))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return self.terms(*predict(self.network, batch, self.config.bfloat16), batch)

    def terms(self, output: FocusOutput, word_logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The loss terms of outputs already at hand."""
        truth = {
            name: batch[name].flatten(0, 1)
            for name in ('disparity', 'objects', 'boundary', 'words_at', 'mask', 'kind')
        }
        truth['box'] = batch['near_box'].flatten(0, 1)
        found = compact_terms(output, word_logits, truth, self.boxes)
        return chosen(found, self.config.terms)


def objective(network: nn.Module, config: TrainConfig) -> FoveaObjective:
    """See `FoveaObjective`. Raises ValueError for what only the first look can be trained with."""
    if config.objective != 'compact' or config.prompt != 'right':
        raise ValueError('family fovea takes `objective: compact` and `prompt: right` only')
    assert isinstance(network, FoveaNetwork)
    return FoveaObjective(network, config)


@torch.no_grad()
def review(objective: nn.Module, batch: Batch) -> Review:
    """Loss terms and hard mask IoU in the window by kind of prompt, and rows of windows' maps."""
    assert isinstance(objective, FoveaObjective)
    output, word_logits = predict(objective.network, batch, objective.config.bfloat16)
    terms = objective.terms(output, word_logits, batch)
    scores = {name: [float(term)] for name, term in terms.items()}
    mask, kind = batch['mask'].flatten(0, 1), batch['kind'].flatten(0, 1)
    scores |= iou_by_prompt(output.mask, mask, kind)
    windows = {
        'picture': batch['near'].flatten(0, 1),
        'disparity': batch['disparity'].flatten(0, 1),
        'mask': mask.unsqueeze(1),
        'box': batch['near_box'].flatten(0, 1).unsqueeze(1),
    }
    return Review(scores, compact.contact_sheet(windows, output))


def leave(network: nn.Module, config: TrainConfig) -> None:
    """Nothing: `focus-depth export` reads the checkpoint."""
