"""Inputs of both graphs from pictures of the user's camera, for calibrating int8."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.inference.engine import LoadOptions
from focus_depth_ros.inference.model_folder import ModelFolder
from focus_depth_ros.inference.onnxruntime_engine import OnnxRuntimeEngine
from focus_depth_ros.inference.quantised_graph import Inputs

BOXES = ((0.4, 0.4, 0.6, 0.6), (0.25, 0.25, 0.75, 0.75), (0.1, 0.1, 0.9, 0.9), (0, 0, 0, 0))
"""Targets of several sizes, xyxy in [0, 1]; the last one is asked for in words."""


@dataclass(frozen=True)
class Calibration:
    """What both graphs are calibrated on; `sha256` names the pictures."""

    sha256: str
    encoder: list[Inputs]
    focus: list[Inputs]


def calibration_of(folder: ModelFolder, pictures: list[NDArray[np.uint8]]) -> Calibration:
    """Both graphs' inputs for RGB pictures (h, w, 3) at the model's input size.

    Prompts of all kinds are among them. Raises EngineError when the encoder does not run.
    """
    encoder = OnnxRuntimeEngine(folder.encoder, LoadOptions())
    boxes = np.array(BOXES, np.float32)
    digest, rng = hashlib.sha256(), np.random.default_rng(0)
    rows: tuple[list[Inputs], list[Inputs]] = ([], [])
    for picture in pictures:
        words = np.zeros((len(BOXES), folder.max_words), np.int32)
        words[-1, :3] = rng.integers(2, max(3, len(folder.vocabulary)), 3)
        digest.update(picture.tobytes())
        rows[0].append({'image': picture[None]})
        rows[1].append({**encoder.infer(rows[0][-1]), 'box': boxes, 'words': words})
    encoder.close()
    return Calibration(digest.hexdigest(), *rows)
