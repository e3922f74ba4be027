"""Inputs of a model's graphs from pictures of the user's camera, for calibrating int8."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.inference.engine import LoadOptions
from focus_depth_ros.inference.engine_pair import FocusMaps, NearLook, fovea_inputs
from focus_depth_ros.inference.model_folder import ModelFolder
from focus_depth_ros.inference.onnxruntime_engine import OnnxRuntimeEngine
from focus_depth_ros.inference.quantised_graph import Inputs
from focus_depth_ros.inference.window import Window

BOXES = ((0.4, 0.4, 0.6, 0.6), (0.25, 0.25, 0.75, 0.75), (0.1, 0.1, 0.9, 0.9), (0, 0, 0, 0))
"""Targets of several sizes, xyxy in [0, 1]; the last one is asked for in words."""
MIDDLE = Window(left=1, top=1, width=2, height=2, grid=(4, 4))
"""What is looked at from near."""


@dataclass(frozen=True)
class Calibration:
    """What each graph of `ModelFolder.graphs` is calibrated on; `sha256` names the pictures."""

    sha256: str
    graphs: tuple[list[Inputs], ...]


def calibration_of(folder: ModelFolder, pictures: list[NDArray[np.uint8]]) -> Calibration:
    """The graphs' inputs for RGB pictures (h, w, 3) at the model's input size.

    Prompts of all kinds are among them. Raises EngineError when a graph does not run.
    """
    engines = [OnnxRuntimeEngine(graph, LoadOptions()) for graph in folder.graphs]
    encoder, focus, *others = engines
    boxes = np.array(BOXES, np.float32)
    digest, rng = hashlib.sha256(), np.random.default_rng(0)
    rows: tuple[list[Inputs], ...] = tuple([] for _ in engines)
    for picture in pictures:
        words = np.zeros((len(BOXES), folder.max_words), np.int32)
        words[-1, :3] = rng.integers(2, max(3, len(folder.vocabulary)), 3)
        digest.update(picture.tobytes())
        rows[0].append({'image': picture[None]})
        features = encoder.infer(rows[0][-1])
        rows[1].append({**features, 'box': boxes, 'words': words})
        for fovea in others:
            first = FocusMaps(**focus.infer(rows[1][-1]))
            look = NearLook.into(picture, MIDDLE, first, boxes, words)
            near = encoder.infer({'image': look.picture[None]})
            rows[2].append(fovea_inputs(fovea, near, features, look))
    for engine in engines:
        engine.close()
    return Calibration(digest.hexdigest(), rows)
