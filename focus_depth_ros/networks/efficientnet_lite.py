"""EfficientNet-Lite without its classifier: the compact encoder's trunk.

Inverted residual blocks of plain convolutions, with ReLU6 and without squeeze-and-excitation, made
to run in int8 (Tan and Le, arXiv 1905.11946; the Lite variants are Google's). Deviation: every
convolution pads alike on all sides, where the original pads as TensorFlow does; what a cell sees
lies half a cell nearer to the top left for it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from focus_depth_ros.networks.blocks import IMAGENET_MEAN, IMAGENET_STD, ConvNorm

Group = tuple[int, int, int, int, int]
"""Kernel, stride of the first block, expansion, channels and number of like blocks."""

LITE1_STEM = 32
LITE1: tuple[Group, ...] = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 3),
    (5, 2, 6, 40, 3),
    (3, 2, 6, 80, 4),
    (5, 1, 6, 112, 4),
    (5, 2, 6, 192, 5),
    (3, 1, 6, 320, 1),
)

PUBLISHED_MEAN, PUBLISHED_DEVIATION, PUBLISHED_EPSILON = 127 / 255, 128 / 255, 1e-3
"""How published weights take pictures in [0, 1], and what their normalisations add."""
CLASSIFIER = ('_conv_head', '_bn1', '_fc')


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow; plus the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = ConvNorm(inputs, width, 1) if expansion > 1 else None
        self.depthwise = ConvNorm(width, width, kernel, stride, groups=width)
        self.project = ConvNorm(width, outputs, 1)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        wide = features if self.expand is None else functional.relu6(self.expand(features))
        narrow: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return features + narrow if self.adds_input else narrow


class EfficientNetLite(nn.Module):
    """Normalised picture (B, 3, H, W) -> stem (B, C, H/2, W/2), features at strides 4, 8, 16, 32.

    `widths` are the features' channels.
    """

    def __init__(self, stem: int = LITE1_STEM, groups: tuple[Group, ...] = LITE1) -> None:
        super().__init__()
        self.stem = ConvNorm(3, stem, stride=2)
        stages: list[list[nn.Module]] = [[]]
        widths = [stem]
        for kernel, stride, expansion, outputs, number in groups:
            if stride > 1:
                stages.append([])
                widths.append(widths[-1])
            for index in range(number):
                step = stride if index == 0 else 1
                stages[-1].append(InvertedResidual(widths[-1], outputs, kernel, step, expansion))
                widths[-1] = outputs
        self.widths = tuple(widths[1:])
        self.first = nn.Sequential(*stages[0])
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages[1:])

    def forward(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See the class."""
        stem = functional.relu6(self.stem(picture))
        features = self.first(stem)
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return stem, levels


def is_published(path: Path) -> bool:
    """Whether a file holds published weights, as `published_weights` takes them."""
    try:
        return '_conv_stem.weight' in torch.load(path, weights_only=True, map_location='cpu')
    except Exception:  # bytes of another kind may be taken for any instruction of pickle's
        return False


def published_weights(trunk: EfficientNetLite, path: Path) -> dict[str, Tensor]:
    """A trunk's weights by name from a published file, whose tensors come in the same order.

    The file is a PyTorch state, as of EfficientNet-PyTorch, with its classifier. Raises ValueError
    for any other.
    """
    given = torch.load(path, weights_only=True, map_location='cpu')
    kept = [tensor for name, tensor in given.items() if not name.startswith(CLASSIFIER)]
    wanted = trunk.state_dict()
    if [tensor.shape for tensor in kept] != [tensor.shape for tensor in wanted.values()]:
        raise ValueError(f'{path}: not the weights of an EfficientNet-Lite of this size')
    weights = dict(zip(wanted, kept, strict=True))
    for name in weights:
        if name.endswith('running_var'):
            weights[name] = weights[name] + PUBLISHED_EPSILON - nn.BatchNorm2d(1).eps
    return weights | _for_normalised_pictures(weights)


def _for_normalised_pictures(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The stem's weights for pictures normalised as this package does."""
    kernel = weights['stem.0.weight'].double()
    scale = torch.tensor(IMAGENET_STD).double() / PUBLISHED_DEVIATION
    shift = (torch.tensor(IMAGENET_MEAN).double() - PUBLISHED_MEAN) / PUBLISHED_DEVIATION
    mean = weights['stem.1.running_mean'].double() - (kernel.sum((2, 3)) * shift).sum(1)
    return {
        'stem.0.weight': (kernel * scale[:, None, None]).float(),
        'stem.1.running_mean': mean.float(),
    }
