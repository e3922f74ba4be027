"""Depth Anything from a user's file or folder: which member it is, its names, its licence.

Three layouts are known by their names: the original one of Depth Anything V2, that of
`transformers` (with the names older releases gave to DINOv2's attention), and that of Depth
Anything 3. Sizes are read off the tensors; the kind of answer is not in them and comes from
config.json or from the user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from focus_depth_ros.networks.foundation.checkpoints import (
    Rule,
    WeightsError,
    load_strictly,
    read_config,
    read_tensors,
    renamed,
    weights_file,
)
from focus_depth_ros.networks.foundation.depth_anything import DepthAnything, DepthShape, Kind

_LAYER = 'backbone.encoder.layer'
_FUSION = 'neck.fusion_stage.layers'

ORIGINAL_NAMES: tuple[Rule, ...] = (
    (r'^(model\.)?backbone\.pretrained\.', 'pretrained.'),
    (r'^(model\.)?head\.', 'depth_head.'),
    (r'^pretrained\.patch_embed\.proj', 'backbone.embeddings.patch_embeddings.projection'),
    (r'^pretrained\.pos_embed', 'backbone.embeddings.position_embeddings'),
    (r'^pretrained\.cls_token', 'backbone.embeddings.cls_token'),
    (r'^pretrained\.camera_token', 'backbone.camera_token'),
    (r'^pretrained\.norm', 'backbone.layernorm'),
    (r'^pretrained\.blocks\.', f'{_LAYER}.'),
    (r'^(backbone.*)\.attn\.proj', r'\1.attention.o_proj'),
    (r'^(backbone.*)\.attn\.', r'\1.attention.'),
    (r'^(backbone.*)\.ls([12])\.gamma', r'\1.layer_scale\2.lambda1'),
    (r'^depth_head\.norm', 'map_norm'),
    (r'^depth_head\.projects\.(\d)', r'neck.reassemble_stage.layers.\1.projection'),
    (r'^depth_head\.resize_layers\.(\d)', r'neck.reassemble_stage.layers.\1.resize'),
    *((rf'^depth_head\.scratch\.layer{i}_rn', f'neck.convs.{i - 1}') for i in (1, 2, 3, 4)),
    *((rf'^depth_head\.scratch\.refinenet{i}\.', f'{_FUSION}.{4 - i}.') for i in (1, 2, 3, 4)),
    (r'\.out_conv\.', '.projection.'),
    (r'\.resConfUnit([12])\.conv([12])', r'.residual_layer\1.convolution\2'),
    (r'^depth_head\.scratch\.output_conv1\.', 'head.conv1.'),
    (r'^depth_head\.scratch\.output_conv2\.0', 'head.conv2'),
    (r'^depth_head\.scratch\.output_conv2\.2', 'head.conv3'),
    (r'^depth_head\.scratch\.sky_output_conv2\.0', 'head.sky1'),
    (r'^depth_head\.scratch\.sky_output_conv2\.2', 'head.sky2'),
)
TRANSFORMERS_NAMES: tuple[Rule, ...] = (
    (r'\.attention\.attention\.(query|key|value)\.', r'.attention.\1.'),
    (r'\.attention\.query\.', '.attention.q_proj.'),
    (r'\.attention\.key\.', '.attention.k_proj.'),
    (r'\.attention\.value\.', '.attention.v_proj.'),
    (r'\.attention\.output\.dense\.', '.attention.o_proj.'),
)
UNNEEDED = (
    r'pretrained\.mask_token',
    r'backbone\.embeddings\.mask_token',
    re.escape(f'{_FUSION}.0.residual_layer1.'),
    r'depth_head\.scratch\..*_aux\.',
    r'(model\.)?cam_(enc|dec)\.',
)
"""Left over by purpose: the training's mask token, the coarsest fusion's idle layer, and rays and
poses of the any-view models."""

LICENCES = {
    (Kind.V2, 384): 'Apache-2.0',
    (Kind.V2, 768): 'CC-BY-NC-4.0',
    (Kind.V2, 1024): 'CC-BY-NC-4.0',
    (Kind.V2_METRIC, 384): 'Apache-2.0',
    (Kind.V2_METRIC, 768): 'CC-BY-NC-4.0',
    (Kind.V2_METRIC, 1024): 'CC-BY-NC-4.0',
    (Kind.V3_MONO, 1024): 'Apache-2.0',
    (Kind.V3_METRIC, 1024): 'Apache-2.0',
    (Kind.V3_ANY_VIEW, 384): 'Apache-2.0',
    (Kind.V3_ANY_VIEW, 768): 'Apache-2.0',
}
UNKNOWN_LICENCE = 'unknown (ask whoever gave you these weights)'


def load_depth_anything(
    path: Path, kind: Kind | None = None, max_depth_m: float | None = None
) -> DepthAnything:
    """Load a member of the family from a file or a folder; says its licence on standard output.

    `kind` and `max_depth_m` are needed where neither names nor config.json tell them: metric
    weights of V2 in the original layout, monocular ones of Depth Anything 3 in a bare file. Raises
    WeightsError.
    """
    tensors = read_tensors(path)
    config = read_config(path if path.is_dir() else path.parent)
    if any('pretrained.blocks.' in name for name in tensors):
        is_v3 = any('backbone.pretrained.' in name for name in tensors)
        kind = kind or (_kind_of_v3(path, tensors, config) if is_v3 else _kind_of_v2(path))
        named = _with_split_attention(renamed(tensors, ORIGINAL_NAMES))
    elif any(name.startswith('backbone.embeddings.') for name in tensors):
        metric = config.get('depth_estimation_type') == 'metric'
        kind = kind or (Kind.V2_METRIC if metric else Kind.V2)
        max_depth_m = max_depth_m or (_max_depth_m(path, config) if metric else None)
        named = renamed(tensors, TRANSFORMERS_NAMES)
    else:
        raise WeightsError(f'{path}: no Depth Anything 2 or 3 (no DINOv2 backbone by its names)')
    if kind is Kind.V2_METRIC and max_depth_m is None:
        raise WeightsError(f'{path}: metric weights of V2 need their maximal depth (20 or 80 m)')
    network = DepthAnything(_shape(path, kind, named, max_depth_m))
    _check_taps(path, config, network.shape)
    load_strictly(network, named, path, UNNEEDED)
    print(f'{path}: {kind.value}, {network.shape.width} channels, licence: {licence_of(network)}')
    return network.eval()


def licence_of(network: DepthAnything) -> str:
    """Under what licence these weights were published, by kind and size."""
    return LICENCES.get((network.shape.kind, network.shape.width), UNKNOWN_LICENCE)


def _check_taps(path: Path, config: Mapping[str, Any], shape: DepthShape) -> None:
    """Depth Anything 1 has the names and shapes of V2, and reads other layers of its backbone."""
    backbone = config.get('backbone_config')
    taps = backbone.get('out_indices') if isinstance(backbone, dict) else None
    if taps is not None and taps != [tap + 1 for tap in shape.taps]:
        raise WeightsError(
            f'{path}: its decoder reads layers {taps} of the backbone, {shape.kind.value} reads '
            f'{[tap + 1 for tap in shape.taps]}; Depth Anything 1 is not supported'
        )


def _max_depth_m(path: Path, config: Mapping[str, Any]) -> float:
    said = config.get('max_depth')
    if not isinstance(said, (int, float)) or not 0 < said < 1e4:
        raise WeightsError(f'{path}: max_depth in config.json is {said!r}; it should be metres')
    return float(said)


def _kind_of_v2(path: Path) -> Kind:
    """Relative and metric weights of V2 differ in nothing but their published names."""
    if any('metric' in name.lower() for name in (path.name, weights_file(path).name)):
        raise WeightsError(
            f'{path}: metric weights by their name; say their kind ({Kind.V2_METRIC.value}) and '
            'maximal depth (Hypersim 20 m, Virtual KITTI 80 m)'
        )
    return Kind.V2


def _kind_of_v3(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, object]) -> Kind:
    if any('camera_token' in name for name in tensors):
        return Kind.V3_ANY_VIEW
    name = str(config.get('model_name', ''))
    for kind in (Kind.V3_MONO, Kind.V3_METRIC):
        if name.startswith(kind.value):
            return kind
    raise WeightsError(
        f'{path}: DA3MONO and DA3METRIC have the same tensors; keep config.json beside them, or '
        'say which it is'
    )


def _with_split_attention(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2 stacks the projections of queries, keys and values; `transformers` has three."""
    result = {}
    for name, tensor in tensors.items():
        before, stacked, after = name.partition('.attention.qkv.')
        if not stacked:
            result[name] = tensor
            continue
        for part, piece in zip('qkv', tensor.chunk(3), strict=True):
            result[f'{before}.attention.{part}_proj.{after}'] = piece
    return result


def _shape(
    path: Path, kind: Kind, tensors: Mapping[str, Tensor], max_depth_m: float | None
) -> DepthShape:
    layers = {int(found[1]) for name in tensors if (found := re.match(rf'{_LAYER}\.(\d+)\.', name))}
    try:
        width = tensors['backbone.embeddings.cls_token'].shape[-1]
        sizes = [tensors[f'neck.reassemble_stage.layers.{i}.projection.weight'] for i in range(4)]
        features = tensors['neck.convs.0.weight'].shape[0]
        head = tensors['head.conv2.weight'].shape[0]
    except (KeyError, IndexError) as error:
        raise WeightsError(f'{path}: the weights are incomplete ({error} is missing)') from error
    depths = (12,) if kind is Kind.V3_ANY_VIEW else (12, 24)
    if len(layers) not in depths or width % 64 or width > 1024:
        raise WeightsError(
            f'{path}: a backbone of {len(layers)} layers and {width} channels; supported are V2 '
            'Small, Base and Large, DA3MONO-LARGE, DA3METRIC-LARGE, DA3-SMALL and DA3-BASE'
        )
    first, second, third, fourth = (int(size.shape[0]) for size in sizes)
    reassemble = (first, second, third, fourth)
    return DepthShape(kind, width, len(layers), reassemble, features, head, max_depth_m or 20.0)
