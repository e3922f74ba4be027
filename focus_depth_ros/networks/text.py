"""Captions to vocabulary indices: the one rule that training and the model folder's readers share.

Lower-case letters and digits make words; index 0 pads, index 1 stands for a word the model has
never seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

PADDING = '<pad>'
UNKNOWN = '<unknown>'
_WORD = re.compile(r'[a-z0-9]+')


def model_vocabulary(words: Sequence[str]) -> list[str]:
    """The vocabulary as a model stores it: padding, unknown, then the words in order."""
    plain = [word for word in words if word not in (PADDING, UNKNOWN)]
    return [PADDING, UNKNOWN, *plain]


def word_indices(caption: str, vocabulary: Sequence[str], max_words: int) -> list[int]:
    """Indices of a caption's first `max_words` words, padded with 0."""
    positions = {word: index for index, word in enumerate(vocabulary)}
    found = [positions.get(word, 1) for word in _WORD.findall(caption.lower())]
    return (found + [0] * max_words)[:max_words]
