"""FocusDepth against its baseline and its controls: every settings file trained, all scored alike.

    python benchmarks/controls.py --train data/train --validation data/validation --test data/test \
        --output runs/controls --depth-steps 2600 --steps 2000 [--only focusdepth finetuned]
    python benchmarks/controls.py ... --from runs/compact/checkpoint.pt --depth-steps 240 \
        --steps 240 --rate 10

First the depth network that all start from (depth.yaml), then each file for the same number of
steps; what was trained before is kept, so the command may be stopped and started again. With
`--from` the depth network starts from a trained model without its MSSA, at a third of its rates;
`--rate` makes up for short runs, the published rates being for far longer ones. Scored are the
averaged weights, in float32, on the frames of the test shards: AbsRel of boundary, foreground and
picture after alignment over the whole picture, box prompts as the run was trained to be asked; then
the same weights with other prompts. Leaves results.json and table.md in the output folder.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from focus_depth_ros.core import Target
from focus_depth_ros.datasets.frame import SMALLEST_TARGET_PX, LabelledFrame, Triplet, triplets
from focus_depth_ros.datasets.shards import frames
from focus_depth_ros.evaluation.measured_on import when_and_where
from focus_depth_ros.evaluation.metrics import abs_rel, aligned_depth, delta, mask_iou
from focus_depth_ros.evaluation.regions import REGIONS, target_regions
from focus_depth_ros.networks.compact import CompactNetwork
from focus_depth_ros.networks.mssa import vary
from focus_depth_ros.pipeline.layers import upsample
from focus_depth_ros.pipeline.picture import stretch
from focus_depth_ros.pipeline.prompts import PromptEncoder
from focus_depth_ros.synthesis.vocabulary import MOST_WORDS
from focus_depth_ros.training.checkpoint import averaged_weights, write_whole
from focus_depth_ros.training.compact import build, normalised
from focus_depth_ros.training.config import TrainConfig, read_config
from focus_depth_ros.training.example import VOCABULARY
from focus_depth_ros.training.train import train

CONFIGS = Path(__file__).resolve().parent.parent / 'focus_depth_ros' / 'training' / 'configs'
BASELINE = 'finetuned'
NAMES = (
    'focusdepth', BASELINE, 'no_prompt_features', 'shuffled_tokens', 'empty_prompt', 'wrong_prompt',
    'one_stage', 'global_only', 'no_gate', 'single_mlp', 'shared_scale',
)  # fmt: skip
Scores = dict[str, list[float]]


def main() -> None:
    """Train what is missing, score all, write the table."""
    arguments = parsed()
    arguments.output.mkdir(parents=True, exist_ok=True)
    depth = settings('depth', arguments)
    if arguments.trained_model is not None:
        start = without_mssa(arguments.trained_model, arguments.output / 'start.pt')
        depth = at_rates(replace(depth, initial=start), 1 / 3)
    trained(depth)
    rows = {}
    for name in arguments.only:
        config = replace(settings(name, arguments), initial=depth.output / 'checkpoint.pt')
        config = at_rates(config, arguments.rate)
        network = trained(config)
        rows[name] = row(network, config, arguments.test, arguments.frames)
        result = report(rows, arguments)
        (arguments.output / 'results.json').write_text(json.dumps(result, indent=1) + '\n')
        (arguments.output / 'table.md').write_text(table(rows))
        print(f'\n{table(rows)}', flush=True)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ('train', 'validation', 'test', 'output'):
        parser.add_argument(f'--{name}', type=Path, required=True)
    parser.add_argument('--depth-steps', type=int, required=True, help='of the common start')
    parser.add_argument('--steps', type=int, required=True, help='of each run on top of it')
    parser.add_argument(
        '--from', dest='trained_model', type=Path, help='checkpoint for the common start'
    )
    parser.add_argument('--rate', type=float, default=1.0, help="times the settings files' rates")
    parser.add_argument('--batch', type=int, help="pictures a step; the settings files' own if not")
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--workers', type=int, default=0, help='loader processes')
    parser.add_argument('--frames', type=int, help='score the first so many test frames only')
    parser.add_argument('--network', type=json.loads, default={}, help='other sizes, as JSON')
    parser.add_argument('--only', nargs='+', choices=NAMES, default=NAMES, metavar='NAME')
    return parser.parse_args()


def settings(name: str, arguments: argparse.Namespace) -> TrainConfig:
    """A settings file with the command line's overrides."""
    config = read_config(CONFIGS / f'{name}.yaml')
    return replace(
        config,
        train=arguments.train,
        validation=arguments.validation,
        output=arguments.output / name,
        steps=arguments.depth_steps if name == 'depth' else arguments.steps,
        batch=arguments.batch or config.batch,
        threads=arguments.threads,
        workers=arguments.workers,
        network={**config.network, **arguments.network},
        validate_every=10**9,  # at the end only
    )


def at_rates(config: TrainConfig, factor: float) -> TrainConfig:
    """The same settings at `factor` times the learning rates."""
    stages = tuple(
        replace(stage, muon_lr=stage.muon_lr * factor, adam_lr=stage.adam_lr * factor)
        for stage in config.stages
    )
    return replace(config, stages=stages)


def without_mssa(model: Path, start: Path) -> Path:
    """A checkpoint's averaged weights with MSSA left out: it starts afresh, as the identity."""
    weights = averaged_weights(model)
    kept = {f'module.{n}': w for n, w in weights.items() if not n.startswith('focus.fusion')}
    write_whole(start, {'average': kept})
    return start


def trained(config: TrainConfig) -> CompactNetwork:
    """The averaged network of a finished run; trains what is missing of it."""
    checkpoint = config.output / 'checkpoint.pt'
    done = checkpoint.is_file() and torch.load(checkpoint, weights_only=True)['step']
    if done != config.steps:
        train(config)
    network = build(config)
    vary(network, config.fusion)
    network.load_state_dict(averaged_weights(checkpoint))
    return network.eval()


def row(
    network: CompactNetwork, config: TrainConfig, test: Path, most: int | None
) -> dict[str, Any]:
    """All figures of one run: as it was trained to be asked, and asked otherwise."""
    kinds: dict[str, Scores] = {}
    torch.manual_seed(0)  # shuffled tokens
    before: list[Target] = []
    for frame in islice(frames(test), most):
        for name, scores in frame_scores(network, frame, config.prompt, before).items():
            for figure, values in scores.items():
                kinds.setdefault(name, {}).setdefault(figure, []).extend(values)
        before = [triplet.target for triplet in triplets(frame) if triplet.kind == 'box'] or before
    return {
        'parameters': sum(parameter.numel() for parameter in network.parameters()),
        'steps': config.steps,
        'targets': len(kinds['asked']['global']),
        'scores': {
            name: {figure: quartiles(values) for figure, values in scores.items()}
            for name, scores in kinds.items()
        },
    }


def quartiles(values: list[float]) -> dict[str, float]:
    """Median, quartiles and mean over targets, those without a value left out."""
    known = np.array([value for value in values if not np.isnan(value)])
    if not known.size:
        return dict.fromkeys(('q1', 'median', 'q3', 'mean'), float('nan'))
    low, middle, high = np.percentile(known, (25, 50, 75))
    return {
        'q1': float(low), 'median': float(middle), 'q3': float(high), 'mean': float(known.mean())
    }  # fmt: skip


def frame_scores(
    network: CompactNetwork, frame: LabelledFrame, prompt: str, before: list[Target]
) -> dict[str, Scores]:
    """One frame's targets: `asked` as in training, and the study of other prompts.

    Wrong prompts are another picture's, those `before`; without any, none is asked.
    The study's rows are the same targets whatever the prompt: those with a caption, in frames of
    several. Another target is the one before it in the frame.
    """
    boxes, texts, named = [], [], []
    absent: list[Target] = []
    for triplet in triplets(frame):
        if triplet.kind == 'box':
            boxes.append(triplet)
        elif triplet.kind == 'text' and triplet.is_absent:
            absent.append(triplet.target)
        elif triplet.kind == 'text':
            named.append(boxes[-1])
            texts.append(triplet)
    own = [triplet.target for triplet in boxes]
    wrong = [*islice(cycle(before), len(own))]
    ways = {'right': own, 'empty': None, 'wrong': wrong}
    plans: dict[str, tuple[list[Triplet], list[Target] | None]] = {}
    if prompt != 'wrong' or wrong:
        plans['asked'] = (boxes, ways[prompt])
    if len(texts) > 1:
        with_box, with_words = ([t.target for t in rows] for rows in (named, texts))
        plans |= {
            'box': (named, with_box),
            'other box': (named, with_box[-1:] + with_box[:-1]),
            'text': (texts, with_words),
            'other text': (texts, with_words[-1:] + with_words[:-1]),
            'empty': (texts, None),
        }
        if absent:
            plans['absent text'] = (texts, absent[:1] * len(texts))
    return {
        name: prompt_scores(network, frame, rows, targets)
        for name, (rows, targets) in plans.items()
        if rows
    }


def prompt_scores(
    network: CompactNetwork, frame: LabelledFrame, rows: list[Triplet], targets: list[Target] | None
) -> Scores:
    """AbsRel by region, delta1 on the target and mask IoU of each row, asked with `targets`."""
    height, width = frame.ids.shape
    valid = np.isfinite(frame.depth_m) & (frame.depth_m > 0)
    inverse_depth, mask = answers(network, frame, targets, len(rows))
    scores: Scores = {}
    for index, triplet in enumerate(rows):
        depth_m = aligned_depth(
            upsample(inverse_depth[index], (width, height)), frame.depth_m, valid
        )
        regions = target_regions(triplet.mask, valid)
        figures = {name: abs_rel(depth_m, frame.depth_m, regions[name]) for name in REGIONS}
        figures['delta1'] = delta(depth_m, frame.depth_m, regions['foreground'])
        figures['iou'] = mask_iou(upsample(mask[index], (width, height)) > 0, triplet.mask)
        for name, value in figures.items():
            scores.setdefault(name, []).append(value)
    return scores


@torch.no_grad()
def answers(
    network: CompactNetwork, frame: LabelledFrame, targets: list[Target] | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depth and mask logits (T, h, w) of a frame; no targets: `count` empty prompts."""
    height, width = frame.ids.shape
    encoder = PromptEncoder(VOCABULARY, MOST_WORDS)
    prompts: list[Tensor] = [
        torch.from_numpy(values) for values in encoder.encode(targets or [], width, height)
    ]
    if targets is None:
        prompts = [values.repeat_interleave(count, 0) for values in prompts]
    picture = torch.from_numpy(stretch(frame.rgb, network.shape.grid(1)[::-1]))[None]
    output = network.focus(network.encoder(normalised(picture)), *prompts)
    return output.inverse_depth.numpy(), output.mask.numpy()


def report(rows: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything measured, and on what."""
    given = {name: value for name, value in vars(arguments).items() if name != 'output'}
    return {
        **when_and_where(),
        'command': 'python benchmarks/controls.py',
        'arguments': {
            name: value if value is None else str(value) for name, value in given.items()
        },
        'smallest_target_px': SMALLEST_TARGET_PX,
        'rows': rows,
    }


def table(rows: dict[str, Any]) -> str:
    """Markdown: medians against the baseline's, then what other prompts do to the same weights."""
    lines = [
        '| trained as | parameters | targets | AbsRel median boundary / foreground / global | '
        f'over {BASELINE} | mask IoU |',
        '|---|---|---|---|---|---|',
    ]
    base = rows.get(BASELINE)
    for name, found in rows.items():
        asked = found['scores']['asked']
        medians = [asked[region]['median'] for region in REGIONS]
        ratios = '-'
        if base is not None:
            of_base = [base['scores']['asked'][region]['median'] for region in REGIONS]
            ratios = ' / '.join(f'{a / b:.2f}' for a, b in zip(medians, of_base, strict=True))
        lines.append(
            f'| {name} | {found["parameters"] / 1e6:.2f} M | {found["targets"]} | '
            f'{" / ".join(f"{value:.4f}" for value in medians)} | {ratios} | '
            f'{asked["iou"]["mean"]:.3f} |'
        )
    kinds = ('box', 'other box', 'text', 'other text', 'absent text', 'empty')
    lines += [
        '',
        '| AbsRel mean foreground, asked with | ' + ' | '.join(kinds) + ' |',
        '|---' * (len(kinds) + 1) + '|',
    ]
    for name, found in rows.items():
        scores = found['scores']
        cells = [f'{scores[k]["foreground"]["mean"]:.4f}' if k in scores else '-' for k in kinds]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
