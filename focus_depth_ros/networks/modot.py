"""The MoDOT boundary branch: CASM, the boundary decoder, and its path at the picture's resolution.

`BoundaryDecoder` is the published form; `BoundaryLevel` is the lighter level of the compact
family. MoDOT (arXiv 2505.21231), stage 1; stage 2 is in `ssr.py`. CASM, for boundary features O
and depth features D, both (B, C, H, W):

    SE: 1x1 C -> C/16, ReLU, 1x1 C/16 -> C, no bias;  CA(x) = sigmoid(SE(maxpool x) + SE(avgpool x))
    U  = Conv1x1([O || D]);   D' = MSSF(U) + D * CA_o(O) + D;   O' = O + O * CA_d(D)
    MSSF(a) = ConvBNReLU_1x1[strips(7) || ConvBNReLU_3x3(a) || strips(11)]
    strips(k) = ReLU(S_1xk a + S_kx1 a);  S_1xk = Conv1xk - BN - ReLU - Conv1xk - BN

"Cross attention" means swapped channel-attention weights, not query-key attention. Named
deviation: the SE bottleneck is never narrower than 4 channels, since the compact family's C / 16
would be 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from focus_depth_ros.networks.blocks import ConvNorm, ConvNormReLU, enlarge, resize


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


class SpatialAttention(nn.Module):
    """(B, C, H, W) -> (B, 1, H, W) weights in (0, 1) from the channels' maximum and mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        highest, average = features.amax(1, keepdim=True), features.mean(1, keepdim=True)
        return torch.sigmoid(self.weigh(torch.cat([highest, average], dim=1)))


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
    which is a third of the depth decoder's.
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
        height, width = reduced.shape[-2:]
        above = reduced if coarser is None else enlarge(coarser, (height, width), 2)
        boundary = self.mix(torch.cat([above, reduced], dim=1))
        if self.exchange is not None:
            boundary, refined = self.exchange(boundary, reduced)
            depth = depth + self.give_back(refined)
        return boundary, depth, self.side_output(boundary)


class FullResolutionPath(nn.Module):
    """Picture (B, 3, H, W) -> (B, C, H, W): where thin boundaries come from.

    Two 3x3 convolutions, channel attention, spatial attention, a third convolution. MoDOT says 'a
    few 3x3 convolutions with channel and spatial attention'; number and order are this project's.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.entry = nn.Sequential(ConvNormReLU(3, channels), ConvNormReLU(channels, channels))
        self.channel_attention = ChannelAttention(channels)
        self.spatial_attention = SpatialAttention()
        self.exit = ConvNormReLU(channels, channels)

    def forward(self, picture: Tensor) -> Tensor:
        """See the class."""
        features = self.entry(picture)
        features = features * self.channel_attention(features)
        refined: Tensor = self.exit(features * self.spatial_attention(features))
        return refined


@dataclass(frozen=True)
class BoundaryMaps:
    """What stage 1 says; H, W is the picture's size.

    boundary (B, 1, H, W) logits; sides: four side outputs (B, 1, h, w), logits, strides 32, 16, 8,
    4; features (B, C_f, H, W), the boundary features at full resolution; depth: the depth
    decoder's features of the finest level, refined by CASM.
    """

    boundary: Tensor
    sides: tuple[Tensor, ...]
    features: Tensor
    depth: Tensor


class BoundaryDecoder(nn.Module):
    """MoDOT's stage 1 beside any depth decoder that goes from coarse to fine.

    Per level, two 3x3 convolutions on the encoder's features joined with the boundary features
    brought up, and a side output; CASM between both decoders at all levels but the coarsest.
    Named deviations: the depth decoder is the depth network's own instead of neural window CRFs,
    and the coarsest level, which has nothing above it, joins the depth features in that place.
    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        depth_channels: int,
        full_channels: int,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(
                ConvNormReLU(channels + depth_channels, depth_channels),
                ConvNormReLU(depth_channels, depth_channels),
            )
            for channels in encoder_channels
        )
        self.exchanges = nn.ModuleList(CASM(depth_channels) for _ in encoder_channels[1:])
        self.side_outputs = nn.ModuleList(nn.Conv2d(depth_channels, 1, 1) for _ in encoder_channels)
        self.full_resolution = FullResolutionPath(full_channels)
        self.join = nn.Sequential(
            ConvNormReLU(depth_channels + full_channels, full_channels),
            ConvNormReLU(full_channels, full_channels),
        )
        self.head = nn.Conv2d(full_channels, 1, 1)

    def forward(
        self,
        picture: Tensor,
        encoder: Sequence[Tensor],
        depth_step: Callable[[int, Tensor | None], Tensor],
    ) -> BoundaryMaps:
        """Run both decoders in step.

        `picture` (B, 3, H, W); `encoder` its features from coarse to fine, (B, C_i, h_i, w_i);
        `depth_step(i, above)` gives the depth decoder's features (B, C, h_i, w_i) of level i from
        the refined ones of the level above (None at the coarsest).
        """
        depth = depth_step(0, None)
        boundary = self.levels[0](torch.cat([encoder[0], depth], dim=1))
        sides = [self.side_outputs[0](boundary)]
        for index in range(1, len(encoder)):
            height, width = encoder[index].shape[-2:]
            above = resize(boundary, (height, width))
            boundary = self.levels[index](torch.cat([encoder[index], above], dim=1))
            depth = depth_step(index, depth)
            boundary, depth = self.exchanges[index - 1](boundary, depth)
            sides.append(self.side_outputs[index](boundary))
        fine = self.full_resolution(picture)
        height, width = picture.shape[-2:]
        features = self.join(torch.cat([resize(boundary, (height, width)), fine], dim=1))
        return BoundaryMaps(self.head(features), tuple(sides), features, depth)
