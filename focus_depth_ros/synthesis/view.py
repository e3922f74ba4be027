"""`focus-depth view`: contact sheets of shards as PNG, and a rerun recording.

A sheet's row shows picture, depth, boundaries by kind, masks with captions. The recording, which
shows the points in space too, is written where rerun is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.sample import (
    BOUNDARY_CONTACT,
    BOUNDARY_OCCLUSION,
    BOUNDARY_SELF,
    Sample,
    read_shard,
)
from focus_depth_ros.synthesis.themes import DRAWN

BOUNDARY_COLOURS = {
    BOUNDARY_OCCLUSION: (255, 40, 40),
    BOUNDARY_SELF: (60, 220, 60),
    BOUNDARY_CONTACT: (60, 150, 255),
}
_HEADER_PX = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument('folder', type=Path, metavar='DIR', help='folder with rendered shards')
    parser.add_argument('--out', type=Path, help='folder for the sheets (default: DIR)')
    parser.add_argument(
        '--frames', type=int, default=24, help='how many scenes of each theme, a frame each (24)'
    )


def run(arguments: argparse.Namespace) -> int:
    """Write a sheet a theme, and the recording. Returns 0; ValueError when nothing is to see."""
    if arguments.frames < 1:
        raise ValueError('--frames must be at least 1')
    shards = sorted(arguments.folder.glob('*.tar'))
    if not shards:
        raise ValueError(f'{arguments.folder} holds no shards (*.tar); render some first')
    out = arguments.out or arguments.folder
    out.mkdir(parents=True, exist_ok=True)
    themes = by_theme(shards, arguments.frames)
    if not themes:
        raise ValueError(f'the shards in {arguments.folder} hold no frame; render them again')
    for theme, samples in themes.items():
        path = out / f'sheet-{theme}.png'
        if not cv2.imwrite(str(path), contact_sheet(samples)[:, :, ::-1]):
            raise OSError(f'{path} cannot be written')
        print(f'{path}: {len(samples)} frames')
    if find_spec('rerun') is None:
        print("no recording: rerun is not installed (pip install '.[view]')")
        return 0
    from focus_depth_ros.synthesis.rerun_recording import write_recording

    path = out / 'scenes.rrd'
    try:
        write_recording(path, chain.from_iterable(themes.values()), BOUNDARY_COLOURS)
    except RuntimeError as error:  # rerun's, of a file that it cannot make
        raise OSError(f'{path} cannot be written ({error})') from error
    print(f'{path}: open it with `rerun {path}`')
    return 0


def by_theme(shards: Iterable[Path], most: int) -> dict[str, list[Sample]]:
    """Up to `most` frames of each theme, one of each scene, from as few shards as needed."""
    found: dict[str, list[Sample]] = {}
    last_scene = -1
    for sample in _all_samples(shards):
        if sample.scene == last_scene:
            continue
        last_scene = sample.scene
        row = found.setdefault(sample.theme, [])
        if len(row) < most:
            row.append(sample)
        if all(len(found.get(name, ())) == most for name in {*DRAWN, *found}):
            break
    return found


def _all_samples(shards: Iterable[Path]) -> Iterator[Sample]:
    for shard in shards:
        yield from read_shard(shard)


def contact_sheet(samples: list[Sample]) -> NDArray[np.uint8]:
    """All frames, two side by side where there are several, RGB."""
    panels = [panel(sample) for sample in samples]
    height, width = panels[0].shape[:2]
    panels = [np.asarray(cv2.resize(one, (width, height)), np.uint8) for one in panels]
    if len(panels) == 1:
        return panels[0]
    panels += [np.zeros_like(panels[0])] * (len(panels) % 2)
    rows = [np.hstack(panels[k : k + 2]) for k in range(0, len(panels), 2)]
    return np.vstack(rows)


def panel(sample: Sample) -> NDArray[np.uint8]:
    """Picture, depth, boundaries and captioned masks of one frame side by side, RGB."""
    strip = np.hstack(
        [sample.rgb, depth_colours(sample), boundary_colours(sample), mask_colours(sample)]
    )
    near, far = np.nanmin(sample.depth_m), np.nanmax(sample.depth_m)
    header = np.full((_HEADER_PX, strip.shape[1], 3), 30, np.uint8)
    title = f'{sample.theme}  scene {sample.scene}  {near:.2f}-{far:.2f} m  none:'
    for caption in sample.absent_captions:
        longer = f'{title} {caption},'
        if _size(longer)[0] > header.shape[1] - 8:
            break
        title = longer
    _write(header, title.rstrip(','), (4, 12))
    return np.vstack([header, strip])


def depth_colours(sample: Sample) -> NDArray[np.uint8]:
    """Inverse depth, near is red."""
    inverse = np.nan_to_num(1 / sample.depth_m)
    scaled = np.clip(inverse / max(float(np.quantile(inverse, 0.995)), 1e-6), 0, 1)
    coloured = cv2.applyColorMap((scaled * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    return np.asarray(coloured[:, :, ::-1])


def boundary_colours(sample: Sample) -> NDArray[np.uint8]:
    """Boundaries on the dimmed picture: red occlusion, green self-occlusion, blue contact."""
    view = sample.rgb // 3
    for kind, colour in BOUNDARY_COLOURS.items():
        view[sample.boundary == kind] = colour
    return view


def mask_colours(sample: Sample) -> NDArray[np.uint8]:
    """Each object in its own colour with its first caption at its box."""
    palette = np.random.default_rng(4).integers(60, 256, (256, 3)).astype(np.uint8)
    palette[0] = 0
    view = (sample.rgb // 2 + palette[sample.ids] // 2).astype(np.uint8)
    for item in islice(sample.objects, 12):
        left, top, right, bottom = (int(value) for value in item.box)
        cv2.rectangle(view, (left, top), (right - 1, bottom - 1), (230, 230, 230), 1)
        if item.captions:
            _write(
                view, item.captions[0].removeprefix('the '), (max(left - 10, 0), max(top - 3, 9))
            )
    return view


def _size(text: str) -> tuple[int, int]:
    """Width and height of a written text, px."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.36, 1)
    return width, height


def _write(view: NDArray[np.uint8], text: str, at: tuple[int, int]) -> None:
    width, height = _size(text)
    x, y = at
    cv2.rectangle(view, (x - 1, y - height - 1), (x + width, y + 3), (30, 30, 30), -1)
    cv2.putText(view, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
