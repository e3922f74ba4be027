"""`focus-depth render`: make a data set of labelled scenes.

It may be killed at any moment: the same command goes on from the finished shards.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from focus_depth_ros.synthesis import user_meshes
from focus_depth_ros.synthesis.cameras import WIDTH_PX
from focus_depth_ros.synthesis.ray_engine import render_on_cluster
from focus_depth_ros.synthesis.shards import (
    Job,
    missing,
    plan,
    process_meshes,
    process_photographs,
    remove_abandoned,
    render_shard,
)
from focus_depth_ros.synthesis.splits import SPLITS
from focus_depth_ros.synthesis.themes import THEMES
from focus_depth_ros.synthesis.vocabulary import nouns_of

WIDTHS_PX = (64, 1920)
PARENT_WATCH_S = 1.0


def render_in_processes(jobs: list[Job], workers: int) -> Iterator[Job]:
    """Render shards in fresh processes of this machine, each with its own OpenGL; yield each.

    Raises RuntimeError when one of them is killed, for want of memory perhaps.
    """
    with ProcessPoolExecutor(
        max(min(workers, len(jobs)), 1),
        mp_context=multiprocessing.get_context('spawn'),
        initializer=_begin_work,
        initargs=(os.getpid(),),
    ) as pool:
        waiting = [pool.submit(render_shard, job) for job in jobs]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_work(parent: int) -> None:
    """Say nothing of meshes, of which the parent has told, and end with the parent.

    One that is killed tells its children nothing.
    """
    logging.getLogger(user_meshes.__name__).setLevel(logging.ERROR)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, name='parent watch', daemon=True).start()


ENGINES = {'processes': render_in_processes, 'ray': render_on_cluster}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        '--scenes', type=int, required=True, help='how many scenes; each gives five frames'
    )
    parser.add_argument('--seed', type=int, default=1, help='the same seed gives the same bytes')
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for the shards; finished ones are kept'
    )
    parser.add_argument('--workers', type=int, default=1, help='shards at a time')
    parser.add_argument(
        '--engine',
        choices=ENGINES,
        default='processes',
        help='processes of this machine; or Ray: the cluster RAY_ADDRESS names, else a local one',
    )
    parser.add_argument('--split', choices=SPLITS, default='train')
    add_theme_argument(parser)
    parser.add_argument(
        '--meshes',
        type=Path,
        metavar='FOLDER',
        help='your own things (OBJ, STL, GLB) among the others; folder or file names the class',
    )
    add_photographs_argument(parser)
    add_width_argument(parser)
    parser.add_argument(
        '--extras',
        action='store_true',
        help="also a depth camera's depth, surface normals and whole outlines",
    )


def add_theme_argument(parser: argparse.ArgumentParser) -> None:
    """`--theme`, here and for whatever else draws these scenes."""
    parser.add_argument(
        '--theme',
        choices=THEMES,
        action='append',
        default=[],
        help='scenes take turns among those named, one named twice has two turns (default: all)',
    )


def add_photographs_argument(parser: argparse.ArgumentParser) -> None:
    """`--photographs`, likewise."""
    parser.add_argument(
        '--photographs',
        type=Path,
        metavar='FOLDER',
        help='your own pictures (JPEG, PNG), parts of which are printed on packages and papers',
    )


def add_width_argument(parser: argparse.ArgumentParser) -> None:
    """`--width`, likewise."""
    parser.add_argument(
        '--width',
        type=picture_width,
        default=WIDTH_PX,
        metavar='PX',
        help='of the pictures, which are 4:3 (default: %(default)s)',
    )


def picture_width(text: str) -> int:
    """A width of pictures that has a whole height. Raises ArgumentTypeError."""
    if not text.isdecimal() or not WIDTHS_PX[0] <= int(text) <= WIDTHS_PX[1] or int(text) % 4:
        raise argparse.ArgumentTypeError(
            f'{text} is no multiple of 4 from {WIDTHS_PX[0]} to {WIDTHS_PX[1]}'
        )
    return int(text)


def data_set(arguments: argparse.Namespace) -> Job:
    """All scenes that were asked for, as one job, here and for whatever else draws them."""
    return Job(
        folder=arguments.out,
        split=arguments.split,
        seed=arguments.seed,
        number=0,
        first_scene=0,
        last_scene=arguments.scenes,
        themes=tuple(arguments.theme),
        photographs=arguments.photographs,
        width=arguments.width,
    )


def run(arguments: argparse.Namespace) -> int:
    """Render what is missing. Returns 0 when all shards are there."""
    if arguments.scenes < 1 or arguments.workers < 1 or arguments.seed < 0:
        raise ValueError('--scenes and --workers must be at least 1, --seed at least 0')
    if arguments.meshes:
        _tell_of_meshes(arguments.meshes)
    if arguments.photographs:
        print(f'{len(process_photographs(arguments.photographs))} photographs for prints')
    arguments.out.mkdir(parents=True, exist_ok=True)
    remove_abandoned(arguments.out)
    whole = replace(data_set(arguments), meshes=arguments.meshes, extras=arguments.extras)
    jobs = plan(whole)
    left = missing(jobs)
    frames = sum(job.frames for job in jobs)
    columns = (
        TextColumn('rendering'),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns) as progress:
            task = progress.add_task('', total=frames)
            progress.update(task, completed=frames - sum(job.frames for job in left))
            for job in ENGINES[arguments.engine](left, arguments.workers):
                progress.advance(task, job.frames)
    except (OSError, RuntimeError) as error:
        print(f'render: {error}', file=sys.stderr)
        print('render: finished shards are kept; the same command goes on', file=sys.stderr)
        return 1
    print(f'{frames} frames in {len(jobs)} shards under {arguments.out}')
    return 0


def _tell_of_meshes(folder: Path) -> None:
    """Read the meshes before any worker does, and say what is found. Raises MeshError."""
    logging.basicConfig(format='render: %(message)s')
    found = process_meshes(folder)
    names = sorted({mesh.class_name for mesh in found})
    print(f'{len(found)} meshes of {len(names)} classes: {", ".join(names)}')
    nameless = [name for name in names if not nouns_of(name)]
    if nameless:
        print(
            'no word of the vocabulary names these, captions call them objects: '
            + ', '.join(nameless)
        )
