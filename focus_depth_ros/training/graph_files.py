"""The graphs of a model folder: traced to ONNX, and compared with what they were traced from.

Sizes are fixed; the number of targets of the focus half is free.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from focus_depth_ros.inference.graph_file import weights_beside
from focus_depth_ros.networks.graph_pair import OUTPUT_NAMES, PER_TARGET_INPUTS, GraphPair

OPSET = 17
TOLERANCE = 1e-4
LARGEST_PLAIN_GRAPH_BYTES = 2_000_000_000
"""A graph above it does not fit into one protobuf file; its weights lie beside it."""

Inputs = tuple[Tensor, Tensor, Tensor]
"""A picture uint8 (1, H, W, 3), boxes (T, 4) and words (T, L)."""


@torch.no_grad()
def write_graphs(pair: GraphPair, folder: Path, inputs: Inputs) -> dict[str, Path]:
    """Trace the modules on these inputs; returns the files by part."""
    picture, *prompts = inputs
    paths = {part: folder / f'{part}.onnx' for part in ('encoder', 'focus')}
    names = (*pair.features, *PER_TARGET_INPUTS)
    handed_over = dict(zip(names, (*pair.encoder(picture), *prompts), strict=True))
    _write_graph(pair.encoder, {'image': picture}, pair.features, paths['encoder'])
    free = (*PER_TARGET_INPUTS, *OUTPUT_NAMES)
    _write_graph(pair.focus, handed_over, OUTPUT_NAMES, paths['focus'], free)
    if pair.fovea is not None:
        paths['fovea'] = folder / 'fovea.onnx'
        second = _second_look(pair, inputs)
        _write_graph(pair.fovea, second, OUTPUT_NAMES, paths['fovea'])
    return paths


def _second_look(pair: GraphPair, inputs: Inputs) -> dict[str, Tensor]:
    """What the fovea is given after a first look, at the first prompt in the picture's middle."""
    picture, box, words = inputs
    features = pair.encoder(picture)
    maps = pair.focus(*features, box[:1], words[:1])
    height, width = picture.shape[1:3]
    middle = picture[:, height // 4 : height // 4 * 3, width // 4 : width // 4 * 3]
    enlarged = middle.repeat_interleave(2, 1).repeat_interleave(2, 2)
    whole = dict(zip(pair.features, features, strict=True))
    near = dict(zip(pair.features, pair.encoder(enlarged), strict=True))
    given = {
        **{f'near_{name}': value for name, value in near.items()},
        **whole,
        'window': torch.tensor([[0.25, 0.25, 0.75, 0.75]]),
        'first': torch.stack(maps[:2], dim=1),
        'box': torch.tensor([[0.2, 0.3, 0.7, 0.8]]),
        'words': words[:1],
    }
    return {name: given[name] for name in pair.fovea_inputs}


def _write_graph(
    module: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    free: Sequence[str] = (),
) -> None:
    """Trace and write one graph, its weights beside it where one file cannot hold them.

    `free` inputs and outputs have any number of targets.
    """
    with warnings.catch_warnings(), TemporaryDirectory(dir=path.parent) as scratch:
        # The tracing exporter announces its age and every shape it freezes; both are on purpose.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(Path(scratch) / path.name),  # beyond 2 GB it writes beside a name, not a Path
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes={name: {0: 'targets'} for name in free},
        )
        beside = weights_beside(path)
        beside.unlink(missing_ok=True)
        model = onnx.load(Path(scratch) / path.name)
        size = sum(tensor.ByteSize() for tensor in model.graph.initializer)
        onnx.save_model(
            model,
            path,
            save_as_external_data=size > LARGEST_PLAIN_GRAPH_BYTES,
            location=beside.name,
        )
    if beside.exists():
        beside.chmod(path.stat().st_mode)  # it is written for its owner alone


def write_checked(
    pair: GraphPair, folder: Path, traced: Inputs, others: Inputs
) -> tuple[dict[str, Path], float]:
    """Write a pair's graphs into a folder, once they are found to answer as torch does.

    Traced with one set of inputs, compared on the others. Returns the files by part and the largest
    difference, see `largest_difference`; raises as it does, and what was in the folder stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        paths = write_graphs(pair, Path(scratch), traced)
        worst = largest_difference(pair, paths, others)
        for path in paths.values():
            (folder / weights_beside(path).name).unlink(missing_ok=True)
        for path in Path(scratch).iterdir():
            path.replace(folder / path.name)
    return {part: folder / path.name for part, path in paths.items()}, worst


@torch.no_grad()
def largest_difference(pair: GraphPair, paths: dict[str, Path], inputs: Inputs) -> float:
    """Largest |ONNX Runtime - torch| of the outputs, relative to their size.

    Raises ValueError beyond `TOLERANCE`.
    """
    picture, *prompts = inputs
    expected = pair.focus(*pair.encoder(picture), *prompts)
    features = _session(paths['encoder']).run(None, {'image': picture.numpy()})
    values = (*features, *(prompt.numpy() for prompt in prompts))
    named = dict(zip((*pair.features, *PER_TARGET_INPUTS), values, strict=True))
    actual = _session(paths['focus']).run(None, named)
    found = [*zip(actual, expected, strict=True)]
    if pair.fovea is not None:
        second = _second_look(pair, inputs)
        given = {name: value.numpy() for name, value in second.items()}
        answers = _session(paths['fovea']).run(None, given)
        found += zip(answers, pair.fovea(*second.values()), strict=True)
    if not all(np.isfinite(got).all() for got, _ in found):
        raise ValueError(f'{paths["focus"].parent}: the graphs answer NaN; are the weights whole?')
    worst = max(
        float(np.abs(got - want.numpy()).max() / max(1.0, float(want.abs().max())))
        for got, want in found
    )
    if not worst <= TOLERANCE:
        folder = paths['focus'].parent
        raise ValueError(f'{folder}: the graphs differ from torch by {worst:.1e}, over {TOLERANCE}')
    return worst


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
