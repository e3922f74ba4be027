"""FocusDepth's loss exactly as published: L = L_glb + L_fg + L_bd + L_seg, each of weight 1.

FocusDepth (arXiv 2605.11756). The prediction is aligned to the truth by closed-form least squares
over all valid pixels of the picture (detached); a region's loss is the mean squared error plus
the gradient term over the region's own valid pixels (which the paper does not write out: here the
sum over x and y of the mean over four strides); a picture's region of fewer than 10 valid
pixels is skipped. Shapes: T predictions of (h, w), one a prompt; floats.

A network that answers with depth is compared in depth, divided by the picture's mean true depth;
one that answers with inverse depth in disparity 1 / D, brought to [0, 1] picture by picture.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import cv2
import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_REGION_PX = 10
BAND_RADIUS_PX = 10
STRIDES = (1, 2, 4, 8)
TERMS = ('global', 'foreground', 'boundary', 'mask')


def masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over the last two axes, (T, h, w) -> (T,); no weight: 0."""
    return (values * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp(min=1e-6)


def gradient_loss(error: Tensor, weight: Tensor) -> Tensor:
    """Mean L1 of the error's finite differences at strides 1, 2, 4, 8, (T, h, w) -> (T,).

    A difference counts by the product of its two pixels' weights.
    """
    total = error.new_zeros(error.shape[0])
    for stride in STRIDES:
        for axis in (-2, -1):
            length = error.shape[axis] - stride
            ahead, behind = error.narrow(axis, stride, length), error.narrow(axis, 0, length)
            both = weight.narrow(axis, stride, length) * weight.narrow(axis, 0, length)
            total = total + masked_mean((ahead - behind).abs(), both)
    return total / len(STRIDES)


def dice(probability: Tensor, mask: Tensor) -> Tensor:
    """1 - soft Dice of (T, h, w): (T,)."""
    overlap = (probability * mask).sum((-2, -1))
    return 1 - (2 * overlap + 1) / (probability.sum((-2, -1)) + mask.sum((-2, -1)) + 1)


def target_units(depth: Tensor, inverse: bool) -> Tensor:
    """True depth (T, h, w), 0 = unknown, in the units the loss is taken in; unknown stays 0.

    depth / its mean, or, for inverse-depth networks, 1 / depth brought to [0, 1].
    """
    valid = depth > 0
    if not inverse:
        mean = masked_mean(depth, valid.to(depth.dtype))[:, None, None].clamp(min=1e-6)
        return depth / mean
    disparity = torch.where(valid, 1 / depth.clamp(min=1e-6), 0.0)
    highest = disparity.amax((-2, -1), keepdim=True)
    lowest = torch.where(valid, disparity, highest).amin((-2, -1), keepdim=True)
    scaled = (disparity - lowest) / (highest - lowest).clamp(min=1e-6)
    return torch.where(valid, scaled, 0.0)


def aligned(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """The prediction times a, plus b: least squares to the truth over `valid`; a, b detached."""
    with torch.no_grad():
        mean_p = masked_mean(prediction, valid)[:, None, None]
        mean_t = masked_mean(truth, valid)[:, None, None]
        spread = masked_mean((prediction - mean_p) ** 2, valid).clamp(min=1e-12)
        slope = masked_mean((prediction - mean_p) * (truth - mean_t), valid) / spread
        slope = slope[:, None, None]
        offset = mean_t - slope * mean_p
    return slope * prediction + offset


def boundary_band(mask: Tensor, radius_px: int = BAND_RADIUS_PX) -> Tensor:
    """dilate(M, r) & ~erode(M, r) with an ellipse, of 0 / 1 masks (T, h, w).

    The picture's border is no outline: outside, the mask neither grows nor shrinks.
    """
    disk = _ellipse(radius_px).to(mask)
    solid = (mask > 0.5).to(mask.dtype).unsqueeze(1)
    grown = functional.conv2d(solid, disk, padding=radius_px) > 0.5
    # Eroding the mask is dilating what is not mask: zero padding adds none.
    outside = functional.conv2d(1 - solid, disk, padding=radius_px) > 0.5
    return (grown & outside).squeeze(1).to(mask.dtype)


@lru_cache(maxsize=8)
def _ellipse(radius_px: int) -> Tensor:
    side = 2 * radius_px + 1
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return torch.from_numpy(shape).float()[None, None]


def region_loss(error: Tensor, region: Tensor) -> Tensor:
    """Masked mean squared error + gradient term, mean over the pictures whose region counts.

    `error` (T, h, w); `region` (T, h, w) 0 / 1, valid pixels only. No region counts: 0.
    """
    counts = (region.sum((-2, -1)) >= SMALLEST_REGION_PX).to(error.dtype)
    each = masked_mean(error.square(), region) + gradient_loss(error, region)
    return (each * counts).sum() / counts.sum().clamp(min=1)


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """L_seg = BCE + Dice, a scalar; both (T, h, w), the mask 0 / 1 or an area share."""
    entropy = functional.binary_cross_entropy_with_logits(logits, mask)
    return entropy + dice(torch.sigmoid(logits), mask).mean()


def focusdepth_terms(
    prediction: Tensor,
    mask_logits: Tensor,
    depth: Tensor,
    mask: Tensor,
    inverse: bool,
    radius_px: int = BAND_RADIUS_PX,
    terms: Collection[str] = TERMS,
) -> dict[str, Tensor]:
    """The published terms, each a scalar of weight 1, those named in `terms` alone.

    `prediction` (T, h, w) relative depth, or inverse depth if `inverse`; `depth` (T, h, w) true
    depth, 0 = unknown; `mask` (T, h, w) the target; `mask_logits` (T, h', w') at their own size.
    """
    valid = (depth > 0).to(prediction.dtype)
    truth = target_units(depth, inverse)
    error = aligned(prediction, truth, valid) - truth
    inside = (mask > 0.5).to(prediction.dtype)
    found = {}
    if 'global' in terms:
        found['global'] = region_loss(error, valid)
    if 'foreground' in terms:
        found['foreground'] = region_loss(error, valid * inside)
    if 'boundary' in terms:
        found['boundary'] = region_loss(error, valid * boundary_band(inside, radius_px))
    if 'mask' in terms:
        height, width = mask_logits.shape[-2:]
        smaller = functional.adaptive_avg_pool2d(mask.unsqueeze(1), (height, width)).squeeze(1)
        found['mask'] = mask_loss(mask_logits, smaller)
    return found
