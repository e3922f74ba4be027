"""Files that lie beside what they speak of, or in a folder above it."""

from __future__ import annotations

from pathlib import Path


def nearest_above(folder: Path, top: Path, name: str) -> Path | None:
    """The nearest file of this name from a folder up to `top`, which is that folder or above it."""
    for place in (folder, *folder.parents):
        if (place / name).is_file():
            return place / name
        if place == top:
            break
    return None
