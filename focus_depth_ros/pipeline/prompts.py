"""Targets become the numbers that the focus graph reads: boxes in [0, 1] and word indices.

Words outside the vocabulary are read as the known word they are a form of: its plural, or, if that
has six letters or more, one that begins alike and is a slip of the keys away. What is read so is
said, and what cannot be read is said too.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.caption_words import DIVIDING_WORDS, RELATING_WORDS
from focus_depth_ros.core import InvalidInput, Target
from focus_depth_ros.inference.clip_bpe import ClipBytePairs
from focus_depth_ros.inference.model_folder import UNKNOWN_WORD, ModelFolder
from focus_depth_ros.pipeline.phrase import (
    ARTICLES,
    COMMA,
    complete,
    own,
    words_of,
)

Prompts = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Boxes (T, 4) xyxy / picture size, zeros for none, and words (T, max_words)."""

OTHER_SPELLINGS = {
    'gray': 'grey',
    'wood': 'wooden',
    'metallic': 'metal',
    'large': 'big',
    'huge': 'big',
    'little': 'small',
    'tiny': 'small',
    'knives': 'knife',
    'leftmost': 'left',
    'rightmost': 'right',
    'topmost': 'top',
}
SHORTEST_MISSPELT, SHORTEST_TWICE = 6, 9
"""Letters of a known word from which it is read with one slip, and with two: in a shorter one a
single other letter often makes another word (book, boot)."""


@dataclass(frozen=True)
class Words:
    """A text as the network sees it: the words it knows, in order, and those it does not.

    `text` asks the same again. `read_as` holds (word of the text, known word it was read as);
    `beyond` are known words that came after as many as the model reads; `unanchored` are those of
    a place beside something that is not known, or of what stands beside it in no known way.
    """

    text: str
    known: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    read_as: tuple[tuple[str, str], ...] = ()
    beyond: tuple[str, ...] = ()
    unanchored: tuple[str, ...] = ()

    @property
    def remarks(self) -> str:
        """What a user should hear of the reading; empty when every word was known."""
        said = [f'{word} read as {known}' for word, known in self.read_as]
        if self.unknown:
            said.append(f'not known and left out: {", ".join(self.unknown)}')
        if self.unanchored:
            said.append(f'left out with it: {" ".join(self.unanchored)}')
        if self.beyond:
            said.append(f'too long, left out: {", ".join(self.beyond)}')
        return '; '.join(said)


class PromptEncoder:
    """Encodes targets for one vocabulary of a model folder."""

    def __init__(self, vocabulary: Sequence[str], max_words: int) -> None:
        self._index = {word: index for index, word in enumerate(vocabulary) if index > UNKNOWN_WORD}
        self._max_words = max_words

    def read(self, text: str) -> Words:
        """Split a text into known and unknown words.

        Raises InvalidInput when it is empty, over 200 characters, says what is not meant, names
        several things, or no known word says what to look at: words of places alone, or of a place
        beside some other thing, do not.
        """
        readings = [(word, self._reading(word)) for word in words_of(text)]
        every, left_out = complete(readings)
        known = every
        while len(self._asked(known)) > self._max_words:
            known = known[:-1]
        if known != every:  # what is left of a place may be half of it
            known, _ = complete([(word, word) for word in known])
        beyond = every[len(known) :]
        unknown = tuple(word for word, reading in readings if not reading and word != COMMA)
        if not own(known) - ARTICLES - RELATING_WORDS:
            raise InvalidInput(
                'text',
                f'no known word in {text!r} says what to look at; this model knows: '
                f'{", ".join(word for word in self.content_words if word not in RELATING_WORDS)}',
            )
        read_as = tuple((word, form) for word, form in readings if form and form != word)
        return Words(' '.join(known), known, unknown, read_as, beyond, left_out)

    def _asked(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """Known words as the captions are written that the network learnt from.

        They have "the" before each thing, whatever article a user writes or leaves out: without
        it a network is surer of things that are not there.
        """
        if 'the' not in self._index:
            return known
        spoken = [word for word in known if word not in ARTICLES]
        asked: list[str] = []
        for before, word in itertools.pairwise(['of', *spoken]):
            if before in DIVIDING_WORDS and (before, word) != ('in', 'front'):
                asked.append('the')
            asked.append(word)
        return tuple(asked)

    def _reading(self, word: str) -> str:
        """The known word that a word is, or is a form of; empty when there is none."""
        plurals = (word, word.removesuffix('s'), word.removesuffix('es'))
        for form in (*plurals, OTHER_SPELLINGS.get(word, '')):
            if form in self._index:
                return form
        slips = {
            known: min(_slips(form, known) for form in plurals)
            for known in self._index
            if known[0] == word[0] and len(known) >= SHORTEST_MISSPELT
        }
        best = min(slips, key=lambda known: slips[known], default='')
        return best if best and slips[best] <= 1 + (len(best) >= SHORTEST_TWICE) else ''

    @property
    def content_words(self) -> list[str]:
        """Every word the model knows but the articles, sorted."""
        return sorted(set(self._index) - ARTICLES)

    def encode(self, targets: Sequence[Target], width: int, height: int) -> Prompts:
        """What the network is asked for targets in a picture of width x height px.

        No target at all becomes one empty prompt: the network then looks at nothing in particular.
        """
        rows = max(len(targets), 1)
        boxes = np.zeros((rows, 4), np.float32)
        words = np.zeros((rows, self._max_words), np.int32)
        for row, target in enumerate(targets):
            if target.box is not None:
                boxes[row] = np.asarray(target.box, np.float32) / (width, height, width, height)
            else:
                ids = self._ids(target.text)
                words[row, : len(ids)] = ids
        return boxes, words

    def says_where(self, prompts: Prompts) -> NDArray[np.bool_]:
        """Which of the prompts (T,) are words that say where the target is; never a box."""
        places = [self._index[word] for word in RELATING_WORDS if word in self._index]
        return np.asarray(np.isin(prompts[1], places).any(axis=1))

    def mirrored(self, prompts: Prompts) -> Prompts:
        """What asks the same of the mirrored picture: boxes flipped, left and right exchanged."""
        boxes, words = prompts
        is_box = boxes.any(axis=1, keepdims=True)
        left, top, right, bottom = boxes.T
        flipped = np.stack((1 - right, top, 1 - left, bottom), axis=1)
        swapped = words.copy()
        for one, other in self._sides:
            swapped[words == one], swapped[words == other] = other, one
        return np.where(is_box, flipped, boxes), swapped

    @cached_property
    def _sides(self) -> list[tuple[int, int]]:
        """Pairs of numbers that change places in the mirror; none where a side is not known."""
        sides = [self._index[word] for word in ('left', 'right') if word in self._index]
        return [(sides[0], sides[1])] if len(sides) == 2 else []

    def understands(self, target: Target) -> bool:
        """Whether `encode` takes it: it has a box, or words of which the model knows one."""
        if target.box is None:
            try:
                self.read(target.text)
            except InvalidInput:
                return False
        return True

    def _ids(self, text: str) -> list[int]:
        """What the network reads for a text, at most `max_words` numbers."""
        return [self._index[word] for word in self._asked(self.read(text).known)]


class ClipPromptEncoder(PromptEncoder):
    """Encodes targets for a model that reads CLIP's byte pairs: every word is known to it."""

    def __init__(self, pairs: ClipBytePairs, max_words: int) -> None:
        super().__init__((), max_words)
        self._pairs = pairs

    def read(self, text: str) -> Words:
        """All words of a text. Raises InvalidInput when it is empty or over 200 characters."""
        every = tuple(word for word in words_of(text) if word != COMMA)
        known, asked = every, text
        while len(known) > 1 and len(self._pairs.encode(asked, sys.maxsize)) > self._max_words:
            known = known[:-1]
            asked = ' '.join(known)
        return Words(asked, known, beyond=every[len(known) :])

    @cached_property
    def _sides(self) -> list[tuple[int, int]]:
        spelt = [
            [self._pairs.encode(side + ending, self._max_words) for side in ('left', 'right')]
            for ending in ('', 'most')
        ]
        alike = (two for two in spelt if len(two[0]) == len(two[1]))
        pairs = {pair for two in alike for pair in zip(*two, strict=True)}
        return sorted((one, other) for one, other in pairs if one != other)

    def _ids(self, text: str) -> list[int]:
        self.read(text)
        return self._pairs.encode(text, self._max_words)


def prompt_encoder(folder: ModelFolder) -> PromptEncoder:
    """The encoder for a model folder's way of reading texts.

    Raises ValueError for a list of merges that is none.
    """
    if folder.merges is None:
        return PromptEncoder(folder.vocabulary, folder.max_words)
    return ClipPromptEncoder(ClipBytePairs(folder.merges), folder.max_words)


def _slips(one: str, other: str) -> int:
    """Letters too many, missing, wrong or swapped with the next, none touched twice.

    Damerau and Levenshtein's distance, restricted.
    """
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            least = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != wanted))
            if i > 1 and j > 1 and (letter, one[i - 2]) == (other[j - 2], wanted):
                least = min(least, rows[-2][j - 2] + 1)
            row.append(least)
        rows.append(row)
    return rows[-1][-1]
