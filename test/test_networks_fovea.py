"""The second look's network: aligned with the whole picture, and silent until it has learnt."""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch')

from compact_model import SMALL_TRUNK  # noqa: E402

from focus_depth_ros.networks.blocks import resize  # noqa: E402
from focus_depth_ros.networks.compact import CompactShape  # noqa: E402
from focus_depth_ros.networks.compact_graphs import FOVEA_INPUTS, graphs  # noqa: E402
from focus_depth_ros.networks.fovea import FoveaNetwork, first_look, resampled  # noqa: E402
from focus_depth_ros.training.graph_files import largest_difference, write_graphs  # noqa: E402

SMALL = CompactShape(
    height=56, width=88, stem=8, trunk=SMALL_TRUNK, detail=8,
    decoder=12, fine=8, boundary=8, grounding=16, experts_hidden=4, word_roles=(0,) * 12,
    max_words=8,
)  # fmt: skip
WINDOW = torch.tensor([[0.25, 0.5, 0.75, 1.0]])


@pytest.fixture
def network() -> FoveaNetwork:
    torch.manual_seed(0)
    return FoveaNetwork(SMALL).eval()


def looks(network: FoveaNetwork, box: torch.Tensor, words: torch.Tensor) -> dict[str, object]:
    """A fovea's inputs for random pictures, near and whole."""
    pictures = torch.randn(2, 3, SMALL.height, SMALL.width)
    whole, near = (network.encoder(picture[None]) for picture in pictures)
    first = first_look(network.focus(whole, box, words))
    return {'near': near, 'whole': whole, 'window': WINDOW, 'first': first}


def test_the_whole_window_is_the_map_itself() -> None:
    maps = torch.randn(2, 3, 7, 9)
    everything = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)
    assert torch.allclose(resampled(maps, everything, (7, 9)), maps, atol=1e-5)
    finer = resampled(maps, everything, (14, 18))
    assert torch.allclose(finer, resize(maps, (14, 18)), atol=1e-5)


def test_a_window_is_what_lies_there() -> None:
    down, across = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing='ij')
    maps = torch.stack([down, across])[None]
    found = resampled(maps, torch.tensor([[0.25, 0.5, 0.75, 1.0]]), (4, 4))
    assert torch.allclose(found[0, 0], torch.tensor([4.0, 5, 6, 7])[:, None].expand(4, 4))
    assert torch.allclose(found[0, 1], torch.tensor([2.0, 3, 4, 5]).expand(4, 4))


def test_cells_that_hang_over_are_where_they_are() -> None:
    """A picture of 6.75 rows in maps of 7: the window from its middle begins at row 3.375."""
    rows = torch.arange(7.0)[:, None].expand(7, 8)[None, None]
    window = torch.tensor([[0.0, 0.5, 1.0, 1.0]])
    found = resampled(rows, window, (7, 8), spans=(6.75, 8))[0, 0, :, 0]
    assert torch.allclose(found[:6], 3.375 + (torch.arange(6) + 0.5) / 2 - 0.5, atol=1e-5)


def test_each_window_of_one_picture_is_its_own() -> None:
    maps = torch.randn(1, 3, 8, 8)
    windows = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    found = resampled(maps, windows, (4, 4))
    assert torch.allclose(found[0], maps[0, :, :4, :4], atol=1e-6)
    assert torch.allclose(found[1], maps[0, :, 4:, 4:], atol=1e-6)


@torch.no_grad()
def test_untrained_it_is_a_second_look_that_knows_nothing_of_the_first(
    network: FoveaNetwork,
) -> None:
    network.fovea.focus.load_state_dict(network.focus.state_dict())
    box, words = torch.tensor([[0.2, 0.2, 0.6, 0.9]]), torch.zeros(1, 8, dtype=torch.int32)
    given = looks(network, box, words)
    second = network.fovea(**given, box=box, words=words)
    alone = network.focus(given['near'], box, words)
    assert torch.allclose(second.mask, alone.mask, atol=1e-6)
    assert torch.allclose(second.inverse_depth, alone.inverse_depth, atol=1e-6)


def test_whatever_joins_can_learn(network: FoveaNetwork) -> None:
    box, words = torch.tensor([[0.2, 0.2, 0.6, 0.9]]), torch.ones(1, 8, dtype=torch.int32)
    for _ in range(2):  # behind what starts at zero the second step's gradient is the first
        network.zero_grad()
        output = network.fovea(**looks(network, box, words), box=box, words=words)
        (output.mask.square().mean() + output.inverse_depth.square().mean()).backward()
        with torch.no_grad():
            for parameter in network.fovea.fusion.parameters():
                parameter -= parameter.grad
    for name, parameter in network.fovea.fusion.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_the_first_look_and_the_whole_picture_are_heard(network: FoveaNetwork) -> None:
    for parameter in network.fovea.fusion.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    box, words = torch.tensor([[0.2, 0.2, 0.6, 0.9]]), torch.zeros(1, 8, dtype=torch.int32)
    given = looks(network, box, words)
    mask = network.fovea(**given, box=box, words=words).mask
    changes = {
        'first': torch.flip(given['first'], [-1]),
        'window': WINDOW.flip(0) - torch.tensor([[0.25, 0.5, 0.25, 0.5]]),
        'whole': {name: maps.flip(-1) for name, maps in given['whole'].items()},
    }
    for name, change in changes.items():
        other = network.fovea(**{**given, name: change}, box=box, words=words).mask
        assert (other - mask).abs().max() > 1e-5, name


def test_the_exported_graph_answers_as_the_network(network: FoveaNetwork, tmp_path) -> None:
    with torch.no_grad():
        for parameter in network.fovea.fusion.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    pair = graphs(network, slope=0.7, bias=-1.0)
    assert pair.fovea_inputs == FOVEA_INPUTS

    def inputs(seed: int) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(seed)
        picture = torch.randint(0, 255, (1, 56, 88, 3), dtype=torch.uint8)
        return picture, torch.rand(2, 4), torch.randint(0, 12, (2, 8), dtype=torch.int32)

    paths = write_graphs(pair, tmp_path, inputs(1))
    assert set(paths) == {'encoder', 'focus', 'fovea'}
    assert largest_difference(pair, paths, inputs(2)) < 1e-4
    other = graphs(network, slope=0.7, bias=-0.5)
    with pytest.raises(ValueError, match='differ from torch'):
        largest_difference(other, paths, inputs(2))
