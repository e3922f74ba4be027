"""`focus-depth bench`: how long each part takes on this machine, percentiles and all they hang on.

The parts take turns, round by round, so that whatever else the machine does meets all of them. The
picture and the prompts are those of the self-check, and the report says their hash.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from focus_depth_ros.core import Camera, Frame, Target
from focus_depth_ros.evaluation.depth_anything_graph import NEEDED, export_depth_anything_small
from focus_depth_ros.evaluation.measured_on import (
    clocks,
    identity,
    memory,
    versions,
    when_and_where,
)
from focus_depth_ros.evaluation.percentiles import PERCENTILES, percentiles
from focus_depth_ros.evaluation.report_file import check_report_path, write_report
from focus_depth_ros.inference.backends import BACKENDS, backend_named
from focus_depth_ros.inference.engine import MAX_TARGETS, Engine, EngineError, LoadOptions
from focus_depth_ros.inference.fallback import PRECISIONS
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.inference.model_folder import BUILT_IN
from focus_depth_ros.inference.self_check import PICTURE, PROMPTS, check_picture, check_prompts
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline

WARM_UP_ROUNDS = 3
COMPARED_ROUNDS = 30
"""A large network takes its time: so many rounds are enough for its median."""
CAMERA = Camera(640, 480, 525.0, 525.0, 319.5, 239.5)

Verbs = dict[str, Callable[[], object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth bench`."""
    parser.add_argument('--model', type=Path, default=BUILT_IN, help='model folder')
    parser.add_argument('--backend', choices=BACKENDS, default='auto')
    parser.add_argument('--precision', choices=PRECISIONS, default='auto')
    parser.add_argument('--threads', type=int, default=1, help='threads of the engine (1)')
    parser.add_argument('--rounds', type=int, default=200, help='rounds measured (200)')
    parser.add_argument(
        '--compare',
        action='store_true',
        help='with Depth Anything V2 Small (random weights) in the same rounds; needs the extra '
        'foundation',
    )
    parser.add_argument('--output', type=Path, help='write every figure as JSON here')


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    check_report_path(arguments.output)
    if arguments.rounds < 1 or arguments.threads < 1:
        raise ValueError('--rounds and --threads are at least 1')
    for module in NEEDED if arguments.compare else ():
        importlib.import_module(module)  # before minutes go into the rest
    model = FocusModel(arguments.model, arguments.backend, arguments.threads, arguments.precision)
    report = describe(model, arguments)
    engine = model.engine_name
    report['milliseconds'] = measure(verbs(model), arguments.rounds)
    if model.engine_name != engine:
        raise ValueError(f'nothing was measured: {model.trouble}')
    print(table(report))
    if arguments.precision not in ('auto', model.precision):
        print(model.choice)
    if arguments.compare:
        report['compared'] = compare(model, arguments)
        print(comparison_line(report['compared']))
    report['memory'] = memory()
    report['clocks'] |= {'after': clocks()}
    model.close()
    write_report(arguments.output, report)
    return 0


def verbs(model: FocusModel) -> Verbs:
    """What is timed. Copies to and from a device are in the network's figures."""
    picture = check_picture(model.folder)
    boxes, words = check_prompts(model.folder)
    rows = np.arange(MAX_TARGETS) % len(boxes)
    boxes, words = boxes[rows], words[rows]
    pipeline = FocusPipeline(model)
    frame, target = camera_frame()
    result = pipeline(frame, [target])
    features = model.encode(picture)

    def encode() -> None:
        nonlocal features  # on a GPU they last until the next picture only
        features = model.encode(picture)
        features.wait()

    def focus(targets: int) -> Callable[[], object]:
        return lambda: model.focus(features, boxes[:targets], words[:targets])

    def encode_and_focus() -> None:
        encode()
        focus(1)()

    def post() -> None:
        # without what the last round computed
        answer = replace(result, targets=tuple(map(replace, result.targets)))
        _ = answer.depth_m, answer.boundary, answer.mask, answer.target_points()

    return {
        'encoder': encode,
        **{f'focus, {n} target{"s" * (n > 1)}': focus(n) for n in range(1, MAX_TARGETS + 1)},
        'encoder + focus, 1 target': encode_and_focus,
        'pre: 640x480 to the input size': lambda: pipeline.picture(frame),
        'post: depth, boundary, mask, cloud': post,
    }


def camera_frame() -> tuple[Frame, Target]:
    """The self-check's picture as a camera of 640x480 gives it, and its first target."""
    picture = cv2.imread(str(PICTURE), cv2.IMREAD_COLOR)
    assert picture is not None
    rgb = np.ascontiguousarray(cv2.resize(picture, (640, 480))[..., ::-1], np.uint8)
    x0, y0, x1, y1 = (2.0 * side for side in PROMPTS[0][0])
    return Frame(rgb, CAMERA), Target('bowl', 'bowl', box=(x0, y0, x1, y1))


def measure(parts: Verbs, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of every part, each once a round."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    whole = range(WARM_UP_ROUNDS + rounds)
    for number in track(whole, 'timing', transient=True, disable=not sys.stdout.isatty()):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if number >= WARM_UP_ROUNDS:
                taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: percentiles(values, digits=3) for name, values in taken.items()}


def compare(model: FocusModel, arguments: argparse.Namespace) -> dict[str, Any]:
    """Depth Anything V2 Small on the same backend, in turns with encoder and focus half."""
    with TemporaryDirectory() as folder:
        try:
            graph, (width, height) = export_depth_anything_small(Path(folder))
            other = _load(graph, model, arguments)
        except EngineError as error:
            return {'not measured': str(error)}
        picture = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        ours = verbs(model)['encoder + focus, 1 target']
        parts = {
            'ours': ours,
            'depth_anything_v2_small': lambda: other.infer({'pixel_values': picture}),
        }
        found = measure(parts, min(arguments.rounds, COMPARED_ROUNDS))
        other.close()
    ratio = found['depth_anything_v2_small']['p50'] / found['ours']['p50']
    return {
        'input': {
            'ours': list(model.folder.input_size),
            'depth_anything_v2_small': [width, height],
        },
        'weights': 'random: time depends on the architecture alone',
        'engine': {'ours': model.engine_name, 'depth_anything_v2_small': other.name},
        'milliseconds': found,
        'ratio_of_medians': round(ratio, 2),
    }


def _load(graph: Path, model: FocusModel, arguments: argparse.Namespace) -> Engine:
    """The other network where ours runs; torch takes over no graph but ours.

    It has no int8 graph of its own, and one is not made here: where ours is such a one, the other
    is float32.
    """
    backend = backend_named(model.backend_name)
    if backend.missing() or backend.name in ('torch', 'tensorrt'):
        raise EngineError(f'{backend.name} takes no foreign graph; choose an onnxruntime backend')
    precision = 'fp32' if backend.takes_quantised else model.precision
    return backend.load(graph, LoadOptions(arguments.threads, precision))


def describe(model: FocusModel, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that a figure depends on."""
    hashed = hashlib.sha256(PICTURE.read_bytes() + repr(PROMPTS).encode())
    return {
        **when_and_where(),
        'command': _command(arguments),
        'model': identity(model.folder),
        'engine': model.engine_name,
        'engine_choice': model.choice,
        'input': {'size': list(model.folder.input_size), 'sha256': hashed.hexdigest()},
        'threads': arguments.threads,
        'rounds': arguments.rounds,
        'versions': versions(),
        'clocks': {'before': clocks()},
        'copies': 'between host and device, where there are any, are in encoder and focus',
    }


def _command(arguments: argparse.Namespace) -> str:
    """The command that measures this again, without where its output went."""
    words = ['focus-depth', 'bench', '--backend', arguments.backend]
    words += ['--precision', arguments.precision, '--threads', str(arguments.threads)]
    words += ['--rounds', str(arguments.rounds)] + ['--compare'] * arguments.compare
    if arguments.model != BUILT_IN:
        words += ['--model', str(arguments.model)]
    return shlex.join(words)


def table(report: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [
        f'{report["engine"]}, {report["threads"]} thread(s), {report["rounds"]} rounds, '
        f'{report["host"]["processor"]}',
        f'{"ms":36}' + ''.join(f'{f"p{q}":>10}' for q in PERCENTILES),
    ]
    for name, values in report['milliseconds'].items():
        lines.append(f'{name:36}' + ''.join(f'{value:10.2f}' for value in values.values()))
    return '\n'.join(lines)


def comparison_line(compared: dict[str, Any]) -> str:
    """The comparison as text."""
    if 'not measured' in compared:
        return f'Depth Anything V2 Small: not measured ({compared["not measured"]})'
    other, ours = (
        compared['milliseconds'][name]['p50'] for name in ('depth_anything_v2_small', 'ours')
    )
    width, height = compared['input']['depth_anything_v2_small']
    return (
        f'Depth Anything V2 Small, {width}x{height}, '
        f'{compared["engine"]["depth_anything_v2_small"]}: {other:.1f} ms against {ours:.1f} ms, '
        f'{compared["ratio_of_medians"]:.1f} times as long'
    )
