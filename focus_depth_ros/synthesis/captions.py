"""Captions from attributes: which phrases single one visible object out, and which fit none.

A phrase is (size, colour, material, noun); each of the first three may be missing. `fits` is the
meaning of a phrase, `may_fit` what someone might take it for; a caption fits its object, and may
fit no other visible one.
`relation_captions` says the same of two phrases and a relation, judged by the scene graph.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from focus_depth_ros.synthesis.vocabulary import CLASS_WORDS, COLOURS, GENERIC_NOUN, nouns_of

_CLEARLY_LARGER = 1.3
_TALL = 1.6
_MOST_CAPTIONS = 8


@dataclass(frozen=True)
class Described:
    """What a caption may speak of. extent_m: (3,) size in the world, z up, as it lies.

    own_extent_m: (3,) in its own frame, the same in every pose; without it, extent_m.
    colour: what everyone would call it, empty where there is no such word; other_colours: what
    someone might call it (seen_colours.py).
    """

    id: int
    class_name: str
    colour: str
    material: str
    extent_m: tuple[float, float, float]
    other_colours: tuple[str, ...] = ()
    own_extent_m: tuple[float, ...] = ()

    @property
    def size_m(self) -> float:
        """Its diagonal, by which it is big or small, however it is turned."""
        return math.hypot(*(self.own_extent_m or self.extent_m))


@dataclass(frozen=True)
class Phrase:
    """Empty strings are words left out."""

    noun: str
    colour: str = ''
    material: str = ''
    size: str = ''

    def __str__(self) -> str:
        return ' '.join(
            word for word in ('the', self.size, self.colour, self.material, self.noun) if word
        )


def nouns(class_name: str) -> tuple[str, ...]:
    """All nouns that fit a class."""
    return (*nouns_of(class_name), GENERIC_NOUN)


def fits(phrase: Phrase, item: Described, visible: list[Described]) -> bool:
    """Whether the phrase is surely true of an object among the visible ones.

    Sizes compare with the others the rest of the phrase may fit: big is 1.3 times the next, small
    the reverse, and tall is much higher than wide and 1.3 times as high as the next.
    """
    return phrase.colour in ('', item.colour) and may_fit(phrase, item, visible)


def may_fit(phrase: Phrase, item: Described, visible: list[Described]) -> bool:
    """Whether someone might say the phrase of the object: any of its colours will do."""
    if not _may_fit_plainly(phrase, item):
        return False
    if not phrase.size:
        return True
    others = [other for other in visible if other is not item and _may_fit_plainly(phrase, other)]
    if not others:
        return False
    if phrase.size == 'tall':
        upright = item.extent_m[2] > _TALL * max(item.extent_m[:2])
        return upright and all(
            item.extent_m[2] > _CLEARLY_LARGER * other.extent_m[2] for other in others
        )
    sizes = [other.size_m for other in others]
    if phrase.size == 'big':
        return item.size_m > _CLEARLY_LARGER * max(sizes)
    return item.size_m * _CLEARLY_LARGER < min(sizes)


def _may_fit_plainly(phrase: Phrase, item: Described) -> bool:
    known = nouns_of(item.class_name)  # without any, it may be whatever someone takes it for
    return (
        (not known or phrase.noun in (*known, GENERIC_NOUN))
        and phrase.colour in ('', item.colour, *item.other_colours)
        and phrase.material in ('', item.material)
    )


def _phrases(item: Described) -> list[Phrase]:
    """Candidates for one object, plain ones first."""
    found = [
        Phrase(noun, colour, material, size)
        for size, material, colour in itertools.product(
            ('', 'small', 'big', 'tall'), ('', item.material), (item.colour, '')
        )
        for noun in nouns(item.class_name)
    ]
    worth = [p for p in found if p.noun != GENERIC_NOUN or p.colour or p.material]
    return sorted(
        worth, key=lambda p: bool(p.size) + bool(p.material) + 2 * (p.noun == GENERIC_NOUN)
    )


def plain_phrases(item: Described) -> list[Phrase]:
    """Phrases without size that are true of an object."""
    return [
        Phrase(noun, colour, material)
        for noun in nouns(item.class_name)
        for colour in dict.fromkeys(('', item.colour))
        for material in ('', item.material)
    ]


def captions_of(item: Described, visible: list[Described]) -> list[str]:
    """Phrases that fit this object and no other visible one, the most natural first.

    May be empty.
    """
    return [str(phrase) for phrase in single_phrases(item, visible)]


def single_phrases(item: Described, visible: list[Described]) -> list[Phrase]:
    """The phrases behind `captions_of`."""
    return list(
        itertools.islice(
            (
                phrase
                for phrase in dict.fromkeys(_phrases(item))
                if fits(phrase, item, visible) and not _fits_another(phrase, item, visible)
            ),
            _MOST_CAPTIONS,
        )
    )


def _fits_another(phrase: Phrase, item: Described, visible: list[Described]) -> bool:
    return any(other is not item and may_fit(phrase, other, visible) for other in visible)


def absent_captions(
    visible: list[Described], rng: np.random.Generator, count: int = 6
) -> list[str]:
    """Phrases that fit nothing visible; half of them share a word with something that is there."""
    found: list[str] = []
    classes = list(CLASS_WORDS)
    for attempt in range(count * 6):
        colour, noun = str(rng.choice(COLOURS)), CLASS_WORDS[str(rng.choice(classes))][0]
        if visible and attempt % 2:
            near = visible[int(rng.integers(len(visible)))]
            if rng.random() < 0.5:
                colour = near.colour
            else:
                noun = nouns(near.class_name)[0]
        phrase = Phrase(noun, colour if rng.random() < 0.8 else '')
        if not any(may_fit(phrase, item, visible) for item in visible) and str(phrase) not in found:
            found.append(str(phrase))
        if len(found) == count:
            break
    return found
