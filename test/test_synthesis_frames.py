"""What is said of rendered frames, held against the pixels that they show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from focus_depth_ros.synthesis import frames
from focus_depth_ros.synthesis.captions import nouns
from focus_depth_ros.synthesis.renderer import Renderer
from focus_depth_ros.synthesis.sample import Sample
from focus_depth_ros.synthesis.seen_colours import OTHER_SHARE, OWN_SHARE, colour_shares
from focus_depth_ros.synthesis.stock import Stock
from focus_depth_ros.synthesis.vocabulary import COLOURS

Spoken = list[tuple[Sample, dict[int, dict[str, float]]]]


@pytest.fixture(scope='module', params=['shiny', 'tote'])
def spoken(request: pytest.FixtureRequest, renderer: Renderer) -> Spoken:
    """Frames of one theme, with the share of each colour that their objects show."""
    shares: list[dict[int, dict[str, float]]] = []

    def noted(scene: Any, ids: Any, unlit: Any, *rest: Any) -> frames.Spoken:
        shares.append(colour_shares(unlit, ids, [n for n in np.unique(ids) if n]))
        return describe(scene, ids, unlit, *rest)

    describe = frames.describe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, 'describe', noted)
        drawn = [
            sample
            for scene in range(2)
            for sample in frames.scene_frames(renderer, Stock('test'), 3, scene, request.param)
        ]
    return list(zip(drawn, shares, strict=True))


def test_a_caption_names_a_colour_that_shows(spoken: Spoken) -> None:
    asked = 0
    for sample, shares in spoken:
        for item in sample.objects:
            for caption in item.captions:
                for colour in set(caption.split()) & set(COLOURS):
                    asked += 1
                    assert shares[item.id].get(colour, 0) >= OWN_SHARE, caption
    assert asked > 10


def test_nothing_is_called_absent_that_may_be_seen(spoken: Spoken) -> None:
    for sample, shares in spoken:
        for caption in sample.absent_captions:
            *colour, noun = caption.removeprefix('the ').split()
            for item in sample.objects:
                shown = shares[item.id].get(colour[0], 0) if colour else 1.0
                assert noun not in nouns(item.class_name) or shown < OTHER_SHARE, caption


def test_the_tote_is_no_box_that_anyone_means(spoken: Spoken) -> None:
    for sample, _ in spoken:
        if sample.theme == 'tote':
            said = [*sample.absent_captions, *sample.absent_relation_captions]
            for item in sample.objects:
                said += item.captions + [row.caption for row in item.relation_captions]
            assert said and not any('box' in caption.split() for caption in said)
