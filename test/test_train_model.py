"""tools/train_model.sh: each of its commands finds what it needs among what came before."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')

from focus_depth_ros.cli import COMMANDS
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
        **dict.fromkeys(('pip', 'python'), '#!/bin/sh\n'),
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
