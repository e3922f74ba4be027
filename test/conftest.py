"""Every test run has a ROS domain of its own, so that no two runs hear each other."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
# messages check what is put into them, as on Humble always; else an int in a float field is rubbish
os.environ.setdefault('ROS_PYTHON_CHECK_FIELDS', '1')
os.environ.setdefault('ROS_LOG_DIR', tempfile.mkdtemp(prefix='focus_depth_log_'))


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with known answers, see tiny_model.py."""
    pytest.importorskip('onnx')
    from tiny_model import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny')


@pytest.fixture(scope='session')
def compact_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of the shipped model's family, see compact_model.py."""
    pytest.importorskip('torch')
    pytest.importorskip('onnx')
    from compact_model import write_compact_model

    return write_compact_model(tmp_path_factory.mktemp('model') / 'compact')


@pytest.fixture(scope='session')
def ros() -> Iterator[None]:
    """An initialised rclpy with the large-message transport."""
    rclpy = pytest.importorskip('rclpy')
    from focus_depth_ros.node.transport import use_large_message_profile

    use_large_message_profile()
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope='module')
def renderer() -> Any:
    """A renderer of synthetic scenes, the newest of the process, whose OpenGL context is current.

    What needs OpenGL is skipped where there is none.
    """
    from focus_depth_ros.synthesis.renderer import Renderer, RendererError

    pytest.importorskip('mujoco')
    try:
        return Renderer()
    except RendererError as error:
        pytest.skip(str(error))
