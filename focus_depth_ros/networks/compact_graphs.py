"""The compact network's graphs as modules: what is exported, and what runs in torch.

`load_graph` goes the way back: an exported graph's weights, put into the modules they came from.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from focus_depth_ros.caption_words import word_roles
from focus_depth_ros.networks.blocks import IMAGENET_MEAN, IMAGENET_STD, ConvNorm
from focus_depth_ros.networks.compact import (
    FEATURE_NAMES,
    CompactEncoder,
    CompactFocus,
    CompactNetwork,
    CompactShape,
    FocusOutput,
)
from focus_depth_ros.networks.fovea import WHOLE_NAMES, Fovea, FoveaNetwork
from focus_depth_ros.networks.graph_pair import GraphPair
from focus_depth_ros.networks.mssa import fold_adapters

ROLES = {
    'Conv': ('', 'weight', 'bias'),
    'Gemm': ('', 'weight', 'bias'),
    'MatMul': ('', 'weight'),
    'Add': ('bias', 'bias'),
}
"""What the inputs of a layer's nodes are in torch."""

FOVEA_INPUTS = (
    *(f'near_{name}' for name in FEATURE_NAMES),
    *WHOLE_NAMES,
    'window',
    'first',
    'box',
    'words',
)

TRAINING_ONLY = '.side_output.'
"""Heads that no exported output depends on, which are therefore in no graph."""


GIVEN_SIZES = 4
"""Inputs of a Resize that enlarges to a size; `enlarge` does so by factors, which are the third."""


class EncoderGraph(nn.Module):
    """uint8 RGB (1, H, W, 3) -> the encoder's features, normalisation included."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, encoder: CompactEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        for name, values in (('mean', IMAGENET_MEAN), ('deviation', IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        # To float first: TensorRT transposes no bytes.
        picture = (image.float().permute(0, 3, 1, 2) / 255 - self.mean) / self.deviation
        return tuple(self.encoder(picture).values())


class FocusGraph(nn.Module):
    """Features, box (T, 4) and words (T, L) -> the five outputs, logits as probabilities.

    `slope` and `bias` calibrate the boundary's logits.
    """

    def __init__(self, focus: CompactFocus, slope: float, bias: float) -> None:
        super().__init__()
        self.focus = focus
        self.slope, self.bias = slope, bias

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        *features, box, words = inputs
        output = self.focus(dict(zip(FEATURE_NAMES, features, strict=True)), box, words)
        return _answers(output, self.slope, self.bias)


class FoveaGraph(nn.Module):
    """What `FOVEA_INPUTS` names, for one window -> the outputs of `FocusGraph`."""

    def __init__(self, fovea: Fovea, slope: float, bias: float) -> None:
        super().__init__()
        self.fovea = fovea
        self.slope, self.bias = slope, bias

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        given = dict(zip(FOVEA_INPUTS, inputs, strict=True))
        near = {name: given[f'near_{name}'] for name in FEATURE_NAMES}
        prompts = (given[name] for name in ('window', 'first', 'box', 'words'))
        output = self.fovea(near, {name: given[name] for name in WHOLE_NAMES}, *prompts)
        return _answers(output, self.slope, self.bias)


def _answers(output: FocusOutput, slope: float, bias: float) -> tuple[Tensor, ...]:
    return (
        output.inverse_depth,
        torch.sigmoid(output.mask),
        torch.sigmoid(slope * output.boundary + bias),
        torch.sigmoid(output.confidence),
        output.metric,
    )


def graphs(network: CompactNetwork | FoveaNetwork, slope: float, bias: float) -> GraphPair:
    """The parts of a trained network as they are exported; the network stays as it is."""
    network = deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    fold_adapters(network)
    encoder = EncoderGraph(network.encoder).eval()
    focus = FocusGraph(network.focus, slope, bias).eval()
    if not isinstance(network, FoveaNetwork):
        return GraphPair(encoder, focus, FEATURE_NAMES)
    fovea = FoveaGraph(network.fovea, slope, bias).eval()
    return GraphPair(encoder, focus, FEATURE_NAMES, fovea, FOVEA_INPUTS)


def manifest_shape(manifest: dict[str, Any]) -> CompactShape:
    """The network's sizes as a manifest says them.

    Raises ValueError for other families, and for models up to 0.7.0, whose encoder was another: the
    engines that read graphs take them still.
    """
    if manifest['family'] != 'compact':
        raise ValueError(f'the family is {manifest["family"]!r}, only compact is known')
    sizes: dict[str, Any] = {n: _as_tuples(v) for n, v in manifest.get('shape', {}).items()}
    if 'trunk' not in sizes:
        raise ValueError(
            f'model {manifest.get("version")}: its encoder is none that this version has in torch; '
            "take another engine, or that version's package"
        )
    told = {
        **manifest['input'],
        'word_roles': word_roles(manifest['vocabulary']),
        'max_words': manifest['max_words'],
    }
    return CompactShape(**{**told, **sizes})


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value


def load_graph(
    path: Path, part: str, shape: CompactShape, slope: float, bias: float
) -> EncoderGraph | FocusGraph | FoveaGraph:
    """The `encoder`, `focus` or `fovea` module of an exported graph, in evaluation mode.

    Raises ValueError for a graph that is not this network's.
    """
    module: EncoderGraph | FocusGraph | FoveaGraph
    if part == 'encoder':
        module = EncoderGraph(CompactEncoder(shape))
    elif part == 'focus':
        module = FocusGraph(CompactFocus(shape), slope, bias)
    else:
        module = FoveaGraph(Fovea(shape), slope, bias)
    _fold_norms(module)
    fold_adapters(module)
    weights = _weights(path)
    wanted = {name for name in module.state_dict() if TRAINING_ONLY not in name}
    if absent := sorted(wanted - weights.keys()):
        raise ValueError(f'{path}: no weight {absent[0]} and {len(absent) - 1} others')
    try:
        module.load_state_dict({name: weights[name] for name in wanted}, strict=False)
    except RuntimeError as error:
        raise ValueError(f'{path}: {error}') from error
    return module.eval()


def _fold_norms(network: nn.Module) -> None:
    """Convolutions with a bias and without normalisation, as the exporter folds them."""
    for block in network.modules():
        if isinstance(block, ConvNorm):
            convolution = block[0]
            assert isinstance(convolution, nn.Conv2d)
            convolution.bias = nn.Parameter(torch.zeros(convolution.out_channels))
            block[1] = nn.Identity()


def _weights(path: Path) -> dict[str, Tensor]:
    """Weights by the names they have in torch.

    Folded and transposed ones lost theirs in the export, but the node that reads them bears its
    module's path.
    """
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except DecodeError as error:
        raise ValueError(f'{path}: no ONNX graph ({error})') from error
    if any(node.op_type == 'Resize' and len(node.input) == GIVEN_SIZES for node in graph.node):
        raise ValueError(
            f'{path}: of a model up to 0.9.1, which squeezed coarse maps into the picture: none '
            "that this version has in torch; take another engine, or that version's package"
        )
    tensors = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
    }
    for node in graph.node:  # equal weights are kept once, under one of their names
        if node.op_type == 'Identity' and node.input[0] in tensors:
            tensors[node.output[0]] = tensors[node.input[0]]
    weights = dict(tensors)
    for node in graph.node:
        for name, role in zip(node.input, ROLES.get(node.op_type, ()), strict=False):
            if name in tensors and role:
                value = tensors[name]
                weights.setdefault(
                    f'{_module_path(node.name)}.{role}',
                    value.T.contiguous() if node.op_type == 'MatMul' else value,
                )
    return weights


def _module_path(node_name: str) -> str:
    """'/encoder/detail/detail.0/detail.0.0/Conv' -> 'encoder.detail.0.0'."""
    parts = node_name.strip('/').split('/')[:-1]
    kept = [
        part
        for part, following in zip(parts, [*parts[1:], ''], strict=False)
        if not following.startswith(f'{part}.')
    ]
    return '.'.join(kept)
