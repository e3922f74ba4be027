"""How pip builds this package: scikit-build-core, with the generators of the distribution in use.

pyproject.toml names this file as the build backend (PEP 517), so pip calls the functions found
here. All are scikit-build-core's except the build requirements: messages only load on the ROS 2
distribution whose generators made them, and which one that is pyproject.toml cannot say.
`docs/decisions/0001-build-backend.md` tells why it is done so.
"""

from __future__ import annotations

import os
import sysconfig
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from scikit_build_core import build as scikit_build
from scikit_build_core.build import (  # noqa: F401  (the hooks that pip looks for)
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

REQUIREMENTS = Path(__file__).parent / 'requirements'
DISTRIBUTION_OF_RCLPY = {'9.1': 'kilted', '7.1': 'jazzy'}
DEFAULT_DISTRIBUTION = 'kilted'


def ros_distribution() -> str:
    """Name the distribution to build for: $ROS_DISTRO, else the one installed, else Kilted."""
    if named := os.environ.get('ROS_DISTRO'):
        return named
    # while pip builds, the environment it installs into is not on sys.path
    for installed in distributions(name='ros-rclpy', path=[sysconfig.get_path('purelib')]):
        major_minor = '.'.join(installed.version.split('.')[:2])
        return DISTRIBUTION_OF_RCLPY.get(major_minor, DEFAULT_DISTRIBUTION)
    return DEFAULT_DISTRIBUTION


def generators() -> list[str]:
    """List the pinned requirements that generate and compile interfaces for that distribution."""
    distribution = ros_distribution()
    pins = REQUIREMENTS / f'{distribution}-build.txt'
    if not pins.exists():
        known = ', '.join(sorted(set(DISTRIBUTION_OF_RCLPY.values())))
        raise SystemExit(
            f'ROS_DISTRO is {distribution}, for which PyPI has no ROS 2 wheels (it has: {known}). '
            'Unset it, or build with colcon on that distribution (docs/install.md).'
        )
    return [line for line in pins.read_text().splitlines() if line and not line.startswith('#')]


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Return what pip installs before build_wheel."""
    return [*scikit_build.get_requires_for_build_wheel(config_settings), *generators()]


def get_requires_for_build_editable(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Return what pip installs before build_editable."""
    return [*scikit_build.get_requires_for_build_editable(config_settings), *generators()]


if __name__ == '__main__':
    raise SystemExit('pip or colcon build this: pip install . | colcon build (docs/install.md)')
