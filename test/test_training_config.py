"""Settings files: bases, kinds of values, and the shipped ones put to use."""

from pathlib import Path

import pytest

torch = pytest.importorskip('torch', reason='training needs torch (extra: train)')
torch.set_num_threads(1)

from compact_model import SMALL_TRUNK  # noqa: E402
from learning_weights import learning  # noqa: E402

from focus_depth_ros.cli import main  # noqa: E402
from focus_depth_ros.networks.compact import FocusOutput  # noqa: E402
from focus_depth_ros.networks.efficientnet_lite import is_published  # noqa: E402
from focus_depth_ros.networks.mssa import MSSA, FusionVariant, vary  # noqa: E402
from focus_depth_ros.synthesis.vocabulary import MOST_WORDS  # noqa: E402
from focus_depth_ros.training import compact, config, stages  # noqa: E402
from focus_depth_ros.training.checkpoint import averaged_weights, load_initial, plain  # noqa: E402
from focus_depth_ros.training.config import read_config  # noqa: E402
from focus_depth_ros.training.families import family_named  # noqa: E402

CONFIGS = Path(config.__file__).with_name('configs')
COMPACT = sorted(path.stem for path in CONFIGS.glob('*.yaml') if 'foundation' not in path.stem)
TINY = {
    'stem': 8, 'trunk': SMALL_TRUNK, 'detail': 8, 'decoder': 16,
    'fine': 8, 'boundary': 8, 'grounding': 16, 'experts_hidden': 4,
}  # fmt: skip


def network_of(settings: config.TrainConfig) -> torch.nn.Module:
    object.__setattr__(settings, 'network', TINY)
    torch.manual_seed(0)
    network = compact.build(settings)
    vary(network, settings.fusion)
    return network


def test_a_file_says_only_what_differs_from_its_base(tmp_path: Path) -> None:
    (tmp_path / 'middle.yaml').write_text(
        f'base: {CONFIGS / "compact.yaml"}\nask: {{box: 0.5}}\nclip: 1e-4\n'
    )
    (tmp_path / 'top.yaml').write_text('base: middle.yaml\nterms: [global]\n')
    base, top = read_config(CONFIGS / 'compact.yaml'), read_config(tmp_path / 'top.yaml')
    assert top.ask.box == 0.5
    assert top.ask.text == base.ask.text  # groups are merged
    assert top.terms == ('global',)  # lists are replaced
    assert top.clip == 1e-4  # YAML itself takes this for a word
    assert top.stages == base.stages


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        ('learning_rate: 1', 'learning_rate is unknown'),
        ('batsh: 2', r'batsh is unknown \(is it batch\?\)'),
        ('ask: {box: 5}', 'ask: box is 5.0; it is a share'),
        ('ask: {box: 0.7, text: 0.7}', 'over 1 together'),
        ('fusion: {gate: false}', 'fusion: gate is unknown'),
        ('steps: many', "steps is 'many', which is not int"),
        ('steps: 1.5', 'steps is 1.5, which is not int'),
        ('bfloat16: 1', 'bfloat16 is 1, which is not bool'),
        ('objective: mine', "objective is 'mine', which is not 'compact' or 'focusdepth'"),
        ('stages: []', 'must add up to 1'),
        ('terms: global', "terms is 'global', which is not"),
        ('stages: [{share: 1}]', 'stages: adam_lr is missing'),
        ('- steps', 'settings are expected here'),
        ('a: [', 'not readable as YAML'),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, lines: str, message: str) -> None:
    head = '' if lines.startswith(('-', 'a:')) else f'base: {CONFIGS / "compact.yaml"}\n'
    (tmp_path / 'bad.yaml').write_text(head + lines + '\n')
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path / 'bad.yaml')


def test_a_file_that_is_its_own_base_is_told(tmp_path: Path) -> None:
    (tmp_path / 'one.yaml').write_text('base: two.yaml\n')
    (tmp_path / 'two.yaml').write_text('base: one.yaml\n')
    with pytest.raises(ValueError, match=r'one\.yaml: it is its own base'):
        read_config(tmp_path / 'one.yaml')


@pytest.mark.parametrize('name', COMPACT)
def test_every_shipped_file_fits_the_network_and_its_losses(name: str) -> None:
    settings = read_config(CONFIGS / f'{name}.yaml')
    network = family_named(settings.family).build(settings)
    vary(network, settings.fusion)
    for stage in settings.stages:
        stages.freeze_all_but(network, stage.trained)
        learning = sum(p.numel() for p in network.parameters() if p.requires_grad)
        groups = stages.make_optimizers(network, stage, settings.weight_decay)
        held = sum(p.numel() for o in groups for g in o.param_groups for p in g['params'])
        assert held == learning > 0
    assert settings.output.name == name


def test_published_dropout() -> None:
    """FocusDepth and its controls train MSSA with 0.1; the shipped model is trained without."""
    for name in COMPACT:
        settings = read_config(CONFIGS / f'{name}.yaml')
        if settings.family == 'compact':
            network = compact.build(settings)
            vary(network, settings.fusion)
            rate = network.focus.fusion8.mixture.dropout.p
            assert rate == (0.1 if settings.objective == 'focusdepth' else 0.0), name


def test_what_a_later_stage_freezes_has_no_gradient_left() -> None:
    """It would count in the norm that is clipped, until a resume forgets it."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    stages.freeze_all_but(network, ('0.*',))
    network(torch.ones(1, 2)).sum().backward()
    assert network[0].weight.grad is not None
    stages.freeze_all_but(network, ('1.*',))
    assert network[0].weight.grad is None


def test_freezing_lists_of_the_two_stages() -> None:
    """Stage 1: MSSA alone. Stage 2: also decoder, prompt fusion, mask; encoders never."""
    settings = read_config(CONFIGS / 'focusdepth.yaml')
    network = network_of(settings)
    names = {name for name, _ in network.named_parameters()}
    first, second = settings.stages
    stages.freeze_all_but(network, first.trained, settings.frozen)
    adapters = {
        f'{prefix}.{name}'
        for prefix, part in network.named_modules()
        if isinstance(part, MSSA)
        for name, _ in part.named_parameters()
    }
    assert learning(network) == adapters
    stages.freeze_all_but(network, second.trained, settings.frozen)
    frozen = ('words', 'pixel_', 'prompt_', 'film', 'relation', 'finer')
    prefixes = ('encoder.', *(f'focus.prompt.{part}' for part in frozen))
    encoders = {name for name in names if name.startswith(prefixes)}
    assert learning(network) == names - encoders
    assert 'focus.prompt.mask.weight' in learning(network)
    baseline = read_config(CONFIGS / 'finetuned.yaml')
    stages.freeze_all_but(network, baseline.stages[0].trained, baseline.frozen)
    assert not any(name.startswith('focus.prompt') for name in learning(network))
    depth_encoder = {n for n in names if n.startswith('encoder.') and 'word' not in n}
    assert depth_encoder <= learning(network) and baseline.trunk_rate == 1.0
    assert baseline.terms == ('global',)
    with pytest.raises(ValueError, match=r"named like 'decoder\.\*'"):
        stages.freeze_all_but(network, ('decoder.*',))


def test_published_rates() -> None:
    published = read_config(CONFIGS / 'focusdepth.yaml')
    assert (published.clip, published.weight_decay) == (1.0, 1e-5)
    first, second = published.stages
    assert first.decay_from == second.decay_from == 0.1
    assert (first.adam_lr, second.adam_lr) == (1e-4, 1e-5)
    assert stages.stage_bounds((first, second), 50) == [(0, 10), (10, 50)]
    for stage in (first, second):
        assert (stage.muon_lr, stage.warm_up, stage.decay) == (0, 0.1, 'cosine')
    share = [stages.learning_rate_share(step, 100, second) for step in range(101)]
    assert share[0] == pytest.approx(0.1)
    assert share[9] == share[10] == 1
    assert share[55] == pytest.approx(0.5)
    assert share[100] == 0
    (flat,) = read_config(CONFIGS / 'compact.yaml').stages
    share = [stages.learning_rate_share(step, 100, flat) for step in range(101)]
    assert share[3] == share[40] == 1
    assert share[70] == pytest.approx(0.5)
    assert share[100] == 0


def test_what_is_frozen_is_frozen_whole() -> None:
    network = network_of(read_config(CONFIGS / 'focusdepth.yaml'))
    stages.freeze_all_but(network, ('focus.fusion*',))
    stages.train_mode(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    features = network.encoder(torch.randn(1, 3, *network.shape.grid(1)))
    network.focus(features, torch.zeros(1, 4), torch.zeros(1, MOST_WORDS, dtype=torch.int32))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.focus.fusion8.mixture.dropout.training
    assert not network.encoder.detail[0][1].training


def test_prompts_of_the_controls() -> None:
    batch = {
        'box': torch.rand(3, 2, 4),
        'words': torch.arange(48).reshape(3, 2, 8),
        'mask': torch.rand(3, 2, 5, 5),
    }
    assert compact.asked(batch, 'right') is batch
    empty, wrong = compact.asked(batch, 'empty'), compact.asked(batch, 'wrong')
    assert not empty['box'].any() and not empty['words'].any()
    for name in ('box', 'words'):
        assert torch.equal(wrong[name][1], batch[name][0])
        assert torch.equal(wrong[name][0], batch[name][2])
    assert empty['mask'] is wrong['mask'] is batch['mask']
    alone = {name: value[:1] for name, value in batch.items()}
    assert not compact.asked(alone, 'empty')['box'].any()
    with pytest.raises(ValueError, match="wrong asks another picture's: two or more"):
        compact.asked(alone, 'wrong')


def checkpoint(network: torch.nn.Module, path: Path) -> Path:
    """A checkpoint as runs have always left it: the averaged network under `module.`."""
    average = {f'module.{name}': value for name, value in network.state_dict().items()}
    torch.save({'average': {'n_averaged': torch.tensor(3), **average}, 'step': 3}, path)
    return path


def test_a_run_starts_from_the_weights_of_another(tmp_path: Path) -> None:
    settings = read_config(CONFIGS / 'compact.yaml')
    first = network_of(settings)
    torch.nn.init.normal_(first.focus.fusion8.mixture.outer.weight)
    path = checkpoint(first, tmp_path / 'checkpoint.pt')
    second = network_of(settings)
    assert load_initial(second, averaged_weights(path)) == []
    for name, value in second.state_dict().items():
        assert torch.equal(value, first.state_dict()[name]), name
    single = network_of(settings)
    vary(single, FusionVariant(experts=1))
    afresh = load_initial(
        single, averaged_weights(path)
    )  # adapters of another form stay as they were made
    assert afresh and all(name.startswith('focus.fusion') for name in afresh)
    assert not single.focus.fusion8.mixture.outer.weight.any()
    assert torch.equal(single.encoder.context.weight, first.encoder.context.weight)
    assert len(averaged_weights(path)) == len(first.state_dict())


def test_a_vocabulary_may_have_grown_and_a_head_be_new(tmp_path: Path) -> None:
    settings = read_config(CONFIGS / 'compact.yaml')
    first, second = network_of(settings), network_of(settings)
    table = first.focus.prompt.words.vectors
    first.focus.prompt.words.vectors = torch.nn.Embedding(9, table.embedding_dim)
    second.focus.extra = torch.nn.Linear(3, 3)
    fresh = second.focus.prompt.words.vectors.weight.detach().clone()
    path = checkpoint(first, tmp_path / 'checkpoint.pt')
    assert load_initial(second, averaged_weights(path)) == [
        'focus.extra.weight',
        'focus.extra.bias',
    ]
    grown = second.focus.prompt.words.vectors.weight
    assert torch.equal(grown[:9], first.focus.prompt.words.vectors.weight)
    assert torch.equal(grown[9:], fresh[9:])


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    network = network_of(read_config(CONFIGS / 'compact.yaml'))
    path = checkpoint(torch.nn.Linear(3, 3), tmp_path / 'checkpoint.pt')
    with pytest.raises(ValueError, match='most other initial weights do not fit the network'):
        load_initial(network, averaged_weights(path))
    for text in ('nothing', 'hello', 'seed: 1\n', 'runs/a\n'):  # each fails elsewhere in torch
        (tmp_path / 'text.pt').write_text(text)
        assert not is_published(tmp_path / 'text.pt')
        with pytest.raises(ValueError, match='not a checkpoint'):
            averaged_weights(tmp_path / 'text.pt')


def test_numbers_no_run_can_have_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (('threads', '0'), ('steps', '0'), ('seed', '-1')):
        assert main(['train', str(CONFIGS / 'compact.yaml'), f'--{name}', value]) == 2
        assert f'{name} is {value}; it must be' in capsys.readouterr().err


def test_settings_are_kept_in_a_form_that_weights_only_loading_reads(tmp_path: Path) -> None:
    from dataclasses import asdict

    kept = plain(asdict(read_config(CONFIGS / 'no_gate.yaml')))
    torch.save(kept, tmp_path / 'settings.pt')
    again = torch.load(tmp_path / 'settings.pt', weights_only=True)
    assert again['fusion']['gated'] is False
    assert again['train'] == 'data/train'


def test_focusdepths_loss_is_taken_in_disparity() -> None:
    """A perfect answer, up to scale and shift, costs nothing; one in depth does."""
    settings = read_config(CONFIGS / 'focusdepth.yaml')
    objective = compact.objective(network_of(settings), settings)
    height, width = objective.network.shape.grid(2)
    disparity = torch.linspace(0.4, 1.2, height).reshape(1, -1, 1).repeat(1, 1, width)
    mask = torch.zeros(1, 1, height, width)
    mask[..., height // 3 : height // 2, width // 3 : width // 2] = 1
    batch = {
        'disparity': disparity,
        'objects': mask[:, 0] > 0,
        'boundary': torch.zeros(1, height, width, dtype=torch.uint8),
        'box': torch.zeros(1, 1, 4),
        'mask': mask,
        'kind': torch.ones(1, 1, dtype=torch.int64),
        'words_at': torch.zeros(1, 1, 1, 1),
    }
    logits = 80 * mask[:, 0] - 40

    def cost(inverse_depth: torch.Tensor) -> float:
        nothing = torch.zeros(1)
        output = FocusOutput(inverse_depth, logits, logits, nothing, nothing, nothing, ())
        terms = objective.terms(output, nothing, batch)
        assert set(terms) == {'global', 'foreground', 'boundary', 'mask'}
        return float(sum(terms.values()))

    assert cost(3 * disparity + 1) < 1e-3
    assert cost(-3 / disparity) > 0.01
