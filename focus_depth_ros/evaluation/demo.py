"""`focus-depth demo`: a recorded camera, the node and a recorder as processes; then the score."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from focus_depth_ros.evaluation.child_process import ChildFailed, ChildProcess
from focus_depth_ros.evaluation.measured_on import versions, when_and_where
from focus_depth_ros.evaluation.overhead import node_overhead
from focus_depth_ros.evaluation.percentiles import percentiles
from focus_depth_ros.evaluation.recording import Answers, read_answers, read_recording
from focus_depth_ros.evaluation.recording_overview import draw_results
from focus_depth_ros.evaluation.recording_score import TargetScore, median, score
from focus_depth_ros.inference.model_folder import read_model_folder
from focus_depth_ros.node.bag_reader import BUNDLED_RECORDING
from focus_depth_ros.node.transport import use_large_message_profile

LOST_SHARE_ALLOWED = 0.01
WORST = {'mask_iou': 0.5, 'abs_rel_aligned': 0.15, 'abs_rel_metric': 0.35}
"""Bounds beyond which the demo's outputs count as wrong: medians over the recording."""

NODE_ARGUMENTS = [
    '-r', 'image:=/camera/image_raw',
    '-r', 'camera_info:=/camera/camera_info',
    '-p', 'image_transport:=compressed',
    '-p', 'dense_cloud:=true',
]  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--bag', type=Path, default=BUNDLED_RECORDING, help='another recording with truth'
    )
    parser.add_argument('--model', type=Path, help='another model folder')
    parser.add_argument('--out', type=Path, default=Path('output/demo'), metavar='DIR')


def run(arguments: argparse.Namespace) -> int:
    """Play, record, score, show. Returns 0, or 1 when frames are lost or outputs are wrong."""
    recording = read_recording(arguments.bag)
    if not (recording.truths and recording.objects):
        raise ValueError(
            f'{arguments.bag} holds no /truth/ to score by, as `focus-depth render-recording` '
            'writes it; a recording without is shown by replay.launch.py or `focus-depth play`'
        )
    console = Console()
    use_large_message_profile()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: node and recorder end too
        signal.signal(ending, signal.default_int_handler)
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
    if arguments.model is not None:
        read_model_folder(arguments.model)  # before the node waits for one that works
    console.print(
        f'Three processes over ROS 2 topics: a camera ({len(recording.pictures)} pictures of '
        f'{arguments.bag.name}), the node focus_depth, a recorder.'
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='focus_depth_demo_') as folder:
        report = play(arguments.bag, arguments.model, Path(folder))
        console.print('Scoring the answers against the truth of the recording.')
        answers = read_answers(Path(folder) / 'answers', report['offset_ns'])
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
    if not problems:
        console.print(f'All is as it should be; every figure is in {arguments.out}/summary.json')
    return 1 if problems else 0


def play(bag: Path, model: Path | None, scratch: Path) -> dict[str, Any]:
    """Run the three processes; returns the player's report. Raises ChildFailed."""
    command = [sys.executable, '-m', 'focus_depth_ros']
    model_arguments = ['-p', f'model:={model}'] if model else []
    node = ChildProcess(
        'node', [*command, 'run', '--ros-args', *NODE_ARGUMENTS, *model_arguments], scratch
    )
    answers = ['-p', f'output:={scratch / "answers"}']
    recorder = ChildProcess('recorder', [*command, 'record', '--ros-args', *answers], scratch)
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
                '--log-level',
                'warn',
            ],
            check=False,
        )
        if played.returncode:
            raise ChildFailed('the player failed, see above')
        time.sleep(2.2)
    finally:
        statuses = {process.name: process.stop() for process in (node, recorder)}
    for name, status in statuses.items():
        if status:
            raise ChildFailed(f'the {name} ended with status {status}')
    return dict(json.loads((scratch / 'sent.json').read_text(encoding='utf-8')))


def summarise(
    report: dict[str, Any], answers: Answers, scores: list[TargetScore], camera_delay_ms: float
) -> dict[str, Any]:
    """Every figure of the run as plain values; overhead is neither the camera nor the network."""
    sent = sum(count for topic, count in report['sent'].items() if topic.endswith('/compressed'))
    arrivals = answers.arrivals_ns
    end_to_end = [(arrival - stamp) / 1e6 for stamp, arrival in arrivals.items()]
    latency = answers.times_ms.get('pipeline_latency_ms', [])
    inference = answers.times_ms.get('inference_time_ms', [])
    own = [value - camera_delay_ms for value in latency]
    return {
        'frames_sent': sent,
        'frames_answered': len(arrivals),
        'frames_dropped': int(answers.diagnostics.get('frames dropped', 0)),
        'frames_refused': int(answers.diagnostics.get('frames refused', 0)),
        'latency_ms': percentiles(latency),
        'camera_delay_ms': round(camera_delay_ms, 2),
        'latency_to_recorder_ms': percentiles(end_to_end),
        'inference_ms': percentiles(inference),
        **node_overhead(own, inference),
        'targets': {
            label: _of_target([item for item in scores if item.label == label])
            for label in dict.fromkeys(item.label for item in scores)
        },
        'node': answers.diagnostics,
        **when_and_where(),
        'versions': versions(),
    }


def _of_target(scores: list[TargetScore]) -> dict[str, float]:
    names = ('mask_iou', 'abs_rel_metric', 'abs_rel_aligned', 'centroid_error_m', 'confidence')
    medians = {name: round(median([getattr(item, name) for item in scores]), 4) for name in names}
    return {'frames_scored': len(scores), **medians}


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


def table_of(summary: dict[str, Any]) -> Table:
    """The short table that is printed."""
    table = Table(title='focus_depth demo', title_justify='left', show_header=False)
    table.add_row(
        'frames sent / answered / dropped',
        f'{summary["frames_sent"]} / {summary["frames_answered"]} / {summary["frames_dropped"]}',
    )
    for name, title in (
        ('latency_ms', 'image stamp to publication, median'),
        ('inference_ms', '- the network'),
        ('overhead_ms', '- all else in node and transport'),
    ):
        table.add_row(title, f'{summary[name]["p50"]:.0f} ms')
    table.add_row('- the recorded camera itself', f'{summary["camera_delay_ms"]:.0f} ms')
    for label, target in summary['targets'].items():
        table.add_row(
            f'{label}: mask IoU, metres and centroid off',
            f'{target["mask_iou"]:.2f}, {100 * target["abs_rel_metric"]:.0f} %, '
            f'{100 * target["centroid_error_m"]:.0f} cm',
        )
    return table
