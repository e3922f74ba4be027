"""FocusDepth on tiny networks: what a fresh one leaves alone, what a prompt may change."""

import math
from pathlib import Path

import pytest

torch = pytest.importorskip('torch', reason='the networks need torch (extra: foundation)')
pytest.importorskip('transformers', reason='extra: foundation')
torch.set_num_threads(1)

from foundation_cases import SAM_SIDE, picture, tiny_depth, tiny_focus_depth  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from focus_depth_ros import training  # noqa: E402
from focus_depth_ros.networks.foundation.attention import (  # noqa: E402
    EXPLICIT,
    FUSED,
    use_attention,
)
from focus_depth_ros.networks.foundation.checkpoints import WeightsError  # noqa: E402
from focus_depth_ros.networks.foundation.depth_anything import (  # noqa: E402
    DepthAnything,
    DepthShape,
    Kind,
)
from focus_depth_ros.networks.foundation.focus_depth import (  # noqa: E402
    SHARE_RATE,
    FocusDepth,
    FocusDepthShape,
    area_weights,
)
from focus_depth_ros.networks.foundation.roi_align import roi_align  # noqa: E402
from focus_depth_ros.networks.foundation.sam3 import Instances  # noqa: E402
from focus_depth_ros.networks.foundation.trained_weights import (  # noqa: E402
    TRAINABLE,
    load_trained,
    read_sides,
    read_trained_shape,
    save_trained,
)
from focus_depth_ros.networks.mssa import FusionVariant, variant_of, vary  # noqa: E402
from focus_depth_ros.training.config import read_config  # noqa: E402
from focus_depth_ros.training.stages import learning_rate_share, stage_bounds  # noqa: E402

SIDE = 56
BOXES = [[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
WORDS = [[0] * 8, [98, 7, 8, 99, 0, 0, 0, 0], [0] * 8]


def prompts() -> 'tuple[torch.Tensor, torch.Tensor]':
    return torch.tensor(BOXES), torch.tensor(WORDS, dtype=torch.int32)


@pytest.fixture(scope='module')
def network() -> FocusDepth:
    return tiny_focus_depth(FocusDepthShape(SIDE))


def opened(network: FocusDepth) -> None:
    """Adapters as after training: experts that say something, gates half open."""
    for adapter in network.adapters:
        torch.nn.init.normal_(adapter.mixture.outer.weight, std=0.3)
        torch.nn.init.zeros_(adapter.gate.bias)


@torch.no_grad()
def test_a_fresh_one_is_depth_anything(network: FocusDepth) -> None:
    rgb = picture(SAM_SIDE, SAM_SIDE)
    features = network.encode(rgb)
    assert tuple(features) == network.feature_names
    output = network(features, *prompts())
    alone = network.depth(features['picture'])[0].expand(3, -1, -1)
    assert alone.std() > 1e-3
    assert torch.allclose(output.answer, alone, atol=1e-5 * float(alone.abs().max()))
    assert output.answer.shape == output.boundary.shape == (3, SIDE, SIDE)
    assert output.mask.shape == (3, 32, 32)
    assert [side.shape[-1] for side in output.boundary_sides] == [2, 4, 8, 16]


@torch.no_grad()
def test_sky_is_in_what_leaves_and_not_in_what_is_trained() -> None:
    network = tiny_focus_depth(FocusDepthShape(SIDE), Kind.V3_METRIC)
    network.depth.head.conv3.weight.mul_(1e-2)  # exponentials of the size of depths
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(network.depth.head.sky2.weight)  # some of the picture
    features = network.encode(picture(SAM_SIDE, SAM_SIDE))
    output = network(features, *prompts())
    sky = output.inverse_depth == 0
    assert 0 < sky.float().mean() < 1
    assert torch.allclose(output.inverse_depth[~sky], 1 / output.answer[~sky].clamp(min=1e-3))
    network.depth.head.sky2.bias.fill_(-1e9)  # none of it
    assert torch.equal(network(features, *prompts()).answer, output.answer)


@torch.no_grad()
def test_prompts_steer_and_do_not_see_each_other() -> None:
    network = tiny_focus_depth(FocusDepthShape(SIDE, hidden=8))
    opened(network)
    features = network.encode(picture(SAM_SIDE, SAM_SIDE))
    boxes, words = prompts()
    together = network(features, boxes, words)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert not torch.allclose(together.answer[first], together.answer[second], atol=1e-4)
        assert not torch.allclose(together.mask[first], together.mask[second], atol=1e-3)
    scores = network.sam3.instances(together.tokens).scores
    for row in range(3):
        alone = network(features, boxes[row : row + 1], words[row : row + 1])
        assert torch.allclose(alone.answer[0], together.answer[row], atol=1e-4)
        assert torch.allclose(alone.mask[0], together.mask[row], atol=1e-4)
        assert torch.allclose(
            network.sam3.instances(alone.tokens).scores[0], scores[row], atol=1e-5
        )


@torch.no_grad()
def test_prompt_tokens_are_brought_to_the_depth_grid() -> None:
    """At equal sides token i meets token i; at a smaller side X^p is sampled at cell centres."""
    network = tiny_focus_depth(FocusDepthShape(SIDE, boundaries=False))
    features = network.encode(picture(SAM_SIDE, SAM_SIDE))
    assert 'picture' not in features and tuple(features) == network.feature_names
    boxes, words = prompts()
    tokens = network.sam3.prompted(features['sam_coarse'].expand(3, -1, -1, -1), boxes, words)
    seen = []
    hook = network.adapters[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    features = {name: value.expand(3, -1, -1, -1) for name, value in features.items()}
    network.fused_maps(features, tokens)
    hook.remove()
    grid = tokens.fused.transpose(1, 2).unflatten(2, (8, 8))
    halved = torch.nn.functional.avg_pool2d(grid, 2)  # bilinear at twice the cell: four centres
    assert torch.allclose(seen[0], halved.flatten(2).transpose(1, 2), atol=1e-5)


def test_published_sizes_of_the_adapters() -> None:
    one = tiny_focus_depth(FocusDepthShape(SIDE, paper_literal=True, boundaries=False))
    channels, prompt = 64, 32
    expert = 2 * channels * channels + channels + channels * channels + channels
    router, gate = 2 * channels * 4 + 4, channels
    expected = 4 * (prompt * channels + 4 * expert + router + gate)
    assert sum(value.numel() for value in one.adapters.parameters()) == expected
    assert len({id(adapter) for adapter in one.adapters}) == 4


@pytest.mark.parametrize(
    ('width', 'layers', 'reassemble', 'features', 'millions'),
    [
        (384, 12, (48, 96, 192, 384), 64, 24.8),
        (768, 12, (96, 192, 384, 768), 128, 97.5),
        (1024, 24, (256, 512, 1024, 1024), 256, 335.3),
    ],
)
def test_published_sizes_of_depth_anything(
    width: int, layers: int, reassemble: 'tuple[int, int, int, int]', features: int, millions: float
) -> None:
    with torch.device('meta'):
        network = DepthAnything(DepthShape(Kind.V2, width, layers, reassemble, features))
    idle = 2 * (9 * features**2 + features)  # a layer of the coarsest fusion that is never asked
    count = idle + sum(value.numel() for value in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_the_boundaries_share_can_get_somewhere() -> None:
    """At the published rate and the settings' own steps, pushed one way."""
    config = read_config(Path(training.__file__).parent / 'configs/foundation_boundaries.yaml')
    share = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([share], lr=config.stages[0].adam_lr, weight_decay=0.0)
    ends = stage_bounds(config.stages, config.steps)
    for stage, (first, last) in zip(config.stages[:2], ends, strict=False):
        for step in range(first, last):
            share.grad = -torch.ones(1)
            at = learning_rate_share(step - first, last - first, stage)
            optimizer.param_groups[0]['lr'] = stage.adam_lr * at
            optimizer.step()
    assert SHARE_RATE * share.item() > 0.5


def test_training_reaches_every_trainable_part() -> None:
    network = tiny_focus_depth(FocusDepthShape(SIDE, hidden=8)).train()
    opened(network)
    for value in (network.boundary_share, *network.refiner.parameters()):
        torch.nn.init.normal_(value, mean=0.1, std=0.1)
    features = network.encode(picture(SAM_SIDE, SAM_SIDE))
    output = network(features, *prompts())
    total = output.answer.mean() + output.mask.mean() + output.boundary.mean()
    (total + sum(side.mean() for side in output.boundary_sides)).backward()
    idle = ('mask_decoder.mask_embedder', 'mask_decoder.instance_projection', 'conv_layers.2')
    idle = (*idle, 'norms.2')  # SAM3 has one stage more than it runs
    for name, value in network.named_parameters():
        if name.startswith(TRAINABLE) and not any(part in name for part in idle):
            assert value.grad is not None and torch.isfinite(value.grad).all(), name


@torch.no_grad()
def test_trained_weights_travel(network: FocusDepth, tmp_path: Path) -> None:
    trained = tiny_focus_depth(FocusDepthShape(SIDE, hidden=8))
    opened(trained)
    trained.sam3.model.mask_decoder.semantic_projection.weight.add_(1)
    save_trained(trained, tmp_path / 'trained.safetensors')
    shape = read_trained_shape(tmp_path / 'trained.safetensors', SIDE)
    assert shape == FocusDepthShape(SIDE, hidden=8)
    assert read_sides(tmp_path / 'trained.safetensors') == (SIDE, SAM_SIDE)
    other = tiny_focus_depth(shape)
    assert load_trained(other, tmp_path / 'trained.safetensors')
    assert not load_trained(other, tmp_path / 'trained.safetensors')
    for name, value in trained.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    with pytest.raises(WeightsError, match='wrong shape'):
        load_trained(network, tmp_path / 'trained.safetensors')


@pytest.mark.parametrize(
    'change',
    [
        {'shared': True},
        {'gated': False},
        {'experts': 1},
        {'tokens': 'zero'},
        {'tokens': 'shuffled'},
    ],
)
@torch.no_grad()
def test_controls_travel(change: 'dict[str, object]', tmp_path: Path) -> None:
    """Each is rebuilt as what it was, from the shape and the metadata that its file tells."""
    trained = tiny_focus_depth(FocusDepthShape(SIDE, hidden=8, boundaries=False))
    vary(trained, FusionVariant(**change))
    opened(trained)
    save_trained(trained, tmp_path / 'trained.safetensors')
    shape = read_trained_shape(tmp_path / 'trained.safetensors', SIDE)
    assert shape == FocusDepthShape(SIDE, hidden=8, boundaries=False)
    other = tiny_focus_depth(shape)
    load_trained(other, tmp_path / 'trained.safetensors')
    assert variant_of(other) == FusionVariant(**change)
    features, answers = trained.encode(picture(SAM_SIDE, SAM_SIDE)), []
    for network in (trained, other):
        torch.manual_seed(5)
        answers.append(network(features, *prompts()).answer)
    assert torch.equal(*answers)


def test_unknown_sides_are_refused(network: FocusDepth, tmp_path: Path) -> None:
    save_trained(network, tmp_path / 'trained.safetensors')
    tensors = load_file(tmp_path / 'trained.safetensors')
    for sides in ('[', '[518]', '{"depth": null}'):
        save_file(tensors, tmp_path / 'other.safetensors', {'sides': sides})
        with pytest.raises(WeightsError, match=r'other\.safetensors: no known sides'):
            read_sides(tmp_path / 'other.safetensors')
    save_file(tensors, tmp_path / 'older.safetensors')
    assert read_sides(tmp_path / 'older.safetensors') is None


def test_an_unknown_control_is_refused(network: FocusDepth, tmp_path: Path) -> None:
    save_trained(network, tmp_path / 'trained.safetensors')
    tensors = load_file(tmp_path / 'trained.safetensors')
    for fusion in ('{"gate": 1}', '[', '{"experts": 0}'):
        save_file(tensors, tmp_path / 'other.safetensors', {'fusion': fusion})
        with pytest.raises(WeightsError, match=r'other\.safetensors: '):
            load_trained(tiny_focus_depth(FocusDepthShape(SIDE)), tmp_path / 'other.safetensors')


@torch.no_grad()
def test_a_tuned_backbone_travels_as_a_whole(tmp_path: Path) -> None:
    tuned = tiny_focus_depth(FocusDepthShape(SIDE, boundaries=False), Kind.V3_ANY_VIEW)
    for value in tuned.depth.parameters():
        value.add_(0.01)
    save_trained(tuned, tmp_path / 'tuned.safetensors', backbone=True)
    other = tiny_focus_depth(FocusDepthShape(SIDE, boundaries=False), Kind.V3_ANY_VIEW)
    load_trained(other, tmp_path / 'tuned.safetensors')
    for name, value in tuned.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    tensors = load_file(tmp_path / 'tuned.safetensors')
    del tensors['depth.backbone.layernorm.weight']
    save_file(tensors, tmp_path / 'torn.safetensors')
    with pytest.raises(WeightsError, match=r'missing: depth\.backbone\.layernorm\.weight'):
        load_trained(other, tmp_path / 'torn.safetensors')


@pytest.mark.parametrize('kind', [Kind.V2, Kind.V3_ANY_VIEW])
@torch.no_grad()
def test_attention_written_out_is_the_fused_one(kind: Kind) -> None:
    depth, rgb = tiny_depth(kind), picture(98, 70)
    answers = []
    for implementation in (FUSED, EXPLICIT):
        use_attention(depth, implementation)
        answers.append(depth(rgb)[0])
    assert torch.allclose(*answers, atol=1e-4 * float(answers[0].abs().max()))


@torch.no_grad()
def test_roi_align_is_the_mean_of_bilinear_samples() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(4, 3, 9, 11, generator=generator)
    boxes = torch.tensor(
        [[1.2, 0.7, 8.9, 6.1], [-0.5, -3.0, 10.4, 5.5], [3.0, 3.0, 3.1, 3.2], [0, 0, 11, 9]]
    )
    found = roi_align(features, boxes, 3)
    for row, (left, top, right, bottom) in enumerate(boxes.tolist()):
        width, height = max(right - left, 1.0) / 3, max(bottom - top, 1.0) / 3
        across, down = math.ceil(width), math.ceil(height)
        for i in range(3):
            for j in range(3):
                samples = [
                    sampled(
                        features[row],
                        top + i * height + (y + 0.5) * height / down,
                        left + j * width + (x + 0.5) * width / across,
                    )
                    for y in range(down)
                    for x in range(across)
                ]
                expected = sum(samples) / len(samples)
                assert torch.allclose(found[row, :, i, j], expected, atol=1e-5)


def sampled(image: 'torch.Tensor', y: float, x: float) -> 'torch.Tensor':
    """One bilinear sample of (C, H, W); nothing beyond a cell outside of the picture."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(image.shape[0])
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    v, u = y - top, x - left
    upper = (1 - u) * image[:, top, left] + u * image[:, top, left + 1]
    lower = (1 - u) * image[:, top + 1, left] + u * image[:, top + 1, left + 1]
    return (1 - v) * upper + v * lower


def test_a_box_means_the_one_instance_it_fits() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.8, 0.9], [0.52, 0.5, 0.8, 0.9]]])
    scores = torch.tensor([[0.9, 0.7, 0.02]])
    found = Instances(torch.eye(3)[None], boxes, scores).best(torch.tensor([[0.52, 0.5, 0.8, 0.9]]))
    assert found[0].argmax() == 1 and found[1] == pytest.approx(0.7)
    without = Instances(torch.eye(3)[None], boxes, scores).best(torch.zeros(1, 4))
    assert without[0].argmax() == 0 and without[1] == pytest.approx(0.9)


def test_shrinking_keeps_the_mean() -> None:
    weights = area_weights(112, 42)
    assert torch.allclose(weights.sum(1), torch.ones(42), atol=1e-6)
    assert torch.allclose(weights.sum(0), torch.full((112,), 42 / 112), atol=1e-6)
    assert (weights[3] > 0).nonzero().flatten().tolist() == [8, 9, 10]


@pytest.mark.parametrize('side', [50, 126])
def test_sides_that_do_not_fit(side: int) -> None:
    with pytest.raises(ValueError, match='multiples of 14 up to 112'):
        tiny_focus_depth(FocusDepthShape(side))
