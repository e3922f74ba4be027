"""MSSA: the multi-scale semantic adapter that brings a prompt into a geometry feature map.

FocusDepth (arXiv 2605.11756). At one scale, with geometry tokens X^g (B, N, C) and prompt tokens
X^p (B, N, C_p) on the same grid:

    X~ = X^p W^p;   Z = [X^g || X~];   F = MoE(Z);   G = sigmoid(F W^g);   Y = G * F + (1 - G) * X^g

The paper leaves the experts open. Here: a dense softmax router over `experts` experts, each
Linear(2C -> hidden), GELU, dropout, Linear(hidden -> C). Named deviation, default: the *safe
start*, F = X^g + MoE(Z) with the experts' last layer at zero and a gate bias, so that an
untrained adapter is the identity. `paper_literal=True` drops both.

`FusionVariant` names what the paper's controls change, and `vary` changes it in any network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class SoftExperts(nn.Module):
    """A dense mixture of small MLPs, (B, N, inputs) -> (B, N, outputs).

    Each token weighs the MLPs by a softmax router. Their layers are stacked into two matrices:
    sum_k w_k (V_k a_k + c_k) is one product of V with the router-weighted activations, so four
    experts cost two matrix products.
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, experts: int, dropout: float
    ) -> None:
        super().__init__()
        self.experts = experts
        self.router = nn.Linear(inputs, experts)
        self.inner = nn.Linear(inputs, experts * hidden)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(experts * hidden, outputs, bias=False)
        self.outer_bias = nn.Linear(experts, outputs, bias=False)
        # Each expert sees `hidden` of the stacked activations: initialise by its own fan-in.
        nn.init.kaiming_uniform_(self.outer.weight, a=5**0.5)
        self.outer.weight.data.mul_(experts**0.5)
        nn.init.zeros_(self.outer_bias.weight)

    def split_into(self, experts: int) -> SoftExperts:
        """A fresh mixture of the same total width in so many experts; zero stays zero.

        Raises ValueError where the width does not divide.
        """
        if experts < 1 or self.inner.out_features % experts:
            raise ValueError(f'{experts} experts cannot share a width of {self.inner.out_features}')
        width = self.inner.out_features // experts
        fresh = SoftExperts(
            self.router.in_features, width, self.outer.out_features, experts, self.dropout.p
        )
        if not self.outer.weight.any():
            fresh.zero_last_layer()
        return fresh

    def zero_last_layer(self) -> None:
        """Make the mixture's output zero, whatever its input."""
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer_bias.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        activations = self.dropout(functional.gelu(self.inner(tokens)))
        weights = torch.softmax(self.router(tokens), dim=-1)
        weighted = activations.unflatten(-1, (self.experts, -1)) * weights.unsqueeze(-1)
        mixed: Tensor = self.outer(weighted.flatten(-2)) + self.outer_bias(weights)
        return mixed


class MSSA(nn.Module):
    """The adapter of one scale; parameters are not shared between scales.

    `channels` is C, `prompt_channels` C_p; `hidden` the experts' width (None: C, as the paper's
    size implies). `gate_bias` -4 keeps a pretrained geometry network as it was; a network trained
    from scratch starts half open with 0, since there is nothing to protect and a closed gate only
    delays learning.
    """

    def __init__(
        self,
        channels: int,
        prompt_channels: int,
        hidden: int | None = None,
        experts: int = 4,
        dropout: float = 0.1,
        paper_literal: bool = False,
        gate_bias: float = -4.0,
    ) -> None:
        super().__init__()
        self.paper_literal = paper_literal
        self.gated = True
        self.tokens: Literal['prompt', 'zero', 'shuffled'] = 'prompt'
        self.prompt_projection = nn.Linear(prompt_channels, channels, bias=False)
        self.mixture = SoftExperts(2 * channels, hidden or channels, channels, experts, dropout)
        self.gate = nn.Linear(channels, 1, bias=not paper_literal)
        if not paper_literal:
            self.mixture.zero_last_layer()
            nn.init.constant_(self.gate.bias, gate_bias)

    def forward(self, geometry: Tensor, prompt: Tensor) -> Tensor:
        """(B or 1, N, C) and (B, N, C_p) -> (B, N, C)."""
        if self.tokens == 'zero':
            prompt = torch.zeros_like(prompt)
        elif self.tokens == 'shuffled':
            prompt = prompt[:, torch.randperm(prompt.shape[1], device=prompt.device)]
        projected = self.prompt_projection(prompt)
        joined = torch.cat([geometry.expand(prompt.shape[0], -1, -1), projected], dim=-1)
        fused: Tensor = self.mixture(joined)
        if not self.paper_literal:
            fused = geometry + fused
        if not self.gated:
            return fused
        gate = torch.sigmoid(self.gate(fused))
        gated: Tensor = gate * fused + (1.0 - gate) * geometry
        return gated


class FoldedMSSA(nn.Module):
    """A trained MSSA with its linear layers put together, for export: the same answers, faster.

    With the experts' first layers W = [W_g; W_p], Z W = X^g W_g + X^p (W^p W_p): nothing is joined
    and the projection is gone. X^g may have one row for all prompts of a picture: its product is
    then made once. Raises ValueError for the paper's start and for controls.
    """

    spread: Tensor

    def __init__(self, adapter: MSSA) -> None:
        super().__init__()
        if adapter.paper_literal or not adapter.gated or adapter.tokens != 'prompt':
            raise ValueError('only gated adapters with the safe start and a prompt are folded')
        mixture, projection = adapter.mixture, adapter.prompt_projection
        first = (mixture.router, mixture.inner)
        weight = torch.cat([layer.weight.detach() for layer in first])
        channels, outputs = projection.out_features, len(weight)
        self.geometry = nn.Linear(channels, outputs)
        self.geometry.weight.data = weight[:, :channels].clone()
        self.geometry.bias.data = torch.cat([layer.bias.detach() for layer in first])
        self.prompt = nn.Linear(projection.in_features, outputs, bias=False)
        self.prompt.weight.data = weight[:, channels:] @ projection.weight.detach()
        self.outer, self.outer_bias, self.gate = mixture.outer, mixture.outer_bias, adapter.gate
        self.experts = mixture.experts
        # A product with it repeats each weight for its expert's activations: runtimes multiply
        # matrices well, and arrays with a last axis of twelve badly.
        hidden = mixture.inner.out_features // mixture.experts
        spread = torch.eye(mixture.experts).repeat_interleave(hidden, dim=1)
        self.register_buffer('spread', spread, persistent=False)

    def forward(self, geometry: Tensor, prompt: Tensor) -> Tensor:
        """(B or 1, N, C) and (B, N, C_p) -> (B, N, C)."""
        entered = self.geometry(geometry) + self.prompt(prompt)
        router, inner = entered[..., : self.experts], entered[..., self.experts :]
        weights = torch.softmax(router, dim=-1)
        weighted = functional.gelu(inner) * (weights @ self.spread)
        change = self.outer(weighted) + self.outer_bias(weights)
        folded: Tensor = geometry + torch.sigmoid(self.gate(geometry + change)) * change
        return folded


@dataclass(frozen=True)
class FusionVariant:
    """A control of the published fusion; the defaults are FocusDepth itself.

    gated: without, Y = F. experts: 1 is a single MLP as wide as the experts together. shared: one
    adapter for all scales. tokens: zeros in place of X^p (the capacity without the prompt), or
    X^p with its positions shuffled anew at each pass.
    """

    gated: bool = True
    experts: int = 4
    shared: bool = False
    tokens: Literal['prompt', 'zero', 'shuffled'] = 'prompt'


def vary(network: nn.Module, variant: FusionVariant) -> None:
    """Make every MSSA of a network the variant; adapters are replaced only where that takes it.

    Raises ValueError if there is none, or if adapters of different sizes were to be shared.
    """
    adapters = {name: part for name, part in network.named_modules() if isinstance(part, MSSA)}
    if not adapters:
        raise ValueError('the network holds no MSSA: a fusion variant means nothing to it')
    if variant.shared and len({_sizes(adapter) for adapter in adapters.values()}) > 1:
        raise ValueError('one adapter cannot be shared: the scales have different widths')
    first = next(iter(adapters.values()))
    for name, adapter in adapters.items():
        chosen = first if variant.shared else adapter
        chosen.gated, chosen.tokens = variant.gated, variant.tokens
        if chosen.mixture.experts != variant.experts:
            chosen.mixture = chosen.mixture.split_into(variant.experts)
        parent, _, child = name.rpartition('.')
        setattr(network.get_submodule(parent), child, chosen)


def variant_of(network: nn.Module) -> FusionVariant:
    """What `vary` made of a network's adapters. Raises ValueError if there is none."""
    named = network.named_modules(remove_duplicate=False)
    adapters = [part for _, part in named if isinstance(part, MSSA)]
    if not adapters:
        raise ValueError('the network holds no MSSA')
    first = adapters[0]
    return FusionVariant(
        gated=first.gated,
        experts=first.mixture.experts,
        shared=len(adapters) > 1 and all(adapter is first for adapter in adapters),
        tokens=first.tokens,
    )


def _sizes(adapter: MSSA) -> tuple[int, int]:
    return adapter.prompt_projection.out_features, adapter.prompt_projection.in_features


def fold_adapters(network: nn.Module) -> None:
    """Replace every MSSA of a network by its `FoldedMSSA`."""
    for name, part in list(network.named_modules()):
        if isinstance(part, MSSA):
            parent, _, child = name.rpartition('.')
            setattr(network.get_submodule(parent), child, FoldedMSSA(part))


def fuse_maps(adapter: nn.Module, geometry: Tensor, prompt: Tensor) -> Tensor:
    """Apply an adapter to maps: (B or 1, C, H, W) and (B, C_p, H, W) -> (B, C, H, W)."""
    fused = adapter(geometry.flatten(2).transpose(1, 2), prompt.flatten(2).transpose(1, 2))
    mapped: Tensor = fused.transpose(1, 2).reshape(prompt.shape[0], *geometry.shape[1:])
    return mapped
