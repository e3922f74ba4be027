"""The graphs of one model on one backend: `encode` a picture once, `focus` on its targets.

A model may have a third one, the fovea, for the second look at a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.inference.engine import (
    MAX_TARGETS,
    Backend,
    Buffer,
    Engine,
    EngineError,
    LoadOptions,
)
from focus_depth_ros.inference.model_folder import ModelError, ModelFolder
from focus_depth_ros.inference.window import Window

PROMPT_INPUTS = {'box', 'words'}
NEAR_INPUTS = {*PROMPT_INPUTS, 'window', 'first'}


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

    @property
    def is_finite(self) -> bool:
        """False where the network answered NaN or infinity anywhere."""
        return all(bool(np.isfinite(getattr(self, field.name)).all()) for field in fields(self))

    def said(self, row: int) -> NDArray[np.float32]:
        """What a fovea is told of a first look at one target: inverse depth, mask (1, 2, h, w)."""
        return np.stack([self.inverse_depth[row], self.mask[row]])[None]

    @classmethod
    def joined(cls, parts: Sequence[FocusMaps]) -> FocusMaps:
        """The targets of all parts in one, in their order; maps of one size."""
        columns = {
            field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)
        }
        return cls(**{name: np.concatenate(column) for name, column in columns.items()})


@dataclass(frozen=True)
class NearLook:
    """A look at one target from near.

    picture uint8 RGB (h, w, 3), the window at the model's input size; window (1, 4) xyxy / size of
    the whole picture; first (1, 2, h, w), inverse depth and mask of the first look at the whole;
    box (1, 4) xyxy / size of the window, zeros for none; words (1, max_words).
    """

    picture: NDArray[np.uint8]
    window: NDArray[np.float32]
    first: NDArray[np.float32]
    box: NDArray[np.float32]
    words: NDArray[np.int32]

    @classmethod
    def into(
        cls,
        picture: NDArray[np.uint8],
        window: Window,
        first: FocusMaps,
        boxes: NDArray[np.float32],
        words: NDArray[np.int32],
    ) -> NearLook:
        """At the first of the targets (T, 4), (T, max_words) that a picture was asked for."""
        height, width = picture.shape[:2]
        near = np.asarray(cv2.resize(window.cut(picture), (width, height)), np.uint8)
        box = window.of(boxes[0])[None]
        return cls(near, window.in_picture()[None], first.said(0), box, words[:1])


OUTPUTS = tuple(field.name for field in fields(FocusMaps))


class EnginePair:
    """The graphs of a model folder, loaded, checked against the manifest and warm.

    Raises ModelError for graphs that are not what the manifest says, EngineError for what cannot
    be loaded or does not run.
    """

    def __init__(self, folder: ModelFolder, backend: Backend, precision: str, threads: int) -> None:
        self.folder = folder
        self.backend = backend
        self.precision = precision
        opened: list[Engine] = []
        try:
            for graph in self._graphs():
                options = LoadOptions(threads, precision, keep_outputs=not opened)
                opened.append(backend.load(graph, options))
            self._encoder, self._focus = opened[:2]
            self._fovea = opened[2] if folder.fovea else None
            self._check_graphs()
            self._warm_up()
        except (EngineError, ModelError):
            for engine in opened:
                engine.close()
            raise
        self.name = self._focus.name

    def encode(self, picture: NDArray[np.uint8]) -> dict[str, Buffer]:
        """Features of one picture, uint8 RGB (h, w, 3) at the model's input size."""
        return self._encoder.infer({'image': picture[None]})

    def focus(
        self, features: dict[str, Buffer], boxes: NDArray[np.float32], words: NDArray[np.int32]
    ) -> FocusMaps:
        """Maps of T targets: boxes (T, 4) xyxy in [0, 1], zeros for none; words (T, max_words)."""
        if len(boxes) <= MAX_TARGETS:
            return FocusMaps(**self._focus.infer({**features, 'box': boxes, 'words': words}))
        first = self.focus(features, boxes[:MAX_TARGETS], words[:MAX_TARGETS])
        rest = self.focus(features, boxes[MAX_TARGETS:], words[MAX_TARGETS:])
        return FocusMaps.joined((first, rest))

    def look_near(self, whole: dict[str, Buffer], look: NearLook) -> FocusMaps:
        """Maps (1, h, w) of a look at one target from near, on the window's own grid.

        `whole` holds the whole picture's features as arrays: see `held`.
        """
        near = self._encoder.infer({'image': look.picture[None]})
        if self._fovea is None:
            return FocusMaps(**self._focus.infer({**near, 'box': look.box, 'words': look.words}))
        return FocusMaps(**self._fovea.infer(fovea_inputs(self._fovea, near, whole, look)))

    def held(self, features: dict[str, Buffer]) -> dict[str, Buffer]:
        """Of a picture's features what looks from near need: they outlast the next `encode`."""
        wanted = self._fovea.input_shapes if self._fovea is not None else ()
        return {name: np.asarray(features[name]) for name in features if name in wanted}

    def close(self) -> None:
        """Free every graph."""
        for engine in (self._encoder, self._focus, self._fovea):
            if engine is not None:
                engine.close()

    def _graphs(self) -> tuple[Path, ...]:
        if self.precision != 'int8' or not self.backend.takes_quantised:
            return self.folder.graphs
        if not self.folder.quantised_graphs:
            raise EngineError(f'{self.folder.path} has no int8 graphs (focus-depth quantise)')
        return self.folder.quantised_graphs

    def _check_graphs(self) -> None:
        folder = self.folder
        width, height = folder.input_size
        features = set(folder.features)
        _expect(folder.encoder, 'inputs', set(self._encoder.input_shapes), {'image'})
        _expect(folder.encoder, 'outputs', set(self._encoder.output_names), features)
        _expect(folder.focus, 'inputs', set(self._focus.input_shapes), features | PROMPT_INPUTS)
        _expect(folder.focus, 'outputs', set(self._focus.output_names), set(OUTPUTS))
        if folder.fovea is not None and self._fovea is not None:
            near = {f'near_{name}' for name in features}
            inputs = set(self._fovea.input_shapes) - features  # any of the whole picture's
            _expect(folder.fovea, 'inputs', inputs, near | NEAR_INPUTS)
            _expect(folder.fovea, 'outputs', set(self._fovea.output_names), set(OUTPUTS))
        shape = self._encoder.input_shapes['image']
        if shape != (1, height, width, 3):
            raise ModelError(
                f'{folder.encoder}: its picture is {shape}, '
                f'the manifest says (1, {height}, {width}, 3)'
            )

    def _warm_up(self) -> None:
        """Answer prompts about nothing: first runs are slow, and shapes may lie."""
        folder = self.folder
        (width, height), output = folder.input_size, folder.output_size
        picture = np.zeros((height, width, 3), np.uint8)
        features = self.encode(picture)
        for rows in (1, 2):
            box = np.zeros((rows, 4), np.float32)
            words = np.zeros((rows, folder.max_words), np.int32)
            words[:, 0] = max(0, len(folder.vocabulary) - 1)  # a graph of fewer words has no such
            self._check_answer(folder.focus, self.focus(features, box, words), rows)
        if folder.fovea is not None:
            first = np.zeros((1, 2, output[1], output[0]), np.float32)
            window = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
            look = NearLook(picture, window, first, box[:1], words[:1])
            self._check_answer(folder.fovea, self.look_near(self.held(features), look), 1)

    def _check_answer(self, graph: Path, maps: FocusMaps, rows: int) -> None:
        width, height = self.folder.output_size
        shapes = {'confidence': (rows,), 'metric': (rows, 2)}
        for name in OUTPUTS:
            found, shape = getattr(maps, name), shapes.get(name, (rows, height, width))
            if found.shape != shape or found.dtype != np.float32:
                raise ModelError(
                    f'{graph}: {name} is {found.dtype} {found.shape}, '
                    f'the manifest asks for float32 {shape}'
                )


def fovea_inputs(
    fovea: Engine, near: Mapping[str, Buffer], whole: Mapping[str, Buffer], look: NearLook
) -> dict[str, Buffer]:
    """What a fovea takes of a window's features, of the whole picture's and of what is asked."""
    given = {
        **{f'near_{name}': value for name, value in near.items()},
        **whole,
        'window': look.window,
        'first': look.first,
        'box': look.box,
        'words': look.words,
    }
    return {name: given[name] for name in fovea.input_shapes}


def _expect(graph: Path, what: str, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        raise ModelError(
            f'{graph}: the graph has {what} {sorted(found)}, the manifest asks for {sorted(wanted)}'
        )
