"""What training adds to the two networks a user brings: adapters, decoders, boundary branch.

SAM3's image, text and box encoders are frozen in every stage and never in these files. The depth
network's backbone is in them only where it was trained, as the baseline does. Which control of
MSSA they are stands in the file's metadata (`fusion`; absent: FocusDepth itself), and so do the
sides of both branches' pictures (`sides`).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from focus_depth_ros.networks.foundation.checkpoints import (
    WeightsError,
    read_metadata,
    read_tensors,
)
from focus_depth_ros.networks.foundation.focus_depth import FocusDepth, FocusDepthShape
from focus_depth_ros.networks.mssa import FusionVariant, variant_of, vary

ADAPTERS = 'adapters.'
BOUNDARIES = ('boundary.', 'boundary_share', 'refiner.')
TRAINABLE = (
    ADAPTERS,
    *BOUNDARIES,
    'depth.neck.',
    'depth.map_norm.',
    'depth.head.',
    'sam3.model.detr_encoder.',
    'sam3.model.mask_decoder.',
)
BACKBONE = 'depth.backbone.'
FUSION, SIDES = 'fusion', 'sides'


def save_trained(network: FocusDepth, path: Path, backbone: bool = False) -> None:
    """Write everything that some stage trains, as safetensors; `backbone`: the baseline's too."""
    groups = (*TRAINABLE, BACKBONE) if backbone else TRAINABLE
    tensors = {name: value.contiguous() for name, value in _weights(network, groups).items()}
    sides = [network.shape.side_px, network.sam3.side]
    fusion = asdict(variant_of(network))
    save_file(tensors, path, {FUSION: json.dumps(fusion), SIDES: json.dumps(sides)})


def _weights(network: FocusDepth, groups: tuple[str, ...]) -> dict[str, Tensor]:
    """Parameters and buffers by name, each once: adapters may be one for all scales."""
    once = {name for name, _ in (*network.named_parameters(), *network.named_buffers())}
    return {
        name: value
        for name, value in network.state_dict().items()
        if name in once and name.startswith(groups)
    }


def read_trained_shape(path: Path, side_px: int) -> FocusDepthShape:
    """The shape that a file of trained weights asks for. Raises WeightsError."""
    tensors = read_tensors(path)
    try:
        # A control with other experts keeps their whole width.
        hidden = tensors[f'{ADAPTERS}0.mixture.inner.weight'].shape[0] // FusionVariant().experts
    except (KeyError, IndexError) as error:
        raise WeightsError(f'{path}: no trained FocusDepth (it has no adapters)') from error
    return FocusDepthShape(
        side_px=side_px,
        hidden=hidden,
        paper_literal=f'{ADAPTERS}0.gate.bias' not in tensors,
        boundaries=any(name.startswith(BOUNDARIES) for name in tensors),
    )


def read_fusion(path: Path) -> FusionVariant:
    """The control that a file of trained weights is, or FocusDepth. Raises WeightsError."""
    content = read_metadata(path).get(FUSION, '{}')
    try:
        return FusionVariant(**json.loads(content))
    except (TypeError, ValueError) as error:
        raise WeightsError(f'{path}: no known fusion: {content}') from error


def read_sides(path: Path) -> tuple[int, int] | None:
    """The sides (px) of the depth branch's and SAM3's picture in training; None: it is not said.

    Raises WeightsError.
    """
    content = read_metadata(path).get(SIDES)
    if content is None:
        return None
    try:
        depth_side, sam_side = map(int, json.loads(content))
    except (TypeError, ValueError) as error:
        raise WeightsError(f'{path}: no known sides: {content}') from error
    return depth_side, sam_side


def load_trained(network: FocusDepth, path: Path) -> bool:
    """Put trained weights into a network of the shape they ask for, and make it their control.

    A group of `TRAINABLE`, or the backbone, is there as a whole or not at all; adapters always
    are. Returns whether the semantic mask was trained too (the first stage leaves it). Raises
    WeightsError.
    """
    tensors = read_tensors(path)
    known = (*TRAINABLE, BACKBONE)
    try:
        vary(network, read_fusion(path))
    except ValueError as error:
        raise WeightsError(f'{path}: {error}') from error
    wanted = _weights(network, known)
    groups = {group for group in known if any(name.startswith(group) for name in tensors)}
    missing = [
        name
        for name in wanted
        if name.startswith(tuple(groups | {ADAPTERS})) and name not in tensors
    ]
    foreign = [name for name in tensors if name not in wanted]
    shapes = [
        name for name in tensors if name in wanted and tensors[name].shape != wanted[name].shape
    ]
    for what, names in (('missing', missing), ('unknown', foreign), ('wrong shape', shapes)):
        if names:
            raise WeightsError(f'{path}: {what}: {", ".join(names[:6])} ({len(names)} in all)')
    projection = network.sam3.model.mask_decoder.semantic_projection
    before = projection.weight.detach().clone()
    network.load_state_dict(tensors, strict=False)
    return not bool((projection.weight == before).all())
