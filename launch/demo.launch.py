"""The node on the bundled recording: `ros2 launch focus_depth_ros demo.launch.py rviz:=true`.

To look at; `focus-depth demo` plays the same and scores the answers against the recording's truth.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

HERE = Path(__file__).parent

RECORDING = {
    'bag': '',  # the player's own
    'image': '/camera/image_raw',
    'image_transport': 'compressed',
    'camera_info': '/camera/camera_info',
    'detections': '/detections',
    'text_target': '/text_target',
}


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(HERE / 'replay.launch.py')),
                launch_arguments=RECORDING.items(),
            ),
        ]
    )
