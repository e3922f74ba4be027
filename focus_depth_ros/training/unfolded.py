"""An exported model's weights as a network to train on: `focus-depth train --from MODEL_FOLDER`.

An export folds each normalisation into its convolution and puts MSSA's linear layers together.
Both ways back keep every answer: a normalisation that undoes what it does to the pictures at hand
is put behind each convolution, and the projection of the prompt becomes the identity. What no graph
holds, the side outputs of training, starts afresh.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from focus_depth_ros.inference.model_folder import read_model_folder
from focus_depth_ros.networks.blocks import ConvNorm
from focus_depth_ros.networks.compact import CompactNetwork
from focus_depth_ros.networks.compact_graphs import TRAINING_ONLY, load_graph, manifest_shape
from focus_depth_ros.networks.fovea import FoveaNetwork
from focus_depth_ros.networks.mssa import MSSA, FoldedMSSA


def unfolded_network(path: Path) -> CompactNetwork | FoveaNetwork:
    """The network of a model folder, in evaluation mode, with its fovea if it has one.

    Raises ModelError, ValueError if unfit. Its normalisations do nothing but add what the export
    folded into a bias: see `settle_norms`.
    """
    folder = read_model_folder(path)
    manifest = json.loads((path / 'model.json').read_text(encoding='utf-8'))
    shape = manifest_shape(manifest)
    calibration = manifest['boundary_calibration']
    network = (FoveaNetwork(shape) if folder.fovea else CompactNetwork(shape)).eval()
    for part, graph in zip(('encoder', 'focus', 'fovea'), folder.graphs, strict=False):
        module = load_graph(graph, part, shape, **calibration)
        _unfold(network.get_submodule(part), module.get_submodule(part))
    return network


@torch.no_grad()
def _unfold(network: nn.Module, folded: nn.Module) -> None:
    """Put a folded network's weights into one of the same names that is not folded."""
    given = folded.state_dict()
    kept = {name: value for name, value in network.state_dict().items() if name in given}
    network.load_state_dict({name: given[name] for name in kept}, strict=False)
    for name, part in network.named_modules():
        if isinstance(part, ConvNorm) and f'{name}.0.bias' in given:
            _keep_bias(part, given[f'{name}.0.bias'])
        elif isinstance(part, MSSA):
            adapter = folded.get_submodule(name)
            assert isinstance(adapter, FoldedMSSA)
            _unfold_adapter(part, adapter)


def _keep_bias(block: ConvNorm, bias: Tensor) -> None:
    norm = block[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.reset_running_stats()
    norm.weight.fill_(1 + norm.eps).sqrt_()
    norm.bias.copy_(bias)


def _unfold_adapter(adapter: MSSA, folded: FoldedMSSA) -> None:
    weight = torch.cat([folded.geometry.weight, folded.prompt.weight], dim=1)
    bias, experts = folded.geometry.bias, folded.experts
    nn.init.eye_(adapter.prompt_projection.weight)
    for layer, rows in (
        (adapter.mixture.router, slice(None, experts)),
        (adapter.mixture.inner, slice(experts, None)),
    ):
        layer.weight.copy_(weight[rows])
        layer.bias.copy_(bias[rows])
    for layer, trained in (
        (adapter.mixture.outer, folded.outer),
        (adapter.mixture.outer_bias, folded.outer_bias),
        (adapter.gate, folded.gate),
    ):
        layer.load_state_dict(trained.state_dict())


@torch.no_grad()
def settle_norms(network: nn.Module, passes: Iterable[object]) -> None:
    """Give each filter norm one, and its normalisation the statistics of its input.

    `passes` runs pictures through the network, one batch each time it is asked. In evaluation
    mode every answer stays; in training mode they stay about the same. What no picture went
    through stays as it is.

    Filters are made as long as fresh and published ones are, since the steps of Muon and AdamW
    do not depend on the gradient's size: a folded filter can be a twentieth of that, and would
    forget what it knows in a few steps.
    """
    blocks = [block for block in network.modules() if isinstance(block, ConvNorm)]
    sums: dict[ConvNorm, Tensor | float] = dict.fromkeys(blocks, 0.0)

    def add(block: ConvNorm, found: Tensor) -> None:
        variance, mean = torch.var_mean(found, dim=(0, 2, 3), correction=0)
        count = torch.full_like(mean, found.numel() / found.shape[1])
        found = torch.stack([count, count * mean, count * (variance + mean.square())])
        sums[block] += found.double()

    hooks = [
        block[0].register_forward_hook(lambda _, __, found, block=block: add(block, found))
        for block in blocks
    ]
    for _ in passes:
        pass
    for hook in hooks:
        hook.remove()
    for block, found in sums.items():
        if isinstance(found, Tensor):
            count, total, squares = found
            _settle(block, total / count, squares / count - (total / count).square())


def _settle(block: ConvNorm, mean: Tensor, variance: Tensor) -> None:
    filters, norm = block[0].weight, block[1]
    assert isinstance(filters, Tensor) and isinstance(norm, nn.BatchNorm2d)
    length = filters.double().flatten(1).norm(dim=1)
    length = torch.where(length > 0, length, 1.0)
    filters.copy_(filters / length[:, None, None, None])
    statistics = {'running_mean': mean / length, 'running_var': variance / length.square()}
    undone = {
        'weight': (statistics['running_var'] + norm.eps).sqrt() * length,
        'bias': norm.bias.double() + mean,
    }
    norm.load_state_dict({**norm.state_dict(), **statistics, **undone})


def kept_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights of an unfolded network that a graph held, by name."""
    state = network.state_dict()
    return {name: value for name, value in state.items() if TRAINING_ONLY not in name}
