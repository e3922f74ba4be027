"""Training: data in a known order, losses worked out by hand, resuming after a kill."""

import argparse
import json
import os
import socket
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from block_scene import sample

torch = pytest.importorskip('torch', reason='training needs torch (extra: train)')
pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')
torch.set_num_threads(1)

from compact_model import SMALL_TRUNK  # noqa: E402

from focus_depth_ros.inference.focus_model import FocusModel  # noqa: E402
from focus_depth_ros.inference.model_folder import BUILT_IN  # noqa: E402
from focus_depth_ros.inference.self_check import check_picture, check_prompts  # noqa: E402
from focus_depth_ros.networks.compact import CompactShape  # noqa: E402
from focus_depth_ros.synthesis.sample import (  # noqa: E402
    write_sample,
)
from focus_depth_ros.training import average, train  # noqa: E402
from focus_depth_ros.training.calibration import fit_calibration  # noqa: E402
from focus_depth_ros.training.compact import normalised  # noqa: E402
from focus_depth_ros.training.config import TrainConfig, read_config  # noqa: E402
from focus_depth_ros.training.draws import DrawOrder, RankShare, read_frame  # noqa: E402
from focus_depth_ros.training.families import family_named  # noqa: E402
from focus_depth_ros.training.unfolded import unfolded_network  # noqa: E402

SHAPE = CompactShape()
HEIGHT, WIDTH = SHAPE.grid(2)


@pytest.fixture(scope='module')
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('shards')
    for shard in range(2):
        with tarfile.open(folder / f'train-{shard:06d}.tar', 'w') as archive:
            for number in range(5):
                write_sample(archive, f'{number:06d}', sample(10 * shard + number))
    return folder


def test_order_visits_every_frame_once_a_pass_and_can_be_replayed(shards: Path) -> None:
    order = DrawOrder(shards, seed=3, batch=4)
    batches = iter(order)
    drawn = [next(batches) for _ in range(5)]  # two passes of ten frames
    flat = [(draw.shard, draw.number) for batch in drawn for draw in batch]
    assert len(set(flat[:10])) == len(set(flat[10:])) == 10
    assert flat[:10] != flat[10:]
    assert len({draw.seed for batch in drawn for draw in batch}) == 20
    later = DrawOrder(shards, seed=3, batch=4, passes=order.passes, first_batch=3)
    assert next(iter(later)) == drawn[3]


def test_a_frame_is_read_by_offset(shards: Path) -> None:
    frame = read_frame(str(shards / 'train-000001.tar'), 3)
    expected = sample(13)
    assert np.array_equal(frame.ids, expected.ids)
    assert frame.objects == expected.objects


def test_calibration_finds_the_true_odds() -> None:
    """Truth drawn with sigmoid(0.5 x - 2): that slope and bias come back, and the order stays."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(100_000, generator=generator)
    truth = (torch.rand(100_000, generator=generator) < torch.sigmoid(0.5 * logits - 2)).float()
    found = fit_calibration(logits, truth)
    assert found.slope == pytest.approx(0.5, rel=0.03)
    assert found.bias == pytest.approx(-2, rel=0.03)
    with pytest.raises(ValueError, match='was the network trained'):
        fit_calibration(-logits, truth)


@pytest.mark.parametrize('has_bfloat16', [True, False])
def test_bfloat16_is_left_where_it_is_only_emulated(
    has_bfloat16: bool, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, 'multiplies_bfloat16', lambda device: has_bfloat16)
    wanted = replace(config(shards, tmp_path), bfloat16=True)
    assert train.begin(wanted).config.bfloat16 is has_bfloat16


CONFIGS = Path(train.__file__).with_name('configs')
TINY = {
    'height': 96, 'width': 128, 'stem': 8, 'trunk': SMALL_TRUNK,
    'detail': 8, 'decoder': 16, 'fine': 8, 'boundary': 8, 'grounding': 16, 'experts_hidden': 4,
}  # fmt: skip


def config(shards: Path, output: Path, name: str = 'compact') -> TrainConfig:
    return replace(
        read_config(CONFIGS / f'{name}.yaml'),
        train=shards,
        validation=shards,
        output=output,
        initial=None,
        frozen=(),
        network=TINY,
        steps=4,
        batch=2,
        threads=1,
        workers=0,
        checkpoint_every=2,
        validate_every=4,
        validation_frames=2,
    )


@torch.no_grad()
def test_the_networks_code_is_that_of_the_shipped_graphs() -> None:
    """What `train --from` goes on from answers as what the node runs."""
    model, network = FocusModel(BUILT_IN, precision='fp32'), unfolded_network(BUILT_IN)
    picture, (boxes, words) = check_picture(model.folder), check_prompts(model.folder)
    expected = model.focus(model.encode(picture), boxes, words)
    features = network.encoder(normalised(torch.from_numpy(picture)[None]))
    given = {name: value.expand(len(boxes), -1, -1, -1) for name, value in features.items()}
    found = network.focus(given, torch.from_numpy(boxes), torch.from_numpy(words))
    pairs = {
        'inverse_depth': found.inverse_depth,
        'mask': found.mask.sigmoid(),
        'confidence': found.confidence.sigmoid(),
        'metric': found.metric,
    }
    for name, values in pairs.items():
        assert np.allclose(values, getattr(expected, name), atol=2e-3), name
    model.close()


def test_nothing_random_is_frozen(shards: Path, tmp_path: Path) -> None:
    frozen = replace(config(shards, tmp_path), frozen=('encoder.trunk.stem.*',))
    with pytest.raises(ValueError, match=r'encoder\.trunk\.stem\.\* .* would stay random: name'):
        train.train(frozen)


def test_checkpoints_to_keep_stay_as_they_were(shards: Path, tmp_path: Path) -> None:
    train.train(replace(config(shards, tmp_path), keep=(1,)))
    steps = {
        name: torch.load(tmp_path / f'{name}.pt', weights_only=True)['step']
        for name in ('step1', 'checkpoint')
    }
    assert steps == {'step1': 1, 'checkpoint': 4}


def test_a_killed_run_goes_on_to_the_same_weights(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed in the middle of the second stage, with tokens shuffled at random on the way."""
    whole, parts = (
        replace(
            config(shards, tmp_path / name, 'shuffled_tokens'), steps=10, checkpoint_every=4,
            validate_every=10,
        )
        for name in ('whole', 'parts')
    )  # fmt: skip
    train.train(whole)

    class KilledError(Exception):
        pass

    original = train.save_checkpoint

    def save_then_die(*arguments: object) -> None:
        original(*arguments)
        raise KilledError

    monkeypatch.setattr(train, 'save_checkpoint', save_then_die)
    with pytest.raises(KilledError):
        train.train(parts)
    monkeypatch.setattr(train, 'save_checkpoint', original)
    train.train(parts)
    first, second = (
        torch.load(folder / 'checkpoint.pt', weights_only=True)
        for folder in (whole.output, parts.output)
    )
    assert first['step'] == second['step'] == 10
    for name, value in first['average'].items():
        assert torch.equal(value, second['average'][name]), name
    assert (parts.output / 'validation_000010.png').is_file()
    assert list(parts.output.rglob('events.out.tfevents*'))
    train.train(replace(parts, initial=tmp_path / 'gone.pt'))  # what it began from may be gone
    train.train(replace(parts, steps=60, checkpoint_every=60))  # step 10 is in stage 1 by now
    ended = torch.load(parts.output / 'checkpoint.pt', weights_only=True)
    assert (ended['step'], ended['stage']) == (60, 1)
    smaller = replace(parts, steps=11, network={**TINY, 'fine': 4})
    with pytest.raises(ValueError, match='a network of other sizes'):
        train.train(smaller)
    train.train(replace(parts, steps=60))
    assert 'that is all of 60 steps' in capsys.readouterr().out
    left = parts.output / 'checkpoint.pt'
    left.write_bytes(left.read_bytes()[:1000])
    with pytest.raises(ValueError, match='not a whole checkpoint'):
        train.train(parts)


def test_checkpoints_average_and_statistics_are_taken_anew(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(average, 'STATISTICS_BATCHES', 2)
    frozen = read_config(CONFIGS / 'compact.yaml').frozen
    parts = replace(config(shards, tmp_path / 'run'), frozen=frozen)
    network = family_named('compact').build(parts)
    plain = network.state_dict()
    shifted = {n: v + 2 if v.is_floating_point() else v for n, v in plain.items()}
    mean = average.mean_weights([plain, shifted])
    weights = average.with_statistics(mean, parts)
    for name, value in plain.items():
        if name.endswith(('running_mean', 'running_var')):
            continue
        # Not value + 1: where a weight is near -1, nothing but rounding is left of that.
        expected = (value + shifted[name]) / 2 if value.is_floating_point() else value
        assert torch.allclose(weights[name], expected) or (
            name.endswith('num_batches_tracked') and weights[name] == 2
        ), name
    statistics, published = 'encoder.detail.0.1.running_mean', 'encoder.trunk.stem.1.running_mean'
    assert not torch.allclose(weights[statistics], plain[statistics] + 1)
    assert torch.allclose(weights[published], plain[published] + 1), 'no stage touches the stem'
    halved = average.with_statistics(mean, replace(parts, bfloat16=True))
    assert torch.equal(halved[statistics], weights[statistics]), 'statistics are float32'
    with pytest.raises(ValueError, match='different networks'):
        average.mean_weights([plain, {}])
    folder = Path(average.__file__).parent / 'configs'
    frozen = argparse.Namespace(config=folder / 'compact_fovea.yaml', train=None)
    with pytest.raises(ValueError, match='freezes parts'):
        average.run(frozen)


def losses_of(output: Path) -> 'list[float]':
    """The total loss of every step, from TensorBoard's file."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = output.rglob('events.out.tfevents*')
    events = EventAccumulator(str(file)).Reload()
    return [entry.value for entry in events.Scalars('total')]


def test_two_processes_train_as_one_does(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same global batches, a half each: the same losses. Statistics of norms are frozen.

    Without dropout: each process draws its own.
    Adam's steps have the same size where a gradient is nothing but rounding; from this seed's start
    few are.
    """
    monkeypatch.setattr(train, 'LOG_EVERY', 1)
    alone, together = tmp_path / 'alone', tmp_path / 'together'
    settings = tmp_path / 'adapters.yaml'
    settings.write_text(
        f"""base: {CONFIGS / 'focusdepth.yaml'}
train: {shards}
validation: {shards}
output: {together}
initial: null
seed: 3
frozen: []
network: {json.dumps({**TINY, 'dropout': 0.0})}
ask: {{box: 1.0, text: 0.0}}
steps: 4
batch: 4
bfloat16: false
workers: 0
threads: 1
validation_frames: 2
stages:
  - share: 1.0
    trained: ['focus.fusion*']
    muon_lr: 0
    adam_lr: 1.0e-2
    warm_up: 0
    decay_from: 1
    decay: linear
"""
    )
    code = (
        'from focus_depth_ros.training import train; train.LOG_EVERY = 1; '
        'from focus_depth_ros.cli import main; '
        f'raise SystemExit(main(["train", {str(settings)!r}]))'
    )
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, '-c', code],
            env={
                **os.environ, 'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': '2',
                'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'ACCELERATE_USE_CPU': 'true',
                'OMP_NUM_THREADS': '1',
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        train.train(replace(read_config(settings), output=alone))
        for rank in ranks:
            _, errors = rank.communicate(timeout=400)
            assert rank.returncode == 0, errors[-2000:]
    finally:
        for rank in ranks:
            rank.kill()
    assert losses_of(together) == pytest.approx(losses_of(alone), rel=1e-4)
    first, second = (
        torch.load(folder / 'checkpoint.pt', weights_only=True)['network']
        for folder in (alone, together)
    )
    for name, value in first.items():
        assert torch.allclose(value, second[name], atol=1e-4), name
    start = initial_weights(seed=3)
    moved = max(float((first[name] - value).abs().max()) for name, value in start.items())
    assert 1e-2 < moved < 0.1


def initial_weights(seed: int) -> 'dict[str, torch.Tensor]':
    torch.manual_seed(seed)
    built = family_named('compact').build(config(Path(), Path()))
    return built.state_dict()


def test_a_batch_that_cannot_be_shared_is_refused(shards: Path) -> None:
    with pytest.raises(ValueError, match='take a multiple of 3'):
        RankShare(DrawOrder(shards, 0, batch=4), rank=0, ranks=3)
    order = DrawOrder(shards, 0, batch=4)
    first, second = (next(iter(RankShare(order, rank, 2))) for rank in (0, 1))
    assert first + second == next(iter(DrawOrder(shards, 0, batch=4)))
