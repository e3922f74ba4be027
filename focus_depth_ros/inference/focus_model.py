"""A model that always answers: the best engine this machine has, and ONNX Runtime behind it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.inference.backends import backend_named
from focus_depth_ros.inference.engine import Buffer, EngineError
from focus_depth_ros.inference.engine_pair import EnginePair, FocusMaps, NearLook
from focus_depth_ros.inference.fallback import Attempt, attempts, choose, reference_pair
from focus_depth_ros.inference.model_folder import (
    BUILT_IN,
    ModelFolder,
    check_unchanged,
    read_model_folder,
)
from focus_depth_ros.inference.preparation import BackgroundPreparation
from focus_depth_ros.inference.self_check import CheckReport

__all__ = ['Features', 'FocusMaps', 'FocusModel', 'NearLook']

_LOG = logging.getLogger('focus_depth')


@dataclass(frozen=True)
class Features:
    """What an engine made of a picture; of use to that engine alone, and to nobody else."""

    picture: NDArray[np.uint8]
    values: dict[str, Buffer]
    made_by: EnginePair

    def wait(self) -> None:
        """Return when they are computed: some GPUs still are when `encode` returns."""
        for value in self.values.values():
            if hasattr(value, 'wait'):
                value.wait()


MAX_THREADS = 256
"""More take many seconds to start, and no graph here gains from them."""


class FocusModel:
    """A checked model folder, loaded and warm. Raises ModelError or EngineError.

    A `backend` that was named and is not built yet is an error, unless `builds`: then ONNX
    Runtime serves, and `start_building` builds in the background; the engine is taken over between
    two pictures. `say` hears of everything that does not go as wanted. One caller at a time.
    """

    def __init__(
        self,
        path: Path = BUILT_IN,
        backend: str = 'auto',
        threads: int = 1,
        precision: str = 'auto',
        builds: bool = False,
        say: Callable[[str], None] = _LOG.warning,
    ) -> None:
        if not 1 <= threads <= MAX_THREADS:
            raise EngineError(f'{threads} threads; 1 to {MAX_THREADS} are possible')
        self.folder: ModelFolder = read_model_folder(path)
        self._is_closed = False
        self._wanted, self._precision, self._threads, self._say = backend, precision, threads, say
        choice = choose(self.folder, backend, precision, threads)
        self._pair = choice.pair
        self._successor: EnginePair | None = None
        self._building: BackgroundPreparation | None = None
        self._to_build = choice.unbuilt and backend != 'auto'
        self._check: CheckReport | None = choice.check
        self.choice = str(choice)
        self.trouble = ''
        if self._to_build and not builds:
            choice.pair.close()
            builder = backend_named(backend).builder(path, precision)
            raise EngineError(f'{self.choice}; build it: {builder}')
        if choice.failed:
            self._complain(self.choice)

    @property
    def engine_name(self) -> str:
        """What serves."""
        return self._pair.name

    @property
    def backend_name(self) -> str:
        """The backend of what serves."""
        return self._pair.backend.name

    @property
    def precision(self) -> str:
        """The precision of what serves."""
        return self._pair.precision

    def encode(self, picture: NDArray[np.uint8]) -> Features:
        """Features of one picture, uint8 RGB (h, w, 3) at the model's input size."""
        if self._successor is not None:
            self._take_over(self._successor)
        try:
            return Features(picture, self._pair.encode(picture), self._pair)
        except EngineError as error:
            self._fall_back(error)
            return Features(picture, self._pair.encode(picture), self._pair)

    def focus(
        self, features: Features, boxes: NDArray[np.float32], words: NDArray[np.int32]
    ) -> FocusMaps:
        """Maps of T targets: boxes (T, 4) xyxy in [0, 1], zeros for none; words (T, max_words)."""
        if features.made_by is not self._pair:
            features = self.encode(features.picture)
        try:
            return self._sound(self._pair.focus(features.values, boxes, words))
        except EngineError as error:
            self._fall_back(error)
            return self._pair.focus(self._pair.encode(features.picture), boxes, words)

    def held(self, features: Features) -> Features:
        """The features for `look_near`: those of `encode` last until the next picture only."""
        if features.made_by is not self._pair:
            features = self.encode(features.picture)
        try:
            return replace(features, values=self._pair.held(features.values))
        except EngineError as error:
            self._fall_back(error)
            return self.held(features)

    def look_near(self, held: Features, look: NearLook) -> FocusMaps:
        """Maps (1, h, w) of one target in a window of the picture that was `held`."""
        if held.made_by is not self._pair:
            held = self.held(held)
        try:
            return self._sound(self._pair.look_near(held.values, look))
        except EngineError as error:
            self._fall_back(error)
            return self._pair.look_near(self.held(held).values, look)

    def start_building(self) -> None:
        """Build the engine that was asked for, in the background, where it is not there yet."""
        if self._to_build and self._building is None:
            wanted = attempts(self.folder, backend_named(self._wanted), self._precision)
            self._building = BackgroundPreparation(
                self.folder, wanted, self._threads, self._built, self._complain
            )

    def stop_building(self) -> None:
        """Call a build off; `start_building` takes it up again."""
        if self._building is not None:
            self._building.cancel()
            self._building = None

    def facts(self) -> dict[str, str]:
        """What runs and why, for diagnostics."""
        facts = {'engine': self.engine_name, 'engine choice': self.choice}
        if self._check is not None:
            facts['engine self-check'] = str(self._check)
        if self._building is not None:
            facts['engine build'] = self._building.progress
        return facts

    def close(self) -> None:
        """Free everything; what is asked afterwards raises EngineError."""
        if self._is_closed:
            return
        self._is_closed = True
        self.stop_building()
        if self._successor is not None:
            self._successor.close()
        self._pair.close()

    def _built(self, pair: EnginePair, check: CheckReport) -> None:
        """In the building thread: put the pair where the next picture finds it."""
        self._check, self._to_build = check, False
        self._successor = pair

    def _take_over(self, successor: EnginePair) -> None:
        retired, self._pair, self._successor = self._pair, successor, None
        self.choice, self.trouble = f'{successor.name} was built and serves', ''
        retired.close()

    @property
    def _is_reference(self) -> bool:
        return Attempt(self._pair.backend, self._pair.precision).is_reference

    def _sound(self, maps: FocusMaps) -> FocusMaps:
        """The maps; raises EngineError for NaN of an engine that may be at fault.

        Half precision may overflow in pictures that the self-check has not seen.
        """
        if not (self._is_reference or maps.is_finite):
            raise EngineError('it answered NaN')
        return maps

    def _fall_back(self, error: EngineError) -> None:
        """Serve with ONNX Runtime on the CPU from now on.

        Raises `error` where that just failed or the model is closed, EngineError where the files
        are others by now.
        """
        if self._is_reference or self._is_closed:
            raise error
        check_unchanged(self.folder)
        broken = self._pair
        self._pair = reference_pair(self.folder, self._threads)
        self._check = None
        self.choice = f'{broken.name} failed while it served; {self._pair.name} serves'
        self._complain(f'{broken.name} failed ({error}); {self._pair.name} serves from now on')
        with suppress(Exception):  # a lost device may refuse to be freed
            broken.close()

    def _complain(self, trouble: str) -> None:
        self.trouble = trouble
        self._say(trouble)
