"""How one frame becomes training examples of the second look: a picture, and windows in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from focus_depth_ros.inference.window import MARGIN, Window, window_around
from focus_depth_ros.networks.compact import CompactShape
from focus_depth_ros.synthesis.sample import Sample
from focus_depth_ros.training.augmentation import Crop, apply_crop, degrade, draw_crop, whole_crop
from focus_depth_ros.training.draws import Draw, drawn
from focus_depth_ros.training.example import (
    PromptShares,
    Question,
    question,
    resized,
    truth_of,
)

MARGIN_SPREAD = 0.35
"""Largest change of the logarithm of `MARGIN`: boxes of detectors are loose or tight."""
OFF_CENTRE = 0.08
"""Largest distance of the box's middle from the window's, as a share of the window."""
TRIES = 8
"""Questions drawn before a picture counts as one that holds nothing to look at."""


class FoveaDataset(Dataset[dict[str, Any]]):
    """A draw -> the arrays of one picture and its windows (see `fovea_example`)."""

    def __init__(
        self, shape: CompactShape, windows: int, shares: PromptShares, augment: bool
    ) -> None:
        self.shape = shape
        self.windows = windows
        self.shares = shares
        self.augment = augment

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        sample, rng = drawn(draw)
        return fovea_example(sample, self.shape, rng, self.windows, self.shares, self.augment)


def fovea_example(
    sample: Sample,
    shape: CompactShape,
    rng: np.random.Generator,
    windows: int,
    shares: PromptShares,
    augment: bool,
) -> dict[str, Any]:
    """Arrays of one picture with P windows, each with one question; h, w is the stride-2 grid.

    picture uint8 (2 h, 2 w, 3), the whole; box float32 (P, 4) and words int32 (P, 12), the first
    look's prompts; near uint8 (P, 2 h, 2 w, 3), the windows; window float32 (P, 4) xyxy / picture
    size; near_box float32 (P, 4) in shares of the window. The truth in each window, as in
    `example`: disparity, objects, boundary, words_at, mask, each (P, ...); kind int64 (P,).
    """
    height, width = sample.ids.shape
    seen = apply_crop(
        sample, draw_crop(width, height, rng) if augment else whole_crop(width, height)
    )
    if augment:
        seen = replace(seen, rgb=degrade(seen.rgb, rng))
    asked = [_question(seen, shape, rng, shares) for _ in range(windows)]
    rows = [_window(seen, shape, one, rng) for one in asked]
    return {
        'picture': resized(seen.rgb, shape.grid(1)),
        'box': np.stack([one.box if not any(one.words) else 0 * one.box for one in asked]),
        'words': np.array([one.words for one in asked], np.int32),
        'kind': np.array([one.kind for one in asked], np.int64),
        **{name: np.stack([row[name] for row in rows]) for name in rows[0]},
    }


def _question(
    seen: Sample, shape: CompactShape, rng: np.random.Generator, shares: PromptShares
) -> Question:
    """One with a box for the window to be laid round; words get theirs from the first look."""
    for _ in range(TRIES):
        one = question(seen, shape.grid(2), rng, replace(shares, box_of_text=1.0))
        if one.box.any():
            return one
    return replace(one, box=np.array([0.25, 0.25, 0.75, 0.75], np.float32))


def _window(
    seen: Sample, shape: CompactShape, asked: Question, rng: np.random.Generator
) -> dict[str, Any]:
    window = _window_around(asked.box, seen.ids.shape[1], seen.ids.shape[0], rng)
    crop = Crop(window.left, window.top, window.width, window.height, mirrored=False)
    near = apply_crop(seen, crop)
    inside = (near.ids == asked.about) if asked.about else np.zeros(near.ids.shape, np.bool_)
    return {
        'near': resized(near.rgb, shape.grid(1)),
        'window': window.in_picture(),
        'near_box': window.of(asked.box),
        'mask': resized(inside.astype(np.float32), shape.grid(2)),
        **truth_of(near, shape),
    }


def _window_around(
    box: NDArray[np.float32], width: int, height: int, rng: np.random.Generator
) -> Window:
    """A window about the box, in whole pixels; all of the picture for what nearly fills it."""
    margin = MARGIN * float(np.exp(rng.uniform(-MARGIN_SPREAD, MARGIN_SPREAD)))
    off = rng.uniform(-OFF_CENTRE, OFF_CENTRE, 2) * margin * (box[2:] - box[:2]).max()
    grid = (height, width)
    whole = Window(0, 0, width, height, grid)
    return window_around(box + np.tile(off, 2), grid, margin) or whole
