"""The renderer against pictures whose depth is known by formula."""

import os

import numpy as np
import pytest
from plain_parts import ground, part

from focus_depth_ros.synthesis.boundaries import boundaries_from_scans
from focus_depth_ros.synthesis.cameras import Camera, look_at
from focus_depth_ros.synthesis.lighting import Lamp, Lighting
from focus_depth_ros.synthesis.meshes import box, lathe
from focus_depth_ros.synthesis.opengl import best_backend, choose_backend
from focus_depth_ros.synthesis.renderer import Renderer, RendererError

TOLERANCE_M = 1e-4


def camera_at(eye_m, target_m, focal_px=277.0, cx_px=163.2, cy_px=112.7) -> Camera:
    return Camera(look_at(np.array(eye_m), np.array(target_m), 0.2), focal_px, cx_px, cy_px)


def rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Eye (3,) and directions (H,W,3) in the world, optical z 1, through the pixel centres."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    local = np.stack(
        [
            (columns - camera.cx_px) / camera.focal_px,
            (rows - camera.cy_px) / camera.focal_px,
            np.ones(rows.shape),
        ],
        axis=2,
    )
    return camera.pose[:3, 3], local @ camera.pose[:3, :3].T


def interior(seen: np.ndarray) -> np.ndarray:
    """Pixels whose eight neighbours are seen as well."""
    core = seen.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            core &= np.roll(core, shift, axis)
    return core


def surrounded(seen: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours are seen as well."""
    shifted = [np.roll(seen, shift, axis) for axis in (0, 1) for shift in (-1, 1)]
    return seen & np.all(shifted, axis=0)


def test_plane_depth_is_exact(renderer):
    camera = camera_at([0.1, -0.8, 0.9], [0, 0, 0])
    renderer.load([part(ground(), 1)])
    labels = renderer.labels(camera)
    eye, directions = rays(camera)
    expected = -eye[2] / directions[..., 2]
    seen = labels.parts == 1
    assert seen.mean() > 0.9
    assert np.abs(labels.depth_m - expected)[seen].max() < TOLERANCE_M


def test_box_depth_is_exact(renderer):
    size = np.array([0.2, 0.3, 0.15])
    camera = camera_at([0.5, -0.7, 0.8], [0, 0, 0.05])
    renderer.load([part(box(size), 1), part(ground(), 2)])
    labels = renderer.labels(camera)
    eye, directions = rays(camera)
    low, high = np.array([-0.1, -0.15, 0.0]), np.array([0.1, 0.15, 0.15])
    with np.errstate(divide='ignore'):
        first, second = (low - eye) / directions, (high - eye) / directions
    enter = np.minimum(first, second).max(axis=2)
    leave = np.maximum(first, second).min(axis=2)
    hit = enter < leave
    expected = np.where(hit, enter, -eye[2] / directions[..., 2])
    np.testing.assert_array_less(np.mean((labels.parts == 1) != hit), 1e-4)
    core = interior(labels.parts == 1) | interior(labels.parts == 2)
    assert np.abs(labels.depth_m - expected)[core].max() < TOLERANCE_M


def test_sphere_depth_is_exact(renderer):
    radius = 0.05  # as many facets as a slot holds: they stay within 0.08 mm of the sphere
    angle = np.linspace(-np.pi / 2, np.pi / 2, 54)
    profile = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    camera = camera_at([0.05, -0.25, 0.2], [0.01, 0, 0])
    renderer.load([part(lathe(profile, segments=74), 1)])
    labels = renderer.labels(camera)
    eye, directions = rays(camera)
    a, b, c = (directions**2).sum(axis=2), directions @ eye, eye @ eye - radius**2
    discriminant = b**2 - a * c
    expected = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    # facets and sphere part where rays graze: look where they meet within 45 degrees
    facing = np.sqrt(np.maximum(discriminant, 0) / a) > 0.7 * radius
    assert facing.sum() > 2000
    assert np.abs(labels.depth_m - expected)[facing].max() < TOLERANCE_M
    assert np.median(np.abs(labels.depth_m - expected)[facing]) < 0.5 * TOLERANCE_M


def test_picture_and_labels_are_aligned(renderer):
    camera = camera_at([0.0, -0.5, 0.6], [0, 0, 0])
    renderer.load([part(box(np.array([0.2, 0.12, 0.05])), 1, 255), part(ground(), 2, 0)])
    lamp = Lamp(
        np.tile([0.0, 0.0, -1.0], (4, 1)),
        np.zeros(3),
        2.0,
        np.ones(3),
        np.zeros(3),
        np.zeros(3),
        False,
    )
    bright = renderer.picture(camera, Lighting((lamp,)))[..., 1] / 255.0
    inside = (renderer.labels(camera).parts == 1).astype(float)
    assert np.abs(bright - inside).mean() < 0.01
    rows, columns = np.mgrid[:240, :320]
    for axis in (rows, columns):
        middle = [(axis * weight).sum() / weight.sum() for weight in (bright, inside)]
        assert abs(middle[0] - middle[1]) < 0.1


def test_an_unlit_picture_shows_the_bare_texture(renderer):
    camera = camera_at([0.0, -0.5, 0.6], [0, 0, 0])
    renderer.load([part(box(np.array([0.2, 0.12, 0.05])), 1, 130), part(ground(), 2, 40)])
    unlit, parts = renderer.unlit(camera), renderer.labels(camera).parts
    inside = interior(parts == 1)
    assert np.abs(unlit[inside].astype(int) - 130).max() <= 2
    assert np.abs(unlit[:20, :20].astype(int) - 40).max() <= 2


def test_boundary_of_a_floating_plate_is_its_outline(renderer):
    plate = box(np.array([0.3, 0.2, 0.001])).moved(0, 0, 0.3)
    camera = camera_at([0.0, -0.1, 1.2], [0, 0, 0])
    renderer.load([part(plate, 1), part(ground(), 300)])
    labels = renderer.labels(camera)
    ids = (labels.parts == 1).astype(np.uint8)
    boundary = boundaries_from_scans(*renderer.scans(camera, labels), ids)
    rim = (ids == 1) & ~surrounded(ids == 1)
    assert set(np.unique(boundary)) == {0, 1}
    np.testing.assert_array_equal(boundary == 1, rim)


def test_a_resting_box_touches_below_and_hides_above(renderer):
    camera = camera_at([0.0, -0.9, 0.6], [0, 0, 0])
    renderer.load([part(box(np.array([0.3, 0.2, 0.2])), 1), part(ground(), 300)])
    labels = renderer.labels(camera)
    ids = (labels.parts == 1).astype(np.uint8)
    boundary = boundaries_from_scans(*renderer.scans(camera, labels), ids)
    rows = np.nonzero(ids.any(axis=1))[0]
    middle = (rows[0] + rows[-1]) // 2
    assert (boundary[:middle] == 3).sum() == 0
    assert (boundary[middle:] == 3).sum() > 40
    assert (boundary[:middle] == 1).sum() > 40


def test_unknown_backend_is_named(monkeypatch):
    pytest.importorskip('mujoco')
    monkeypatch.setattr('mujoco.GLContext', lambda *_: (_ for _ in ()).throw(OSError('no driver')))
    with pytest.raises(RendererError, match=r'MUJOCO_GL=.*no driver.*libosmesa6'):
        Renderer()


def test_a_gpu_is_used_where_there_is_one(monkeypatch, tmp_path):
    monkeypatch.setattr('ctypes.util.find_library', lambda _: 'libEGL.so.1')
    assert best_backend(tmp_path) == 'osmesa'
    (tmp_path / 'dri').mkdir()
    (tmp_path / 'dri' / 'renderD128').touch()
    assert best_backend(tmp_path) == 'egl'
    monkeypatch.setattr('ctypes.util.find_library', lambda _: None)
    assert best_backend(tmp_path) == 'osmesa'
    monkeypatch.setenv('MUJOCO_GL', 'glfw')
    choose_backend(tmp_path)
    assert os.environ['MUJOCO_GL'] == 'glfw'  # the user's choice stands
