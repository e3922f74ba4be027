"""What the compact network is asked for from scratch, as sums of plain terms.

Shapes: h, w is the output grid, T prompts, B pictures; everything is float32.
Depth is compared in disparity after both sides were freed of offset and scale (mean and mean
absolute deviation over the valid pixels). FocusDepth's foreground and boundary terms are taken on
the target and on the band round it; an aligned term inside the target's box asks for shape where
objects touch. Boundaries use MoDOT's class-balanced cross entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from focus_depth_ros.networks.compact import FocusOutput
from focus_depth_ros.networks.prompt import BoxMaps
from focus_depth_ros.training.boundary_losses import boundary_loss
from focus_depth_ros.training.example import ABSENT_PROMPT, BOX_PROMPT, NO_PROMPT
from focus_depth_ros.training.losses import dice, gradient_loss, masked_mean

OBJECT_WEIGHT = 3.0
BAND_CELLS = 4
"""FocusDepth's r = 10 px of a 320-pixel-wide frame on an output grid of 128; 9 px on one of 144."""
OUT_OF_VIEW = -1e4
"""Score of what cannot be chosen; finite, so that pictures of nothing have gradients too."""


def centred(values: Tensor, valid: Tensor) -> Tensor:
    """(values - mean) / mean absolute deviation over the valid pixels."""
    mean = masked_mean(values, valid)[:, None, None]
    deviation = masked_mean((values - mean).abs(), valid)[:, None, None].clamp(min=1e-3)
    return (values - mean) / deviation


def aligned_error(prediction: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """|a prediction + b - truth| with a, b least squares over the region (detached).

    Mean over it: (T,).
    """
    with torch.no_grad():
        mean_p = masked_mean(prediction, region)[:, None, None]
        mean_t = masked_mean(truth, region)[:, None, None]
        spread = masked_mean((prediction - mean_p) ** 2, region).clamp(min=1e-3)
        slope = masked_mean((prediction - mean_p) * (truth - mean_t), region) / spread
        # A target predicted flat or inside out must be pushed to the right sign, not scaled to
        # nothing.
        slope = slope.clamp(0.3, 3.0)[:, None, None]
    shifted = slope * prediction + (mean_t - slope * mean_p)
    return masked_mean((shifted - truth).abs(), region)


def band(mask: Tensor) -> Tensor:
    """dilate(M) & ~erode(M) of (T, h, w) masks, 0/1, with a square: an ellipse is a fifth less."""
    solid = (mask > 0.5).float().unsqueeze(1)
    window = 2 * BAND_CELLS + 1
    grown = functional.max_pool2d(solid, window, 1, BAND_CELLS)
    shrunk = -functional.max_pool2d(-solid, window, 1, BAND_CELLS)
    return (grown - shrunk).squeeze(1)


def depth_loss(
    prediction: Tensor, disparity: Tensor, objects: Tensor, mask: Tensor
) -> dict[str, Tensor]:
    """Terms of the relative depth, each a scalar.

    prediction, disparity (T, h, w), disparity 0 = unknown; objects (T, h, w) bool; mask (T, h, w)
    area share, empty where there is no target.
    """
    valid = (disparity > 0).float()
    truth = centred(disparity, valid)
    guess = centred(prediction, valid)
    error = guess - truth
    target = (mask > 0.5).float() * valid
    weight = valid * (1 + (OBJECT_WEIGHT - 1) * objects.float())
    there = (target.sum((-2, -1)) >= 10).float()
    count = there.sum().clamp(min=1)
    edge = band(mask) * valid
    near = (edge + target).clamp(max=1)
    return {
        'global': masked_mean(error.abs(), weight).mean(),
        'raw': 0.2 * masked_mean((prediction - truth).abs(), weight).mean(),
        'gradient': 0.5 * gradient_loss(error, valid).mean(),
        'foreground': 0.5 * (masked_mean(error.abs(), target) * there).sum() / count,
        'band': 0.5 * (masked_mean(error.abs(), edge) * there).sum() / count,
        'shape': 0.5 * (aligned_error(prediction, truth, near) * there).sum() / count,
    }


def soft_iou(probability: Tensor, mask: Tensor) -> Tensor:
    """Intersection over union of (T, h, w) with shares in [0, 1]: (T,); no truth: 0."""
    overlap = torch.minimum(probability, mask).sum((-2, -1))
    union = torch.maximum(probability, mask).sum((-2, -1))
    return torch.where(mask.sum((-2, -1)) > 0, overlap / union.clamp(min=1e-6), 0.0)


def mask_loss(logits: Tensor, mask: Tensor, inside_box: Tensor, asked: Tensor) -> Tensor:
    """0.5 (BCE + BCE inside the box + Dice), mean over the prompts asked (T,) 0/1.

    No box: the box term is absent.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, mask, reduction='none')
    terms = (
        entropy.mean((-2, -1))
        + masked_mean(entropy, inside_box)
        + dice(torch.sigmoid(logits), mask)
    )
    return 0.5 * (terms * asked).sum() / asked.sum().clamp(min=1)


def word_loss(logits: Tensor, target: Tensor) -> Tensor:
    """BCE of every word at every cell, (B, V, h, w), averaged over hits and misses apart.

    Hits are averaged over each word's cells, then over the words that hold anywhere, so that rare
    words count as much. A word is absent from most cells, so the mean over misses weighs ten times.
    """
    asked = (target != 255).float()
    positive = (target == 1).float()
    negative = asked - positive
    entropy = functional.binary_cross_entropy_with_logits(logits, positive, reduction='none')
    cells = positive.sum((0, 2, 3))
    of_words = (entropy * positive).sum((0, 2, 3)) / cells.clamp(min=1)
    hits = of_words.sum() / (cells > 0).sum().clamp(min=1)
    misses = (entropy * negative).sum() / negative.sum().clamp(min=1)
    return hits + 10 * misses


def metric_loss(output: FocusOutput, disparity: Tensor, target: Tensor) -> Tensor:
    """L1 of log canonical disparity over the picture and, where there is a target, on it.

    The relative depth is not moved by this term: only scale and shift answer for metres.
    """
    valid = (disparity > 0).float()
    scale, shift = output.metric[:, :1, None], output.metric[:, 1:, None]
    guess = (scale * output.inverse_depth.detach() + shift).clamp(min=0.02)
    error = (torch.log(guess) - torch.log(disparity.clamp(min=0.02))).abs()
    on_target = (target > 0.5).float() * valid
    there = (on_target.sum((-2, -1)) >= 10).float()
    focus = (masked_mean(error, on_target) * there).sum() / there.sum().clamp(min=1)
    return masked_mean(error, valid).mean() + focus


def compact_terms(
    output: FocusOutput, word_logits: Tensor, batch: dict[str, Tensor], boxes: BoxMaps
) -> dict[str, Tensor]:
    """All terms, weighted, by name; T = B x P prompts, picture-wise truth repeated to match.

    `batch` holds disparity, objects, boundary (T, ...); mask, box, kind per prompt; words_at (B,
    V, h / 4, w / 4).
    """
    mask, kind = batch['mask'], batch['kind']
    asked = (kind != NO_PROMPT).float()
    # The mask is where the words fit best; whether they fit at all is the confidence's to say.
    there = asked * (kind != ABSENT_PROMPT).float()
    inside = boxes(batch['box'])[:, 0] * (kind == BOX_PROMPT).float()[:, None, None]
    height, width = output.mask_coarse.shape[-2:]
    coarse_truth = functional.adaptive_avg_pool2d(mask.unsqueeze(1), (height, width)).squeeze(1)
    no_box = torch.zeros_like(output.mask_coarse)
    quality = soft_iou(torch.sigmoid(output.mask.detach()), mask)
    confidence = functional.binary_cross_entropy_with_logits(
        output.confidence, quality, reduction='none'
    )
    terms = depth_loss(output.inverse_depth, batch['disparity'], batch['objects'], mask)
    terms['mask'] = mask_loss(output.mask, mask, inside, there)
    terms['mask_coarse'] = 0.5 * mask_loss(output.mask_coarse, coarse_truth, no_box, there)
    terms['boundary'] = 0.5 * boundary_loss(
        output.boundary, output.boundary_sides, batch['boundary']
    )
    terms['confidence'] = 0.2 * (confidence * asked).sum() / asked.sum().clamp(min=1)
    terms['metric'] = 0.3 * metric_loss(output, batch['disparity'], mask)
    terms['words'] = word_loss(word_logits, batch['words_at'])
    return terms


def coarse_terms(logits: Tensor, ids: Tensor, means: Tensor) -> dict[str, Tensor]:
    """Prompts answered by the coarse mask alone, and which of all things in view it chooses.

    logits (B, C, h, w); ids (B, H, W) of the things in view, 0 = none; means (B, C) whom a prompt
    means, 0 = no prompt. A thing's score is the mean logit over what is seen of it: of two likely
    ones a mask likes to take both halves, and a choice has none.
    """
    last = max(int(ids.amax()), int(means.amax()), 1)  # what is meant may be too thin for `ids`
    labels = torch.arange(1, last + 1, device=ids.device)
    cells = (ids.unsqueeze(1) == labels.reshape(1, -1, 1, 1)).to(logits.dtype)
    shares = functional.adaptive_avg_pool2d(cells, (int(logits.shape[-2]), int(logits.shape[-1])))
    row = (means - 1).clamp(min=0)
    truth = shares.gather(1, row[..., None, None].expand(-1, -1, *shares.shape[-2:]))
    seen = shares.sum((-2, -1))
    asked = ((means > 0) & (seen.gather(1, row) > 0)).to(logits.dtype)
    scores = torch.einsum('bchw,bkhw->bck', logits, shares) / seen.clamp(min=1e-3).unsqueeze(1)
    scores = scores.masked_fill((seen == 0).unsqueeze(1), OUT_OF_VIEW)
    picked = functional.cross_entropy(scores.flatten(0, 1), row.flatten(), reduction='none')
    picked = torch.where(asked.flatten() > 0, picked, 0.0).sum() / asked.sum().clamp(min=1)
    flat = logits.flatten(0, 1)
    no_box = torch.zeros_like(flat)
    return {
        'more': 0.5 * mask_loss(flat, truth.flatten(0, 1), no_box, asked.flatten()),
        'choice': 0.3 * picked,
    }
