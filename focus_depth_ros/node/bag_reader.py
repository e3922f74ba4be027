"""Opens recordings of rosbag2, those of Humble too, which do not define their messages."""

from __future__ import annotations

from pathlib import Path

from rosbags.highlevel import AnyReader
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
        raise ValueError(f'{path} is not a readable recording of rosbag2: {error}') from error
    if not reader.is2:
        reader.close()
        raise ValueError(f'{path} is of ROS 1: rosbags-convert --src {path} --dst FOLDER')
    return reader
