"""`focus-depth render`: make a data set of labelled scenes, resumable after a kill at any moment."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from pathlib import Path

from focus_depth_ros.synthesis.splits import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        '--scenes', type=int, required=True, help='how many scenes; each gives five frames'
    )
    parser.add_argument('--seed', type=int, default=1, help='the same seed gives the same bytes')
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for the shards; finished ones are kept'
    )
    parser.add_argument('--workers', type=int, default=1, help='processes')
    parser.add_argument('--split', choices=SPLITS, default='train')


def run(arguments: argparse.Namespace) -> int:
    """Render what is missing. Returns 0 when all shards are there."""
    from focus_depth_ros.synthesis.renderer import RendererError
    from focus_depth_ros.synthesis.shards import missing, plan, render_shard

    if arguments.scenes < 1 or arguments.workers < 1 or arguments.seed < 0:
        print(
            'render: --scenes and --workers must be at least 1, --seed at least 0', file=sys.stderr
        )
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = plan(arguments.out, arguments.split, arguments.seed, arguments.scenes)
    left = missing(jobs)
    progress = tqdm(total=sum(job.frames for job in jobs), unit='frame', smoothing=0.05)
    progress.update(sum(job.frames for job in jobs) - sum(job.frames for job in left))
    try:
        with multiprocessing.get_context('spawn').Pool(
            min(arguments.workers, max(len(left), 1))
        ) as pool:
            for job in pool.imap_unordered(render_shard, left):
                progress.update(job.frames)
    except (OSError, RuntimeError, RendererError) as error:
        print(f'render: {error}', file=sys.stderr)
        print(
            'render: finished shards are kept; the same command goes on from them', file=sys.stderr
        )
        return 1
    finally:
        progress.close()
    return 0
