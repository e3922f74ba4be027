"""A model folder: its graphs and the manifest that says what they mean. Checked before use."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focus_depth_ros.inference.engine import EngineError
from focus_depth_ros.inference.graph_file import sha256_of, weights_beside

MAX_MANIFEST_BYTES = 4 << 20
MAX_GRAPH_BYTES = 4 << 30
MAX_MERGES_BYTES = 8 << 20
QUANTISED = {'encoder': 'encoder_int8', 'focus': 'focus_int8'}
"""The manifest's names for graphs in int8, which a folder may hold for CPUs."""
MAX_NETWORK_SIDE_PX = 4096
MAX_WORDS = 512
UNKNOWN_WORD = 1
"""Index of "<unknown>" in every vocabulary; 0 is padding."""
BUILT_IN = Path(__file__).resolve().parent.parent / 'models' / 'compact'


class ModelError(RuntimeError):
    """A model folder that must not be used; the text names the file and what is wrong with it."""


@dataclass(frozen=True)
class ModelFolder:
    """The manifest `model.json` of a folder whose files were found complete and unchanged.

    `fovea` is the second look's focus half; models without one look twice through the same graphs.
    `input_size` and `output_size` are (width, height) px. `canonical_focal_px` is f_c of the
    canonical camera: 1/Z = (f_c / f) (scale inverse_depth + shift), f in px of the input picture;
    None: 1/Z = scale inverse_depth + shift for every camera. `answers_depth`: the network's own
    answer is depth, so that 1/`inverse_depth` and not `inverse_depth` is right up to scale and
    shift. `merges`: words are CLIP's byte pairs by this list, and there is no `vocabulary`.
    """

    path: Path
    name: str
    version: str
    licence: str
    encoder: Path
    focus: Path
    fovea: Path | None
    quantised_encoder: Path | None
    quantised_focus: Path | None
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    features: tuple[str, ...]
    canonical_focal_px: float | None
    answers_depth: bool
    vocabulary: tuple[str, ...]
    merges: Path | None
    max_words: int
    sha256: str

    @property
    def graphs(self) -> tuple[Path, ...]:
        """Encoder and focus half, and the fovea where there is one."""
        return (self.encoder, self.focus, *([self.fovea] if self.fovea else []))

    @property
    def quantised_graphs(self) -> tuple[Path, ...]:
        """The same for CPUs that take int8, each in int8 where there is such a file; or none."""
        if self.quantised_encoder is None:
            return ()
        return (self.quantised_encoder, self.quantised_focus or self.focus, *self.graphs[2:])


def read_model_folder(path: Path) -> ModelFolder:
    """Read and check a model folder (sha256 of every graph against the manifest).

    Raises ModelError when the folder, the manifest or a graph is missing, malformed or altered.
    """
    manifest_path = path / 'model.json'
    if not path.is_dir():
        fault = 'is a file; name the folder it is in' if path.exists() else 'does not exist'
        raise ModelError(f'model folder {path} {fault}')
    if not manifest_path.is_file():
        raise ModelError(f'{path} is no model folder: it has no model.json')
    _check_bytes(manifest_path, MAX_MANIFEST_BYTES)
    try:
        manifest = json.loads(manifest_path.read_text(encoding='utf-8'))
        return _from_manifest(path, manifest)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ModelError(f'{manifest_path}: malformed manifest ({error!r})') from error


def check_unchanged(folder: ModelFolder) -> None:
    """Raise EngineError where the files are no longer those that were read.

    What is loaded later (an engine that was built meanwhile, a fallback) would else answer in
    other metres and other words than those that were read.
    """
    try:
        now = read_model_folder(folder.path).sha256
    except (ModelError, OSError) as error:
        raise EngineError(f'the model folder has changed since it was loaded: {error}') from error
    if now != folder.sha256:
        raise EngineError(
            f'model folder {folder.path} has changed since it was loaded: configure the node again'
        )


def file_entry(path: Path) -> dict[str, Any]:
    """What a manifest says of a file, and of the weights beside a graph, for the reader to check.

    {'path', 'sha256', 'bytes'}, and 'data' with the same of "<graph>.data" where there is one.
    """
    entry = {'path': path.name, 'sha256': sha256_of(path), 'bytes': path.stat().st_size}
    beside = weights_beside(path)
    return entry | {'data': file_entry(beside)} if beside.exists() else entry


def _from_manifest(path: Path, manifest: dict[str, Any]) -> ModelFolder:
    if manifest['format'] != 1:
        raise ModelError(f'{path}: manifest format {manifest["format"]!r}, this version reads 1')
    files, focal = manifest['files'], manifest['canonical_focal_px']
    graphs = {part: _checked_graph(path, files[part]) for part in ('encoder', 'focus')}
    optional = {
        part: _checked_graph(path, files[part]) if part in files else None
        for part in ('fovea', *QUANTISED.values())
    }
    return ModelFolder(
        path=path,
        name=str(manifest['name']),
        version=str(manifest['version']),
        licence=str(manifest['license']),
        encoder=graphs['encoder'],
        focus=graphs['focus'],
        fovea=optional['fovea'],
        quantised_encoder=optional[QUANTISED['encoder']],
        quantised_focus=optional[QUANTISED['focus']],
        input_size=_size(manifest['input']),
        output_size=_size(manifest['output']),
        features=tuple(map(str, manifest['features'])),
        canonical_focal_px=None if focal is None else _focal(focal),
        answers_depth=bool(manifest.get('answers_depth', False)),
        vocabulary=tuple(map(str, manifest['vocabulary'])),
        merges=_checked_file(path, files['merges'], MAX_MERGES_BYTES)
        if 'merges' in files
        else None,
        max_words=_bounded('max_words', manifest['max_words'], MAX_WORDS),
        sha256=_identity(files),
    )


def _identity(files: dict[str, Any]) -> str:
    """One checksum for all files of a model, weights beside their graphs included."""
    checksums = [f'{part} {files[part]["sha256"]}\n' for part in sorted(files)]
    beside = [files[part]['data']['sha256'] for part in sorted(files) if 'data' in files[part]]
    return hashlib.sha256(''.join([*checksums, *beside]).encode()).hexdigest()


def _size(entry: dict[str, Any]) -> tuple[int, int]:
    """(width, height) px."""
    width, height = (
        _bounded(side, entry[side], MAX_NETWORK_SIDE_PX) for side in ('width', 'height')
    )
    return width, height


def _bounded(what: str, value: Any, most: int) -> int:
    if type(value) is not int:
        raise ValueError(f'{what} is {value!r}, no whole number')
    if not 1 <= value <= most:
        raise ValueError(f'{what} is {value}, not in 1 to {most}')
    return value


def _focal(value: Any) -> float:
    focal_px = float(value)
    if not (math.isfinite(focal_px) and focal_px > 0):
        raise ValueError(f'canonical_focal_px is {focal_px:g}, no focal length')
    return focal_px


def _checked_graph(folder: Path, entry: dict[str, Any]) -> Path:
    """A graph, and the file beside it that holds the weights of one too large for a single file."""
    graph = _checked_file(folder, entry, MAX_GRAPH_BYTES)
    beside = weights_beside(graph)
    if 'data' in entry:
        if entry['data']['path'] != beside.name:
            raise ModelError(f'{graph}: its weights may lie in {beside.name} only')
        _checked_file(folder, entry['data'], MAX_GRAPH_BYTES)
    elif beside.exists():
        raise ModelError(f'{beside}: not in model.json, so no checksum covers it; remove it')
    return graph


def _checked_file(folder: Path, entry: dict[str, Any], most_bytes: int) -> Path:
    file = folder / Path(str(entry['path'])).name
    if not file.is_file():
        raise ModelError(f'{file} is missing')
    _check_bytes(file, most_bytes)
    digest = sha256_of(file)
    if digest != entry['sha256']:
        raise ModelError(
            f'{file}: checksum {digest[:12]}... is not the {str(entry["sha256"])[:12]}... of '
            'model.json; the file was altered or copied incompletely'
        )
    return file


def _check_bytes(file: Path, most_bytes: int) -> None:
    size = file.stat().st_size
    if size > most_bytes:
        raise ModelError(f'{file} has {size} bytes, more than the {most_bytes} accepted')
