"""The two graphs of one model as two verbs: `encode` a picture once, `focus` on its targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.inference.backends import load_engine
from focus_depth_ros.inference.engine import Arrays
from focus_depth_ros.inference.model_folder import ModelError, ModelFolder, read_model_folder

PROMPT_INPUTS = {'box', 'words'}
OUTPUTS = {'inverse_depth', 'mask', 'boundary', 'confidence', 'metric'}


@dataclass(frozen=True)
class FocusMaps:
    """What the network says about T targets, float32, at its output size (h, w).

    inverse_depth (T, h, w) affine-invariant, larger = nearer; mask, boundary (T, h, w) in [0, 1];
    confidence (T,) in [0, 1]; metric (T, 2) scale and shift to canonical 1/m.
    """

    inverse_depth: NDArray[np.float32]
    mask: NDArray[np.float32]
    boundary: NDArray[np.float32]
    confidence: NDArray[np.float32]
    metric: NDArray[np.float32]


class FocusModel:
    """A checked model folder, loaded and warm. Raises ModelError or EngineError."""

    def __init__(self, path: Path, backend: str = 'auto', threads: int = 1) -> None:
        self.folder: ModelFolder = read_model_folder(path)
        self._encoder = load_engine(self.folder.encoder, backend, threads)
        self._focus = load_engine(self.folder.focus, backend, threads)
        self.engine_name = self._focus.name
        self._check_graphs()
        self._warm_up()

    def _warm_up(self) -> None:
        """Answer one and two prompts about nothing: first runs are slow, and shapes may lie."""
        (width, height), output = self.folder.input_size, self.folder.output_size
        features = self.encode(np.zeros((height, width, 3), np.uint8))
        for rows in (1, 2):
            boxes = np.zeros((rows, 4), np.float32)
            maps = self.focus(features, boxes, np.zeros((rows, self.folder.max_words), np.int32))
            grid = (rows, output[1], output[0])
            for name, shape in (
                ('inverse_depth', grid),
                ('mask', grid),
                ('boundary', grid),
                ('confidence', (rows,)),
                ('metric', (rows, 2)),
            ):
                found = getattr(maps, name)
                if found.shape != shape or found.dtype != np.float32:
                    raise ModelError(
                        f'{self.folder.focus}: {name} is {found.dtype} {found.shape}, '
                        f'the manifest asks for float32 {shape}'
                    )

    def encode(self, picture: NDArray[np.uint8]) -> Arrays:
        """Features of one picture, uint8 RGB (h, w, 3) at the model's input size."""
        return self._encoder.infer({'image': picture[None]})

    def focus(
        self, features: Arrays, boxes: NDArray[np.float32], words: NDArray[np.int32]
    ) -> FocusMaps:
        """Maps of T targets: boxes (T, 4) xyxy in [0, 1], zeros for none; words (T, max_words)."""
        return FocusMaps(**self._focus.infer({**features, 'box': boxes, 'words': words}))

    def close(self) -> None:
        """Free both graphs."""
        self._encoder.close()
        self._focus.close()

    def _check_graphs(self) -> None:
        folder = self.folder
        width, height = folder.input_size
        features = set(folder.features)
        _expect(folder.encoder, 'inputs', set(self._encoder.input_shapes), {'image'})
        _expect(folder.encoder, 'outputs', set(self._encoder.output_names), features)
        _expect(folder.focus, 'inputs', set(self._focus.input_shapes), features | PROMPT_INPUTS)
        _expect(folder.focus, 'outputs', set(self._focus.output_names), OUTPUTS)
        shape = self._encoder.input_shapes['image']
        if shape != (1, height, width, 3):
            raise ModelError(
                f'{folder.encoder}: its picture is {shape}, '
                f'the manifest says (1, {height}, {width}, 3)'
            )


def _expect(graph: Path, what: str, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        raise ModelError(
            f'{graph}: the graph has {what} {sorted(found)}, the manifest asks for {sorted(wanted)}'
        )
