"""The MoDOT boundary branch's parts: CASM and the levels of the boundary decoder.

MoDOT (arXiv 2505.21231), stage 1. CASM, for boundary features O and depth features D, both (B, C,
H, W):

    SE: 1x1 C -> C/16, ReLU, 1x1 C/16 -> C, no bias;  CA(x) = sigmoid(SE(maxpool x) + SE(avgpool x))
    U  = Conv1x1([O || D]);   D' = MSSF(U) + D * CA_o(O) + D;   O' = O + O * CA_d(D)
    MSSF(a) = ConvBNReLU_1x1[strips(7) || ConvBNReLU_3x3(a) || strips(11)]
    strips(k) = ReLU(S_1xk a + S_kx1 a);  S_1xk = Conv1xk - BN - ReLU - Conv1xk - BN

"Cross attention" means swapped channel-attention weights, not query-key attention. Named
deviation: the SE bottleneck is never narrower than 4 channels, since the compact family's C / 16
would be 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from focus_depth_ros.networks.blocks import ConvNorm, ConvNormReLU, resize


class ChannelAttention(nn.Module):
    """(B, C, H, W) -> (B, C, 1, 1) weights in (0, 1) from the map's maximum and mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        bottleneck = max(channels // 16, 4)
        self.squeeze = nn.Sequential(
            nn.Conv2d(channels, bottleneck, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(bottleneck, channels, 1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        highest = self.squeeze(features.amax((2, 3), keepdim=True))
        average = self.squeeze(features.mean((2, 3), keepdim=True))
        return torch.sigmoid(highest + average)


class StripPair(nn.Module):
    """ReLU(S_1xk a + S_kx1 a): two strip convolutions in each direction, length k."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.horizontal = _strip(channels, (1, length))
        self.vertical = _strip(channels, (length, 1))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return functional.relu(self.horizontal(features) + self.vertical(features))


def _strip(channels: int, kernel: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        ConvNormReLU(channels, channels, kernel), ConvNorm(channels, channels, kernel)
    )


class CASM(nn.Module):
    """Cross-attention strip module: (O, D) -> (O', D'), all (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.join = nn.Conv2d(2 * channels, channels, 1)
        self.short_strips = StripPair(channels, 7)
        self.square = ConvNormReLU(channels, channels)
        self.long_strips = StripPair(channels, 11)
        self.merge = ConvNormReLU(3 * channels, channels, 1)
        self.boundary_attention = ChannelAttention(channels)
        self.depth_attention = ChannelAttention(channels)

    def forward(self, boundary: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        joined = self.join(torch.cat([boundary, depth], dim=1))
        strips = torch.cat(
            [self.short_strips(joined), self.square(joined), self.long_strips(joined)], dim=1
        )
        refined = self.merge(strips) + depth * self.boundary_attention(boundary) + depth
        return boundary + boundary * self.depth_attention(depth), refined


class BoundaryLevel(nn.Module):
    """One level of the boundary decoder at a decoder scale.

    The coarser boundary map is brought up, the depth decoder's features are joined at the
    branch's width, CASM exchanges the two where `casm` is set, and the depth features get their
    share back through a projection that starts at zero. Named deviations from MoDOT: one 3x3
    convolution a level instead of two, and the exchange runs at the boundary branch's width,
    which is half of the depth decoder's.
    """

    def __init__(self, depth_channels: int, channels: int, casm: bool) -> None:
        super().__init__()
        self.reduce = ConvNormReLU(depth_channels, channels, 1)
        self.mix = ConvNormReLU(2 * channels, channels)
        self.exchange = CASM(channels) if casm else None
        self.side_output = nn.Conv2d(channels, 1, 1)
        if casm:
            self.give_back = nn.Conv2d(channels, depth_channels, 1)
            for value in self.give_back.parameters():
                nn.init.zeros_(value)

    def forward(self, coarser: Tensor | None, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coarser boundary features (or None), depth features -> (O', D', side-output logits)."""
        reduced = self.reduce(depth)
        above = reduced if coarser is None else resize(coarser, reduced.shape[-2:])
        boundary = self.mix(torch.cat([above, reduced], dim=1))
        if self.exchange is not None:
            boundary, refined = self.exchange(boundary, reduced)
            depth = depth + self.give_back(refined)
        return boundary, depth, self.side_output(boundary)
