"""What may appear in which split: the one place that decides.

Train, validation and test never share a scene seed. Test alone may also use a tenth of the texture
and mesh seeds and about a ninth of the colour-class combinations, so that a test figure says
something about new things.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from focus_depth_ros.synthesis.vocabulary import CLASS_WORDS, COLOURS

Split = Literal['train', 'validation', 'test']
SPLITS: tuple[Split, ...] = ('train', 'validation', 'test')

_ASSETS = 1_000_000
_HELD_OUT_EVERY = 10
_CLASSES = tuple(CLASS_WORDS)


def scene_generator(split: Split, seed: int, scene: int) -> np.random.Generator:
    """The random source of one scene.

    Streams of different splits, seeds and scenes are independent.
    """
    return np.random.default_rng([SPLITS.index(split), seed, scene])


def asset_seed(split: Split, rng: np.random.Generator) -> int:
    """Seed of a mesh or texture.

    Multiples of ten are test's own: there they come up half of the time.
    """
    held_out = split == 'test' and rng.random() < 0.5
    asset = int(rng.integers(_ASSETS // _HELD_OUT_EVERY)) * _HELD_OUT_EVERY
    return asset if held_out else asset + int(rng.integers(1, _HELD_OUT_EVERY))


def is_held_out(class_name: str, colour: str) -> bool:
    """Whether this colour of this class is seen in test only."""
    return (_CLASSES.index(class_name) * 5 + COLOURS.index(colour) * 2) % 9 == 0


def allowed_colours(split: Split, class_name: str, candidates: tuple[str, ...]) -> tuple[str, ...]:
    """The candidates this split may use.

    Outside test a class whose colours are all held out keeps its last one.
    """
    if split == 'test':
        return candidates
    kept = tuple(colour for colour in candidates if not is_held_out(class_name, colour))
    return kept or candidates[-1:]
