"""focus.launch.py with real launch: the node comes up, in its place, and ends clean."""

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
from lifecycle_msgs.srv import GetState
from node_harness import Robot
from tiny_model import write_tiny_model

from focus_depth_ros.node.transport import profile_variable, use_large_message_profile

TOPICS = ('image', 'camera_info', 'detections', 'text_target')


def generate_test_description() -> LaunchDescription:
    launch_file = Path(get_package_share_directory('focus_depth_ros')) / 'launch/focus.launch.py'
    arguments = {name: f'/camera/{name}' for name in TOPICS}
    arguments['namespace'] = 'left'
    arguments['model'] = str(write_tiny_model(Path(mkdtemp()) / 'tiny'))
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(launch_file)), launch_arguments=arguments.items()
            ),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestFocusLaunch(unittest.TestCase):
    """While the node runs."""

    @classmethod
    def setUpClass(cls) -> None:
        use_large_message_profile()
        rclpy.init()
        cls.robot = Robot('/left/focus_depth', namespace='/camera')

    @classmethod
    def tearDownClass(cls) -> None:
        cls.robot.close()
        rclpy.try_shutdown()

    def test_picture_on_the_named_topic_is_answered(self) -> None:
        self.robot.connect()
        self.robot.send_camera_info()
        assert self.robot.call('set_text_target', text='the red mug').success
        answer = self.robot.answer()
        assert answer.header.frame_id == 'camera_optical'

    def test_node_is_active_for_ros2_lifecycle(self) -> None:
        client = self.robot.node.create_client(GetState, '/left/focus_depth/get_state')
        assert client.wait_for_service(timeout_sec=10.0)
        future = client.call_async(GetState.Request())
        self.robot.wait_for(future.done, 'the state')
        assert future.result().current_state.label == 'active'

    def test_node_has_the_transport_profile(self, proc_info) -> None:  # type: ignore[no-untyped-def]
        (process,) = proc_info.process_names()
        pid = proc_info[process].pid
        environment = Path(f'/proc/{pid}/environ').read_bytes().split(b'\0')
        assert any(entry.startswith(profile_variable().encode()) for entry in environment)


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After SIGINT."""

    def test_exits_clean(self, proc_info) -> None:  # type: ignore[no-untyped-def]
        launch_testing.asserts.assertExitCodes(proc_info)
