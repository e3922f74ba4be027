"""Muon: steps by hand, and which weights it is given."""

from pathlib import Path

import pytest

torch = pytest.importorskip('torch', reason='training needs torch (extra: train)')
pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')
torch.set_num_threads(1)

from focus_depth_ros.training import compact, muon, stages  # noqa: E402
from focus_depth_ros.training.config import read_config  # noqa: E402
from focus_depth_ros.training.muon import Muon, orthogonalised  # noqa: E402


@pytest.mark.parametrize('has_bfloat16', [True, False])
def test_muon_steps_are_nearly_orthogonal(
    has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, 'multiplies_bfloat16', lambda device: has_bfloat16)
    torch.manual_seed(0)
    step = orthogonalised(torch.randn(12, 40))
    values = torch.linalg.svdvals(step)
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_two_steps_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nesterov momentum, orthogonalised, 0.2 sqrt(longer side) long; decay beside it."""
    monkeypatch.setattr(muon, 'multiplies_bfloat16', lambda device: False)
    generator = torch.Generator().manual_seed(0)
    start, first, second = torch.randn(3, 8, 2, 3, 3, generator=generator)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = Muon([parameter], lr=0.01, momentum=0.9, weight_decay=0.5)
    wanted, momentum = start.clone(), torch.zeros_like(start)
    for grad in (first, second):
        parameter.grad = grad.clone()
        optimizer.step()
        momentum = 0.9 * momentum + grad
        update = orthogonalised((grad + 0.9 * momentum).flatten(1)).view_as(grad)
        wanted = wanted * (1 - 0.01 * 0.5) - 0.01 * 0.2 * 18**0.5 * update
        assert torch.allclose(parameter, wanted, atol=1e-6)


def test_word_vectors_are_left_to_adam() -> None:
    config = read_config(Path(compact.__file__).with_name('configs') / 'compact.yaml')
    network = compact.build(config)
    first, *rest = stages.make_optimizers(network, config.stages[0], 0.02, config.trunk_rate)
    vectors = network.focus.prompt.words.vectors.weight
    assert isinstance(first, Muon)
    held = {id(p) for optimizer in rest for g in optimizer.param_groups for p in g['params']}
    assert id(vectors) in held and id(network.encoder.trunk.stem[0].weight) in held
