"""The Ray engine on a local cluster of two workers: the same shards as without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from focus_depth_ros.synthesis.ray_engine import render_on_cluster
from focus_depth_ros.synthesis.renderer import Renderer
from focus_depth_ros.synthesis.shards import Job, render_shard


@pytest.fixture(scope='module', autouse=True)
def opengl_and_ray(renderer: Renderer) -> None:
    pytest.importorskip('ray', reason="Ray is not installed: pip install '.[cluster]'")


def jobs_in(folder: Path) -> list[Job]:
    folder.mkdir()
    return [Job(folder, 'test', 6, number, number, number + 1) for number in (0, 1)]


def test_a_cluster_makes_the_same_bytes_and_names_what_fails(tmp_path: Path) -> None:
    alone, jobs = jobs_in(tmp_path / 'alone'), jobs_in(tmp_path / 'cluster')
    for job in alone:
        render_shard(job)
    impossible = Job(tmp_path / 'cluster', 'nonsense', 6, 7, 7, 8)  # type: ignore[arg-type]
    stored = []
    with pytest.raises(RuntimeError, match=r'^nonsense scene 7 of seed 6 failed'):
        stored.extend(render_on_cluster([*jobs, impossible], workers=2))
    for one, other in zip(alone, jobs, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
    names = sorted(path.name for path in (tmp_path / 'cluster').iterdir())
    ends = ('job.json', 'tar')  # and nothing half-written
    assert names == [f'test-00000{number}.{end}' for number in (0, 1) for end in ends]
