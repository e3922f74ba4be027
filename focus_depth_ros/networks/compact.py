"""The compact focus-depth network: encoder once a picture, focus half once a prompt.

An EfficientNet-Lite as encoder, a light pyramid decoder whose every scale passes through an
MSSA with the prompt branch's tokens, MoDOT's boundary branch with CASM at the two low scales, a
plane head (tables and floors are planes in disparity), a confidence and a canonical-camera metric
head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from focus_depth_ros.caption_words import PLAIN
from focus_depth_ros.networks.blocks import ConvNormReLU, Residual, enlarge, halved
from focus_depth_ros.networks.efficientnet_lite import (
    LITE1,
    LITE1_STEM,
    EfficientNetLite,
    Group,
)
from focus_depth_ros.networks.modot import BoundaryLevel
from focus_depth_ros.networks.mssa import MSSA, fuse_maps
from focus_depth_ros.networks.prompt import PromptBranch

FEATURE_NAMES = ('detail', 'stride4', 'stride8', 'stride16', 'stride32', 'grounding', 'context')


@dataclass(frozen=True)
class CompactShape:
    """Sizes of the network, and MSSA's dropout; the defaults are the shipped model's."""

    height: int = 216
    width: int = 288
    stem: int = LITE1_STEM
    trunk: tuple[Group, ...] = LITE1
    detail: int = 16
    decoder: int = 48
    fine: int = 16
    boundary: int = 16
    grounding: int = 64
    experts_hidden: int = 12
    word_roles: tuple[int, ...] = (PLAIN,) * 128
    max_words: int = 12
    dropout: float = 0.0

    def grid(self, stride: int) -> tuple[int, int]:
        """(height, width) of the feature map at a stride; odd sizes round up."""
        return -(-self.height // stride), -(-self.width // stride)


@dataclass(frozen=True)
class FocusOutput:
    """What the focus half says about T prompts; h, w is the stride-2 grid.

    inverse_depth (T, h, w) affine-invariant, larger = nearer; mask, boundary (T, h, w) logits;
    confidence (T,) logits; metric (T, 2) scale and shift; mask_coarse (T, H/8, W/8) logits;
    boundary_sides logits, coarse to fine.
    """

    inverse_depth: Tensor
    mask: Tensor
    boundary: Tensor
    confidence: Tensor
    metric: Tensor
    mask_coarse: Tensor
    boundary_sides: tuple[Tensor, ...]


class CompactEncoder(nn.Module):
    """Normalised picture (B, 3, H, W) -> the features named in `FEATURE_NAMES`.

    detail (B, 16, H/2, W/2); stride4..stride32 (B, 48, ...); grounding (B, 64, H/8, W/8), in the
    words' space; context (B, 64, 1, 1).
    """

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.trunk = EfficientNetLite(shape.stem, shape.trunk)
        self.detail = ConvNormReLU(shape.stem, shape.detail)
        widths = self.trunk.widths
        self.laterals = nn.ModuleList(nn.Conv2d(width, shape.decoder, 1) for width in widths)
        # Colours and outlines sit in the fine features, classes in the coarse ones: words need
        # both at stride 8.
        self.word_views = nn.ModuleList(nn.Conv2d(width, shape.grounding, 1) for width in widths)
        self.word_mix = nn.Sequential(
            nn.ReLU(inplace=True),
            ConvNormReLU(shape.grounding, shape.grounding),
            nn.Conv2d(shape.grounding, shape.grounding, 1),
        )
        self.context = nn.Linear(widths[3], 64)

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """See the class."""
        stem, levels = self.trunk(picture)
        grid = levels[1].shape[-2:]
        finest = functional.avg_pool2d(levels[0], 2)
        views = [finest, *levels[1:]]
        words = sum(
            enlarge(view(level), grid, factor)
            for view, level, factor in zip(self.word_views, views, (1, 1, 2, 4), strict=True)
        )
        pyramid = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        context = functional.relu(self.context(levels[3].mean((2, 3))))
        outputs = (self.detail(stem), *pyramid, self.word_mix(words), context[..., None, None])
        return dict(zip(FEATURE_NAMES, outputs, strict=True))


class CompactFocus(nn.Module):
    """Features of one picture, or of T pictures, and T prompts -> `FocusOutput`."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.decoder
        self.prompt = PromptBranch(
            shape.word_roles,
            shape.max_words,
            shape.grounding,
            width,
            shape.grid(8),
            shape.grid(4),
        )
        self.fusion4, self.fusion8, self.fusion16, self.fusion32 = (
            MSSA(width, width, shape.experts_hidden, dropout=shape.dropout, gate_bias=0.0)
            for _ in range(4)
        )
        self.refine16 = Residual(width)
        self.refine8 = Residual(width)
        self.refine4 = ConvNormReLU(width, width)
        self.boundary16 = BoundaryLevel(width, shape.boundary, casm=True)
        self.boundary8 = BoundaryLevel(width, shape.boundary, casm=True)
        self.boundary4 = BoundaryLevel(width, shape.boundary, casm=False)
        self.widen = nn.Conv2d(width, shape.fine, 1)
        self.detail = nn.Conv2d(shape.detail, shape.fine, 1)
        self.refine2 = ConvNormReLU(shape.fine, shape.fine)
        self.depth_and_mask = nn.Conv2d(shape.fine, 2, 3, padding=1)
        self.boundary_widen = nn.Conv2d(shape.boundary, shape.detail, 1)
        self.boundary_detail = nn.Conv2d(shape.detail, shape.detail, 1)
        self.boundary2 = ConvNormReLU(shape.detail, shape.detail)
        self.boundary_head = nn.Conv2d(shape.detail, 1, 1)
        self.plane = nn.Linear(64, 2)
        self.metric = nn.Sequential(
            nn.Linear(64 + width, 64), nn.ReLU(inplace=True), nn.Linear(64, 2)
        )
        self.confidence = nn.Sequential(
            nn.Linear(2 * width + 4, 48), nn.ReLU(inplace=True), nn.Linear(48, 1)
        )
        height2, width2 = shape.grid(2)
        across = torch.linspace(-1, 1, width2).reshape(1, 1, 1, width2)
        down = torch.linspace(-1, 1, height2).reshape(1, 1, height2, 1)
        self.register_buffer('across', across, persistent=False)
        self.register_buffer('down', down, persistent=False)
        for layer in (self.plane, self.metric[2]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, features: dict[str, Tensor], box: Tensor, words: Tensor) -> FocusOutput:
        """`box` (T, 4) xyxy / picture size, zeros = none; `words` (T, L) indices, 0 = padding."""
        tokens, tokens4, coarse_mask = self.prompt(
            features['grounding'], features['stride4'], box, words
        )
        tokens16 = halved(tokens)
        tokens32 = halved(tokens16)
        level32 = fuse_maps(self.fusion32, features['stride32'], tokens32)
        level16 = fuse_maps(self.fusion16, features['stride16'], tokens16)
        level8 = fuse_maps(self.fusion8, features['stride8'], tokens)
        level4 = fuse_maps(self.fusion4, features['stride4'], tokens4)

        depth16 = self.refine16(level16 + enlarge(level32, self.shape.grid(16), 2))
        boundary16, depth16, side16 = self.boundary16(None, depth16)
        depth8 = self.refine8(level8 + enlarge(depth16, self.shape.grid(8), 2))
        boundary8, depth8, side8 = self.boundary8(boundary16, depth8)
        depth4 = self.refine4(level4 + enlarge(depth8, self.shape.grid(4), 2))
        boundary4, depth4, side4 = self.boundary4(boundary8, depth4)

        fine = enlarge(self.widen(depth4), self.shape.grid(2), 2) + self.detail(features['detail'])
        bumps, mask = self.depth_and_mask(self.refine2(functional.relu(fine))).chunk(2, dim=1)
        mask = mask + enlarge(coarse_mask, self.shape.grid(2), 4)
        edges = enlarge(
            self.boundary_widen(boundary4), self.shape.grid(2), 2
        ) + self.boundary_detail(features['detail'])
        boundary = self.boundary_head(self.boundary2(functional.relu(edges)))

        context = features['context'].flatten(1).expand(box.shape[0], -1)
        slope = self.plane(context)[..., None, None]
        plane = slope[:, :1] * self.across + slope[:, 1:] * self.down
        pooled = _pool_by_mask(tokens, coarse_mask)
        metric = self.metric(torch.cat([context, pooled], dim=1))
        # About 0.2 and 1 for a table-top scene: the start of training is already a plausible
        # camera.
        metric = torch.stack([0.2 * torch.exp(metric[:, 0]), torch.exp(metric[:, 1])], dim=1)
        confidence = self.confidence(
            torch.cat([pooled, tokens.amax((2, 3)), _mask_statistics(coarse_mask, mask)], dim=1)
        )
        return FocusOutput(
            inverse_depth=(bumps + plane)[:, 0],
            mask=mask[:, 0],
            boundary=boundary[:, 0],
            confidence=confidence[:, 0],
            metric=metric,
            mask_coarse=coarse_mask[:, 0],
            boundary_sides=(side16[:, 0], side8[:, 0], side4[:, 0]),
        )


def _pool_by_mask(tokens: Tensor, mask_logits: Tensor) -> Tensor:
    """Mean of tokens (T, C, H, W) weighted by the mask's probability -> (T, C)."""
    weight = torch.sigmoid(mask_logits)
    return (tokens * weight).sum((2, 3)) / (weight.sum((2, 3)) + 0.1)


def _mask_statistics(coarse: Tensor, fine: Tensor) -> Tensor:
    """Peak and area of the coarse mask, area and decidedness of the fine one: (T, 4)."""
    first, second = torch.sigmoid(coarse), torch.sigmoid(fine)
    area = second.mean((2, 3))
    decided = (second * second).mean((2, 3)) / (area + 1e-3)
    return torch.cat([first.amax((2, 3)), first.mean((2, 3)), area, decided], dim=1)


class CompactNetwork(nn.Module):
    """Both halves as one module, for training."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = CompactEncoder(shape)
        self.focus = CompactFocus(shape)
