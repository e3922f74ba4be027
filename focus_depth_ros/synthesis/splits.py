"""What may appear in which split: the one place that decides.

Train, validation and test share no scene seed, no mesh and no texture. A ninth of the colour-class
combinations is kept from train; each belongs to validation or to test alone. There they come up
half of the time beside train's, and the rows of the benchmark (`datasets/fde_bench.py`) ask for
them alone, so that no combination is in two of its splits.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np

from focus_depth_ros.synthesis.vocabulary import CLASS_WORDS, COLOURS, MATERIALS, nouns_of

Split = Literal['train', 'validation', 'test']
SPLITS: tuple[Split, ...] = ('train', 'validation', 'test')

_ASSETS = 1_000_000
_KEPT_EVERY = 10
_CLASSES = tuple(CLASS_WORDS)


def scene_generator(split: Split, seed: int, scene: int) -> np.random.Generator:
    """The random source of one scene.

    Streams of different splits, seeds and scenes are independent.
    """
    return np.random.default_rng([SPLITS.index(split), seed, scene])


def asset_seed(split: Split, rng: np.random.Generator) -> int:
    """Seed of a mesh or texture: multiples of ten are kept from train.

    Of those the even ones are test's, the odd ones validation's.
    """
    if split == 'train':
        asset = int(rng.integers(_ASSETS // _KEPT_EVERY)) * _KEPT_EVERY
        return asset + int(rng.integers(1, _KEPT_EVERY))
    pair = int(rng.integers(_ASSETS // _KEPT_EVERY // 2))
    return (2 * pair + (split == 'validation')) * _KEPT_EVERY


def split_of(class_name: str, colour: str) -> Split:
    """Whose combination this is. Test has one of each class, validation one of some."""
    colour_index = COLOURS.index(colour)
    if (_CLASSES.index(class_name) * 5 + colour_index * 2) % 9:
        return 'train'
    return 'test' if colour_index < 9 else 'validation'


def names_kept_combination(caption: str) -> bool:
    """Whether a caption names a colour and a class that train never shows together."""
    words = [word for word in caption.split() if word not in MATERIALS]
    return any(
        colour in COLOURS and noun in nouns and split_of(class_name, colour) != 'train'
        for colour, noun in itertools.pairwise(words)
        for class_name, nouns in CLASS_WORDS.items()
    )


def shared_colours(split: Split, class_name: str) -> tuple[str, ...]:
    """The colours in which this split may show a thing whose class is perhaps the user's own.

    None is kept for another split in any class that the name's nouns may mean.
    """
    nouns = set(nouns_of(class_name))
    classes = [name for name, words in CLASS_WORDS.items() if nouns & set(words)]
    return tuple(
        colour
        for colour in COLOURS
        if all(split_of(name, colour) in ('train', split) for name in classes)
    )


def allowed_colours(split: Split, class_name: str, candidates: tuple[str, ...]) -> tuple[str, ...]:
    """The candidates this split may use: train's and its own, these as often as those together.

    Raises ValueError where train has none.
    """
    common = tuple(colour for colour in candidates if split_of(class_name, colour) == 'train')
    if not common:
        raise ValueError(f'no colour of {candidates} is left to train for a {class_name}')
    own = tuple(colour for colour in candidates if split_of(class_name, colour) == split)
    if split == 'train' or not own:
        return common
    return common + own * max(len(common) // len(own), 1)
