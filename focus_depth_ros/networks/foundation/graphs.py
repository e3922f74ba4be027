"""The foundation network's two graphs as modules: what is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from focus_depth_ros.networks.blocks import resize
from focus_depth_ros.networks.foundation.depth_anything import Kind
from focus_depth_ros.networks.foundation.focus_depth import FocusDepth


class EncoderGraph(nn.Module):
    """uint8 RGB (1, side, side, 3) -> the network's features."""

    def __init__(self, network: FocusDepth) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        features = self.network.encode(image.permute(0, 3, 1, 2).float() / 255)
        return tuple(features[name] for name in self.network.feature_names)


class FocusGraph(nn.Module):
    """Features, box (T, 4) and token ids (T, L) -> the five outputs at the depth branch's size.

    `by_instance`: SAM3 as published marks everything like the example in the box, so the mask of a
    box is that of the one instance that fits it best; a trained FocusDepth's own mask is the target
    already. Without a boundary branch there is no boundary anywhere. `metric` is (1, 0) where the
    depth network speaks of metres, else (0, 0): no metres of its own. `trained`: its depth has
    learned on; all losses here leave scale and shift free, so that it speaks of metres no more. Its
    tokens have learned on too, which SAM3's scores were not made for: its confidence is how sure
    the trained mask is inside, 0 without one.
    """

    def __init__(self, network: FocusDepth, by_instance: bool, trained: bool) -> None:
        super().__init__()
        self.network, self.by_instance = network, by_instance
        metric = not trained and network.depth.shape.kind in (Kind.V2_METRIC, Kind.V3_METRIC)
        self.scale = 1.0 if metric else 0.0
        self.trained = trained

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        *maps, box, words = inputs
        features = dict(zip(self.network.feature_names, maps, strict=True))
        output = self.network(features, box, words)
        query, confidence = self.network.sam3.instances(output.tokens).best(box)
        mask = output.mask
        if self.by_instance:
            present = (box[:, 2:] > box[:, :2]).all(1).reshape(-1, 1, 1)
            instance = self.network.sam3.instance_mask(output.pixels, query)
            mask = torch.where(present, instance, mask)
        if self.trained:
            confidence = certainty(torch.sigmoid(mask))
        side = self.network.shape.side_px
        mask = resize(mask.unsqueeze(1), (side, side))[:, 0]
        boundary = torch.zeros_like(output.inverse_depth)
        if output.boundary is not None:
            boundary = torch.sigmoid(output.boundary)
        scale = torch.full_like(confidence, self.scale)
        metric = torch.stack([scale, torch.zeros_like(scale)], dim=1)
        return output.inverse_depth, torch.sigmoid(mask), boundary, confidence, metric


def certainty(probability: Tensor) -> Tensor:
    """Mean probability of each mask (T, h, w) where it is over one half, 0 where it never is."""
    inside = (probability > 0.5).float()
    return (probability * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1.0)
