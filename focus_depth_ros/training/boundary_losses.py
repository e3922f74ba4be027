"""MoDOT's losses: scale-invariant log depth, class-balanced boundaries, and both in agreement.

MoDOT (arXiv 2505.21231): L = 1.2 SILog + w_ob CCE + OBDCL, w_ob = 1 on synthetic frames and 5 on
NYUD (the setting `occlusion_weight`). Shapes: T maps of (h, w); depths are positive, in metres or
relative; boundary truth is 1 / 0, 255 = not asked. Named deviations, each
an option that can be undone: OBDCL asks for a jump along one axis (`form='max'`; the original's
`'min'` penalises a straight horizontal or vertical boundary for ever), and for a jump as large as
the true one (`margin`; the original asks for 1 whatever the true jump).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

SIDE_WEIGHTS = (0.1, 0.3, 0.3, 0.5)
"""Of the side outputs at strides 32, 16, 8, 4; a smaller decoder lacks the coarse ones."""
FINAL_WEIGHT = 2.3
SILOG_WEIGHT, SILOG_LAMBDA = 1.2, 0.85
NEGATIVE_WEIGHT = 1.1 * 1.1
AGREEMENT_WEIGHT = 0.1


def balanced_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """CCE of one output, a scalar: hits weigh N_neg / N, misses 1.21 N_pos / N."""
    asked = (target != 255).to(logits.dtype)
    positive = (target == 1).to(logits.dtype)
    negative = asked - positive
    total = asked.sum().clamp(min=1)
    weight = (
        positive * (negative.sum() / total) + negative * NEGATIVE_WEIGHT * positive.sum() / total
    )
    entropy = functional.binary_cross_entropy_with_logits(logits, positive, reduction='none')
    return (entropy * weight).sum() / total


def boundary_loss(final: Tensor, sides: Sequence[Tensor], target: Tensor) -> Tensor:
    """CCE of the final logits (T, h, w) and of side outputs, coarse to fine, (T, h_i, w_i).

    A side output's target is the maximum over each of its cells; nothing is left unasked there.
    Cells of whole strides may hang over the lower and the right rim, as the networks' do.
    """
    loss = FINAL_WEIGHT * balanced_cross_entropy(final, target)
    hits = (target == 1).to(final.dtype).unsqueeze(1)
    for weight, side in zip(SIDE_WEIGHTS[-len(sides) :], sides, strict=True):
        coarse = _in_cells(hits, (side.shape[-2], side.shape[-1])).squeeze(1)
        loss = loss + weight * balanced_cross_entropy(side, coarse)
    return loss


def _in_cells(hits: Tensor, size: tuple[int, int]) -> Tensor:
    """The maximum in each cell of a coarser map."""
    sides = hits.shape[-2:]
    stride = max(-(-side // cells) for side, cells in zip(sides, size, strict=True))
    if tuple(-(-side // stride) for side in sides) == size:
        return functional.max_pool2d(hits, stride, ceil_mode=True)
    return functional.adaptive_max_pool2d(hits, size)


def scale_invariant_log(depth: Tensor, truth: Tensor) -> Tensor:
    """SILog, a scalar: sqrt(mean g^2 - 0.85 (mean g)^2), g = log d - log d*; truth 0 = unknown."""
    valid = truth > 0
    if not valid.any():
        return (depth * 0).sum()
    gap = torch.log(depth[valid]) - torch.log(truth[valid])
    # The smallest number keeps the root's gradient finite where both agree exactly.
    return torch.sqrt((gap.square().mean() - SILOG_LAMBDA * gap.mean().square()).clamp(min=1e-12))


def axis_jumps(depth: Tensor) -> tuple[Tensor, Tensor]:
    """|d(y-1) - d(y+1)| and |d(x-1) - d(x+1)| of (T, h, w) at its inner pixels, (T, h-2, w-2)."""
    vertical = (depth[:, :-2, 1:-1] - depth[:, 2:, 1:-1]).abs()
    horizontal = (depth[:, 1:-1, :-2] - depth[:, 1:-1, 2:]).abs()
    return vertical, horizontal


def agreement_loss(
    depth: Tensor,
    boundary: Tensor,
    margin: Tensor | None = None,
    form: Literal['max', 'min'] = 'max',
    known: Tensor | None = None,
) -> Tensor:
    """OBDCL, a scalar: depth jumps where there is a boundary, and nowhere else.

    near = 0.1 mean(O (1 - clip(f(dv, dh) / margin, 0, 1))), f as `form` says;
    far = 0.1 sum over the 4 neighbours of mean((1 - O) |d - d_nb|).
    `depth` and `boundary` (probability) (T, h, w); `margin` > 0 (T, h, w), see `true_margin`;
    None: 1 unit, as published. Inner pixels only: the picture's rim lacks neighbours. `known`
    (T, h, w): weights of the pixels in each mean; None: all alike.
    """
    pick = torch.maximum if form == 'max' else torch.minimum
    jump = pick(*axis_jumps(depth))
    if margin is not None:
        jump = jump / margin[:, 1:-1, 1:-1]
    inner = boundary[:, 1:-1, 1:-1]
    weight = torch.ones_like(inner) if known is None else known[:, 1:-1, 1:-1]
    total = weight.sum().clamp(min=1)
    near = (weight * inner * (1 - jump.clamp(0, 1))).sum() / total
    here = depth[:, 1:-1, 1:-1]
    neighbours = (depth[:, :-2, 1:-1], depth[:, 2:, 1:-1], depth[:, 1:-1, :-2], depth[:, 1:-1, 2:])
    far = sum((weight * (1 - inner) * (here - other).abs()).sum() / total for other in neighbours)
    return AGREEMENT_WEIGHT * (near + far)


def true_margin(truth: Tensor) -> Tensor:
    """The larger of the true depth's two jumps at each pixel, at least 0.01; (T, h, w)."""
    jump = torch.maximum(*axis_jumps(truth)).unsqueeze(1)
    return functional.pad(jump, (1, 1, 1, 1), mode='replicate').squeeze(1).clamp(min=1e-2)
