"""An ONNX file with what lies beside it: its checksum, and a look at it before a runtime opens it.

A graph may point at other files for its tensors, which may be any file of the machine. The one that
a manifest can name and checksum is "<graph>.data", for graphs over 2 GB; no other is accepted.
Robots do not have the `onnx` package, so the few fields that count are read here as the protobuf
wire format spells them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from focus_depth_ros.inference.engine import EngineError

MAX_DEPTH = 40
NESTED = {
    'model': {7: 'graph', 25: 'function'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'function': {7: 'node', 11: 'attribute'},
    'node': {5: 'attribute'},
    'attribute': {
        5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse',
    },
    'sparse': {1: 'tensor', 2: 'tensor'},
    'tensor': {},
}  # fmt: skip
"""Fields of onnx.proto that lead to tensors, by message: {field number: what lies there}."""
EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Fields of a TensorProto that say its numbers lie in another file, and where in it."""
KEY, VALUE = 1, 2
"""Fields of an entry of EXTERNAL_DATA."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""


def graph_sha256(graph: Path) -> str:
    """Checksum of a graph and of the weights beside it (`<graph>.data`), in hexadecimal."""
    beside = weights_beside(graph)
    return sha256_of(graph, beside) if beside.is_file() else sha256_of(graph)


def sha256_of(*files: Path) -> str:
    """Checksum of files, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in files:
        with path.open('rb') as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()


def weights_beside(graph: Path) -> Path:
    """The one other file in which a graph may keep weights: "<graph>.data"."""
    return graph.with_name(f'{graph.name}.data')


def refuse_external_data(graph: Path) -> None:
    """Raise EngineError for a file that is no protobuf message or whose tensors lie elsewhere.

    "<graph>.data" is not elsewhere: reading the model folder has covered it.
    """
    try:
        message, beside = memoryview(graph.read_bytes()), weights_beside(graph).name.encode()
        outside = any(place != beside for place in _places(message, 'model', 0))
    except (IndexError, ValueError, OSError) as error:
        raise EngineError(f'{graph}: not an ONNX graph, or truncated ({error})') from error
    if outside:
        raise EngineError(
            f'{graph}: keeps weights in another file, which no checksum covers; '
            'export it with its weights inside'
        )


def _places(message: memoryview, kind: str, depth: int) -> Iterator[bytes]:
    """Every file in which a tensor says it lies; empty for a tensor that does not say where."""
    if depth > MAX_DEPTH:
        raise ValueError(f'graphs nested more than {MAX_DEPTH} deep')
    is_outside, places = False, list[bytes]()
    for field, value in _fields(message):
        if kind == 'tensor' and field == DATA_LOCATION:
            is_outside = is_outside or bool(value)
        elif kind == 'tensor' and field == EXTERNAL_DATA and isinstance(value, memoryview):
            entry = dict(_fields(value))
            is_outside = True
            if _text(entry.get(KEY)) == b'location':
                places.append(_text(entry.get(VALUE)))
        inner = NESTED[kind].get(field)
        if inner and isinstance(value, memoryview):
            yield from _places(value, inner, depth + 1)
    if is_outside:
        yield from places or [b'']


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(field number, value) of a message; bytes are not copied."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        if tag >> 32:  # runtimes cut a tag to 32 bits, and would see another field here
            raise ValueError('a tag of more than 32 bits')
        field, wire = tag >> 3, tag & 7
        value: memoryview | int
        if wire == VARINT:
            value, position = _varint(message, position)
        elif wire == BYTES:
            size, position = _varint(message, position)
            value = message[position : position + size]
            position += size
        elif wire in (FIXED64, FIXED32):
            value, position = 0, position + (8 if wire == FIXED64 else 4)
        else:
            raise ValueError(f'wire type {wire}')
        if position > end:
            raise ValueError('it ends in the middle of a field')
        yield field, value


def _text(value: memoryview | int | None) -> bytes:
    return bytes(value) if isinstance(value, memoryview) else b''


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position
        if shift > 63:
            raise ValueError('a number of more than 64 bits')
