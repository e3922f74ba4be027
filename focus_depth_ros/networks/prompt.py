"""The prompt branch of the compact family: a box, words or nothing -> the tokens X^p.

It plays the part SAM3 plays in FocusDepth. A box becomes soft maps and box-relative coordinates.
Words become learned vectors that are compared with the encoder's grounding features, pixel by
pixel; a caption holds where all its words hold, so the log-likelihoods are added (a soft 'and').
The words after a relation ("left of the red box") are the anchor's: where they hold is found in
the same way, and the target sees how it lies from there. FiLM lets the caption and the relation
steer what follows, and a coarse mask head turns the tokens into the first guess of the target's
mask. The target's own words and the box are held against finer features too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from focus_depth_ros.caption_words import DIVIDING, PLAIN
from focus_depth_ros.networks.blocks import ConvNormReLU, Residual, enlarge

BOX_CHANNELS = 6
OWN_CHANNELS = 3
GROUNDING_CHANNELS = OWN_CHANNELS + 4


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


@dataclass(frozen=True)
class Grounded:
    """What T captions say: `maps` (T, 7, H, W), `caption` and `relation` vectors (T, C).

    `scores` (T, L, H, W) are the words' logits, `own` (T, L) 0 / 1 the known words of the target.
    The maps: mean and least log-likelihood of the target's words, and the likelihood of all of them
    over that of the best cell; mean and relative likelihood of the anchor's words likewise; where
    the cell lies from the anchor's middle, across and down, in half pictures. Without a relation
    the last four and the relation vector are zero.
    """

    maps: Tensor
    caption: Tensor
    relation: Tensor
    scores: Tensor
    own: Tensor


class WordGrounding(nn.Module):
    """Words against pixels: word vectors and their likelihood at each cell.

    `roles` says of each index whether the word is plain, relating or dividing (caption_words.py).
    Index 0 (padding) and 1 (unknown) take no part in the comparison; unknown words still enter
    the caption vector. A place without an anchor ("the left mug") is one among all that the other
    words fit.
    """

    roles: Tensor
    up_to: Tensor

    def __init__(self, roles: Sequence[int], channels: int, max_words: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(len(roles), channels, padding_idx=0)
        self.bias = nn.Embedding(len(roles), 1)
        self.caption = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels)
        )
        nn.init.zeros_(self.bias.weight)
        self.scale = channels**-0.5
        self.register_buffer('roles', torch.tensor(roles, dtype=torch.int32), persistent=False)
        up_to = torch.ones(max_words, max_words).triu()
        self.register_buffer('up_to', up_to, persistent=False)

    def forward(self, words: Tensor, pixels: Tensor) -> Grounded:
        """Words (T, L) int and grounding features (T, C, H, W)."""
        vectors = self.vectors(words)
        present = (words > 0).to(pixels.dtype)
        known = (words > 1).to(pixels.dtype)
        roles = self.roles[words]
        relates = (roles != PLAIN).to(pixels.dtype)
        divides = (roles == DIVIDING).to(pixels.dtype)
        of_anchor = ((divides @ self.up_to) > 0).to(pixels.dtype)
        own = (1 - of_anchor) * (1 - relates)
        scores = self.scores(words, pixels) + self.bias(words)
        likelihood = _log_sigmoid(scores)

        own_mean, own_least, own_all = _conjunction(likelihood, known * own)
        anchor_words = known * of_anchor * (1 - relates)
        anchor_mean, _, anchor_all = _conjunction(likelihood, anchor_words)
        has_anchor = (anchor_words.sum(1, keepdim=True) > 0).to(pixels.dtype)
        has_relation = (relates.sum(1, keepdim=True) > 0).to(pixels.dtype)
        where = has_anchor * anchor_all + (1 - has_anchor) * own_all
        across, down = _from_middle(where.square(), *pixels.shape[-2:])
        maps = [own_mean, own_least, own_all]
        maps += [values * has_relation for values in (anchor_mean, anchor_all, across, down)]

        own_present = (present * own).unsqueeze(-1)
        mean = (vectors * own_present).sum(1) / own_present.sum(1).clamp(min=1)
        return Grounded(
            maps=torch.stack(maps, dim=1).reshape(words.shape[0], -1, *pixels.shape[-2:]),
            caption=self.caption(mean) * (own_present.sum(1) > 0).to(pixels.dtype),
            relation=(vectors * relates.unsqueeze(-1)).sum(1),
            scores=scores.reshape(*words.shape, *pixels.shape[-2:]),
            own=known * own,
        )

    def scores(self, words: Tensor, pixels: Tensor) -> Tensor:
        """Likeness (T, L, HW) of words (T, L) and features (T or 1, C, H, W), without bias."""
        likeness: Tensor = self.vectors(words) @ pixels.flatten(2) * self.scale
        return likeness

    def all_words(self, pixels: Tensor) -> Tensor:
        """Logits (B, V, H, W) of every word at every cell, for training."""
        scores = torch.einsum('vc,bchw->bvhw', self.vectors.weight, pixels) * self.scale
        logits: Tensor = scores + self.bias.weight.reshape(1, -1, 1, 1)
        return logits


def _log_sigmoid(logits: Tensor) -> Tensor:
    """Finite for every finite logit in every runtime: exporters make log(sigmoid(x)) of torch's."""
    return logits.clamp(max=0) - torch.log(1 + torch.exp(-logits.abs()))


def _conjunction(likelihood: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of log-likelihoods (T, L, HW) over words (T, L) 0 / 1: mean, minimum, exp(sum - largest sum).

    The last is 1 where the words fit best, however badly. No word at all: zeros.
    """
    count = weight.sum(1, keepdim=True)
    of_words = likelihood * weight.unsqueeze(-1)
    total = of_words.sum(1)
    any_word = (count > 0).to(likelihood.dtype)
    best = total.amax(-1, keepdim=True)
    return total / count.clamp(min=1), of_words.amin(1), torch.exp(total - best) * any_word


def _from_middle(weight: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """How far each cell is from the weighted middle of all cells (T, HW), across and down."""
    rows = torch.linspace(-1, 1, height, device=weight.device).to(weight.dtype)
    columns = torch.linspace(-1, 1, width, device=weight.device).to(weight.dtype)
    down = rows.repeat_interleave(width).reshape(1, -1)
    across = columns.repeat(height).reshape(1, -1)
    share = weight / (weight.sum(1, keepdim=True) + 1e-6)
    return (
        across - (across * share).sum(1, keepdim=True),
        down - (down * share).sum(1, keepdim=True),
    )


class FinerEvidence(nn.Module):
    """What prompts say at a finer grid: their words against finer features, the box's sharp edges.

    A cell of the tokens often holds two neighbours, or more table than fork; here colours and
    outlines tell them apart. Starts at zero, so that a network trained without it can grow it.
    """

    def __init__(self, channels: int, grounding_channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.boxes = BoxMaps(*size)
        self.view = nn.Conv2d(channels, grounding_channels, 1)
        self.entry = ConvNormReLU(BOX_CHANNELS + OWN_CHANNELS, channels // 2)
        self.tokens = nn.Conv2d(channels // 2, channels, 1)
        for layer in (self.view, self.tokens):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, grounding: WordGrounding, said: Grounded, finer: Tensor, box: Tensor, words: Tensor
    ) -> Tensor:
        """`finer` (T or 1, C, h, w), and what was said at the tokens' grid -> (T, C, h, w)."""
        scores = enlarge(said.scores, self.size, 2).flatten(2)
        scores = scores + grounding.scores(words, self.view(finer))
        maps = torch.stack(_conjunction(_log_sigmoid(scores), said.own), dim=1)
        maps = maps.reshape(words.shape[0], OWN_CHANNELS, *self.size)
        tokens: Tensor = self.tokens(self.entry(torch.cat([self.boxes(box), maps], dim=1)))
        return tokens


class PromptBranch(nn.Module):
    """Grounding features, finer ones and prompts -> X^p at both grids and a coarse mask.

    `size` and `finer_size` are the grids (height, width); `channels` is C_p and the finer
    features' width.
    """

    def __init__(
        self,
        roles: Sequence[int],
        max_words: int,
        grounding_channels: int,
        channels: int,
        size: tuple[int, int],
        finer_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.size = size
        self.boxes = BoxMaps(*size)
        self.finer = FinerEvidence(channels, grounding_channels, finer_size)
        self.words = WordGrounding(roles, grounding_channels, max_words)
        extra = BOX_CHANNELS + GROUNDING_CHANNELS
        self.pixel_entry = nn.Conv2d(grounding_channels, channels, 1)
        self.prompt_entry = ConvNormReLU(extra, channels)
        self.film = nn.Linear(grounding_channels, 2 * channels)
        relation_film = nn.Linear(grounding_channels, 2 * channels)
        self.relation = nn.Sequential(
            nn.Linear(grounding_channels, grounding_channels), nn.ReLU(inplace=True), relation_film
        )
        for layer in (self.film, relation_film):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.mix = ConvNormReLU(channels, channels)
        self.down = ConvNormReLU(channels, channels, stride=2)
        self.context = nn.Linear(channels, channels)
        self.coarse = Residual(channels)
        self.fine = Residual(channels)
        self.mask = nn.Conv2d(channels, 1, 1)

    def forward(
        self, grounding: Tensor, finer: Tensor, box: Tensor, words: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (T, C_p, H, W), finer tokens (T, C_p, h, w), mask logits (T, 1, H, W).

        `grounding` (T or 1, C, H, W), `finer` (T or 1, C_p, h, w), `box` (T, 4), `words` (T, L).
        """
        said, tokens, mask = self.at_tokens(grounding, box, words)
        finer_tokens = enlarge(tokens, self.finer.size, 2) + self.finer(
            self.words, said, finer, box, words
        )
        return tokens, finer_tokens, mask

    def at_tokens(
        self, grounding: Tensor, box: Tensor, words: Tensor
    ) -> tuple[Grounded, Tensor, Tensor]:
        """What the words say, tokens (T, C_p, H, W) and mask logits (T, 1, H, W): see `forward`."""
        said = self.words(words, grounding)
        prompt = self.prompt_entry(torch.cat([self.boxes(box), said.maps], dim=1))
        prompt = _modulated(prompt, self.relation(said.relation))
        pixels = _modulated(self.pixel_entry(grounding), self.film(said.caption))
        tokens = self.mix(functional.relu(pixels + prompt))
        coarse = self.down(tokens)
        # The strongest evidence anywhere competes with the evidence here: 'the big mug', or
        # nothing at all.
        rivals = self.context(coarse.amax((2, 3))).unsqueeze(-1).unsqueeze(-1)
        coarse = self.coarse(coarse + rivals)
        tokens = self.fine(tokens + enlarge(coarse, self.size, 2))
        return said, tokens, self.mask(tokens)


def _modulated(features: Tensor, film: Tensor) -> Tensor:
    """FiLM (Perez et al., 2018): x (1 + gain) + offset, gain and offset (T, C) each in `film`."""
    gain, offset = film.unsqueeze(-1).unsqueeze(-1).chunk(2, dim=1)
    return features * (1 + gain) + offset
