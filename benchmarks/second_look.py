r"""How much a second look should weigh, and whether one model looks twice better than another.

    python benchmarks/second_look.py --model shipped=FOLDER --model fovea=FOLDER \
        --dataset shards data/validation --every 5 --share 0.5 --share 0.65 --share 1.0

One row a model and share of the second look in the maps (`NEAR_SHARE` of pipeline/fovea.py): what
boxes and plain captions get on the same frames, every so many of a data set.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from focus_depth_ros.datasets.catalogue import open_dataset
from focus_depth_ros.evaluation.evaluate import summary
from focus_depth_ros.evaluation.regions import REGIONS
from focus_depth_ros.evaluation.scoring import Scores, score
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.pipeline import fovea
from focus_depth_ros.pipeline.settings import Settings


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--model', action='append', required=True, metavar='NAME=FOLDER')
    parser.add_argument('--dataset', nargs=2, required=True, metavar=('NAME', 'PATH'))
    parser.add_argument('--every', type=int, default=1, help='one frame of so many')
    parser.add_argument('--share', type=float, action='append', default=[])
    arguments = parser.parse_args()
    name, path = arguments.dataset
    print('| second look of | share | group, prompt | targets | AbsRel | IoU | found |')
    print('|---|---|---|---|---|---|---|')
    for given in arguments.model:
        label, _, folder = given.partition('=')
        model = FocusModel(Path(folder), 'onnxruntime', precision='fp32')
        for share in arguments.share or [fovea.NEAR_SHARE]:
            fovea.NEAR_SHARE = share
            groups: dict[str, Scores] = {}
            frames = islice(open_dataset(name, Path(path)), 0, None, arguments.every)
            score(model, frames, groups, settings=Settings(fovea=True))
            for group, scores in groups.items():
                print_rows(label, share, group, scores)
        model.close()


def print_rows(label: str, share: float, group: str, scores: Scores) -> None:
    """One row of the table for each kind of prompt."""
    found = summary(scores)
    for kind in ('box', 'text'):
        if kind in found:
            one = found[kind]
            errors = ' / '.join(f'{one["median"][f"model_{r}"]:.4f}' for r in REGIONS)
            print(
                f'| {label} | {share:g} | {group}, {kind} | {one["targets"]} | {errors} '
                f'| {one["iou_mean"]:.4f} | {100 * one["grounded"]:.1f} % |',
                flush=True,
            )


if __name__ == '__main__':
    main()
