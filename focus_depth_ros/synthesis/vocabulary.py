"""The closed vocabulary of captions: every word that names, colours, sizes or describes an object.

A network that reads these captions needs no tokenizer beyond a table; `WORDS` is that table's
content and its order never changes within a format version. Class words are a tuple of synonyms,
the most specific first.
"""

from __future__ import annotations

CLASS_WORDS: dict[str, tuple[str, ...]] = {
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

_NOUNS = sorted({word for words in CLASS_WORDS.values() for word in words})
WORDS: tuple[str, ...] = (*ARTICLES, *SIZES, *COLOURS, *MATERIALS, *_NOUNS, GENERIC_NOUN)
"""All words, each once, in a fixed order."""
