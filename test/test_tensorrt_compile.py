"""`focus-depth compile` as a user calls it."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip('onnxscript', reason="needs the 'tensorrt' extra")

from tensorrt_rig import Rig
from tensorrt_rig import rig as rig

from focus_depth_ros.cli import main
from focus_depth_ros.inference import compile as compile_command
from focus_depth_ros.inference.engine_cache import read_manifest
from focus_depth_ros.inference.model_folder import BUILT_IN
from focus_depth_ros.inference.tensorrt_backend import TensorRTBackend

RECORDING = BUILT_IN.parent.parent / 'demo' / 'recording'


def engines(rig: Rig) -> list[Path]:
    return sorted(rig.cache.folder.glob('*.engine'))


def test_both_graphs_are_built_and_checked(
    rig: Rig, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        'compile',
        str(tiny_model),
        '--precision',
        'fp32',
        '--targets',
        '3',
        '--workspace',
        '9',
    ]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert f'TensorRT {rig.trt.__version__} on Fake GPU, 16 SMs (SM 8.7)' in told
    encoder, focus = engines(rig)
    assert encoder.name.startswith('encoder-fp32-') and focus.name.startswith('focus-fp32-')
    assert [build['pools'] for build in rig.trt.fake.builds] == [{'WORKSPACE': 9 << 20}] * 2
    assert read_manifest(focus).notes['self_check']['passed'] is True
    assert read_manifest(focus).recipe.settings.targets == 3
    assert 'self-check' in told
    assert main(words) == 0 and len(rig.trt.fake.builds) == 2


@pytest.mark.skipif(not RECORDING.is_dir(), reason='no bundled recording in this checkout')
def test_int8_from_a_recording(
    rig: Rig, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('sensor_msgs', reason='recordings are decoded with ROS messages')
    words = ['compile', str(tiny_model), '--precision', 'int8', '--recording', str(RECORDING)]
    assert main(words) == 0, capsys.readouterr().err
    encoder, focus = engines(rig)
    assert read_manifest(encoder).recipe.calibration == read_manifest(focus).recipe.calibration
    assert len(read_manifest(focus).recipe.calibration) == 64


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--targets', '0'], '--targets must be at least 1'),
        (['--workspace', '-5'], '--workspace must be at least 1'),
        (['--workspace', '0'], '--workspace must be at least 1'),
        (['--precision', 'int8'], 'go together'),
        (['--recording', 'bag'], 'go together'),
    ],
)
def test_wrong_words(
    rig: Rig,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert main(['compile', str(tiny_model), *words]) == 2
    assert message in capsys.readouterr().err and not engines(rig)


def test_without_tensorrt(
    rig: Rig,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert main(['compile', str(tiny_model)]) == 1
    assert 'JetPack' in capsys.readouterr().err


def test_an_empty_folder_of_its_name_is_not_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'tensorrt', ModuleType('tensorrt'))  # as Python imports one
    assert 'TensorRT is not there' in TensorRTBackend().missing()


def test_a_folder_without_a_model(
    rig: Rig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(['compile', str(tmp_path)]) == 1
    assert 'no model.json' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert main(['compile', str(tmp_path)]) == 1
    assert 'no model.json' in capsys.readouterr().err, 'this first, it is the nearer one'


def test_ctrl_c_ends_the_build(
    rig: Rig,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rig.trt.fake.step_s = 0.2
    monkeypatch.setattr(compile_command, 'WAIT_S', 0.05)
    timer = threading.Timer(0.6, lambda: __import__('_thread').interrupt_main())
    # a node that ran in this process before has left SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        assert main(['compile', str(tiny_model)]) == 130
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert 'called off' in capsys.readouterr().err
    assert not engines(rig) and not rig.trt.fake.builds
