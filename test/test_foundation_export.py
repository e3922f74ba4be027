"""The foundation family as a model folder: the graphs are torch's network, the pipeline runs it."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='the networks need torch (extra: foundation)')
pytest.importorskip('transformers', reason='extra: foundation')
onnx = pytest.importorskip('onnx', reason='extra: foundation')
torch.set_num_threads(1)

import cv2  # noqa: E402
from foundation_cases import tiny_focus_depth  # noqa: E402

from focus_depth_ros import cli  # noqa: E402
from focus_depth_ros.core import Camera, Frame, Target  # noqa: E402
from focus_depth_ros.inference.clip_bpe import ClipBytePairs  # noqa: E402
from focus_depth_ros.inference.focus_model import FocusModel  # noqa: E402
from focus_depth_ros.inference.model_folder import ModelError, read_model_folder  # noqa: E402
from focus_depth_ros.networks.foundation import graphs  # noqa: E402
from focus_depth_ros.networks.foundation.attention import FUSED  # noqa: E402
from focus_depth_ros.networks.foundation.depth_anything import Kind  # noqa: E402
from focus_depth_ros.networks.foundation.focus_depth import FocusDepthShape  # noqa: E402
from focus_depth_ros.networks.mssa import FusionVariant, vary  # noqa: E402
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline  # noqa: E402
from focus_depth_ros.pipeline.prompts import ClipPromptEncoder  # noqa: E402
from focus_depth_ros.pipeline.settings import Settings  # noqa: E402
from focus_depth_ros.training import export_foundation as export  # noqa: E402
from focus_depth_ros.training import graph_files  # noqa: E402

VOCABULARY = 600
MERGES = ['r e', 're d</w>', 'm u', 'mu g</w>']


@pytest.fixture(scope='module')
def pairs(tmp_path_factory: pytest.TempPathFactory) -> ClipBytePairs:
    file = tmp_path_factory.mktemp('words') / 'merges.txt'
    file.write_text('\n'.join(['#version: 0.2', *MERGES, '']), encoding='utf-8')
    return ClipBytePairs(file)


@pytest.fixture(scope='module')
def folder(pairs: ClipBytePairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Depth Anything 3 METRIC with SAM3, nothing trained."""
    path = tmp_path_factory.mktemp('foundation') / 'model'
    shape = FocusDepthShape(56, boundaries=False)
    network = tiny_focus_depth(shape, Kind.V3_METRIC, vocabulary=VOCABULARY)
    assert export.export_model(network, path, export.ExportOptions(pairs, by_instance=True)) <= 1e-4
    return path


def scaled_after_product(graph: onnx.GraphProto) -> list[str]:
    """Softmaxes of products (a mask may be added between) that are scaled after the product."""
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.op_type == 'Softmax' else None
        if maker is not None and maker.op_type == 'Add':
            maker = next((makers[name] for name in maker.input if name in makers), None)
        if maker is not None and maker.op_type in ('Mul', 'Div'):
            found.append(node.name)
    return found


def test_manifest_and_graphs(folder: Path) -> None:
    manifest = json.loads((folder / 'model.json').read_text())
    assert manifest['family'] == 'foundation' and manifest['mask_by_instance']
    assert 'LicenseRef-SAM-License' in manifest['license']
    assert manifest['canonical_focal_px'] == 300 * 112 / 56
    assert manifest['answers_depth'] is True
    for part in ('encoder', 'focus'):
        model = onnx.load(folder / f'{part}.onnx')
        assert [entry.version for entry in model.opset_import if not entry.domain] == [17]
        kinds = Counter(node.op_type for node in model.graph.node)
        assert not kinds.keys() & {'If', 'Loop', 'GridSample', 'RoiAlign'}
        assert kinds['Softmax'] and scaled_after_product(model.graph) == []
        modes = [
            attribute.s for node in model.graph.node for attribute in node.attribute
            if node.op_type == 'Resize' and attribute.name == 'mode'
        ]  # fmt: skip
        assert b'cubic' not in modes


def test_the_pipeline_runs_it(folder: Path) -> None:
    pipeline = FocusPipeline(FocusModel(folder, 'onnxruntime'), Settings(min_confidence=0.0))
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)
    frame = Frame(rgb, Camera(120, 90, 100.0, 100.0, 60.0, 45.0))
    result = pipeline(
        frame,
        [Target('a', 'a', box=(20.0, 20.0, 80.0, 70.0)), Target('b', 'b', text='the red mug')],
    )
    assert len(result.targets) == 2
    # metres = focal * answer / 300, where the focal length is that of the depth branch's picture
    focal = ((100 * 56 / 120) * (100 * 56 / 90)) ** 0.5
    scale = result.view.scale
    assert scale.is_metric and scale.shift == 0
    assert scale.scale == pytest.approx(300 / focal, rel=1e-5)
    pipeline.model.close()


def test_predict_writes_its_files(folder: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((60, 80, 3), 127, np.uint8))
    words = ['predict', str(tmp_path / 'a.png'), '--box', '10', '10', '50', '40']
    words += ['--text', 'red mug', '--out', str(tmp_path / 'out'), '--model', str(folder)]
    assert cli.main([*words, '--backend', 'onnxruntime']) == 0
    assert (tmp_path / 'out' / 'a.target1.inverse_depth.npy').is_file()


def test_a_second_size_with_boundaries_and_weights_beside(
    pairs: ClipBytePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_files, 'LARGEST_PLAIN_GRAPH_BYTES', 1_500_000)
    network = tiny_focus_depth(FocusDepthShape(98), side=140, vocabulary=VOCABULARY)
    options = export.ExportOptions(pairs, by_instance=False, attention=FUSED)
    assert export.export_model(network, tmp_path / 'model', options) <= 1e-4
    found = read_model_folder(tmp_path / 'model')
    assert found.features[-1] == 'picture' and found.input_size == (140, 140)
    beside = tmp_path / 'model' / 'encoder.onnx.data'
    assert beside.stat().st_size > 1_000_000
    beside.write_bytes(beside.read_bytes()[:-1] + b'x')
    with pytest.raises(ModelError, match=r'encoder\.onnx\.data: checksum'):
        read_model_folder(tmp_path / 'model')


@torch.no_grad()
def test_metres_are_lost_in_training() -> None:
    network = tiny_focus_depth(FocusDepthShape(56, boundaries=False), Kind.V2_METRIC)
    features = network.encode(torch.rand(1, 3, 112, 112))
    words = torch.zeros(1, 8, dtype=torch.int32)
    words[0, :3] = torch.tensor([98, 7, 99])
    for trained, scale in ((False, 1.0), (True, 0.0)):
        graph = graphs.FocusGraph(network, by_instance=True, trained=trained)
        *_, metric = graph(*features.values(), torch.zeros(1, 4), words)
        assert metric.tolist() == [[scale, 0.0]]


@torch.no_grad()
def test_a_trained_networks_confidence_is_its_masks() -> None:
    """SAM3's scores read the tokens that have learned on, and nothing trains them."""
    network = tiny_focus_depth(FocusDepthShape(56, boundaries=False))
    features = network.encode(torch.rand(1, 3, 112, 112))
    words = torch.zeros(1, 8, dtype=torch.int32)
    words[0, :3] = torch.tensor([98, 7, 99])
    inputs = (*features.values(), torch.tensor([[0.2, 0.2, 0.7, 0.8]]), words)
    given = {}
    for trained in (False, True):
        graph = graphs.FocusGraph(network, by_instance=False, trained=trained)
        before = graph(*inputs)[3]
        for parameter in network.sam3.model.detr_decoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        given[trained] = before, graph(*inputs)[3]
    assert not torch.equal(*given[False]) and torch.equal(*given[True])
    assert graphs.certainty(torch.tensor([[[0.6, 0.8, 0.2]]])).item() == pytest.approx(0.7)
    assert graphs.certainty(torch.zeros(1, 2, 2)).item() == 0


def test_controls_are_exported_as_what_they_are_or_not_at_all(
    pairs: ClipBytePairs, tmp_path: Path
) -> None:
    """`export_model` holds the graphs to torch's network, here without a gate."""
    network = tiny_focus_depth(FocusDepthShape(56, boundaries=False), vocabulary=VOCABULARY)
    for adapter in network.adapters:
        torch.nn.init.normal_(adapter.mixture.outer.weight, std=0.3)
    vary(network, FusionVariant(gated=False, shared=True))
    options = export.ExportOptions(pairs, by_instance=False)
    assert export.export_model(network, tmp_path / 'model', options) <= 1e-4
    vary(network, FusionVariant(tokens='shuffled'))
    with pytest.raises(ValueError, match='no graph can shuffle'):
        export.export_model(network, tmp_path / 'model', options)


def test_the_command_reads_what_users_have(
    pairs: ClipBytePairs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Faults are one line that names the file; the export itself is tested above."""
    sam = tmp_path / 'sam3'
    sam.mkdir()
    words = ['export-foundation', '--depth', str(tmp_path / 'depth'), '--sam3', str(sam)]
    words += ['--output', str(tmp_path / 'model')]
    assert cli.main(words) == 2
    assert "CLIP's vocabulary is missing" in capsys.readouterr().err
    (sam / 'merges.txt').write_text(pairs.as_text(), encoding='utf-8')
    assert cli.main(words) == 2
    assert 'depth does not exist' in capsys.readouterr().err


def test_byte_pairs(pairs: ClipBytePairs) -> None:
    # 256 bytes, 256 at a word's end, then the merges: 're', 'red</w>', 'mu', 'mug</w>'
    letter = ord('a') - 33 + 256
    assert pairs.start == 516 and pairs.end == 517
    assert pairs.encode('A RED  mug', 8) == [516, letter, 513, 515, 517]
    assert pairs.encode('red mug red mug', 4) == [516, 513, 515, 517]
    assert pairs.encode("it's &amp; 2é", 32)[1:-1] == pairs.encode("IT 's & 2 é", 32)[1:-1]
    assert pairs.encode('', 8) == [516, 517]


def test_a_text_for_byte_pairs_is_asked_as_it_is_written(pairs: ClipBytePairs) -> None:
    encoder = ClipPromptEncoder(pairs, 8)
    said = 'mug and box without a lid, red'  # which it may understand
    known = ClipPromptEncoder(pairs, 64).read(said).known
    assert known == tuple(said.replace(',', '').split())
    words = encoder.read('the RED-mug')
    assert words.text == 'the RED-mug' and words.known == ('the', 'red', 'mug')
    assert words.remarks == ''
    words = encoder.read('red mug red mug red mug red')  # start and end are two of eight
    assert words.known == ('red', 'mug', 'red', 'mug', 'red', 'mug')
    assert words.remarks == 'too long, left out: red'


def test_byte_pairs_are_those_of_transformers(pairs: ClipBytePairs) -> None:
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + place) for place in range(256 - len(letters))]
    tokens = letters + [letter + '</w>' for letter in letters]
    tokens += [merge.replace(' ', '') for merge in MERGES]
    tokens += ['<|startoftext|>', '<|endoftext|>']
    vocabulary = {token: index for index, token in enumerate(tokens)}
    theirs = CLIPTokenizer(vocab=vocabulary, merges=[tuple(merge.split()) for merge in MERGES])
    for text in ('a red mug', "the robot's 2nd mug, please!", 'Tasse à café', 'über-mug 42'):
        assert pairs.encode(text, 64) == theirs(text)['input_ids'], text


@pytest.mark.parametrize(
    'content', [b'', b'\x1f\x8bgarbage', b'v\none two three\n', b'v\n\xff\xfe']
)
def test_files_that_are_no_merges(content: bytes, tmp_path: Path) -> None:
    (tmp_path / 'merges.txt').write_bytes(content)
    with pytest.raises(ValueError, match=r'merges\.txt'):
        ClipBytePairs(tmp_path / 'merges.txt')
