"""The JSON file that a command leaves its figures in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def check_report_path(path: Path | None) -> None:
    """Raise ValueError where no file can be written, before hours are spent on its figures."""
    if path is None:
        return
    is_new = not path.exists()
    try:
        path.open('a').close()
    except OSError as error:
        fault = f'cannot be written to ({error.strerror})'
        if path.is_dir():
            fault = 'is a folder'
        elif not path.parent.is_dir():
            fault = f'lies in {path.parent}, which does not exist'
        raise ValueError(f'--output names a JSON file to write; {path} {fault}') from error
    if is_new:
        path.unlink()


def write_report(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures, where a file was asked for."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + '\n', encoding='utf-8')
