"""`focus-depth bench`: every part has its percentiles, and the report says what they hang on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from focus_depth_ros.cli import main
from focus_depth_ros.evaluation import bench


def test_the_report(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / 'bench.json'
    command = ['bench', '--model', str(tiny_model), '--rounds', '3', '--output', str(output)]
    assert main(command) == 0
    report = json.loads(output.read_text())
    assert report['engine'] == 'onnxruntime CPU fp32' and 'serves' in report['engine_choice']
    assert report['command'].endswith(f'--rounds 3 --model {tiny_model}')
    assert len(report['input']['sha256']) == 64 and report['input']['size'] == [224, 168]
    assert report['versions']['numpy'] == np.__version__
    assert report['memory']['process_peak_mib'] > 20
    parts = report['milliseconds']
    assert {f'focus, {n} targets' for n in range(2, 9)} <= set(parts)
    for values in parts.values():
        assert 0 < values['p50'] <= values['p90'] <= values['p99']
    assert 'encoder + focus, 1 target' in capsys.readouterr().out


def test_parts_take_turns() -> None:
    order: list[str] = []
    found = bench.measure({name: lambda n=name: order.append(n) for name in 'ab'}, rounds=2)
    assert ''.join(order) == 'ab' * (bench.WARM_UP_ROUNDS + 2)
    assert set(found) == {'a', 'b'}


def test_a_comparison_that_cannot_be_made_is_said(
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, 'torch', None)
    assert main(['bench', '--model', str(tiny_model), '--rounds', '1', '--compare']) == 2
    said = capsys.readouterr()
    assert "'torch' is missing; install the extra" in said.err and '[foundation]' in said.err
    assert not said.out


def test_another_network_without_an_int8_graph_is_not_called_int8(tiny_model: Path) -> None:
    """The float graph of the other network would run, and be named, as if it were one."""
    ours = SimpleNamespace(backend_name='onnxruntime', precision='int8')
    graph = tiny_model / 'encoder.onnx'
    other = bench._load(graph, ours, argparse.Namespace(threads=1))  # type: ignore[arg-type]
    assert other.name == 'onnxruntime CPU fp32'
    other.close()


def test_wrong_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['bench', '--rounds', '0']) == 2
    for command in (['bench'], ['evaluate', '--dataset', 'shards', str(tmp_path)]):
        assert main([*command, '--output', str(tmp_path / 'nowhere' / 'a.json')]) == 2
        assert 'nowhere, which does not exist' in capsys.readouterr().err
        assert main([*command, '--output', str(tmp_path)]) == 2
        assert 'is a folder' in capsys.readouterr().err
    assert main(['bench', '--model', str(tmp_path / 'nothing')]) == 2
    assert 'does not exist' in capsys.readouterr().err
