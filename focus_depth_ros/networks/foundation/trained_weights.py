"""What training adds to the two networks a user brings: adapters, decoders, boundary branch.

SAM3's image, text and box encoders are frozen in every stage and never in these files. The depth
network's backbone is in them only where it was trained, as the baseline does.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from focus_depth_ros.networks.foundation.checkpoints import WeightsError, read_tensors
from focus_depth_ros.networks.foundation.focus_depth import FocusDepth, FocusDepthShape

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


def save_trained(network: FocusDepth, path: Path, backbone: bool = False) -> None:
    """Write everything that some stage trains, as safetensors; `backbone`: the baseline's too."""
    groups = (*TRAINABLE, BACKBONE) if backbone else TRAINABLE
    tensors = {
        name: value.contiguous()
        for name, value in network.state_dict().items()
        if name.startswith(groups)
    }
    save_file(tensors, path)


def read_trained_shape(path: Path, side_px: int) -> FocusDepthShape:
    """The shape that a file of trained weights asks for. Raises WeightsError."""
    tensors = read_tensors(path)
    try:
        experts = tensors[f'{ADAPTERS}0.mixture.router.weight'].shape[0]
        hidden = tensors[f'{ADAPTERS}0.mixture.inner.weight'].shape[0] // experts
    except (KeyError, IndexError) as error:
        raise WeightsError(f'{path}: no trained FocusDepth (it has no adapters)') from error
    return FocusDepthShape(
        side_px=side_px,
        hidden=hidden,
        paper_literal=f'{ADAPTERS}0.gate.bias' not in tensors,
        boundaries=any(name.startswith(BOUNDARIES) for name in tensors),
    )


def load_trained(network: FocusDepth, path: Path) -> bool:
    """Put trained weights into a network of the shape they ask for.

    A group of `TRAINABLE`, or the backbone, is there as a whole or not at all; adapters always
    are. Returns whether the semantic mask was trained too (the first stage leaves it). Raises
    WeightsError.
    """
    tensors = read_tensors(path)
    known = (*TRAINABLE, BACKBONE)
    wanted = {name: value for name, value in network.state_dict().items() if name.startswith(known)}
    groups = {group for group in known if any(name.startswith(group) for name in tensors)}
    missing = [
        name
        for name in wanted
        if name.startswith(tuple(groups | {ADAPTERS})) and name not in tensors
    ]
    foreign = [name for name in tensors if name not in wanted]
    shapes = [name for name in tensors if name in wanted and _differ(tensors[name], wanted[name])]
    for what, names in (('missing', missing), ('unknown', foreign), ('wrong shape', shapes)):
        if names:
            raise WeightsError(f'{path}: {what}: {", ".join(names[:6])} ({len(names)} in all)')
    projection = network.sam3.model.mask_decoder.semantic_projection
    before = projection.weight.detach().clone()
    network.load_state_dict(tensors, strict=False)
    return not bool((projection.weight == before).all())


def _differ(first: Tensor, second: Tensor) -> bool:
    return first.shape != second.shape
