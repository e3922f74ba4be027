"""The page of results is made of files that older and newer programs wrote."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / 'benchmarks' / 'results.py'


@pytest.fixture(scope='module')
def results() -> ModuleType:
    spec = importlib.util.spec_from_file_location('results', SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', ['metric', 'metric_foreground'])
def test_unaligned_metres_under_their_old_and_their_new_name(
    results: ModuleType, name: str
) -> None:
    regions = ('boundary', 'foreground', 'global')
    median = {f'{method}_{region}': 0.5 for method in ('model', 'plane') for region in regions}
    box = {'targets': 3, 'iou_mean': 0.75, 'median': median | {name: 0.125}}
    report = {
        'engine': 'onnxruntime', 'date': '2026-11-28', 'command': 'focus-depth evaluate',
        'groups': {'rendered': {'frames': 2, 'box': box}},
    }  # fmt: skip
    assert any(line.endswith('| 0.75 | 0.125 |') for line in results.scenes_section(report))
