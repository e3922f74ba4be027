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
LEAST_OVERLAP = 0.3
"""IoU of two masks under which they are of different things, and their mean would be of none."""


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
    says_where = encoder.says_where(prompts)
    maps = _looks(model, rgb, small, prompts, says_where, settings)
    if not settings.mirror:
        return maps
    mirrored = encoder.mirrored(prompts)
    again = _looks(model, _in_mirror(rgb), _in_mirror(small), mirrored, says_where, settings)
    return averaged(maps, _maps_flipped(again))


def _looks(
    model: FocusModel,
    rgb: Picture,
    small: Picture,
    prompts: Prompts,
    says_where: NDArray[np.bool_],
    settings: Settings,
) -> FocusMaps:
    features = model.encode(small)
    maps = model.focus(features, *prompts)
    if not settings.fovea:
        return maps
    return look_again(model, rgb, features, prompts, says_where, maps, settings.min_confidence)


def averaged(first: FocusMaps, second: FocusMaps) -> FocusMaps:
    """Two answers (T, h, w) to the same questions in one, in the first one's scale of depth.

    The surer of two weighs more; where they found different things, mask and boundary are the
    surer one's. The confidence is the geometric mean, metres are the mean of both.
    """
    say = first.confidence + LEAST_SAY
    share = np.asarray(say / (say + second.confidence + LEAST_SAY), np.float32)
    found_other = _overlap(first.mask > 0.5, second.mask > 0.5) < LEAST_OVERLAP
    whose = np.where(found_other, np.round(share), share)
    depth, metric = [], []
    for row, weight in enumerate(share):
        to_first = rising_line(second.inverse_depth[row], first.inverse_depth[row])
        brought = to_first[0] * second.inverse_depth[row] + to_first[1]
        depth.append(weight * first.inverse_depth[row] + (1 - weight) * brought)
        metric.append(_mean_metres(first.metric[row], second.metric[row], *to_first))
    return FocusMaps(
        np.asarray(depth, np.float32),
        _mixed(first.mask, second.mask, whose),
        _mixed(first.boundary, second.boundary, whose),
        np.sqrt(first.confidence * second.confidence),
        np.asarray(metric, np.float32),
    )


def _mean_metres(first: Floats, second: Floats, slope: float, shift: float) -> Floats:
    """The mean of two scales to 1/m (2,), for depth in the first one's scale.

    `slope` and `shift` bring the second one's depth there. A flat one says nothing of metres.
    """
    if slope == 0:
        return first
    brought = np.array([second[0] / slope, second[1] - second[0] * shift / slope])
    return np.asarray((first + brought) / 2, np.float32)


def _mixed(first: Floats, second: Floats, share: Floats) -> Floats:
    weight = share[:, None, None]
    return np.asarray(weight * first + (1 - weight) * second, np.float32)


def _overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU (T,) of masks (T, h, w); 1 where both are empty."""
    both, either = (first & second).sum((1, 2)), (first | second).sum((1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def _in_mirror(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, ::-1])


def _maps_flipped(maps: FocusMaps) -> FocusMaps:
    return replace(
        maps,
        inverse_depth=maps.inverse_depth[..., ::-1],
        mask=maps.mask[..., ::-1],
        boundary=maps.boundary[..., ::-1],
    )
