"""Opens recordings of rosbag2, those of Humble too, which do not define their messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

BUNDLED_RECORDING = Path(__file__).resolve().parent.parent / 'demo' / 'recording'


def open_bag(path: Path) -> AnyReader:
    """An open reader of a rosbag2 folder (MCAP or sqlite3); to be closed.

    Raises FileNotFoundError or ValueError when there is no readable recording.
    """
    if not path.exists():
        raise FileNotFoundError(f'there is no recording at {path}')
    try:
        # asked only where the recording itself holds no definitions: sqlite3 before Iron
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except Exception as error:
        raise ValueError(
            f'{path} is not a readable recording of rosbag2: {error}{_advice(path)}'
        ) from error
    if not reader.is2:
        reader.close()
        raise ValueError(f'{path} is of ROS 1: rosbags-convert --src {path} --dst FOLDER')
    return reader


def messages_of(
    reader: AnyReader, wanted: Sequence[Connection]
) -> Iterator[tuple[Connection, int, bytes]]:
    """What `AnyReader.messages` gives. Raises ValueError, naming the place, where it is damaged."""
    messages, count = reader.messages(wanted), 0
    while True:
        try:
            message = next(messages, None)
        except Exception as error:
            raise ValueError(
                f'{reader.paths[0]} is damaged after {count} messages: {error!r}'
            ) from error
        if message is None:
            return
        count += 1
        yield message


def _advice(path: Path) -> str:
    """What may help with a recording that does not open."""
    if path.suffix == '.zstd':
        return '; give its folder'
    if path.is_dir() and not (path / 'metadata.yaml').exists():
        return '; give the .mcap or .db3 file itself, or run `ros2 bag reindex` on the folder'
    return '; a recording that was cut short is mended by `mcap recover` or `ros2 bag reindex`'
