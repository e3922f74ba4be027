"""Weights that a user brings: reading files without running code, and loading them without gaps.

Safetensors, or torch files through `weights_only`. Every tensor of the network must be there with
its shape; what a file holds beyond that must be known to be unneeded. Anything else is an error
that names the tensors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

MAX_FILE_BYTES = 8 << 30
MAX_CONFIG_BYTES = 1 << 20
SUFFIXES = ('.safetensors', '.pth', '.pt')
NAMED_IN_ERRORS = 6
Rule = tuple[str, str]


class WeightsError(ValueError):
    """Weights that cannot be used; the text names the file, what is wrong and what to do."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, or of the one weights file in a folder.

    A torch file may hold them under 'model' or 'state_dict'. Raises WeightsError.
    """
    file = weights_file(path)
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise WeightsError(f'{file} has {size} bytes, more than the {MAX_FILE_BYTES} accepted')
    try:
        if file.suffix == '.safetensors':
            return dict(load_file(file))
        content = torch.load(file, map_location='cpu', weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(f'{file}: no readable weights ({error})') from error
    except Exception as error:  # pickle's own errors, among them the refusal to run code
        raise WeightsError(
            f'{file}: holds more than tensors, or is damaged; ask for safetensors ({error})'
        ) from error
    for wrapper in ('model', 'state_dict'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if isinstance(content, dict) and {'average', 'stage'} <= content.keys():
        raise WeightsError(
            f'{file}: a checkpoint to go on training from; name trained.safetensors beside it'
        )
    if not isinstance(content, dict) or not all(isinstance(x, Tensor) for x in content.values()):
        raise WeightsError(f'{file}: not a dictionary of tensors')
    return content


def read_metadata(path: Path) -> dict[str, str]:
    """What a file that `read_tensors` takes says beside its tensors; torch files say nothing.

    Raises WeightsError.
    """
    file = weights_file(path)
    if file.suffix != '.safetensors':
        return {}
    try:
        with safe_open(file, framework='pt') as opened:
            return dict(opened.metadata() or {})
    except SafetensorError as error:
        raise WeightsError(f'{file}: no readable weights ({error})') from error


def read_config(path: Path) -> dict[str, Any]:
    """`config.json` of a model folder; empty where there is none. Raises WeightsError."""
    file = path / 'config.json'
    if not file.is_file():
        return {}
    if file.stat().st_size > MAX_CONFIG_BYTES:
        raise WeightsError(f'{file}: too large for a configuration')
    try:
        config = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise WeightsError(f'{file}: no JSON ({error})') from error
    if not isinstance(config, dict):
        raise WeightsError(f'{file}: no JSON object')
    return config


def weights_file(path: Path) -> Path:
    """The one file of weights that a path names or a folder holds. Raises WeightsError."""
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise WeightsError(f'{path}: not one of {", ".join(SUFFIXES)}')
        return path
    if not path.is_dir():
        raise WeightsError(f'{path} does not exist')
    plain = path / 'model.safetensors'
    if plain.is_file():
        return plain
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if any('-of-' in file.name for file in found):
        raise WeightsError(
            f'{path}: its weights are in several files; join them into model.safetensors: '
            'from_pretrained(folder).save_pretrained(other, max_shard_size="99GB")'
        )
    if len(found) != 1:
        names = ', '.join(file.name for file in found) or 'none'
        raise WeightsError(f'{path}: one weights file is expected ({names} found); name the file')
    return found[0]


def renamed(tensors: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Apply every (pattern, replacement) in order to every name."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    result = {}
    for name, tensor in tensors.items():
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        result[name] = tensor
    return result


def load_strictly(
    network: nn.Module, tensors: Mapping[str, Tensor], source: Path, unneeded: Sequence[str]
) -> None:
    """Copy `tensors` into `network`; `unneeded` are patterns of names that may be left over.

    Raises WeightsError for missing or unknown names and for wrong shapes.
    """
    wanted = network.state_dict()
    left_over = re.compile('|'.join(unneeded) or '(?!)')
    missing = [name for name in wanted if name not in tensors]
    unknown = [name for name in tensors if name not in wanted and not left_over.match(name)]
    shapes = [
        f'{name} is {tuple(tensors[name].shape)} instead of {tuple(value.shape)}'
        for name, value in wanted.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    faults = [
        f'{what}: {_some(names)}'
        for what, names in (('missing', missing), ('unknown', unknown), ('wrong shape', shapes))
        if names
    ]
    if faults:
        raise WeightsError(f'{source}: the weights do not fit; ' + '; '.join(faults))
    network.load_state_dict({name: tensors[name].float() for name in wanted})


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ', '.join(listed[:NAMED_IN_ERRORS])
    rest = len(listed) - NAMED_IN_ERRORS
    return f'{shown} and {rest} more' if rest > 0 else shown
