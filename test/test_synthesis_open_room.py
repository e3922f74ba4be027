"""Tables on legs in large rooms: built as they say, and far things are in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from focus_depth_ros.synthesis.frames import scene_frames, settled_scene
from focus_depth_ros.synthesis.open_room import free_table, open_room
from focus_depth_ros.synthesis.renderer import Renderer
from focus_depth_ros.synthesis.splits import scene_generator
from focus_depth_ros.synthesis.stock import Stock
from focus_depth_ros.synthesis.themes import THEMES


def test_a_table_stands_on_the_floor_and_its_upper_side_is_zero() -> None:
    for seed in range(20):
        table = free_table(np.random.default_rng(seed), 0.6)
        assert table.body.lowest_m == pytest.approx(-0.6)
        assert table.body.vertices[:, 2].max() <= 0
        np.testing.assert_allclose(table.top.vertices[:, 2], 0, atol=1e-12)
        assert (table.top.normals[:, 2] > 0.99).all()
        corner = float(np.linalg.norm(table.half_m))
        assert corner < np.linalg.norm(table.top.vertices, axis=1).max()


def test_furniture_leaves_table_and_camera_free() -> None:
    for seed in range(20):
        floor, walls, *furniture = open_room(np.random.default_rng(seed), (), 0.6, 0.7, 0.0)
        for fixture in (floor, *furniture):
            assert fixture.mesh.lowest_m >= -0.7 - 1e-9
        assert np.ptp(walls.mesh.vertices[:, 2]) > 2
        for fixture in furniture:
            tall = fixture.mesh.vertices[fixture.mesh.vertices[:, 2] > 0]
            assert np.linalg.norm(tall[:, :2], axis=1).min(initial=9) > 0.2


def test_a_turned_room_is_the_same_room() -> None:
    straight = open_room(np.random.default_rng(1), (), 0.6, 0.7, 0.0)
    turned = open_room(np.random.default_rng(1), (), 0.6, 0.7, np.pi / 2)
    for one, other in zip(straight, turned, strict=True):
        x, y, z = one.mesh.vertices.T
        np.testing.assert_allclose(other.mesh.vertices, np.stack([-y, x, z], 1), atol=1e-9)


def test_rooms_are_drawn_only_where_they_are_named() -> None:
    assert THEMES['room'].share == 0
    stock = Stock('test')
    for number in range(8):
        scene = settled_scene(stock, 5, number, None, scene_generator('test', 5, number))
        assert scene.theme != 'room'


def test_the_floor_is_seen_far_past_the_edges_of_the_table(renderer: Renderer) -> None:
    far = []
    for scene in range(4):
        for sample in scene_frames(renderer, Stock('test'), 3, scene, 'room'):
            things = np.median(sample.depth_m[sample.ids > 0])
            far.append(np.mean(sample.depth_m[sample.ids == 0] > 1.6 * things))
    assert np.median(far) > 0.25
