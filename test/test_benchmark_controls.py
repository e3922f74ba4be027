"""The comparison's bookkeeping: who is asked what, and the table that comes of it."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from load_script import load_script

torch = pytest.importorskip('torch', reason='training needs torch (extra: train)')
pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')

from focus_depth_ros.core import Target  # noqa: E402
from focus_depth_ros.datasets.frame import LabelledFrame  # noqa: E402


@pytest.fixture(scope='module')
def controls() -> ModuleType:
    return load_script('benchmarks/controls.py')


def frame() -> LabelledFrame:
    """Two blocks before a wall; the third is too small to be asked for."""
    ids = np.zeros((60, 80), np.int32)
    ids[10:40, 10:30], ids[20:50, 45:70], ids[0:3, 0:3] = 1, 2, 3
    depth_m = np.where(ids == 1, 0.5, np.where(ids == 2, 0.8, 1.6)).astype(np.float32)
    return LabelledFrame(
        name='a', group='rendered', rgb=np.zeros((60, 80, 3), np.uint8), depth_m=depth_m, ids=ids,
        K=np.eye(3), captions={1: ['the red mug'], 2: ['the blue mug'], 3: ['the mug']},
        absent_captions=['the green bottle'],
    )  # fmt: skip


def test_the_same_targets_are_asked_in_every_way(
    controls: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def answers(
        network: object, frame: LabelledFrame, targets: 'list | None', count: int
    ) -> 'tuple[np.ndarray, np.ndarray]':
        """The true picture for a right box, nothing for any other prompt."""
        truth = 1 / frame.depth_m
        maps = []
        for index in range(count):
            target = targets[index] if targets else None
            asked.setdefault(count, []).append(target and (target.box or target.text))
            right = (
                target is not None and target.box == ((10.0, 10, 30, 40), (45.0, 20, 70, 50))[index]
            )
            maps.append(truth if right else np.ones_like(truth))
        return np.stack(maps), np.full((count, 60, 80), -1.0, np.float32)

    monkeypatch.setattr(controls, 'answers', answers)
    scores = controls.frame_scores(None, frame(), 'right', [])
    assert set(scores) == {
        'asked',
        'box',
        'other box',
        'text',
        'other text',
        'absent text',
        'empty',
    }
    assert all(len(values['foreground']) == 2 for values in scores.values())
    assert scores['asked']['foreground'] == pytest.approx([0, 0], abs=1e-5)
    assert min(scores['other box']['foreground']) > 0.1
    assert scores['empty'] == scores['absent text']
    blind = controls.frame_scores(None, frame(), 'empty', [])
    assert blind['asked'] == scores['empty']
    asked.clear()
    before = Target('', '', box=(1.0, 2.0, 30.0, 40.0))  # of another picture
    misled = controls.frame_scores(None, frame(), 'wrong', [before])
    assert asked[2][:2] == [before.box, before.box]
    assert min(misled['asked']['foreground']) > 0.1
    assert 'asked' not in controls.frame_scores(None, frame(), 'wrong', [])  # the first picture


def test_table_compares_with_the_baseline(controls: ModuleType) -> None:
    def row(size: float) -> dict:
        figure = {'median': size, 'mean': size}
        scores = dict.fromkeys((*controls.REGIONS, 'iou'), figure)
        return {'parameters': 4_000_000, 'targets': 9, 'scores': {'asked': scores, 'box': scores}}

    text = controls.table({'focusdepth': row(0.03), 'finetuned': row(0.06)})
    assert (
        '| focusdepth | 4.00 M | 9 | 0.0300 / 0.0300 / 0.0300 | 0.50 / 0.50 / 0.50 | 0.030 |'
        in text
    )
    assert '| finetuned | 0.0600 | - | - | - | - | - |' in text


def test_every_control_has_its_settings(controls: ModuleType) -> None:
    for name in ('depth', *controls.NAMES):
        assert (controls.CONFIGS / f'{name}.yaml').is_file()


def test_a_trained_start_has_no_mssa_and_all_else(controls: ModuleType, tmp_path: Path) -> None:
    weights = {'encoder.stem': torch.ones(2), 'focus.fusion4.gate': torch.ones(1)}
    average = {f'module.{name}': value for name, value in weights.items()}
    torch.save({'average': average}, tmp_path / 'trained.pt')
    start = controls.without_mssa(tmp_path / 'trained.pt', tmp_path / 'start.pt')
    assert controls.averaged_weights(start).keys() == {'encoder.stem'}


def test_rates_are_scaled_in_every_stage(controls: ModuleType) -> None:
    config = controls.read_config(controls.CONFIGS / 'focusdepth.yaml')
    faster = controls.at_rates(config, 10)
    assert [stage.adam_lr for stage in faster.stages] == pytest.approx([1e-3, 1e-4])


def test_other_sizes_leave_the_published_settings(controls: ModuleType, tmp_path: Path) -> None:
    arguments = SimpleNamespace(
        train=tmp_path, validation=tmp_path, output=tmp_path, steps=2, depth_steps=3, batch=None,
        threads=1, workers=0, network={'stem': 8},
    )  # fmt: skip
    assert controls.settings('no_gate', arguments).network == {'dropout': 0.1, 'stem': 8}
    assert controls.settings('depth', arguments).network == {'stem': 8}


def test_quartiles_leave_out_what_was_not_measured(controls: ModuleType) -> None:
    found = controls.quartiles([4.0, 1.0, float('nan'), 2.0, 3.0, 10.0])
    assert found == {'q1': 2.0, 'median': 3.0, 'q3': 4.0, 'mean': 4.0}
    assert np.isnan(controls.quartiles([])['median'])
