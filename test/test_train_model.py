"""tools/train_model.sh: each of its commands finds what it needs among what came before."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')

from focus_depth_ros.cli import COMMANDS
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.inference.self_check import check_picture, check_prompts
from focus_depth_ros.training.config import read_config

SCRIPT = Path(__file__).parent.parent / 'tools' / 'train_model.sh'


def commands(folder: Path) -> list[list[str]]:
    """What the script asks of focus-depth, one list of arguments each; it fetches nothing here.

    A file whose checksum it compares is a list that begins with sha256sum.
    """
    log = folder / 'log'
    begin = f'#!{sys.executable}\nimport json, sys\n'
    end = f"open({str(log)!r}, 'a').write(json.dumps(said) + chr(10))\n"
    stand_ins = {
        'focus-depth': f'{begin}said = sys.argv[1:]\n{end}',
        'sha256sum': f"{begin}said = ['sha256sum', sys.stdin.read().split()[1]]\n{end}",
        'python': f"{begin}said = ['python', *sys.argv[1:]]\n{end}",
        'pip': '#!/bin/sh\n',
    }
    for name, script in stand_ins.items():
        stand_in = folder / name
        stand_in.write_text(script)
        stand_in.chmod(0o755)
    environment = {**os.environ, 'PATH': f'{folder}:{os.environ["PATH"]}'}
    subprocess.run(['sh', str(SCRIPT)], check=True, env=environment, cwd=folder)
    return [json.loads(line) for line in log.read_text().splitlines()]


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[words[0]][0]).add_arguments(parser)
    return parser.parse_args(words[1:])


def test_every_command_finds_what_it_needs(tmp_path: Path) -> None:
    there: set[str] = set()
    for words in commands(tmp_path):
        if words[0] == 'sha256sum':
            there.add(words[1])
            continue
        if words[0] == 'python':
            if words[1].endswith('mean_of_models.py'):
                assert set(words[2:4]) <= there, words
                there.add(words[4])
            continue
        arguments = parsed(words)
        if words[0] == 'render':
            there.add(str(arguments.out))
        elif words[0] == 'train':
            config = read_config(arguments.config)
            output = arguments.output or config.output
            needed = {config.train, config.validation, arguments.initial or config.initial}
            assert {str(path) for path in needed if path} <= there, words
            there |= {f'{output}/checkpoint.pt', *(f'{output}/step{n}.pt' for n in config.keep)}
            assert all(step < config.steps for step in config.keep), words
        elif words[0] == 'average':
            assert {str(path) for path in arguments.checkpoints} <= there, words
            there.add(str(arguments.output))
        elif words[0] == 'export':
            assert {str(arguments.checkpoint), str(arguments.validation)} <= there, words
            there.add(str(arguments.output))
        else:
            assert str(arguments.model) in there, words
            assert words[words.index('--dataset') + 2] in there, words
    assert 'model' in there


def test_the_mean_of_a_model_and_itself_answers_as_it(compact_model: Path, tmp_path: Path) -> None:
    tool = SCRIPT.with_name('mean_of_models.py')
    command = [sys.executable, str(tool), str(compact_model), str(compact_model), str(tmp_path)]
    subprocess.run(command, check=True)
    found = []
    for folder in (compact_model, tmp_path):
        model = FocusModel(folder, 'onnxruntime', precision='fp32')
        boxes, words = check_prompts(model.folder)
        found.append(model.focus(model.encode(check_picture(model.folder)), boxes, words))
        assert model.folder.fovea is None or folder == compact_model
        model.close()
    for name in ('inverse_depth', 'mask', 'boundary', 'confidence', 'metric'):
        assert np.allclose(*(getattr(maps, name) for maps in found), atol=1e-4), name
