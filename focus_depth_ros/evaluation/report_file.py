"""The JSON file that a command leaves its figures in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def check_report_path(path: Path | None) -> None:
    """Raise ValueError where no file can be written, before hours are spent on its figures."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        fault = 'is a folder' if path.is_dir() else f'lies in {path.parent}, which does not exist'
        raise ValueError(f'--output names a JSON file to write; {path} {fault}')


def write_report(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures, where a file was asked for."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + '\n', encoding='utf-8')
