r"""What looks at words should say: from which confidence again, and how much that counts.

    python benchmarks/words.py --dataset shards data/validation --frames 200
    python benchmarks/words.py --dataset rgbd_folder FRAMES --absent "the purple bowl"

Every text of the frames is asked once and twice. The table has what would be answered, of a hundred
texts: with a second look from each confidence `NEAR_FROM`, which counts for `NEAR_SAY` (texts that
say a place: `NEAR_SAY_OF_PLACES`) in the confidence's logarithm (pipeline/fovea.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Frame, Target
from focus_depth_ros.datasets.catalogue import open_dataset
from focus_depth_ros.datasets.frame import LabelledFrame, Triplet, triplets
from focus_depth_ros.evaluation.metrics import mask_iou
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.inference.model_folder import BUILT_IN
from focus_depth_ros.pipeline import fovea
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline
from focus_depth_ros.pipeline.settings import Settings

NEAR_FROM = (0.2, 0.1, 0.05, 0.0)
NEAR_SAY = (0.25, 0.5, 0.65, 0.75, 1.0)
LEAST = (0.3, 0.5)
"""Confidences from which an answer is one."""
FOUND_IOU = 0.5
NO_CONFIDENCE = 1e-6


@dataclass(frozen=True)
class Answer:
    """Of one text: how sure a look at the whole picture is, and the surest one from near.

    `right_once`, `right_twice`: whether the mask of one look and of two is the thing's.
    """

    is_absent: bool
    first: float
    near: float
    right_once: bool
    right_twice: bool


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--model', type=Path, default=BUILT_IN)
    parser.add_argument('--dataset', nargs=2, required=True, metavar=('NAME', 'PATH'))
    parser.add_argument('--frames', type=int)
    parser.add_argument('--absent', action='append', default=[], metavar='WORDS')
    arguments = parser.parse_args()
    model = FocusModel(arguments.model, 'onnxruntime')
    name, path = arguments.dataset
    frames = islice(open_dataset(name, Path(path)), arguments.frames)
    answers = dict[str, list[Answer]]()
    for kind, answer in asked(model, frames, arguments.absent):
        answers.setdefault(kind, []).append(answer)
    print('| texts | again from | counts | right, wrong, absent turned down at', LEAST, '|')
    print('|---|---|---|---|')
    for kind, of_kind in answers.items():
        print_table(kind, of_kind)


def asked(
    model: FocusModel, frames: Iterable[LabelledFrame], absent: list[str]
) -> Iterator[tuple[str, Answer]]:
    """Every text's kind and answer; `absent` are asked of every frame besides its own."""
    once, twice = (
        FocusPipeline(model, Settings(fovea=each, min_confidence=0)) for each in (False, True)
    )
    fovea.NEAR_FROM, fovea.NEAR_SAY, fovea.NEAR_SAY_OF_PLACES = 0.0, 1.0, 1.0
    for frame in frames:
        texts = [triplet for triplet in triplets(frame) if triplet.words]
        texts += [_absent(frame, words) for words in absent]
        targets = [
            Target(str(index), '', text=triplet.words) for index, triplet in enumerate(texts)
        ]
        picture = Frame(frame.rgb)
        pairs = zip(once(picture, targets).targets, twice(picture, targets).targets, strict=True)
        for triplet, (first, second) in zip(texts, pairs, strict=True):
            right = [mask_iou(found.mask, triplet.mask) > FOUND_IOU for found in (first, second)]
            answer = Answer(triplet.is_absent, first.confidence, second.confidence, *right)
            yield triplet.kind, answer


def _absent(frame: LabelledFrame, words: str) -> Triplet:
    nothing = np.zeros(frame.ids.shape, np.bool_)
    return Triplet(frame.name, 'text', frame.rgb, nothing, frame.depth_m, frame.K, words=words)


def print_table(kind: str, answers: list[Answer]) -> None:
    """What would be answered with each pair of the two numbers."""
    first = np.array([answer.first for answer in answers])
    near = np.array([answer.near for answer in answers])
    right_once = np.array([answer.right_once for answer in answers])
    right_twice = np.array([answer.right_twice for answer in answers])
    absent = np.array([answer.is_absent for answer in answers])
    there = np.count_nonzero(~absent)
    for near_from in NEAR_FROM:
        again = first >= near_from
        right = np.where(again, right_twice, right_once)
        found, looked = (_percent(part) for part in (right[~absent], again[absent]))
        print(
            f'| {kind}: {there} and {len(answers) - there} absent | {near_from:g}: finds {found}, '
            f'looks again at {looked} of what is absent | | |'
        )
        for say in NEAR_SAY:
            both = np.maximum(first, NO_CONFIDENCE) ** (1 - say) * near**say
            sure = np.where(again, both, first)
            cells = [
                f'{_percent((right & (sure >= least))[~absent])}, '
                f'{_percent((~right & (sure >= least))[~absent])}, '
                f'{_percent(sure[absent] < least)}'
                for least in LEAST
            ]
            print(f'| | | {say:g} | {"; ".join(cells)} |', flush=True)


def _percent(cases: NDArray[np.bool_]) -> str:
    return f'{100 * np.mean(cases):.1f}' if cases.size else '-'


if __name__ == '__main__':
    main()
