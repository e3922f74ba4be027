"""The node's contract, over real DDS between two processes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('focus_depth_ros.msg')

from node_harness import HEIGHT, WIDTH, NodeProcess, Robot, picture, robot_of, texture
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, RegionOfInterest
from std_msgs.msg import String

from focus_depth_ros.node.image_codec import image_from_array


@pytest.fixture(scope='module')
def robot(ros: None, tiny_model: Path) -> Iterator[Robot]:
    with robot_of('-p', f'model:={tiny_model}', '-p', 'min_confidence:=0.2') as client:
        yield client


@pytest.fixture(autouse=True)
def fresh(robot: Robot) -> None:
    robot.call('clear_targets')
    for messages in robot.heard.values():
        messages.clear()


def pixels(message, dtype: str, channels: int = 1) -> np.ndarray:
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)[
        ..., 0
    ]


def test_depth_is_metres_under_the_pictures_own_header(robot: Robot) -> None:
    depth = robot.answer()
    assert (depth.encoding, depth.width, depth.height, depth.step) == (
        '32FC1',
        WIDTH,
        HEIGHT,
        4 * WIDTH,
    )
    assert depth.header.frame_id == 'camera_optical'
    metres = pixels(depth, 'f4')
    # the tiny model says inverse depth 1 + y; f = 300 * 0.7 px at its input, canonical 200 px
    expected = 1.0 / ((200.0 / 210.0) * (1.0 + (np.arange(HEIGHT) + 0.5) / HEIGHT))
    assert np.abs(metres[20:-20] - expected[20:-20, None]).max() < 1e-3
    assert robot.beside(depth, 'depth/camera_info').k[0] == 300.0


def test_camera_info_is_the_inputs_whole(robot: Robot) -> None:
    stereo = {
        'd': [0.01, 0.0, 0.0, 0.0, 0.0],
        'r': [0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, 1.0],
        'p': [290.0, 0.0, 150.0, -30.0, 0.0, 290.0, 110.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        'binning_x': 1,
        'roi': RegionOfInterest(width=WIDTH, height=HEIGHT, do_rectify=True),
    }
    for changes in (stereo, stereo | {'binning_x': 0, 'binning_y': 1}):
        robot.send_camera_info(**changes)
        info = robot.beside(robot.answer(), 'depth/camera_info')
        assert (info.distortion_model, info.k[0], info.roi) == ('plumb_bob', 300.0, stereo['roi'])
        assert all(list(getattr(info, name)) == stereo[name] for name in 'drp')
        assert (info.binning_x, info.binning_y) == (
            changes['binning_x'],
            changes.get('binning_y', 0),
        )
    robot.send_camera_info()
    info = robot.beside(robot.answer(), 'depth/camera_info')
    assert list(info.p) == [300.0, 0.0, 160.0, 0.0, 0.0, 300.0, 120.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_every_listened_output_answers_every_picture(robot: Robot) -> None:
    robot.answer()
    robot.send_detections(('mug', 0.9, 100, 80, 220, 200))
    depth = robot.answer()
    for output in (
        'boundary/image',
        'target/mask',
        'target/labels',
        'target/points',
        'targets',
        'target/detections_3d',
        'target/markers',
        'overlay/image',
    ):
        robot.beside(depth, output)
    assert robot.wait_for(lambda: robot.heard['debug/pipeline_latency_ms'], 'latency')
    assert 0 < robot.heard['debug/inference_time_ms'][-1].data < 1000


def test_diagnostics_say_what_is_looked_at_and_by_whom(robot: Robot) -> None:
    robot.answer()
    assert (robot.fact('looking at'), robot.fact('targets by')) == ('nothing', 'detections')
    for words in ('red mug', 'missing'):
        assert robot.call('set_text_target', text=words, append=words == 'missing').success
    robot.answer(output='targets')
    said, commander = robot.fact('looking at'), robot.fact('targets by')
    assert commander == 'command'
    found, absent = said.split(', ')
    assert found.startswith('red_mug 0.') and 'not found' not in found
    assert absent == 'missing 0.00 not found'


def test_a_detection_becomes_mask_points_and_centroid(robot: Robot) -> None:
    robot.answer()
    robot.send_detections(('mug', 0.9, 100, 80, 220, 200))
    depth = robot.answer()
    (target,) = robot.beside(depth, 'targets').targets
    assert target.label == 'mug'
    assert target.score == pytest.approx(0.9)
    assert target.scale_source == 'model'
    assert abs(target.box.x_offset - 100) <= 3 and abs(target.box.width - 120) <= 6
    mask = pixels(robot.beside(depth, 'target/mask'), 'u1') > 0
    assert mask[90:190, 110:210].all() and not mask[:70].any() and not mask[:, :90].any()
    assert (pixels(robot.beside(depth, 'target/labels'), 'u1') == mask).all()
    cloud = robot.beside(depth, 'target/points')
    assert (cloud.height, cloud.width, cloud.is_dense) == (HEIGHT, WIDTH, False)
    points = np.frombuffer(cloud.data, '<f4').reshape(HEIGHT, WIDTH, 4)
    assert np.isnan(points[:70]).all()
    inside = points[90:190, 110:210]
    assert np.isfinite(inside).all()
    assert np.allclose(inside[..., 2], pixels(depth, 'f4')[90:190, 110:210])
    row, column = 140, 160
    assert points[row, column, 0] == pytest.approx(
        (column - WIDTH / 2) / 300 * points[row, column, 2], abs=1e-5
    )
    assert target.centroid.z == pytest.approx(float(np.nanmean(points[..., 2])), rel=0.02)
    (box,) = robot.beside(depth, 'target/detections_3d').detections
    markers = robot.beside(depth, 'target/markers').markers
    assert markers[1].pose == box.bbox.center and markers[2].text.startswith('mug ')
    assert box.results[0].hypothesis.class_id == 'mug'
    assert box.header == depth.header
    assert box.bbox.center.position.z == pytest.approx(target.centroid.z, rel=0.03)


def test_boundaries_are_those_of_the_target(robot: Robot) -> None:
    robot.answer()
    robot.send_detections(('mug', 0.9, 100, 80, 220, 200))
    depth = robot.answer()
    edges = pixels(robot.beside(depth, 'boundary/image'), 'u1')
    assert not edges[90:190, 110:210].any() and not edges[:70].any()
    assert edges[120, 97:104].max() == 11  # 4 p (1 - p) x 255, half a cell from the edge


def test_class_filter_score_threshold_and_several_at_once(robot: Robot) -> None:
    robot.answer()
    robot.send_detections(
        ('mug', 0.9, 20, 20, 120, 120),
        ('mug', 0.1, 40, 40, 90, 90),
        ('bowl', 0.8, 150, 80, 300, 220),
    )
    targets = robot.answer(output='targets')
    assert [target.label for target in targets.targets] == ['mug', 'bowl']


def test_a_box_follows_the_moving_picture(robot: Robot) -> None:
    big = texture(400, 320, seed=3)
    robot.answer(image_from_array(np.ascontiguousarray(big[:HEIGHT, :WIDTH]), 'rgb8'))
    reply = robot.call(
        'set_box_target', box=RegionOfInterest(x_offset=120, y_offset=90, width=80, height=80)
    )
    assert reply.success, reply.message
    for shift in range(3, 31, 3):
        window = np.ascontiguousarray(big[shift : shift + HEIGHT, shift : shift + WIDTH])
        robot.answer(image_from_array(window, 'rgb8'), output='targets')
    box = robot.heard['targets'][-1].targets[0].box
    assert abs(box.x_offset - 90) <= 4 and abs(box.y_offset - 60) <= 4


def test_text_by_service_and_by_topic(robot: Robot) -> None:
    reply = robot.call('set_text_target', text='the red mug, please')
    assert (
        reply.success
        and reply.message == 'looking at: the red mug (not known and left out: please)'
    )
    targets = robot.answer(output='targets')
    assert [target.label for target in targets.targets] == ['the red mug']
    said = [
        robot.call('set_text_target', text='red mug', append=append).id for append in (False, True)
    ]
    ids = [target.id for target in robot.answer(output='targets').targets]
    assert ids == said == ['red_mug', 'red_mug_1']
    robot.call('set_text_target', text='the red mug')
    reply = robot.call('set_text_target', text='missing', append=True)
    targets = robot.answer(output='targets')
    assert [target.label for target in targets.targets] == ['the red mug', 'missing']
    assert targets.targets[1].confidence == 0.0
    assert [target.found for target in targets.targets] == [True, False]
    assert targets.targets[1].box.width == 0
    assert math.isnan(targets.targets[1].centroid.z)
    from std_msgs.msg import String

    robot.texts.publish(String(data='mug'))
    robot.spin(0.2)
    targets = robot.answer(output='targets')
    assert [target.label for target in targets.targets] == ['mug']
    assert robot.call('clear_targets').message.startswith('1 target(s) cleared')
    assert robot.answer(output='targets').targets == []


def test_an_empty_text_clears_whatever_was_named_since_the_last_one(robot: Robot) -> None:
    from std_msgs.msg import String

    for _ in range(2):
        assert robot.call('set_text_target', text='red mug').success
        assert len(robot.answer(output='targets').targets) == 1
        robot.texts.publish(String(data=''))
        robot.spin(0.2)
        assert robot.answer(output='targets').targets == []


def test_a_command_stands_above_detections_until_cleared(robot: Robot) -> None:
    robot.call('set_text_target', text='red mug')
    robot.answer()
    robot.send_detections(('bowl', 0.9, 20, 20, 120, 120))
    assert [t.label for t in robot.answer(output='targets').targets] == ['red mug']
    robot.call('clear_targets')
    robot.send_detections(('bowl', 0.9, 20, 20, 120, 120))
    assert [t.label for t in robot.answer(output='targets').targets] == ['bowl']


def test_reference_depth_gives_the_scale(robot: Robot) -> None:
    # the tiny model says 1/Z ~ 1 + y; the sensor says the same with another scale: Z = 2 / (1 + y)
    metres = 2.0 / (1.0 + (np.arange(HEIGHT, dtype=np.float32) + 0.5) / HEIGHT)
    reference = np.repeat(metres[:, None], WIDTH, axis=1)
    reference[50:80, 50:80] = 0
    for encoding, values in (
        ('32FC1', reference.astype(np.float32)),
        ('16UC1', np.rint(reference * 1000).astype(np.uint16)),
    ):
        message = image_from_array(np.ascontiguousarray(values), encoding)
        message.header.stamp, message.header.frame_id = robot.next_stamp(), 'camera_optical'
        robot.references.publish(message)
        robot.spin(0.15)
        depth = robot.answer()
        assert np.abs(pixels(depth, 'f4')[20:-20] - metres[20:-20, None]).max() < 5e-3, encoding
    robot.stamp_ns += 1_000_000_000


def test_compressed_pictures_need_their_own_parameter(robot: Robot) -> None:
    assert robot.compressed.get_subscription_count() == 0


def test_nobody_listens_then_nothing_is_computed(robot: Robot) -> None:
    robot.answer()
    names = [name for name in list(robot.heard) if not name.startswith('debug')]
    before = int(robot.fact('frames answered'))
    robot.stop_listening(*names)
    robot.spin(0.3)
    for _ in range(5):
        robot.send(picture())
        robot.spin(0.05)
    robot.spin(0.2)
    assert int(robot.fact('frames answered')) == before
    for name in names:
        robot._subscriptions[name] = robot.listen(name)
    robot.spin(0.5)
    robot.answer()


def test_enable_pauses_and_resumes(robot: Robot) -> None:
    answer = robot.call('enable', data=False)
    assert (answer.success, answer.message) == (
        True, 'pictures are not looked at (the node is disabled)'
    )  # fmt: skip
    robot.send(picture())
    robot.spin(0.4)
    assert robot.heard['depth/image'] == []
    assert robot.call('enable', data=True).success
    robot.answer()


def test_the_newest_picture_wins_and_every_drop_is_counted(robot: Robot) -> None:
    counted = ('received', 'answered', 'dropped', 'refused')
    robot.send_camera_info(640, 480)
    robot.answer(picture(640, 480))
    before = {name: int(robot.fact(f'frames {name}')) for name in counted}
    flood = picture(640, 480)
    for _ in range(150):
        robot.send(flood)
        robot.executor.spin_once(timeout_sec=0.0)
    robot.spin(1.0)
    after = {name: int(robot.fact(f'frames {name}')) - before[name] for name in counted}
    assert after['dropped'] > 0
    assert 0 < after['answered'] < after['received']
    assert after['received'] == after['answered'] + after['dropped'] + after['refused']
    assert robot.fact('engine').startswith('onnxruntime')
    robot.send_camera_info()


def test_outputs_are_reliable_and_inputs_take_sensor_data(robot: Robot) -> None:
    (output,) = robot.node.get_publishers_info_by_topic('/focus_depth/depth/image')
    assert output.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    (source,) = robot.node.get_subscriptions_info_by_topic('/image')
    assert source.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


def test_lifecycle_and_parameters(robot: Robot) -> None:
    from lifecycle_msgs.msg import Transition
    from rcl_interfaces.msg import Parameter, ParameterValue
    from rcl_interfaces.srv import SetParameters

    set_parameters = robot.node.create_client(SetParameters, '/focus_depth/set_parameters')

    def refusal(name: str, value: ParameterValue) -> str:
        robot.wait_for(set_parameters.service_is_ready, 'set_parameters')
        request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
        future = set_parameters.call_async(request)
        robot.wait_for(future.done, 'set_parameters')
        (result,) = future.result().results
        return '' if result.successful else result.reason

    text, number = 4, 3
    assert 'allowed' in refusal('scale_source', ParameterValue(type=text, string_value='guess'))
    assert 'configured' in refusal('backend', ParameterValue(type=text, string_value='onnxruntime'))
    assert refusal('max_depth_m', ParameterValue(type=number, double_value=-1.0))
    metres = pixels(robot.answer(), 'f4')
    assert refusal('depth_encoding', ParameterValue(type=text, string_value='16UC1')) == ''
    depth = robot.answer()
    assert depth.encoding == '16UC1'
    assert np.abs(pixels(depth, 'u2') - 1000 * metres).max() <= 1
    assert refusal('depth_encoding', ParameterValue(type=text, string_value='32FC1')) == ''
    assert refusal('scale_source', ParameterValue(type=text, string_value='none')) == ''
    missed = robot.fact('problem scale')
    relative = robot.answer(output='depth/relative')
    assert relative.encoding == '32FC1'
    assert all(m.header != relative.header for m in robot.heard['depth/image'])
    assert robot.fact('scale source') == 'none'
    assert robot.fact('problem scale') == missed, 'what was asked for is no problem'
    assert refusal('scale_source', ParameterValue(type=text, string_value='auto')) == ''

    assert refusal('max_depth_m', ParameterValue(type=number, double_value=math.nan))
    assert refusal('max_depth_m', ParameterValue()), 'a parameter cannot be taken away'
    robot.texts.publish(String(data='red mug'))
    robot.wait_for(lambda: robot.answer(output='targets').targets, 'the target')

    assert not robot.change_state(Transition.TRANSITION_CONFIGURE), 'the node is active'
    assert robot.answer(output='targets').targets, 'the node still is'
    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    reply = robot.call('set_text_target', text='red mug')
    assert reply.success and 'inactive' in reply.message
    assert robot.change_state(Transition.TRANSITION_CLEANUP)
    reply = robot.call('set_text_target', text='red mug')
    assert not reply.success and 'unconfigured' in reply.message
    assert not robot.call('clear_targets').success
    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    robot.connect()
    robot.send_camera_info()
    robot.answer()
    assert robot.answer(output='targets').targets == []
    robot.texts.publish(String(data='red mug'))
    robot.wait_for(lambda: robot.answer(output='targets').targets, 'the same words, said anew')
    robot.call('clear_targets')


def test_jpeg_pictures_and_two_cameras_under_namespaces(ros: None, tiny_model: Path) -> None:
    nodes = [
        NodeProcess(
            '-p',
            f'model:={tiny_model}',
            '-p',
            'image_transport:=compressed',
            '-r',
            f'__ns:=/{side}',
        )
        for side in ('left', 'right')
    ]
    robots = [Robot(f'/{side}/focus_depth', f'/{side}') for side in ('left', 'right')]
    try:
        for node, client, focal in zip(nodes, robots, (300.0, 600.0), strict=True):
            node.wait_for_output('active; pictures')
            client.connect(client.compressed)
            k = [focal, 0.0, WIDTH / 2, 0.0, focal, HEIGHT / 2, 0.0, 0.0, 1.0]
            client.send_camera_info(k=k)
            client._jpeg = cv2.imencode('.jpg', texture())[1].tobytes()
        depths = []
        for client in robots:
            message = CompressedImage(format='jpeg', data=client._jpeg)
            depths.append(pixels(client.answer(message, publisher=client.compressed), 'f4').mean())
        assert depths[1] / depths[0] == pytest.approx(2.0, rel=0.01)
    finally:
        for client in robots:
            client.close()
        assert [node.stop()[0] for node in nodes] == [0, 0]
