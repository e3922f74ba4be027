"""The fovea: a second look at each target's surroundings, folded into the first look at everything.

The network sees a picture at one small size. Here it also sees a window round the target, cut from
the picture at its own resolution: through the same graphs, or, where a model has one, through a
graph that is also told what the first look made of the whole (networks/fovea.py). Inside the window
both answers are averaged, the nearer one weighs more: two looks err less than one, and that one
sees finer outlines. Words, whose mask may have parts on several things, are asked again with a box
round each. Costs one pass of two graphs a target, and for words one a part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.inference.focus_model import Features, FocusMaps, FocusModel, NearLook
from focus_depth_ros.inference.window import Box4, Window, window_around
from focus_depth_ros.pipeline.mask_parts import large_parts
from focus_depth_ros.pipeline.picture import stretch
from focus_depth_ros.pipeline.region import box_of
from focus_depth_ros.pipeline.scale import rising_line

Floats = NDArray[np.float32]

FINER = 2
"""Cells of the answer for each of the network's, across and down."""
MOST_PARTS = 4
"""Of the mask of words, the largest first, that are looked at from near."""
NEAR_SHARE = 0.65
"""Share of the second look in the maps. On validation frames masks gain up to 0.8 and depth up to
0.5; on real tables masks gain up to 0.5 and depth up to 0.8."""
NEAR_SAY = 0.5
"""Share of the second look in the confidence's logarithm. A larger one finds more and believes more
that is not there: with 0.75, 87 of a hundred captions that fit nothing stay under one half, with
this 90."""
NEAR_SAY_OF_PLACES = 0.25
"""The same for words that say where the target is, most of which the window does not show. On 260
validation frames 93 of a hundred false ones stay under one half, and 77 under 0.3; with `NEAR_SAY`
88 and 64. Of the right answers 74 stay over one half, and 91 over 0.3; with it 83 and 96."""
NEAR_FROM = 0.05
"""Confidence of a first look at words from which there is a second. Below lie seven in ten of those
to words that fit nothing, and one right answer in a hundred."""
FEATHER_SHARE = 0.15
"""Part of the window over which the second look fades in, so that no seam is seen."""


def look_again(
    model: FocusModel,
    rgb: NDArray[np.uint8],
    features: Features,
    prompts: tuple[Floats, NDArray[np.int32]],
    says_where: NDArray[np.bool_],
    first: FocusMaps,
    min_confidence: float,
) -> FocusMaps:
    """`first` (T targets) on a grid twice as fine, with a second look at each target.

    `rgb` (H, W, 3) is the picture of the first look and `features` what was encoded of it.
    `prompts` is what was asked then: boxes (T, 4) xyxy / picture size, zeros for words, and words
    (T, L); `says_where` (T,): words that say where the target is. Words are held against each part
    of the first look's mask from near; the part that they fit best is the target. That is spared
    where the first look's confidence is under both `min_confidence` and `NEAR_FROM`. Raises
    EngineError.
    """
    height, width = first.inverse_depth.shape[1:]
    grid = (FINER * height, FINER * width)
    least = min(min_confidence, NEAR_FROM)
    held = model.held(features)
    answers = []
    for index, (box, words) in enumerate(zip(*prompts, strict=True)):
        row = _row(first, index, grid)
        near_say = NEAR_SAY_OF_PLACES if says_where[index] else NEAR_SAY
        asked = _Asked(rgb, held, first.said(index), words, near_say)
        if box.any():
            answers.append(_nearer(model, asked, row, box))
        elif words.any() and row.confidence[0] >= least:
            looks = [
                _nearer(model, asked, replace(row, mask=part[None]), box_of(part > 0.5))
                for part in large_parts(row.mask[0])[:MOST_PARTS]
            ]
            answers.append(max(looks, key=lambda look: float(look.confidence[0]), default=row))
        else:
            answers.append(row)
    return FocusMaps.joined(answers)


@dataclass(frozen=True)
class _Asked:
    """What is asked about one picture: its features, the first look's answer, and words (L,).

    `near_say` is the second look's share in the confidence's logarithm.
    """

    rgb: NDArray[np.uint8]
    held: Features
    said: Floats
    words: NDArray[np.int32]
    near_say: float


def _nearer(model: FocusModel, asked: _Asked, first: FocusMaps, box: Box4) -> FocusMaps:
    """One target's first look with what a look at its box (4,) from near adds."""
    window = window_around(box, first.mask.shape[1:])
    if window is None:
        return first
    look = NearLook(
        picture=stretch(window.cut(asked.rgb), model.folder.input_size),
        window=window.in_picture()[None],
        first=asked.said,
        box=window.of(box)[None],
        words=asked.words[None],
    )
    return _folded(first, model.look_near(asked.held, look), window, asked.near_say)


def _row(maps: FocusMaps, index: int, grid: tuple[int, int]) -> FocusMaps:
    """One target's maps on a finer grid."""

    def finer(values: Floats) -> Floats:
        return np.asarray(cv2.resize(values[index], grid[::-1])[None], np.float32)

    return FocusMaps(
        finer(maps.inverse_depth),
        finer(maps.mask),
        finer(maps.boundary),
        maps.confidence[index : index + 1],
        maps.metric[index : index + 1],
    )


def _folded(first: FocusMaps, near: FocusMaps, window: Window, near_say: float) -> FocusMaps:
    """Both looks at one target in one: their mean inside the window, the first look outside.

    The confidence is a weighted geometric mean, `near_say` the second one's share. Metres stay the
    first look's: how far a thing is, its surroundings say better than itself.
    """
    cells = window.cells
    weight = NEAR_SHARE * _feather(window)

    def resampled(values: Floats) -> Floats:
        smaller = window.width < values.shape[2]
        way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        size = (window.width, window.height)
        return np.asarray(cv2.resize(values[0], size, interpolation=way), np.float32)

    def mixed(here: Floats, there: Floats) -> Floats:
        result: Floats = here.copy()
        result[0][cells] += weight * (there - here[0][cells])
        return result

    second = resampled(near.inverse_depth)
    slope, shift = rising_line(second, first.inverse_depth[0][cells], weight)
    return FocusMaps(
        mixed(first.inverse_depth, slope * second + shift),
        mixed(first.mask, resampled(near.mask)),
        mixed(first.boundary, resampled(near.boundary)),
        first.confidence ** (1 - near_say) * near.confidence**near_say,
        first.metric,
    )


def _feather(window: Window) -> Floats:
    """Weight (h, w) of the second look in its window: 1, and down to 0 at sides inside the picture.

    At a side that is also the picture's it stays 1.
    """

    def ramp(start: int, length: int, limit: int) -> Floats:
        reach = FEATHER_SHARE * length
        places = np.arange(length) + 0.5
        from_start = places / reach if start > 0 else np.ones(length)
        from_end = places[::-1] / reach if start + length < limit else np.ones(length)
        return np.minimum(np.minimum(from_start, from_end), 1.0).astype(np.float32)

    down = ramp(window.top, window.height, window.grid[0])
    across = ramp(window.left, window.width, window.grid[1])
    return np.asarray(down[:, None] * across, np.float32)
