"""What a network is exported as: its modules, and the names of what goes in and comes out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

PER_TARGET_INPUTS = ('box', 'words')
OUTPUT_NAMES = ('inverse_depth', 'mask', 'boundary', 'confidence', 'metric')


@dataclass(frozen=True)
class GraphPair:
    """Picture -> features, and features with prompts -> the outputs: modules in evaluation mode.

    `fovea` is the second look's focus half, if there is one; `fovea_inputs` its inputs' names.
    """

    encoder: nn.Module
    focus: nn.Module
    features: tuple[str, ...]
    fovea: nn.Module | None = None
    fovea_inputs: tuple[str, ...] = ()
