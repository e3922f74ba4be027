"""What serves when an engine is absent, wrong, still being built, or lost in mid-run."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from fake_engines import FakeBackend, Fault, rounded, scaled

from focus_depth_ros.inference import backends, onnxruntime_tensorrt, preparation
from focus_depth_ros.inference.engine import Cancelled, EngineError, LoadOptions, Preparation
from focus_depth_ros.inference.engine_cache import EngineCache, make_own_folder
from focus_depth_ros.inference.focus_model import FocusMaps, FocusModel, NearLook
from focus_depth_ros.inference.model_folder import (
    BUILT_IN,
    ModelError,
    file_entry,
    read_model_folder,
)
from focus_depth_ros.inference.onnxruntime_tensorrt import COMPLETE, OnnxRuntimeTensorRTBackend
from focus_depth_ros.inference.preparation import CANCEL_WAIT_S
from focus_depth_ros.inference.self_check import compare, comparison
from focus_depth_ros.inference.tensorrt_backend import TensorRTBackend

PICTURE = np.full((168, 224, 3), 51, np.uint8)
BOX = np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)
WORDS = np.zeros((1, 8), np.int32)
HALF = LoadOptions(precision='fp16')


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """A backend in TensorRT's place."""
    backend = FakeBackend()
    backend.name = 'tensorrt'
    monkeypatch.setitem(backends._MAKERS, 'tensorrt', lambda: backend)
    return backend


@pytest.fixture
def said() -> list[str]:
    return []


def noise(outputs: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {name: rng.random(value.shape, np.float32) for name, value in outputs.items()}


def nan(outputs: dict[str, Any]) -> dict[str, Any]:
    return {**outputs, 'mask': np.full_like(outputs['mask'], np.nan)}


def swapped(outputs: dict[str, Any]) -> dict[str, Any]:
    return {**outputs, 'mask': outputs['boundary'], 'boundary': outputs['mask']}


def rows_mixed(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value[::-1].copy() for name, value in outputs.items()}


def misshapen(outputs: dict[str, Any]) -> dict[str, Any]:
    return {**outputs, 'mask': outputs['mask'][:, 1:]}


def shifted(outputs: dict[str, Any]) -> dict[str, Any]:
    return {**outputs, 'inverse_depth': outputs['inverse_depth'] + np.float32(0.5)}


class TestSelfCheck:
    """Faults that real conversions have had."""

    @pytest.mark.parametrize(
        ('fault', 'words'),
        [
            (nan, 'mask is not finite'),
            (noise, 'inverse_depth differs'),
            (scaled, 'scale 1.200'),
            (swapped, 'mask differs'),
            (rows_mixed, 'mask differs'),
            (misshapen, 'the manifest asks for'),
            (shifted, 'inverse_depth differs'),
        ],
    )
    def test_wrong_answers_never_serve(
        self, tiny_model: Path, fake: FakeBackend, said: list[str], fault: Fault, words: str
    ) -> None:
        fake.faults = {'fp16': fault, 'fp32': fault}
        model = FocusModel(tiny_model, 'tensorrt', say=said.append)
        assert model.engine_name == 'onnxruntime CPU fp32'
        assert words in model.facts()['engine choice'] and words in model.trouble
        assert len(said) == 1 and 'tensorrt fp16' in said[0] and 'tensorrt fp32' in said[0]
        assert all(engine.is_closed for engine in fake.loaded)
        if fault is not misshapen:  # which does not come as far as the check
            assert fake.reports['fp16']['passed'] is False
            assert words in fake.reports['fp32']['reason']
        model.close()

    def test_rounding_of_half_precision_passes(
        self, tiny_model: Path, fake: FakeBackend, said: list[str]
    ) -> None:
        fake.faults = {'fp16': rounded}
        model = FocusModel(tiny_model, 'tensorrt', say=said.append)
        assert model.engine_name == 'fake fp16' and not said and not model.trouble
        report = fake.reports['fp16']
        assert report['passed'] and set(report['outputs']) == {
            'inverse_depth', 'mask', 'boundary', 'confidence', 'metric',
        }  # fmt: skip
        assert 0 < report['outputs']['inverse_depth']['error'] < 1e-3
        assert model.facts()['engine self-check'].startswith('passed')
        model.close()

    def test_half_precision_that_fails_falls_back_on_single(
        self, tiny_model: Path, fake: FakeBackend, said: list[str]
    ) -> None:
        fake.faults = {'fp16': nan}
        model = FocusModel(tiny_model, 'tensorrt', say=said.append)
        assert model.engine_name == 'fake fp32'
        assert len(said) == 1 and 'fp16' in said[0]
        model.close()

    def test_the_trained_network_is_told_from_its_neighbours(self, fake: FakeBackend) -> None:
        """The faults are caught on the built-in model too, whose maps are less regular."""
        from focus_depth_ros.inference.model_folder import BUILT_IN

        fake.faults = {'fp16': lambda outputs: rounded(scaled(outputs)), 'fp32': rounded}
        model = FocusModel(BUILT_IN, 'tensorrt', say=lambda _: None)
        assert not fake.reports['fp16']['passed']
        assert model.engine_name == 'fake fp32' and fake.reports['fp32']['passed']
        model.close()

    def test_figures(self) -> None:
        want = np.random.default_rng(0).normal(size=1000).astype(np.float32)
        scale = comparison(np.float32(1.2) * want, want)
        assert scale.error == pytest.approx(0.2, abs=1e-3)
        assert scale.scale == pytest.approx(1.2, abs=1e-3)
        assert scale.correlation == pytest.approx(1, abs=1e-6)
        assert comparison(-want, want).correlation == pytest.approx(-1)
        nothing = np.zeros(5, np.float32)
        assert comparison(nothing, nothing).error == 0
        assert comparison(nothing + 1, nothing).error > 1e3
        assert comparison(want[:5], nothing + 1).error > 0.1

    @pytest.mark.parametrize(
        ('precision', 'factor', 'noise', 'passes'),
        [
            ('fp32', 1.001, 0.0, True), ('fp32', 1.004, 0.0, False), ('fp32', 1.0, 0.01, False),
            ('fp16', 1.005, 0.0, True), ('fp16', 1.03, 0.0, False), ('fp16', 1.0, 0.04, False),
            ('int8', 1.01, 0.0, True), ('int8', 1.05, 0.0, False), ('int8', 1.0, 0.12, False),
        ],
    )  # fmt: skip
    def test_how_much_each_precision_may_differ(
        self, precision: str, factor: float, noise: float, passes: bool
    ) -> None:
        truth = np.random.default_rng(0).uniform(0.5, 1.5, (3, 20, 30)).astype(np.float32)
        differs = np.random.default_rng(1).normal(size=truth.shape)
        found = (factor * truth + noise * differs).astype(np.float32)
        want = FocusMaps(truth, truth, truth, truth[:, 0, 0], truth[:, 0, :2])
        pair: Any = SimpleNamespace(precision=precision, name='any')
        assert compare(replace(want, inverse_depth=found), want, pair).passed is passes

    def test_a_target_alone_is_checked_too(self, tiny_model: Path, fake: FakeBackend) -> None:
        """An engine that is right for several targets at once and wrong for one."""

        def wrong_alone(outputs: dict[str, Any]) -> dict[str, Any]:
            if len(outputs['mask']) > 1:
                return outputs
            return {**outputs, 'mask': 1 - outputs['mask']}

        fake.faults = {'fp16': wrong_alone, 'fp32': rounded}
        model = FocusModel(tiny_model, 'tensorrt', say=lambda _: None)
        assert model.engine_name == 'fake fp32'
        model.close()

    def test_a_reference_that_is_not_finite_agrees_with_nothing(self) -> None:
        ones = np.ones((2, 3, 4), np.float32)
        good = FocusMaps(ones, ones, ones, ones[:, 0, 0], ones[:, 0, :2])
        pair: Any = SimpleNamespace(precision='fp32', name='any')
        assert compare(good, good, pair).passed
        assert not compare(good, replace(good, mask=ones * np.nan), pair).passed


class TestChoice:
    """`auto`, and backends that are named."""

    def test_half_of_a_model_built_is_not_built(
        self, tiny_model: Path, fake: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def preparation(graph: Path, options: LoadOptions) -> Preparation:
            return Preparation.READY if graph.stem == 'encoder' else Preparation.ABSENT

        monkeypatch.setattr(fake, 'preparation', preparation)
        model = FocusModel(tiny_model)
        assert model.engine_name == 'onnxruntime CPU fp32' and not fake.loaded
        assert 'not built yet' in model.choice and not model.trouble
        model.close()

    def test_auto_says_what_it_passed_over(self, tiny_model: Path, fake: FakeBackend) -> None:
        fake.absent = 'no GPU'
        model = FocusModel(tiny_model)
        choice = model.facts()['engine choice']
        passed_over = 'tensorrt: no GPU; onnxruntime_cuda: this ONNX Runtime has no'
        assert choice.startswith(f'onnxruntime CPU fp32 serves; {passed_over}')
        assert not model.trouble
        model.close()

    def test_auto_takes_a_built_engine_that_passes(
        self, tiny_model: Path, fake: FakeBackend
    ) -> None:
        model = FocusModel(tiny_model)
        assert model.engine_name == 'fake fp16'
        model.close()

    def test_auto_is_as_loud_about_a_wrong_engine(
        self, tiny_model: Path, fake: FakeBackend, said: list[str]
    ) -> None:
        fake.faults = {'fp16': nan, 'fp32': nan}
        model = FocusModel(tiny_model, say=said.append)
        assert model.engine_name == 'onnxruntime CPU fp32'
        assert len(said) == 1 and 'mask is not finite' in said[0] and model.trouble
        model.close()
        again = FocusModel(tiny_model, say=said.append)  # and remembers it
        assert len(fake.loaded) == 4 and 'its answers were found wrong' in said[1]
        again.close()

    def test_a_cache_that_cannot_be_written_to(
        self, tiny_model: Path, fake: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def read_only(*_: object) -> None:
            raise EngineError('engine cache /engines: Read-only file system')

        monkeypatch.setattr(fake, 'remember_check', read_only)
        model = FocusModel(tiny_model, 'tensorrt')
        assert model.engine_name == 'fake fp16'
        model.close()

    def test_auto_builds_nothing(self, tiny_model: Path, fake: FakeBackend) -> None:
        fake.built.clear()
        model = FocusModel(tiny_model, builds=True)
        model.start_building()
        assert 'engine build' not in model.facts()
        assert 'tensorrt fp16: not built yet' in model.facts()['engine choice']
        model.close()

    def test_auto_takes_what_was_built_in_single_precision_alone(
        self, tiny_model: Path, fake: FakeBackend
    ) -> None:
        fake.built = {'fp32'}
        model = FocusModel(tiny_model)
        assert model.engine_name == 'fake fp32'
        assert model.choice == 'fake fp32 serves; tensorrt fp16: not built yet'
        model.close()

    def test_a_named_backend_that_cannot_run_is_refused(
        self, tiny_model: Path, fake: FakeBackend
    ) -> None:
        fake.absent = 'no GPU'
        with pytest.raises(EngineError, match="'tensorrt': no GPU"):
            FocusModel(tiny_model, 'tensorrt')
        with pytest.raises(EngineError, match='there are: auto'):
            FocusModel(tiny_model, 'abacus')

    def test_a_named_backend_that_is_not_built_is_refused_without_a_builder(
        self, tiny_model: Path, fake: FakeBackend
    ) -> None:
        fake.built.clear()
        with pytest.raises(EngineError, match=r'build it: focus-depth run .* backend:=tensorrt'):
            FocusModel(tiny_model, 'tensorrt')

    def test_each_backend_names_a_command_that_builds_for_it(self) -> None:
        commands = [
            backend.builder(Path('model'), precision)
            for backend in (TensorRTBackend(), OnnxRuntimeTensorRTBackend())
            for precision in ('auto', 'fp32', 'int8')
        ]
        run = 'focus-depth run --ros-args -p backend:=onnxruntime_tensorrt -p model:=model'
        assert commands == [
            'focus-depth compile model',
            'focus-depth compile model --precision fp32',
            'focus-depth compile model --precision int8 --recording BAG',
            run,
            f'{run} -p precision:=fp32',
            f'{run} -p precision:=int8',
        ]

    def test_a_precision_that_is_named_is_the_only_one(
        self, tiny_model: Path, fake: FakeBackend
    ) -> None:
        model = FocusModel(tiny_model, 'tensorrt', precision='fp32')
        assert model.engine_name == 'fake fp32' and len(fake.loaded) == 2
        model.close()

    def test_a_precision_beside_a_backends_own_is_not_said_to_be_missing(
        self, tiny_model: Path, fake: FakeBackend
    ) -> None:
        fake.built = {'int8'}  # as `focus-depth compile --precision int8` leaves it
        model = FocusModel(tiny_model, 'tensorrt', precision='int8')
        assert model.engine_name == 'fake int8'
        assert model.choice == 'fake int8 serves'
        model.close()

    def test_a_precision_that_the_cpu_has_not_is_not_taken_for_int8(self) -> None:
        for backend in ('onnxruntime', 'auto'):
            model = FocusModel(BUILT_IN, backend, precision='fp16')
            assert model.precision == 'fp32'
            assert '; onnxruntime: it computes in no fp16' in model.choice
            model.close()


class TestBuilding:
    """ONNX Runtime serves while the engine is built."""

    def wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_the_engine_takes_over_between_two_pictures(
        self, tiny_model: Path, fake: FakeBackend, said: list[str]
    ) -> None:
        fake.built.clear()
        allowed: list[bool] = []
        fake.may_finish = lambda: bool(allowed)
        model = FocusModel(tiny_model, 'tensorrt', builds=True, say=said.append)
        assert model.engine_name == 'onnxruntime CPU fp32' and 'not built yet' in model.choice
        model.start_building()
        model.start_building()  # a second activation changes nothing
        features = model.encode(PICTURE)
        before = model.focus(features, BOX, WORDS)
        self.wait(lambda: '%' in model.facts()['engine build'])
        allowed.append(True)
        self.wait(lambda: 'is ready' in model.facts()['engine build'])
        assert model.engine_name == 'onnxruntime CPU fp32'  # until a picture comes
        assert np.array_equal(model.focus(features, BOX, WORDS).mask, before.mask)
        after = model.focus(model.encode(PICTURE), BOX, WORDS)
        assert model.engine_name == 'fake fp16' and not said and not model.trouble
        assert np.allclose(after.mask, before.mask)
        assert np.array_equal(model.focus(features, BOX, WORDS).mask, after.mask)  # older features
        assert model.facts()['engine choice'] == 'fake fp16 was built and serves'
        model.close()

    def test_an_engine_that_fails_its_check_is_built_anew_in_single_precision(
        self, tiny_model: Path, fake: FakeBackend, said: list[str]
    ) -> None:
        fake.built.clear()
        fake.faults = {'fp16': swapped}
        model = FocusModel(tiny_model, 'tensorrt', builds=True, say=said.append)
        model.start_building()
        self.wait(lambda: 'fp32 is ready' in model.facts()['engine build'])
        model.encode(PICTURE)
        assert model.engine_name == 'fake fp32' and len(said) == 1 and 'fp16' in said[0]
        model.close()

    def test_a_build_is_called_off_and_taken_up_again(
        self, tiny_model: Path, fake: FakeBackend, said: list[str]
    ) -> None:
        fake.built.clear()
        fake.may_finish = lambda: False
        model = FocusModel(tiny_model, 'tensorrt', builds=True, say=said.append)
        model.start_building()
        start = time.monotonic()
        model.stop_building()
        assert time.monotonic() - start < CANCEL_WAIT_S / 2 and not fake.loaded and not said
        assert 'engine build' not in model.facts()
        fake.may_finish = lambda: True
        model.start_building()
        self.wait(lambda: 'is ready' in model.facts()['engine build'])
        model.close()
        assert all(engine.is_closed for engine in fake.loaded)

    def test_a_build_that_cannot_be_interrupted_ends_with_its_graph(
        self, tiny_model: Path, fake: FakeBackend, said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun: list[str] = []
        stopped = threading.Event()

        def uninterrupted(graph: Path, *_: object) -> None:
            begun.append(graph.stem)
            stopped.wait(30)

        fake.built.clear()
        monkeypatch.setattr(fake, 'prepare', uninterrupted)
        monkeypatch.setattr(preparation, 'CANCEL_WAIT_S', 0.05)
        model = FocusModel(tiny_model, 'tensorrt', builds=True, say=said.append)
        model.start_building()
        self.wait(lambda: begun)
        work = model._building
        model.stop_building()
        stopped.set()
        self.wait(lambda: work.progress == 'cancelled')
        assert begun == ['encoder'] and not fake.loaded and not said
        model.close()

    def test_builds_that_fail_leave_onnx_runtime(
        self, tiny_model: Path, fake: FakeBackend, said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full_disk(*_: object) -> None:
            raise OSError('no space left')

        fake.built.clear()
        monkeypatch.setattr(fake, 'prepare', full_disk)
        model = FocusModel(tiny_model, 'tensorrt', builds=True, say=said.append)
        model.start_building()
        self.wait(lambda: len(said) == 2)
        assert 'no space left' in model.trouble and model.engine_name == 'onnxruntime CPU fp32'
        model.close()


@pytest.mark.parametrize('lost_in', ['encode', 'focus'])
def test_a_device_lost_in_mid_run(
    tiny_model: Path, fake: FakeBackend, said: list[str], lost_in: str
) -> None:
    model = FocusModel(tiny_model, 'tensorrt', say=said.append)
    expected = model.focus(model.encode(PICTURE), BOX, WORDS)
    features = model.encode(PICTURE)
    fake.is_lost = lambda: True
    if lost_in == 'encode':
        features = model.encode(PICTURE)
    answer = model.focus(features, BOX, WORDS)
    assert np.allclose(answer.mask, expected.mask)
    assert model.engine_name == 'onnxruntime CPU fp32' and all(e.is_closed for e in fake.loaded)
    model.focus(model.encode(PICTURE), BOX, WORDS)
    assert len(said) == 1 and 'the device is gone' in said[0] and model.trouble == said[0]
    model.close()


def near_look(seed: int = 0) -> NearLook:
    """For the compact model of the tests."""
    rng = np.random.default_rng(seed)
    return NearLook(
        picture=rng.integers(0, 255, (56, 88, 3), np.uint8),
        window=np.array([[0.25, 0.25, 0.75, 0.75]], np.float32),
        first=rng.random((1, 2, 28, 44), np.float32),
        box=np.array([[0.2, 0.3, 0.7, 0.8]], np.float32),
        words=WORDS,
    )


def whole_picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(100 + seed).integers(0, 255, (56, 88, 3), np.uint8)


@pytest.mark.parametrize('lost_in', ['held', 'look_near'])
def test_a_device_lost_while_looking_from_near(
    compact_model: Path, fake: FakeBackend, said: list[str], lost_in: str
) -> None:
    model = FocusModel(compact_model, 'tensorrt', say=said.append)
    features, look = model.encode(whole_picture()), near_look()
    expected = model.look_near(model.held(features), look)
    features = model.encode(whole_picture())
    if lost_in == 'held':  # fetching what lies on a lost device fails as well
        features.values['stride4'] = Unreadable()
        fake.is_lost = lambda: True
    held = model.held(features)
    fake.is_lost = lambda: True
    answer = model.look_near(held, look)
    assert np.allclose(answer.mask, expected.mask, atol=1e-5)
    assert model.engine_name == 'onnxruntime CPU fp32' and all(e.is_closed for e in fake.loaded)
    assert len(said) == 1 and 'the device is gone' in said[0]
    model.close()


class Unreadable:
    """An output on a device that is gone."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise EngineError('the device is gone')


def test_what_is_held_outlasts_the_next_pictures(compact_model: Path, fake: FakeBackend) -> None:
    model = FocusModel(compact_model, 'tensorrt')
    features, look = model.encode(whole_picture()), near_look()
    held = model.held(features)
    first = model.look_near(held, look)
    model.encode(whole_picture(seed=1))  # writes over what is not held
    again = model.look_near(held, look)
    assert np.array_equal(first.mask, again.mask)
    model.close()


def test_a_fovea_alone_that_answers_wrongly(
    compact_model: Path, fake: FakeBackend, said: list[str]
) -> None:
    fake.faults, fake.faulty_graph = {'fp16': scaled, 'fp32': scaled}, 'fovea'
    model = FocusModel(compact_model, 'tensorrt', say=said.append)
    assert model.engine_name == 'onnxruntime CPU fp32'
    assert 'from near: inverse_depth differs' in said[0]
    model.close()


@pytest.mark.parametrize('fault', ['missing', 'altered', 'another graph'])
def test_a_folder_whose_fovea_must_not_be_used(
    compact_model: Path, tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(compact_model, folder)
    fovea = folder / 'fovea.onnx'
    if fault == 'missing':
        fovea.unlink()
    elif fault == 'altered':
        fovea.write_bytes(fovea.read_bytes()[:-1] + b'?')
    else:
        shutil.copy(folder / 'focus.onnx', fovea)
        manifest = json.loads((folder / 'model.json').read_text())
        manifest['files']['fovea'] |= {'sha256': manifest['files']['focus']['sha256']}
        (folder / 'model.json').write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r'fovea\.onnx'):
        FocusModel(folder, 'onnxruntime')


def test_a_models_identity_is_that_of_all_its_files(compact_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(compact_model, folder)
    assert read_model_folder(folder).sha256 == read_model_folder(compact_model).sha256
    manifest = json.loads((folder / 'model.json').read_text())
    del manifest['files']['fovea']
    (folder / 'model.json').write_text(json.dumps(manifest))
    assert read_model_folder(folder).sha256 != read_model_folder(compact_model).sha256


def test_an_engine_that_begins_to_answer_nan_gives_way(
    tiny_model: Path, fake: FakeBackend, said: list[str]
) -> None:
    model = FocusModel(tiny_model, 'tensorrt', say=said.append)
    expected = model.focus(model.encode(PICTURE), BOX, WORDS)
    for engine in fake.loaded:
        engine._fault = nan
    answer = model.focus(model.encode(PICTURE), BOX, WORDS)
    assert np.allclose(answer.mask, expected.mask)
    assert model.engine_name == 'onnxruntime CPU fp32'
    assert len(said) == 1 and 'answered NaN' in said[0] and model.trouble == said[0]
    model.close()


@pytest.mark.parametrize('change', ['other weights', 'gone'])
def test_a_folder_that_changed_meanwhile_serves_nothing(
    tiny_model: Path, tmp_path: Path, fake: FakeBackend, said: list[str], change: str
) -> None:
    folder = tmp_path / 'model'
    shutil.copytree(tiny_model, folder)
    serving = FocusModel(folder, 'tensorrt', say=said.append)
    fake.built.clear()
    building = FocusModel(folder, 'tensorrt', builds=True, say=said.append)
    graph = folder / 'focus.onnx'
    if change == 'gone':
        graph.unlink()
    else:
        graph.write_bytes(graph.read_bytes() + b'\0')
        manifest = json.loads((folder / 'model.json').read_text())
        manifest['files']['focus'] = file_entry(graph)
        (folder / 'model.json').write_text(json.dumps(manifest))
    fake.is_lost = lambda: True
    with pytest.raises(EngineError, match='has changed since it was loaded'):
        serving.encode(PICTURE)
    building.start_building()
    assert building._building is not None
    building._building._thread.join(20)
    assert 'has changed since it was loaded' in building.trouble and building._successor is None
    serving.close()
    building.close()


def test_nothing_stands_behind_onnx_runtime(tiny_model: Path, said: list[str]) -> None:
    model = FocusModel(tiny_model, 'onnxruntime', say=said.append)
    with pytest.raises(EngineError):
        model.encode(np.zeros((3, 3, 3), np.uint8))
    assert not said and model.engine_name == 'onnxruntime CPU fp32'
    model.close()


def test_the_providers_next_build_waits_for_one_that_was_called_off(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, built = OnnxRuntimeTensorRTBackend(), []
    monkeypatch.setattr(onnxruntime_tensorrt, 'build_apart', lambda *asked: built.append(asked))
    cancelled = threading.Event()
    graph, said = tiny_model / 'encoder.onnx', []
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    cache = EngineCache(onnxruntime_tensorrt._cache_folder(graph, LoadOptions()))
    with cache.locked(lambda: None, threading.Event()):
        asked = (graph, LoadOptions(), lambda what, _: said.append(what), cancelled)
        waiting = ThreadPoolExecutor(1).submit(backend.prepare, *asked)
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        cancelled.set()
        with pytest.raises(Cancelled, match='called off while waiting'):
            waiting.result(10)
    assert not built and 'another build is waited for' in said[0]


@pytest.fixture
def provider_folder(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """A graph, and where ONNX Runtime's TensorRT provider would keep its engines."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    graph = tiny_model / 'encoder.onnx'
    return graph, onnxruntime_tensorrt._cache_folder(graph, HALF)


def test_what_a_killed_build_of_the_provider_left_is_not_taken_for_whole(
    provider_folder: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, (graph, folder) = OnnxRuntimeTensorRTBackend(), provider_folder
    make_own_folder(folder)
    (folder / 'half.engine').touch(mode=0o600)

    def build(*_: object) -> None:
        (folder / 'whole.engine').touch(mode=0o600)

    monkeypatch.setattr(onnxruntime_tensorrt, 'build_apart', build)
    backend.prepare(graph, HALF, lambda *_: None, threading.Event())
    assert [path.name for path in folder.glob('*.engine')] == ['whole.engine']
    assert backend.preparation(graph, HALF) is Preparation.READY


def test_an_engine_of_the_provider_that_was_cut_off_is_built_anew(
    provider_folder: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, (graph, folder) = OnnxRuntimeTensorRTBackend(), provider_folder

    def build(*_: object) -> None:
        (folder / 'any.engine').write_bytes(b'whole')

    make_own_folder(folder)
    monkeypatch.setattr(onnxruntime_tensorrt, 'build_apart', build)
    for damage in (b'wh', b'whale'):
        backend.prepare(graph, HALF, lambda *_: None, threading.Event())
        assert backend.preparation(graph, HALF) is Preparation.READY
        (folder / 'any.engine').write_bytes(damage)
        assert backend.preparation(graph, HALF) is Preparation.ABSENT


@pytest.mark.skipif(
    'TensorrtExecutionProvider' in onnxruntime.get_available_providers(), reason='it would build'
)
def test_a_failed_build_of_the_provider_says_why(provider_folder: tuple[Path, Path]) -> None:
    backend, (graph, _) = OnnxRuntimeTensorRTBackend(), provider_folder
    with pytest.raises(EngineError, match=r'^TensorrtExecutionProvider is built in but did not'):
        backend.prepare(graph, HALF, lambda *_: None, threading.Event())
    assert backend.preparation(graph, HALF) is Preparation.ABSENT


def python_as(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is run by this interpreter runs `script` instead."""
    program = tmp_path / 'python'
    program.write_text(f'#!/bin/sh\n{script}\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, 'executable', str(program))


def test_a_build_of_the_provider_can_be_called_off(
    provider_folder: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, (graph, folder) = OnnxRuntimeTensorRTBackend(), provider_folder
    python_as(f'touch {tmp_path}/begun; sleep 60; touch {tmp_path}/done', tmp_path, monkeypatch)
    cancelled = threading.Event()
    asked = (graph, HALF, lambda *_: None, cancelled)
    building = ThreadPoolExecutor(1).submit(backend.prepare, *asked)
    while not (tmp_path / 'begun').exists():
        assert not building.done()
        time.sleep(0.01)
    began = time.monotonic()
    cancelled.set()
    with pytest.raises(Cancelled, match='called off'):
        building.result(10)
    assert time.monotonic() - began < 5
    assert not any(path.exists() for path in (tmp_path / 'done', folder / COMPLETE))


def test_a_build_of_the_provider_that_is_killed_costs_no_more_than_itself(
    provider_folder: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, (graph, _) = OnnxRuntimeTensorRTBackend(), provider_folder
    python_as('kill -9 $$', tmp_path, monkeypatch)
    with pytest.raises(EngineError, match='status -9'):
        backend.prepare(graph, HALF, lambda *_: None, threading.Event())


def test_an_engine_that_the_provider_cannot_read_is_built_anew(
    provider_folder: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, (graph, folder) = OnnxRuntimeTensorRTBackend(), provider_folder
    make_own_folder(folder)
    (folder / 'any.engine').write_bytes(b'of an older TensorRT')
    complete = folder / onnxruntime_tensorrt.COMPLETE
    complete.write_bytes(onnxruntime_tensorrt.checksums(folder))
    monkeypatch.setattr(onnxruntime_tensorrt, '_profile', lambda _: {})
    for fault, kept in (
        ('out of memory', True),
        ('TensorRT EP could not deserialize engine from cache', False),
    ):

        def refuse(*_: object, fault: str = fault) -> None:
            raise EngineError(fault)

        monkeypatch.setattr(onnxruntime_tensorrt, 'OnnxRuntimeEngine', refuse)
        with pytest.raises(EngineError, match=fault):
            backend.load(graph, HALF)
        assert complete.exists() == kept


def test_engines_that_others_may_have_written_are_not_run(
    provider_folder: tuple[Path, Path],
) -> None:
    backend, (graph, folder) = OnnxRuntimeTensorRTBackend(), provider_folder
    assert backend.preparation(graph, HALF) is Preparation.ABSENT
    make_own_folder(folder)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.parents[:4]))
    engine = folder / 'any.engine'
    engine.touch(mode=0o600)
    assert backend.preparation(graph, HALF) is Preparation.ABSENT  # a build that was killed
    complete = folder / onnxruntime_tensorrt.COMPLETE
    complete.write_bytes(onnxruntime_tensorrt.checksums(folder))
    assert backend.preparation(graph, HALF) is Preparation.READY
    engine.chmod(0o664)  # as the provider writes it under Ubuntu's umask
    assert backend.preparation(graph, HALF) is Preparation.READY
    folder.chmod(0o770)
    with pytest.raises(EngineError, match='others may write to it'):
        backend.preparation(graph, HALF)
    with pytest.raises(EngineError, match='others may write to it'):
        make_own_folder(folder)
