"""Weights of the foundation family: published names and layouts, the public code's answers.

The expected numbers were computed with the public implementations of Depth Anything V2, Depth
Anything 3 and SAM3 on the weights by rule of foundation_cases.py.
"""

import json
import pickle
import re
from pathlib import Path

import pytest

torch = pytest.importorskip('torch', reason='the networks need torch (extra: foundation)')
pytest.importorskip('transformers', reason='extra: foundation')
torch.set_num_threads(1)

from foundation_cases import (  # noqa: E402
    SAM_SIDE,
    VISUAL,
    picture,
    sam3_config,
    summary,
    tensors_by_rule,
)
from safetensors.torch import save_file  # noqa: E402

from focus_depth_ros.networks.foundation.checkpoints import WeightsError  # noqa: E402
from focus_depth_ros.networks.foundation.depth_anything import Kind  # noqa: E402
from focus_depth_ros.networks.foundation.depth_weights import (  # noqa: E402
    LICENCES,
    load_depth_anything,
)
from focus_depth_ros.networks.foundation.sam3 import Sam3  # noqa: E402
from focus_depth_ros.networks.foundation.sam3_weights import check_vocabulary, load_sam3  # noqa: E402

DEPTH = {
    'v2': [0.801474, 0.990134, 4.234927, 0.0, 0.0, 2.359941],
    'da3mono': [0.476866, 0.129357, 0.406081, 0.683368, 0.582292, 0.441213],
    'da3': [0.275553, 0.104339, 0.22427, 0.334649, 0.089523, 0.338926],
}
"""Inverse depth, sky 0, of a picture of 98x70 px: summary() of what the public code answers."""

PROMPTS = [
    ([98, 7, 8, 99, 0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0]),
    ([0, 0, 0, 0, 0, 0, 0, 0], [0.2, 0.3, 0.5, 0.75]),
    ([98, 7, 99, 0, 0, 0, 0, 0], [0.05, 0.0, 0.98, 0.9]),
]
SAM = {
    'fused': [
        [-1.00392, 6.43417, -9.8363, -7.83787, 0.335, -3.89872],
        [-0.41795, 6.72117, -4.93391, -2.13428, -0.83634, -4.2076],
        [-0.42753, 6.41092, -7.51287, -6.59216, 0.57173, -1.83592],
    ],
    'semantic': [
        [-0.05577, 1.09665, 0.01796, 1.60737, -1.25475, -1.97504],
        [-0.08386, 1.09284, 0.07755, 1.64676, -1.28966, -1.92386],
        [-0.07876, 1.09576, 0.04233, 1.61747, -1.22301, -1.98369],
    ],
    'boxes': [
        [0.32551, 0.45711, -0.44844, -0.41427, -0.16232, 0.01412],
        [0.2867, 0.43513, -0.21372, -0.42221, -0.10528, -0.17558],
        [0.12943, 0.3887, -0.42385, -0.40246, -0.39489, -0.16452],
    ],
    'scores': [
        [0.58465, 0.02424, 0.62226, 0.56455, 0.57846, 0.61638],
        [0.36987, 0.04406, 0.42476, 0.36863, 0.3108, 0.35518],
        [0.36081, 0.05906, 0.37189, 0.39978, 0.33091, 0.46933],
    ],
    'masks': [
        [-6.56478, 6.46513, -2.00915, -12.62087, -1.34437, -8.74097],
        [-7.63795, 7.31047, -1.65723, -14.23718, -3.51217, -14.48909],
        [-7.50741, 6.70941, -0.94543, -14.55633, -5.57656, -12.57776],
    ],
}
"""Per prompt, summary() of SAM3's fusion encoder, semantic mask and seven candidates."""


def depth_folder(folder: Path, case: str) -> Path:
    """A published checkpoint as it is handed out: a .pth for V2, a folder for Depth Anything 3."""
    tensors = tensors_by_rule(case)
    if case == 'v2':
        torch.save(tensors, folder / 'depth_anything_v2_vitx.pth')
        return folder / 'depth_anything_v2_vitx.pth'
    save_file(tensors, folder / 'model.safetensors')
    (folder / 'config.json').write_text(json.dumps({'model_name': f'{case}-large'}))
    return folder


@pytest.mark.parametrize('case', ['v2', 'da3mono', 'da3'])
@torch.no_grad()
def test_depth_anything_answers_as_the_public_code_does(case: str, tmp_path: Path) -> None:
    network = load_depth_anything(depth_folder(tmp_path, case))
    answer = network.inverse_depth(*network(picture(98, 70)))
    assert answer.shape == (1, 70, 98)
    assert summary(answer) == pytest.approx(DEPTH[case], abs=1e-4)


@pytest.fixture(scope='module')
def sam3(tmp_path_factory: pytest.TempPathFactory) -> Sam3:
    file = tmp_path_factory.mktemp('sam3') / 'sam3.pt'
    tensors = {f'{name}': value for name, value in tensors_by_rule('sam3').items()}
    torch.save({'model': {**tensors, 'tracker.memory': torch.zeros(1)}}, file)
    return load_sam3(file, VISUAL, SAM_SIDE, sam3_config())


@torch.no_grad()
def test_sam3_answers_as_the_public_code_does(sam3: Sam3) -> None:
    maps = sam3.encode(picture(SAM_SIDE, SAM_SIDE))
    words, boxes = (torch.tensor(list(values)) for values in zip(*PROMPTS, strict=True))
    batch = {name: value.expand(3, -1, -1, -1) for name, value in maps.items()}
    tokens = sam3.prompted(batch['sam_coarse'], boxes, words)
    pixels, found = sam3.pixels(batch, tokens), sam3.instances(tokens)
    masks = [sam3.instance_mask(pixels, query) for query in found.queries.unbind(1)]
    answers = {
        'fused': tokens.fused,
        'semantic': sam3.semantic_mask(pixels),
        'boxes': found.boxes,
        'scores': found.scores,
        'masks': torch.stack(masks, dim=1),
    }
    for name, answer in answers.items():
        for row in range(3):
            close = pytest.approx(SAM[name][row], rel=1.5e-5, abs=1e-4)
            assert summary(answer[row]) == close, (name, row)


@torch.no_grad()
def test_transformers_layout_of_depth_anything(tmp_path: Path) -> None:
    """The layout on the hub, with the attention's names of the release that wrote it."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        hidden_size=64, num_hidden_layers=12, num_attention_heads=1, image_size=518, patch_size=14,
        out_indices=[3, 6, 9, 12], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=64, neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16, head_hidden_size=8, depth_estimation_type='metric', max_depth=20,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = DepthAnythingForDepthEstimation(config).eval()
    for parameter in theirs.parameters():
        parameter.mul_(3 if parameter.dim() > 1 else 1)
    older = {}
    for name, value in theirs.state_dict().items():
        name = re.sub(r'attention\.q_proj', 'attention.attention.query', name)
        name = re.sub(r'attention\.k_proj', 'attention.attention.key', name)
        name = re.sub(r'attention\.v_proj', 'attention.attention.value', name)
        older[re.sub(r'attention\.o_proj', 'attention.output.dense', name)] = value.clone()
    assert 'backbone.encoder.layer.0.attention.attention.query.weight' in older
    save_file(older, tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(json.dumps(config.to_dict()))
    network = load_depth_anything(tmp_path)
    assert network.shape.kind is Kind.V2_METRIC and network.shape.max_depth_m == 20.0
    # At the size of the position table both agree; DINOv2's own way of stretching it differs.
    rgb = picture(518, 518)
    expected = theirs((rgb - network.mean) / network.deviation).predicted_depth
    assert torch.allclose(network(rgb)[0], expected, atol=1e-4 * float(expected.max()))
    said = config.to_dict()
    for wrong, words in (
        ({'backbone_config': {'out_indices': [9, 10, 11, 12]}}, 'Depth Anything 1 is not support'),
        ({'max_depth': None}, 'max_depth in config.json is None'),
    ):
        (tmp_path / 'config.json').write_text(json.dumps(said | wrong))
        with pytest.raises(WeightsError, match=words):
            load_depth_anything(tmp_path)


@torch.no_grad()
def test_transformers_layout_of_sam3(
    sam3: Sam3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {
        f'detector_model.{name}': value.clone() for name, value in sam3.model.state_dict().items()
    }
    names['tracker_model.memory'] = torch.zeros(1)
    save_file(names, tmp_path / 'model.safetensors')
    content = {'model_type': 'sam3_video', 'detector_config': sam3_config().to_dict()}
    (tmp_path / 'config.json').write_text(json.dumps(content))
    again = load_sam3(tmp_path, VISUAL, SAM_SIDE)
    assert 'licence: LicenseRef-SAM-License' in capsys.readouterr().out
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, sam3.model.state_dict()[name]), name
    with pytest.raises(WeightsError, match='a multiple of 14 px, not 1000'):
        load_sam3(tmp_path, VISUAL, 1000)
    tokens = sam3.model.config.text_config.vocab_size
    check_vocabulary(tokens - 1, sam3, tmp_path)
    with pytest.raises(WeightsError, match='is it whole'):
        check_vocabulary(tokens - 9, sam3, tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps({'detector_config': 'x'}))
    with pytest.raises(WeightsError, match=r"config\.json is not SAM3's"):
        load_sam3(tmp_path, VISUAL, SAM_SIDE)


def test_licences_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_depth_anything(depth_folder(tmp_path, 'da3'))
    assert 'licence: unknown (ask' in capsys.readouterr().out  # 64 channels: nobody's weights
    assert LICENCES[Kind.V2, 384] == LICENCES[Kind.V3_METRIC, 1024] == 'Apache-2.0'
    assert LICENCES[Kind.V2, 768] == LICENCES[Kind.V2, 1024] == 'CC-BY-NC-4.0'


def test_gaps_and_strangers_are_named(tmp_path: Path) -> None:
    tensors = tensors_by_rule('v2')
    del tensors['pretrained.blocks.7.mlp.fc1.bias']
    tensors['pretrained.blocks.7.mlp.fc9.bias'] = torch.zeros(1)
    tensors['pretrained.norm.weight'] = torch.zeros(65)
    torch.save(tensors, tmp_path / 'x.pth')
    with pytest.raises(WeightsError) as fault:
        load_depth_anything(tmp_path / 'x.pth')
    for words in (
        'missing: backbone.encoder.layer.7.mlp.fc1.bias',
        'unknown: backbone.encoder.layer.7.mlp.fc9.bias',
        'backbone.layernorm.weight is (65,) instead of (64,)',
    ):
        assert words in str(fault.value)


def test_unfit_files_are_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ('code from a weights file ran',)

    (tmp_path / 'harm.pth').write_bytes(pickle.dumps({'weight': Harm()}, protocol=2))
    (tmp_path / 'broken.safetensors').write_bytes(bytes(range(64)))
    torch.save([1, 2], tmp_path / 'list.pt')
    torch.save({'average': {}, 'stage': 1}, tmp_path / 'checkpoint.pt')
    (tmp_path / 'parts').mkdir()
    save_file({'a': torch.zeros(1)}, tmp_path / 'parts/model-00001-of-00002.safetensors')
    save_file({'a': torch.zeros(1)}, tmp_path / 'other.safetensors')
    for name, words in (
        ('harm.pth', 'more than tensors'),
        ('broken.safetensors', 'no readable weights'),
        ('list.pt', 'not a dictionary of tensors'),
        ('checkpoint.pt', r'name trained\.safetensors'),
        ('parts', r'join them into model\.safetensors'),
        ('other.safetensors', 'no Depth Anything'),
        ('gone.pth', 'does not exist'),
        ('.', 'one weights file is expected'),
    ):
        with pytest.raises(WeightsError, match=words):
            load_depth_anything(tmp_path / name)
    with pytest.raises(WeightsError, match='no SAM3'):
        load_sam3(tmp_path / 'other.safetensors', VISUAL)


def test_what_the_tensors_do_not_tell_is_asked_for(tmp_path: Path) -> None:
    folder = depth_folder(tmp_path, 'da3mono')
    (folder / 'config.json').unlink()
    with pytest.raises(WeightsError, match='DA3MONO and DA3METRIC'):
        load_depth_anything(folder)
    assert load_depth_anything(folder, Kind.V3_METRIC).shape.kind is Kind.V3_METRIC
    metric = tmp_path / 'depth_anything_v2_metric_hypersim_vits.pth'
    torch.save(tensors_by_rule('v2'), metric)
    with pytest.raises(WeightsError, match='Hypersim 20 m'):
        load_depth_anything(metric)
    assert load_depth_anything(metric, Kind.V2_METRIC, 20.0).shape.max_depth_m == 20.0
    for folder_name, file_name in (
        ('weights', metric.name),
        ('Depth-Anything-V2-Metric-Hypersim-Small', 'model.pth'),
    ):
        named = tmp_path / folder_name / file_name
        named.parent.mkdir()
        named.write_bytes(metric.read_bytes())
        with pytest.raises(WeightsError, match='metric weights by their name'):
            load_depth_anything(named.parent)
    with pytest.raises(WeightsError, match='20 or 80 m'):
        load_depth_anything(depth_folder(tmp_path, 'v2'), Kind.V2_METRIC)
