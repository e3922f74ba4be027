"""Pictures by Blender's Cycles (tools/cycles), where BLENDER_PYTHON names a Python with bpy."""

import os
from pathlib import Path

import numpy as np
import pytest
from load_script import load_script

from focus_depth_ros.synthesis.cameras import Camera, look_at
from focus_depth_ros.synthesis.lighting import Lamp, Lighting
from focus_depth_ros.synthesis.meshes import sheet
from focus_depth_ros.synthesis.renderer import Part, RendererError

DOWN = np.array([[0, 0, -1.0]])
COLOURS = ((200, 30, 30), (30, 170, 30), (30, 30, 200), (220, 220, 220))


@pytest.fixture(scope='module')
def cycles():
    if 'BLENDER_PYTHON' not in os.environ:
        pytest.skip('BLENDER_PYTHON names no Python with bpy')
    tool = load_script('tools/cycles/render_cycles.py')
    try:
        return tool.CyclesRenderer(Path(os.environ['BLENDER_PYTHON']), samples=1, threads=1)
    except RendererError as error:
        pytest.skip(str(error))


def plate(colour: tuple[int, int, int]) -> Part:
    """A square metre of one colour on z = 0."""
    mesh = sheet(np.array([-0.5, -0.5, 0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]))
    return Part(mesh, np.full((256, 256, 3), colour, np.uint8), 1)


def test_each_scene_shows_its_own_textures_and_each_view_its_light(cycles):
    pose = look_at(np.array([0, -0.3, 0.6]), np.zeros(3))
    camera = Camera(pose, 55.0, 31.5, 23.5, width=64, height=48)
    for colour in COLOURS * 2:  # addresses that one scene freed serve the next ones
        cycles.load([plate(colour)])
        for gain in (0.9, 0.3):
            light = Lamp(DOWN, np.zeros(3), 1.6, np.full(3, gain), np.zeros(3), np.zeros(3))
            seen = cycles.picture(camera, Lighting((light,)))[24, 32] / 255
            expected = gain * (np.array(colour) / 255) ** 2.2  # light adds up in linear values
            np.testing.assert_allclose(seen**2.2, expected, atol=0.12)
