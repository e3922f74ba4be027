"""`focus-depth evaluate`: score a model folder on data sets of rendered and of real frames.

Each target of at least 300 px is asked for with its box and, where it has them, with a caption
and with words about what stands round it; words that fit nothing must be turned down. Prints a
table, and writes every figure as JSON with what it was measured on.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from focus_depth_ros.datasets.catalogue import ADAPTERS, open_dataset
from focus_depth_ros.datasets.frame import SMALLEST_TARGET_PX, LabelledFrame
from focus_depth_ros.evaluation.bench import measure, verbs
from focus_depth_ros.evaluation.depth_edges import CANNY_HIGH, CANNY_LOW, THRESHOLDS
from focus_depth_ros.evaluation.measured_on import identity, when_and_where
from focus_depth_ros.evaluation.regions import EDGE_RADIUS_PX, REGIONS
from focus_depth_ros.evaluation.report_file import check_report_path, write_report
from focus_depth_ros.evaluation.scoring import Extra, Scores, score
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.inference.model_folder import BUILT_IN
from focus_depth_ros.pipeline.settings import Settings

SWITCHES = ('fovea', 'mirror', 'thorough')
CONFIDENT = 0.5
GROUNDED_IOU = 0.5
TIMED_ROUNDS = 30
TIMED = {
    'encoder': 'encoder',
    'focus_one_target': 'focus, 1 target',
    'focus_two_targets': 'focus, 2 targets',
}
"""Parts of `bench` by the names they have here."""
METHODS = {
    'model': 'model',
    'published': 'published',
    'unprompted': 'unprompted',
    'sensor': 'depth camera',
    'plane': 'plane',
    'constant': 'constant',
}
"""How each method of `scoring` is called in the table; a depth camera only some frames have."""
METRES = {
    'metric': 'model',
    'model_by_sensor_metric': "published by the depth camera's scale",
    'sensor_metric': 'depth camera, holes inpainted',
}
"""And those whose metres are scored as they are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth evaluate`."""
    parser.add_argument('--model', type=Path, default=BUILT_IN, help='model folder')
    parser.add_argument(
        '--dataset',
        nargs=2,
        action='append',
        required=True,
        metavar=('NAME', 'PATH'),
        help=f'frames to score on, may be given several times; NAME: {", ".join(ADAPTERS)}',
    )
    parser.add_argument('--frames', type=int, help='only the first so many of each data set')
    parser.add_argument('--threads', type=int, default=1, help='threads of the runtime')
    parser.add_argument(
        '--fovea', action='store_true', help='look twice at each target, as `predict` does'
    )
    parser.add_argument(
        '--mirror', action='store_true', help='look in the mirror too, as `predict` does'
    )
    parser.add_argument(
        '--thorough', action='store_true', help='edges of depth and target clouds too; needs scipy'
    )
    parser.add_argument('--output', type=Path, help='write the figures as JSON here')


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    check_report_path(arguments.output)
    for name in ('frames', 'threads'):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f'--{name} is {value}; it must be 1 or more')
    extra = _thorough_scores() if arguments.thorough else None
    measured_on = when_and_where()
    chosen = [  # all before hours are spent on one
        (path, _begun(path, open_dataset(name, Path(path)))) for name, path in arguments.dataset
    ]
    model = FocusModel(arguments.model, 'auto', arguments.threads)
    groups: dict[str, Scores] = {}
    settings = Settings(fovea=arguments.fovea, mirror=arguments.mirror)
    faults = []
    for path, frames in chosen:
        found: dict[str, Scores] = {}
        try:
            score(model, _shown(path, frames, arguments.frames), found, extra, settings)
        except (ValueError, OSError) as error:  # what was scored before it may have taken hours
            faults.append(f'{path} was scored up to a frame that cannot be used: {error}')
        for group, scores in found.items():
            groups[f'{group} of {path}' if group in groups else group] = scores
    summaries = {name: summary(scores) for name, scores in groups.items()}
    if all(set(figures) == set(summary(Scores())) for figures in summaries.values()):
        raise ValueError('; '.join(faults) or 'nothing was scored: no frame has known depth')
    result = {
        **measured_on,
        'command': _command(arguments),
        'model': identity(model.folder),
        'input': list(model.folder.input_size),
        'aligned_in': 'depth' if model.folder.answers_depth else 'disparity',
        'engine': model.engine_name,
        'threads': arguments.threads,
        'timing_ms': timing(model),
        'smallest_target_px': SMALLEST_TARGET_PX,
        'groups': summaries,
    }
    if faults:
        result['incomplete'] = faults
    if arguments.thorough:
        result['depth_edges'] = {'within_px_of_outline': EDGE_RADIUS_PX, **THRESHOLDS}
    model.close()
    print(table(summaries))
    milliseconds = ', '.join(f'{name} {value:g}' for name, value in result['timing_ms'].items())
    print(f'median ms: {milliseconds}\nWhat each row is: docs/datasets.md, "Scores"')
    write_report(arguments.output, _rounded(result))
    for fault in faults:
        print(f'evaluate: {fault}', file=sys.stderr)
    return 1 if faults else 0


def _shown(path: str, frames: Iterable[LabelledFrame], most: int | None) -> Iterator[LabelledFrame]:
    """The frames, at most so many, with a bar on stderr that counts them."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        TextColumn('{task.completed:.0f} frames'),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(islice(frames, most), total=most, description=path)


def _begun(path: str, frames: Iterable[LabelledFrame]) -> Iterator[LabelledFrame]:
    """The same frames, the first of which could be read. Raises ValueError where there is none."""
    left = iter(frames)
    first = list(islice(left, 1))
    if not first:
        raise ValueError(f'{path} holds no frame')
    return chain(first, left)


def _thorough_scores() -> Extra:
    try:
        from focus_depth_ros.evaluation.thorough import thorough_scores
    except ModuleNotFoundError as error:
        raise ValueError(f'--thorough needs the Python module {error.name}: install it') from error
    return thorough_scores


def _command(arguments: argparse.Namespace) -> str:
    """The command that measures this again, without where its output went."""
    words = ['focus-depth', 'evaluate', '--model', str(arguments.model)]
    for name, path in arguments.dataset:
        words += ['--dataset', name, path]
    if arguments.frames is not None:
        words += ['--frames', str(arguments.frames)]
    words += [f'--{name}' for name in SWITCHES if getattr(arguments, name)]
    return shlex.join([*words, '--threads', str(arguments.threads)])


def _rounded(value: Any) -> Any:
    """Four decimals for every float of a nested result."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def timing(model: FocusModel) -> dict[str, float]:
    """Median milliseconds of the encoder, and of the focus half on one and on two targets."""
    parts = verbs(model)
    found = measure({name: parts[part] for name, part in TIMED.items()}, TIMED_ROUNDS)
    return {name: round(times['p50'], 2) for name, times in found.items()}


def summary(scores: Scores) -> dict[str, Any]:
    """The figures of one group: medians (means of IoU too) over targets, shares, ODS."""
    result: dict[str, Any] = {'frames': scores.frames, 'unknown_words': scores.unknown_words}
    for kind, rows in scores.targets.items():
        if rows:
            result[kind] = _kind_summary(rows)
    if scores.unprompted_global:
        result['unprompted_global'] = float(np.nanmedian(scores.unprompted_global))
    for kind, key in (('text', 'absent'), ('relation', 'absent_relation')):
        if scores.absent_confidence[kind]:
            absent = np.array(scores.absent_confidence[kind])
            rows = scores.targets[kind]
            grounded = [row['confidence'] for row in rows if row['iou'] > GROUNDED_IOU]
            result[key] = {
                'asked': len(absent),
                'rejected': float(np.mean(absent < CONFIDENT)),
                'confidence_median': float(np.median(absent)),
                'best_threshold': best_threshold(np.array(grounded), absent),
            }
    if scores.boundaries.true > 0:
        result['boundary'] = scores.boundaries.summary()
    return result


def best_threshold(right: NDArray[np.float64], absent: NDArray[np.float64]) -> dict[str, float]:
    """The confidence with the best mean of right masks accepted and absent captions rejected."""
    if not right.size:
        return {}
    choices = np.linspace(0.05, 0.95, 91)
    accepted = np.array([np.mean(right >= choice) for choice in choices])
    rejected = np.array([np.mean(absent < choice) for choice in choices])
    best = int(np.argmax(accepted + rejected))
    return {
        'confidence': float(choices[best]),
        'right_accepted': float(accepted[best]),
        'absent_rejected': float(rejected[best]),
    }


def _kind_summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Median, quartiles and mean of each figure over the targets; NaN ones are left out.

    `r3`: pixels of all pictures that the published map improved, over those that it worsened;
    left out where it worsened none.
    """
    names = dict.fromkeys(name for row in rows for name in row)  # not every frame has them all
    values = {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
    known = {name: column for name, column in values.items() if np.isfinite(column).any()}
    improved, worsened = (float(values[name].sum()) for name in ('improved_px', 'worsened_px'))
    return {
        'targets': len(rows),
        'median': {name: float(np.nanmedian(column)) for name, column in known.items()},
        'quartiles': {
            name: [float(value) for value in np.nanpercentile(column, (25, 75))]
            for name, column in known.items()
        },
        'mean': {name: float(np.nanmean(column)) for name, column in known.items()},
        'iou_mean': float(values['iou'].mean()),
        'filled_box_iou_mean': float(values['filled_box_iou'].mean()),
        'grounded': float(np.mean(values['iou'] > GROUNDED_IOU)),
        'confident': float(np.mean(values['confidence'] >= CONFIDENT)),
        **({'r3': improved / worsened} if worsened else {}),
    }


def table(groups: dict[str, dict[str, Any]]) -> str:
    """The figures as text."""
    lines = []
    for name, group in groups.items():
        lines.append(f'{name}: {group["frames"]} frames')
        for kind in ('box', 'text', 'relation'):
            if kind in group:
                lines += _kind_lines(kind, group[kind])
        if group['unknown_words']:
            lines.append(f'  text: {group["unknown_words"]} names not asked, no word is known')
        if 'unprompted_global' in group:
            lines.append(f'  no prompt: median AbsRel global {group["unprompted_global"]:.3f}')
        for key in ('absent', 'absent_relation'):
            if key in group:
                absent = group[key]
                lines.append(
                    f'  {key} captions: {absent["asked"]}, turned down {absent["rejected"]:.3f}; '
                    'best threshold: '
                    + ', '.join(
                        f'{key} {value:.3g}' for key, value in absent['best_threshold'].items()
                    )
                )
        if 'boundary' in group:
            edges = group['boundary']
            lines.append(
                f'  boundaries: ODS {edges["ods"]:.3f} (precision {edges["precision"]:.3f}, '
                f'recall {edges["recall"]:.3f}, threshold {edges["threshold"]:.2f}), '
                f'OIS {edges["ois"]:.3f}, AP {edges["ap"]:.3f}, '
                f'against texture {edges["texture_precision"]:.3f}'
            )
    return '\n'.join(lines)


def _kind_lines(kind: str, found: dict[str, Any]) -> list[str]:
    """The table of one kind of prompt."""
    median = defaultdict(lambda: math.nan, found['median'])  # what no target has is left out there
    lines = [f'  {kind}: {found["targets"]} targets, AbsRel boundary / foreground / global (mean)']
    for method, title in METHODS.items():
        names = [f'{method}_{region}' for region in REGIONS]
        if names[0] in median:
            medians, means = (
                ' / '.join(f'{found[which][name]:.3f}' for name in names)
                for which in ('median', 'mean')
            )
            lines.append(f'    {title:12} {medians}   ({means})')
    lines.append(
        f'    mask IoU median {median["iou"]:.3f} mean {found["iou_mean"]:.3f} (filled box '
        f'{median["filled_box_iou"]:.3f} / {found["filled_box_iou_mean"]:.3f}); '
        f'over {GROUNDED_IOU}: {found["grounded"]:.3f}; confident {found["confident"]:.3f}'
    )
    deltas = ' / '.join(f'{median[f"delta{power}_foreground"]:.3f}' for power in (1, 2, 3))
    lines.append(f'    on the target: delta1 / 2 / 3 {deltas}')
    for name, title in METRES.items():
        if f'{name}_foreground' in median:
            errors = ' / '.join(f'{median[f"{name}_{region}"]:.3f}' for region in REGIONS)
            lines.append(
                f'    metres unaligned, {title}: {errors}; on the target delta1 '
                f'{median[f"{name}_delta1_foreground"]:.3f}, '
                f'scale error {median[f"{name}_scale_error"]:.3f}'
            )
    if 'sensor_holes' in median:
        lines.append(f'    the depth camera does not see {median["sensor_holes"]:.3f} of it')
    if 'r3' in found:
        lines.append(f"    published over the network's own map: R3 {found['r3']:.2f}")
    if 'edge_f1' in median:
        lines.append(
            f'    edges of its depth (Canny {CANNY_LOW} / {CANNY_HIGH}): '
            f'eps_acc {median["edge_accuracy_px"]:.2f} px, '
            f'eps_comp {median["edge_completeness_px"]:.2f} px, '
            f'F1 {median["edge_f1"]:.3f}'
        )
    if 'cloud_f_1cm' in median:
        lines.append(
            f'    its cloud, aligned: Chamfer {1e3 * median["cloud_chamfer_m"]:.1f} mm, '
            f'F at 5 mm / 1 cm {median["cloud_f_5mm"]:.3f} / {median["cloud_f_1cm"]:.3f}, '
            f'flying {median["cloud_flying"]:.3f}'
        )
    return lines
