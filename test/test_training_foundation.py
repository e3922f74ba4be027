"""The foundation family in the training loop, on tiny networks with random weights."""

import math
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='training needs torch (extra: train)')
pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')
transformers = pytest.importorskip('transformers', reason='SAM3 comes from transformers')
torch.set_num_threads(1)

from learning_weights import learning  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from focus_depth_ros.networks.foundation.depth_anything import (  # noqa: E402
    DepthAnything,
    DepthShape,
    Kind,
)
from focus_depth_ros.networks.foundation.focus_depth import (  # noqa: E402
    FocusDepth,
    FocusDepthOutput,
)
from focus_depth_ros.networks.foundation.sam3 import Sam3  # noqa: E402
from focus_depth_ros.networks.foundation.trained_weights import load_trained  # noqa: E402
from focus_depth_ros.synthesis.sample import Sample, SceneObject, write_sample  # noqa: E402
from focus_depth_ros.synthesis.themes import VIEWS_PER_SCENE  # noqa: E402
from focus_depth_ros.training import foundation, stages, train, validation  # noqa: E402
from focus_depth_ros.training.config import TrainConfig, read_config  # noqa: E402
from focus_depth_ros.training.draws import Draw  # noqa: E402
from focus_depth_ros.training.example import PromptShares  # noqa: E402

CONFIGS = Path(train.__file__).with_name('configs')
SMALL = {
    'hidden_size': 32, 'num_layers': 1, 'num_attention_heads': 4, 'intermediate_size': 48,
}  # fmt: skip


def tiny_sam3(path: Path, visual: 'tuple[int, ...]', side: int) -> Sam3:
    torch.manual_seed(1)
    config = transformers.Sam3Config(
        vision_config={
            'backbone_config': {
                'model_type': 'sam3_vit_model', 'hidden_size': 32, 'intermediate_size': 48,
                'num_hidden_layers': 2, 'num_attention_heads': 2, 'image_size': side,
                'window_size': 4, 'global_attn_indexes': [1], 'pretrain_image_size': 56,
            },
            'fpn_hidden_size': 32,
        },
        text_config={
            'model_type': 'clip_text_model', 'vocab_size': 516, 'hidden_size': 32,
            'intermediate_size': 64, 'projection_dim': 16, 'num_hidden_layers': 1,
            'num_attention_heads': 2, 'max_position_embeddings': 32, 'hidden_act': 'gelu',
        },
        geometry_encoder_config=SMALL,
        detr_encoder_config=SMALL,
        detr_decoder_config={**SMALL, 'num_queries': 3},
        mask_decoder_config={'hidden_size': 32, 'num_attention_heads': 4},
    )  # fmt: skip
    return Sam3(config, visual)


def tiny_depth(
    path: Path, kind: 'Kind | None' = None, max_depth_m: 'float | None' = None
) -> DepthAnything:
    torch.manual_seed(0)
    network = DepthAnything(DepthShape(Kind.V2, 64, 12, (8, 8, 16, 16), 16, 8))
    *_, last = network.head.parameters()
    torch.nn.init.ones_(last)  # inverse depth is cut off at 0: random weights must stay above it
    return network


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foundation, 'load_sam3', tiny_sam3)
    monkeypatch.setattr(foundation, 'load_depth_anything', tiny_depth)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames of a block before a wall, and a merges.txt."""
    folder = tmp_path_factory.mktemp('foundation')
    (folder / 'merges.txt').write_text('#version: 0.2\nr e\nre d</w>\n')
    ids = np.zeros((60, 80), np.uint8)
    ids[20:50, 15:50] = 4
    depth_m = np.where(ids == 4, 0.8, 1.6).astype(np.float32)
    depth_m[:3, :3] = np.nan
    rgb = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    edges = (ids - cv2.erode(ids, np.ones((3, 3), np.uint8)) > 0).astype(np.uint8)
    item = SceneObject(4, 'block', 'red', 'plastic', (15, 20, 50, 50), 1050, ['the red block'])
    K = np.array([[80.0, 0, 39.5], [0, 80.0, 29.5], [0, 0, 1]])
    frame = Sample(rgb, depth_m, ids, edges, K, [item])
    with tarfile.open(folder / 'train-000000.tar', 'w') as shard:
        write_sample(shard, '0', frame)
        write_sample(shard, '1', frame)
    return folder


def config(folder: Path, name: str, output: Path) -> TrainConfig:
    settings = read_config(CONFIGS / f'{name}.yaml')
    network = {**settings.network, 'depth': folder, 'sam3': folder, 'side_px': 56}
    return replace(
        settings,
        network={**network, 'sam_side_px': 112},
        train=folder,
        validation=folder,
        output=output,
        initial=None,
        steps=4,
        batch=2,
        threads=1,
        workers=0,
        bfloat16=False,
        validation_frames=2,
    )


def within(network: FocusDepth, *beginnings: str) -> 'set[str]':
    return {name for name, _ in network.named_parameters() if name.startswith(beginnings)}


def test_what_the_depth_weights_do_not_tell_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(
        foundation, 'load_depth_anything', lambda path, *rest: told.append(rest) or tiny_depth(path)
    )
    settings = config(folder, 'foundation', folder)
    metric = {'kind': Kind.V2_METRIC.value, 'max_depth_m': 20.0}
    foundation.build(settings)
    foundation.build(replace(settings, network={**settings.network, **metric}))
    assert told == [(None, None), (Kind.V2_METRIC, 20.0)]


def test_freezing_lists(folder: Path) -> None:
    """As the paper's table has them: both image encoders and the prompt encoder never learn."""
    settings = config(folder, 'foundation', folder)
    network = foundation.build(settings)
    stages.freeze_all_but(network, settings.stages[0].trained)
    assert learning(network) == within(network, 'adapters.')
    stages.freeze_all_but(network, settings.stages[1].trained)
    decoders = (
        'adapters.', 'depth.neck.', 'depth.head.', 'depth.map_norm.', 'sam3.model.detr_encoder.',
        'sam3.model.mask_decoder.',
    )  # fmt: skip
    assert learning(network) == within(network, *decoders)
    norm_of_depth_anything_3 = 'depth.map_norm.weight'  # V2 has none
    assert stages.learns(norm_of_depth_anything_3, settings.stages[1].trained)
    encoders = (
        'depth.backbone.', 'sam3.model.vision_encoder.', 'sam3.model.text_encoder.',
        'sam3.model.geometry_encoder.',
    )  # fmt: skip
    assert within(network, *encoders) and not learning(network) & within(network, *encoders)
    baseline = config(folder, 'foundation_finetuned', folder).stages[0]
    stages.freeze_all_but(network, baseline.trained)
    assert learning(network) == within(network, 'depth.')
    with_boundaries = config(folder, 'foundation_boundaries', folder)
    network = foundation.build(with_boundaries)
    lists = [('boundary',), ('boundary',), ('refiner.',)]
    for stage, beginnings in zip(with_boundaries.stages, lists, strict=True):
        stages.freeze_all_but(network, stage.trained)
        assert learning(network) == within(network, *beginnings) != set()


def test_one_question_a_picture(folder: Path) -> None:
    settings = config(folder, 'foundation', folder)
    draw = Draw(str(folder / 'train-000000.tar'), 0, (0, 1))
    boxed = replace(settings, ask=PromptShares(box=1, text=0, jitter=0))
    made = foundation.examples(boxed, augment=False)[draw]
    assert made['picture'].shape == (112, 112, 3)
    assert made['box'].tolist() == pytest.approx([15 / 80, 20 / 60, 50 / 80, 50 / 60])
    assert not made['words'].any()
    assert made['mask'].sum() == 30 * 35
    assert made['depth'][0, 0] == 0 and made['depth'].max() == np.float32(1.6)
    assert set(np.unique(made['boundary'])) == {0, 1}
    spoken = replace(settings, ask=PromptShares(box=0, text=1))
    made = foundation.examples(spoken, augment=True)[draw]
    assert not made['box'].any()
    start, *_, end = [token for token in made['words'] if token]
    assert (start, end) == (514, 515)  # 512 letters, two merges, then start and end


def test_published_optimisers(folder: Path) -> None:
    """AdamW with 1e-5 of decay for FocusDepth; Adam, which is AdamW without, for MoDOT."""
    for name, rates, decay in (
        ('foundation', [1e-4, 1e-5], 1e-5),
        ('foundation_finetuned', [1e-5], 1e-5),
        ('foundation_boundaries', [3e-5] * 3, 0.0),
    ):
        settings = read_config(CONFIGS / f'{name}.yaml')
        assert [stage.adam_lr for stage in settings.stages] == rates
        assert {stage.muon_lr for stage in settings.stages} == {0}
        assert settings.weight_decay == decay
        assert (settings.clip, settings.ema) == (1.0, 0.0)
        assert settings.steps == math.ceil(5 * 2950 * VIEWS_PER_SCENE / settings.batch)


def test_published_stages(folder: Path) -> None:
    two = read_config(CONFIGS / 'foundation.yaml').stages
    assert [(s.share, s.warm_up, s.decay_from, s.decay) for s in two] == [
        (0.2, 0.1, 0.1, 'cosine'),
        (0.8, 0.1, 0.1, 'cosine'),
    ]
    first, *later = read_config(CONFIGS / 'foundation_boundaries.yaml').stages
    assert first.terms == ('silog', 'occlusion')
    assert {stage.terms for stage in later} == {('silog', 'occlusion', 'agreement')}
    network = foundation.build(config(folder, 'foundation', folder))
    for adapter in network.adapters:
        assert adapter.mixture.dropout.p == 0.1
        assert (adapter.gate.bias == -4).all()


@pytest.mark.parametrize('kind', [Kind.V2, Kind.V3_MONO])
def test_a_perfect_answer_costs_nothing(folder: Path, kind: Kind) -> None:
    """Perfect up to scale and shift, in disparity where the network answers that, else in depth."""
    settings = replace(
        config(folder, 'foundation_boundaries', folder),
        terms=('global', 'foreground', 'boundary', 'silog', 'agreement'),
    )
    network = foundation.build(settings)
    network.depth.shape = replace(network.depth.shape, kind=kind)
    objective = foundation.objective(network, settings)
    depth = torch.linspace(1.5, 1.7, 64).expand(1, 64, 64).clone()
    depth[:, 20:50, 15:40] = 1.1
    mask = (depth < 1.2).float()
    edge = torch.zeros_like(depth)
    edge[:, 20:50, 15] = edge[:, 20:50, 39] = edge[:, 20, 15:40] = edge[:, 49, 15:40] = 1
    inverse = kind.answers_inverse_depth
    output = FocusDepthOutput(
        answer=3 / depth + 1 if inverse else 3 * depth + 1,
        inverse_depth=1 / depth,
        mask=80 * mask - 40,
        boundary=80 * edge - 40,
        boundary_sides=tuple(
            torch.zeros(1, 1, 64 // stride, 64 // stride) for stride in (16, 8, 4, 2)
        ),
        tokens=None,  # type: ignore[arg-type]
        pixels=None,  # type: ignore[arg-type]
    )
    batch = {'depth': depth, 'mask': mask, 'boundary': edge.to(torch.uint8)}
    for name, value in objective.terms(output, batch).items():
        assert float(value) < (0.002 if name == 'agreement' else 1e-4), name
    wrong = replace(output, answer=1 / output.answer)
    assert float(objective.terms(wrong, batch)['global']) > 1e-4


def with_network(settings: TrainConfig, **changes: object) -> TrainConfig:
    return replace(settings, network={**settings.network, **changes})


def test_adapters_have_the_width_that_is_asked_for(folder: Path) -> None:
    network = foundation.build(with_network(config(folder, 'foundation', folder), hidden=16))
    assert network.shape.hidden == 16
    assert network.adapters[0].mixture.inner.out_features == 4 * 16


def test_random_adapters_that_never_learn_are_refused(folder: Path) -> None:
    for name in ('foundation_finetuned', 'foundation_boundaries'):
        literal = with_network(config(folder, name, folder), paper_literal=True)
        with pytest.raises(ValueError, match='random adapters in the path of depth'):
            foundation.build(literal)
        assert foundation.build(replace(literal, initial=folder / 'checkpoint.pt'))
    literal = with_network(config(folder, 'foundation', folder), paper_literal=True)
    assert foundation.build(literal).shape.paper_literal


def test_a_lone_validation_picture_is_not_asked_its_own_prompt(folder: Path) -> None:
    settings = replace(config(folder, 'foundation', folder), prompt='wrong', terms=('mask',))
    network = foundation.build(settings)
    lone = replace(settings, validation_frames=1, output=folder)
    assert validation.validate(foundation, network, lone, 0) == {}
    both = replace(settings, validation_frames=2, output=folder)
    assert validation.validate(foundation, network, both, 0).keys() == {'mask', 'iou'}


@torch.no_grad()
def test_boundaries_weigh_what_the_settings_say(folder: Path) -> None:
    settings = config(folder, 'foundation_boundaries', folder)
    settings = replace(settings, terms=('occlusion', 'silog'))
    network = foundation.build(settings)
    draw = Draw(str(folder / 'train-000000.tar'), 0, (0, 1))
    batch = torch.utils.data.default_collate([foundation.examples(settings, augment=False)[draw]])
    once, heavier = (
        foundation.objective(network.eval(), replace(settings, occlusion_weight=weight))(batch)
        for weight in (1.0, 5.0)
    )
    assert float(heavier['occlusion']) == pytest.approx(5 * float(once['occlusion']), rel=1e-5)
    assert float(heavier['silog']) == pytest.approx(float(once['silog']), rel=1e-5)


@pytest.mark.parametrize('prompt', ['right', 'empty', 'wrong'])
def test_gradients_reach_what_learns_and_nothing_else(folder: Path, prompt: str) -> None:
    settings = replace(config(folder, 'foundation', folder), prompt=prompt)
    network = foundation.build(settings)
    for adapter in network.adapters:
        torch.nn.init.normal_(adapter.mixture.outer.weight, std=0.1)
    stages.freeze_all_but(network, settings.stages[1].trained)
    shard = str(folder / 'train-000000.tar')
    data = foundation.examples(settings, augment=False)
    batch = torch.utils.data.default_collate([data[Draw(shard, n, (0, n))] for n in (0, 1)])
    terms = foundation.objective(network, settings)(batch)
    assert list(terms) == ['global', 'foreground', 'boundary', 'mask']
    sum(terms.values()).backward()
    assert network.adapters[2].mixture.inner.weight.grad.abs().sum() > 0
    assert network.depth.head.conv1.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.parameters() if not p.requires_grad)
    with pytest.raises(ValueError, match=r"terms: \['occlusion'\] are not to be had"):
        foundation.objective(network, replace(settings, terms=('occlusion',)))(batch)


def test_boundaries_and_depth_need_not_agree_round_holes(folder: Path) -> None:
    """A network that says `no boundary` is not asked to be smooth where depth is unknown."""
    settings = config(folder, 'foundation_boundaries', folder)
    settings = replace(settings, terms=('agreement',))
    objective = foundation.objective(foundation.build(settings), settings)
    depth = torch.linspace(1, 2, 12).expand(1, 12, 12).clone()
    hole = (slice(None), slice(4, 8), slice(4, 8))
    answer = 1 / depth
    depth[hole], answer[hole] = 0, 0.1  # the network sees far through the hole
    answer.requires_grad_()
    logits = torch.full((1, 12, 12), -9.0)
    output = FocusDepthOutput(answer, answer, logits, logits, (logits[:, None],), None, None)
    batch = {'depth': depth, 'mask': depth, 'boundary': torch.zeros(1, 12, 12)}
    objective.terms(output, batch)['agreement'].backward()
    assert not answer.grad[hole].any()
    assert answer.grad[:, 4:8, 9:].any()


def test_the_baselines_backbone_is_kept(folder: Path, tmp_path: Path) -> None:
    """DA-ft trains the whole depth network: what it leaves makes the same network again."""
    settings = config(folder, 'foundation_finetuned', tmp_path / 'run')
    train.train(settings)
    state = torch.load(settings.output / 'checkpoint.pt', weights_only=True)
    network = foundation.build(settings)
    fresh = {name: value.clone() for name, value in network.state_dict().items()}
    load_trained(network, settings.output / 'trained.safetensors')
    learned = {
        name.removeprefix('module.'): value
        for name, value in state['average'].items()
        if name.startswith('module.depth.')
    }
    assert any(
        not torch.equal(fresh[name], learned[name]) for name in learned if 'backbone' in name
    )
    for name, value in learned.items():
        assert torch.equal(network.state_dict()[name], value), name


def test_two_stages_end_in_weights_that_the_export_takes(folder: Path, tmp_path: Path) -> None:
    settings = config(folder, 'foundation_boundaries', tmp_path / 'run')
    train.train(settings)
    state = torch.load(settings.output / 'checkpoint.pt', weights_only=True)
    assert not any(name.startswith('sam3.model.vision_encoder') for name in state['network'])
    assert any(name.startswith('refiner.') for name in state['network'])
    left = load_file(settings.output / 'trained.safetensors')
    assert not any(name.startswith('depth.backbone.') for name in left)  # the user's own: untouched
    network = foundation.build(settings)
    load_trained(network, settings.output / 'trained.safetensors')
    weights = network.state_dict()
    for name, value in state['average'].items():
        if name.startswith(('module.boundary', 'module.refiner')):
            assert torch.equal(weights[name.removeprefix('module.')], value)
    assert (settings.output / 'validation_000004.png').is_file()
