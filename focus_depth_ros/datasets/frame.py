"""What every data set is turned into: labelled frames, and questions with their true answers.

A `Triplet` is one row of FDE-Bench: a picture, a target's mask, depth, and one prompt. An adapter
yields `LabelledFrame`s, one a picture, so that whoever asks for several targets of a picture reads
(and encodes) it once; `triplets` makes the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box, Target, tight_box

SMALLEST_TARGET_PX = 300
"""Of the targets that are scored."""


class DatasetError(ValueError):
    """Files that are not of the layout they should have: which one, and what to do."""


@dataclass(frozen=True)
class LabelledFrame:
    """One picture with its truth, checked when made.

    rgb uint8 (H,W,3); depth_m float32 (H,W) along Z, NaN = unknown; ids int32 (H,W), which thing
    each pixel shows; K float64 (3,3) px, or None when the data set has none. `captions` names the
    targets: id -> texts that fit this target alone (often none); `relations` likewise with texts
    that name it by what stands round it. absent_captions and absent_relations fit nothing in view.
    boundary and contact bool (H,W): true occlusion boundaries, and edges that are not to
    count; None = not known.
    sensor_depth_m float32 (H,W): what a depth camera saw, where that is not the truth.
    `group`: what the frame is summed up with.
    """

    name: str
    group: str
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    ids: NDArray[np.int32]
    K: NDArray[np.float64] | None
    captions: dict[int, list[str]]
    absent_captions: list[str] = field(default_factory=list)
    relations: dict[int, list[str]] = field(default_factory=dict)
    absent_relations: list[str] = field(default_factory=list)
    boundary: NDArray[np.bool_] | None = None
    contact: NDArray[np.bool_] | None = None
    sensor_depth_m: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Raise DatasetError for an array of another type or size."""
        size = self.rgb.shape[:2]
        self._check('rgb', self.rgb, np.uint8, (*size, 3))
        self._check('ids', self.ids, np.int32, size)
        self._check('depth_m', self.depth_m, np.float32, size)
        self._check('K', self.K, np.float64, (3, 3))
        self._check('boundary', self.boundary, np.bool_, size)
        self._check('contact', self.contact, np.bool_, size)
        self._check('sensor_depth_m', self.sensor_depth_m, np.float32, size)

    def _check(
        self, what: str, array: NDArray[Any] | None, kind: type[np.generic], shape: tuple[int, ...]
    ) -> None:
        if array is not None and (array.dtype != kind or array.shape != shape):
            raise DatasetError(
                f'{self.name}: {what} is {array.dtype} {array.shape}, '
                f'it should be {np.dtype(kind)} {shape}; the files of this frame do not belong '
                'together'
            )


@dataclass(frozen=True)
class Triplet:
    """One question about a picture and its true answer: FDE-Bench's row.

    rgb uint8 (H,W,3); mask bool (H,W), empty for a text that fits nothing; depth_m float32 (H,W)
    along Z, NaN = unknown; K float64 (3,3) px or None. kind: 'box', 'text', or 'relation' for words
    about what stands round the target. The prompt is either `box` (the mask's tight box, xyxy px,
    right and lower edge exclusive) or `words`.
    """

    name: str
    kind: str
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    depth_m: NDArray[np.float32]
    K: NDArray[np.float64] | None
    box: Box | None = None
    words: str = ''

    @property
    def is_absent(self) -> bool:
        """Whether the words fit nothing in view."""
        return not self.mask.any()

    @property
    def target(self) -> Target:
        """The prompt as the pipeline takes it."""
        return Target(id=self.name, label='', box=self.box, text=self.words)


def triplets(frame: LabelledFrame, smallest_px: int = SMALLEST_TARGET_PX) -> list[Triplet]:
    """The questions about a frame: each target by box, first caption and first relation.

    Targets of fewer than `smallest_px` pixels are left out. Words that fit nothing come last.
    """
    rows = []
    for label, captions in frame.captions.items():
        mask = frame.ids == label
        if np.count_nonzero(mask) < smallest_px:
            continue
        rows.append(_row(frame, 'box', mask, box=tight_box(mask)))
        rows += [_row(frame, 'text', mask, words=words) for words in captions[:1]]
        relations = frame.relations.get(label, [])
        rows += [_row(frame, 'relation', mask, words=words) for words in relations[:1]]
    nothing = np.zeros(frame.ids.shape, np.bool_)
    rows += [_row(frame, 'text', nothing, words=words) for words in frame.absent_captions[:1]]
    rows += [_row(frame, 'relation', nothing, words=words) for words in frame.absent_relations[:1]]
    return rows


def _row(
    frame: LabelledFrame,
    kind: str,
    mask: NDArray[np.bool_],
    box: Box | None = None,
    words: str = '',
) -> Triplet:
    return Triplet(frame.name, kind, frame.rgb, mask, frame.depth_m, frame.K, box, words)


def nameless(ids: NDArray[np.int32]) -> dict[int, list[str]]:
    """Every thing in view as a target without captions; 0 is background."""
    return {int(label): [] for label in np.unique(ids) if label > 0}


def unique_names(names: dict[int, str], ids: NDArray[np.int32]) -> dict[int, list[str]]:
    """Captions of the things in view: a name that one thing alone bears singles it out."""
    present = [int(label) for label in np.unique(ids) if int(label) in names]
    borne = [names[label] for label in present]
    return {label: [names[label]] if borne.count(names[label]) == 1 else [] for label in present}
