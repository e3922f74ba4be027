"""Write docs/results.md from docs/results/*.json: figures are generated, never typed.

`focus-depth evaluate --output docs/results/scenes.json ...`, the same with `--fovea` and
docs/results/scenes_fovea.json, with `--fovea --mirror` and docs/results/scenes_mirror.json,
`focus-depth bench --compare --output docs/results/bench.json`,
`python benchmarks/engine_cpu.py --out docs/results/engine_cpu.json`,
`python benchmarks/node_latency.py --out docs/results/node_latency.json`, `python
benchmarks/bare_node.py --out docs/results/bare_node.json` and `make demo` (its
output/demo/summary.json, copied to docs/results/demo.json) make those files. What was measured on
another machine, of another model or with other options lies beside them under a longer name, as
bench_avx512.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from focus_depth_ros.evaluation.measured_on import in_words
from focus_depth_ros.evaluation.regions import REGIONS

FOLDER = Path(__file__).resolve().parent.parent / 'docs' / 'results'
PERCENTILES = ('p50', 'p90', 'p99')


def load(name: str) -> list[dict[str, Any]]:
    """All files of figures whose names begin so, none where it was not measured."""
    paths = sorted(FOLDER.glob(f'{name}*.json'), key=lambda path: path.stem)
    return [json.loads(path.read_text(encoding='utf-8')) for path in paths]


def row(*cells: object) -> str:
    """One line of a table."""
    return '| ' + ' | '.join(map(str, cells)) + ' |'


def three(values: dict[str, float]) -> str:
    """p50 / p90 / p99."""
    return ' / '.join(f'{values[name]:.1f}' for name in PERCENTILES)


def latency_section(report: dict[str, Any]) -> list[str]:
    """The node's latency and overhead, round by round."""
    lines = [
        f'## The node, {report["host"]["processor"]}',
        '',
        f'Model {report["model"]}; {report["picture"]}, sensor-data QoS; camera, node and listener '
        f'are three processes; {in_words(report)}; `python benchmarks/{report["command"]}`.',
        '',
        row('round', 'rate, Hz', 'answered', 'latency, ms', 'network, ms', 'all else, ms'),
        row(*['---'] * 6),
    ]
    for name, one in report['rounds'].items():
        lines.append(
            row(
                name,
                f'{one["rate_hz"]:g}',
                f'{one["answered_percent"]:g} %',
                three(one['latency_ms']),
                three(one['inference_ms']),
                three(one['overhead_ms']),
            )
        )
    rounds = report['rounds'].values()
    ratios = '; '.join(
        f'{name} {one["overhead_ratio"]["p50"]:.2f}' for name, one in report['rounds'].items()
    )
    lines += [
        '',
        "Times are p50 / p90 / p99, latency from the image's stamp to the last publication. "
        f'Process start to active {max(one["start_s"] for one in rounds):.1f} s; peak memory '
        f'{max(one["memory_peak_mb"] for one in rounds)} MB, '
        f'growing by at most {max(one["memory_growth_mb"] for one in rounds):g} MB from the first '
        f'third of a round to its end. All else over the network, p50: {ratios}.',
    ]
    return lines


def bare_section(report: dict[str, Any]) -> list[str]:
    """What a node costs that computes nothing."""
    lines = [
        f'## A node that computes nothing, {report["host"]["processor"]}',
        '',
        'In place of the node, in the same way: it publishes finished messages of the same kinds '
        f'and sizes. {in_words(report)}; `python benchmarks/{report["command"]}`.',
        '',
        row('outputs', 'from stamp to last publication, ms'),
        row(*['---'] * 2),
    ]
    return lines + [row(name, three(ms)) for name, ms in report['latency_ms'].items()]


def scenes_section(report: dict[str, Any]) -> list[str]:
    """The model's figures against the yardsticks, group by group."""
    lines = [
        f'## The built-in model {report["model"]["name"]}'
        + (', looking twice' if '--fovea' in report['command'] else '')
        + (', and in the mirror' if '--mirror' in report['command'] else ''),
        '',
        f'Model {report["model"]["version"]}, {report["engine"]}, {in_words(report)}, '
        f'`{report["command"]}`. Median AbsRel over targets '
        '(boundary / foreground / global) after one alignment of the whole picture in disparity.',
        '',
        row(
            'frames',
            'prompt',
            'targets',
            'model',
            'best plane',
            'mask IoU mean',
            'metres, unaligned',
        ),
        row(*['---'] * 7),
    ]
    for name, group in report['groups'].items():
        lines += _scene_rows(name, group)
    lines.append('')
    for name, group in report['groups'].items():
        if facts := _scene_facts(group):
            lines.append(f'* {name}: ' + '; '.join(facts))
    return lines


def _scene_rows(name: str, group: dict[str, Any]) -> list[str]:
    """A line for each kind of prompt that the group was asked by."""
    rows = []
    for kind in ('box', 'text', 'relation'):
        if kind not in group:
            continue
        found, median = group[kind], group[kind]['median']
        figures = [
            ' / '.join(f'{median[f"{m}_{r}"]:.3f}' for r in REGIONS) for m in ('model', 'plane')
        ]
        rows.append(
            row(
                f'{name} ({group["frames"]})',
                kind,
                found['targets'],
                *figures,
                f'{found["iou_mean"]:.2f}',
                f'{median["metric_foreground"]:.3f}',
            )
        )
    return rows


def _scene_facts(group: dict[str, Any]) -> list[str]:
    """What is known of a group besides its rows."""
    facts = []
    if 'text' in group:
        facts.append(f'{100 * group["text"]["grounded"]:.0f} % of captions grounded (IoU > 0.5)')
    if 'absent' in group:
        facts.append(f'{100 * group["absent"]["rejected"]:.0f} % of absent captions turned down')
    if 'boundary' in group:
        facts.append(f'occlusion boundary ODS {group["boundary"]["ods"]:.2f}')
    return facts


def demo_section(report: dict[str, Any]) -> list[str]:
    """The demo's own summary."""
    lines = [
        f'## The demo, {report["host"]["processor"]}',
        '',
        f'Model {report["node"]["model"]}; `make demo`; {in_words(report)}. '
        f'{report["frames_sent"]} frames sent, {report["frames_answered"]} answered, '
        f'{report["frames_dropped"]} dropped; latency {three(report["latency_ms"])} ms, of that '
        f'the network {three(report["inference_ms"])} ms and the recorded camera '
        f'{report["camera_delay_ms"]:g} ms (p50 / p90 / p99; two targets in its first half).',
        '',
        row(
            'target',
            'mask IoU',
            'depth AbsRel, metres as published',
            'aligned',
            'centroid error, cm',
        ),
        row(*['---'] * 5),
    ]
    lines += [
        row(
            label,
            f'{one["mask_iou"]:.2f}',
            f'{one["abs_rel_metric"]:.3f}',
            f'{one["abs_rel_aligned"]:.3f}',
            f'{100 * one["centroid_error_m"]:.1f}',
        )
        for label, one in report['targets'].items()
    ]
    return lines


def bench_section(report: dict[str, Any]) -> list[str]:
    """Every part of the network, and Depth Anything V2 Small beside it."""
    versions = report['versions']
    lines = [
        f'## The engine, part by part, {report["host"]["processor"]}: {report["engine"]}, '
        f'{report["threads"]} thread(s)',
        '',
        f'Model {report["model"]["version"]}, {report["engine"]} '
        f'({versions.get("onnxruntime", "-")}), {report["threads"]} thread(s), '
        f'{in_words(report)}; `{report["command"]}`; '
        f'load before it {report["host"]["load_average"]:.1f}.',
        '',
        row('part', 'ms, p50 / p90 / p99'),
        row(*['---'] * 2),
        *(row(name, three(values)) for name, values in report['milliseconds'].items()),
    ]
    compared = report.get('compared', {})
    if 'milliseconds' in compared:
        ours, other = (
            compared['milliseconds'][name]['p50'] for name in ('ours', 'depth_anything_v2_small')
        )
        width, height = compared['input']['depth_anything_v2_small']
        lines += [
            '',
            f'Depth Anything V2 Small (random weights) at {width}x{height}, '
            f'{compared["engine"]["depth_anything_v2_small"]}, in turns with encoder and focus '
            f'half: {other:.0f} ms against {ours:.1f} ms, '
            f'{compared["ratio_of_medians"]:.1f} times as long.',
        ]
    return lines


def engine_cpu_section(report: dict[str, Any]) -> list[str]:
    """The engine layer's cost, threads, two cameras."""
    both = report['overhead']['both']
    lines = [
        '## Cores',
        '',
        f'ONNX Runtime {report["onnxruntime"]}, {in_words(report)}; '
        f'`python benchmarks/engine_cpu.py`; load before it {report["host"]["load_average"]:.1f}.',
        '',
        f'* The engine layer beside bare ONNX Runtime, CPU time of encoder and focus half: '
        f'{both["ours_ms"]:.2f} against {both["bare_ms"]:.2f} ms, '
        f'{both["overhead_percent"]:+.1f} %.',
    ]
    for circumstance, parts in report['threads'].items():
        figures = '; '.join(f'{name} {three(values)} ms' for name, values in parts.items())
        lines.append(f'* One picture and target {circumstance}, p50 / p90 / p99: {figures}.')
    cameras = report['two_cameras']
    figures = '; '.join(
        f'{name} {rate:g} ({cameras["share_of_twice_alone"][name]:.2f} of twice one alone)'
        for name, rate in cameras['together_hz'].items()
    )
    lines.append(
        f'* Pictures a second, one thread each: one camera {cameras["alone_hz"]:g}; two: {figures}.'
    )
    return lines


def page() -> str:
    """Every section, in Markdown."""
    lines = [
        '# Results',
        '',
        'Made by `python benchmarks/results.py` from the files in `docs/results`.',
    ]
    sections = (
        ('node_latency', latency_section),
        ('bare_node', bare_section),
        ('bench', bench_section),
        ('engine_cpu', engine_cpu_section),
        ('scenes', scenes_section),
        ('demo', demo_section),
    )
    for name, section in sections:
        for report in load(name):
            lines += ['', *section(report)]
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    (FOLDER.parent / 'results.md').write_text(page(), encoding='utf-8')
