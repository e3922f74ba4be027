"""Bad input: the node says what was wrong, once per kind, and answers the next good frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('focus_depth_ros.msg')

from builtin_interfaces.msg import Time
from node_harness import HEIGHT, WIDTH, NodeProcess, Robot, picture, texture
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header, String

from focus_depth_ros.node.image_codec import image_from_array


@pytest.fixture(scope='module')
def node(ros: None, tiny_model: Path) -> Iterator[NodeProcess]:
    process = NodeProcess('-p', f'model:={tiny_model}')
    yield process
    status, _ = process.stop()
    assert status == 0, process.output
    assert 'Traceback' not in process.output


@pytest.fixture(scope='module')
def robot(node: NodeProcess) -> Iterator[Robot]:
    client = Robot()
    node.wait_for_output('active; pictures')
    client.connect()
    yield client
    client.close()


@pytest.fixture(autouse=True)
def good_again(robot: Robot) -> Iterator[None]:
    robot.send_camera_info()
    yield
    robot.send_camera_info()
    depth = robot.answer()
    assert depth.encoding == '32FC1'
    robot.call('clear_targets')


def broken(**changes: object) -> Image:
    message = picture()
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def millimetres_as_metres() -> dict[str, object]:
    """What makes a reference of a picture, in a wrong unit."""
    depth = image_from_array(np.full((HEIGHT, WIDTH), 900.0, np.float32), '32FC1')
    return {'encoding': depth.encoding, 'step': depth.step, 'data': depth.data}


IMAGES = {
    'unknown encoding': (lambda: broken(encoding='rgb9'), 'encoding'),
    'lying encoding': (lambda: broken(encoding='rgba8'), 'step'),
    'a float picture': (lambda: broken(encoding='32FC1'), 'encoding'),
    'an encoding of a megabyte': (lambda: broken(encoding='x' * 1_000_000), 'encoding'),
    'data too short': (lambda: broken(data=picture().data[:-1]), 'data_size'),
    'data too long': (lambda: broken(data=picture().data + picture().data[:7]), 'data_size'),
    'no data': (lambda: broken(data=[]), 'data_size'),
    'step too short': (lambda: broken(step=3 * WIDTH - 1), 'step'),
    'zero width': (lambda: broken(width=0), 'image_size'),
    'zero height': (lambda: broken(height=0), 'image_size'),
    '20000 px': (lambda: broken(width=20_000, height=20_000, step=60_000), 'image_size'),
    '4 px': (lambda: broken(width=4, height=4, step=12, data=picture().data[:48]), 'image_size'),
    'nothing in view': (lambda: broken(data=[77] * (3 * WIDTH * HEIGHT)), 'blank_picture'),
    'odd width of paired pixels': (
        lambda: broken(
            encoding='yuv422',
            width=WIDTH - 1,
            step=2 * WIDTH,
            data=picture().data[: 2 * WIDTH * HEIGHT],
        ),
        'image_size',
    ),
}


@pytest.mark.parametrize('what', IMAGES)
def test_bad_pictures_are_refused_with_a_reason(robot: Robot, what: str) -> None:
    make, kind = IMAGES[what]
    known = _count(robot, kind)
    for _ in range(3):
        robot.send(make())
        robot.spin(0.1)
        if _count_now(robot, kind) > known:
            break
    robot.problem(kind, known + 1)


def _count(robot: Robot, kind: str) -> int:
    return int(robot.fact(f'problem {kind}') or 0)


def _count_now(robot: Robot, kind: str) -> int:
    values = (
        {v.key: v.value for v in robot.diagnostics.status[0].values} if robot.diagnostics else {}
    )
    return int(values.get(f'problem {kind}', 0))


def test_a_fault_thirty_times_a_second_is_said_once(robot: Robot, node: NodeProcess) -> None:
    known, said = _count(robot, 'reference_encoding'), node.output.count('[reference_encoding')
    assert (known, said) == (0, 0)
    message = broken(encoding='rgb8')
    for _ in range(30):
        message.header.stamp, message.header.frame_id = robot.next_stamp(), 'camera_optical'
        robot.references.publish(message)
        robot.spin(0.02)
        robot.send(picture())
    robot.problem('reference_encoding', 5)
    assert node.output.count('[reference_encoding') == 1


def test_pictures_without_a_frame_are_answered_and_said(robot: Robot) -> None:
    message = picture()
    message.header.stamp = robot.next_stamp()
    robot.images.publish(message)
    robot.wait_for(lambda: any(not m.header.frame_id for m in robot.heard['depth/image']), 'depth')
    robot.problem('frame_id')


def test_pictures_may_change_their_size(robot: Robot) -> None:
    robot.answer()
    robot.call(
        'set_box_target', box=RegionOfInterest(x_offset=20, y_offset=20, width=80, height=80)
    )
    robot.send_camera_info(640, 480)
    depth = robot.answer(picture(640, 480))
    assert (depth.width, depth.height) == (640, 480)
    robot.problem('image_size_change')
    robot.send_camera_info()


def test_camera_info_of_another_size_withholds_metres(robot: Robot) -> None:
    robot.send_camera_info(640, 480)
    relative = robot.answer(output='depth/relative')
    assert relative.width == WIDTH
    assert all(m.header != relative.header for m in robot.heard['depth/image'])
    robot.problem('camera_info_size')
    robot.problem('scale')


@pytest.mark.parametrize(
    ('changes', 'kind'),
    [
        ({'k': [0.0] * 9}, 'camera_info'),
        ({'k': [math.nan] * 9}, 'camera_info'),
        ({'d': [0.1] * 3}, 'camera_info'),
    ],
)
def test_useless_camera_info_withholds_metres(robot: Robot, changes: dict, kind: str) -> None:
    robot.send_camera_info(**changes)
    robot.answer(output='depth/relative')
    robot.problem(kind)
    robot.problem('camera_info_missing')


def test_camera_info_of_another_frame_is_said(robot: Robot) -> None:
    """As where the depth camera's, of the same size, was remapped: metres would be its own."""
    k = [190.0, 0.0, WIDTH / 2, 0.0, 190.0, HEIGHT / 2, 0.0, 0.0, 1.0]
    robot.send_camera_info(k=k, header=Header(frame_id='camera_depth'))
    robot.answer()
    robot.problem('camera_info_frame')
    robot.send_camera_info(k=k, header=Header(frame_id='camera_optical'))
    known = _count(robot, 'camera_info_frame')
    robot.answer()
    assert _count(robot, 'camera_info_frame') == known
    robot.send_camera_info()


def test_distortion_is_said_and_points_are_undistorted(robot: Robot) -> None:
    robot.answer()
    robot.call('set_text_target', text='mug')
    straight = robot.beside(robot.answer(), 'target/points')
    robot.send_camera_info(d=[-0.3, 0.1, 0.0, 0.0, 0.0])
    bent = robot.beside(robot.answer(), 'target/points')
    robot.problem('distortion')
    corner = slice(70, 71)
    x = [
        np.frombuffer(m.data, '<f4').reshape(HEIGHT, WIDTH, 4)[corner, 100, 0]
        for m in (straight, bent)
    ]
    assert np.isfinite(x).all() and abs(x[1] / x[0]).max() > 1.01


DETECTIONS = {
    'NaN': (('mug', 0.9, math.nan, 10, 50, 50), 'box'),
    'infinity': (('mug', 0.9, 10, 10, math.inf, 50), 'box'),
    'zero area': (('mug', 0.9, 50, 50, 50, 50), 'box'),
    'negative size': (('mug', 0.9, 80, 80, 20, 20), 'box'),
    'outside': (('mug', 0.9, 1000, 1000, 1100, 1100), 'box'),
    'a score beyond float32': (('mug', 1e39, 50, 50, 150, 150), 'score'),
}


@pytest.mark.parametrize('what', DETECTIONS)
def test_bad_detections_are_left_out_and_good_ones_count(robot: Robot, what: str) -> None:
    box, kind = DETECTIONS[what]
    robot.answer()
    known = _count(robot, kind)
    robot.send_detections(box, ('bowl', 0.8, 100, 80, 220, 200))
    targets = robot.answer(output='targets')
    assert [target.label for target in targets.targets] == ['bowl']
    robot.problem(kind, known + 1)


def test_ten_thousand_boxes(robot: Robot) -> None:
    robot.answer()
    robot.send_detections(*[('mug', 0.5 + i * 1e-6, 50, 50, 150, 150) for i in range(10_000)])
    assert len(robot.answer(output='targets').targets) == 4
    robot.problem('detections_count')


def test_a_box_half_outside_is_clipped(robot: Robot) -> None:
    robot.answer()
    robot.send_detections(('mug', 0.9, -100, -100, 150, 150))
    (target,) = robot.answer(output='targets').targets
    assert (target.box.x_offset, target.box.y_offset) == (0, 0)


@pytest.mark.parametrize('seconds', [3600, -3600])
def test_detections_of_another_time_are_refused(robot: Robot, seconds: int) -> None:
    robot.answer()
    known = _count(robot, 'detections_stamp')
    stamp_ns = robot.stamp_ns + seconds * 10**9
    robot.send_detections(
        ('mug', 0.9, 50, 50, 150, 150), stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    )
    assert robot.answer(output='targets').targets == []
    robot.problem('detections_stamp', known + 1)


def test_detections_of_a_dropped_picture_take_the_nearest(robot: Robot) -> None:
    robot.answer()
    stamp_ns = robot.stamp_ns - 10_000_000
    robot.send_detections(
        ('mug', 0.9, 50, 50, 150, 150), stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    )
    assert len(robot.answer(output='targets').targets) == 1


def test_the_clock_jumps_back(robot: Robot) -> None:
    robot.answer()
    robot.call('set_text_target', text='mug')
    robot.stamp_ns -= 500 * 10**9
    targets = robot.answer(output='targets')
    assert [target.label for target in targets.targets] == ['mug']
    robot.problem('clock')
    robot.send_detections(('bowl', 0.9, 50, 50, 150, 150))
    robot.call('clear_targets')
    robot.answer()
    robot.send_detections(('bowl', 0.9, 50, 50, 150, 150))
    assert len(robot.answer(output='targets').targets) == 1


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('x' * 1_000_000, '1000000 characters'),
        ('quux frobnicate', 'this model knows: missing, mug, red'),
        ('the', 'no known word'),
        ('!?,', 'no word'),
    ],
)
def test_bad_texts_are_refused_with_a_reason(robot: Robot, text: str, words: str) -> None:
    robot.call('set_text_target', text='red mug')
    reply = robot.call('set_text_target', text=text)
    assert not reply.success and words in reply.message
    assert len(reply.message) < 1000
    robot.texts.publish(String(data=text))
    robot.problem('text')
    targets = robot.answer(output='targets')
    assert [target.label for target in targets.targets] == ['red mug']


def test_an_empty_text_clears(robot: Robot) -> None:
    robot.call('set_text_target', text='red mug')
    reply = robot.call('set_text_target', text='  ')
    assert reply.success and '1 target(s) cleared' in reply.message
    assert robot.answer(output='targets').targets == []


def test_an_empty_text_clears_what_a_service_set(robot: Robot) -> None:
    robot.call('set_text_target', text='red mug')
    assert robot.answer(output='targets').targets
    robot.texts.publish(String(data=''))
    robot.wait_for(lambda: not robot.answer(output='targets').targets, 'no target')


def test_bad_boxes_by_service_are_refused(robot: Robot) -> None:
    robot.answer()
    for box, words in (
        (RegionOfInterest(), 'no area'),
        (RegionOfInterest(x_offset=5000, y_offset=0, width=10, height=10), 'outside'),
    ):
        reply = robot.call('set_box_target', box=box)
        assert not reply.success and words in reply.message
    reply = robot.call(
        'set_box_target',
        box=RegionOfInterest(x_offset=5, y_offset=5, width=50, height=50),
        stamp=Time(sec=1),
    )
    assert not reply.success and 'no kept picture' in reply.message


def test_too_many_targets_by_service(robot: Robot) -> None:
    for _ in range(4):
        assert robot.call('set_text_target', text='mug', append=True).success
    reply = robot.call('set_text_target', text='mug', append=True)
    assert not reply.success and 'maximum' in reply.message


@pytest.mark.parametrize(
    ('changes', 'frame_id', 'kind'),
    [
        ({'encoding': 'rgb8'}, 'camera_optical', 'reference_encoding'),
        ({'width': WIDTH // 2}, 'camera_optical', 'reference_size'),
        ({}, 'depth_optical', 'reference_frame'),
        (millimetres_as_metres(), 'camera_optical', 'reference_unit'),
    ],
)
def test_unusable_reference_depth_is_said(
    robot: Robot, changes: dict, frame_id: str, kind: str
) -> None:
    known = _count(robot, kind)
    message = broken(**changes)
    message.header.stamp, message.header.frame_id = robot.next_stamp(), frame_id
    robot.references.publish(message)
    robot.spin(0.2)
    robot.answer()
    robot.problem(kind, known + 1)
    robot.stamp_ns += 10**9


def test_detections_with_scores_that_are_no_numbers(robot: Robot) -> None:
    robot.answer()
    known = _count(robot, 'score')
    robot.send_detections(
        ('mug', math.nan, 20, 20, 90, 90), ('x' * 1_000_000, 0.8, 100, 80, 220, 200)
    )
    (target,) = robot.answer(output='targets').targets
    assert target.label == 'x' * 100
    robot.problem('score', known + 1)


def test_compressed_pictures(ros: None, tiny_model: Path) -> None:
    node = NodeProcess(
        '-p', f'model:={tiny_model}', '-p', 'image_transport:=compressed', '-r', '__ns:=/jpeg'
    )
    robot = Robot('/jpeg/focus_depth', '/jpeg')
    try:
        node.wait_for_output('active; pictures from /jpeg/image/compressed\n')
        robot.connect(robot.compressed)
        reply = robot.call(
            'set_box_target', box=RegionOfInterest(x_offset=5, y_offset=5, width=50, height=50)
        )
        assert reply.success, 'a box before the first picture waits for it'
        jpeg = cv2.imencode('.jpg', texture())[1].tobytes()
        huge = (
            b'\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR'
            + (20_000).to_bytes(4, 'big') * 2
            + b'\x08\x02\x00\x00\x00'
        )
        good = CompressedImage(format='jpeg', data=jpeg)
        robot.answer(good, 'depth/relative', robot.compressed)
        robot.problem('camera_info_missing')
        assert robot.heard['depth/image'] == []
        robot.send_camera_info()
        for data, kind in (
            (jpeg[: len(jpeg) // 2], 'compressed'),
            (b'', 'compressed'),
            (b'not a picture', 'compressed'),
            (huge, 'image_size'),
        ):
            known = _count(robot, kind)
            robot.send(CompressedImage(format='jpeg', data=data), robot.compressed)
            robot.spin(0.1)
            robot.send(CompressedImage(format='jpeg', data=data), robot.compressed)
            robot.problem(kind, known + 1)
            robot.answer(good, publisher=robot.compressed)
        assert len(robot.answer(good, 'targets', robot.compressed).targets) == 1
    finally:
        robot.close()
        assert node.stop()[0] == 0
