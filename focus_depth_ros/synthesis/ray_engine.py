"""Shards rendered by a Ray cluster: `focus-depth render --engine ray`.

A worker draws a shard in memory and hands its bytes back; the process that started the command puts
them to their place. So the machines need the package, but no disk in common, and what is on disk is
whole or absent as ever. Ray starts a task again whose worker or machine died.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from focus_depth_ros.synthesis.shards import Job, process_renderer, shard_bytes, store_shard


def render_on_cluster(jobs: list[Job], workers: int) -> Iterator[Job]:
    """Render shards, `workers` at a time (a CPU each), and yield each when it is stored.

    On the cluster that RAY_ADDRESS names, or a local one of so many CPUs. Raises ValueError
    without Ray, RuntimeError naming the seed and scene that failed (when what else is being drawn
    is stored), OSError on a full disk.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError("--engine ray needs Ray: pip install '.[cluster]'") from error
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # nothing is reported to anybody
    cluster = ray.init(
        num_cpus=None if 'RAY_ADDRESS' in os.environ else workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level='warning',
    )
    draw = ray.remote(num_cpus=1)(_drawn)
    waiting = list(reversed(jobs))
    running: dict[Any, Job] = {}
    failure: Exception | None = None
    with cluster:
        while running or (waiting and failure is None):
            while waiting and failure is None and len(running) < workers:
                job = waiting.pop()
                running[draw.remote(job)] = job
            (done,), _ = ray.wait(list(running), num_returns=1)
            job = running.pop(done)
            try:
                content = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                failure = error.cause
            except ray.exceptions.RayError as error:
                failure = RuntimeError(f'{job.path.name} was lost by the cluster: {error}')
            else:
                store_shard(job, content)
                yield job
    if failure is not None:
        raise failure


def _drawn(job: Job) -> bytes:
    """One shard as bytes, drawn in a worker."""
    return shard_bytes(job, process_renderer(job.meshes, job.width))
