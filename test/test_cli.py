"""The command line: one door, modules imported only when used, mistakes answered in one line."""

from __future__ import annotations

import subprocess
import sys
from unittest.mock import Mock

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


def test_a_missing_module_is_named_with_both_ways_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, 'train', ('module_that_nobody_has', 'train'))
    assert main(['train', 'settings.yaml']) == 2
    said = capsys.readouterr().err
    assert "'module_that_nobody_has' is missing" in said
    assert "pip install '.[train]'" in said and 'where colcon built this package' in said
    monkeypatch.setitem(COMMANDS, 'train', ('transformers.none', 'train'))
    monkeypatch.setitem(sys.modules, 'transformers', None)
    assert main(['train', 'foundation.yaml']) == 2
    assert "pip install '.[train,foundation]'" in capsys.readouterr().err


def test_a_module_that_is_missing_only_when_it_is_used_is_named_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from focus_depth_ros.inference import compile as command

    fault = ModuleNotFoundError("No module named 'onnx'", name='onnx')
    monkeypatch.setattr(command, 'run', Mock(side_effect=fault))
    assert main(['compile']) == 2
    said = capsys.readouterr().err
    assert "'onnx' is missing" in said and "pip install '.[tensorrt]'" in said


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(SystemExit):
        main(['predict', 'a.png', '--out', 'x', '--colour', 'red'])


@pytest.mark.parametrize('words', ['image:=/camera/image_raw', '--backend onnxruntime'])
def test_words_that_ros_would_ignore_are_refused(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('rclpy')
    with pytest.raises(SystemExit) as end:
        main(['run', *words.split()])
    assert end.value.code == 2
    assert 'follow --ros-args' in capsys.readouterr().err


def test_a_fault_of_the_package_is_one_line_and_any_other_is_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from focus_depth_ros.inference.model_folder import ModelError
    from focus_depth_ros.pipeline import predict

    for fault in (ModelError('no folder'), OSError('disk full')):
        monkeypatch.setattr(predict, 'run', Mock(side_effect=fault))
        assert main(['predict', 'a.png', '--out', 'x']) == 2
        assert capsys.readouterr().err == f'focus-depth predict: {fault}\n'
    monkeypatch.setattr(predict, 'run', Mock(side_effect=KeyboardInterrupt))
    assert main(['predict', 'a.png', '--out', 'x']) == 130
    monkeypatch.setattr(predict, 'run', Mock(side_effect=RuntimeError('a bug')))
    with pytest.raises(RuntimeError, match='a bug'):
        main(['predict', 'a.png', '--out', 'x'])


def test_the_door_itself_imports_nothing_heavy() -> None:
    code = (
        'import sys, focus_depth_ros.cli; '
        'print([name for name in ("numpy", "cv2", "rclpy") if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_rendering_without_mujoco_names_the_extra_and_not_the_graphics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from focus_depth_ros.synthesis import view
    from focus_depth_ros.synthesis.renderer import Renderer

    monkeypatch.setitem(sys.modules, 'mujoco', None)
    monkeypatch.setattr(view, 'run', lambda _: Renderer())  # what rendering begins with
    assert main(['view', 'data']) == 2
    said = capsys.readouterr().err
    assert "'mujoco' is missing" in said and "pip install '.[train]'" in said
