"""The prompt branch of the compact family: a box, words or nothing -> the tokens X^p.

It plays the part SAM3 plays in FocusDepth. A box becomes soft maps and box-relative coordinates.
Words become learned vectors that are compared with the encoder's grounding features, pixel by
pixel; a caption holds where all its words hold, so the log-likelihoods are added (a soft 'and').
FiLM lets the caption steer what follows, and a coarse mask head turns the tokens into the first
guess of the target's mask.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from focus_depth_ros.networks.blocks import ConvNormReLU, Residual, resize

BOX_CHANNELS = 6
GROUNDING_CHANNELS = 3


class BoxMaps(nn.Module):
    """Boxes (T, 4) xyxy / picture size -> (T, 6, H, W).

    The maps: inside, box-relative x and y, presence, width, height. `inside` falls off over about
    half a cell, so that its value is close to the share of the cell the box covers. A box of
    zeros gives zeros.
    """

    across: Tensor
    down: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        across = (torch.arange(width) + 0.5) / width
        down = (torch.arange(height) + 0.5) / height
        self.register_buffer('across', across.reshape(1, 1, width), persistent=False)
        self.register_buffer('down', down.reshape(1, height, 1), persistent=False)
        self.height, self.width = height, width

    def forward(self, box: Tensor) -> Tensor:
        """See the class."""
        left, top, right, bottom = (side.reshape(-1, 1, 1) for side in box.unbind(-1))
        width, height = right - left, bottom - top
        present = (width * height > 0).to(box.dtype)
        across = torch.sigmoid(4 * self.width * (self.across - left)) * torch.sigmoid(
            4 * self.width * (right - self.across)
        )
        down = torch.sigmoid(4 * self.height * (self.down - top)) * torch.sigmoid(
            4 * self.height * (bottom - self.down)
        )
        relative_x = ((self.across - (left + right) / 2) / (width + 1e-3)).clamp(-2, 2)
        relative_y = ((self.down - (top + bottom) / 2) / (height + 1e-3)).clamp(-2, 2)
        plane = torch.ones_like(across * down)
        maps = [
            across * down,
            relative_x * plane,
            relative_y * plane,
            plane,
            width * plane,
            height * plane,
        ]
        return torch.stack(maps, dim=1) * present.unsqueeze(1)


class WordGrounding(nn.Module):
    """Words against pixels: word vectors, their likelihood at each cell, and a caption vector.

    Index 0 (padding) and 1 (unknown) take no part in the comparison; unknown words still enter
    the caption vector.
    """

    def __init__(self, vocabulary_size: int, channels: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(vocabulary_size, channels, padding_idx=0)
        self.bias = nn.Embedding(vocabulary_size, 1)
        self.caption = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels)
        )
        nn.init.zeros_(self.bias.weight)
        self.scale = channels**-0.5

    def forward(self, words: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Words (T, L) int and grounding features (T, C, H, W) -> maps and caption vector.

        The caption vector is (T, C); the maps (T, 3, H, W) are the mean and least log-likelihood
        over the words, and exp of their sum.
        """
        vectors = self.vectors(words)
        present = (words > 0).to(pixels.dtype).unsqueeze(-1)
        known = (words > 1).to(pixels.dtype).unsqueeze(-1)
        scores = vectors @ pixels.flatten(2) * self.scale + self.bias(words)
        likelihood = functional.logsigmoid(scores) * known
        count = known.sum(1)
        total = likelihood.sum(1)
        any_known = (count > 0).to(pixels.dtype)
        maps = [total / count.clamp(min=1), likelihood.amin(1), torch.exp(total) * any_known]
        mean = (vectors * present).sum(1) / present.sum(1).clamp(min=1)
        caption = self.caption(mean) * (present.sum(1) > 0).to(pixels.dtype)
        return torch.stack(maps, dim=1).reshape(words.shape[0], -1, *pixels.shape[-2:]), caption

    def all_words(self, pixels: Tensor) -> Tensor:
        """Logits (B, V, H, W) of every word at every cell, for training."""
        scores = torch.einsum('vc,bchw->bvhw', self.vectors.weight, pixels) * self.scale
        logits: Tensor = scores + self.bias.weight.reshape(1, -1, 1, 1)
        return logits


class PromptBranch(nn.Module):
    """Grounding features and prompts -> X^p (T, C_p, H, W), coarse mask logits (T, 1, H, W)."""

    def __init__(
        self, vocabulary_size: int, grounding_channels: int, channels: int, size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.boxes = BoxMaps(*size)
        self.words = WordGrounding(vocabulary_size, grounding_channels)
        extra = BOX_CHANNELS + GROUNDING_CHANNELS
        self.pixel_entry = nn.Conv2d(grounding_channels, channels, 1)
        self.prompt_entry = ConvNormReLU(extra, channels)
        self.film = nn.Linear(grounding_channels, 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.mix = ConvNormReLU(channels, channels)
        self.down = ConvNormReLU(channels, channels, stride=2)
        self.context = nn.Linear(channels, channels)
        self.coarse = Residual(channels)
        self.fine = Residual(channels)
        self.mask = nn.Conv2d(channels, 1, 1)

    def forward(self, grounding: Tensor, box: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """`grounding` (T, C, H, W), `box` (T, 4), `words` (T, L)."""
        likelihoods, caption = self.words(words, grounding)
        prompt = self.prompt_entry(torch.cat([self.boxes(box), likelihoods], dim=1))
        gain, offset = self.film(caption).unsqueeze(-1).unsqueeze(-1).chunk(2, dim=1)
        pixels = self.pixel_entry(grounding) * (1 + gain) + offset
        tokens = self.mix(functional.relu(pixels + prompt))
        coarse = self.down(tokens)
        # The strongest evidence anywhere competes with the evidence here: 'the big mug', or
        # nothing at all.
        rivals = self.context(coarse.amax((2, 3))).unsqueeze(-1).unsqueeze(-1)
        coarse = self.coarse(coarse + rivals)
        tokens = self.fine(tokens + resize(coarse, tokens.shape[-2:]))
        return tokens, self.mask(tokens)
