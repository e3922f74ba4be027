"""`focus-depth predict`: picture files through the node's own pipeline, without ROS."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from focus_depth_ros.core import Camera, Frame, InvalidInput, Target, clip_box
from focus_depth_ros.encoded_picture import read_picture
from focus_depth_ros.inference.backends import BACKENDS
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.inference.model_folder import BUILT_IN
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline
from focus_depth_ros.pipeline.phrase import MAX_TEXT_CHARACTERS
from focus_depth_ros.pipeline.result import FocusResult, TargetResult
from focus_depth_ros.pipeline.result_files import printable, write_result
from focus_depth_ros.pipeline.settings import Settings

FARTHEST_CENTRE = 0.25
"""Share of a side that a principal point may lie from the middle before the size is doubted."""


class _Append(argparse.Action):
    """Boxes and texts into one list, in the order in which they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        kind = (option_string or '').lstrip('-')
        namespace.targets = [*namespace.targets, (kind, values)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        'pictures',
        nargs='+',
        type=Path,
        metavar='PICTURE',
        help='JPEG, PNG, TIFF, WebP, BMP or GIF, turned upright where its EXIF orientation says so',
    )
    parser.set_defaults(targets=[])
    parser.add_argument(
        '--box',
        nargs=4,
        type=float,
        action=_Append,
        metavar=('X0', 'Y0', 'X1', 'Y1'),
        help='look at this box, px of the upright picture; may be given several times',
    )
    parser.add_argument(
        '--text', action=_Append, metavar='WORDS', help='look at what these words name; likewise'
    )
    parser.add_argument(
        '--intrinsics',
        nargs=4,
        type=float,
        metavar=('FX', 'FY', 'CX', 'CY'),
        help="the camera's at the pictures' size, px; without them depth stays relative",
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='folder to write to, made if missing'
    )
    parser.add_argument(
        '--fovea',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='look twice: a second look at the surroundings of each target, sharper but slower',
    )
    parser.add_argument(
        '--mirror',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='look in the mirror too and average: errs less, takes twice the time',
    )
    parser.add_argument('--model', type=Path, default=BUILT_IN, help='a model folder')
    parser.add_argument('--backend', choices=BACKENDS, default='auto')


def run(arguments: argparse.Namespace) -> int:
    """Write the results of every picture; unusable ones are named, the rest go on.

    The exit status is 1 when a picture or a target could not be used. Such a target (words that the
    model does not know, a box outside the picture) counts as not found, with a word on stderr.
    """
    _check(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    failures = 0
    model = FocusModel(arguments.model, arguments.backend)
    pipeline = FocusPipeline(model, Settings(fovea=arguments.fovea, mirror=arguments.mirror))
    targets, unread = _targets(arguments.targets, pipeline)
    for path in arguments.pictures:
        try:
            frame = Frame(*_picture(path, arguments.intrinsics))
            result, problems = answer_all(pipeline, frame, targets, unread)
        except InvalidInput as problem:
            _complain(path, problem)
            failures += 1
            continue
        for name in problems.keys() - unread.keys():
            _complain(path, f'{name}: {problems[name]}')
        failures += bool(problems)
        write_result(arguments.out, path.stem, result, problems)
        for answer in result.targets:
            print(f'{printable(path)}: {_sentence(answer)}')
        print(f'{printable(path)}: look at {printable(arguments.out / path.stem)}.overview.png')
    return 1 if failures else 0


def _check(arguments: argparse.Namespace) -> None:
    """Raise ValueError for what is wrong whatever the pictures are."""
    if not arguments.targets:
        raise ValueError('nothing to look at: give --box X0 Y0 X1 Y1 or --text WORDS')
    by_name: dict[str, Path] = {}
    for path in arguments.pictures:
        other = by_name.setdefault(path.stem, path)
        if other is not path:
            raise ValueError(
                f'{printable(other)} and {printable(path)} have the same name; '
                'their results would overwrite each other: give each a call and --out of its own'
            )
    for kind, value in arguments.targets:
        if kind == 'text' and not 0 < len(value.strip()) <= MAX_TEXT_CHARACTERS:
            raise ValueError(
                f'--text of {len(value.strip())} characters; 1 to {MAX_TEXT_CHARACTERS} are read'
            )
        if kind == 'box' and not all(map(math.isfinite, value)):
            raise ValueError(f'--box {_numbers(value)}: not a number, or infinite')
        if kind == 'box' and (value[2] <= value[0] or value[3] <= value[1]):
            raise ValueError(
                f'--box {_numbers(value)} has no area: it is X0 Y0 X1 Y1, '
                'the upper left corner and then the lower right one'
            )
    fx, fy, *centre = arguments.intrinsics or (1.0, 1.0)
    if not (all(map(math.isfinite, (fx, fy, *centre))) and fx > 0 and fy > 0):
        raise ValueError(
            f'--intrinsics {_numbers(arguments.intrinsics)}: FX and FY are above 0, all are numbers'
        )


def _targets(
    wanted: Sequence[tuple[str, Any]], pipeline: FocusPipeline
) -> tuple[list[Target], dict[str, str]]:
    """Every target in the order given, and what is wrong with those whose words are not known."""
    targets, unread = [], {}
    for index, (kind, value) in enumerate(wanted):
        name = f'target{index}'
        if kind == 'box':
            targets.append(Target(name, '', box=(value[0], value[1], value[2], value[3])))
            continue
        label = ''
        try:
            words = pipeline.prompts.read(value)
        except InvalidInput as problem:
            unread[name] = str(problem)
            print(f'{name}: {problem}', file=sys.stderr)
        else:
            label = ' '.join(words.known)
            if words.remarks:
                print(f'{name}: {words.remarks}', file=sys.stderr)
        targets.append(Target(name, label, text=value))
    return targets, unread


def _picture(
    path: Path, intrinsics: Sequence[float] | None
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], Camera | None]:
    rgb = read_picture(path)
    if intrinsics is None:
        return rgb, None
    height, width = rgb.shape[:2]
    fx, fy, cx, cy = intrinsics
    if max(abs(cx / width - 0.5), abs(cy / height - 0.5)) > FARTHEST_CENTRE:
        _complain(
            path,
            f'the centre of --intrinsics, ({cx:g}, {cy:g}), is far from that of '
            f'{width}x{height} px; are they for this size?',
        )
    return rgb, Camera(width, height, fx, fy, cx, cy)


def answer_all(
    pipeline: FocusPipeline, frame: Frame, wanted: Sequence[Target], unread: Mapping[str, str]
) -> tuple[FocusResult, dict[str, str]]:
    """The answer to every wanted target, and what is wrong with the unusable ones, by id.

    `unread` says what is wrong with some of them already. Unusable ones get the answer to the
    empty prompt, not found, with confidence 0: so each target has its place and its files.
    """
    problems, usable = dict(unread), []
    for target in wanted:
        if target.id in problems:
            continue
        try:
            box = clip_box(target.box, *frame.size) if target.box else None
            usable.append(replace(target, box=box))
        except InvalidInput as problem:
            problems[target.id] = str(problem)
    result = pipeline(frame, usable)
    if not problems:
        return result, problems
    unprompted = pipeline(frame) if usable else result
    nothing = replace(unprompted.view, confidence=0.0)
    answered = {answer.target.id: answer for answer in result.targets}
    answers = (answered.get(target.id) or replace(nothing, target=target) for target in wanted)
    return replace(result, targets=tuple(answers)), problems


def _complain(path: Path, problem: InvalidInput | str) -> None:
    print(f'{printable(path)}: {problem}', file=sys.stderr)


def _numbers(values: Sequence[float]) -> str:
    return ' '.join(f'{value:g}' for value in values)


def _sentence(answer: TargetResult) -> str:
    target = answer.target
    asked = f'(box {_numbers(target.box)})' if target.box else f'"{target.label or target.text}"'
    if not answer.found:
        found = 'not found'
    elif answer.geometry:
        found = f'found at {answer.geometry.depth_median_m:.2f} m'
    elif answer.camera:
        found = 'found, without a metric scale'
    else:
        found = 'found; its depth is relative, metres need --intrinsics'
    return f'{target.id} {asked} {found} (confidence {answer.confidence:.2f})'
