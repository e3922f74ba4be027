"""A model folder of the compact family made at test time: small, untrained, exported, a fovea."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from focus_depth_ros.networks.compact import FEATURE_NAMES, CompactShape
from focus_depth_ros.networks.compact_graphs import graphs
from focus_depth_ros.networks.fovea import FoveaNetwork
from focus_depth_ros.training.graph_files import write_graphs

SMALL_TRUNK = (
    (3, 1, 1, 8, 1),
    (3, 2, 2, 8, 2),
    (5, 2, 2, 12, 1),
    (3, 2, 2, 16, 1),
    (3, 2, 2, 24, 1),
)


def write_compact_model(folder: Path) -> Path:
    """A small untrained network of the compact family, exported as `focus-depth export` does."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sizes = {
        'height': 56, 'width': 88, 'stem': 8, 'trunk': SMALL_TRUNK,
        'detail': 8, 'decoder': 12, 'fine': 8, 'boundary': 8, 'grounding': 16,
        'experts_hidden': 4, 'word_roles': (0,) * 12, 'max_words': 8,
    }  # fmt: skip
    network = FoveaNetwork(CompactShape(**sizes)).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # statistics that folding has to get right
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2)
    for parameter in network.fovea.fusion.parameters():  # what starts at zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    folder.mkdir(parents=True, exist_ok=True)
    pair = graphs(network, slope=0.8, bias=-1.5)
    image = torch.randint(0, 255, (1, 56, 88, 3), dtype=torch.uint8)
    box, words = torch.rand(2, 4), torch.randint(0, 12, (2, 8), dtype=torch.int32)
    write_graphs(pair, folder, (image, box, words))
    parts = ('encoder', 'focus', 'fovea')
    manifest = {
        'format': 1, 'name': 'small', 'version': '0', 'license': 'Apache-2.0', 'family': 'compact',
        'files': {p: {'path': f'{p}.onnx', 'sha256': _sha256(folder / f'{p}.onnx')} for p in parts},
        'shape': sizes, 'input': {'width': 88, 'height': 56}, 'output': {'width': 44, 'height': 28},
        'features': list(FEATURE_NAMES), 'canonical_focal_px': 200.0, 'max_words': 8,
        'vocabulary': [str(number) for number in range(12)],
        'boundary_calibration': {'slope': 0.8, 'bias': -1.5},
    }  # fmt: skip
    (folder / 'model.json').write_text(json.dumps(manifest))
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
