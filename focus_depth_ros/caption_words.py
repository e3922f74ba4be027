"""Words of captions: their indices for training, and those that relate one thing to another.

Lower-case letters and digits make words; index 0 pads, index 1 stands for a word the model has
never seen. What users write is read more kindly (pipeline/prompts.py). A caption may relate its
target to an anchor ("the mug left of the red box"): relating words describe neither, and what
follows the first dividing word describes the anchor.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

PADDING = '<pad>'
UNKNOWN = '<unknown>'
DIVIDING_WORDS = frozenset({'of', 'behind', 'on', 'in'})
"""Last words of what stands between two things: left of, in front of."""
RELATING_WORDS = DIVIDING_WORDS | {'left', 'right', 'front', 'back', 'top', 'bottom'}
"""Words that say where a thing is, but not what."""
PLAIN, RELATING, DIVIDING = range(3)
_WORD = re.compile(r'[a-z0-9]+')


def model_vocabulary(words: Sequence[str]) -> list[str]:
    """The vocabulary as a model stores it: padding, unknown, then the words in order."""
    return [PADDING, UNKNOWN, *words]


def word_indices(caption: str, vocabulary: Sequence[str], max_words: int) -> list[int]:
    """Indices of a caption's first `max_words` words, padded with 0."""
    positions = {word: index for index, word in enumerate(vocabulary)}
    found = [positions.get(word, 1) for word in _WORD.findall(caption.lower())]
    return (found + [0] * max_words)[:max_words]


def word_roles(vocabulary: Sequence[str]) -> tuple[int, ...]:
    """PLAIN, RELATING or DIVIDING for each word of a vocabulary."""
    return tuple(
        DIVIDING if word in DIVIDING_WORDS else RELATING if word in RELATING_WORDS else PLAIN
        for word in vocabulary
    )
