"""The convolution block every part of the compact family is made of.

Convolution, batch normalisation and ReLU: plain enough to train in bfloat16 on a CPU and to fold
into single convolutions at export.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB in [0, 1]: pictures are normalised by them."""


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch normalisation; 'same' padding at stride 1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 3,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        super().__init__(
            nn.Conv2d(
                inputs,
                outputs,
                (height, width),
                stride=stride,
                padding=(height // 2, width // 2),
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(outputs),
        )


class ConvNormReLU(nn.Sequential):
    """`ConvNorm` followed by ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int = 1
    ) -> None:
        super().__init__(ConvNorm(inputs, outputs, kernel, stride), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """x -> ReLU(x + ConvNorm(ConvNormReLU(x))), both 3x3; (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNormReLU(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return functional.relu(features + self.second(self.first(features)))


def resize(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resampling of (B, C, H, W) to `size` = (height, width), pixel-centre convention.

    Whole factors are said as such: ONNX Runtime enlarges by constant factors in the layout that
    its convolutions use, but not to a size.
    """
    height, width = (int(side) for side in features.shape[-2:])
    if (height, width) == size:
        return features
    resample = partial(functional.interpolate, features, mode='bilinear', align_corners=False)
    if size[0] % height == 0 and size[1] % width == 0:
        return resample(scale_factor=(float(size[0] // height), float(size[1] // width)))
    return resample(size=size)


def enlarge(features: Tensor, size: tuple[int, int], factor: int) -> Tensor:
    """(B, C, h, w) of a coarser stride on a grid `factor` times as fine, `size` = (height, width).

    The last coarse cells look beyond a picture whose sides are no multiples of their stride. What
    they say out there is cut off, so that each cell stays where it looked; squeezing the whole map
    into the picture would move what is below by up to a fine cell.
    """
    height, width = (factor * int(side) for side in features.shape[-2:])
    enlarged = resize(features, (height, width))
    rows, columns = (int(side) for side in size)
    # A cut that cuts nothing is an operator all the same, and takes maps out of the layout that
    # ONNX Runtime's convolutions use.
    return enlarged if (rows, columns) == (height, width) else enlarged[..., :rows, :columns]


def halved(features: Tensor) -> Tensor:
    """Means of 2 x 2 cells; at an odd side's end of those that are there.

    Padding is not counted: ONNX Runtime up to 1.28 counts cells beyond the end as padding.
    """
    return functional.avg_pool2d(features, 2, ceil_mode=True, count_include_pad=False)
