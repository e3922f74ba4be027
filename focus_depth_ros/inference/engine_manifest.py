"""What a built engine depends on: the graph, how it was built, and the machine.

An engine runs where its manifest has no objection: TensorRT's engines are bound to a version of it
and to a GPU, and answer wrongly or not at all elsewhere.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from typing import Any

from focus_depth_ros.inference.engine import MAX_TARGETS

FORMAT = 2
"""Raised when engines are built in another way: older ones no longer suit."""


@dataclass(frozen=True)
class BuildSettings:
    """How an engine is built. `targets`: the most it answers in one call.

    `workspace_mib` bounds the scratch memory that TensorRT may use. A version-compatible engine
    survives updates of TensorRT within a major, a hardware-compatible one runs on every GPU since
    Ampere (not on Jetson); both cost speed.
    """

    precision: str = 'fp16'
    targets: int = MAX_TARGETS
    workspace_mib: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False


@dataclass(frozen=True)
class Recipe:
    """What an engine is built from and how.

    `calibration` is the sha256 of the pictures that int8 was calibrated on, else empty.
    """

    onnx_sha256: str
    settings: BuildSettings
    calibration: str = ''

    def difference(self, wanted: Recipe) -> str:
        """In what it is not built as wanted; empty where it is."""
        have, want = (
            {**asdict(each.settings), 'calibration': each.calibration[:12]}
            for each in (self, wanted)
        )
        return ', '.join(
            f'{name} is {have[name]!r}, wanted {want[name]!r}'
            for name in want
            if have[name] != want[name]
        )


@dataclass(frozen=True)
class Machine:
    """What an engine is bound to; the driver is not part of it. `processor`: x86_64, aarch64."""

    tensorrt: str
    gpu: str
    compute_capability: str
    processor: str = field(default_factory=platform.machine)

    @property
    def file_name(self) -> str:
        """All of it as a part of a file's name."""
        text = f'{self.tensorrt}-{self.gpu}-{self.compute_capability}-{self.processor}'
        return ''.join(letter if letter.isalnum() or letter in '.-' else '_' for letter in text)


@dataclass(frozen=True)
class Manifest:
    """What is written beside an engine. `notes` holds what was found out about it later."""

    format: int
    graph: str
    recipe: Recipe
    machine: Machine
    sha256: str
    size: int
    built: str
    build_s: float
    notes: dict[str, Any]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Manifest:
        """What `asdict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        if values['format'] != FORMAT:
            raise ValueError(
                f'built by another version of this package (format {values["format"]})'
            )
        recipe, machine, notes = values['recipe'], values['machine'], values['notes']
        if not all(isinstance(part, dict) for part in (recipe, machine, notes)):
            raise TypeError('recipe, machine and notes have to be objects')
        if not all(isinstance(note, dict) for note in notes.values()):
            raise TypeError('each note has to be an object')
        if not isinstance(recipe['calibration'], str):
            raise TypeError('the calibration has to be a text')
        if not isinstance(values['build_s'], int | float):
            raise TypeError('build_s has to be a number')
        for version in (machine['tensorrt'], machine['compute_capability']):
            version_numbers(str(version))
        settings = BuildSettings(**recipe['settings'])
        parts = {
            'recipe': Recipe(**recipe | {'settings': settings}),
            'machine': Machine(**{name: str(value) for name, value in machine.items()}),
        }
        return cls(**values | parts)

    def objection(self, machine: Machine) -> str:
        """Why the engine does not run on `machine`; empty where it does."""
        settings, home = self.recipe.settings, self.machine
        built, here = version_numbers(home.tensorrt), version_numbers(machine.tensorrt)
        is_update = settings.version_compatible and built[:1] == here[:1] and built <= here
        if home.tensorrt != machine.tensorrt and not is_update:
            return f'built with TensorRT {home.tensorrt}, this is {machine.tensorrt}'
        if home.processor != machine.processor:
            return f'built on {home.processor}, this is {machine.processor}'
        if settings.hardware_compatible and version_numbers(machine.compute_capability) >= (8,):
            return ''
        if (home.gpu, home.compute_capability) != (machine.gpu, machine.compute_capability):
            return (
                f'built for {home.gpu} (SM {home.compute_capability}), '
                f'this is {machine.gpu} (SM {machine.compute_capability})'
            )
        return ''


def version_numbers(text: str) -> tuple[int, ...]:
    """'10.16.1' as numbers that can be compared."""
    return tuple(int(part) for part in text.split('.') if part.isdecimal())
