"""The recording that the demo plays: the bundled one, and how its messages are written."""

from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from focus_depth_ros.synthesis import bag as bag_module
from focus_depth_ros.synthesis.bag import FRAME_ID, Bag
from focus_depth_ros.synthesis.recording import HEIGHT, RATE_HZ, WIDTH, camera_at, jittered

BUNDLED = Path(bag_module.__file__).parents[1] / 'demo' / 'recording'


def messages(folder):
    found = defaultdict(list)
    with AnyReader([folder]) as reader:
        for connection, at_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            found[connection.topic].append((at_ns, message))
    return found


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_bundled_recording_keeps_its_promises():
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) <= 8_000_000
    found = messages(BUNDLED)
    pictures = found['/camera/image_raw/compressed']
    stamps = [stamp_ns(message) for _, message in pictures]
    assert 180 <= len(pictures) <= 210
    assert np.allclose(np.diff(stamps), 1e9 / RATE_HZ, atol=2)
    assert stamps == [stamp_ns(message) for _, message in found['/camera/camera_info']]
    first = cv2.imdecode(pictures[0][1].data, cv2.IMREAD_COLOR)
    assert first.shape == (HEIGHT, WIDTH, 3)
    assert all(message.header.frame_id == FRAME_ID for _, message in pictures)
    info = found['/camera/camera_info'][0][1]
    np.testing.assert_allclose(info.k.reshape(3, 3), camera_at(0.0).K)
    for at_ns, detections in found['/detections']:
        assert stamp_ns(detections) in stamps
        assert 80e6 <= at_ns - stamp_ns(detections) <= 120e6
    depth = cv2.imdecode(found['/truth/depth'][0][1].data, cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    assert 5000 < np.median(depth) < 15000
    assert len(found['/text_target']) == len(found['/truth/objects']) == 1


def test_messages_are_read_as_written(tmp_path):
    with Bag(tmp_path / 'bag') as bag:
        bag.detections('/detections', 200, 100, [('mug', 0.5, (10.0, 20.0, 30.0, 60.0))])
        bag.text('/text', 300, 'the red mug')
    found = messages(tmp_path / 'bag')
    at_ns, detections = found['/detections'][0]
    box = detections.detections[0].bbox
    assert (at_ns, stamp_ns(detections)) == (200, 100)
    assert (box.center.position.x, box.center.position.y) == (20.0, 40.0)
    assert (box.size_x, box.size_y) == (20.0, 40.0)
    assert detections.detections[0].results[0].hypothesis.class_id == 'mug'
    assert found['/text'][0][1].data == 'the red mug'
    with pytest.raises(FileExistsError, match='exists'):
        Bag(tmp_path / 'bag')


def test_detector_boxes_are_a_little_off():
    rng = np.random.default_rng(0)
    boxes = np.array([jittered((100.0, 100.0, 200.0, 180.0), rng) for _ in range(400)])
    assert np.allclose(boxes.mean(axis=0), [100, 100, 200, 180], atol=1)
    assert np.allclose(boxes.std(axis=0), [2.5, 2.0, 2.5, 2.0], rtol=0.2)


def test_the_camera_moves_smoothly():
    poses = [camera_at(t).pose for t in np.linspace(0, 1, 195)]
    steps = np.linalg.norm(np.diff([pose[:3, 3] for pose in poses], axis=0), axis=1)
    assert steps.max() < 0.02
    assert np.abs(np.diff(steps)).max() < 0.001
