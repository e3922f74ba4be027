"""The compact family as the training loop sees it: network, objective, examples, review."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from focus_depth_ros.caption_words import word_roles
from focus_depth_ros.networks.blocks import IMAGENET_MEAN, IMAGENET_STD
from focus_depth_ros.networks.compact import CompactNetwork, CompactShape, FocusOutput
from focus_depth_ros.networks.efficientnet_lite import is_published, published_weights
from focus_depth_ros.networks.fovea import FoveaNetwork
from focus_depth_ros.networks.prompt import BoxMaps
from focus_depth_ros.training.checkpoint import averaged_weights, load_initial
from focus_depth_ros.training.compact_losses import BAND_CELLS, coarse_terms, compact_terms
from focus_depth_ros.training.config import TrainConfig, checked
from focus_depth_ros.training.example import VOCABULARY, FocusDataset
from focus_depth_ros.training.families import Batch, Review, chosen
from focus_depth_ros.training.first_batches import first_batches
from focus_depth_ros.training.losses import focusdepth_terms
from focus_depth_ros.training.mask_scores import iou_by_prompt
from focus_depth_ros.training.unfolded import kept_weights, settle_norms, unfolded_network

SHEET_ROWS = 8
STATISTICS_BATCHES = 8
"""Over a hundred pictures: statistics of normalisations over whole maps settle well before."""
PROMPT_KEYS = ('box', 'words')


def build(config: TrainConfig) -> CompactNetwork:
    """The network of a settings file."""
    network = CompactNetwork(shape_of(config.network))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def shape_of(settings: Mapping[str, Any]) -> CompactShape:
    """The network's sizes: `settings` override `CompactShape`, the words are the scenes'."""
    sizes = {**asdict(CompactShape()), 'word_roles': word_roles(VOCABULARY), **settings}
    return checked(CompactShape, sizes, 'network')


def trainable() -> tuple[str, ...]:
    """All of it."""
    return ('',)


def initial(path: Path, config: TrainConfig) -> dict[str, Tensor]:
    """Weights to start from, by name: a checkpoint's average, a model folder's, or a trunk's.

    The folder's model may be made for another size of picture; the trunk's are published ones.
    """
    if is_published(path):
        weights = published_weights(build(config).encoder.trunk, path)
        return {f'encoder.trunk.{name}': value for name, value in weights.items()}
    if not path.is_dir():
        return averaged_weights(path)
    network = build(config).eval()
    batches = first_batches(examples(config, augment=True), config, STATISTICS_BATCHES)
    passes = (predict(network, batch, bfloat16=False) for batch in batches)
    return settled(network, kept_weights(unfolded_network(path)), passes)


def settled(
    network: nn.Module, weights: dict[str, Tensor], passes: Iterator[object]
) -> dict[str, Tensor]:
    """A model folder's weights as they are in this network, its normalisations settled."""
    load_initial(network, weights)
    settle_norms(network, passes)
    return {name: value for name, value in network.state_dict().items() if name in weights}


def examples(config: TrainConfig, augment: bool) -> Dataset[dict[str, Any]]:
    """Pictures with `config.prompts` questions each."""
    return FocusDataset(shape_of(config.network), config.prompts, config.ask, augment)


def normalised(picture: Tensor) -> Tensor:
    """uint8 RGB (B, H, W, 3) -> normalised float32 (B, 3, H, W), channels last in memory."""
    mean = torch.tensor(IMAGENET_MEAN, device=picture.device).reshape(1, 3, 1, 1)
    deviation = torch.tensor(IMAGENET_STD, device=picture.device).reshape(1, 3, 1, 1)
    return (picture.float().permute(0, 3, 1, 2) / 255 - mean) / deviation


def predict(
    network: CompactNetwork | FoveaNetwork, batch: Batch, bfloat16: bool
) -> tuple[FocusOutput, Tensor]:
    """Float32 outputs for the batch's B x P prompts, and word logits (B, V, H/8, W/8)."""
    with torch.autocast(batch['box'].device.type, torch.bfloat16, enabled=bfloat16):
        features = network.encoder(normalised(batch['picture']))
        return answer(network, features, batch)


def answer(
    network: CompactNetwork | FoveaNetwork, features: dict[str, Tensor], batch: Batch
) -> tuple[FocusOutput, Tensor]:
    """As `predict`, of pictures that are encoded."""
    prompts = batch['box'].shape[1]
    word_logits = network.focus.prompt.words.all_words(features['grounding'])
    repeated = {name: value.repeat_interleave(prompts, 0) for name, value in features.items()}
    output = network.focus(repeated, batch['box'].flatten(0, 1), batch['words'].flatten(0, 1))
    return in_float32(output), word_logits.float()


def coarse_masks(network: CompactNetwork, grounding: Tensor, box: Tensor, words: Tensor) -> Tensor:
    """Coarse mask logits (B, C, H/8, W/8), float32, of C prompts a picture.

    box (B, C, 4), words (B, C, L).
    """
    prompts = words.shape[1]
    repeated = grounding.repeat_interleave(prompts, 0)
    _, _, logits = network.focus.prompt.at_tokens(repeated, box.flatten(0, 1), words.flatten(0, 1))
    return logits.float().reshape(len(words), prompts, *logits.shape[-2:])


def in_float32(output: FocusOutput) -> FocusOutput:
    """The output as losses take it."""
    sides = tuple(side.float() for side in output.boundary_sides)
    values = {
        entry.name: getattr(output, entry.name).float()
        for entry in fields(FocusOutput)
        if entry.name != 'boundary_sides'
    }
    return FocusOutput(**values, boundary_sides=sides)


def prompt_wise(batch: Batch) -> Batch:
    """The truth repeated so that every array but `words_at` has one row a prompt."""
    prompts = batch['box'].shape[1]
    picture_wise = ('disparity', 'objects', 'boundary')
    truth = {name: batch[name].repeat_interleave(prompts, 0) for name in picture_wise}
    truth |= {name: batch[name].flatten(0, 1) for name in ('box', 'mask', 'kind')}
    return truth | {'words_at': batch['words_at']}


def asked(batch: Batch, prompt: str) -> Batch:
    """The batch with its prompts as a control asks them; the truth stays.

    right: as they are; empty: none; wrong: those of the picture before in the batch. Raises
    ValueError for a wrong one where there is no other picture.
    """
    if prompt == 'right':
        return batch
    if prompt == 'wrong' and len(batch['box']) == 1:
        raise ValueError("prompt: wrong asks another picture's: two or more a batch and process")
    changed = {
        name: torch.zeros_like(batch[name]) if prompt == 'empty' else batch[name].roll(1, 0)
        for name in PROMPT_KEYS
    }
    return {**batch, **changed}


class CompactObjective(nn.Module):
    """Batch -> the terms of `config.objective` that `config.terms` names, weighted."""

    def __init__(self, network: CompactNetwork, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.boxes = BoxMaps(*network.shape.grid(2))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        config, network = self.config, self.network
        question = asked(batch, config.prompt)
        with torch.autocast(batch['box'].device.type, torch.bfloat16, enabled=config.bfloat16):
            features = network.encoder(normalised(batch['picture']))
            answers = answer(network, features, question)
            if not config.ask.captions + config.ask.boxes:
                return self.terms(*answers, batch)
            more = batch['more_box'], batch['more_words']
            logits = coarse_masks(network, features['grounding'], *more)
        return self.terms(*answers, batch) | coarse_terms(logits, batch['ids'], batch['more_ids'])

    def terms(self, output: FocusOutput, word_logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The loss terms of outputs already at hand."""
        truth = prompt_wise(batch)
        wanted: Collection[str] = self.config.terms
        if self.config.objective == 'compact':
            found = compact_terms(output, word_logits, truth, self.boxes)
        else:
            disparity = truth['disparity']
            known = disparity > 0
            depth = torch.where(known, 1 / torch.where(known, disparity, 1.0), 0.0)
            found = focusdepth_terms(
                output.inverse_depth,
                output.mask,
                depth,
                truth['mask'],
                inverse=True,
                radius_px=BAND_CELLS,
                terms=wanted,
            )
        return chosen(found, wanted)


def objective(network: nn.Module, config: TrainConfig) -> CompactObjective:
    """See `CompactObjective`."""
    assert isinstance(network, CompactNetwork)
    return CompactObjective(network, config)


@torch.no_grad()
def review(objective: nn.Module, batch: Batch) -> Review:
    """Loss terms and hard mask IoU by kind of prompt, and rows of maps."""
    assert isinstance(objective, CompactObjective)
    config = objective.config
    output, word_logits = predict(objective.network, asked(batch, config.prompt), config.bfloat16)
    terms = objective.terms(output, word_logits, batch)
    scores = {name: [float(term)] for name, term in terms.items()}
    truth = prompt_wise(batch)
    scores |= iou_by_prompt(output.mask, truth['mask'], truth['kind'])
    return Review(scores, contact_sheet(batch, output))


def leave(network: nn.Module, config: TrainConfig) -> None:
    """Nothing: `focus-depth export` reads the checkpoint."""


def contact_sheet(batch: Batch, output: FocusOutput) -> NDArray[np.uint8]:
    """Rows of picture, true and predicted disparity, true and predicted mask, boundary."""
    prompts = batch['box'].shape[1]
    height, width = batch['disparity'].shape[-2:]
    rows = []
    for index in range(min(SHEET_ROWS, batch['picture'].shape[0])):
        at = index * prompts
        picture = batch['picture'][index].cpu().numpy()
        small = cv2.resize(picture[:, :, ::-1], (width, height))
        maps = (
            batch['disparity'][index],
            output.inverse_depth[at],
            batch['mask'][index, 0] * 2 - 1,
            torch.sigmoid(output.mask[at]) * 2 - 1,
            torch.sigmoid(output.boundary[at]) * 2 - 1,
        )
        left, top, right, bottom = batch['box'][index, 0].tolist()
        corners = [
            (int(left * width), int(top * height)),
            (int(right * width), int(bottom * height)),
        ]
        small = cv2.rectangle(small.astype(np.uint8), corners[0], corners[1], (0, 255, 255), 1)
        rows.append(np.hstack([small, *(coloured(values) for values in maps)]))
    return np.vstack(rows)


def coloured(values: Tensor) -> NDArray[np.uint8]:
    """A map (h, w) in false colours (h, w, 3) BGR, from its 2nd to its 98th percentile."""
    values = values.detach().float().cpu()
    low, high = torch.quantile(values.flatten(), torch.tensor([0.02, 0.98])).tolist()
    scaled = ((values - low) / max(high - low, 1e-6)).clamp(0, 1).mul(255).byte().numpy()
    return np.asarray(cv2.applyColorMap(scaled, cv2.COLORMAP_TURBO), np.uint8)
