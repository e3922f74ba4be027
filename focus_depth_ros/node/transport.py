"""What large messages need from their process: a transport profile."""

from __future__ import annotations

import importlib.metadata
import os
import site
import sys
import sysconfig
from pathlib import Path

OLD_PROFILE_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
"""Every release reads it; Fast DDS 3 (Kilted, rclpy 9) warns of it and has a new name."""
PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'


def use_large_message_profile() -> None:
    """Name the package's Fast DDS profile in the environment, unless the user chose transports.

    To be called before rclpy.init. Without it the default transports lose camera pictures.
    """
    os.environ.update(large_message_profile())


def large_message_profile() -> dict[str, str]:
    """What to add to a process's environment so that large messages pass.

    {} where it says already which transports or profile Fast DDS takes, by a name that it reads.
    """
    choices = ('FASTDDS_BUILTIN_TRANSPORTS', OLD_PROFILE_VARIABLE, profile_variable())
    if any(name in os.environ for name in choices):
        return {}
    try:
        return {profile_variable(): str(shared_file('config/fastdds_large_messages.xml'))}
    except FileNotFoundError as error:
        print(f'large pictures may get lost: {error}', file=sys.stderr)
        return {}


def profile_variable() -> str:
    """The environment variable that names a profile."""
    return PROFILE_VARIABLE if rclpy_major() >= 9 else OLD_PROFILE_VARIABLE


def rclpy_major() -> int:
    """The first number of rclpy's version: 3 is Humble's, 7 Jazzy's, 9 Kilted's."""
    return int(importlib.metadata.version('rclpy').split('.')[0])


def shared_file(name: str, package: str = 'focus_depth_ros') -> Path:
    """A file of a package's share folder: a ROS workspace's, the Python environment's, the user's.

    The ament index alone would not do: with ROS from wheels nothing sets AMENT_PREFIX_PATH.
    Raises FileNotFoundError.
    """
    workspaces = filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep))
    prefixes = [*workspaces, sys.prefix, sysconfig.get_path('data'), site.getuserbase()]
    for prefix in prefixes:
        path = Path(prefix) / 'share' / package / name
        if path.is_file():
            return path
    raise FileNotFoundError(f'share/{package}/{name} is in none of {prefixes}')
