"""`focus-depth demo`: a recorded camera, the node and a recorder as processes; then the score."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from focus_depth_ros import __version__
from focus_depth_ros.evaluation.recording import (
    Answers,
    Recording,
    read_answers,
    read_recording,
)
from focus_depth_ros.evaluation.recording_score import (
    TargetScore,
    image_array,
    median,
    score,
)
from focus_depth_ros.node.bag_player import BUNDLED_RECORDING
from focus_depth_ros.node.transport import use_large_message_profile
from focus_depth_ros.pipeline.cloud import write_ply
from focus_depth_ros.pipeline.overlay import Mark, draw
from focus_depth_ros.pipeline.overview import Row, overview

START_TIMEOUT_S = 30.0
LOST_SHARE_ALLOWED = 0.01
WORST = {'mask_iou': 0.5, 'abs_rel_aligned': 0.15, 'abs_rel_metric': 0.35}
"""Bounds beyond which the demo's outputs count as wrong: medians over the recording."""

NODE_ARGUMENTS = [
    '-r', 'image:=/camera/image_raw',
    '-r', 'camera_info:=/camera/camera_info',
    '-p', 'image_transport:=compressed',
    '-p', 'dense_cloud:=true',
]  # fmt: skip


class DemoFailed(ValueError):
    """A process that ended early, lost frames or wrong outputs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--bag', type=Path, default=BUNDLED_RECORDING, help='another recording with truth'
    )
    parser.add_argument('--model', type=Path, help='another model folder')
    parser.add_argument('--out', type=Path, default=Path('output/demo'), metavar='DIR')


def run(arguments: argparse.Namespace) -> int:
    """Play, record, score, show. Returns 0, or 1 when frames are lost or outputs are wrong."""
    console = Console()
    use_large_message_profile()
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
    recording = read_recording(arguments.bag)
    console.print(
        f'Three processes over ROS 2 topics: a camera ({len(recording.pictures)} pictures of '
        f'{arguments.bag.name}), the node focus_depth, a recorder.'
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix='focus_depth_demo_'))
    try:
        report = play(arguments.bag, arguments.model, scratch)
        console.print('Scoring the answers against the truth of the recording.')
        answers = read_answers(scratch / 'answers', report['offset_ns'])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    scores = score(recording, answers)
    summary = summarise(report, answers, scores, recording.camera_delay_ms)
    problems = faults(summary)
    summary['problems'] = problems
    (arguments.out / 'summary.json').write_text(json.dumps(summary, indent=1), encoding='utf-8')
    draw_results(recording, answers, scores, arguments.out)
    console.print(table_of(summary))
    console.print(
        f'Look at {arguments.out}/overview.png; the target cloud is {arguments.out}/target.ply'
    )
    for problem in problems:
        console.print(f'[red]{problem}[/red]')
    return 1 if problems else 0


def play(bag: Path, model: Path | None, scratch: Path) -> dict[str, Any]:
    """Run the three processes; returns the player's report. Raises DemoFailed."""
    command = [sys.executable, '-m', 'focus_depth_ros']
    model_arguments = ['-p', f'model:={model}'] if model else []
    node = Process(
        'node', [*command, 'run', '--ros-args', *NODE_ARGUMENTS, *model_arguments], scratch
    )
    answers = ['-p', f'output:={scratch / "answers"}']
    recorder = Process('recorder', [*command, 'record', '--ros-args', *answers], scratch)
    try:
        node.wait_for_words('active; pictures')
        recorder.wait_for_words('recording')
        time.sleep(0.5)
        played = subprocess.run(
            [
                *command,
                'play',
                '--ros-args',
                '-p',
                f'bag:={bag}',
                '-p',
                f'report:={scratch / "sent.json"}',
            ],
            check=False,
        )
        if played.returncode:
            raise DemoFailed('the player failed, see above')
        time.sleep(2.2)
    finally:
        statuses = {process.name: process.stop() for process in (node, recorder)}
    for name, status in statuses.items():
        if status:
            raise DemoFailed(f'the {name} ended with status {status}')
    return dict(json.loads((scratch / 'sent.json').read_text(encoding='utf-8')))


class Process:
    """A child in a session of its own, its output in a file."""

    def __init__(self, name: str, command: list[str], scratch: Path) -> None:
        self.name = name
        self._log = scratch / f'{name}.log'
        with self._log.open('w', encoding='utf-8') as sink:
            self._process = subprocess.Popen(
                command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_for_words(self, words: str) -> None:
        """Wait until the child has printed `words`. Raises DemoFailed with what it said instead."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while words not in (said := self._log.read_text(encoding='utf-8')):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DemoFailed(f'the {self.name} did not start:\n{said}')
            time.sleep(0.02)

    def stop(self) -> int:
        """Interrupt the child; its exit status."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()


def summarise(
    report: dict[str, Any], answers: Answers, scores: list[TargetScore], camera_delay_ms: float
) -> dict[str, Any]:
    """Every figure of the run as plain values; overhead is neither the camera nor the network."""
    sent = sum(count for topic, count in report['sent'].items() if topic.endswith('/compressed'))
    arrivals = answers.arrivals_ns
    end_to_end = [(arrival - stamp) / 1e6 for stamp, arrival in arrivals.items()]
    latency = answers.times_ms.get('pipeline_latency_ms', [])
    inference = answers.times_ms.get('inference_time_ms', [])
    overhead = [a - b - camera_delay_ms for a, b in zip(latency, inference, strict=False)]
    return {
        'frames_sent': sent,
        'frames_answered': len(arrivals),
        'frames_dropped': int(answers.diagnostics.get('frames dropped', 0)),
        'frames_refused': int(answers.diagnostics.get('frames refused', 0)),
        'latency_ms': quantiles(latency),
        'camera_delay_ms': round(camera_delay_ms, 2),
        'latency_to_recorder_ms': quantiles(end_to_end),
        'inference_ms': quantiles(inference),
        'overhead_ms': quantiles(overhead),
        'targets': {
            label: _of_target([item for item in scores if item.label == label])
            for label in dict.fromkeys(item.label for item in scores)
        },
        'node': answers.diagnostics,
        'host': f'{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} cores',
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'versions': {
            'focus_depth_ros': __version__,
            'python': platform.python_version(),
            **{name: version(name) for name in ('rclpy', 'onnxruntime', 'numpy')},
        },
    }


def _of_target(scores: list[TargetScore]) -> dict[str, float]:
    names = ('mask_iou', 'abs_rel_metric', 'abs_rel_aligned', 'centroid_error_m', 'confidence')
    medians = {name: round(median([getattr(item, name) for item in scores]), 4) for name in names}
    return {'frames_scored': len(scores), **medians}


def quantiles(values: list[float]) -> dict[str, float]:
    """p50, p90 and p99 of a list."""
    if not values:
        return {'p50': math.nan, 'p90': math.nan, 'p99': math.nan}
    return {f'p{q}': round(float(np.percentile(values, q)), 2) for q in (50, 90, 99)}


def faults(summary: dict[str, Any]) -> list[str]:
    """What is wrong with a run; empty when it is as it should be."""
    problems = []
    sent = summary['frames_sent']
    explained = summary['frames_answered'] + summary['frames_dropped'] + summary['frames_refused']
    if abs(sent - explained) > LOST_SHARE_ALLOWED * sent:
        problems.append(f'{sent} frames were sent, {explained} answered, dropped or refused')
    if summary['frames_answered'] < sent / 10:
        problems.append(f'only {summary["frames_answered"]} of {sent} frames were answered')
    if len(summary['targets']) < 2:
        problems.append('not both a detected and a named target were answered')
    for label, target in summary['targets'].items():
        for name, bound in WORST.items():
            good = target[name] >= bound if name == 'mask_iou' else target[name] <= bound
            if not good:
                problems.append(f'{label}: {name} is {target[name]:.3f}, the bound is {bound}')
    return problems


def draw_results(
    recording: Recording, answers: Answers, scores: list[TargetScore], folder: Path
) -> None:
    """Write overview.png (one row by box, one by words) and target.ply (the named target)."""
    boxed = [item for item in scores if item.label in {o.class_name for o in recording.objects}]
    named = [item for item in scores if item not in boxed]
    rows = []
    for title, items in (('targets by box', boxed), ('target by words', named)):
        if items:
            stamp = items[len(items) // 2].stamp_ns
            labels = ', '.join(item.label for item in items if item.stamp_ns == stamp)
            rows.append(row_of_answers(f'{title}: {labels}', recording, answers, stamp))
            write_ply(folder / 'target.ply', _points(answers.images['target/points'].get(stamp)))
    if rows:
        cv2.imwrite(str(folder / 'overview.png'), overview(rows)[..., ::-1])


def row_of_answers(title: str, recording: Recording, answers: Answers, stamp_ns: int) -> Row:
    """The overview's row for one frame as the node published it."""
    depth = image_array(answers.images['depth/image'][stamp_ns])
    boundary = image_array(answers.images['boundary/image'][stamp_ns])
    mask = image_array(answers.images['target/mask'][stamp_ns]) > 127
    rgb = recording.rgb(stamp_ns)
    targets = answers.images['targets'][stamp_ns].targets
    marks = [_mark(target, mask) for target in targets]
    with np.errstate(invalid='ignore'):
        inverse_depth = np.asarray(1.0 / depth, np.float32)
    return Row(
        title,
        rgb,
        draw(rgb, boundary, marks),
        inverse_depth,
        boundary,
        mask,
        depth,
        recording.camera,
    )


def _mark(target: Any, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Mark:
    box = target.box
    x0, y0, x1, y1 = box.x_offset, box.y_offset, box.x_offset + box.width, box.y_offset + box.height
    own = np.zeros_like(mask)
    own[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    found = math.isfinite(target.centroid.z)
    caption = f'{target.label} {target.depth_median_m:.2f} m ({target.confidence:.2f})'
    return Mark(caption, found, (x0, y0, x1, y1), own if found else None)


def _points(cloud: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    if cloud is None:
        return np.empty((0, 4), np.float32)
    return np.frombuffer(cloud.data, np.float32).reshape(-1, 4)


def table_of(summary: dict[str, Any]) -> Table:
    """The short table that is printed."""
    table = Table(title='focus_depth demo', title_justify='left', show_header=False)
    table.add_row(
        'frames sent / answered / dropped',
        f'{summary["frames_sent"]} / {summary["frames_answered"]} / {summary["frames_dropped"]}',
    )
    for name, title in (
        ('latency_ms', 'image stamp to publication, ms'),
        ('inference_ms', 'of that the network, ms'),
        ('overhead_ms', 'of that all else in node and transport, ms'),
    ):
        values = summary[name]
        table.add_row(
            f'{title} (p50 / p90 / p99)', f'{values["p50"]} / {values["p90"]} / {values["p99"]}'
        )
    table.add_row('and the recorded camera itself, ms', f'{summary["camera_delay_ms"]}')
    for label, target in summary['targets'].items():
        table.add_row(
            f'{label}: mask IoU, depth AbsRel, centroid',
            f'{target["mask_iou"]:.2f}, {100 * target["abs_rel_metric"]:.1f} % '
            f'(aligned {100 * target["abs_rel_aligned"]:.1f} %), '
            f'{100 * target["centroid_error_m"]:.1f} cm',
        )
    return table
