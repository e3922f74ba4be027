"""The node on a recording: `ros2 launch focus_depth_ros replay.launch.py bag:=FOLDER image:=...`.

The player moves the recording's stamps to now, so nothing needs simulated time. Every argument of
focus.launch.py is one here too. All ends when the recording does.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown, TimerAction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

LAST_ANSWERS_S = 1.0


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'bag', description='rosbag2 recording: a folder, MCAP or sqlite3'
            ),
            DeclareLaunchArgument(
                'rate', default_value='1.0', description='1 is as recorded, 2 twice as fast'
            ),
            DeclareLaunchArgument(
                'loop',
                default_value='false',
                choices=['true', 'false'],
                description='start again at the end',
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name('focus.launch.py')))
            ),
            Node(
                package='focus_depth_ros',
                executable='bag_player',
                name='bag_player',
                parameters=[
                    {
                        'bag': ParameterValue(LaunchConfiguration('bag'), value_type=str),
                        'rate': ParameterValue(LaunchConfiguration('rate'), value_type=float),
                        'loop': ParameterValue(LaunchConfiguration('loop'), value_type=bool),
                    }
                ],
                output='screen',
                on_exit=[
                    TimerAction(
                        period=LAST_ANSWERS_S, actions=[Shutdown(reason='the recording has ended')]
                    )
                ],
            ),
        ]
    )
