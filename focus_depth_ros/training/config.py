"""Settings files of `focus-depth train`: YAML on top of a base, checked key by key.

A file may name another as its `base` (relative to itself) and then says only what differs;
groups are merged, lists replaced. The keys are explained in configs/compact.yaml.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from focus_depth_ros.networks.mssa import FusionVariant
from focus_depth_ros.training.example import PromptShares

Settings = TypeVar('Settings')


@dataclass(frozen=True)
class Stage:
    """One stretch of the run: which parameters learn, how fast; `share` of all steps.

    `terms` are those of the run unless a stage names its own.
    """

    share: float
    trained: tuple[str, ...]
    muon_lr: float
    adam_lr: float
    warm_up: float
    decay_from: float
    decay: Literal['linear', 'cosine']
    terms: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run."""

    train: Path
    validation: Path
    output: Path
    initial: Path | None
    family: Literal['compact', 'fovea', 'foundation']
    network: dict[str, Any]
    fusion: FusionVariant
    seed: int
    steps: int
    batch: int
    prompts: int
    ask: PromptShares
    prompt: Literal['right', 'empty', 'wrong']
    objective: Literal['compact', 'focusdepth']
    terms: tuple[str, ...]
    occlusion_weight: float
    stages: tuple[Stage, ...]
    frozen: tuple[str, ...]
    trunk_rate: float
    weight_decay: float
    clip: float
    ema: float
    bfloat16: bool
    threads: int
    workers: int
    checkpoint_every: int
    keep: tuple[int, ...]
    validate_every: int
    validation_frames: int


def read_config(path: Path) -> TrainConfig:
    """Read and check a settings file. Raises ValueError naming the file and key that is wrong."""
    config = checked(TrainConfig, _merged(path), str(path))
    if abs(sum(stage.share for stage in config.stages) - 1) > 1e-6:
        raise ValueError(f'{path}: the shares of the stages must add up to 1')
    return config


def checked(kind: type[Settings], content: Any, where: str) -> Settings:
    """A dataclass from a mapping, its values brought to the annotated types.

    Raises ValueError naming what is missing, unknown or of the wrong kind.
    """
    if not isinstance(content, dict):
        raise ValueError(f'{where}: settings are expected here, as `name: value` lines')
    hints = get_type_hints(kind)
    needed = {
        entry.name
        for entry in fields(kind)  # type: ignore[arg-type]
        if entry.default is MISSING and entry.default_factory is MISSING
    }
    missing, unknown = needed - set(content), set(content) - set(hints)
    if missing or unknown:
        problems = [f'{name} is missing' for name in sorted(missing)]
        for name in sorted(map(str, unknown)):
            near = get_close_matches(name, hints, 1)
            problems.append(f'{name} is unknown' + (f' (is it {near[0]}?)' if near else ''))
        raise ValueError(f'{where}: {", ".join(problems)}')
    return kind(
        **{name: _value(hints[name], given, f'{where}: {name}') for name, given in content.items()}
    )


def _value(kind: Any, given: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return checked(kind, given, where)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        return None if given is None else _value(inner[0], given, where)
    if origin is Literal and given in inner:
        return given
    if origin is tuple and isinstance(given, list | tuple):
        return tuple(_value(inner[0], item, where) for item in given)
    if origin is dict and isinstance(given, dict):
        return given
    if kind is float and isinstance(given, int | float | str) and not isinstance(given, bool):
        try:
            return float(given)  # YAML reads 1e-4 as a word
        except ValueError:
            pass
    elif kind is Path and isinstance(given, str | Path):
        return Path(given)
    elif kind in (int, bool, str) and type(given) is kind:
        return given
    wanted = ' or '.join(map(repr, inner)) if origin is Literal else getattr(kind, '__name__', kind)
    raise ValueError(f'{where} is {given!r}, which is not {wanted}')


def _merged(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's settings on top of its base's; `above` are the files that it is a base of."""
    if path.resolve() in above:
        raise ValueError(f'{path}: it is its own base')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path}: not readable as YAML ({error})') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path}: settings are expected here, as `name: value` lines')
    base = content.pop('base', None)
    if base is None:
        return content
    return _over(_merged(path.parent / str(base), (*above, path.resolve())), content)


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = {**base, **changes}
    for name, change in changes.items():
        if isinstance(change, dict) and isinstance(base.get(name), dict):
            both[name] = _over(base[name], change)
    return both
