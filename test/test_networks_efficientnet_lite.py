"""The encoder's trunk: shapes, what its published weights become, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

from compact_model import SMALL_TRUNK  # noqa: E402

from focus_depth_ros.networks.blocks import IMAGENET_MEAN, IMAGENET_STD  # noqa: E402
from focus_depth_ros.networks.efficientnet_lite import (  # noqa: E402
    EfficientNetLite,
    is_published,
    published_weights,
)

LITE1_PARAMETERS = 5_416_680 - (320 * 1280 + 2 * 1280 + 1281 * 1000)
"""Of the published network without its classifier."""


def small_trunk() -> EfficientNetLite:
    return EfficientNetLite(8, SMALL_TRUNK).eval()


def published_name(name: str, blocks: int) -> str:
    """A parameter's name in EfficientNet-PyTorch, of the block that comes after `blocks` others."""
    conv_or_norm, kind = name.split('.')[-2:]
    if name.startswith('stem'):
        return f'_conv_stem.{kind}' if conv_or_norm == '0' else f'_bn0.{kind}'
    number = {'expand': 0, 'depthwise': 1, 'project': 2}[name.split('.')[-3]]
    kinds = ('_expand_conv', '_depthwise_conv', '_project_conv')
    part = kinds[number] if conv_or_norm == '0' else f'_bn{number}'
    return f'_blocks.{blocks}.{part}.{kind}'


def published_state(trunk: EfficientNetLite) -> dict[str, torch.Tensor]:
    """A small network's state as the published files hold it, with a classifier."""
    generator = torch.Generator().manual_seed(0)
    blocks = [f'first.{index}' for index in range(len(trunk.first))]
    blocks += [f'stages.{s}.{i}' for s, stage in enumerate(trunk.stages) for i in range(len(stage))]
    state = {}
    for name, value in trunk.state_dict().items():
        block = next((n for n, prefix in enumerate(blocks) if name.startswith(f'{prefix}.')), -1)
        drawn = torch.rand(value.shape, generator=generator) - (0.5 if value.ndim > 1 else -0.2)
        state[published_name(name, block)] = value if 'num_batches' in name else drawn
    return state | {'_conv_head.weight': torch.rand(32, 24, 1, 1), '_fc.weight': torch.rand(9, 32)}


def published_answer(
    state: dict[str, torch.Tensor], pixels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stem and last features of `SMALL_TRUNK`, its norms and pictures as published."""

    def conv(x: torch.Tensor, name: str, norm: str, **how: int) -> torch.Tensor:
        kernel = state[f'{name}.weight']
        x = torch.nn.functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2, **how)
        mean, variance, weight, bias = (
            state[f'{norm}.{kind}'] for kind in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return torch.nn.functional.batch_norm(x, mean, variance, weight, bias, eps=1e-3)

    stem = conv((pixels * 255 - 127) / 128, '_conv_stem', '_bn0', stride=2).clamp(0, 6)
    x, block = stem, 0
    for _, stride, expansion, outputs, number in SMALL_TRUNK:
        for index in range(number):
            y, at = x, f'_blocks.{block}.'
            if expansion > 1:
                y = conv(y, f'{at}_expand_conv', f'{at}_bn0').clamp(0, 6)
            step = stride if index == 0 else 1
            y = conv(y, f'{at}_depthwise_conv', f'{at}_bn1', stride=step, groups=y.shape[1]).clamp(
                0, 6
            )
            y = conv(y, f'{at}_project_conv', f'{at}_bn2')
            x = x + y if step == 1 and x.shape[1] == outputs else y
            block += 1
    return stem, x


def test_lite1_is_the_published_size() -> None:
    trunk = EfficientNetLite()
    assert trunk.widths == (24, 40, 112, 320)
    assert sum(parameter.numel() for parameter in trunk.parameters()) == LITE1_PARAMETERS
    stem, levels = trunk.eval()(torch.zeros(1, 3, 72, 96))
    assert stem.shape == (1, 32, 36, 48)
    assert [tuple(level.shape[1:]) for level in levels] == [
        (24, 18, 24), (40, 9, 12), (112, 5, 6), (320, 3, 3),
    ]  # fmt: skip


@torch.no_grad()
def test_published_weights_answer_as_they_did(tmp_path: Path) -> None:
    trunk = small_trunk()
    state = published_state(trunk)
    file = tmp_path / 'published.pth'
    torch.save(state, file)
    trunk.load_state_dict(published_weights(trunk, file))
    # Padding is grey in one normalisation and not in the other: the rim is not compared.
    pixels = torch.rand(1, 3, 320, 320)
    mean, deviation = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    stem, levels = trunk((pixels - mean) / deviation)
    wanted_stem, wanted = published_answer(state, pixels)
    assert torch.allclose(stem[..., 1:, 1:], wanted_stem[..., 1:, 1:], atol=1e-4)
    middle = (..., slice(3, -2), slice(3, -2))
    assert wanted[middle].abs().max() > 0.1
    assert torch.allclose(levels[-1][middle], wanted[middle], rtol=1e-3, atol=1e-3)


def test_other_files_are_refused(tmp_path: Path) -> None:
    trunk = small_trunk()
    file = tmp_path / 'published.pth'
    torch.save(published_state(trunk), file)
    assert is_published(file)
    with pytest.raises(ValueError, match='not the weights of an EfficientNet-Lite of this size'):
        published_weights(EfficientNetLite(), file)
    torch.save({'average': {}}, file)
    assert not is_published(file)
    file.write_text('no weights')
    assert not is_published(file)
    assert not is_published(tmp_path / 'absent.pth')
    assert not is_published(tmp_path)


def test_training_starts_from_published_weights(tmp_path: Path) -> None:
    pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')
    from focus_depth_ros.training import compact, stages
    from focus_depth_ros.training.checkpoint import load_initial
    from focus_depth_ros.training.config import read_config

    config = read_config(Path(compact.__file__).with_name('configs') / 'compact.yaml')
    state = published_state(EfficientNetLite())
    file = tmp_path / 'published.pth'
    torch.save(state, file)
    network = compact.build(config)
    afresh = load_initial(network, compact.initial(file, config))
    assert {name.split('.')[1] for name in afresh if name.startswith('encoder')} == {
        'detail', 'laterals', 'word_views', 'word_mix', 'context',
    }  # fmt: skip
    last = network.encoder.trunk.stages[3][-1].project[0].weight
    assert torch.equal(last, state['_blocks.20._project_conv.weight'])
    stages.freeze_all_but(network, config.stages[0].trained, config.frozen)
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    in_trunk = {name for name in learning if name.startswith('encoder.trunk')}
    assert in_trunk == {
        name for name, p in network.named_parameters()
        if name.startswith('encoder.trunk.stages') and p.ndim == 4
    }  # fmt: skip
    stages.train_mode(network)
    assert not network.encoder.trunk.stages[0][0].expand[1].training
    *_, trunk = stages.make_optimizers(network, config.stages[0], 0.02, config.trunk_rate)
    assert len(trunk.param_groups[0]['params']) == len(in_trunk)
    assert trunk.param_groups[0]['peak'] == pytest.approx(0.2 * config.stages[0].adam_lr)
    assert trunk.param_groups[0]['weight_decay'] == 0
