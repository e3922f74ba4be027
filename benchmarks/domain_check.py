r"""How networks trained on rendered scenes do on real frames: every target's error, as a picture.

    python benchmarks/domain_check.py --model 0.1.0=OLD_FOLDER --model 0.2.0=FOLDER \
        --real FRAMES --out docs/images/domain_check.png

FRAMES is a folder as `--dataset rgbd_folder` of `focus-depth evaluate` reads it. One row a group of
frames; in each plot a curve shows how many of the group's targets have an error up to x. The last
model is shown once more with a second look at each target. Needs the extra `report`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np

from focus_depth_ros.datasets.catalogue import open_dataset
from focus_depth_ros.evaluation.scoring import Scores, score
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.pipeline.settings import Settings

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

FEWEST_TARGETS = 5
PANELS = (
    ('model_boundary', 'plane_boundary', 'AbsRel round the outline'),
    ('model_foreground', 'plane_foreground', 'AbsRel on the target'),
    ('iou', 'filled_box_iou', 'mask IoU'),
)
"""Figure of the model, of what needs no model (best plane, filled box), and its name."""


def draw(axes: Axes, values: list[float], label: str, style: str) -> None:
    """The share of targets up to each value."""
    found = np.sort(np.array(values)[np.isfinite(values)])
    axes.plot(found, np.arange(1, len(found) + 1) / len(found), style, label=label)


def panel(axes: Axes, scored: dict[str, list[dict[str, float]]], name: str, plain: str) -> None:
    """One figure of one group: a curve a model, and the one without a model dotted."""
    for label, targets in scored.items():
        draw(axes, [target[name] for target in targets], label, '-')
    first = next(iter(scored.values()))
    draw(axes, [target[plain] for target in first], plain.split('_')[0], 'k:')
    axes.set_xlim(0, 1 if name == 'iou' else 0.25)
    axes.grid(alpha=0.3)


def scored(model: FocusModel, real: Path, fovea: bool) -> dict[str, Scores]:
    """A model's scores by group of frames."""
    groups: dict[str, Scores] = {}
    score(model, open_dataset('rgbd_folder', real), groups, settings=Settings(fovea=fovea))
    return groups


def main() -> None:
    """Score and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', action='append', required=True, metavar='LABEL=FOLDER')
    parser.add_argument('--real', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args()
    by_model: dict[str, dict[str, Scores]] = {}
    for entry in options.model:
        label, _, folder = entry.partition('=')
        model = FocusModel(Path(folder), 'auto', 1)
        by_model[label] = scored(model, options.real, fovea=False)
    by_model[f'{label}, twice'] = scored(model, options.real, fovea=True)
    shown = [
        name
        for name, scores in next(iter(by_model.values())).items()
        if len(scores.targets['box']) >= FEWEST_TARGETS
    ]
    figure, axes = plt.subplots(len(shown), len(PANELS), figsize=(10, 2.6 * len(shown)))
    for row, group in enumerate(shown):
        targets = {label: groups[group].targets['box'] for label, groups in by_model.items()}
        for column, (name, plain, title) in enumerate(PANELS):
            place = np.atleast_2d(axes)[row, column]
            panel(place, targets, name, plain)
            place.set_title(f'{group}: {title}', fontsize=9)
        np.atleast_2d(axes)[row, 0].legend(fontsize=8)
    figure.supylabel('share of targets', fontsize=9)
    figure.tight_layout()
    figure.savefig(options.out, dpi=90)
    print(f'{options.out} written')


if __name__ == '__main__':
    main()
