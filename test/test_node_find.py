"""`focus-depth find`: a person's way to name a target, over real DDS."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('focus_depth_ros.msg')

import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Vector3
from node_harness import HEIGHT, WIDTH, Robot, picture, robot_of
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from focus_depth_ros.msg import FocusTarget
from focus_depth_ros.node.find import NotFoundError, Overlays, run, told
from focus_depth_ros.node.image_codec import image_from_array
from focus_depth_ros.pipeline.overlay import TARGET_COLOURS


@pytest.fixture(scope='module')
def robot(ros: None, tiny_model: Path) -> Iterator[Robot]:
    with robot_of('-p', f'model:={tiny_model}', '-p', 'min_confidence:=0.2') as client:
        client.stop_listening(*list(client._subscriptions))  # the command has to be enough
        yield client


def find(
    robot: Robot,
    *arguments: str,
    pictures: bool = True,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[int, str, str]:
    """Status, output and errors of the command, while the robot's camera runs or stands still."""
    command = subprocess.Popen(
        [sys.executable, '-m', 'focus_depth_ros', 'find', *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while command.poll() is None:
        if pictures:
            robot.send_camera_info()
            robot.send(picture())
        robot.spin(0.1)
        meanwhile()
    output, errors = command.communicate()
    return command.returncode, output, errors


def test_it_says_where_the_named_thing_is_which_the_node_goes_on_looking_at(robot: Robot) -> None:
    status, output, errors = find(robot, 'the red', 'mug, please', '--timeout', '30')
    assert (status, errors) == (0, '')
    lines = output.splitlines()
    assert lines[0].startswith('looking at: the red mug (')
    assert lines[1].startswith('the red mug: found, confidence 0.')
    left, top, right, bottom = map(int, lines[2].split()[1:5])
    assert 0 <= left < right <= WIDTH and 0 <= top < bottom <= HEIGHT
    assert lines[3].startswith('place: ') and lines[3].endswith(' in camera_optical')
    assert lines[5] == 'metres from: model (one camera: typically off by about 10 %)'
    assert robot.fact('looking at').startswith('the_red_mug ')


def test_it_draws_what_was_found_if_asked(robot: Robot, tmp_path: Path) -> None:
    file = tmp_path / 'seen.png'
    status, output, errors = find(robot, 'the red mug', '--picture', str(file))
    assert (status, errors, output.splitlines()[-1]) == (0, '', f'look at {file}')
    drawn = cv2.imread(str(file))
    assert drawn is not None and drawn.shape == (HEIGHT, WIDTH, 3)
    assert (drawn == TARGET_COLOURS[0][::-1]).all(-1).sum() > 100


def test_the_picture_drawn_is_that_of_the_answer(ros: None, tmp_path: Path) -> None:
    node = rclpy.create_node('asks')
    overlays = Overlays(node, '/nobody')
    for grey in (10, 200, 90):
        message = image_from_array(np.full((48, 64, 3), grey, np.uint8), 'rgb8')
        message.header.stamp.sec = grey
        overlays._on_overlay(message)
    overlays.save(Header(stamp=Time(sec=200)), tmp_path / 'seen.png')
    assert (cv2.imread(str(tmp_path / 'seen.png')) == 200).all()
    with pytest.raises(NotFoundError, match='no overlay of that image came'):
        overlays.save(Header(stamp=Time(sec=7)), tmp_path / 'none.png')
    node.destroy_node()


def test_a_picture_is_of_a_kind_that_can_be_written(robot: Robot) -> None:
    status, _, errors = find(robot, 'mug', '--picture', 'seen.txt')
    assert status == 2 and 'seen.txt ends in none of .png, .jpg, .jpeg' in errors
    status, _, errors = find(robot, 'mug', '--picture', 'nowhere/seen.png')
    assert status == 2 and 'there is no folder nowhere' in errors


def test_what_is_not_found_ends_with_the_confidence_it_had(robot: Robot) -> None:
    status, output, errors = find(robot, 'missing', '--timeout', '4')
    assert (status, output) == (1, 'looking at: missing\n')
    assert errors.startswith('focus-depth find: not found in ') and 'at most 0.0' in errors


def test_a_text_that_says_nothing_ends_with_the_nodes_reason(robot: Robot) -> None:
    status, output, errors = find(robot, 'zebra', '--timeout', '30')
    assert (status, output) == (1, '')
    assert 'zebra' in errors and 'mug' in errors


def test_a_camera_that_stands_still_is_said(robot: Robot) -> None:
    status, _, errors = find(robot, 'the red mug', '--timeout', '4', pictures=False)
    assert status == 1
    assert 'no image was answered in 4 s; /focus_depth goes on looking\n' in errors
    assert '/focus_depth is active' in errors  # what /diagnostics says of it


def test_a_node_that_is_not_there_is_told_with_those_that_are(robot: Robot) -> None:
    status, _, errors = find(robot, 'mug', '--node', 'left/focus_depth/')
    assert status == 1
    assert 'no node /left/focus_depth answers; give one of these: --node /focus_depth' in errors


def test_a_target_that_is_replaced_meanwhile_is_said(robot: Robot) -> None:
    def name_another() -> None:
        if robot.fact('looking at').startswith('missing '):
            robot.call('set_text_target', text='red mug')

    status, _, errors = find(robot, 'missing', '--timeout', '8', meanwhile=name_another)
    assert status == 1
    assert errors == (
        'focus-depth find: /focus_depth was told to look at something else meanwhile: red_mug\n'
    )


def test_a_name_that_no_node_has_is_refused() -> None:
    with pytest.raises(ValueError, match='--node: Invalid topic name'):
        run(Namespace(text=['mug'], node='my node', timeout=1.0, picture=None))


def test_an_empty_text_does_not_clear_what_the_node_looks_at(robot: Robot) -> None:
    assert find(robot, ' ') == (2, '', 'focus-depth find: the text is empty\n')


def test_places_are_told_as_a_person_would_point() -> None:
    target = FocusTarget(
        label='red mug',
        confidence=0.834,
        found=True,
        box=RegionOfInterest(x_offset=210, y_offset=140, width=120, height=150),
        centroid=Point(x=-0.12, y=0.05, z=0.84),
        extent=Vector3(x=0.09, y=0.12, z=0.05),
        scale_source=FocusTarget.REFERENCE,
    )
    assert told('camera', target).splitlines() == [
        'red mug: found, confidence 0.83',
        'box: 210 140 330 290 px (left, top, right, bottom)',
        'place: 0.84 m ahead, 0.12 m left, 0.05 m down in camera',
        'seen of it: 0.09 x 0.12 x 0.05 m (across, down, ahead)',
        'metres from: reference_depth',
    ]
    target.centroid.z, target.confidence = float('nan'), 0.4
    lines = told('camera', target).splitlines()
    assert lines[0] == 'red mug: found, confidence 0.40 (unsure: under 0.5)'
    assert lines[2].startswith('no metres: ')
