"""The foundation family as the training loop sees it: FocusDepth on weights that a user brings.

Network settings: `depth` and `sam3` (folders or files of weights), `side_px` (the depth branch's
picture), `sam_side_px`, and the fields of `FocusDepthShape`. All frames of a data set must have
one size: the losses are taken at the ground truth's resolution, as published.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from focus_depth_ros.inference.clip_bpe import ClipBytePairs, find_merges
from focus_depth_ros.networks.blocks import resize
from focus_depth_ros.networks.foundation.depth_anything import DepthAnything, Kind
from focus_depth_ros.networks.foundation.depth_weights import load_depth_anything
from focus_depth_ros.networks.foundation.focus_depth import (
    FocusDepth,
    FocusDepthOutput,
    FocusDepthShape,
)
from focus_depth_ros.networks.foundation.sam3_weights import check_vocabulary, load_sam3
from focus_depth_ros.networks.foundation.trained_weights import (
    ADAPTERS,
    BACKBONE,
    TRAINABLE,
    save_trained,
)
from focus_depth_ros.synthesis.sample import BOUNDARY_CONTACT, Sample
from focus_depth_ros.training.augmentation import Crop, apply_crop, degrade
from focus_depth_ros.training.boundary_losses import (
    SILOG_WEIGHT,
    agreement_loss,
    boundary_loss,
    scale_invariant_log,
    true_margin,
)
from focus_depth_ros.training.checkpoint import averaged_weights
from focus_depth_ros.training.compact import asked, coloured
from focus_depth_ros.training.config import TrainConfig, checked
from focus_depth_ros.training.draws import Draw, drawn
from focus_depth_ros.training.example import PromptShares, jittered, normalised_box, resized
from focus_depth_ros.training.families import Batch, Review, chosen
from focus_depth_ros.training.losses import TERMS, aligned, focusdepth_terms
from focus_depth_ros.training.mask_scores import hard_iou
from focus_depth_ros.training.stages import learns

MAX_TOKENS = 32
SMALLEST_ASKED_PX = 80
NEAREST = 1e-2
"""Least aligned depth, m, or inverse depth, 1/m, before a logarithm or an inversion."""
SHEET_ROWS = 4


@dataclass(frozen=True)
class FoundationSettings:
    """The `network` group of a settings file; see the module.

    `kind` and `max_depth_m` as `focus-depth export-foundation` has them: where the depth network's
    weights do not tell.
    """

    depth: Path
    sam3: Path
    kind: str | None = None
    max_depth_m: float | None = None
    side_px: int = 518
    sam_side_px: int = 1008
    hidden: int | None = None
    paper_literal: bool = False
    boundaries: bool = False


def build(config: TrainConfig) -> FocusDepth:
    """Both networks with the user's weights, and fresh adapters.

    Raises ValueError where fresh adapters that are not the identity would never learn.
    """
    settings = checked(FoundationSettings, config.network, 'network')
    merges = find_merges(settings.sam3)
    pairs = ClipBytePairs(merges)
    visual = tuple(pairs.encode('visual', MAX_TOKENS))
    shape = FocusDepthShape(
        settings.side_px,
        hidden=settings.hidden,
        paper_literal=settings.paper_literal,
        boundaries=settings.boundaries,
    )
    depth = _depth(settings)
    sam3 = load_sam3(settings.sam3, visual, settings.sam_side_px)
    check_vocabulary(pairs.end, sam3, merges)
    network = FocusDepth(depth, sam3, shape)
    if settings.paper_literal and config.initial is None and not _adapters_learn(network, config):
        raise ValueError(
            'network: paper_literal starts with random adapters in the path of depth, and no stage '
            'trains them: leave it out, or start from a run that trained them (initial)'
        )
    return network


def _depth(settings: FoundationSettings) -> DepthAnything:
    kind = Kind(settings.kind) if settings.kind else None
    return load_depth_anything(settings.depth, kind, settings.max_depth_m)


def _adapters_learn(network: FocusDepth, config: TrainConfig) -> bool:
    names = [name for name, _ in network.named_parameters() if name.startswith(ADAPTERS)]
    return any(learns(name, stage.trained) for stage in config.stages for name in names)


def trainable() -> tuple[str, ...]:
    """Adapters, decoders and boundaries; and the depth network's backbone, for the baseline."""
    return (*TRAINABLE, BACKBONE)


def initial(path: Path, config: TrainConfig) -> dict[str, Tensor]:
    """A checkpoint's average."""
    return averaged_weights(path)


def examples(config: TrainConfig, augment: bool) -> Dataset[dict[str, Any]]:
    """Pictures with one question each."""
    settings = checked(FoundationSettings, config.network, 'network')
    pairs = ClipBytePairs(find_merges(settings.sam3))
    return FoundationDataset(pairs, settings.sam_side_px, config.ask, augment)


class FoundationDataset(Dataset[dict[str, Any]]):
    """A draw -> picture, prompt and truth.

    picture uint8 (S, S, 3); box float32 (4,) xyxy in [0, 1]; words int64 (32,) CLIP token ids;
    depth float32 (H, W) metres, 0 = unknown; mask float32 (H, W); boundary uint8 (H, W), 255 = not
    asked.
    """

    def __init__(
        self, pairs: ClipBytePairs, side_px: int, shares: PromptShares, augment: bool
    ) -> None:
        self.pairs, self.side_px, self.shares, self.augment = pairs, side_px, shares, augment

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        sample, rng = drawn(draw)
        if self.augment:
            height, width = sample.ids.shape
            sample = apply_crop(sample, Crop(0, 0, width, height, bool(rng.random() < 0.5)))
        picture = degrade(sample.rgb, rng) if self.augment else sample.rgb
        contact = sample.boundary == BOUNDARY_CONTACT
        return {
            'picture': resized(picture, (self.side_px, self.side_px)),
            'depth': np.nan_to_num(sample.depth_m, nan=0.0, posinf=0.0),
            'boundary': np.where(contact, 255, sample.boundary > 0).astype(np.uint8),
            **self._question(sample, rng),
        }

    def _question(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Box or caption of one object that is large enough; none: no prompt and an empty mask."""
        box, words = np.zeros(4, np.float32), np.zeros(MAX_TOKENS, np.int64)
        for index in rng.permutation(len(sample.objects)):
            item = sample.objects[index]
            mask = sample.ids == item.id
            if np.count_nonzero(mask) < SMALLEST_ASKED_PX:
                continue
            spoken = self.shares.text / max(self.shares.text + self.shares.box, 1e-9)
            if item.captions and rng.random() < spoken:
                caption = item.captions[rng.integers(len(item.captions))]
                ids = self.pairs.encode(caption, MAX_TOKENS)
                words[: len(ids)] = ids
            else:
                box = jittered(normalised_box(mask), rng, self.shares.jitter)
            return {'box': box, 'words': words, 'mask': mask.astype(np.float32)}
        return {'box': box, 'words': words, 'mask': np.zeros(sample.ids.shape, np.float32)}


class FoundationObjective(nn.Module):
    """Batch -> the terms of `config.terms`: FocusDepth's four, and MoDOT's three.

    MoDOT's: silog, occlusion (class-balanced cross entropy) and agreement (OBDCL).
    """

    def __init__(self, network: FocusDepth, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config

    def predict(self, batch: Batch) -> FocusDepthOutput:
        """The network's answers; the image encoders run without gradients where they are frozen."""
        batch = asked(batch, self.config.prompt)
        learns = any(value.requires_grad for value in self.network.depth.backbone.parameters())
        picture = batch['picture'].permute(0, 3, 1, 2).float() / 255
        with torch.autocast(picture.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
                features = self.network.encode(picture)
            output: FocusDepthOutput = self.network(features, batch['box'], batch['words'])
        return output

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """See the class."""
        return self.terms(self.predict(batch), batch)

    def terms(self, output: FocusDepthOutput, batch: Batch) -> dict[str, Tensor]:
        """The loss terms of outputs already at hand, at the ground truth's resolution."""
        depth, wanted = batch['depth'], self.config.terms
        height, width = depth.shape[-2:]
        answer = resize(output.answer.float().unsqueeze(1), (height, width)).squeeze(1)
        inverse = self.network.depth.shape.kind.answers_inverse_depth
        found = focusdepth_terms(
            answer, output.mask.float(), depth, batch['mask'], inverse, terms=wanted
        )
        if not set(wanted) <= set(TERMS):
            found |= self._modot_terms(output, answer, depth, batch['boundary'], inverse)
        return chosen(found, wanted)

    def _modot_terms(
        self,
        output: FocusDepthOutput,
        answer: Tensor,
        depth: Tensor,
        boundary: Tensor,
        inverse: bool,
    ) -> dict[str, Tensor]:
        valid = (depth > 0).to(answer.dtype)
        safe = torch.where(depth > 0, depth, 1.0)
        metres = aligned(answer, 1 / safe if inverse else depth, valid).clamp(min=NEAREST)
        metres = 1 / metres if inverse else metres
        found = {'silog': SILOG_WEIGHT * scale_invariant_log(metres, depth)}
        if output.boundary is not None:
            height, width = depth.shape[-2:]
            logits = resize(output.boundary.float().unsqueeze(1), (height, width)).squeeze(1)
            sides = [side.float().squeeze(1) for side in output.boundary_sides]
            entropy = boundary_loss(logits, sides, boundary)
            found['occlusion'] = self.config.occlusion_weight * entropy
            # Next to an unknown depth nothing is known of a jump, or of its absence, either.
            known = -functional.max_pool2d(-valid.unsqueeze(1), 3, 1, 1).squeeze(1)
            found['agreement'] = agreement_loss(
                metres, torch.sigmoid(logits), true_margin(depth), known=known
            )
        return found


def objective(network: nn.Module, config: TrainConfig) -> FoundationObjective:
    """See `FoundationObjective`."""
    assert isinstance(network, FocusDepth)
    return FoundationObjective(network, config)


@torch.no_grad()
def review(objective: nn.Module, batch: Batch) -> Review:
    """Loss terms and hard mask IoU, and rows of picture, depth and mask."""
    assert isinstance(objective, FoundationObjective)
    output = objective.predict(batch)
    scores = {name: [float(v)] for name, v in objective.terms(output, batch).items()}
    height, width = batch['depth'].shape[-2:]
    mask = resize(output.mask.float().unsqueeze(1), (height, width)).squeeze(1)
    scores['iou'] = hard_iou(mask, batch['mask']).tolist()
    rows = []
    for index in range(min(SHEET_ROWS, len(mask))):
        picture = batch['picture'][index].cpu().numpy()[:, :, ::-1]
        shown = (output.inverse_depth[index], batch['mask'][index], output.mask[index].sigmoid())
        maps = [cv2.resize(coloured(values), (width, height)) for values in shown]
        rows.append(np.hstack([cv2.resize(picture, (width, height)), *maps]))
    return Review(scores, np.vstack(rows))


def leave(network: nn.Module, config: TrainConfig) -> None:
    """What `focus-depth export-foundation --weights` takes: everything that some stage trains."""
    assert isinstance(network, FocusDepth)
    settings = checked(FoundationSettings, config.network, 'network')
    # An earlier run may have tuned the backbone: only the user's own tells whether it has changed.
    user = _depth(settings).backbone.state_dict()
    tuned = any(
        not torch.equal(value.cpu(), user[name])
        for name, value in network.depth.backbone.state_dict().items()
    )
    save_trained(network, config.output / 'trained.safetensors', backbone=tuned)
