"""Normals, whole outlines and the depth camera's depth against scenes known by formula."""

from dataclasses import replace

import numpy as np
import pytest
from block_scene import sample
from plain_parts import ground, part

from focus_depth_ros.synthesis.cameras import Camera, look_at
from focus_depth_ros.synthesis.frames import scene_frames
from focus_depth_ros.synthesis.meshes import box
from focus_depth_ros.synthesis.normals import surface_normals
from focus_depth_ros.synthesis.sample import Extras, decode_sample, encode_sample
from focus_depth_ros.synthesis.sensor import SensorView, sensor_depth
from focus_depth_ros.synthesis.stock import Stock

CAMERA = Camera(look_at(np.array([0.4, -0.7, 0.8]), np.array([0, 0, 0.05]), 0.2), 277, 160, 118)


def test_normals_of_a_box_on_the_ground(renderer):
    renderer.load([part(box(np.array([0.2, 0.3, 0.15])), 1), part(ground(), 2)])
    labels = renderer.labels(CAMERA)
    normals = surface_normals(*renderer.scans(CAMERA, labels), CAMERA.K)
    world = normals @ CAMERA.pose[:3, :3].T
    axes = np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]])
    nearest = np.abs(world @ axes.T).max(axis=2)
    assert np.mean(nearest > 0.999) > 0.99
    on_ground = labels.parts == 2
    assert np.mean(world[on_ground][:, 2] > 0.999) > 0.99
    for axis in axes:  # all three visible faces are seen
        assert np.count_nonzero((world @ axis > 0.999) & (labels.parts == 1)) > 300


def test_a_hidden_thing_keeps_its_whole_outline(renderer):
    small, large = box(np.array([0.1, 0.1, 0.05])), box(np.array([0.3, 0.02, 0.2]))
    hidden, wall = part(small, 1), part(large.moved(0.05, -0.15, 0), 2)
    renderer.load([hidden, part(ground(), 300)])
    alone = renderer.labels(CAMERA).parts == 1
    renderer.load([hidden, wall, part(ground(), 300)])
    before = renderer.labels(CAMERA)
    np.testing.assert_array_equal(renderer.outline(CAMERA, 1), alone)
    assert (before.parts == 1).sum() < 0.8 * alone.sum()
    np.testing.assert_array_equal(renderer.labels(CAMERA).parts, before.parts)  # nothing is lost


def test_what_is_transparent_can_be_left_out(renderer):
    glass = part(box(np.array([0.1, 0.1, 0.1])), 1, alpha=0.4)
    renderer.load([part(ground(), 300), glass])
    assert (renderer.labels(CAMERA).parts == 1).any()
    opaque = renderer.opaque_labels(CAMERA)
    assert (opaque.parts == 300).sum() == (renderer.labels(CAMERA).parts > 0).sum()


def plate(**changes) -> SensorView:
    """A plate of 80 px at 0.5 m before a wall at 1 m."""
    depth = np.ones((60, 200), np.float32)
    depth[10:50, 60:140] = 0.5
    plain = SensorView(
        depth_m=depth,
        behind_m=np.ones_like(depth),
        rgb=np.full((60, 200, 3), 150, np.uint8),
        facing=np.ones_like(depth),
        transparent=np.zeros(depth.shape, bool),
    )
    return replace(plain, **changes)


def test_a_near_thing_casts_a_shadow_to_one_side():
    measured = sensor_depth(plate(), 277.0, np.random.default_rng(0))
    holes = np.isnan(measured)
    assert not holes[:8].any()
    wide = holes[20:40].sum(axis=1)  # focal x baseline x (1/0.5 - 1/1): 12 to 22 px
    assert (wide >= 11).all() and (wide <= 23).all()
    assert holes[20:40, 30:60].sum() == holes[20:40].sum()  # left of the plate


def test_noise_grows_with_the_square_of_the_distance():
    errors = []
    for metres in (0.5, 1.0, 2.0):
        wall = np.full((120, 160), metres, np.float32)
        flat = plate(
            depth_m=wall,
            behind_m=wall,
            rgb=np.full((120, 160, 3), 150, np.uint8),
            facing=np.ones_like(wall),
            transparent=np.zeros(wall.shape, bool),
        )
        errors.append(np.nanstd(sensor_depth(flat, 277.0, np.random.default_rng(1)) - metres))
    assert 0.0005 < errors[0] < 0.004
    assert errors[1] / errors[0] == pytest.approx(4, rel=0.5)
    assert errors[2] / errors[1] == pytest.approx(4, rel=0.5)


@pytest.mark.parametrize('fault', ['dark', 'grazing', 'transparent'])
def test_difficult_surfaces_lose_depth(fault):
    inside = np.zeros((60, 200), bool)
    inside[15:45, 70:130] = True
    changes = {
        'dark': {'rgb': np.where(inside[..., None], 3, 150).repeat(3, 2).astype(np.uint8)},
        'grazing': {'facing': np.where(inside, 0.02, 1.0).astype(np.float32)},
        'transparent': {'transparent': inside},
    }
    lost = []
    for seed in range(6):
        measured = sensor_depth(plate(**changes[fault]), 277.0, np.random.default_rng(seed))
        wrong = np.isnan(measured) | (np.abs(measured - 0.5) > 0.1)
        lost.append(wrong[inside].mean())
        assert np.isnan(measured[:8]).mean() < 0.01
    assert np.mean(lost) > 0.4


def test_extras_change_nothing_else_and_come_back(renderer):
    plain = next(scene_frames(renderer, Stock('train'), 4, 1, 'shiny'))
    rich = next(scene_frames(renderer, Stock('train'), 4, 1, 'shiny', extras=True))
    files = encode_sample(rich)
    assert {name: files[name] for name in encode_sample(plain)} == encode_sample(plain)
    again = decode_sample(files).extras
    assert rich.extras is not None and again is not None
    np.testing.assert_array_equal(again.amodal, rich.extras.amodal)
    assert len(again.amodal) == len(rich.objects)
    for item, outline in zip(rich.objects, again.amodal, strict=True):
        assert outline[rich.ids == item.id].all()
    np.testing.assert_allclose(again.normals, rich.extras.normals, atol=0.005)
    np.testing.assert_allclose(
        again.sensor_depth_m, rich.extras.sensor_depth_m, atol=6e-5, equal_nan=True
    )
    assert 0.3 < np.isfinite(again.sensor_depth_m).mean() < 1.0
    assert decode_sample(encode_sample(plain)).extras is None


def test_outlines_of_many_things_make_a_tall_picture():
    frame = sample()
    amodal = np.zeros((70, *frame.ids.shape), np.bool_)
    amodal[69, 3, 5] = True
    extras = Extras(frame.depth_m, np.full((*frame.ids.shape, 3), np.nan, np.float32), amodal)
    rich = replace(frame, objects=70 * frame.objects, extras=extras)
    again = decode_sample(encode_sample(rich)).extras
    assert again is not None
    np.testing.assert_array_equal(again.amodal, amodal)
