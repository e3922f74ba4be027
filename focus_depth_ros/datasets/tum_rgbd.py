"""TUM RGB-D: the folder of one sequence, with `rgb.txt`, `depth.txt` and what they list.

Lines are `stamp file`, # begins a comment; depth is uint16, 5000 counts a metre, 0 = unknown, in
the colour camera's frame. Pictures and depth have stamps of their own and are paired by them.

The data set has no masks. FDE-Bench takes a segmenter's; put yours as `masks/NAME.png` (uint8 or
uint16, 0 = background, k = thing k), NAME being the picture's. Pictures without one are scored
without targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame, nameless
from focus_depth_ros.datasets.image_files import read_depth, read_plane, read_rgb

DEPTH_UNIT_M = 1 / 5000
SLOP_S = 0.02
"""Largest difference of two stamps that belong together, as in the data set's own tool."""
CAMERAS = {
    'freiburg1': (517.3, 516.5, 318.6, 255.3),
    'freiburg2': (520.9, 521.0, 325.1, 249.7),
    'freiburg3': (535.4, 539.2, 320.1, 247.6),
}
"""fx, fy, cx, cy in px of the published calibrations, found by the sequence's name."""
CALIBRATED_PX = (640, 480)
"""Width and height of the pictures that they are of."""
DEFAULT_CAMERA = (525.0, 525.0, 319.5, 239.5)


def frames(folder: Path) -> Iterator[LabelledFrame]:
    """Pictures that have a depth picture, by stamp. Raises DatasetError."""
    pictures, depths = read_listing(folder / 'rgb.txt'), read_listing(folder / 'depth.txt')
    named = [camera for name, camera in CAMERAS.items() if name in folder.resolve().name]
    fx, fy, cx, cy = named[0] if named else DEFAULT_CAMERA
    pairs = pair_by_stamp(np.array(list(pictures)), np.array(list(depths)))
    if not pairs:
        raise DatasetError(f'{folder}: no picture and depth within {SLOP_S} s of each other')
    for stamp, depth_stamp in pairs:
        rgb = read_rgb(folder / pictures[stamp])
        if rgb.shape[1::-1] != CALIBRATED_PX:
            raise DatasetError(
                f'{folder / pictures[stamp]} is {rgb.shape[1]}x{rgb.shape[0]}; data set and '
                'calibrations are 640x480: give pictures of that size, or an rgbd_folder with a K '
                'of its own'
            )
        mask = folder / 'masks' / f'{Path(pictures[stamp]).stem}.png'
        empty = np.zeros(rgb.shape[:2], np.int32)
        ids = read_plane(mask).astype(np.int32) if mask.is_file() else empty
        yield LabelledFrame(
            name=f'{folder.name}/{stamp:.6f}',
            group='tum_rgbd',
            rgb=rgb,
            depth_m=read_depth(folder / depths[depth_stamp], DEPTH_UNIT_M),
            ids=ids,
            K=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64),
            captions=nameless(ids),
        )


def read_listing(path: Path) -> dict[float, str]:
    """File names by stamp in s. Raises DatasetError naming the line that is none."""
    if not path.is_file():
        raise DatasetError(f'{path} is missing; give the folder of one sequence')
    found = {}
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        try:
            found[float(words[0])] = words[1]
        except (ValueError, IndexError) as error:
            raise DatasetError(f'{path}:{number}: {line!r} is not `stamp file`') from error
    return found


def pair_by_stamp(
    first_s: np.ndarray[tuple[int], np.dtype[np.float64]],
    second_s: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> list[tuple[float, float]]:
    """Stamps within SLOP_S of each other, nearest pairs first taken, each used once; in order."""
    second_s = np.sort(second_s)
    near = [
        (abs(one - other), one, other)
        for one in first_s.tolist()
        for other in second_s[slice(*np.searchsorted(second_s, (one - SLOP_S, one + SLOP_S)))]
    ]
    pairs: dict[float, float] = {}
    taken: set[float] = set()
    for _, one, other in sorted(near):
        if one not in pairs and other not in taken:
            pairs[one] = float(other)
            taken.add(other)
    return sorted(pairs.items())
