"""Weights by rule under the published checkpoints' own names, and tiny networks to put them in.

`foundation_names.txt` lists names and shapes as the public implementations write them, for
small widths; `{0-11}` stands for a number in that range. What those implementations answer with
these weights is kept in test_foundation_weights.py.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Sam3Config

from focus_depth_ros.networks.foundation.depth_anything import DepthAnything, DepthShape, Kind
from focus_depth_ros.networks.foundation.focus_depth import FocusDepth, FocusDepthShape
from focus_depth_ros.networks.foundation.sam3 import Sam3

NAMES = Path(__file__).parent / 'foundation_names.txt'
SAM_SIDE = 112
VISUAL = (98, 5, 99)


def tensors_by_rule(case: str) -> dict[str, torch.Tensor]:
    """A checkpoint of one of the listed networks: every tensor follows from its name and shape."""
    return {name: torch.from_numpy(_values(name, shape)) for name, shape in listed(case).items()}


def listed(case: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network."""
    section = NAMES.read_text(encoding='utf-8').split(f'[{case}]\n')[1].split('[')[0]
    result = {}
    for line in section.splitlines():
        name, *sizes = line.split()
        for number in _numbers(name):
            result[re.sub(r'\{.*\}', str(number), name)] = tuple(map(int, sizes))
    return result


def _numbers(name: str) -> range:
    found = re.search(r'\{(\d+)-(\d+)\}', name)
    return range(int(found[1]), int(found[2]) + 1) if found else range(1)


def _values(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Normal numbers: a layer's weights of variance 2 / inputs, norms round 1, the rest small."""
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        noise *= (2 / np.prod(shape[1:])) ** 0.5
    elif re.search(r'(norm|ln_|\bls\d|encode_norm).*(weight|gamma)$', name):
        noise = 1 + 0.1 * noise
    else:
        noise *= 0.1
    # Depth is the exponential of this layer, or its positive part; some of the picture is sky.
    if name.endswith('scratch.output_conv2.2.weight'):
        noise *= 0.03
    if name.endswith('output_conv2.2.bias'):
        noise += 1 if name.startswith('model.head.scratch.output_conv2') else 4
    return noise.astype(np.float32)


def picture(width: int, height: int) -> torch.Tensor:
    """RGB (1, 3, height, width) in [0, 1], by rule."""
    values = np.random.RandomState(7).random_sample((1, 3, height, width))
    return torch.from_numpy(values.astype(np.float32))


def summary(values: torch.Tensor) -> list[float]:
    """Mean, standard deviation and four values of a tensor."""
    flat = values.detach().double().flatten()
    places = [int(share * (len(flat) - 1)) for share in (0.0, 0.31, 0.62, 0.93)]
    return [float(flat.mean()), float(flat.std()), *(float(flat[place]) for place in places)]


def sam3_config(side: int = SAM_SIDE, vocabulary: int = 100, layers: int = 2) -> Sam3Config:
    """SAM3 of 32 channels, a vision backbone with windows and a global layer."""
    small = {'hidden_size': 32, 'num_attention_heads': 4, 'intermediate_size': 48}
    backbone = {
        'model_type': 'sam3_vit_model',
        'hidden_size': 32,
        'num_attention_heads': 2,
        'intermediate_size': 48,
        'num_hidden_layers': layers,
        'image_size': side,
        'pretrain_image_size': 56,
        'window_size': 4,
        'global_attn_indexes': [layers - 1],
        'layer_norm_eps': 1e-5,
    }
    text = {
        'model_type': 'clip_text_model',
        'vocab_size': vocabulary,
        'hidden_size': 32,
        'num_attention_heads': 2,
        'intermediate_size': 128,
        'projection_dim': 16,
        'num_hidden_layers': layers,
        'max_position_embeddings': 8,
        'hidden_act': 'gelu',
        'bos_token_id': vocabulary - 2,
        'eos_token_id': vocabulary - 1,
    }
    return Sam3Config(
        vision_config={'backbone_config': backbone, 'fpn_hidden_size': 32},
        text_config=text,
        geometry_encoder_config={**small, 'num_layers': layers},
        detr_encoder_config={**small, 'num_layers': layers},
        detr_decoder_config={**small, 'num_layers': layers, 'num_queries': 7},
        mask_decoder_config={'hidden_size': 32, 'num_attention_heads': 4},
    )


def tiny_depth(kind: Kind = Kind.V2) -> DepthAnything:
    """A Depth Anything of 64 channels with random weights that answer something uneven."""
    layers = 24 if kind.has_sky else 12
    torch.manual_seed(1)
    network = DepthAnything(DepthShape(kind, 64, layers, (8, 8, 16, 16), 16, 8))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.dim() > 1 and not name.startswith('backbone.embeddings'):
                value.mul_(3)
        network.head.conv3.bias.fill_(1.0)
    return network.eval()


def tiny_focus_depth(
    shape: FocusDepthShape, kind: Kind = Kind.V2, side: int = SAM_SIDE, vocabulary: int = 100
) -> FocusDepth:
    """FocusDepth on tiny networks; SAM3's weights are large enough for prompts to matter."""
    depth = tiny_depth(kind)
    visual = (vocabulary - 2, 5, vocabulary - 1)
    sam3 = Sam3(sam3_config(side, vocabulary, layers=1), visual)
    with torch.no_grad():
        for value in sam3.parameters():
            if value.dim() > 1:
                value.normal_(std=(2 / value[0].numel()) ** 0.5)
    return FocusDepth(depth, sam3, shape).eval()
