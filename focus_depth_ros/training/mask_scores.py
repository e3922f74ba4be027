"""How well masks are met in a review: intersection over union, by kind of prompt."""

from __future__ import annotations

from torch import Tensor

from focus_depth_ros.training.example import BOX_PROMPT, TEXT_PROMPT


def hard_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """IoU of logits over 0 with shares over one half, both (T, h, w): (T,); both empty: 0."""
    guess, target = logits > 0, mask > 0.5
    return (guess & target).sum((1, 2)) / (guess | target).sum((1, 2)).clamp(min=1)


def iou_by_prompt(logits: Tensor, mask: Tensor, kind: Tensor) -> dict[str, list[float]]:
    """`hard_iou` of the targets that were asked for by box and by words; kind (T,)."""
    overlap = hard_iou(logits, mask)
    return {
        'iou_box': overlap[kind == BOX_PROMPT].tolist(),
        'iou_text': overlap[kind == TEXT_PROMPT].tolist(),
    }
