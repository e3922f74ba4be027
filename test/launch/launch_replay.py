"""replay.launch.py with real launch: a recording is played into the node."""

from __future__ import annotations

import unittest
from pathlib import Path
from tempfile import mkdtemp

import launch_testing.actions
import launch_testing.asserts
import rclpy
from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from node_harness import Robot, picture
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from tiny_model import write_tiny_model

from focus_depth_ros.node.bag_types import typestore_for
from focus_depth_ros.node.transport import use_large_message_profile

PICTURES = 50
RATE_HZ = 10


def write_recording(folder: Path) -> Path:
    """Record some seconds of a camera, with words that say where to look."""
    kinds = {'/camera/image': Image, '/camera/camera_info': CameraInfo, '/camera/words': String}
    names = [f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}' for kind in kinds.values()]
    store = typestore_for(names)
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {
            topic: writer.add_connection(topic, name, typestore=store)
            for topic, name in zip(kinds, names, strict=True)
        }
        words = serialize_message(String(data='the red mug'))
        for number in range(PICTURES):
            time_ns = 10**18 + number * 10**9 // RATE_HZ
            image = picture()
            camera_info = CameraInfo(width=image.width, height=image.height)
            camera_info.k = [300.0, 0.0, 160.0, 0.0, 300.0, 120.0, 0.0, 0.0, 1.0]
            for message in (image, camera_info):
                message.header.frame_id = 'camera_optical'
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, 10**9)
            writer.write(topics['/camera/camera_info'], time_ns, serialize_message(camera_info))
            writer.write(topics['/camera/words'], time_ns, words)
            writer.write(topics['/camera/image'], time_ns, serialize_message(image))
    return folder


def generate_test_description() -> LaunchDescription:
    launch_file = Path(get_package_share_directory('focus_depth_ros')) / 'launch/replay.launch.py'
    folder = Path(mkdtemp())
    arguments = {
        'bag': str(write_recording(folder / 'recording')),
        'model': str(write_tiny_model(folder / 'tiny')),
        'image': '/camera/image',
        'camera_info': '/camera/camera_info',
        'text_target': '/camera/words',
    }
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(launch_file)), launch_arguments=arguments.items()
            ),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestReplay(unittest.TestCase):
    """While the recording plays."""

    def test_recording_is_answered(self) -> None:
        use_large_message_profile()
        rclpy.init()
        robot = Robot()
        try:
            robot.wait_for(lambda: len(robot.heard['targets']) >= 10, 'ten answers')
            assert robot.heard['targets'][-1].targets[0].label == 'the red mug'
        finally:
            robot.close()
            rclpy.try_shutdown()


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After SIGINT."""

    def test_exits_clean(self, proc_info) -> None:  # type: ignore[no-untyped-def]
        launch_testing.asserts.assertExitCodes(proc_info)
