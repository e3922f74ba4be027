"""The closed vocabulary of captions: every word that names, colours, sizes or describes an object.

A network that reads these captions needs no tokenizer beyond a table; `WORDS` is that table's
content. New words are only ever appended, so an index keeps its meaning. Class words are a tuple
of synonyms, the most specific first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from focus_depth_ros.caption_words import RELATING_WORDS

_FIRST_CLASSES: dict[str, tuple[str, ...]] = {
    'carton': ('carton', 'box'),
    'box': ('box',),
    'block': ('block',),
    'can': ('can', 'tin'),
    'bottle': ('bottle',),
    'mug': ('mug', 'cup'),
    'cup': ('cup',),
    'glass': ('glass',),
    'bowl': ('bowl',),
    'plate': ('plate',),
    'pot': ('pot',),
    'ball': ('ball',),
    'book': ('book',),
    'banana': ('banana',),
    'screwdriver': ('screwdriver', 'tool'),
    'hammer': ('hammer', 'tool'),
    'wrench': ('wrench', 'tool'),
    'rod': ('rod', 'stick'),
    'cable': ('cable',),
    'ring': ('ring',),
    'stone': ('stone',),
    'bag': ('bag', 'pack'),
}
_LATER_CLASSES: dict[str, tuple[str, ...]] = {
    'pitcher': ('pitcher', 'jug'),
    'drill': ('drill', 'tool'),
    'scissors': ('scissors',),
    'clamp': ('clamp', 'tool'),
    'pliers': ('pliers', 'tool'),
    'marker': ('marker', 'pen'),
    'spoon': ('spoon',),
    'fork': ('fork',),
    'knife': ('knife',),
    'sponge': ('sponge',),
    'rack': ('rack',),
    'basket': ('basket',),
    'toy': ('toy',),
}
CLASS_WORDS = _FIRST_CLASSES | _LATER_CLASSES
"""Class name -> the nouns that fit it."""

GENERIC_NOUN = 'object'
"""Fits everything."""

COLOURS: tuple[str, ...] = (
    'red',
    'green',
    'blue',
    'yellow',
    'orange',
    'purple',
    'pink',
    'brown',
    'black',
    'white',
    'grey',
    'cyan',
)
MATERIALS: tuple[str, ...] = (
    'plastic',
    'metal',
    'wooden',
    'ceramic',
    'paper',
    'rubber',
    'transparent',
    'fabric',
)
SIZES: tuple[str, ...] = ('small', 'big', 'tall')
ARTICLES: tuple[str, ...] = ('the', 'a')

NOUNS = frozenset(word for words in CLASS_WORDS.values() for word in words)


def nouns_of(class_name: str) -> tuple[str, ...]:
    """The nouns that fit a class, without the generic one.

    A user's own class has those nouns that its name holds, in the plural too: `old_mug_3`,
    `CoffeeMugs` are mugs, a `gizmo` has none and is only spoken of as an object.
    """
    if class_name in CLASS_WORDS:
        return CLASS_WORDS[class_name]
    words = [word.lower() for word in re.findall('[A-Z]?[a-z]+|[A-Z]+', class_name)]
    singular = (
        next((form for form in (word, word[:-1], word[:-2]) if form in NOUNS), '')
        if word.endswith('s')
        else word
        for word in words
    )
    return tuple(dict.fromkeys(word for word in singular if word in NOUNS))


RELATIONS: tuple[str, ...] = ('left of', 'right of', 'behind', 'in front of', 'on', 'in')
POSITIONS: tuple[str, ...] = ('left', 'right', 'front', 'back', 'top', 'bottom')
"""Where one of several alike stands among them: "the left can"."""
MOST_WORDS = 12
"""The longest caption: "the small red ceramic mug in front of the big blue can"."""


def _each_once(words: Iterable[str], known: tuple[str, ...] = ()) -> tuple[str, ...]:
    return tuple(word for word in dict.fromkeys(words) if word not in known)


_FIRST_WORDS: tuple[str, ...] = (
    *ARTICLES,
    *SIZES,
    *COLOURS,
    *MATERIALS,
    *sorted({word for words in _FIRST_CLASSES.values() for word in words}),
    GENERIC_NOUN,
)
RELATION_WORDS = _each_once(
    (*(word for relation in RELATIONS for word in relation.split()), *POSITIONS)
)
assert set(RELATION_WORDS) == RELATING_WORDS
_LATER_NOUNS = _each_once((word for row in _LATER_CLASSES.values() for word in row), _FIRST_WORDS)
WORDS: tuple[str, ...] = (*_FIRST_WORDS, *RELATION_WORDS, *_LATER_NOUNS)
"""All words, each once, in a fixed order."""
