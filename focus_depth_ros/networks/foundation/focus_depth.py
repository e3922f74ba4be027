"""FocusDepth (arXiv 2605.11756): Depth Anything steered by SAM3, with MoDOT's boundaries beside it.

Per scale s of the depth network's four, an MSSA of its own joins the geometry tokens X_s^g with the
one prompt-conditioned token map X^p of SAM3's fusion encoder; the DPT decoder runs on the joined
maps. What depends on the picture alone is `encode`; a new prompt costs `forward` only.

Both branches see the same stretched square. At equal sides token i of one is token i of the other;
where the depth branch runs smaller, X^p is resampled to its grid.

MoDOT's boundary branch and its refiner are optional. Named deviations: CASM hands its refined
features to the depth decoder through a share that starts at zero, so that a fresh branch leaves the
depth network as it was; and a plain ViT has no shallow feature at a quarter of the picture's size,
so that the refiner's is the decoder's finest input: the first tap at stride 3.5, joined with the
prompt by MSSA; the branch's levels stand at strides 28, 14, 7 and 3.5 for MoDOT's 32 to 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from focus_depth_ros.networks.blocks import resize
from focus_depth_ros.networks.foundation.depth_anything import DepthAnything
from focus_depth_ros.networks.foundation.dinov2 import PATCH
from focus_depth_ros.networks.foundation.sam3 import MAP_NAMES, PromptedTokens, Sam3
from focus_depth_ros.networks.modot import BoundaryDecoder, BoundaryMaps
from focus_depth_ros.networks.mssa import MSSA, fuse_maps
from focus_depth_ros.networks.ssr import SSRRefiner

GEOMETRY_NAMES = ('geometry0', 'geometry1', 'geometry2', 'geometry3')
BOUNDARY_CHANNELS = 16
SHARE_RATE = 100.0
"""Share of CASM's features in the depth decoder for each unit of its parameter.

AdamW moves a parameter by its rate in a step, whatever the gradient: at 3e-5 the share itself would
end at a few per cent.
"""


@dataclass(frozen=True)
class FocusDepthShape:
    """What of FocusDepth is not given by the two networks it stands on.

    `side_px` is the depth branch's square picture; `hidden` the experts' width (None: C_g);
    `boundaries` adds MoDOT's branch and refiner.
    """

    side_px: int = 518
    hidden: int | None = None
    paper_literal: bool = False
    boundaries: bool = True


@dataclass(frozen=True)
class FocusDepthOutput:
    """What the network says about T prompts; S is the depth branch's side in px.

    answer (T, S, S) as the depth network's kind has it, under the sky too: what training takes;
    inverse_depth (T, S, S) larger = nearer, sky 0;
    mask (T, 4 g, 4 g) logits on SAM3's grid g; boundary (T, S, S) logits and boundary_sides logits,
    coarse to fine, None and empty without a boundary branch; tokens and pixels for what is read off
    SAM3 besides.
    """

    answer: Tensor
    inverse_depth: Tensor
    mask: Tensor
    boundary: Tensor | None
    boundary_sides: tuple[Tensor, ...]
    tokens: PromptedTokens
    pixels: Tensor


class FocusDepth(nn.Module):
    """See the module. Raises ValueError for a side that is no multiple of 14 or over SAM3's."""

    shrink: Tensor

    def __init__(self, depth: DepthAnything, sam3: Sam3, shape: FocusDepthShape) -> None:
        super().__init__()
        if shape.side_px % PATCH or not PATCH <= shape.side_px <= sam3.side:
            raise ValueError(
                f'a depth side of {shape.side_px} px; multiples of {PATCH} up to {sam3.side} fit'
            )
        self.shape, self.depth, self.sam3 = shape, depth, sam3
        channels, features = depth.shape.channels, depth.shape.features
        self.adapters = nn.ModuleList(
            MSSA(channels, sam3.channels, shape.hidden, paper_literal=shape.paper_literal)
            for _ in GEOMETRY_NAMES
        )
        self.boundary: BoundaryDecoder | None = None
        if shape.boundaries:
            self.boundary = BoundaryDecoder([features] * 4, features, BOUNDARY_CHANNELS)
            self.boundary_share = nn.Parameter(torch.zeros(3))  # the coarsest level has no CASM
            self.refiner = SSRRefiner(features, BOUNDARY_CHANNELS)
        self.register_buffer('shrink', area_weights(sam3.side, shape.side_px), persistent=False)

    def encode(self, picture: Tensor) -> dict[str, Tensor]:
        """RGB (B, 3, side, side) in [0, 1] at SAM3's side -> features by name.

        geometry0..3 (B, C_g, S / 14, S / 14); SAM3's maps; picture (B, 3, S, S) in [0, 1] for a
        boundary branch.
        """
        small = picture
        if self.shape.side_px != self.sam3.side:
            with torch.autocast(picture.device.type, enabled=False):  # bfloat16 would round it
                small = self.shrink @ picture @ self.shrink.T
        maps = self.depth.encode(small)
        features = dict(zip(GEOMETRY_NAMES, maps, strict=True)) | self.sam3.encode(picture)
        return features if self.boundary is None else {**features, 'picture': small}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of what `encode` gives, in its order."""
        names = (*GEOMETRY_NAMES, *MAP_NAMES)
        return names if self.boundary is None else (*names, 'picture')

    def forward(
        self, features: dict[str, Tensor], boxes: Tensor, words: Tensor
    ) -> FocusDepthOutput:
        """Features of one picture, or of T.

        `boxes` (T, 4) xyxy in [0, 1], zeros for none; token ids `words` (T, L), zeros for none.
        """
        features = {
            name: value.expand(boxes.shape[0], -1, -1, -1) for name, value in features.items()
        }
        tokens = self.sam3.prompted(features['sam_coarse'], boxes, words)
        pixels = self.sam3.pixels(features, tokens)
        laterals = self.depth.laterals(self.fused_maps(features, tokens))
        maps = None
        if self.boundary is None:
            fused = self.depth.decode(laterals)
        else:
            fused, maps = self._decode_with_boundaries(self.boundary, features['picture'], laterals)
        with torch.autocast(fused.device.type, enabled=False):  # half precision rounds by .3 %
            answer, sky = self.depth.answer(fused.float(), [level.float() for level in laterals])
        boundary: Tensor | None = None
        sides: tuple[Tensor, ...] = ()
        if maps is not None:
            refined, logits = self.refiner(
                laterals[0], maps.features, answer.unsqueeze(1), maps.boundary
            )
            answer, boundary, sides = refined[:, 0], logits[:, 0], maps.sides
        return FocusDepthOutput(
            answer=answer,
            inverse_depth=self.depth.inverse_depth(answer, sky),
            mask=self.sam3.semantic_mask(pixels),
            boundary=boundary,
            boundary_sides=sides,
            tokens=tokens,
            pixels=pixels,
        )

    def fused_maps(self, features: dict[str, Tensor], tokens: PromptedTokens) -> list[Tensor]:
        """Y_s for the four scales, each (T, C_g, S / 14, S / 14)."""
        grid = self.sam3.grid
        prompt = tokens.fused.transpose(1, 2).unflatten(2, (grid, grid))
        height, width = features[GEOMETRY_NAMES[0]].shape[-2:]
        prompt = resize(prompt, (height, width))
        return [
            fuse_maps(cast(MSSA, adapter), features[name], prompt)
            for name, adapter in zip(GEOMETRY_NAMES, self.adapters, strict=True)
        ]

    def _decode_with_boundaries(
        self, branch: BoundaryDecoder, picture: Tensor, laterals: list[Tensor]
    ) -> tuple[Tensor, BoundaryMaps]:
        """Both decoders in step; the depth decoder takes CASM's features by the learned share."""
        merged: list[Tensor] = []

        def depth_step(level: int, refined: Tensor | None) -> Tensor:
            above = None
            if refined is not None:
                above = self.depth.enlarge(level - 1, mixed(refined), laterals)
            merged.append(self.depth.merge(level, above, laterals))
            return merged[-1]

        def mixed(refined: Tensor) -> Tensor:
            if len(merged) == 1:
                return merged[-1]
            share = SHARE_RATE * self.boundary_share[len(merged) - 2]
            return merged[-1] + share * (refined - merged[-1])

        maps = branch(picture, laterals[::-1], depth_step)
        return self.depth.enlarge(3, mixed(maps.depth), laterals), maps


def area_weights(side: int, smaller: int) -> Tensor:
    """How much each of `side` px counts in each of `smaller` on the same line: (smaller, side)."""
    edges = torch.linspace(0, side, smaller + 1, dtype=torch.float64).unsqueeze(1)
    pixels = torch.arange(side, dtype=torch.float64)
    covered = torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)
    return (covered.clamp(min=0) * (smaller / side)).float()
