"""What of a network learns, for tests of its stages."""

from __future__ import annotations

from torch import nn


def learning(network: nn.Module) -> set[str]:
    """Names of the parameters that have gradients."""
    return {name for name, value in network.named_parameters() if value.requires_grad}
