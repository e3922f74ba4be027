"""The foundation family as a model folder: two ONNX graphs, CLIP's byte pairs, a manifest.

Sizes are fixed, the number of targets is free. The position table is frozen at the exported size,
attention is written out unless the runtime's own fused form is wanted, and both graphs are compared
with torch on a picture and prompts other than those they were traced with.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from focus_depth_ros.inference.clip_bpe import ClipBytePairs, find_merges
from focus_depth_ros.inference.model_folder import file_entry
from focus_depth_ros.networks.foundation.attention import EXPLICIT, FUSED, use_attention
from focus_depth_ros.networks.foundation.depth_anything import Kind
from focus_depth_ros.networks.foundation.depth_weights import licence_of, load_depth_anything
from focus_depth_ros.networks.foundation.dinov2 import PATCH
from focus_depth_ros.networks.foundation.focus_depth import (
    FocusDepth,
    FocusDepthShape,
)
from focus_depth_ros.networks.foundation.graphs import EncoderGraph, FocusGraph
from focus_depth_ros.networks.foundation.sam3_weights import LICENCE as SAM3_LICENCE
from focus_depth_ros.networks.foundation.sam3_weights import SIDE, check_vocabulary, load_sam3
from focus_depth_ros.networks.foundation.trained_weights import (
    load_trained,
    read_sides,
    read_trained_shape,
)
from focus_depth_ros.networks.graph_pair import GraphPair
from focus_depth_ros.networks.mssa import variant_of
from focus_depth_ros.training.graph_files import Inputs, write_checked

DEPTH_SIDE = FocusDepthShape.side_px
METRIC_FOCAL_PX = 300.0
"""Depth Anything 3 METRIC answers metres times 300 / focal length in px."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth export-foundation`."""
    parser.add_argument('--depth', type=Path, required=True, help='Depth Anything: folder or file')
    parser.add_argument('--sam3', type=Path, required=True, help='SAM3: folder or file')
    parser.add_argument(
        '--vocabulary',
        type=Path,
        help="CLIP's merges.txt or bpe_simple_vocab_16e6.txt.gz; looked for beside SAM3 first",
    )
    parser.add_argument('--weights', type=Path, help='a trained FocusDepth (safetensors)')
    parser.add_argument('--output', type=Path, required=True, help='model folder to write')
    parser.add_argument(
        '--kind', choices=[kind.value for kind in Kind], help='where the weights do not tell'
    )
    parser.add_argument('--max-depth', type=float, metavar='M', help='of metric weights of V2')
    parser.add_argument(
        '--depth-side',
        type=int,
        help=f'px, a multiple of 14 (default: as --weights was trained, else {DEPTH_SIDE})',
    )
    parser.add_argument(
        '--sam-side',
        type=int,
        help=f'px, a multiple of 14 (default: as --weights was trained, else {SIDE})',
    )
    parser.add_argument(
        '--fused-attention',
        action='store_true',
        help='leave attention to the exporter; some TensorRT releases compute it wrongly',
    )


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    merges = arguments.vocabulary or find_merges(arguments.sam3)
    pairs = ClipBytePairs(merges)
    trained = read_sides(arguments.weights) if arguments.weights else None
    depth_side, sam_side = trained or (DEPTH_SIDE, SIDE)
    depth_side, sam_side = arguments.depth_side or depth_side, arguments.sam_side or sam_side
    kind = Kind(arguments.kind) if arguments.kind else None
    depth = load_depth_anything(arguments.depth, kind, arguments.max_depth)
    visual = tuple(pairs.encode('visual', max_tokens=32))
    sam3 = load_sam3(arguments.sam3, visual, sam_side)
    check_vocabulary(pairs.end, sam3, merges)
    shape = FocusDepthShape(depth_side, boundaries=False)
    if arguments.weights:
        shape = read_trained_shape(arguments.weights, depth_side)
    network = FocusDepth(depth, sam3, shape)
    masks_trained = bool(arguments.weights) and load_trained(network, arguments.weights)
    attention = FUSED if arguments.fused_attention else EXPLICIT
    options = ExportOptions(pairs, not masks_trained, bool(arguments.weights), attention)
    worst = export_model(network.eval(), arguments.output, options)
    print(f'{arguments.output}: written; largest difference from torch {worst:.1e}')
    return 0


@dataclass(frozen=True)
class ExportOptions:
    """How to export: words' coding, masks and metres (see `FocusGraph`), the attention's form."""

    pairs: ClipBytePairs
    by_instance: bool
    trained: bool = False
    attention: str = EXPLICIT


def export_model(network: FocusDepth, folder: Path, options: ExportOptions) -> float:
    """Write the folder; returns the largest |ONNX Runtime - torch|, relative to the output's size.

    The network's positions are frozen and its attention is switched. Raises ValueError for the
    control that shuffles its tokens anew at each pass, and where the graphs differ too much.
    """
    if variant_of(network).tokens == 'shuffled':
        raise ValueError(
            'no graph can shuffle tokens anew at each pass: this control stays in torch'
        )
    grid = network.shape.side_px // PATCH
    network.depth.backbone.freeze_positions((grid, grid))
    network.sam3.freeze_positions()
    use_attention(network, options.attention)
    pair = GraphPair(
        EncoderGraph(network).eval(),
        FocusGraph(network, options.by_instance, options.trained).eval(),
        network.feature_names,
    )
    traced = example_inputs(network, options.pairs, seed=0, targets=2)
    others = example_inputs(network, options.pairs, seed=1, targets=3)
    paths, worst = write_checked(pair, folder, traced, others)
    (folder / 'merges.txt').write_text(options.pairs.as_text(), encoding='utf-8')
    manifest = manifest_of(network, options, paths, folder / 'merges.txt')
    (folder / 'model.json').write_text(json.dumps(manifest, indent=1) + '\n', encoding='utf-8')
    return worst


def manifest_of(
    network: FocusDepth, options: ExportOptions, paths: dict[str, Path], merges: Path
) -> dict[str, Any]:
    """The content of model.json."""
    kind = network.depth.shape.kind
    side = {'width': network.shape.side_px, 'height': network.shape.side_px}
    files = {part: file_entry(path) for part, path in paths.items()}
    return {
        'format': 1,
        'name': f'focusdepth-{kind.value}-{network.depth.shape.width}',
        'version': '0.1.0',
        'license': f'{licence_of(network.depth)} AND {SAM3_LICENCE}',
        'family': 'foundation',
        'shape': asdict(network.shape),
        'mask_by_instance': options.by_instance,
        'attention': options.attention,
        'files': {**files, 'merges': file_entry(merges)},
        'input': {'width': network.sam3.side, 'height': network.sam3.side},
        'output': side,
        'features': list(network.feature_names),
        'canonical_focal_px': canonical_focal_px(network),
        'answers_depth': not kind.answers_inverse_depth,
        'max_words': network.sam3.words,
        'vocabulary': [],
        'measured': {},
    }


def canonical_focal_px(network: FocusDepth) -> float | None:
    """Focal length in px of the camera that the metric answer is for, at the graphs' input size.

    None for metric weights of V2, which answer metres whatever the camera.
    """
    if network.depth.shape.kind is Kind.V2_METRIC:
        return None
    # The depth branch sees a smaller picture than the graph, so its focal length is shorter.
    return METRIC_FOCAL_PX * network.sam3.side / network.shape.side_px


def example_inputs(network: FocusDepth, pairs: ClipBytePairs, seed: int, targets: int) -> Inputs:
    """A random picture of smooth patches, a caption first and boxes after it."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand((1, 3, 9, 9), generator=generator)
    side = network.sam3.side
    smooth = functional.interpolate(patches, (side, side), mode='bilinear')
    picture = (255 * smooth).byte().permute(0, 2, 3, 1).contiguous()
    corner = 0.5 * torch.rand((targets, 2), generator=generator)
    box = torch.cat([corner, corner + 0.1 + 0.4 * torch.rand((targets, 2), generator=generator)], 1)
    words = torch.zeros(targets, network.sam3.words, dtype=torch.int32)
    caption = pairs.encode('a red mug' if seed else 'bottle', network.sam3.words)
    words[0, : len(caption)] = torch.tensor(caption, dtype=torch.int32)
    box[0] = 0
    return picture, box, words
