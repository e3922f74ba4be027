"""What `focus-depth view` shows: sheets with their colours, a recording with points in place."""

from __future__ import annotations

import argparse
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_depth_ros.synthesis import view
from focus_depth_ros.synthesis.sample import Sample, SceneObject, write_sample


def frame() -> Sample:
    """A block before a wall, with one boundary line of each kind, seen straight down."""
    ids = np.zeros((240, 320), np.uint8)
    ids[96:168, 96:192] = 1
    boundary = np.zeros_like(ids)
    boundary[96, 96:192], boundary[96:168, 96], boundary[167, 97:191] = 1, 2, 3
    item = SceneObject(1, 'block', 'red', 'wood', (96, 96, 192, 168), 6912, ['the red block'])
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = 0.1, 0.2, 1.0
    return Sample(
        rgb=np.full((240, 320, 3), 120, np.uint8),
        depth_m=np.where(ids > 0, 0.5, 1.0).astype(np.float32),
        ids=ids,
        boundary=boundary,
        K=np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]),
        objects=[item],
        theme='desk',
        scene=4,
        camera_pose=pose,
    )


def shown(folder: Path) -> Path:
    with tarfile.open(folder / 'test-000000.tar', 'w') as shard:
        write_sample(shard, 'a', frame())
        write_sample(shard, 'b', replace(frame(), scene=5, theme='floor'))
    assert view.run(argparse.Namespace(folder=folder, out=None, frames=3)) == 0
    return folder


def test_sheets_show_each_kind_of_boundary_and_the_caption(tmp_path: Path) -> None:
    shown(tmp_path)
    sheet = cv2.imread(str(tmp_path / 'sheet-desk.png'))[:, :, ::-1]
    height = 240 + 16
    assert sheet.shape == (height, 4 * 320, 3)
    boundaries = sheet[16:height, 2 * 320 : 3 * 320]
    for kind, at in ((1, (96, 150)), (2, (120, 96)), (3, (167, 150))):
        assert tuple(boundaries[at]) == view.BOUNDARY_COLOURS[kind]
    masks = sheet[16:height, 3 * 320 : 4 * 320]
    assert (masks[84:92, 90:160] > 150).all(2).sum() > 40  # the caption's letters
    assert (tmp_path / 'sheet-floor.png').is_file()


def test_a_recording_holds_every_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rerun', reason="rerun is not installed: pip install '.[view]'")
    shown(tmp_path)
    content = (tmp_path / 'scenes.rrd').read_bytes()
    assert content[:3] == b'RRF'
    for name in (b'/world/camera/depth', b'/world/camera/boundary', b'/world/points'):
        assert name in content
    assert 'scenes.rrd: open it' in capsys.readouterr().out


def test_points_stand_where_the_pixels_were_seen() -> None:
    pytest.importorskip('rerun', reason="rerun is not installed: pip install '.[view]'")
    from focus_depth_ros.synthesis.rerun_recording import world_points

    points, colours = world_points(frame())
    assert points.shape == colours.shape == (120 * 160, 3)
    height_m = points.reshape(120, 160, 3)[..., 2]
    assert height_m[60, 60] == pytest.approx(0.5)  # the block's top: 1 m above the ground less 0.5
    assert height_m[0, 0] == pytest.approx(0.0)
    np.testing.assert_allclose(points[0], [0.1 - 160 / 300, 0.2 + 120 / 300, 0.0], atol=1e-6)


def test_without_rerun_the_sheets_still_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(view, 'find_spec', lambda name: None)
    shown(tmp_path)
    assert not (tmp_path / 'scenes.rrd').exists()
    assert 'rerun is not installed' in capsys.readouterr().out


def test_frames_of_several_sizes_share_a_sheet(tmp_path: Path) -> None:
    wide = frame()
    larger = {
        name: cv2.resize(getattr(wide, name), (480, 360), interpolation=cv2.INTER_NEAREST)
        for name in ('rgb', 'depth_m', 'ids', 'boundary')
    }
    sheet = view.contact_sheet([wide, replace(wide, **larger)])
    assert sheet.shape == (256, 2 * 1280, 3) and sheet[:, 1280:].std() > 10


def test_no_frames_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='--frames must be at least 1'):
        view.run(argparse.Namespace(folder=tmp_path, out=None, frames=0))
