"""Figures say which machine they are of, as far as it matters."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from focus_depth_ros.evaluation import measured_on
from focus_depth_ros.evaluation.measured_on import in_words, processor, when_and_where


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('model name\t: A\nflags\t\t: fpu avx2 avx512f avx512_vnni\n', 'A with AVX-512 VNNI'),
        ('model name\t: A\nflags\t\t: fpu avx2\n', 'A with AVX2'),
        ('model name\t: Old\nflags\t\t: fpu\n', 'Old'),
        ('Features\t: fp asimd asimddp\n', f"{platform.machine()} with Arm's dot product"),
        ('', platform.machine()),
    ],
)  # fmt: skip
def test_a_processor_is_named_with_what_int8_depends_on(
    tmp_path: Path, text: str, said: str
) -> None:
    listing = tmp_path / 'cpuinfo'
    listing.write_text(text)
    assert processor(listing) == said
    assert processor(tmp_path / 'nothing') == platform.machine()


def test_a_report_names_day_and_host() -> None:
    report = when_and_where()
    assert in_words(report).startswith(report['host']['processor'])
    assert report['host']['cores'] >= 1 and report['date'][:2] == '20'


@pytest.mark.parametrize('fault', ['exit 9', 'sleep 30'])
def test_a_gpu_that_does_not_answer_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    program = tmp_path / 'nvidia-smi'
    program.write_text(f'#!/bin/sh\necho it has failed\n{fault}\n')
    program.chmod(0o755)
    monkeypatch.setattr(measured_on, 'GPU_ANSWERS_S', 0.3)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    assert when_and_where()['host']['gpu'] == ''
