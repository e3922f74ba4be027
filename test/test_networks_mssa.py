"""MSSA: identity when closed, token-wise, and as large as the paper's."""

import pytest

torch = pytest.importorskip('torch', reason='the networks need torch (extra: train)')
torch.set_num_threads(1)

from focus_depth_ros.networks.mssa import (  # noqa: E402
    MSSA,
    FoldedMSSA,
    FusionVariant,
    fuse_maps,
    variant_of,
    vary,
)


def tokens(seed: int, channels: int, count: int = 30) -> 'torch.Tensor':
    return torch.randn(2, count, channels, generator=torch.Generator().manual_seed(seed))


def open_adapter(**options: object) -> MSSA:
    """An adapter whose experts do something, as after training."""
    torch.manual_seed(3)
    adapter = MSSA(16, 12, **options).eval()
    torch.nn.init.normal_(adapter.mixture.outer.weight)
    return adapter


def test_untrained_adapter_is_the_identity() -> None:
    geometry = tokens(0, 16)
    assert torch.allclose(MSSA(16, 12).eval()(geometry, tokens(1, 12)), geometry, atol=1e-6)


def test_closed_gate_is_the_identity() -> None:
    adapter = open_adapter()
    torch.nn.init.zeros_(adapter.gate.weight)
    torch.nn.init.constant_(adapter.gate.bias, -40.0)
    geometry = tokens(0, 16)
    assert torch.allclose(adapter(geometry, tokens(1, 12)), geometry, atol=1e-6)


@pytest.mark.parametrize('literal', [False, True])
def test_tokens_are_treated_alike_and_kept_in_pairs(literal: bool) -> None:
    adapter = open_adapter(paper_literal=literal)
    geometry, prompt = tokens(0, 16), tokens(1, 12)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    fused = adapter(geometry, prompt)
    both = adapter(geometry[:, order], prompt[:, order])
    assert torch.allclose(both, fused[:, order], atol=1e-5)
    assert not torch.allclose(adapter(geometry, prompt[:, order]), fused[:, order], atol=1e-2)


def test_mixture_is_the_routed_sum_of_its_experts() -> None:
    mixture = open_adapter(hidden=5).mixture
    torch.nn.init.normal_(mixture.outer_bias.weight)
    joined = tokens(4, 32)
    weights = torch.softmax(mixture.router(joined), -1)
    inner = torch.nn.functional.gelu(mixture.inner(joined))
    expected = torch.zeros(2, 30, 16)
    for expert in range(4):
        part = slice(5 * expert, 5 * expert + 5)
        out = inner[..., part] @ mixture.outer.weight[:, part].T
        out = out + mixture.outer_bias.weight[:, expert]
        expected += weights[..., expert : expert + 1] * out
    assert torch.allclose(mixture(joined), expected, atol=1e-5)


@pytest.mark.parametrize(('width', 'millions'), [(384, 7.5), (1024, 51.4)])
def test_parameter_count_is_the_published_size(width: int, millions: float) -> None:
    """Four scales on Depth Anything V2-Small and on a ViT-L, with SAM3's 256-channel tokens."""
    one_scale = MSSA(width, 256, paper_literal=True)
    count = 4 * sum(parameter.numel() for parameter in one_scale.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_maps_and_tokens_agree() -> None:
    adapter = open_adapter()
    geometry, prompt = tokens(0, 16), tokens(1, 12)
    maps = fuse_maps(
        adapter,
        geometry.transpose(1, 2).reshape(2, 16, 5, 6),
        prompt.transpose(1, 2).reshape(2, 12, 5, 6),
    )
    assert torch.allclose(maps.flatten(2).transpose(1, 2), adapter(geometry, prompt), atol=1e-6)


def test_folding_changes_no_answer() -> None:
    adapter = open_adapter(hidden=5)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    geometry, prompt = tokens(0, 16), tokens(1, 12)
    expected = adapter(geometry, prompt)
    folded = FoldedMSSA(adapter)
    assert torch.allclose(folded(geometry, prompt), expected, atol=1e-5)
    size = sum(parameter.numel() for parameter in folded.parameters())
    assert size < sum(parameter.numel() for parameter in adapter.parameters())


def test_one_picture_serves_several_prompts() -> None:
    geometry, prompt = tokens(0, 16)[:1], tokens(1, 12)
    for adapter in (open_adapter(), FoldedMSSA(open_adapter())):
        repeated = adapter(geometry.expand(2, -1, -1), prompt)
        assert torch.allclose(adapter(geometry, prompt), repeated, atol=1e-6)


@pytest.mark.parametrize('change', [{'gated': False}, {'tokens': 'zero'}])
def test_controls_are_not_folded(change: 'dict[str, object]') -> None:
    network = network_of()
    vary(network, FusionVariant(**change))
    with pytest.raises(ValueError, match='only gated adapters'):
        FoldedMSSA(network.adapters[0])


def network_of(channels: 'tuple[int, ...]' = (16, 16, 16)) -> torch.nn.Module:
    """Some network with an adapter a scale."""
    torch.manual_seed(3)
    network = torch.nn.Module()
    network.adapters = torch.nn.ModuleList(MSSA(width, 12) for width in channels)
    for adapter in network.adapters:
        torch.nn.init.normal_(adapter.mixture.outer.weight)
        torch.nn.init.zeros_(adapter.gate.bias)
    return network.eval()


def test_variant_without_a_gate_or_without_prompt_tokens() -> None:
    network, geometry, prompt = network_of(), tokens(0, 16), tokens(1, 12)
    adapter = network.adapters[1]
    joined = torch.cat([geometry, adapter.prompt_projection(prompt)], -1)
    vary(network, FusionVariant(gated=False))
    assert torch.allclose(adapter(geometry, prompt), geometry + adapter.mixture(joined))
    vary(network, FusionVariant(tokens='zero'))
    blind = adapter(geometry, prompt)
    assert torch.equal(blind, adapter(geometry, prompt + 1))
    vary(network, FusionVariant())
    assert torch.equal(blind, adapter(geometry, 0 * prompt))


def test_variant_with_shuffled_tokens_keeps_what_they_are_but_not_where() -> None:
    network, geometry, prompt = network_of(), tokens(0, 16), tokens(1, 12)
    straight = network.adapters[0](geometry, prompt)
    alike = prompt[:, :1].expand_as(prompt)
    expected = network.adapters[0](geometry, alike)
    vary(network, FusionVariant(tokens='shuffled'))
    assert not torch.allclose(network.adapters[0](geometry, prompt), straight, atol=1e-2)
    assert torch.allclose(network.adapters[0](geometry, alike), expected)


def test_variant_with_one_expert_has_the_same_width_and_still_starts_closed() -> None:
    network = torch.nn.Sequential(MSSA(16, 12, hidden=5))
    vary(network, FusionVariant(experts=1))
    adapter = network[0]
    assert adapter.mixture.inner.out_features == 4 * 5
    assert adapter.mixture.router.out_features == 1
    geometry = tokens(0, 16)
    assert torch.allclose(adapter.eval()(geometry, tokens(1, 12)), geometry, atol=1e-6)


@pytest.mark.parametrize(
    'change',
    [{}, {'gated': False}, {'experts': 2}, {'shared': True}, {'tokens': 'zero'}],
)
def test_a_network_tells_its_variant(change: 'dict[str, object]') -> None:
    network = network_of()
    vary(network, FusionVariant(**change))
    assert variant_of(network) == FusionVariant(**change)
    with pytest.raises(ValueError, match='3 experts cannot share a width of 64'):
        vary(network, FusionVariant(experts=3))


def test_variant_with_one_adapter_for_all_scales() -> None:
    network = network_of()
    before = sum(parameter.numel() for parameter in network.parameters())
    vary(network, FusionVariant(shared=True))
    assert network.adapters[0] is network.adapters[1] is network.adapters[2]
    assert sum(parameter.numel() for parameter in network.parameters()) == before / 3
    with pytest.raises(ValueError, match='different widths'):
        vary(network_of((16, 8)), FusionVariant(shared=True))
    with pytest.raises(ValueError, match='no MSSA'):
        vary(torch.nn.Linear(2, 2), FusionVariant())
