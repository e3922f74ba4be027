"""The node on a camera: `ros2 launch focus_depth_ros focus.launch.py image:=/camera/image_raw ...`.

It configures and activates itself (parameter `autostart`), so no lifecycle manager is needed; `ros2 lifecycle` works on
it all the same.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(get_package_share_directory('focus_depth_ros')) / 'config'

# topics of the node by their own names, to be connected to what the robot has
TOPICS = {
    'image': 'camera picture; with image_transport:=compressed the name without /compressed',
    'camera_info': "calibration of that camera at the picture's size",
    'detections': 'vision_msgs/Detection2DArray of a detector on that picture',
    'text_target': 'std_msgs/String: words that say what to look at',
    'reference_depth': 'depth image of a sensor, sparse or poor, that gives the metric scale',
}
# parameters one changes most; left empty, the parameter file's value stands
PARAMETERS = {
    'model': 'model folder; empty: as the parameter file says, which is the built-in one',
    'backend': 'what runs the network: auto, onnxruntime, onnxruntime_cuda',
    'image_transport': 'raw or compressed',
}
# both names of the variable: Kilted and later, Jazzy and Humble
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=name, description=text) for name, text in TOPICS.items()),
        *(DeclareLaunchArgument(name, default_value='', description=text) for name, text in PARAMETERS.items()),
        DeclareLaunchArgument(
            'params_file', default_value=str(CONFIG / 'focus.yaml'), description='parameter file'
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description='namespace of the node: one for each camera'
        ),
        DeclareLaunchArgument(
            'large_messages',
            default_value='true',
            choices=['true', 'false'],
            description='give the node the Fast DDS profile without which camera pictures get lost',
        ),
        *(
            SetEnvironmentVariable(
                name,
                str(CONFIG / 'fastdds_large_messages.xml'),
                condition=IfCondition(LaunchConfiguration('large_messages')),
            )
            for name in PROFILE_VARIABLES
            if name not in os.environ  # whoever named a profile keeps it
        ),
        OpaqueFunction(function=focus_depth),
    ])  # fmt: skip


def focus_depth(context: LaunchContext) -> list[Node]:
    """Describe the node, once the arguments have their values."""
    topics = {name: LaunchConfiguration(name).perform(context) for name in TOPICS}
    overrides = {
        name: value
        for name in PARAMETERS
        if (value := LaunchConfiguration(name).perform(context))
    }
    return [
        Node(
            package='focus_depth_ros',
            executable='focus_depth',
            name='focus_depth',
            namespace=LaunchConfiguration('namespace'),
            parameters=[LaunchConfiguration('params_file'), overrides],
            remappings=[*topics.items(), ('image/compressed', f'{topics["image"]}/compressed')],
            output='screen',
            emulate_tty=True,
        )
    ]
