"""Parts of the ROS edge that need no second process: calibration, stamps, bags, scoring."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('focus_depth_ros.msg')

import rclpy
from builtin_interfaces.msg import Time
from node_harness import NodeProcess
from pictures import CAMERA
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import (
    CameraInfo,
    CompressedImage,
    Image,
    PointField,
    Range,
    RegionOfInterest,
)
from std_msgs.msg import Header, String
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)
from visualization_msgs.msg import Marker

from focus_depth_ros.cli import main as command_line
from focus_depth_ros.core import Frame, InvalidInput, Target
from focus_depth_ros.evaluation.demo import faults
from focus_depth_ros.evaluation.recording import Answers, Recording, TrueObject, Truth
from focus_depth_ros.evaluation.recording_score import score
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.node import bag_player, transport
from focus_depth_ros.node import camera as camera_module
from focus_depth_ros.node import recorder as recorder_module
from focus_depth_ros.node.bag_pictures import pictures_of
from focus_depth_ros.node.bag_player import (
    BagPlayer,
    begins_with_header,
    is_played,
    quality_of,
    stamp_ns,
    stamped,
)
from focus_depth_ros.node.bag_reader import BUNDLED_RECORDING, messages_of, open_bag
from focus_depth_ros.node.bag_types import message_class, typestore_for
from focus_depth_ros.node.camera import (
    SILENCE_S,
    CameraInput,
    _same_calibration,
    camera_from_info,
)
from focus_depth_ros.node.clouds import OrganisedCloud, blank_cloud, dense_cloud_message
from focus_depth_ros.node.complaints import Complaints
from focus_depth_ros.node.detections import detections_3d, targets_from_detections
from focus_depth_ros.node.focus_depth import FocusDepthNode
from focus_depth_ros.node.image_codec import image_from_array
from focus_depth_ros.node.markers import target_markers
from focus_depth_ros.node.outputs import (
    Outputs,
    _camera_info_message,
    _relative_message,
    region_of,
    target_message,
)
from focus_depth_ros.node.parameters import (
    SPECIFICATIONS,
    Parameters,
    declare_parameters,
    read_parameters,
)
from focus_depth_ros.node.recorder import FREE_BYTES, Recorder, common_quality
from focus_depth_ros.node.reference_depth import KEPT, ReferenceDepth, _check_reference
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline
from focus_depth_ros.pipeline.overlay import TARGET_COLOURS, caption
from focus_depth_ros.pipeline.settings import Settings

DEFAULTS = Parameters(**{name: entry.default for name, entry in SPECIFICATIONS.items()})


@pytest.mark.parametrize(
    ('topic', 'played'),
    [
        ('/camera/image_raw', True),
        ('/tf_static', True),
        ('/truth/depth', False),
        ('/focus_depth/depth/image', False),
        ('/left/focus_depth/targets', False),
        ('/diagnostics', False),
        ('/diagnostics_agg', False),
        ('/rosout', False),
        ('/clock', False),
        ('/parameter_events', False),
    ],
)
def test_a_recordings_own_answers_are_not_played(topic: str, played: bool) -> None:
    assert is_played(topic) == played


def test_a_topic_is_recorded_as_well_as_all_its_publishers_offer_it() -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    camera = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    kept = common_quality([latched, latched])
    assert (kept.reliability, kept.durability) == (latched.reliability, latched.durability)
    assert common_quality([latched, QoSProfile(depth=1)]).durability == DurabilityPolicy.VOLATILE
    assert common_quality([QoSProfile(depth=1), camera]).reliability == camera.reliability


def test_calibration_of_raw_and_of_rectified_pictures() -> None:
    info = CameraInfo(
        width=640, height=480, distortion_model='plumb_bob', d=[0.1, 0.0, 0.0, 0.0, 0.0]
    )
    info.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    info.p = [400.0, 0.0, 300.0, 0.0, 0.0, 410.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    raw = camera_from_info(info, is_rectified=False)
    assert (raw.fx, raw.fy, raw.cx, raw.cy, raw.is_distorted) == (500, 510, 320, 240, True)
    rectified = camera_from_info(info, is_rectified=True)
    assert (rectified.fx, rectified.fy, rectified.cx, rectified.cy) == (400, 410, 300, 200)
    assert not rectified.is_distorted
    info.binning_x, info.binning_y = 2, 2
    info.roi = RegionOfInterest(x_offset=100, y_offset=40, width=400, height=300)
    part = camera_from_info(info, is_rectified=False)
    assert (part.width, part.height) == (200, 150)
    assert (part.fx, part.fy, part.cx, part.cy) == (250, 255, 110, 100)
    assert part.distortion == raw.distortion  # of directions, not of pixels
    flat = camera_from_info(info, is_rectified=True)
    assert (flat.width, flat.height, flat.fx, flat.cx, flat.cy) == (200, 150, 200, 100, 80)


def test_each_axis_is_binned_by_itself() -> None:
    info = CameraInfo(width=640, height=480, binning_x=2, binning_y=4)
    info.k = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
    camera = camera_from_info(info, is_rectified=False)
    assert (camera.width, camera.height, camera.fx, camera.fy) == (320, 120, 250, 125)
    assert (camera.cx, camera.cy) == (160, 60)


@pytest.mark.parametrize(('is_rectified', 'fx'), [(True, 400), (False, 500)])
def test_rectified_pictures_take_the_projection(ros: None, is_rectified: bool, fx: float) -> None:
    info = CameraInfo(
        width=640, height=480, distortion_model='plumb_bob', d=[0.1, 0.0, 0.0, 0.0, 0.0]
    )
    info.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    info.p = [400.0, 0.0, 300.0, 0.0, 0.0, 410.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    node = LifecycleNode('bare_camera')
    camera = CameraInput(node, pytest.fail, compressed=False, is_rectified=is_rectified)
    camera._on_camera_info(info)
    assert camera._calibration is not None and camera._calibration.camera.fx == fx
    camera.close()
    node.destroy_node()


def reference(metres: float, stamp_ns: int = 0) -> Image:
    message = image_from_array(np.full((48, 64), metres, '<f4'), '32FC1')
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    message.header.stamp = Time(sec=seconds, nanosec=nanoseconds)
    return message


def test_the_newest_reference_of_equal_stamps_counts() -> None:
    references = ReferenceDepth(pytest.fail)
    for metres in range(30):
        references.put(reference(metres))
    assert len(references._images) == KEPT
    found = references.of(Frame(np.zeros((48, 64, 3), np.uint8)))
    assert found is not None and (found == 29).all()


@pytest.mark.parametrize('rate_hz', [30, 60, 90])
@pytest.mark.parametrize('network_s', [0.05, 0.3, 2.0])
def test_the_reference_of_the_picture_at_hand_waits_for_the_network(
    ros: None, rate_hz: int, network_s: float
) -> None:
    node = LifecycleNode('bare_camera')
    camera = CameraInput(node, lambda problem: None, compressed=False, is_rectified=False)
    references, period_ns = camera.reference, 10**9 // rate_hz
    for number in range(20):
        references.put(reference(number, number * period_ns))
    picture = image_from_array(np.zeros((48, 64, 3), np.uint8), 'rgb8')
    picture.header.stamp = reference(0, 20 * period_ns).header.stamp
    camera.decode(picture)  # its own comes after it
    for number in range(20, 20 + int(network_s * rate_hz)):
        references.put(reference(number, number * period_ns))
    assert len(references._images) <= KEPT + 1
    found = references.of(Frame(np.zeros((48, 64, 3), np.uint8), stamp_ns=20 * period_ns))
    assert found is not None and (found == 20).all()
    camera.close()
    node.destroy_node()


def heard_by(node: Node, topic: str, message: Any, until: Callable[[], Any]) -> None:
    """Publish a message until it has come to something of a node."""
    talker = rclpy.create_node('talker')
    publisher = talker.create_publisher(type(message), topic, 5)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    deadline = time.monotonic() + 10
    while not until():
        assert time.monotonic() < deadline, f'nothing came of {topic}'
        if publisher.get_subscription_count():
            publisher.publish(message)
        executor.spin_once(timeout_sec=0.1)
    talker.destroy_node()


def test_pictures_that_are_lost_beside_their_camera_info_are_told_of(ros: None) -> None:
    said: list[InvalidInput] = []
    node = LifecycleNode('bare_camera')
    camera = CameraInput(node, said.append, compressed=False, is_rectified=False)
    camera.complain_of_silence()
    assert not said, 'it has only begun'
    camera._on_image(b'')
    camera.counts.newest_s -= SILENCE_S
    camera.complain_of_silence()
    for _ in range(12):
        camera._on_camera_info(CameraInfo())
    camera.complain_of_silence()
    camera.close()
    node.destroy_node()
    silences = [str(problem) for problem in said if problem.kind == 'no_picture']
    assert 'has no publisher' in silences[0] and 'transport profile' in silences[1]


@pytest.mark.parametrize('serialised', [True, False])
def test_pictures_come_as_bytes_or_as_messages(
    ros: None, monkeypatch: pytest.MonkeyPatch, serialised: bool
) -> None:
    monkeypatch.setattr(camera_module, 'arrives_serialised', lambda: serialised)
    node = LifecycleNode('bare_camera')
    camera = CameraInput(node, lambda problem: None, compressed=False, is_rectified=False)
    rgb = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    message = image_from_array(rgb, 'rgb8')
    message.header.stamp = Time(sec=3, nanosec=5)
    heard_by(node, 'image', message, lambda: camera.counts.received)
    taken = camera.pictures.take()
    assert isinstance(taken, bytes if serialised else Image)
    frame, _ = camera.decode(taken)
    assert np.array_equal(frame.rgb, rgb) and frame.stamp_ns == 3 * 10**9 + 5
    camera.close()
    node.destroy_node()


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('width', 320),
        ('height', 240),
        ('distortion_model', 'equidistant'),
        ('d', [0.1]),
        ('k', [1.0] * 9),
        ('r', [1.0] * 9),
        ('p', [1.0] * 12),
        ('binning_x', 2),
        ('binning_y', 2),
        ('roi', RegionOfInterest(x_offset=8)),
    ],
)
def test_every_field_makes_another_calibration_but_the_header(field: str, value: Any) -> None:
    one, other = CameraInfo(width=640, height=480), CameraInfo(width=640, height=480)
    other.header.stamp = Time(sec=1)
    assert _same_calibration(one, other)
    setattr(other, field, value)
    assert not _same_calibration(one, other)


def test_a_reference_of_another_moment_is_refused() -> None:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), stamp_ns=10**9, frame_id='camera')
    message = Image(width=64, height=48)
    message.header.frame_id = 'camera'
    message.header.stamp = Time(sec=1, nanosec=90_000_000)
    _check_reference(message, frame)
    message.header.stamp = Time(sec=1, nanosec=110_000_000)
    with pytest.raises(InvalidInput, match=r'0\.11 s from the picture'):
        _check_reference(message, frame)


@pytest.mark.parametrize(
    ('theta', 'box'),
    [
        (0.0, (80, 90, 120, 110)),
        (math.pi / 2, (90, 80, 110, 120)),
        (-math.pi / 4, (78.787, 78.787, 121.213, 121.213)),
    ],
)
def test_a_turned_detection_becomes_the_upright_box_round_it(theta: float, box: tuple) -> None:
    turned = Detection2D(bbox=BoundingBox2D(size_x=40.0, size_y=20.0))
    turned.bbox.center.position.x = turned.bbox.center.position.y = 100.0
    turned.bbox.center.theta = theta
    message = Detection2DArray(detections=[turned])
    (target,) = targets_from_detections(message, DEFAULTS, pytest.fail)
    assert target.box == pytest.approx(box, abs=0.01)


def detection(*scored: tuple[str, float]) -> Detection2D:
    results = [
        ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id=name, score=score))
        for name, score in scored
    ]
    found = Detection2D(results=results, bbox=BoundingBox2D(size_x=40.0, size_y=40.0))
    found.bbox.center.position.x = found.bbox.center.position.y = 100.0
    return found


def labels(parameters: Parameters, *detections: Detection2D) -> list[str]:
    message = Detection2DArray(detections=list(detections))
    return [target.label for target in targets_from_detections(message, parameters, pytest.fail)]


def test_the_surest_detections_come_first() -> None:
    several = [detection(('a', 0.4)), detection(), detection(('b', 0.9)), detection(('c', 0.6))]
    assert labels(DEFAULTS, *several) == ['b', 'c', 'a', '']


def test_the_likeliest_class_is_the_label() -> None:
    assert labels(DEFAULTS, detection(('bowl', 0.35), ('mug', 0.6), ('can', 0.1))) == ['mug']
    every_class = [(f'class {number}', 0.4 + 0.005 * number) for number in range(80)]
    assert labels(DEFAULTS, detection(*every_class)) == ['class 79']


def test_only_wanted_classes_are_targets() -> None:
    wanted = replace(DEFAULTS, classes=('mug', 'can'))
    assert labels(wanted, detection(('bowl', 0.9)), detection(('mug', 0.8))) == ['mug']


def test_an_empty_list_of_classes_takes_all(ros: None) -> None:
    node = rclpy.create_node('bare', parameter_overrides=[Parameter('classes')])
    declare_parameters(node)
    assert read_parameters(node).wants_class('mug')
    node.destroy_node()


def test_every_setting_of_the_pipeline_is_a_parameter() -> None:
    defaults = {name: entry.default for name, entry in SPECIFICATIONS.items()}
    wanted = Settings('none', 0.7, 3.0, fovea=True, mirror=True)
    assert Parameters(**defaults).settings == Settings()
    assert Parameters(**{**defaults, **vars(wanted)}).settings == wanted


def test_a_complaint_is_said_once_a_kind_and_counted() -> None:
    said: list[str] = []
    complaints = Complaints(said.append)
    for _ in range(30):
        complaints(InvalidInput('step', 'too short'))
    complaints(InvalidInput('encoding', 'rgb9'))
    assert len(said) == 2
    assert complaints.counts() == {'step': 30, 'encoding': 1}
    assert complaints.active() == {'step': 'too short', 'encoding': 'rgb9'}


def test_a_fault_that_lasts_is_said_again_after_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, said = [100.0], []
    monkeypatch.setattr('time.monotonic', lambda: now_s[0])
    complaints = Complaints(said.append)
    for seconds, times in ((100.0, 1), (129.0, 1), (131.0, 2), (132.0, 2)):
        now_s[0] = seconds
        complaints(InvalidInput('step', 'too short'))
        assert len(said) == times


def test_a_fault_that_is_over_is_counted_and_no_longer_active(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [100.0]
    monkeypatch.setattr('time.monotonic', lambda: now_s[0])
    complaints = Complaints(lambda text: None)
    complaints(InvalidInput('step', 'too short'))
    now_s[0] = 102.0
    assert complaints.active() == {'step': 'too short'}
    now_s[0] = 104.0
    assert complaints.active() == {}
    assert complaints.counts() == {'step': 1}


def test_a_complaint_quotes_no_megabytes() -> None:
    said: list[str] = []
    complaints = Complaints(said.append)
    complaints(InvalidInput('reference_frame', 'x' * 1_000_000))
    assert len(said[0]) < 1100 and len(complaints.active()['reference_frame']) < 1100


def test_stamps_move_inside_the_bytes_of_a_message() -> None:
    info = CameraInfo(width=7, distortion_model='plumb_bob')
    info.header.stamp, info.header.frame_id = Time(sec=5, nanosec=900_000_000), 'camera'
    data = serialize_message(info)
    assert stamp_ns(data) == 5_900_000_000
    moved = deserialize_message(stamped(data, 6_200_000_000), CameraInfo)
    assert moved.header.stamp == Time(sec=6, nanosec=200_000_000)
    moved.header.stamp = info.header.stamp
    assert moved == info
    assert begins_with_header(Image)
    assert not begins_with_header(String)


@pytest.mark.parametrize(('rate', 'fault'), [(2, ''), (0.5, ''), (0, 'is 0'), ('fast', 'is fast')])
def test_rates_of_the_player(
    ros: None, monkeypatch: pytest.MonkeyPatch, rate: Any, fault: str
) -> None:
    given = partialmethod(Node.__init__, parameter_overrides=[Parameter('rate', value=rate)])
    monkeypatch.setattr(Node, '__init__', given)
    if fault:
        with pytest.raises(ValueError, match=f'rate {fault}; it must be a number above 0'):
            BagPlayer()
        return
    player = BagPlayer()
    assert player._rate == rate
    player.close()
    player.destroy_node()


@pytest.mark.parametrize(('node', 'name'), [(BagPlayer, 'bga'), (Recorder, 'outptu')])
def test_a_misspelt_parameter_is_refused(
    ros: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, node: Any, name: str
) -> None:
    """A player whose `bag` is misspelt would play the bundled recording."""
    given = [Parameter(name, value='x'), Parameter('output', value=str(tmp_path / 'out'))]
    given = given[: 1 + (node is Recorder)]
    monkeypatch.setattr(Node, '__init__', partialmethod(Node.__init__, parameter_overrides=given))
    with pytest.raises(ValueError, match=f'no such parameter: {name}'):
        node()


def test_a_topic_that_cannot_be_published_costs_only_itself(
    ros: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bag, store = tmp_path / 'bag', get_typestore(Stores.ROS2_HUMBLE)
    text = store.types['std_msgs/msg/String']
    number = store.types['std_msgs/msg/Int32']
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, message in (('/0/x', text('a')), ('/y', text('b')), ('/y', number(3))):
            kind = message.__msgtype__
            connection = writer.add_connection(topic, kind, typestore=store)
            writer.write(connection, 1, store.serialize_cdr(message, kind))
    given = partialmethod(Node.__init__, parameter_overrides=[Parameter('bag', value=str(bag))])
    monkeypatch.setattr(Node, '__init__', given)
    player = BagPlayer()
    player._play_once()
    assert list(player._channels) == [('/y', 'std_msgs/msg/String')]
    assert player._sent == {'/y': 1}
    player._sent.clear()
    monkeypatch.setattr(bag_player, 'messages_of', lambda *_: iter(()))
    with pytest.raises(ValueError, match=r'metadata\.yaml does not fit'):
        player._play_once()
    player.close()
    player.destroy_node()


def test_where_a_recording_is_damaged_is_said() -> None:
    class Damaged:
        paths = ('some.bag',)

        def messages(self, wanted: list[Any]) -> Iterator[Any]:
            yield 'first'
            raise OverflowError('Python int too large')

    messages = messages_of(Damaged(), [])  # type: ignore[arg-type]
    assert next(messages) == 'first'
    with pytest.raises(ValueError, match=r'some\.bag is damaged after 1 messages: OverflowError'):
        next(messages)


def test_bags_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='no recording'):
        open_bag(tmp_path / 'nothing')
    (tmp_path / 'bag').mkdir()
    (tmp_path / 'bag' / 'metadata.yaml').write_text('rosbag2_bagfile_information: {}')
    with pytest.raises(ValueError, match='not a readable'):
        open_bag(tmp_path / 'bag')
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    with pytest.raises(ValueError, match=r'give the \.mcap or \.db3 file itself'):
        open_bag(tmp_path / 'bag')


def test_a_recording_of_ros_1_is_named(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    with Ros1Writer(tmp_path / 'old.bag') as writer:
        words = writer.add_connection('/words', 'std_msgs/msg/String', typestore=store)
        string = store.types['std_msgs/msg/String']
        writer.write(words, 1, store.serialize_ros1(string('mug'), 'std_msgs/msg/String'))
    with pytest.raises(ValueError, match='rosbags-convert'):
        open_bag(tmp_path / 'old.bag')


def test_a_recording_by_humble_defines_no_messages_and_is_read_all_the_same(
    tmp_path: Path,
) -> None:
    bag, store = tmp_path / 'bag', get_typestore(Stores.ROS2_HUMBLE)
    with Writer(bag, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        words = writer.add_connection('/words', 'std_msgs/msg/String', typestore=store)
        string = store.types['std_msgs/msg/String']
        writer.write(words, 1, store.serialize_cdr(string('mug'), 'std_msgs/msg/String'))
    with closing(sqlite3.connect(next(bag.glob('*.db3')))) as database:
        database.executescript('DROP TABLE message_definitions; UPDATE schema SET schema_version=3')
    with closing(open_bag(bag)) as reader:
        ((connection, _, data),) = reader.messages()
        assert reader.deserialize(data, connection.msgtype).data == 'mug'


def test_what_latched_in_a_recording_still_does(tmp_path: Path) -> None:
    latched = Qos(
        QosHistory.KEEP_LAST,
        1,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL,
        *(QosTime(0, 0),) * 2,
        QosLiveliness.AUTOMATIC,
        QosTime(0, 0),
        False,
    )
    with Writer(tmp_path / 'bag', version=8) as writer:
        for topic, offered in (('/map', [latched]), ('/words', [])):
            writer.add_connection(
                topic,
                'std_msgs/msg/String',
                typestore=typestore_for(['std_msgs/msg/String']),
                offered_qos_profiles=offered,
            )
    reader = open_bag(tmp_path / 'bag')
    durability = {c.topic: quality_of(c).durability for c in reader.connections}
    reader.close()
    assert durability == {
        '/map': DurabilityPolicy.TRANSIENT_LOCAL,
        '/words': DurabilityPolicy.VOLATILE,
    }


@pytest.mark.skipif(not BUNDLED_RECORDING.is_dir(), reason='no bundled recording in this checkout')
def test_pictures_come_from_the_whole_of_a_recording(tmp_path: Path) -> None:
    pictures = list(pictures_of(BUNDLED_RECORDING, 3))
    assert [(picture.shape, picture.dtype) for picture in pictures] == [
        ((480, 640, 3), 'uint8')
    ] * 3
    assert not np.array_equal(pictures[0], pictures[2])
    with pytest.raises(ValueError, match='not a readable recording'):
        list(pictures_of(tmp_path))


def png_of(picture: np.ndarray[Any, Any]) -> bytes:
    return cv2.imencode('.png', picture)[1].tobytes()


def test_what_is_no_colour_picture_is_passed_over(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    messages: list[Any] = [
        image_from_array(np.full((24, 32), 7, '<f4'), '32FC1'),
        image_from_array(np.full((24, 32), 7, '<u2'), '16UC1'),
        CompressedImage(format='jpeg'),
        CompressedImage(format='16UC1; png compressed', data=png_of(np.full((24, 32), 7, '<u2'))),
        image_from_array(np.full((24, 32, 3), 7, np.uint8), 'rgb8'),
    ]
    with Writer(tmp_path / 'bag', version=8) as writer:
        for number, message in enumerate(messages):
            kind = f'sensor_msgs/msg/{type(message).__name__}'
            connection = writer.add_connection(f'/camera{number}/image', kind, typestore=store)
            writer.write(connection, number, serialize_message(message))
    (picture,) = pictures_of(tmp_path / 'bag')
    assert picture.shape == (24, 32, 3) and (picture == 7).all()


@pytest.fixture
def recorder(ros: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Writes what is said to disk into the folder `bag`."""
    topics = Parameter('topics', value=['/said/to/disk=std_msgs/msg/String'])
    output = Parameter('output', value='~/bag')
    monkeypatch.setenv('HOME', str(tmp_path))
    given = partialmethod(Node.__init__, parameter_overrides=[output, topics])
    with monkeypatch.context() as patched:
        patched.setattr(Node, '__init__', given)
        return Recorder()


def test_a_recording_ends_while_there_is_room_to_end_it(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = recorder._write_to('/said/to/disk', [])
    del recorder._awaited['/said/to/disk']
    data = serialize_message(String(data='mug'))
    write(data)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: SimpleNamespace(free=FREE_BYTES - 1))
    with pytest.raises(OSError, match='nearly full'):
        write(data)
    recorder.close()
    with AnyReader([tmp_path / 'bag']) as reader:
        assert [connection.msgcount for connection in reader.connections] == [1]


@pytest.mark.parametrize('serialised', [True, False])
def test_the_recorder_writes_what_comes_as_bytes_or_as_messages(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serialised: bool
) -> None:
    monkeypatch.setattr(recorder_module, 'arrives_serialised', lambda: serialised)
    said = String(data='mug')
    written: list[bytes] = []
    monkeypatch.setattr(
        recorder._writer, 'write', lambda connection, stamp, data: written.append(data)
    )
    heard_by(recorder, '/said/to/disk', said, lambda: written)
    recorder.close()
    assert written[0] == serialize_message(said)


def test_the_recorder_names_a_topic_of_another_type(
    recorder: Recorder, capfd: pytest.CaptureFixture[str]
) -> None:
    talker = rclpy.create_node('talker')
    pictures = talker.create_publisher(Image, '/said/to/disk', 1)
    said, deadline = '', time.monotonic() + 10
    while 'nothing is recorded' not in said:
        assert time.monotonic() < deadline
        recorder._hear_what_is_offered()
        said += capfd.readouterr().err
        time.sleep(0.02)
    recorder._hear_what_is_offered()
    assert 'sensor_msgs/msg/Image, not std_msgs/msg/String' in said
    assert not capfd.readouterr().err  # once is enough
    talker.destroy_publisher(pictures)  # a process has one type a topic
    talker.create_publisher(String, '/said/to/disk', 1)
    while recorder._awaited:
        assert time.monotonic() < deadline
        recorder._hear_what_is_offered()
        time.sleep(0.02)
    talker.destroy_node()
    recorder.close()


def test_the_recorder_hears_reliable_best_effort_and_latched_publishers(
    ros: None, tmp_path: Path
) -> None:
    talker = rclpy.create_node('talker')
    publishers = {
        f'/said/{policy.name.lower()}': talker.create_publisher(
            String, f'/said/{policy.name.lower()}', QoSProfile(depth=5, reliability=policy)
        )
        for policy in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)
    }
    keeps = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    latched = talker.create_publisher(String, '/said/before', keeps)
    latched.publish(String(data='mug'))
    topics = [f'{topic}=std_msgs/msg/String' for topic in (*publishers, '/said/before')]
    recorder = NodeProcess(
        '-p', f'output:={tmp_path / "bag"}', '-p', f'topics:={topics}', command='record'
    )
    try:
        recorder.wait_for_output('recording')
        deadline = time.monotonic() + 10
        while not all(p.get_subscription_count() for p in publishers.values()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for publisher in publishers.values():
            publisher.publish(String(data='mug'))
        time.sleep(0.3)
    finally:
        status, _ = recorder.stop()
        talker.destroy_node()
    assert status == 0, recorder.output
    with AnyReader([tmp_path / 'bag']) as reader:
        assert {c.topic: c.msgcount for c in reader.connections} == dict.fromkeys(
            [*publishers, '/said/before'], 1
        )
        offered = {c.topic: c.ext.offered_qos_profiles for c in reader.connections}
    for topic, reliability in zip(publishers, (1, 2), strict=True):
        assert [end.reliability for end in offered[topic]] == [QosReliability(reliability)]
    assert [end.durability for end in offered['/said/before']] == [QosDurability.TRANSIENT_LOCAL]


def test_types_of_this_package_are_known_to_the_recorder() -> None:
    store = typestore_for(
        ['focus_depth_ros/msg/FocusTargetArray', 'vision_msgs/msg/Detection2DArray']
    )
    assert 'focus_depth_ros/msg/FocusTarget' in store.fielddefs
    assert 'std_msgs/msg/Header' in store.fielddefs
    assert message_class('std_msgs/msg/String') is String
    with pytest.raises(ValueError, match='not installed'):
        message_class('no_msgs/msg/Nothing')


def test_messages_are_recorded_as_this_distribution_has_them() -> None:
    """Range got a field after Humble, whose definitions rosbags knows."""
    _, fields = typestore_for(['sensor_msgs/msg/Range']).fielddefs['sensor_msgs/msg/Range']
    assert [name for name, _ in fields] == list(Range.get_fields_and_field_types())


@pytest.mark.parametrize(
    ('rclpy_major', 'own', 'read'), [(7, 'FASTRTPS', ['FASTRTPS']), (9, 'FASTDDS', None)]
)
def test_a_users_choice_of_transports_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, rclpy_major: int, own: str, read: list[str] | None
) -> None:
    """Jazzy's Fast DDS does not read the new name: what stands under it chooses nothing there."""
    monkeypatch.setattr(transport, 'rclpy_major', lambda: rclpy_major)
    profiles = [f'{name}_DEFAULT_PROFILES_FILE' for name in ('FASTRTPS', 'FASTDDS')]
    names = ['FASTDDS_BUILTIN_TRANSPORTS', *profiles]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert list(transport.large_message_profile()) == [f'{own}_DEFAULT_PROFILES_FILE']
    for name in names:
        is_read = read is None or name == names[0] or name.split('_')[0] in read
        monkeypatch.setenv(name, 'UDPv4')
        assert (transport.large_message_profile() == {}) == is_read
        monkeypatch.delenv(name)


@pytest.mark.skipif(not BUNDLED_RECORDING.is_dir(), reason='no bundled recording in this checkout')
def test_the_demo_refuses_a_recording_without_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    info = CameraInfo(width=32, height=24, k=[30.0, 0.0, 16.0, 0.0, 30.0, 12.0, 0.0, 0.0, 1.0])
    with Writer(tmp_path / 'bag', version=8) as writer:
        kind = 'sensor_msgs/msg/CameraInfo'
        connection = writer.add_connection('/camera/camera_info', kind, typestore=store)
        writer.write(connection, 1, serialize_message(info))
    assert command_line(['demo', '--bag', str(tmp_path / 'bag'), '--out', str(tmp_path)]) == 2
    assert 'bag holds no /truth/ to score by' in capsys.readouterr().err


def test_the_bundled_recording_holds_what_the_demo_needs() -> None:
    reader = open_bag(BUNDLED_RECORDING)
    counts = {connection.topic: connection.msgcount for connection in reader.connections}
    reader.close()
    pictures = counts['/camera/image_raw/compressed']
    assert counts['/camera/camera_info'] == pictures
    assert 0 < counts['/detections'] < pictures / 3
    assert counts['/text_target'] == 1
    assert counts['/truth/depth'] == counts['/truth/ids'] > 20
    assert sum(file.stat().st_size for file in BUNDLED_RECORDING.iterdir()) < 8e6


def test_fields_of_an_organised_cloud() -> None:
    cloud = blank_cloud((64, 48))
    fields = [(field.name, field.offset, field.datatype, field.count) for field in cloud.fields]
    names = ('x', 'y', 'z', 'rgb')
    assert fields == [(name, 4 * k, PointField.FLOAT32, 1) for k, name in enumerate(names)]
    assert (cloud.point_step, cloud.row_step, len(cloud.data)) == (16, 16 * 64, 16 * 64 * 48)


def test_an_organised_cloud_forgets_the_last_picture(tiny_model: Path) -> None:
    pipeline = FocusPipeline(FocusModel(tiny_model))
    frame = Frame(np.zeros((48, 64, 3), np.uint8), CAMERA)
    cloud = OrganisedCloud((64, 48))
    for box in ((4.0, 4.0, 60.0, 44.0), (20.0, 10.0, 50.0, 40.0)):
        result = pipeline(frame, [Target('a', 'a', box=box)])
        message = cloud.message(result)
        points = np.frombuffer(message.data, np.float32).reshape(48, 64, 4)
        assert np.array_equal(np.isfinite(points[..., 2]), result.grasp_mask)
        dense = dense_cloud_message(result.target_points())
        assert dense.is_dense
        assert dense.width == int(result.grasp_mask.sum())
        assert len(dense.data) == 16 * dense.width


def test_a_cloud_of_nothing_is_a_message_too() -> None:
    message = dense_cloud_message(np.empty((0, 4), np.float32))
    assert (message.width, message.height, len(message.data)) == (0, 1, 0)


def region(x0: int, y0: int, x1: int, y1: int) -> RegionOfInterest:
    return RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0)


def truth_and_answer(mask_shift: int, depth_factor: float) -> tuple[Recording, Answers]:
    """A box 1 m away before a wall at 2 m, answered with a shifted mask and scaled depth."""
    ids = np.zeros((48, 64), np.uint8)
    ids[10:30, 20:40] = 3
    depth = np.where(ids == 3, 1.0, 2.0).astype(np.float32)
    recording = Recording(CAMERA)
    recording.truths[7] = Truth(depth, ids)
    recording.objects = (TrueObject(3, 'mug', ('the red mug',)),)

    def image(pixels: np.ndarray, encoding: str) -> SimpleNamespace:
        return SimpleNamespace(data=pixels.tobytes(), encoding=encoding, height=48, width=64)

    mask = np.roll((ids == 3).astype(np.uint8) * 255, mask_shift, axis=1)
    x = float((np.arange(20, 40) - 31.5).mean() / 60)
    y = float((np.arange(10, 30) - 23.5).mean() / 60)
    target = SimpleNamespace(
        label='the red mug',
        confidence=0.9,
        centroid=SimpleNamespace(x=x, y=y, z=1.0 * depth_factor),
        box=region(20 + mask_shift, 10, 40 + mask_shift, 30),
    )
    answers = Answers()
    answers.messages = {
        'depth/image': {7: image(depth * np.float32(depth_factor), '32FC1')},
        'target/mask': {7: image(mask, 'mono8')},
        'targets': {7: SimpleNamespace(targets=[target])},
    }
    return recording, answers


def test_scores_of_a_recording_by_hand() -> None:
    (perfect,) = score(*truth_and_answer(0, 1.0))
    assert (perfect.mask_iou, perfect.abs_rel_metric) == (1.0, 0.0)
    assert perfect.abs_rel_aligned == pytest.approx(0.0, abs=1e-5)
    assert perfect.centroid_error_m == pytest.approx(0.0, abs=0.01)
    (wrong,) = score(*truth_and_answer(10, 1.2))
    assert wrong.mask_iou == pytest.approx(1 / 3)
    assert wrong.abs_rel_metric == pytest.approx(0.2, abs=1e-5)
    assert wrong.abs_rel_aligned == pytest.approx(0.0, abs=1e-5)
    assert wrong.centroid_error_m == pytest.approx(0.2, abs=0.01)


def test_a_target_that_was_missed_is_not_scored_by_anothers_mask() -> None:
    recording, answers = truth_and_answer(0, 1.0)
    ids = recording.truths[7].ids
    ids[10:30, 45:60] = 4
    recording.objects += (TrueObject(4, 'box', ('the blue box',)),)
    missed = vars(answers.messages['targets'][7].targets[0]) | {
        'label': 'the blue box',
        'box': region(0, 0, 0, 0),
    }
    answers.messages['targets'][7].targets.append(SimpleNamespace(**missed))
    assert [one.mask_iou for one in score(recording, answers)] == [1.0, 0.0]
    # a box round both takes nothing from the other target
    answers.messages['targets'][7].targets[1].box = region(15, 5, 60, 35)
    assert [one.mask_iou for one in score(recording, answers)] == [1.0, 0.0]


def test_the_demo_notices_lost_frames_and_wrong_outputs() -> None:
    good = {'mask_iou': 0.8, 'abs_rel_metric': 0.1, 'abs_rel_aligned': 0.04}
    summary = {
        'frames_sent': 195,
        'frames_answered': 190,
        'frames_dropped': 5,
        'frames_refused': 0,
        'targets': {'mug': good, 'the green bottle': good},
    }
    assert faults(summary) == []
    assert (
        'answered, dropped or refused'
        in faults(summary | {'frames_dropped': 0, 'frames_sent': 210})[0]
    )
    assert 'only 5' in faults(summary | {'frames_answered': 5, 'frames_dropped': 190})[0]
    assert 'named' in faults(summary | {'targets': {'mug': good}})[0]
    bad = {'mug': good | {'mask_iou': 0.2}, 'bowl': good | {'abs_rel_metric': float('nan')}}
    assert len(faults(summary | {'targets': bad})) == 2
    json.dumps(summary)


def test_overviews_have_five_panels_a_row(tiny_model: Path) -> None:
    from focus_depth_ros.pipeline.overview import PANEL_WIDTH, overview, row_of

    pipeline = FocusPipeline(FocusModel(tiny_model))
    rgb = cv2.applyColorMap(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64).astype(np.uint8), 2)
    camera = CAMERA
    rows = [
        row_of('box', pipeline(Frame(rgb, camera), [Target('a', 'a', box=(9.0, 9.0, 50.0, 40.0))])),
        row_of('nothing known', pipeline(Frame(rgb))),
    ]
    sheet = overview(rows)
    assert sheet.dtype == np.uint8
    assert 5 * PANEL_WIDTH < sheet.shape[1] < 5.2 * PANEL_WIDTH
    with pytest.raises(ValueError, match='at least one'):
        overview([])


def test_publishers_go_when_one_of_them_cannot_be_made() -> None:
    node, made = Mock(), [Mock(), Mock()]
    node.create_lifecycle_publisher.side_effect = [*made, ValueError('no such reliability')]
    with pytest.raises(ValueError, match='no such reliability'):
        Outputs(node)
    assert [call.args[0] for call in node.destroy_lifecycle_publisher.call_args_list] == made


def test_messages_say_where_a_target_is(tiny_model: Path) -> None:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), CAMERA, 7, 'camera')
    up_on_the_right = Target('a', 'mug', box=(38.0, 2.0, 62.0, 16.0), score=0.5)
    result = FocusPipeline(FocusModel(tiny_model))(frame, [up_on_the_right])
    (answer,) = result.targets
    message, geometry = target_message(answer), answer.geometry
    assert geometry is not None and answer.box is not None
    x, y = (answer.box[0] + answer.box[2]) / 2, (answer.box[1] + answer.box[3]) / 2
    z = geometry.depth_median_m
    there = ((x - 31.5) / 60 * z, (y - 23.5) / 60 * z, z)
    centroid, extent = message.centroid, message.extent
    assert (centroid.x, centroid.y, centroid.z) == pytest.approx(there, abs=0.03)
    assert (extent.x, extent.y) == pytest.approx((24 / 60 * z, 14 / 60 * z), rel=0.15)
    assert message.depth_p05_m < message.depth_median_m < message.depth_p95_m
    (box,) = detections_3d(result, Header(frame_id='camera')).detections
    place, turn, size = box.bbox.center.position, box.bbox.center.orientation, box.bbox.size
    assert (place.x, place.y, place.z) == pytest.approx(there, abs=0.05)
    assert (turn.x, turn.y, turn.z, turn.w) == (0, 0, 0, 1)
    assert (size.x, size.y, size.z) == pytest.approx((extent.x, extent.y, extent.z))
    assert box.results[0].pose.pose == box.bbox.center
    assert box.results[0].hypothesis.score == 0.5  # the detector's


def test_markers_draw_the_boxes_in_space_and_their_names(tiny_model: Path) -> None:
    boxes = [(4.0, 4.0, 28.0, 40.0), (38.0, 2.0, 62.0, 16.0), (30.0, 20.0, 60.0, 44.0)]
    targets = [Target(name, name, box=box) for name, box in zip('abc', boxes, strict=True)]
    frame = Frame(np.zeros((48, 64, 3), np.uint8), CAMERA, 7, 'camera')
    result = FocusPipeline(FocusModel(tiny_model))(frame, targets)
    first, second, third = result.targets
    result = replace(result, targets=(first, replace(second, box=None), third))
    header = Header(frame_id='camera')
    former, *markers = target_markers(result, header).markers
    assert former.action == Marker.DELETEALL
    assert all(marker.header == header for marker in (former, *markers))
    assert all(marker.lifetime.sec > 0 and marker.frame_locked for marker in markers)
    drawn = [(marker.ns, marker.id) for marker in markers]
    assert drawn == [('boxes', 0), ('names', 0), ('boxes', 2), ('names', 2)]
    detections = detections_3d(result, header).detections
    assert [detection.id for detection in detections] == ['a', 'c']
    for detection, box, name in zip(detections, markers[::2], markers[1::2], strict=True):
        assert (box.type, name.type) == (Marker.CUBE, Marker.TEXT_VIEW_FACING)
        assert box.pose == detection.bbox.center and box.scale == detection.bbox.size
        assert name.text == caption(result.targets[name.id])
        assert name.scale.x > 0  # else RViz tears the words apart
        top = box.pose.position.y - box.scale.y / 2
        assert name.pose.position.y < top and name.pose.position.z == box.pose.position.z
        colour = [round(255 * getattr(box.color, part)) for part in 'rgb']
        assert tuple(colour) == TARGET_COLOURS[box.id]
        assert box.color.a < name.color.a == 1


def test_markers_without_metres_draw_nothing_and_take_the_former_ones_away(
    tiny_model: Path,
) -> None:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), None)
    result = FocusPipeline(FocusModel(tiny_model))(
        frame, [Target('a', 'mug', box=(4.0, 4.0, 28.0, 40.0))]
    )
    assert not result.scale.is_metric
    (only,) = target_markers(result, Header()).markers
    assert only.action == Marker.DELETEALL


def test_detections_in_space_are_in_the_order_of_the_targets(tiny_model: Path) -> None:
    boxes = [(4.0, 4.0, 28.0, 40.0), (38.0, 2.0, 62.0, 16.0), (30.0, 20.0, 60.0, 44.0)]
    targets = [Target(str(k), 'mug', box=box) for k, box in enumerate(boxes)]
    frame = Frame(np.zeros((48, 64, 3), np.uint8), CAMERA)
    result = FocusPipeline(FocusModel(tiny_model))(frame, targets)
    surest_first = (replace(one, confidence=0.9 - 0.1 * k) for k, one in enumerate(result.targets))
    result = replace(result, targets=tuple(surest_first))
    assert [one.target.id for one in result.found] == ['2', '1', '0']
    found = detections_3d(result, Header(frame_id='camera')).detections
    assert [detection.id for detection in found] == ['0', '1', '2']
    scores = [detection.results[0].hypothesis.score for detection in found]
    assert scores == pytest.approx([0.9, 0.8, 0.7])  # of boxes without a score


def test_a_box_becomes_the_whole_pixels_that_it_touches() -> None:
    found = region_of((1.2, 2.7, 5.1, 6.0))
    assert (found.x_offset, found.y_offset, found.width, found.height) == (1, 2, 5, 4)


def test_a_camera_info_is_filled_in_on_a_copy() -> None:
    info = CameraInfo(k=[500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0])
    message = _camera_info_message(info)
    assert message is not None and message is not info
    assert list(message.p) == [500, 0, 320, 0, 0, 510, 240, 0, 0, 0, 1, 0]
    assert not info.p.any()


def test_relative_depth_is_for_want_of_metres(tiny_model: Path) -> None:
    pipeline, rgb = FocusPipeline(FocusModel(tiny_model)), np.zeros((48, 64, 3), np.uint8)
    assert _relative_message(pipeline(Frame(rgb, CAMERA))) is None
    assert _relative_message(pipeline(Frame(rgb))) is not None


def test_times_and_numbers_of_targets_reach_what_they_are_for(ros: None, tiny_model: Path) -> None:
    node = FocusDepthNode()
    given = {'detection_slop_s': 0.25, 'detection_timeout_s': 3.0, 'max_targets': 7}
    given['model'] = str(tiny_model)
    node.set_parameters([Parameter(name, value=value) for name, value in given.items()])
    node.start()
    targets = node._targets
    assert targets is not None
    found = (targets._slop_ns, targets._timeout_ns, targets._max_targets)
    assert found == (250_000_000, 3 * 10**9, 7)
    node.destroy_node()
