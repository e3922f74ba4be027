"""Runs the launch tests beside this file, where launch_testing is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('launch_testing', reason='launch_testing comes with a ROS 2 installation')
pytest.importorskip('onnx', reason='the tiny model of the tests is made with onnx')

HERE = Path(__file__).parent


@pytest.mark.parametrize('path', sorted(HERE.glob('launch_*.py')), ids=lambda path: path.stem)
def test_launch(path: Path, tmp_path: Path) -> None:
    helpers = os.pathsep.join([str(HERE.parent), os.environ.get('PYTHONPATH', '')])
    result = subprocess.run(
        [sys.executable, '-m', 'launch_testing.launch_test', str(path)],
        cwd=tmp_path,  # not the checkout, which -m would put before the installed package
        env={**os.environ, 'PYTHONPATH': helpers},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout
