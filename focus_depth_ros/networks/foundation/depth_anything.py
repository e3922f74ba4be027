"""Depth Anything V2 and 3: a DINOv2 backbone and a DPT decoder, cut between the two.

The cut is where FocusDepth enters: its adapters change the four maps that the backbone hands to the
decoder. The neck is that of `transformers`; so are the names of all submodules. Depth Anything 3
has no class there: its monocular models share V2's layout and differ in the head (depth as an
exponential, a sky channel), its any-view models also in the backbone and in a position code that is
added to the decoder's maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DepthAnythingConfig, Dinov2Config
from transformers.models.depth_anything.modeling_depth_anything import DepthAnythingNeck

from focus_depth_ros.networks.blocks import IMAGENET_MEAN, IMAGENET_STD
from focus_depth_ros.networks.foundation.attention import FUSED, use_attention
from focus_depth_ros.networks.foundation.dinov2 import PATCH, AnyViewDinov2, Dinov2

SKY_ABOVE = 0.3
PRETRAINED_GRID = 37


class Kind(Enum):
    """What a member of the family answers."""

    V2 = 'depth-anything-v2'
    """Affine-invariant inverse depth, >= 0, larger = nearer."""
    V2_METRIC = 'depth-anything-v2-metric'
    """Depth in metres, up to the `max_depth_m` it was trained for."""
    V3_MONO = 'da3mono'
    """Relative depth, larger = farther, and sky."""
    V3_METRIC = 'da3metric'
    """Metres x 300 / focal length in px of the picture it sees, and sky."""
    V3_ANY_VIEW = 'da3'
    """Relative depth of one view (models SMALL and BASE)."""

    @property
    def answers_inverse_depth(self) -> bool:
        """True for the one kind whose decoder speaks of 1 / Z instead of Z."""
        return self is Kind.V2

    @property
    def has_sky(self) -> bool:
        """True where a second channel marks the sky."""
        return self in (Kind.V3_MONO, Kind.V3_METRIC)


@dataclass(frozen=True)
class DepthShape:
    """Sizes of one member; `reassemble` and `features` are the DPT decoder's channels."""

    kind: Kind
    width: int
    layers: int
    reassemble: tuple[int, int, int, int]
    features: int
    head: int = 32
    max_depth_m: float = 20.0

    @property
    def taps(self) -> tuple[int, int, int, int]:
        """The layers, from 0, whose tokens the decoder reads."""
        if self.kind is Kind.V3_ANY_VIEW:
            return (5, 7, 9, 11)
        return (4, 11, 17, 23) if self.layers == 24 else (2, 5, 8, 11)

    @property
    def channels(self) -> int:
        """C_g: channels of the maps between backbone and decoder."""
        return 2 * self.width if self.kind is Kind.V3_ANY_VIEW else self.width


class DepthAnything(nn.Module):
    """Backbone, neck and head; see `forward` for the whole and `encode` for the cut."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: DepthShape) -> None:
        super().__init__()
        self.shape = shape
        vit = Dinov2Config(
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.width // 64,
            image_size=PRETRAINED_GRID * PATCH,
            patch_size=PATCH,
            use_mask_token=False,
        )
        self.backbone: Dinov2
        if shape.kind is Kind.V3_ANY_VIEW:
            self.backbone = AnyViewDinov2(vit, shape.taps, start=4)
        else:
            is_v2 = shape.kind in (Kind.V2, Kind.V2_METRIC)
            self.backbone = Dinov2(vit, shape.taps, norm_eps=1e-6 if is_v2 else 1e-5)
        self.neck = DepthAnythingNeck(
            DepthAnythingConfig(
                backbone_config=vit,
                reassemble_hidden_size=shape.channels,
                neck_hidden_sizes=shape.reassemble,
                fusion_hidden_size=shape.features,
            )
        )
        # The coarsest fusion has nothing to add: this layer of it is never asked.
        self.neck.fusion_stage.layers[0].residual_layer1 = nn.Identity()
        self.map_norm = (
            nn.LayerNorm(shape.channels) if shape.kind is Kind.V3_ANY_VIEW else nn.Identity()
        )
        self.head = DepthHead(shape)
        use_attention(self, FUSED)
        self.register_buffer('mean', torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1), False)
        self.register_buffer('deviation', torch.tensor(IMAGENET_STD).reshape(3, 1, 1), False)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor | None]:
        """RGB (B, 3, H, W) in [0, 1], sides multiples of 14 -> the kind's answer; see `answer`."""
        features = self.laterals(self.encode(picture))
        return self.answer(self.decode(features), features)

    def encode(self, picture: Tensor) -> list[Tensor]:
        """RGB (B, 3, H, W) in [0, 1] -> four maps X^g (B, C_g, H / 14, W / 14)."""
        maps: list[Tensor] = self.backbone((picture - self.mean) / self.deviation)
        return maps

    def laterals(self, maps: list[Tensor]) -> list[Tensor]:
        """Four backbone maps -> the decoder's inputs at 4, 2, 1 and 1/2 of their grid."""
        stages = zip(maps, self.neck.reassemble_stage.layers, self.neck.convs, strict=True)
        features = []
        for tokens, stage, convolution in stages:
            normed = self.map_norm(tokens.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            placed = self._with_place(stage.projection(normed))
            features.append(convolution(stage.resize(placed)))
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """The decoder's inputs -> its finest features, from coarse to fine."""
        fused: Tensor | None = None
        for level in range(4):
            fused = self.enlarge(level, self.merge(level, fused, features), features)
        assert fused is not None
        return fused

    def merge(self, level: int, above: Tensor | None, features: list[Tensor]) -> Tensor:
        """First half of a decoder step, level 0 the coarsest: (B, F, h, w) at the lateral's size.

        `above` is what `enlarge` made of the level above; the coarsest has none.
        """
        layer, lateral = self.neck.fusion_stage.layers[level], features[3 - level]
        joined = lateral if above is None else above + layer.residual_layer1(lateral)
        merged: Tensor = layer.residual_layer2(joined)
        return merged

    def enlarge(self, level: int, merged: Tensor, features: list[Tensor]) -> Tensor:
        """Second half: up to the next lateral's size, or to twice the finest one's."""
        height, width = merged.shape[-2:]
        size = features[2 - level].shape[-2:] if level < 3 else (2 * height, 2 * width)
        enlarged = functional.interpolate(merged, size, mode='bilinear', align_corners=True)
        projected: Tensor = self.neck.fusion_stage.layers[level].projection(enlarged)
        return projected

    def answer(self, fused: Tensor, features: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """The finest features -> what the kind answers, (B, 14 h, 14 w) for a grid (h, w); sky.

        Sky is a mask of that size, None for kinds that know none. The answer goes on under it: as
        far as numbers go, it would be all that a least-squares fit or a resampling sees.
        """
        height, width = features[2].shape[-2:]
        narrow = functional.interpolate(
            self.head.conv1(fused),
            (PATCH * height, PATCH * width),
            mode='bilinear',
            align_corners=True,
        )
        placed = self._with_place(narrow)
        return self.head(placed), self.head.sky(placed)

    def inverse_depth(self, answer: Tensor, sky: Tensor | None) -> Tensor:
        """The kind's answer and sky (B, H, W) -> inverse depth >= 0, larger = nearer, sky 0."""
        if self.shape.kind.answers_inverse_depth:
            return answer.clamp(min=0)  # a refiner may have taken it below
        nearness = 1.0 / answer.clamp(min=1e-3)
        return nearness if sky is None else torch.where(sky, 0.0, nearness)

    def _with_place(self, maps: Tensor) -> Tensor:
        """Any-view models add a tenth of a position code to the decoder's maps."""
        if self.shape.kind is not Kind.V3_ANY_VIEW:
            return maps
        return maps + 0.1 * place_code(maps.shape[1], maps.shape[-2], maps.shape[-1]).to(maps)


class DepthHead(nn.Module):
    """The last convolutions and the activation; `conv1` is applied before the enlargement."""

    def __init__(self, shape: DepthShape) -> None:
        super().__init__()
        self.kind, self.max_depth_m = shape.kind, shape.max_depth_m
        half = shape.features // 2
        outputs = 2 if shape.kind is Kind.V3_ANY_VIEW else 1
        self.conv1 = nn.Conv2d(shape.features, half, 3, padding=1)
        self.conv2 = nn.Conv2d(half, shape.head, 3, padding=1)
        self.conv3 = nn.Conv2d(shape.head, outputs, 1)
        if shape.kind.has_sky:
            self.sky1 = nn.Conv2d(half, shape.head, 3, padding=1)
            self.sky2 = nn.Conv2d(shape.head, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F / 2, H, W) -> (B, H, W)."""
        answer = self.conv3(functional.relu(self.conv2(features)))[:, 0]
        if self.kind is Kind.V2:
            return functional.relu(answer)
        if self.kind is Kind.V2_METRIC:
            return self.max_depth_m * torch.sigmoid(answer)
        return torch.exp(answer)

    def sky(self, features: Tensor) -> Tensor | None:
        """Features (B, F / 2, H, W) -> where the sky is, (B, H, W); None for kinds without."""
        if not self.kind.has_sky:
            return None
        likeness = functional.relu(self.sky2(functional.relu(self.sky1(features))))
        return likeness[:, 0] > SKY_ABOVE


def place_code(channels: int, height: int, width: int) -> Tensor:
    """Sines and cosines of x, then of y, over a picture of unit half-diagonal: (C, H, W).

    x and y are the cells' centres; half of each coordinate's channels are sines, speeds falling
    from 1 to 1/100.
    """
    diagonal = (height**2 + width**2) ** 0.5
    across = (2 * torch.arange(width) + 1 - width) / diagonal
    down = (2 * torch.arange(height) + 1 - height) / diagonal
    speed = 100.0 ** (-torch.arange(channels // 4) / (channels / 4))

    def waves(place: Tensor) -> Tensor:
        angle = speed[:, None] * place
        return torch.cat([angle.sin(), angle.cos()])

    x = waves(across)[:, None, :].expand(-1, height, -1)
    y = waves(down)[:, :, None].expand(-1, -1, width)
    return torch.cat([x, y])
