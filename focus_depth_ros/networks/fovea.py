"""The fovea: the focus half sees the target's surroundings at the picture's own resolution.

A second look runs the encoder on a window round the target. Here the window's features are the
geometry branch, and what the first look made of the whole picture, aligned cell by cell with the
window, joins them by MSSA at every decoder scale; the first look's answer joins them too, as a map
that says what is asked for. A focus half of its own then answers on the window's grid, which is as
fine as the window. Everything that joins starts at zero: an untrained fovea is a second look that
knows nothing of the first.

Named deviation: in FocusDepth (arXiv 2605.11756) both branches of MSSA see the same picture and the
prompt branch is another network; here both are one encoder's views of one scene at two scales.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from focus_depth_ros.networks.blocks import ConvNormReLU
from focus_depth_ros.networks.compact import (
    CompactEncoder,
    CompactFocus,
    CompactShape,
    FocusOutput,
)
from focus_depth_ros.networks.mssa import MSSA, fuse_maps

FIRST_LOOK_CHANNELS = 2
"""Inverse depth of the first look, and its mask as a probability."""
SCALES = (4, 8, 16, 32)
WHOLE_NAMES = tuple(f'stride{scale}' for scale in SCALES)
"""The features of the whole picture that a fovea sees."""


def resampled(
    features: Tensor,
    window: Tensor,
    size: tuple[int, int],
    spans: tuple[float, float] | None = None,
) -> Tensor:
    """Maps (T or 1, C, H, W) of a picture resampled to the cells of T windows: (T, C, h, w).

    `window` (T, 4) xyxy / picture size, `size` = (h, w). Bilinear, pixel-centre convention, as two
    matrix products, which every runtime has. `spans`: cells that the picture's height and width
    take, where both maps have one stride and their last cells hang over; None: all of each map's.
    """
    rows, columns = features.shape[-2:]
    high, wide = (None, None) if spans is None else spans
    down = _tents(window[:, 1], window[:, 3], size[0], rows, high)
    across = _tents(window[:, 0], window[:, 2], size[1], columns, wide)
    result: Tensor = down.unsqueeze(1) @ features @ across.unsqueeze(1).transpose(-1, -2)
    return result


def _tents(start: Tensor, end: Tensor, cells: int, source_cells: int, span: float | None) -> Tensor:
    """Linear interpolation from start to end (T,), in [0, 1]: weights (T, cells, source_cells)."""
    steps = (torch.arange(cells, device=start.device, dtype=start.dtype) + 0.5) / (span or cells)
    places = start[:, None] + (end - start)[:, None] * steps
    places = (places * (span or source_cells) - 0.5).clamp(0, source_cells - 1)
    sources = torch.arange(source_cells, device=start.device, dtype=start.dtype)
    return torch.relu(1 - (places.unsqueeze(-1) - sources).abs())


class FoveaFusion(nn.Module):
    """A window's features joined with those of the whole picture and the first look's answer."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        width, fine = shape.decoder, shape.fine
        self.fine_size = shape.grid(2)
        height, width_px = shape.grid(1)
        self.spans = [(height / scale, width_px / scale) for scale in SCALES]
        self.fusions = nn.ModuleList(
            MSSA(width, width, shape.experts_hidden, dropout=shape.dropout, gate_bias=0.0)
            for _ in SCALES
        )
        self.first2 = ConvNormReLU(FIRST_LOOK_CHANNELS, fine)
        self.first4 = ConvNormReLU(fine, fine, stride=2)
        self.first8 = ConvNormReLU(fine, fine, stride=2)
        self.to_detail = nn.Conv2d(fine, shape.detail, 1)
        self.to_stride4 = nn.Conv2d(fine, width, 1)
        self.to_grounding = nn.Conv2d(fine, shape.grounding, 1)
        for layer in (self.to_detail, self.to_stride4, self.to_grounding):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, near: dict[str, Tensor], whole: dict[str, Tensor], window: Tensor, first: Tensor
    ) -> dict[str, Tensor]:
        """Features of T windows, of one picture or T, windows (T, 4), first look (T, 2, h, w)."""
        said2 = self.first2(resampled(first, window, self.fine_size))
        said4 = self.first4(said2)
        said8 = self.first8(said4)
        joined = dict(near)
        for name, fusion, spans in zip(WHOLE_NAMES, self.fusions, self.spans, strict=True):
            size = (near[name].shape[-2], near[name].shape[-1])
            aligned = resampled(whole[name], window, size, spans)
            joined[name] = fuse_maps(fusion, near[name], aligned)
        joined['detail'] = joined['detail'] + self.to_detail(said2)
        joined['stride4'] = joined['stride4'] + self.to_stride4(said4)
        joined['grounding'] = joined['grounding'] + self.to_grounding(said8)
        return joined


class Fovea(nn.Module):
    """The second look's focus half: prompts and answer are in shares of the window."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.fusion = FoveaFusion(shape)
        self.focus = CompactFocus(shape)

    def forward(
        self,
        near: dict[str, Tensor],
        whole: dict[str, Tensor],
        window: Tensor,
        first: Tensor,
        box: Tensor,
        words: Tensor,
    ) -> FocusOutput:
        """See `FoveaFusion` and `CompactFocus`."""
        output: FocusOutput = self.focus(self.fusion(near, whole, window, first), box, words)
        return output


def first_look(output: FocusOutput) -> Tensor:
    """What a fovea is told of a first look: (T, 2, h, w)."""
    return torch.stack([output.inverse_depth, torch.sigmoid(output.mask)], dim=1)


class FoveaNetwork(nn.Module):
    """Both looks as one module, for training: encoder and first look, and the fovea on top."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = CompactEncoder(shape)
        self.focus = CompactFocus(shape)
        self.fovea = Fovea(shape)
