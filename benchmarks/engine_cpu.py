"""What the engine layer costs on a CPU, what threads bring, and what two cameras share.

    python benchmarks/engine_cpu.py [--rounds 150] [--seconds 8] [--out FILE.json]

Overhead: FocusModel against bare calls of ONNX Runtime with the same graphs, in turns. Threads: one
and two, alone and beside a process that keeps a core busy as ROS would. Two cameras: encoder and
focus half for one target, again and again, alone, in two threads of one process, in two processes,
and as bare ONNX Runtime in two processes, which is what the machine itself gives.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from focus_depth_ros.evaluation.measured_on import when_and_where
from focus_depth_ros.evaluation.percentiles import percentiles
from focus_depth_ros.inference.engine_pair import OUTPUTS
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.inference.model_folder import BUILT_IN, read_model_folder
from focus_depth_ros.inference.self_check import check_picture, check_prompts

Verb = Callable[[], object]


def model_verbs(path: Path, threads: int, precision: str) -> dict[str, Verb]:
    """Encoder, focus half for one target, and both, as the pipeline calls them."""
    model = FocusModel(path, 'onnxruntime', threads, precision)
    picture = check_picture(model.folder)
    boxes, words = check_prompts(model.folder)
    boxes, words = boxes[:1], words[:1]
    features = model.encode(picture)
    return {
        'encoder': lambda: model.encode(picture),
        'focus': lambda: model.focus(features, boxes, words),
        'both': lambda: model.focus(model.encode(picture), boxes, words),
    }


def bare_verbs(path: Path) -> dict[str, Verb]:
    """The same in float32 on one thread as nothing but ONNX Runtime."""
    folder = read_model_folder(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    encoder, focus = (
        onnxruntime.InferenceSession(str(graph), options, providers=['CPUExecutionProvider'])
        for graph in folder.graphs
    )
    names = [output.name for output in encoder.get_outputs()]
    inputs = {'image': check_picture(folder)[None]}
    boxes, words = (part[:1] for part in check_prompts(folder))
    features = dict(zip(names, encoder.run(names, inputs), strict=True))
    prompted = {**features, 'box': boxes, 'words': words}

    def both() -> None:
        fresh = dict(zip(names, encoder.run(names, inputs), strict=True))
        focus.run(OUTPUTS, {**fresh, 'box': boxes, 'words': words})

    return {
        'encoder': lambda: encoder.run(names, inputs),
        'focus': lambda: focus.run(OUTPUTS, prompted),
        'both': both,
    }


def in_turns(
    parts: dict[str, Verb], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Milliseconds of every part, each once a round, in changing order."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds + 3):
        names = list(parts) if number % 2 else list(parts)[::-1]
        for name in names:
            start = clock()
            parts[name]()
            if number >= 3:
                taken[name].append(1e3 * (clock() - start))
    return {name: np.array(values) for name, values in taken.items()}


def overhead(path: Path, rounds: int) -> dict[str, Any]:
    """Engine layer against the bare runtime, in percent of the medians and of the fastest runs.

    By the thread's own CPU time: with one thread all the work is in it, and what else runs on the
    machine does not count.
    """
    ours, bare = model_verbs(path, 1, 'fp32'), bare_verbs(path)
    found = {}
    for name in ours:
        taken = in_turns({'ours': ours[name], 'bare': bare[name]}, rounds, time.thread_time)
        found[name] = {
            'ours_ms': round(float(np.median(taken['ours'])), 3),
            'bare_ms': round(float(np.median(taken['bare'])), 3),
            'overhead_percent': round(_more(np.median, taken), 2),
            'overhead_of_fastest_percent': round(_more(np.min, taken), 2),
        }
    return found


def _more(of: Callable[[np.ndarray], Any], taken: dict[str, np.ndarray]) -> float:
    return 100 * (float(of(taken['ours'])) / float(of(taken['bare'])) - 1)


def threads(path: Path, rounds: int) -> dict[str, Any]:
    """Latency of one picture and one target with 1 and 2 threads, alone and beside a busy core."""
    parts = {f'{n} thread(s)': model_verbs(path, n, 'auto')['both'] for n in (1, 2)}
    found = {'alone': _percentiles(in_turns(parts, rounds))}
    stop = multiprocessing.Event()
    busy = multiprocessing.Process(target=_spin, args=(stop,), daemon=True)
    busy.start()
    found['beside a busy process'] = _percentiles(in_turns(parts, rounds))
    stop.set()
    busy.join()
    return found


def _spin(stop: Any) -> None:
    while not stop.is_set():
        sum(range(10000))


def _percentiles(taken: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {name: percentiles(values) for name, values in taken.items()}


def two_cameras(path: Path, seconds: float) -> dict[str, Any]:
    """Pictures a second of one camera, and of two that share the machine."""
    alone = _in_processes(1, path, seconds, bare=False)
    together = {
        'two threads of one process': _in_two_threads(path, seconds),
        'two processes': _in_processes(2, path, seconds, bare=False),
        'two processes of bare ONNX Runtime': _in_processes(2, path, seconds, bare=True),
    }
    return {
        'alone_hz': round(alone, 1),
        'together_hz': {name: round(rate, 1) for name, rate in together.items()},
        'share_of_twice_alone': {name: round(r / alone / 2, 2) for name, r in together.items()},
    }


def _in_two_threads(path: Path, seconds: float) -> float:
    rates: list[float] = []
    barrier = threading.Barrier(2)
    workers = [
        threading.Thread(target=lambda: rates.append(_rate(path, seconds, False, barrier)))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates)


def _in_processes(cameras: int, path: Path, seconds: float, bare: bool) -> float:
    context = multiprocessing.get_context('spawn')
    barrier, rates = context.Barrier(cameras), context.Queue()
    workers = [
        context.Process(target=_report_rate, args=(path, seconds, bare, barrier, rates))
        for _ in range(cameras)
    ]
    for worker in workers:
        worker.start()
    found = sum(rates.get(timeout=seconds + 60) for _ in workers)
    for worker in workers:
        worker.join()
    return float(found)


def _report_rate(path: Path, seconds: float, bare: bool, barrier: Any, rates: Any) -> None:
    rates.put(_rate(path, seconds, bare, barrier))


def _rate(path: Path, seconds: float, bare: bool, barrier: Any) -> float:
    both = (bare_verbs(path) if bare else model_verbs(path, 1, 'fp32'))['both']
    both()
    barrier.wait()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        both()
        count += 1
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--model', type=Path, default=BUILT_IN)
    parser.add_argument('--rounds', type=int, default=150)
    parser.add_argument('--seconds', type=float, default=8.0, help='of each two-camera round')
    parser.add_argument('--out', type=Path)
    arguments = parser.parse_args()
    report = {
        **when_and_where(),
        'model': arguments.model.name,
        'onnxruntime': onnxruntime.__version__,
        'overhead': overhead(arguments.model, arguments.rounds),
        'threads': threads(arguments.model, arguments.rounds),
        'two_cameras': two_cameras(arguments.model, arguments.seconds),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
