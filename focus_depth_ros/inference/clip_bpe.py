"""CLIP's byte-pair encoding: texts to the token ids that SAM3's text encoder reads.

The vocabulary is not shipped; it is the list of merges that a user brings with SAM3 and an exported
model folder carries. Ids are the places in this order: 256 byte characters, the same at the end of
a word, one token a merge, start, end.
"""

from __future__ import annotations

import gzip
import html
import re
import zlib
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

MAX_BYTES = 8 << 20
MERGES = 49152 - 256 - 2
FILE_NAMES = ('merges.txt', 'bpe_simple_vocab_16e6.txt.gz')
_WORD_END = '</w>'
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")


class ClipBytePairs:
    """Encodes texts by a merges file (plain or gzip). Raises ValueError for any other file."""

    def __init__(self, path: Path) -> None:
        self._merges = _read_merges(path)
        self._rank = {pair: rank for rank, pair in enumerate(self._merges)}
        letters = [*_byte_letters().values()]
        tokens = [*letters, *(letter + _WORD_END for letter in letters)]
        tokens += [first + second for first, second in self._merges]
        self._id = {token: index for index, token in enumerate(tokens)}
        self.start, self.end = len(tokens), len(tokens) + 1

    def encode(self, text: str, max_tokens: int) -> list[int]:
        """Token ids with start and end, cut to `max_tokens` with the end kept."""
        cleaned = html.unescape(html.unescape(text)).lower().split()
        ids = [self.start]
        for piece in _PIECES.findall(' '.join(cleaned)):
            letters = _byte_letters()
            word = [letters[byte] for byte in piece.encode('utf-8')]
            word[-1] += _WORD_END
            ids += [self._id[token] for token in self._merged(word)]
        return [*ids[: max_tokens - 1], self.end]

    def as_text(self) -> str:
        """The merges as a merges.txt."""
        return '\n'.join(['#version: 0.2', *(' '.join(pair) for pair in self._merges), ''])

    def _merged(self, word: list[str]) -> list[str]:
        """Join the pair of the lowest rank, everywhere, until no pair is in the list."""
        while len(word) > 1:
            pairs = list(pairwise(word))
            best = min(pairs, key=lambda pair: self._rank.get(pair, MERGES))
            if best not in self._rank:
                return word
            joined: list[str] = []
            for token in word:
                if joined and (joined[-1], token) == best:
                    joined[-1] += token
                else:
                    joined.append(token)
            word = joined
        return word


def find_merges(path: Path) -> Path:
    """The merges file in a folder, or beside a file. Raises ValueError."""
    if not path.exists():
        raise ValueError(f'{path} does not exist')
    folder = path if path.is_dir() else path.parent
    for name in FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder}: CLIP's vocabulary is missing; one of {', '.join(FILE_NAMES)}")


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        content = path.read_bytes()
        if content[:2] == b'\x1f\x8b':
            with gzip.open(path) as file:
                content = file.read(MAX_BYTES + 1)
        lines = content.decode('utf-8').split('\n')
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ValueError(f'{path}: no readable list of merges ({error})') from error
    if len(content) > MAX_BYTES:
        raise ValueError(f'{path}: too large for a list of merges')
    # The first line is a version; the original file has more merges than the vocabulary takes.
    pairs = [tuple(line.split()) for line in lines[1 : 1 + MERGES] if line.strip()]
    merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    if not merges or len(merges) != len(pairs):
        raise ValueError(f'{path}: not a list of merges (two tokens a line)')
    return merges


@lru_cache(maxsize=1)
def _byte_letters() -> dict[int, str]:
    """A printable character for each byte: itself where it is one, else one from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    rest = (byte for byte in range(256) if byte not in letters)
    letters.update({byte: chr(256 + place) for place, byte in enumerate(rest)})
    return letters
