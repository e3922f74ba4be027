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


@pytest.mark.parametrize('more', [{}, {'overhead_ratio': {'p50': 0.36}}])
def test_the_ratio_of_overhead_where_it_was_measured(
    results: ModuleType, more: dict[str, dict[str, float]]
) -> None:
    times = {'p50': 1.0, 'p90': 2.0, 'p99': 3.0}
    one = {
        'rate_hz': 15.0, 'answered_percent': 100.0, 'latency_ms': times, 'inference_ms': times,
        'overhead_ms': times, 'start_s': 2.0, 'memory_peak_mb': 300, 'memory_growth_mb': 0.1,
    }  # fmt: skip
    report = {
        'picture': '640x480 rgb8', 'date': '2026-11-29', 'command': 'node_latency.py',
        'host': {'processor': 'AMD EPYC', 'cores': 2}, 'rounds': {'depth alone': one | more},
    }  # fmt: skip
    said = 'All else over the network, p50: depth alone 0.36' in results.latency_section(report)[-1]
    assert said == bool(more)


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
