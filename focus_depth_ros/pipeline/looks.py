"""All looks at one picture: at the whole, at each target from near, and both in the mirror too.

In the mirror everything is asked again of the flipped picture, and the answers, flipped back, are
averaged with those of the picture itself: errors differ between the two, what is right stays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.inference.focus_model import FocusMaps, FocusModel
from focus_depth_ros.pipeline.fovea import look_again
from focus_depth_ros.pipeline.prompts import PromptEncoder, Prompts
from focus_depth_ros.pipeline.scale import rising_line
from focus_depth_ros.pipeline.settings import Settings

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

LEAST_SAY = 1e-6
"""Of an answer without any confidence: where neither has any, both weigh the same."""


def look(
    model: FocusModel,
    encoder: PromptEncoder,
    rgb: Picture,
    small: Picture,
    prompts: Prompts,
    settings: Settings,
) -> FocusMaps:
    """Maps of what `prompts` ask of a picture, with all looks that `settings` name.

    `rgb` (H, W, 3) is the picture, `small` the same at the model's input size. Maps are on a grid
    twice as fine with a second look. Raises EngineError.
    """
    maps = _looks(model, rgb, small, prompts, settings)
    if not settings.mirror:
        return maps
    mirrored = encoder.mirrored(prompts)
    again = _looks(model, _in_mirror(rgb), _in_mirror(small), mirrored, settings)
    return averaged(maps, _maps_flipped(again))


def _looks(
    model: FocusModel, rgb: Picture, small: Picture, prompts: Prompts, settings: Settings
) -> FocusMaps:
    features = model.encode(small)
    maps = model.focus(features, *prompts)
    if not settings.fovea:
        return maps
    return look_again(model, rgb, features, prompts, maps, settings.min_confidence)


def averaged(first: FocusMaps, second: FocusMaps) -> FocusMaps:
    """Two answers (T, h, w) to the same questions in one.

    The surer of two weighs more, so that words for which both found different things do not end
    between them. The second depth is brought to the scale of the first; the confidence is the
    geometric mean; metres are the mean of both.
    """
    say = first.confidence + LEAST_SAY
    share = say / (say + second.confidence + LEAST_SAY)

    def mixed(one: Floats, other: Floats) -> Floats:
        weight = share[:, None, None]
        return np.asarray(weight * one + (1 - weight) * other, np.float32)

    return FocusMaps(
        mixed(first.inverse_depth, _brought_to(first.inverse_depth, second.inverse_depth)),
        mixed(first.mask, second.mask),
        mixed(first.boundary, second.boundary),
        np.sqrt(first.confidence * second.confidence),
        np.asarray((first.metric + second.metric) / 2, np.float32),
    )


def _brought_to(wanted: Floats, given: Floats) -> Floats:
    """Each of the maps given (T, h, w), with the scale and shift that fit the one wanted best."""
    rows = []
    for target, values in zip(wanted, given, strict=True):
        slope, shift = rising_line(values, target)
        rows.append(slope * values + shift)
    return np.asarray(rows, np.float32)


def _in_mirror(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, ::-1])


def _maps_flipped(maps: FocusMaps) -> FocusMaps:
    return replace(
        maps,
        inverse_depth=maps.inverse_depth[..., ::-1],
        mask=maps.mask[..., ::-1],
        boundary=maps.boundary[..., ::-1],
    )
