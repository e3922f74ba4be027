"""What the words of a text have to do with each other: one thing, and perhaps its place.

A text is readings, pairs of a word as it was spoken and the known word it is, empty for none. The
thing's own words come first ("the red mug"); each word of `DIVIDING_WORDS` begins another part, of
the thing beside which the first one stands ("left of the box").
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from focus_depth_ros.caption_words import DIVIDING_WORDS, RELATING_WORDS
from focus_depth_ros.core import InvalidInput

Reading = tuple[str, str]

MAX_TEXT_CHARACTERS = 200
ARTICLES = frozenset({'a', 'an', 'the'})
AWAITS_A_THING = DIVIDING_WORDS - {'behind'}
"""Dividing words that say nothing at the end of a text, as "the mug behind" does."""
QUALITIES = frozenset(
    {
        *('small', 'big', 'tall'),
        *('red', 'green', 'blue', 'yellow', 'orange', 'purple', 'pink'),
        *('brown', 'black', 'white', 'grey', 'cyan'),
        *('plastic', 'metal', 'wooden', 'ceramic', 'paper', 'rubber', 'transparent', 'fabric'),
    }
)
"""Words that say what a thing is like; every other known word names one."""
COMMA = ','
BETWEEN_THINGS = frozenset({'and', 'or', COMMA}) | ARTICLES
COPULAS = frozenset({'that', 'which', 'is'})
"""After them the words are still about the same thing: the mug that is red."""
NEGATIONS = frozenset({'not', 'no', 'without', 'except', 'but', 'neither', 'nor'})


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, with `COMMA` for signs that part things.

    Raises InvalidInput for a text of over 200 characters or without words.
    """
    text = text.lower()  # may lengthen it
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidInput(
            'text', f'text of {len(text)} characters; at most {MAX_TEXT_CHARACTERS} are read'
        )
    words = re.findall(rf'[^\W_]+|{COMMA}', re.sub('[;&+/]', COMMA, text))
    if not set(words) - {COMMA}:
        raise InvalidInput('text', f'no word in {text!r}')
    return words


def complete(readings: Sequence[Reading]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The known words of readings that ask for one thing, and those left out of them.

    Raises InvalidInput like `about_one_thing`; see there and at `with_anchor` what is left out.
    """
    one_thing, beside = about_one_thing(readings)
    known, unanchored = with_anchor(one_thing)
    return known, (*beside, *unanchored)


def about_one_thing(readings: Sequence[Reading]) -> tuple[list[Reading], list[str]]:
    """The readings without what stands beside a thing in a way that is not known, and that.

    "the mug next to the bottle" asks for the mug, "the bottle with a red cap" for the bottle.
    Raises InvalidInput for a text that names several things, whose names would be asked as one, or
    that says what it does not mean.
    """
    if negation := next((word for word, _ in readings if word in NEGATIONS), ''):
        raise InvalidInput('text', f'{negation!r} is not understood: say what to look at')
    kept: list[Reading] = []
    left_out: list[str] = []
    is_named, parted_by = False, ''
    for word, form in readings:
        if form in DIVIDING_WORDS:
            is_named, parted_by = False, ''
        elif not form and is_named and word not in BETWEEN_THINGS | COPULAS:
            parted_by = 'unknown'
        elif is_named and word in BETWEEN_THINGS:
            parted_by = parted_by or word
        elif form and form not in RELATING_WORDS | ARTICLES:
            is_thing = form not in QUALITIES
            if parted_by == 'unknown':
                while kept and (not kept[-1][1] or kept[-1][1] in ARTICLES | RELATING_WORDS):
                    left_out.append(kept.pop()[1])
                left_out.append(form)
                continue
            if is_thing and parted_by:
                raise InvalidInput(
                    'text', f'{word!r} is one more thing: ask for each of them alone (append)'
                )
            is_named = is_named or is_thing
        kept.append((word, form))
    while kept and (not kept[-1][1] or kept[-1][1] in ARTICLES):
        kept.pop()
    return kept, [form for form in left_out if form and form not in ARTICLES]


def own(known: Sequence[str]) -> set[str]:
    """Words of the thing itself: those before its place beside another one."""
    return set(itertools.takewhile(lambda word: word not in DIVIDING_WORDS, known))


def with_anchor(readings: Sequence[Reading]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The known words of readings, and those of a place beside nothing that is known.

    "mug left of the zebra" asks for the mug; "picture of a mug" for the mug too.
    """
    spoken = [form for _, form in readings if form and form not in ARTICLES]
    if spoken[:1] == ['of']:
        readings = readings[[form for _, form in readings].index('of') + 1 :]
    known = [form for _, form in readings if form]
    start = next((at for at, (_, form) in enumerate(readings) if form in DIVIDING_WORDS), None)
    if start is None:
        return tuple(known), ()
    after = readings[start:]
    is_known = any(form and form not in ARTICLES | RELATING_WORDS for _, form in after)
    last = next((word for word in reversed(known) if word not in ARTICLES), '')
    if is_known or (all(form for _, form in after) and last not in AWAITS_A_THING):
        return tuple(known), ()
    kept = known[: len(known) - sum(bool(form) for _, form in after)]
    while kept and kept[-1] in ARTICLES | RELATING_WORDS:
        kept.pop()
    return tuple(kept), tuple(word for word in known[len(kept) :] if word not in ARTICLES)
