"""A model on TensorRT as the node has it: built behind ONNX Runtime's back, checked, replaced."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnxscript', reason="needs the 'tensorrt' extra")

from tensorrt_rig import Rig
from tensorrt_rig import rig as rig

from focus_depth_ros.evaluation import bench, evaluate
from focus_depth_ros.inference.engine_cache import read_manifest
from focus_depth_ros.inference.focus_model import FocusMaps, FocusModel, NearLook

PICTURE = np.zeros((168, 224, 3), np.uint8)
BOXES = np.array([[0.1, 0.1, 0.5, 0.5], [0.3, 0.2, 0.9, 0.8]], np.float32)
WORDS = np.zeros((2, 8), np.int32)
BUILD_LIMIT_S = 60.0


def look(model: FocusModel) -> FocusMaps:
    return model.focus(model.encode(PICTURE), BOXES, WORDS)


def test_the_first_use_builds_and_a_lost_gpu_is_replaced(rig: Rig, tiny_model: Path) -> None:
    said: list[str] = []
    rig.trt.fake.step_s = 0.01
    model = FocusModel(tiny_model, 'tensorrt', precision='fp32', builds=True, say=said.append)
    model.start_building()
    served = {model.engine_name}
    wanted = look(model)
    until = time.monotonic() + BUILD_LIMIT_S
    while not model.engine_name.startswith('tensorrt'):
        assert time.monotonic() < until, model.facts()
        look(model)
        time.sleep(0.05)
    assert served == {'onnxruntime CPU fp32'}
    assert model.engine_name == f'tensorrt {rig.trt.__version__} fp32' and not said
    found = look(model)
    assert np.allclose(found.inverse_depth, wanted.inverse_depth, atol=1e-5)
    assert np.allclose(found.confidence, wanted.confidence, atol=1e-5)
    for engine in rig.cache.folder.glob('*.engine'):
        assert read_manifest(engine).notes['self_check']['passed'] is True
    rig.gpu.lost = True
    found = look(model)
    assert np.allclose(found.inverse_depth, wanted.inverse_depth, atol=1e-6)
    assert model.engine_name == 'onnxruntime CPU fp32' and 'cudaErrorLaunchFailure' in said[0]
    model.close()


def test_what_is_built_serves_at_once(rig: Rig, tiny_model: Path) -> None:
    for graph in ('encoder.onnx', 'focus.onnx'):
        rig.build(tiny_model / graph, precision='fp32')
    model = FocusModel(tiny_model, 'auto', precision='fp32')
    assert model.backend_name == 'tensorrt'
    model.close()
    assert len(rig.trt.fake.builds) == 2


def test_what_is_built_serves_from_a_full_disk(
    rig: Rig, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for graph in ('encoder.onnx', 'focus.onnx'):
        rig.build(tiny_model / graph, precision='fp32')

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    model = FocusModel(tiny_model, 'tensorrt', precision='fp32')
    assert model.backend_name == 'tensorrt'
    model.close()


def test_the_encoders_time_is_not_the_launchs(rig: Rig, tiny_model: Path) -> None:
    for graph in ('encoder.onnx', 'focus.onnx'):
        rig.build(tiny_model / graph, precision='fp32')
    model = FocusModel(tiny_model, 'tensorrt', precision='fp32')
    encode = bench.verbs(model)['encoder']
    encode()
    assert not any(stream.queue for stream in rig.gpu.streams.values())
    model.close()


def test_it_is_timed_and_not_what_would_replace_it(rig: Rig, tiny_model: Path) -> None:
    """Features on a GPU last until the next picture: the timed rounds encode their own."""
    for graph in ('encoder.onnx', 'focus.onnx'):
        rig.build(tiny_model / graph, precision='fp32')
    model = FocusModel(tiny_model, 'tensorrt', precision='fp32')
    bench.measure(bench.verbs(model), rounds=2)
    evaluate.timing(model)
    assert model.backend_name == 'tensorrt' and not model.trouble
    model.close()


def test_a_second_look_on_the_gpu(rig: Rig, compact_model: Path) -> None:
    """Three engines; what the whole picture left on the GPU is held while the window is encoded."""
    for graph in ('encoder.onnx', 'focus.onnx', 'fovea.onnx'):
        rig.build(compact_model / graph, precision='fp16')
    rng = np.random.default_rng(0)
    whole, near = rng.integers(0, 255, (2, 56, 88, 3), np.uint8)
    look = NearLook(
        picture=near,
        window=np.array([[0.25, 0.25, 0.75, 0.75]], np.float32),
        first=rng.random((1, 2, 28, 44), np.float32),
        box=BOXES[:1],
        words=WORDS[:1],
    )
    answers = []
    for backend, precision in (('onnxruntime', 'fp32'), ('tensorrt', 'fp16')):
        model = FocusModel(compact_model, backend, precision=precision)
        assert model.backend_name == backend
        held = model.held(model.encode(whole))
        answers.append([model.look_near(held, look) for _ in range(2)])
        model.close()
    (wanted, _), found = answers
    for answer in found:
        assert np.abs(answer.mask - wanted.mask).max() < 0.02


def test_a_wrong_engine_never_serves(rig: Rig, tiny_model: Path) -> None:
    """A graph built from something else gives other answers: the self-check must see it."""
    rig.build(tiny_model / 'encoder.onnx', precision='fp32')
    engine = rig.build(tiny_model / 'focus.onnx', precision='fp32')
    rig.trt.fake.gain = 1.2
    said: list[str] = []
    model = FocusModel(tiny_model, 'tensorrt', precision='fp32', say=said.append)
    assert model.engine_name == 'onnxruntime CPU fp32' and 'inverse_depth' in said[0]
    assert read_manifest(engine).notes['self_check']['passed'] is False
    model.close()
    rig.trt.fake.gain = 1.0
    again = FocusModel(tiny_model, 'tensorrt', precision='fp32', say=said.append)
    assert again.engine_name == 'onnxruntime CPU fp32', 'it stays refused until it is built anew'
    again.close()
