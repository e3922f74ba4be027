"""The command line: one door, modules imported only when used, mistakes answered in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from focus_depth_ros import __version__
from focus_depth_ros.cli import COMMANDS, main


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--help']) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS)
    assert main([]) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--version']) == 0
    assert __version__ in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['fly']) == 2
    assert "no command 'fly'" in capsys.readouterr().err


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(SystemExit):
        main(['predict', 'a.png', '--out', 'x', '--colour', 'red'])


def test_the_door_itself_imports_nothing_heavy() -> None:
    code = (
        'import sys, focus_depth_ros.cli; '
        'print([name for name in ("numpy", "cv2", "rclpy") if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
