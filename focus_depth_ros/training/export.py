"""`focus-depth export`: a checkpoint's averaged weights -> a model folder.

The graphs are checked against torch on a picture and prompts other than those they were traced
with.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from focus_depth_ros.inference.model_folder import file_entry
from focus_depth_ros.networks.compact import FEATURE_NAMES, CompactNetwork, CompactShape
from focus_depth_ros.networks.compact_graphs import graphs
from focus_depth_ros.networks.fovea import FoveaNetwork
from focus_depth_ros.networks.graph_pair import GraphPair
from focus_depth_ros.networks.mssa import FusionVariant, vary
from focus_depth_ros.synthesis.vocabulary import MOST_WORDS
from focus_depth_ros.training.calibration import (
    BoundaryCalibration,
    boundary_samples,
    fit_calibration,
)
from focus_depth_ros.training.checkpoint import averaged, read_checkpoint, restore
from focus_depth_ros.training.compact import shape_of
from focus_depth_ros.training.example import CANONICAL_FOCAL_PX, VOCABULARY
from focus_depth_ros.training.graph_files import Inputs, write_checked

CALIBRATION_FRAMES = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth export`."""
    parser.add_argument('checkpoint', type=Path, help='checkpoint.pt of a training run')
    parser.add_argument('--output', type=Path, required=True, help='model folder to write')
    parser.add_argument(
        '--validation', type=Path, required=True, help='shards the boundary is calibrated on'
    )
    parser.add_argument('--version', default='0.1.0', help='version written into model.json')
    parser.add_argument('--measured', type=Path, help='JSON of `focus-depth evaluate` to include')


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    network, training = load_checkpoint(arguments.checkpoint)
    measured = json.loads(arguments.measured.read_text()) if arguments.measured else {}
    calibration = fit_calibration(
        *boundary_samples(network, arguments.validation, CALIBRATION_FRAMES)
    )
    worst = export_model(
        network, arguments.output, arguments.version, calibration, training, measured
    )
    print(f'{arguments.output}: written; largest difference from torch {worst:.1e}')
    return 0


def load_checkpoint(path: Path) -> tuple[CompactNetwork | FoveaNetwork, dict[str, Any]]:
    """The averaged network of a checkpoint and the manifest's `training` entry.

    Raises ValueError if unfit.
    """
    state = read_checkpoint(path)
    if state.get('vocabulary') != VOCABULARY:
        raise ValueError(f'{path}: trained with another vocabulary; export it with that version')
    config = state['config']
    kind = FoveaNetwork if config['family'] == 'fovea' else CompactNetwork
    network = kind(shape_of(config.get('network', {})))
    vary(network, FusionVariant(**config.get('fusion', {})))
    restore(network, averaged(state), ('',))
    training = {
        'recipe': 'docs/training.md',
        'seed': int(config['seed']),
        'steps': int(state['step']),
        'pictures_seen': int(state['step']) * int(config['batch']),
        'frames': int(state['frames']),
        'date': datetime.now(timezone.utc).date().isoformat(),
    }
    return network, training


def export_model(
    network: CompactNetwork | FoveaNetwork,
    folder: Path,
    version: str,
    calibration: BoundaryCalibration,
    training: dict[str, Any],
    measured: dict[str, Any],
) -> float:
    """Write the folder; returns the largest |ONNX Runtime - torch|.

    Raises ValueError where they differ too much.
    """
    shape = network.shape
    pair = graphs(network, calibration.slope, calibration.bias)
    files, worst = write_pair(pair, shape, folder)
    output_height, output_width = shape.grid(2)
    manifest = {
        'format': 1,
        'name': 'compact',
        'version': version,
        'license': 'Apache-2.0',
        'family': 'compact',
        'shape': asdict(shape),
        'files': files,
        'input': {'width': shape.width, 'height': shape.height},
        'output': {'width': output_width, 'height': output_height},
        'features': list(FEATURE_NAMES),
        'canonical_focal_px': CANONICAL_FOCAL_PX,
        'max_words': MOST_WORDS,
        'vocabulary': VOCABULARY,
        'boundary_calibration': asdict(calibration),
        'training': training,
        'measured': measured,
    }
    (folder / 'model.json').write_text(json.dumps(manifest, indent=1) + '\n', encoding='utf-8')
    return worst


def write_pair(pair: GraphPair, shape: CompactShape, folder: Path) -> tuple[dict[str, Any], float]:
    """Write a pair's graphs into a folder; the manifest's `files`, and as `export_model`."""
    traced, others = _inputs(shape, seed=0, targets=2), _inputs(shape, seed=1, targets=3)
    paths, worst = write_checked(pair, folder, traced, others)
    return {part: file_entry(path) for part, path in paths.items()}, worst


def _inputs(shape: CompactShape, seed: int, targets: int) -> Inputs:
    """A random picture of smooth patches, boxes (the last one absent) and words."""
    rng = np.random.default_rng(seed)
    patches: NDArray[np.uint8] = rng.integers(0, 256, (1, *shape.grid(8), 3), dtype=np.uint8)
    picture = patches.repeat(8, 1).repeat(8, 2)[:, : shape.height, : shape.width]
    corner = rng.uniform(0, 0.5, (targets, 2))
    box = np.concatenate([corner, corner + rng.uniform(0.1, 0.5, (targets, 2))], 1).astype(
        np.float32
    )
    size = (targets, shape.max_words)
    words = rng.integers(0, len(shape.word_roles), size, dtype=np.int32)
    words[:, 4:] = 0
    box[-1], words[0] = 0, 0
    return torch.from_numpy(picture), torch.from_numpy(box), torch.from_numpy(words)
