"""How many labelled frames a second this machine renders, by theme and in all.

    python benchmarks/render_rate.py [--scenes 12] [--workers 2] [--seed 7]

A theme is timed alone in one process. The total has the themes in their shares and `--workers`
processes, as `focus-depth render` runs them, without the first seconds in which OpenGL starts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

from focus_depth_ros.evaluation.measured_on import in_words, when_and_where
from focus_depth_ros.synthesis.frames import scene_frames
from focus_depth_ros.synthesis.renderer import Renderer
from focus_depth_ros.synthesis.sample import encode_sample
from focus_depth_ros.synthesis.shards import Job, render_shard
from focus_depth_ros.synthesis.stock import Stock
from focus_depth_ros.synthesis.themes import THEMES, VIEWS_PER_SCENE


def theme_rate(renderer: Renderer, theme: str, scenes: int, seed: int) -> float:
    """Frames a second of one theme, rendered and encoded."""
    start = time.perf_counter()
    for number in range(scenes):
        for sample in scene_frames(renderer, Stock('train'), seed, number, theme):
            encode_sample(sample)
    return scenes * VIEWS_PER_SCENE / (time.perf_counter() - start)


def total_rate(folder: Path, workers: int, scenes: int, seed: int) -> float:
    """Frames a second of all workers together, once each has rendered a first scene."""

    def jobs(first: int, each: int) -> list[Job]:
        starts = range(first, first + workers * each, each)
        return [Job(folder, 'train', seed, start, start, start + each) for start in starts]

    with multiprocessing.get_context('spawn').Pool(workers) as pool:
        pool.map(render_shard, jobs(0, 1), chunksize=1)
        start = time.perf_counter()
        pool.map(render_shard, jobs(workers, scenes), chunksize=1)
        return workers * scenes * VIEWS_PER_SCENE / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--scenes', type=int, default=12, help='of each theme, and by each worker')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--seed', type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        total = total_rate(Path(folder), options.workers, 4 * options.scenes, options.seed)
    renderer = Renderer()
    theme_rate(renderer, 'desk', 1, options.seed)
    print(f'{in_words(when_and_where())}; MUJOCO_GL={os.environ["MUJOCO_GL"]}, 320x240')
    for theme in THEMES:
        rate = theme_rate(renderer, theme, options.scenes, options.seed)
        print(f'{theme:12} {rate:5.1f} frames/s, one process')
    print(f'{"all":12} {total:5.1f} frames/s, {options.workers} processes')


if __name__ == '__main__':
    main()
