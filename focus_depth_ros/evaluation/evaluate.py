"""`focus-depth evaluate`: score a model folder on rendered shards and on real frames.

Each object of at least 300 px is asked for with its box and, where it has one, with a caption;
captions that fit nothing must be turned down. Prints a table, and writes every figure as JSON
with what it was measured on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Target
from focus_depth_ros.evaluation.metrics import (
    BoundaryScore,
    abs_rel,
    aligned_depth,
    constant_depth,
    delta,
    mask_iou,
    plane_depth,
)
from focus_depth_ros.evaluation.regions import target_regions
from focus_depth_ros.evaluation.scenes import LabelledFrame, real_frames, rendered_frames
from focus_depth_ros.inference.focus_model import FocusMaps, FocusModel
from focus_depth_ros.pipeline.prompts import PromptEncoder

SMALLEST_TARGET_PX = 300
CONFIDENT = 0.5
GROUNDED_IOU = 0.5


@dataclass
class Scores:
    """What was measured on one group of frames: one dict a target, confidences, boundary counts."""

    targets: dict[str, list[dict[str, float]]] = field(
        default_factory=lambda: {'box': [], 'text': []}
    )
    unprompted_global: list[float] = field(default_factory=list)
    absent_confidence: list[float] = field(default_factory=list)
    boundaries: BoundaryScore = field(default_factory=BoundaryScore)
    frames: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth evaluate`."""
    parser.add_argument('--model', type=Path, required=True, help='model folder')
    parser.add_argument('--data', type=Path, help='folder of rendered shards')
    parser.add_argument('--real', type=Path, help='folder of real frames with a frames.json')
    parser.add_argument('--frames', type=int, help='score only the first so many rendered frames')
    parser.add_argument('--threads', type=int, default=1, help='threads of the runtime')
    parser.add_argument('--output', type=Path, help='write the figures as JSON here')


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    if arguments.data is None and arguments.real is None:
        raise ValueError('nothing to score on: give --data, --real or both')
    model = FocusModel(arguments.model, 'auto', arguments.threads)
    groups: dict[str, Scores] = {}
    if arguments.data is not None:
        score(model, islice(rendered_frames(arguments.data), arguments.frames), groups)
    if arguments.real is not None:
        score(model, real_frames(arguments.real), groups)
    summaries = {name: summary(scores) for name, scores in groups.items()}
    result = {
        'date': datetime.now(timezone.utc).date().isoformat(),
        'command': _command(arguments),
        'model': {
            'name': model.folder.name,
            'version': model.folder.version,
            'sha256': model.folder.sha256,
        },
        'input': list(model.folder.input_size),
        'engine': model.engine_name,
        'host': _processor(),
        'threads': arguments.threads,
        'timing_ms': timing(model),
        'smallest_target_px': SMALLEST_TARGET_PX,
        'groups': summaries,
    }
    model.close()
    print(table(summaries))
    print('ms:', result['timing_ms'])
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(_rounded(result), indent=1) + '\n', encoding='utf-8')
    return 0


def _command(arguments: argparse.Namespace) -> str:
    """The command that measures this again, without where its output went."""
    given = [('model', arguments.model), ('data', arguments.data), ('real', arguments.real)]
    given += [('frames', arguments.frames), ('threads', arguments.threads)]
    words = [f'--{name} {value}' for name, value in given if value is not None]
    return ' '.join(['focus-depth evaluate', *words])


def _rounded(value: Any) -> Any:
    """Four decimals for every float of a nested result."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def timing(model: FocusModel, rounds: int = 30) -> dict[str, float]:
    """Median milliseconds of the encoder, and of the focus half on one and on two targets."""
    width, height = model.folder.input_size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    box = np.array([[0.25, 0.25, 0.75, 0.75]], np.float32)
    words = np.zeros((1, model.folder.max_words), np.int32)
    features = model.encode(picture)
    verbs: dict[str, Callable[[], object]] = {
        'encoder': lambda: model.encode(picture),
        'focus_one_target': lambda: model.focus(features, box, words),
        'focus_two_targets': lambda: model.focus(features, box.repeat(2, 0), words.repeat(2, 0)),
    }
    found = {}
    for name, verb in verbs.items():
        taken = []
        for _ in range(rounds):
            start = time.perf_counter()
            verb()
            taken.append(1e3 * (time.perf_counter() - start))
        found[name] = round(float(np.median(taken)), 2)
    return found


def _processor() -> str:
    """The CPU's name where the system tells it, and the number of its cores in use."""
    listing = Path('/proc/cpuinfo')
    lines = listing.read_text(encoding='utf-8').splitlines() if listing.is_file() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return f'{names[0] if names else platform.machine()}, {os.cpu_count()} cores'


def score(model: FocusModel, frames: Iterable[LabelledFrame], groups: dict[str, Scores]) -> None:
    """Add every frame's scores to its group."""
    encoder = PromptEncoder(model.folder.vocabulary, model.folder.max_words)
    for frame in frames:
        score_frame(model, encoder, frame, groups.setdefault(frame.group, Scores()))


def score_frame(
    model: FocusModel, encoder: PromptEncoder, frame: LabelledFrame, scores: Scores
) -> None:
    """Ask for every target of one frame in one batch, and for nothing, and record the scores."""
    height, width = frame.ids.shape
    valid = np.isfinite(frame.depth_m) & (frame.depth_m > 0)
    targets, asked = _questions(frame)
    boxes, words = encoder.encode(targets, width, height)
    if targets:
        boxes = np.concatenate([boxes, np.zeros((1, 4), np.float32)])
        words = np.concatenate([words, np.zeros((1, words.shape[1]), np.int32)])
    picture = cv2.resize(frame.rgb, model.folder.input_size, interpolation=cv2.INTER_AREA)
    maps = model.focus(model.encode(picture.astype(np.uint8)), boxes, words)
    empty = _enlarged(maps.inverse_depth[-1], width, height)
    yardsticks = {
        'unprompted': aligned_depth(empty, frame.depth_m, valid),
        'constant': constant_depth(frame.depth_m, valid),
        'plane': plane_depth(frame.depth_m, valid),
    }
    for row, (kind, label) in enumerate(asked):
        if kind == 'absent':
            scores.absent_confidence.append(float(maps.confidence[row]))
        else:
            found = _target_scores(model, maps, row, frame, label, valid, yardsticks)
            scores.targets[kind].append(found)
    scores.unprompted_global.append(abs_rel(yardsticks['unprompted'], frame.depth_m, valid))
    scores.boundaries.add(
        _enlarged(maps.boundary[-1], width, height), frame.boundary, frame.contact
    )
    scores.frames += 1


def _questions(frame: LabelledFrame) -> tuple[list[Target], list[tuple[str, int]]]:
    """The targets of a frame, and for each its kind (box, text, absent) and true label."""
    targets, asked = [], []
    for label in frame.captions:
        mask = frame.ids == label
        if np.count_nonzero(mask) < SMALLEST_TARGET_PX:
            continue
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        box = (float(columns[0]), float(rows[0]), columns[-1] + 1.0, rows[-1] + 1.0)
        targets.append(Target(id=str(label), label='', box=box))
        asked.append(('box', label))
        for caption in frame.captions[label][:1]:
            targets.append(Target(id=str(label), label='', text=caption))
            asked.append(('text', label))
    for caption in frame.absent_captions[:1]:
        targets.append(Target(id='absent', label='', text=caption))
        asked.append(('absent', 0))
    return targets, asked


def _target_scores(
    model: FocusModel,
    maps: FocusMaps,
    row: int,
    frame: LabelledFrame,
    label: int,
    valid: NDArray[np.bool_],
    yardsticks: dict[str, NDArray[np.float32]],
) -> dict[str, float]:
    height, width = frame.ids.shape
    mask = frame.ids == label
    inverse_depth = _enlarged(maps.inverse_depth[row], width, height)
    depths = {'model': aligned_depth(inverse_depth, frame.depth_m, valid), **yardsticks}
    regions = target_regions(mask, valid)
    found = {
        f'{name}_{region}': abs_rel(depth_m, frame.depth_m, pixels)
        for name, depth_m in depths.items()
        for region, pixels in regions.items()
    }
    found['delta1_foreground'] = delta(depths['model'], frame.depth_m, regions['foreground'])
    found['iou'] = mask_iou(_enlarged(maps.mask[row], width, height) > 0.5, mask)
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    filled = np.zeros_like(mask)
    filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    found['filled_box_iou'] = mask_iou(filled, mask)
    found['confidence'] = float(maps.confidence[row])
    metric_m = metric_depth(model, maps, row, frame)
    found['metric'] = abs_rel(metric_m, frame.depth_m, regions['foreground'])
    return found


def metric_depth(
    model: FocusModel, maps: FocusMaps, row: int, frame: LabelledFrame
) -> NDArray[np.float32]:
    """Metres from the canonical camera.

    1/Z = (f_c / f) (scale inverse_depth + shift), at the frame's size.
    """
    height, width = frame.ids.shape
    input_width, input_height = model.folder.input_size
    stretch = input_width / width * input_height / height
    focal_px = float(np.sqrt(frame.K[0, 0] * frame.K[1, 1] * stretch))
    scale, shift = maps.metric[row]
    disparity = scale * _enlarged(maps.inverse_depth[row], width, height) + shift
    disparity *= model.folder.canonical_focal_px / focal_px
    return np.asarray(1.0 / np.maximum(disparity, 1e-3), np.float32)


def _enlarged(image: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def summary(scores: Scores) -> dict[str, Any]:
    """The figures of one group: medians (means of IoU too) over targets, shares, ODS."""
    result: dict[str, Any] = {'frames': scores.frames}
    for kind, rows in scores.targets.items():
        if rows:
            result[kind] = _kind_summary(rows)
    if scores.unprompted_global:
        result['unprompted_global'] = float(np.nanmedian(scores.unprompted_global))
    if scores.absent_confidence:
        absent = np.array(scores.absent_confidence)
        grounded = [r['confidence'] for r in scores.targets['text'] if r['iou'] > GROUNDED_IOU]
        result['absent'] = {
            'asked': len(absent),
            'rejected': float(np.mean(absent < CONFIDENT)),
            'confidence_median': float(np.median(absent)),
            'best_threshold': best_threshold(np.array(grounded), absent),
        }
    if scores.boundaries.true > 0:
        result['boundary'] = scores.boundaries.ods()
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
    median = {name: float(np.nanmedian([row[name] for row in rows])) for name in rows[0]}
    iou = np.array([row['iou'] for row in rows])
    confidence = np.array([row['confidence'] for row in rows])
    return {
        'targets': len(rows),
        'median': median,
        'iou_mean': float(iou.mean()),
        'filled_box_iou_mean': float(np.mean([row['filled_box_iou'] for row in rows])),
        'grounded': float(np.mean(iou > GROUNDED_IOU)),
        'confident': float(np.mean(confidence >= CONFIDENT)),
    }


def table(groups: dict[str, dict[str, Any]]) -> str:
    """The figures as text."""
    lines = []
    for name, group in groups.items():
        lines.append(f'{name}: {group["frames"]} frames')
        for kind in ('box', 'text'):
            if kind not in group:
                continue
            found = group[kind]
            median = found['median']
            lines.append(
                f'  {kind}: {found["targets"]} targets, '
                'median AbsRel boundary / foreground / global'
            )
            for method in ('model', 'unprompted', 'plane', 'constant'):
                figures = ' / '.join(
                    f'{median[f"{method}_{region}"]:.3f}'
                    for region in ('boundary', 'foreground', 'global')
                )
                lines.append(f'    {method:10} {figures}')
            lines.append(
                f'    mask IoU median {median["iou"]:.3f} mean {found["iou_mean"]:.3f} (filled box '
                f'{median["filled_box_iou"]:.3f} / {found["filled_box_iou_mean"]:.3f}); '
                f'over {GROUNDED_IOU}: '
                f'{found["grounded"]:.3f}; confident {found["confident"]:.3f}; '
                f'on the target: delta1 {median["delta1_foreground"]:.3f}, '
                f'metres unaligned AbsRel {median["metric"]:.3f}'
            )
        if 'unprompted_global' in group:
            lines.append(f'  no prompt: median AbsRel global {group["unprompted_global"]:.3f}')
        if 'absent' in group:
            absent = group['absent']
            lines.append(
                f'  absent captions: {absent["asked"]}, turned down {absent["rejected"]:.3f}; '
                f'best threshold: {absent["best_threshold"]}'
            )
        if 'boundary' in group:
            edges = group['boundary']
            lines.append(
                f'  boundaries: ODS {edges["ods"]:.3f} (precision {edges["precision"]:.3f}, '
                f'recall {edges["recall"]:.3f}, threshold {edges["threshold"]:.2f})'
            )
    return '\n'.join(lines)
