"""One model folder with the mean weights of two: `python tools/mean_of_models.py MODEL OTHER OUT`.

Both are of the compact family and of one shape. In exported weights the normalisations are folded,
so that no statistics are taken anew as `focus-depth average` does: those of rendered pictures made
depth of real ones worse (docs/model_runs.md). `focus-depth quantise` adds int8 graphs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from focus_depth_ros.inference.model_folder import read_model_folder
from focus_depth_ros.networks.compact import FEATURE_NAMES
from focus_depth_ros.networks.compact_graphs import load_graph, manifest_shape
from focus_depth_ros.networks.graph_pair import GraphPair
from focus_depth_ros.training.average import mean_weights
from focus_depth_ros.training.export import write_pair

PARTS = ('encoder', 'focus')


def main() -> int:
    """Write the folder. Raises ValueError for models that do not go together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ('model', 'other', 'output'):
        parser.add_argument(name, type=Path)
    parser.add_argument('--version', default='mean')
    arguments = parser.parse_args()
    models = [arguments.model, arguments.other]
    manifests = [manifest_of(folder) for folder in models]
    shape = manifest_shape(manifests[0])
    if manifest_shape(manifests[1]) != shape:
        raise ValueError(f'{models[0]} and {models[1]} are of different shapes')
    modules = []
    for part in PARTS:
        one, other = (
            load_graph(folder / f'{part}.onnx', part, shape, **manifest['boundary_calibration'])
            for folder, manifest in zip(models, manifests, strict=True)
        )
        other.load_state_dict(mean_weights([one.state_dict(), other.state_dict()]))
        modules.append(other)
    files, worst = write_pair(GraphPair(*modules, FEATURE_NAMES), shape, arguments.output)
    told = {'version': arguments.version, 'files': files, 'measured': {}}
    text = json.dumps({**manifests[1], **told}, indent=1) + '\n'
    (arguments.output / 'model.json').write_text(text, encoding='utf-8')
    print(f'{arguments.output}: written; largest difference from torch {worst:.1e}')
    return 0


def manifest_of(folder: Path) -> dict[str, Any]:
    """A checked model's manifest. Raises ModelError."""
    read_model_folder(folder)
    manifest: dict[str, Any] = json.loads((folder / 'model.json').read_text(encoding='utf-8'))
    return manifest


if __name__ == '__main__':
    raise SystemExit(main())
