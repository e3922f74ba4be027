"""The compact network: shapes, prompts that matter, finite gradients, export parity."""

import json
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='the networks need torch (extra: train)')
torch.set_num_threads(1)

from compact_model import SMALL_TRUNK  # noqa: E402

from focus_depth_ros.caption_words import (  # noqa: E402
    model_vocabulary,
    word_indices,
    word_roles,
)
from focus_depth_ros.inference.focus_model import FocusModel  # noqa: E402
from focus_depth_ros.networks.blocks import enlarge, resize  # noqa: E402
from focus_depth_ros.networks.compact import (  # noqa: E402
    FEATURE_NAMES,
    CompactNetwork,
    CompactShape,
)
from focus_depth_ros.networks.modot import CASM  # noqa: E402
from focus_depth_ros.networks.mssa import MSSA  # noqa: E402
from focus_depth_ros.networks.prompt import BoxMaps, WordGrounding  # noqa: E402
from focus_depth_ros.training.example import VOCABULARY  # noqa: E402

SMALL = CompactShape(
    height=168,
    width=224,
    stem=8,
    trunk=SMALL_TRUNK,
    detail=8,
    decoder=16,
    fine=8,
    boundary=8,
    grounding=16,
    experts_hidden=4,
    word_roles=word_roles(VOCABULARY),
)


@pytest.fixture(scope='module')
def network() -> CompactNetwork:
    torch.manual_seed(0)
    return CompactNetwork(SMALL).eval()


def prompts() -> 'tuple[torch.Tensor, torch.Tensor]':
    box = torch.tensor([[0.2, 0.3, 0.5, 0.7], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    words = torch.zeros(3, 12, dtype=torch.int32)
    words[1, :3] = torch.tensor([2, 7, 30])
    return box, words


def test_outputs_have_the_promised_shapes(network: CompactNetwork) -> None:
    box, words = prompts()
    output = network.focus(network.encoder(torch.randn(1, 3, 168, 224)), box, words)
    assert output.inverse_depth.shape == output.mask.shape == output.boundary.shape == (3, 84, 112)
    assert output.confidence.shape == (3,)
    assert output.metric.shape == (3, 2)
    assert (output.metric > 0).all()
    assert [tuple(side.shape) for side in output.boundary_sides] == [
        (3, 11, 14), (3, 21, 28), (3, 42, 56)
    ]  # fmt: skip


def test_prompts_of_a_batch_do_not_see_each_other(network: CompactNetwork) -> None:
    features = network.encoder(torch.randn(1, 3, 168, 224))
    box, words = prompts()
    together = network.focus(features, box, words)
    for row in range(3):
        alone = network.focus(features, box[row : row + 1], words[row : row + 1])
        assert torch.allclose(together.mask[row], alone.mask[0], atol=1e-5)
    assert not torch.allclose(together.mask[0], together.mask[1], atol=1e-3)
    assert not torch.allclose(together.mask[1], together.mask[2], atol=1e-3)


def test_every_parameter_gets_a_finite_gradient() -> None:
    torch.manual_seed(0)
    network = CompactNetwork(SMALL).train()
    # Layers that start at zero block what lies before them at the very first step.
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    box, words = prompts()
    output = network.focus(network.encoder(torch.randn(3, 3, 168, 224)), box, words)
    total = sum(
        value.square().mean()
        for value in (
            output.inverse_depth, output.mask, output.boundary, output.confidence, output.metric,
            *output.boundary_sides,
        )
    )  # fmt: skip
    total.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_box_map_is_one_inside_and_zero_outside() -> None:
    maps = BoxMaps(21, 28)(torch.tensor([[0.25, 1 / 3, 0.75, 2 / 3], [0.0, 0.0, 0.0, 0.0]]))
    inside = maps[0, 0]
    assert inside[10, 14] > 0.99
    assert inside[2, 14] < 0.01
    assert inside[10, 2] < 0.01
    assert inside.sum() == pytest.approx(14 * 7, rel=0.03)  # half the columns, a third of the rows
    assert maps[0, 3:].mean((1, 2)).tolist() == pytest.approx([1.0, 0.5, 1 / 3], abs=1e-5)
    assert not maps[1].any()


def test_box_maps_measure_from_the_middle_of_the_box() -> None:
    maps = BoxMaps(20, 40)(torch.tensor([[0.25, 0.2, 0.75, 0.6]]))[0]
    across, down = (torch.arange(40) + 0.5) / 40, (torch.arange(20) + 0.5) / 20
    assert torch.allclose(maps[1], ((across - 0.5) / 0.501).expand(20, 40), atol=1e-6)
    wanted = ((down - 0.4) / 0.401)[:, None].expand(20, 40).clamp(-2, 2)
    assert torch.allclose(maps[2], wanted, atol=1e-6)
    assert torch.allclose(maps[0], maps[0].flip(1), atol=1e-5)  # the box is in the middle


def test_casm_keeps_shapes_and_swaps_attention() -> None:
    torch.manual_seed(1)
    module = CASM(16).eval()
    boundary, depth = torch.randn(2, 16, 9, 13), torch.randn(2, 16, 9, 13)
    new_boundary, new_depth = module(boundary, depth)
    assert new_boundary.shape == new_depth.shape == (2, 16, 9, 13)
    # O' = O (1 + CA_d(D)): a channel weight in (1, 2) that depends on the depth features alone.
    weight = new_boundary / boundary
    assert torch.allclose(weight, weight[..., :1, :1].expand_as(weight), atol=1e-4)
    assert (weight > 1).all()
    assert (weight < 2).all()
    assert not torch.allclose(module(boundary, 2 * depth)[0], new_boundary, atol=1e-3)


def test_captions_become_indices() -> None:
    vocabulary = model_vocabulary(['the', 'red', 'mug'])
    assert vocabulary[:2] == ['<pad>', '<unknown>']
    assert word_indices('The red, shiny MUG!', vocabulary, 6) == [2, 3, 1, 4, 0, 0]
    assert word_indices('the ' * 9, vocabulary, 8) == [2] * 8


def test_export_equals_torch_on_another_picture(tmp_path: Path) -> None:
    pytest.importorskip('onnx', reason='export needs onnx (extra: train)')
    from focus_depth_ros.training.calibration import BoundaryCalibration
    from focus_depth_ros.training.export import export_model

    torch.manual_seed(0)
    network = CompactNetwork(SMALL)
    with torch.no_grad():
        network.focus.prompt.words.bias.weight.fill_(-300)  # words that hold nowhere, and surely
    worst = export_model(
        network, tmp_path, '0.0.1', BoundaryCalibration(0.8, -1.5), {'seed': 0}, {}
    )
    assert worst <= 1e-4
    manifest = json.loads((tmp_path / 'model.json').read_text())
    assert manifest['vocabulary'] == VOCABULARY
    assert manifest['boundary_calibration'] == {'slope': 0.8, 'bias': -1.5}
    assert manifest['files']['focus']['bytes'] == (tmp_path / 'focus.onnx').stat().st_size
    model = FocusModel(tmp_path, 'onnxruntime')
    picture = np.zeros((168, 224, 3), np.uint8)
    maps = model.focus(
        model.encode(picture), np.zeros((5, 4), np.float32), np.zeros((5, 12), np.int32)
    )
    words = np.arange(60, dtype=np.int32).reshape(5, 12) + 1
    sure = model.focus(model.encode(picture), np.zeros((5, 4), np.float32), words)
    assert all(np.isfinite(values).all() for values in vars(sure).values())
    assert maps.mask.shape == (5, 84, 112)
    assert (maps.mask >= 0).all()
    assert (maps.mask <= 1).all()


def test_a_control_of_the_fusion_is_not_exported_as_what_it_is_not(tmp_path: Path) -> None:
    pytest.importorskip('onnx', reason='export needs onnx (extra: train)')
    from focus_depth_ros.networks.compact_graphs import graphs
    from focus_depth_ros.training.export import load_checkpoint

    small = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(SMALL).items()}
    average = {
        f'module.{name}': value for name, value in CompactNetwork(SMALL).state_dict().items()
    }
    config = {'family': 'compact', 'seed': 1, 'batch': 2, 'network': small}
    state = {'average': average, 'vocabulary': VOCABULARY, 'step': 1, 'frames': 1}
    file = tmp_path / 'checkpoint.pt'
    torch.save({**state, 'config': config}, file)
    graphs(load_checkpoint(file)[0], 1.0, 0.0)
    torch.save({**state, 'config': {**config, 'fusion': {'gated': False}}}, file)
    with pytest.raises(ValueError, match='only gated adapters'):
        graphs(load_checkpoint(file)[0], 1.0, 0.0)
    file.write_bytes(b'no checkpoint')
    with pytest.raises(ValueError, match='not a checkpoint'):
        load_checkpoint(file)


def test_graphs_that_are_not_what_torch_computes_are_refused(tmp_path: Path) -> None:
    pytest.importorskip('onnx', reason='export needs onnx (extra: train)')
    from focus_depth_ros.networks.compact_graphs import graphs
    from focus_depth_ros.training.graph_files import (
        largest_difference,
        write_checked,
        write_graphs,
    )

    torch.manual_seed(0)
    network = CompactNetwork(SMALL).eval()
    pair, other = (graphs(network, 1.0, bias) for bias in (0.0, 0.1))
    picture = torch.randint(0, 255, (1, 168, 224, 3), dtype=torch.uint8)
    inputs = picture, torch.rand(2, 4), torch.ones(2, 12, dtype=torch.int32)
    paths = write_graphs(pair, tmp_path, inputs)
    assert largest_difference(pair, paths, inputs) <= 1e-4
    with pytest.raises(ValueError, match='the graphs differ from torch by'):
        largest_difference(other, paths, inputs)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        network.focus.confidence[-1].bias.fill_(torch.nan)
    broken = graphs(network, 1.0, 0.0)
    with pytest.raises(ValueError, match='the graphs answer NaN'):
        write_checked(broken, tmp_path, inputs, inputs)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_maps_double_by_constant_factors_in_the_graph(
    network: CompactNetwork, tmp_path: Path
) -> None:
    """A size that the graph computes would cost ONNX Runtime the layout of its convolutions.

    So would a cut, where there is nothing to cut.
    """
    onnx = pytest.importorskip('onnx', reason='export needs onnx (extra: train)')
    from focus_depth_ros.networks.compact_graphs import graphs
    from focus_depth_ros.training.graph_files import write_graphs

    picture = torch.zeros(1, 168, 224, 3, dtype=torch.uint8)
    inputs = picture, torch.rand(2, 4), torch.ones(2, 12, dtype=torch.int32)
    graph = onnx.load(write_graphs(graphs(network, 1.0, 0.0), tmp_path, inputs)['focus']).graph
    constants = {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == 'Constant'
    }
    resizes = {node.name: node for node in graph.node if node.op_type == 'Resize'}
    for name in ('/focus/Resize_2', '/focus/Resize_3', '/focus/Resize_5'):  # to strides 4, 2 and 2
        assert constants[resizes[name].input[2]].tolist() == [1, 1, 2, 2]
    cut = {node.input[0] for node in graph.node if node.op_type == 'Slice'}
    is_cut = {name for name, node in resizes.items() if node.output[0] in cut}
    to_stride_8 = {'/focus/prompt/Resize', '/focus/Resize_1', '/focus/boundary8/Resize'}
    to_stride_16 = {'/focus/Resize'}
    assert is_cut == to_stride_8 | to_stride_16  # 168 px are no multiple of 32, nor of 16


def grown(network: CompactNetwork) -> CompactNetwork:
    """A copy whose layers that start at zero do something, as after training."""
    torch.manual_seed(1)
    network = deepcopy(network)
    finer = network.focus.prompt.finer
    for layer in (finer.view, finer.tokens):
        torch.nn.init.normal_(layer.weight, std=0.3)
    for part in network.modules():
        if isinstance(part, MSSA):
            torch.nn.init.normal_(part.mixture.outer.weight, std=0.3)
            torch.nn.init.normal_(part.gate.weight)
    return network


def test_finer_evidence_adds_nothing_until_it_is_trained(network: CompactNetwork) -> None:
    box, words = prompts()
    features = network.encoder(torch.randn(1, 3, 168, 224))
    branch = network.focus.prompt
    tokens, finer, _ = branch(features['grounding'], features['stride4'], box, words)
    assert torch.equal(finer, resize(tokens, SMALL.grid(4)))


def test_words_tell_apart_what_shares_a_cell(network: CompactNetwork) -> None:
    """Two halves of one cell of the tokens differ in the finer features alone."""
    branch = grown(network).focus.prompt
    grounding = torch.randn(1, SMALL.grounding, 1, 1).expand(-1, -1, *SMALL.grid(8))
    finer = torch.zeros(1, SMALL.decoder, *SMALL.grid(4))
    finer[..., 1::2] = 1.0
    box, words = prompts()
    with torch.no_grad():
        _, tokens, _ = branch(grounding, finer, box, words)
    left, right = tokens[1, :, 20, 20], tokens[1, :, 20, 21]  # words
    assert (left - right).abs().max() > 1e-3


def test_exported_graphs_answer_as_the_network(network: CompactNetwork) -> None:
    from focus_depth_ros.networks.compact_graphs import graphs

    network = grown(network)
    pair = graphs(network, slope=1.0, bias=0.0)
    picture = torch.randint(0, 255, (1, 168, 224, 3), dtype=torch.uint8)
    box, words = prompts()
    features = pair.encoder(picture)
    repeated = {
        name: value.expand(3, -1, -1, -1)
        for name, value in zip(FEATURE_NAMES, features, strict=True)
    }
    expected = network.focus(repeated, box, words)
    depth, mask, *_ = pair.focus(*features, box, words)
    assert torch.allclose(depth, expected.inverse_depth, atol=1e-4)
    assert torch.allclose(mask, torch.sigmoid(expected.mask), atol=1e-4)
    assert any(isinstance(part, MSSA) for part in network.modules())  # it stays as it was


def test_a_relation_is_not_a_bag_of_words() -> None:
    torch.manual_seed(0)
    branch = CompactNetwork(SMALL).eval().focus.prompt
    with torch.no_grad():
        branch.relation[2].weight.normal_()
    pixels = torch.randn(1, SMALL.grounding, *SMALL.grid(8))
    captions = [
        'the mug left of the red box',
        'the red box left of the mug',
        'the mug',
        'the left mug',
    ]
    words = torch.tensor([word_indices(text, VOCABULARY, 12) for text in captions])
    with torch.no_grad():
        found = branch.words(words, pixels.expand(4, -1, -1, -1))
        finer = torch.randn(1, SMALL.decoder, *SMALL.grid(4))
        tokens, _, _ = branch(pixels, finer, torch.zeros(4, 4), words)
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-3)
    assert torch.allclose(found.maps[0, :3], found.maps[2, :3], atol=1e-6)  # the target is the mug
    assert torch.allclose(found.caption[0], found.caption[2], atol=1e-6)
    assert not found.maps[2, 3:].any() and not found.relation[2].any()
    across = found.maps[0, 5]
    anchor = found.maps[0, 4].square()
    assert float((across * anchor).sum()) == pytest.approx(0, abs=1e-4)  # measured from the anchor
    assert not found.maps[3, 4].any() and found.maps[3, 5].any()  # among the mugs themselves


def said(*words: str) -> 'torch.Tensor':
    return torch.tensor([word_indices(' '.join(words), VOCABULARY, 6)])


def test_across_is_across() -> None:
    torch.manual_seed(0)
    words = WordGrounding(word_roles(VOCABULARY), 8, 6)
    maps = words(said('the', 'left', 'mug'), torch.randn(1, 8, 5, 7)).maps
    across, down = maps[0, 5:7]
    assert (across.diff(dim=1) > 0).all()
    assert torch.allclose(across, across[:1].expand(5, 7), atol=1e-5)
    assert (down.diff(dim=0) > 0).all()
    assert torch.allclose(down, down[:, :1].expand(5, 7), atol=1e-5)


def test_unknown_words_take_no_part() -> None:
    torch.manual_seed(0)
    words, pixels = WordGrounding(word_roles(VOCABULARY), 8, 6), torch.randn(1, 8, 5, 7)
    known = said('mug')
    more = known.clone()
    more[0, 1] = VOCABULARY.index('<unknown>')
    assert torch.allclose(words(known, pixels).maps, words(more, pixels).maps, atol=1e-6)


def test_sizes_come_back_from_a_manifest_and_older_encoders_do_not() -> None:
    from focus_depth_ros.networks.compact_graphs import manifest_shape

    manifest = {
        'family': 'compact',
        'version': '9.0.0',
        'shape': json.loads(json.dumps(asdict(SMALL))),
        'input': {'width': SMALL.width, 'height': SMALL.height},
        'vocabulary': list(VOCABULARY),
        'max_words': SMALL.max_words,
    }
    assert manifest_shape(manifest) == SMALL
    older = manifest | {'version': '0.7.0', 'shape': {'stages': [32, 64, 128, 256]}}
    with pytest.raises(ValueError, match=r'model 0\.7\.0: its encoder is none'):
        manifest_shape(older)
    with pytest.raises(ValueError, match="'foundation', only compact is known"):
        manifest_shape(manifest | {'family': 'foundation'})


@pytest.mark.parametrize('height', [216, 168])
@pytest.mark.parametrize(('coarse', 'fine'), [(16, 8), (32, 8), (32, 16)])
def test_a_coarse_cell_stays_where_it_looked(height: int, coarse: int, fine: int) -> None:
    """Also where the picture's height is no multiple of the stride, and the last cell overhangs."""
    cells, wanted = (-(-height // stride) for stride in (coarse, fine))
    place = ((torch.arange(cells) + 0.5) * coarse).reshape(1, 1, cells, 1)
    factor = coarse // fine
    found = enlarge(place, (wanted, factor), factor)[0, 0, :, 0]
    inner = slice(factor // 2, wanted - factor)  # nothing lies beyond the outermost middles
    assert torch.allclose(found[inner], ((torch.arange(wanted) + 0.5) * fine)[inner])
