"""Shards: what is written is read, the same bytes whoever renders, nothing broken after a kill."""

import argparse
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from focus_depth_ros.synthesis import render, themes, view
from focus_depth_ros.synthesis.materials import LID, part
from focus_depth_ros.synthesis.placement import Surface
from focus_depth_ros.synthesis.sample import (
    Sample,
    SceneObject,
    decode_sample,
    encode_image,
    encode_sample,
    read_shard,
    write_sample,
)
from focus_depth_ros.synthesis.shards import (
    Job,
    missing,
    plan,
    remove_abandoned,
    render_shard,
    store_shard,
)
from focus_depth_ros.synthesis.splits import scene_generator
from focus_depth_ros.synthesis.stock import Stock
from focus_depth_ros.training import draws


def _scenes(folder: Path, seed: int, scenes: int, **asked: Any) -> Job:
    return Job(folder, 'train', seed, 0, 0, scenes, **asked)


@pytest.fixture
def sample() -> Sample:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.3, 6.4, (240, 320)).astype(np.float32)
    depth[:9, :9] = np.nan
    rgb = np.full((240, 320, 3), (200, 60, 20), np.uint8)
    item = SceneObject(
        3, 'mug', 'red', 'ceramic', (4.0, 5.0, 40.0, 60.0), 900, ['the red mug'], (0.1, 0.08, 0.1)
    )
    return Sample(
        rgb=rgb,
        depth_m=depth,
        ids=rng.integers(0, 9, (240, 320)).astype(np.uint8),
        boundary=rng.integers(0, 4, (240, 320)).astype(np.uint8),
        K=np.array([[277.0, 0, 161], [0, 277, 118], [0, 0, 1]]),
        objects=[item],
        absent_captions=['the blue ball'],
        theme='desk',
        scene=12,
        camera_pose=np.diag([1.0, -1, -1, 1]),
    )


def test_a_sample_comes_back(sample, tmp_path):
    with tarfile.open(tmp_path / 'x.tar', 'w') as shard:
        write_sample(shard, 'a', sample)
        write_sample(shard, 'b', replace(sample, scene=13))
    first, second = read_shard(tmp_path / 'x.tar')
    assert (first.scene, second.scene) == (12, 13)
    np.testing.assert_allclose(first.depth_m, sample.depth_m, atol=5.1e-5)
    assert np.isnan(first.depth_m[0, 0])
    for name in ('ids', 'boundary', 'K', 'camera_pose'):
        np.testing.assert_array_equal(getattr(first, name), getattr(sample, name))
    assert first.objects == sample.objects
    assert first.absent_captions == sample.absent_captions
    assert np.abs(first.rgb.astype(int) - sample.rgb).max() < 8


def test_depth_out_of_range_becomes_invalid(sample):
    depth = sample.depth_m.copy()
    depth[50, 50:53] = 6.6, np.inf, -1
    again = decode_sample(encode_sample(replace(sample, depth_m=depth)))
    assert np.isnan(again.depth_m[50, 50:53]).all()


def test_broken_shards_are_named(sample, tmp_path):
    path = tmp_path / 'train-000000.tar'
    path.write_bytes(b'not a tar at all')
    with pytest.raises(ValueError, match=r'train-000000\.tar'):
        list(read_shard(path))
    files = encode_sample(sample)
    del files['ids.png']
    with pytest.raises(ValueError, match=r'k7.*ids\.png'):
        decode_sample(files, 'k7')


@pytest.mark.parametrize('fault', ['header', 'cut in a header', 'cut between frames'])
def test_shards_that_lost_frames_are_named(sample, tmp_path, fault):
    path = tmp_path / 'train-000000.tar'
    begins = []
    with tarfile.open(path, 'w') as shard:
        for key in 'abc':
            begins.append(shard.offset)
            write_sample(shard, key, sample)
    assert len(list(read_shard(path))) == len(draws.shard_index(str(path))) == 3
    content = bytearray(path.read_bytes())
    if fault == 'header':
        content[begins[1] + 100] ^= 1
    else:
        del content[begins[2] + (100 if fault == 'cut in a header' else 0) :]
    path.write_bytes(content)
    draws.shard_index.cache_clear()
    for read in (lambda: list(read_shard(path)), lambda: draws.shard_index(str(path))):
        with pytest.raises(ValueError, match=r'train-000000\.tar: damaged or cut short'):
            read()


@pytest.mark.parametrize(
    ('ending', 'content', 'said'),
    [
        ('json', b'{', 'json is not of this format'),
        ('json', b'{"objects": []}', "KeyError\\('K'\\)"),
        ('json', b'[]', 'json is not of this format'),
        ('json', b'[' * 100_000, 'json is not of this format'),
        ('json', b'{"objects": [], "K": [[1]]}', 'no matrix of 3 by 3'),
        ('json', b'\xff', 'json is not of this format'),
        ('ids.png', b'', 'ids.png: the picture of 0 bytes'),
        ('normals.png', b'', 'of the extras it has normals.png only'),
        ('depth.png', encode_image('.png', np.ones((240, 320), np.uint8)), 'depth.png is uint8'),
        ('ids.png', encode_image('.png', np.ones((24, 32), np.uint8)), 'ids.png is uint8'),
    ],
)
def test_broken_frames_are_named(sample, ending, content, said):
    with pytest.raises(ValueError, match=f'k7: .*{said}'):
        decode_sample(encode_sample(sample) | {ending: content}, 'k7')


def test_plan_covers_every_scene_once(tmp_path):
    jobs = plan(_scenes(tmp_path, 4, 120))
    assert [(job.first_scene, job.last_scene) for job in jobs] == [(0, 50), (50, 100), (100, 120)]
    assert sum(job.frames for job in jobs) == 600
    jobs[1].path.touch()
    assert [job.number for job in missing(jobs)] == [0, 2]


def test_a_shard_that_others_asked_for_is_not_taken(tmp_path):
    few = plan(_scenes(tmp_path, 4, 60))
    for job in few:
        store_shard(job, b'frames')
    assert not missing(few)
    assert not missing(plan(_scenes(tmp_path, 4, 55)))
    assert [job.number for job in missing(plan(_scenes(tmp_path, 4, 100)))] == [1]
    for other in (
        plan(_scenes(tmp_path, 5, 60)),
        plan(_scenes(tmp_path, 4, 60, themes=('tote',))),
        plan(_scenes(tmp_path, 4, 60, extras=True, width=480)),
        plan(_scenes(tmp_path, 4, 60), scenes_per_shard=5),
    ):
        with pytest.raises(ValueError, match=r'train-00000\d\.tar is another shard'):
            missing(other)
    for broken in ('broken', '5'):
        few[0].note_path.write_text(broken)
        assert not missing(few)


def test_a_kill_between_a_longer_shard_and_its_note_costs_no_scenes(tmp_path, monkeypatch):
    (short,) = plan(_scenes(tmp_path, 4, 20))
    store_shard(short, b'twenty')
    longer = plan(_scenes(tmp_path, 4, 40))
    assert missing(longer) == longer
    rename = Path.rename

    def killed(path: Path, to: Path) -> Path:
        if to.suffix == '.json':
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, 'rename', killed)
    with pytest.raises(KeyboardInterrupt):
        store_shard(longer[0], b'forty frames')
    monkeypatch.undo()
    assert missing(longer) == longer  # drawn once more
    store_shard(longer[0], b'forty frames')
    assert not missing(longer)
    assert not list(tmp_path.glob('*partial*'))


def test_renderers_end_with_a_parent_that_is_killed(tmp_path):
    script = (
        'import os, time\n'
        'from focus_depth_ros.synthesis import render\n'
        'render.PARENT_WATCH_S = 0.05\n'
        'render._begin_work(os.getppid())\n'
        'print("ready", flush=True)\n'
        'time.sleep(60)\n'
    )
    command = 'import subprocess, sys; subprocess.run([sys.executable, "-c", sys.argv[1]])'
    parent = subprocess.Popen(
        [sys.executable, '-c', command, script], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None and parent.stdout.readline() == 'ready\n'
    start = time.monotonic()
    parent.kill()
    assert parent.stdout.read() == ''  # until the grandchild has ended too
    assert time.monotonic() - start < 30
    parent.wait()


def test_a_renderer_that_is_killed_is_an_error(monkeypatch):
    monkeypatch.setattr(render, 'render_shard', os._exit)
    with pytest.raises(RuntimeError, match='terminated abruptly'):
        list(render.render_in_processes([1, 1], 2))


def test_cameras_come_from_25_cm_to_3_m() -> None:
    rng = np.random.default_rng(0)
    scene = themes.Scene('desk', [], Surface(np.full(2, -0.5), np.full(2, 0.5)))
    views = [scene.view(rng)[0] for _ in range(600)]
    # A long lens stands farther back: at 60 degrees across, this is how far it is.
    reach = [np.linalg.norm(view.pose[:3, 3]) * (277.0 / view.focal_px) ** 0.7 for view in views]
    assert 0.1 < min(reach) < 0.45 < 1.3 < max(reach) < 3.3
    usual = np.mean([0.4 < one < 1.3 for one in reach])
    assert 0.8 < usual < 0.97
    tilts = [np.degrees(np.arcsin(view.pose[2, 2])) for view in views]
    assert -75 < min(tilts) < -60
    assert -35 < max(tilts) < -20


def test_scenes_take_turns_among_the_named_themes(tmp_path):
    jobs = plan(_scenes(tmp_path, 4, 7, themes=('shiny', 'tote', 'shiny')), 5)
    assert [(job.first_scene, job.last_scene) for job in jobs] == [(0, 5), (5, 7)]
    assert [jobs[1].theme(scene) for scene in (5, 6)] == ['shiny', 'shiny']
    assert [jobs[0].theme(scene) for scene in range(4)] == ['shiny', 'tote', 'shiny', 'shiny']
    assert plan(_scenes(tmp_path, 4, 7))[0].theme(1) is None


def test_in_a_row_the_later_things_stand_in_front_of_the_earlier() -> None:
    overlaps = []
    for seed in range(12):
        surface = Surface(np.full(2, -0.5), np.full(2, 0.5))
        themes._line_up(Stock('train'), np.random.default_rng(seed), surface)
        for behind, before in itertools.pairwise(placed.mesh.vertices for placed in surface.placed):
            assert before[:, 1].mean() < behind[:, 1].mean()
            left, right = max(behind[:, 0].min(), before[:, 0].min()), before[:, 0].max()
            overlaps.append(left < min(right, behind[:, 0].max()))
    assert len(overlaps) >= 18 and np.mean(overlaps) > 0.8


def test_some_tins_have_a_picture_on_their_lid() -> None:
    tins = [Stock('train').make('can', np.random.default_rng(seed)) for seed in range(40)]
    colours = [len(np.unique(part(tin.texture, LID).reshape(-1, 3) // 64, axis=0)) for tin in tins]
    assert 0.2 < np.mean(np.array(colours) > 12) < 0.8


def jobs_in(folder: Path) -> list[Job]:
    folder.mkdir()
    return [Job(folder, 'test', 5, 0, 0, 1), Job(folder, 'test', 5, 1, 1, 2)]


def test_one_scene_of_these_is_settled(monkeypatch):
    pytest.importorskip('mujoco')
    used = []
    monkeypatch.setattr(themes, 'settled', lambda surface, *_: used.append(1) or surface)
    for number in (0, 1):
        themes.build_scene(Stock('test'), scene_generator('test', 5, number))
    assert used


def test_bytes_do_not_depend_on_the_workers(renderer, tmp_path):
    alone, shared = jobs_in(tmp_path / 'alone'), jobs_in(tmp_path / 'shared')
    for job in reversed(alone):
        render_shard(job)
    with multiprocessing.get_context('spawn').Pool(2) as pool:
        pool.map(render_shard, shared, chunksize=1)
    for one, other in zip(alone, shared, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
    samples = list(read_shard(alone[0].path))
    assert len(samples) == 5
    for sample in samples:
        assert sample.objects
        assert sample.rgb.shape == (240, 320, 3)
        assert set(np.unique(sample.ids)) - {0} == {item.id for item in sample.objects}
        for item in sample.objects:
            rows, columns = np.nonzero(sample.ids == item.id)
            assert item.visible_px == len(rows)
            assert item.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_a_wider_picture_shows_the_same_scene(renderer, tmp_path):
    job = jobs_in(tmp_path / 'data')[0]
    wide = replace(job, folder=tmp_path, width=480)
    with multiprocessing.get_context('spawn').Pool(2) as pool:
        pool.map(render_shard, [job, wide], chunksize=1)
    for sample, wider in zip(read_shard(job.path), read_shard(wide.path), strict=True):
        assert wider.rgb.shape == (360, 480, 3)
        np.testing.assert_array_equal(sample.camera_pose, wider.camera_pose)
        np.testing.assert_allclose(wider.K[0, 0], 1.5 * sample.K[0, 0])
        np.testing.assert_allclose(wider.K[:2, 2] + 0.5, 1.5 * (sample.K[:2, 2] + 0.5))
        # pixel (2 i, 2 j) of the one has its centre within a sixth of a pixel of (3 i, 3 j)
        there, here = wider.ids[::3, ::3], sample.ids[::2, ::2]
        assert np.mean(there == here) > 0.97
        both = (there == here) & (here > 0)
        apart = np.abs(wider.depth_m[::3, ::3][both] / sample.depth_m[::2, ::2][both] - 1)
        assert np.median(apart) < 0.01
        large = {item.id for item in sample.objects if item.visible_px > 50}
        assert large and large <= {item.id for item in wider.objects}


def partials(folder: Path) -> list[Path]:
    return list(folder.glob('*.partial-*'))


def test_a_killed_worker_leaves_no_shard(renderer, tmp_path):
    job = jobs_in(tmp_path / 'data')[0]
    code = (
        'from pathlib import Path; from focus_depth_ros.synthesis.shards import Job, render_shard; '
        f'render_shard(Job(Path({str(job.folder)!r}), "test", 5, 0, 0, 50))'
    )
    worker = subprocess.Popen([sys.executable, '-c', code])
    deadline = time.monotonic() + 20
    while not partials(job.folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    remove_abandoned(job.folder)
    assert partials(job.folder)  # not while its worker lives
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert missing([job]) == [job]
    remove_abandoned(job.folder)
    assert not partials(job.folder)
    render_shard(job)
    assert len(list(read_shard(job.path))) == 5


def parsed(*options: str) -> argparse.Namespace:
    """The arguments of `focus-depth render`."""
    parser = argparse.ArgumentParser()
    render.add_arguments(parser)
    return parser.parse_args(options)


def test_command_renders_and_view_shows(renderer, tmp_path, capsys):
    options = ['--scenes', '1', '--seed', '2', '--split', 'validation']
    arguments = parsed(*options, '--out', str(tmp_path / 'd'))
    assert render.run(arguments) == 0
    written = (tmp_path / 'd' / 'validation-000000.tar').stat().st_mtime_ns
    assert render.run(arguments) == 0  # nothing left to do
    assert (tmp_path / 'd' / 'validation-000000.tar').stat().st_mtime_ns == written
    assert view.run(argparse.Namespace(folder=tmp_path / 'd', out=None, frames=3)) == 0
    assert list((tmp_path / 'd').glob('sheet-*.png'))
    assert '5 frames' in capsys.readouterr().out


def test_command_hands_its_options_to_every_job(tmp_path, monkeypatch):
    jobs: list[Job] = []
    monkeypatch.setitem(
        render.ENGINES, 'processes', lambda left, workers: jobs.extend(left) or left
    )
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    cv2.imwrite(str(pictures / 'a.png'), np.zeros((90, 90), np.uint8))
    options = ['--scenes', '60', '--extras', '--theme', 'tote', '--photographs', str(pictures)]
    assert render.run(parsed(*options, '--width', '480', '--out', str(tmp_path))) == 0
    given = [(job.extras, job.themes, job.photographs, job.width) for job in jobs]
    assert given == [(True, ('tote',), pictures, 480)] * 2


def test_bad_arguments_say_why(tmp_path):
    bad = parsed('--scenes', '0', '--out', str(tmp_path))
    with pytest.raises(ValueError, match='--scenes'):
        render.run(bad)
    for width in ('0', '322', '-4', '4000', 'wide'):
        with pytest.raises(SystemExit):
            parsed('--scenes', '1', '--out', str(tmp_path), '--width', width)
    with pytest.raises(ValueError, match='no shards'):
        view.run(argparse.Namespace(folder=tmp_path, out=None, frames=3))


def test_view_tells_of_nothing_that_it_has_not_written(tmp_path, sample, capsys):
    shard, out = tmp_path / 'train-000000.tar', tmp_path / 'out'
    with tarfile.open(shard, 'w'):
        pass
    with pytest.raises(ValueError, match='hold no frame'):
        view.run(argparse.Namespace(folder=tmp_path, out=out, frames=3))
    with tarfile.open(shard, 'w') as tar:
        write_sample(tar, 'a', sample)
    (out / f'sheet-{sample.theme}.png').mkdir(parents=True)
    with pytest.raises(OSError, match='cannot be written'):
        view.run(argparse.Namespace(folder=tmp_path, out=out, frames=3))
    assert 'frames' not in capsys.readouterr().out
