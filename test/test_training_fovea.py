"""Training of the second look, and of networks that start from an exported model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from block_scene import sample

onnx = pytest.importorskip('onnx')
torch = pytest.importorskip('torch')
pytest.importorskip('accelerate')

from focus_depth_ros.networks.blocks import ConvNorm  # noqa: E402
from focus_depth_ros.networks.compact import CompactShape  # noqa: E402
from focus_depth_ros.networks.compact_graphs import graphs, load_graph  # noqa: E402
from focus_depth_ros.training import fovea  # noqa: E402
from focus_depth_ros.training.compact import initial  # noqa: E402
from focus_depth_ros.training.config import read_config  # noqa: E402
from focus_depth_ros.training.example import BOX_PROMPT, PromptShares  # noqa: E402
from focus_depth_ros.training.fovea_example import fovea_example  # noqa: E402
from focus_depth_ros.training.stages import freeze_all_but, train_mode  # noqa: E402
from focus_depth_ros.training.unfolded import settle_norms, unfolded_network  # noqa: E402

CONFIGS = Path(fovea.__file__).parent / 'configs'
BOXES_ALONE = PromptShares(box=1.0, text=0.0)

SHAPE = CompactShape()


def answers(network: torch.nn.Module, picture: torch.Tensor) -> list[torch.Tensor]:
    box = torch.tensor([[0.2, 0.2, 0.6, 0.7], [0.0, 0.0, 0.0, 0.0]])
    words = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 0], [2, 5, 7, 0, 0, 0, 0, 0]], dtype=torch.int32)
    output = network.focus(network.encoder(picture), box, words)
    return [output.inverse_depth, output.mask, output.boundary, output.confidence, output.metric]


class TestUnfolded:
    """`--from MODEL_FOLDER` undoes what an export folded, and changes no answer."""

    @torch.no_grad()
    def test_it_answers_as_the_graphs(self, compact_model: Path) -> None:
        network = unfolded_network(compact_model)
        encoder, focus = (
            load_graph(compact_model / f'{part}.onnx', part, network.shape, 0.8, -1.5)
            for part in ('encoder', 'focus')
        )
        network_of_graphs = torch.nn.ModuleDict({'encoder': encoder.encoder, 'focus': focus.focus})
        picture = torch.randn(1, 3, network.shape.height, network.shape.width)
        for found, wanted in zip(
            answers(network, picture), answers(network_of_graphs, picture), strict=True
        ):
            assert torch.allclose(found, wanted, atol=1e-4)

    @torch.no_grad()
    def test_a_fovea_is_unfolded_too(self, compact_model: Path) -> None:
        network = unfolded_network(compact_model)
        graph = load_graph(compact_model / 'fovea.onnx', 'fovea', network.shape, 0.8, -1.5)
        shape = network.shape
        pictures = torch.randn(2, 3, shape.height, shape.width)
        whole, near = (network.encoder(picture[None]) for picture in pictures)
        given = {
            'window': torch.tensor([[0.25, 0.5, 0.75, 1.0]]),
            'first': torch.rand(1, 2, *shape.grid(2)),
            'box': torch.tensor([[0.2, 0.2, 0.6, 0.7]]),
            'words': torch.zeros(1, 8, dtype=torch.int32),
        }
        found, wanted = (fovea(near, whole, **given) for fovea in (network.fovea, graph.fovea))
        assert torch.allclose(found.mask, wanted.mask, atol=1e-4)
        assert torch.allclose(found.inverse_depth, wanted.inverse_depth, atol=1e-4)

    @torch.no_grad()
    def test_its_norms_learn_what_they_see_and_nothing_changes(self, compact_model: Path) -> None:
        network = unfolded_network(compact_model)
        pictures = torch.randn(16, 3, network.shape.height, network.shape.width)
        before = answers(network, pictures[:1])
        settle_norms(network, (answers(network, picture[None]) for picture in pictures))
        for found, wanted in zip(answers(network, pictures[:1]), before, strict=True):
            assert torch.allclose(found, wanted, atol=1e-4)
        stem = network.encoder.trunk.stem
        norm = stem[1]
        for half in (network.encoder, network.focus):  # the optimisers' steps fit these lengths
            for block in (part for part in half.modules() if isinstance(part, ConvNorm)):
                length = block[0].weight.flatten(1).norm(dim=1)
                assert torch.allclose(length, torch.ones_like(length), rtol=1e-4)
        seen = stem[0](pictures)
        assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-3)
        assert torch.allclose(norm.running_var, seen.var((0, 2, 3)), rtol=1e-2)
        train_mode(network)
        first = stem(pictures)
        network.eval()
        assert torch.allclose(first, stem(pictures), atol=1e-2)

    def test_graphs_that_squeeze_coarse_maps_are_refused(
        self, compact_model: Path, tmp_path: Path
    ) -> None:
        """As models up to 0.9.1 did where the sides are no multiples of the strides."""
        shape = unfolded_network(compact_model).shape
        model = onnx.load(compact_model / 'focus.onnx')
        resizes = [node for node in model.graph.node if node.op_type == 'Resize']
        assert all(len(node.input) == 3 for node in resizes)
        resizes[0].input.append('sizes')
        (tmp_path / 'focus.onnx').write_bytes(model.SerializeToString())
        with pytest.raises(ValueError, match=r'focus\.onnx: of a model up to 0\.9\.1'):
            load_graph(tmp_path / 'focus.onnx', 'focus', shape, 0.8, -1.5)

    def test_another_familys_folder_is_refused(self, compact_model: Path, tmp_path: Path) -> None:
        for file in compact_model.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        text = (tmp_path / 'model.json').read_text()
        (tmp_path / 'model.json').write_text(text.replace('"compact"', '"foundation"'))
        with pytest.raises(ValueError, match="family is 'foundation'"):
            unfolded_network(tmp_path)


class TestExamples:
    """Windows as the second look takes them, with the truth inside."""

    def test_the_truth_is_the_windows(self) -> None:
        found = fovea_example(sample(1), SHAPE, np.random.default_rng(3), 4, BOXES_ALONE, False)
        assert found['near'].shape == (4, *SHAPE.grid(1), 3) and found['near'].dtype == np.uint8
        assert found['mask'].shape == found['disparity'].shape == (4, *SHAPE.grid(2))
        assert (found['kind'] == BOX_PROMPT).all()
        for row in range(4):
            window = found['window'][row]
            sides = np.tile(window[2:] - window[:2], 2)
            back = found['near_box'][row] * sides + np.tile(window[:2], 2)
            low, high = np.tile(window[:2], 2), np.tile(window[2:], 2)
            assert back == pytest.approx(np.clip(found['box'][row], low, high), abs=1e-5)
            assert len(np.unique(np.rint(sides * [320, 240, 320, 240]) / [4, 3, 4, 3])) <= 2
            x0, y0, x1, y1 = np.rint(window * [320, 240, 320, 240]).astype(int)
            inside = (sample(1).ids == 4)[y0:y1, x0:x1].astype(np.float32)
            wanted = cv2.resize(inside, SHAPE.grid(2)[::-1], interpolation=cv2.INTER_AREA)
            assert np.abs(found['mask'][row] - wanted).mean() < 0.02

    def test_words_are_asked_without_their_box_first(self) -> None:
        shares = PromptShares(box=0.0, text=1.0, absent_of_text=0.5)
        found = fovea_example(sample(1), SHAPE, np.random.default_rng(3), 8, shares, True)
        spoken = found['words'].any(1)
        assert spoken.any()
        assert not found['box'][spoken].any() and found['near_box'][spoken].any(1).all()

    def test_one_seed_one_example(self) -> None:
        shares = PromptShares()
        one, other = (
            fovea_example(sample(1), SHAPE, np.random.default_rng(5), 2, shares, True)
            for _ in range(2)
        )
        for name, values in one.items():
            assert np.array_equal(values, other[name]), name


def test_only_the_fovea_learns() -> None:
    config = replace(read_config(CONFIGS / 'compact_fovea.yaml'), bfloat16=False)
    network = fovea.build(config)
    freeze_all_but(network, config.stages[0].trained)
    example = fovea_example(sample(1), SHAPE, np.random.default_rng(0), 2, config.ask, True)
    batch = {name: torch.from_numpy(np.asarray(values))[None] for name, values in example.items()}
    objective = fovea.objective(network, config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train_mode(objective)
    terms = objective(batch)
    assert set(terms) == set(config.terms)
    sum(terms.values()).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= 1e-2 * parameter.grad
    changed = {
        name for name, value in network.state_dict().items() if not value.equal(before[name])
    }
    assert changed and all(name.startswith('fovea.') for name in changed)
    review = fovea.review(objective.eval(), batch)
    assert set(config.terms) <= set(review.scores)
    height, width = SHAPE.grid(2)
    assert review.sheet.shape == (2 * height, 6 * width, 3)  # a row a window: picture, five maps
    assert review.sheet.std() > 10


def test_the_second_look_starts_as_the_first_where_there_is_none(compact_model: Path) -> None:
    weights = unfolded_network(compact_model).state_dict()
    alone = {name: value for name, value in weights.items() if not name.startswith('fovea.')}
    both = fovea.with_second_half(alone)
    for name, value in alone.items():
        assert both[name] is value
        if name.startswith('focus.'):
            assert both[f'fovea.{name}'] is value
    kept = fovea.with_second_half(weights)
    assert all(kept[name] is value for name, value in weights.items())


@pytest.mark.parametrize('setting', [{'objective': 'focusdepth'}, {'prompt': 'wrong'}])
def test_settings_that_mean_nothing_to_it_are_refused(setting: dict) -> None:
    config = replace(read_config(CONFIGS / 'compact_fovea.yaml'), **setting)
    with pytest.raises(ValueError, match='family fovea takes'):
        fovea.objective(fovea.build(config), config)


def test_a_checkpoint_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / 'text.pt').write_text('nothing')
    with pytest.raises(ValueError, match='not a checkpoint'):
        initial(tmp_path / 'text.pt', read_config(CONFIGS / 'compact.yaml'))


def test_a_fovea_is_exported_with_its_network() -> None:
    config = read_config(CONFIGS / 'compact_fovea.yaml')
    assert graphs(fovea.build(config), 1.0, 0.0).fovea is not None
