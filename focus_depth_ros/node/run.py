"""`focus-depth run --ros-args ...`: the node, for machines without `ros2 launch`."""

from __future__ import annotations

import argparse

from focus_depth_ros.node.transport import use_large_message_profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything after the command goes to ROS."""
    parser.add_argument(
        '--default-transport',
        action='store_true',
        help='leave the middleware as it is, without the profile that carries large pictures',
    )
    parser.set_defaults(ros_arguments=[])


def run(arguments: argparse.Namespace) -> int:
    """Start the node and spin until SIGINT or SIGTERM."""
    if not arguments.default_transport:
        use_large_message_profile()
    from focus_depth_ros.node.focus_depth import main

    return main(['focus-depth', *arguments.ros_arguments])
