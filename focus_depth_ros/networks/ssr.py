"""MoDOT's second stage: depth and boundaries refine each other once more, at full resolution.

MoDOT (arXiv 2505.21231). Stage 1 is frozen by then (the trainer's lists see to it). The encoder's
shallow feature and the boundary branch's full-resolution feature meet at a quarter of the picture's
size with 64 channels, pass one CASM and a residual bottleneck each, and give depth and boundary at
full resolution. Named deviation: the heads start at zero and add to stage 1's maps, so that an
untrained refiner changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from focus_depth_ros.networks.blocks import ConvNorm, ConvNormReLU, resize
from focus_depth_ros.networks.modot import CASM


class Bottleneck(nn.Module):
    """x -> ReLU(x + 1x1 (3x3 (1x1 x))), inner width C / 4; (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.path = nn.Sequential(
            ConvNormReLU(channels, inner, 1),
            ConvNormReLU(inner, inner),
            ConvNorm(inner, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return functional.relu(features + self.path(features))


class SSRRefiner(nn.Module):
    """Stage 1's maps and features -> refined depth and boundary logits, both (B, 1, H, W)."""

    def __init__(self, shallow_channels: int, boundary_channels: int, channels: int = 64) -> None:
        super().__init__()
        self.shallow_entry = ConvNormReLU(shallow_channels, channels)
        self.boundary_entry = ConvNormReLU(boundary_channels, channels)
        self.exchange = CASM(channels)
        self.depth_bottleneck = Bottleneck(channels)
        self.boundary_bottleneck = Bottleneck(channels)
        self.depth_head = _zero_head(channels + 1)
        self.boundary_head = _zero_head(channels + 1)

    def forward(
        self, shallow: Tensor, boundary_features: Tensor, depth: Tensor, boundary: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refine; all of one picture size H, W.

        `shallow` (B, C_s, H/4, W/4); `boundary_features` (B, C_b, H, W), `depth` (B, 1, H, W) and
        `boundary` (B, 1, H, W) logits from stage 1.
        """
        size, full = _size(shallow), _size(depth)
        deep = self.shallow_entry(shallow)
        # Smoothed, then sampled: a quarter is not a whole number of px at every size.
        smooth = functional.avg_pool2d(
            boundary_features, 3, stride=1, padding=1, count_include_pad=False
        )
        edges = self.boundary_entry(resize(smooth, size))
        edges, deep = self.exchange(edges, deep)
        deep, edges = self.depth_bottleneck(deep), self.boundary_bottleneck(edges)
        refined = depth + self.depth_head(torch.cat([resize(deep, full), depth], dim=1))
        sharper = boundary + self.boundary_head(torch.cat([resize(edges, full), boundary], dim=1))
        return refined, sharper


def _size(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return height, width


def _zero_head(channels: int) -> nn.Conv2d:
    head = nn.Conv2d(channels, 1, 3, padding=1)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return head
