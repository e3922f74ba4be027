"""Looks in the mirror: what is asked there, and how two answers become one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from focus_depth_ros.core import Target
from focus_depth_ros.inference.clip_bpe import ClipBytePairs
from focus_depth_ros.inference.focus_model import FocusMaps
from focus_depth_ros.pipeline import looks
from focus_depth_ros.pipeline.looks import averaged, look
from focus_depth_ros.pipeline.prompts import ClipPromptEncoder, PromptEncoder
from focus_depth_ros.pipeline.settings import Settings

ENCODER = PromptEncoder(('', '?', 'the', 'left', 'right', 'mug', 'of', 'box'), 6)
SAID = Target('1', 'x', text='the left mug right of the box')
BOX = Target('2', 'x', box=(10.0, 20.0, 50.0, 80.0))
MIRROR = Settings(mirror=True)


def maps_of(picture: np.ndarray, boxes: np.ndarray) -> FocusMaps:
    """What a network that cannot be fooled says of a picture whose pixels are its depth."""
    rows, (height, width) = len(boxes), picture.shape[:2]
    depth = np.tile(picture[..., 0].astype(np.float32), (rows, 1, 1))
    mask = np.zeros((rows, height, width), np.float32)
    for row, (x0, y0, x1, y1) in enumerate(boxes):
        mask[
            row, round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)
        ] = 1
    return FocusMaps(depth, mask, depth / 255, np.ones(rows, np.float32), np.ones((rows, 2), 'f4'))


class Honest:
    """A model with nothing to say but `maps_of`; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def encode(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def focus(self, features: np.ndarray, boxes: np.ndarray, words: np.ndarray) -> FocusMaps:
        self.asked.append(words)
        return maps_of(features, boxes)


def test_an_honest_answer_is_the_same_with_the_mirror() -> None:
    model = Honest()
    rgb = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    prompts = ENCODER.encode([BOX, SAID], 100, 100)
    once, both = (
        look(model, ENCODER, rgb, rgb, prompts, settings)  # type: ignore[arg-type]
        for settings in (Settings(), MIRROR)
    )
    assert len(model.asked) == 3
    for name in ('inverse_depth', 'mask', 'boundary', 'confidence', 'metric'):
        assert np.allclose(getattr(once, name), getattr(both, name), atol=1e-3), name
        assert getattr(both, name).dtype == np.float32


def test_the_second_look_in_the_mirror_sees_the_mirrored_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[np.ndarray] = []

    def remembers(model: object, rgb: np.ndarray, *given: FocusMaps) -> FocusMaps:
        seen.append(rgb)
        return given[3]

    monkeypatch.setattr(looks, 'look_again', remembers)
    rgb = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    prompts = ENCODER.encode([BOX], 100, 100)
    twice = Settings(fovea=True, mirror=True)
    look(Honest(), ENCODER, rgb, rgb, prompts, twice)  # type: ignore[arg-type]
    assert np.array_equal(seen[0], rgb)
    assert np.array_equal(seen[1], rgb[:, ::-1])


def test_left_and_right_change_places_in_the_mirror() -> None:
    prompts = ENCODER.encode([SAID, BOX], 100, 100)
    boxes, words = ENCODER.mirrored(prompts)
    wanted = ENCODER.encode([Target('1', 'x', text='the right mug left of the box')], 100, 100)[1]
    assert words[0].tolist() == wanted[0].tolist() != prompts[1][0].tolist()
    assert words.dtype == np.int32
    assert not boxes[0].any() and not words[1].any()
    assert boxes[1].tolist() == pytest.approx([0.5, 0.2, 0.9, 0.8])
    there_and_back = ENCODER.mirrored((boxes, words))
    assert np.allclose(there_and_back[0], prompts[0])
    assert (there_and_back[1] == prompts[1]).all()


def test_a_model_that_knows_no_sides_is_asked_the_same_words() -> None:
    encoder = PromptEncoder(('', '?', 'left', 'mug'), 4)
    prompts = encoder.encode([Target('1', 'x', text='left mug')], 100, 100)
    assert (encoder.mirrored(prompts)[1] == prompts[1]).all()


def test_byte_pairs_change_places_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    merges = tmp_path_factory.mktemp('words') / 'merges.txt'
    lines = ['l e', 'f t</w>', 'le ft</w>', 'r i', 'g h', 'ri gh', 'righ t</w>', 'm u', 'mu g</w>']
    lines += ['f t', 'le ft', 'righ t', 'm o', 's t</w>', 'mo st</w>']
    merges.write_text('\n'.join(['#version: 0.2', *lines, '']), encoding='utf-8')
    encoder = ClipPromptEncoder(ClipBytePairs(merges), 8)
    asked, wanted = (
        encoder.encode([Target('1', 'x', text=text)], 100, 100)
        for text in ('left mug', 'right mug')
    )
    assert (encoder.mirrored(asked)[1] == wanted[1]).all()
    assert (asked[1] != wanted[1]).any()
    asked, wanted = (
        encoder.encode([Target('1', 'x', text=f'{side}most mug')], 100, 100)
        for side in ('left', 'right')
    )
    assert (encoder.mirrored(asked)[1] == wanted[1]).all()


def test_the_surer_of_two_answers_counts_and_depth_keeps_the_first_scale() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 2, (1, 8, 8)).astype(np.float32)
    here, there = np.zeros((2, 1, 8, 8), np.float32)
    here[0, :4], there[0, 4:] = 1, 1
    metric = np.ones((1, 2), np.float32)
    sure = FocusMaps(depth, here, here, np.array([0.9], np.float32), metric)
    unsure = FocusMaps(5 * depth - 2, there, there, np.array([0.1], np.float32), 3 * metric)
    one, other = averaged(sure, unsure), averaged(unsure, sure)
    assert ((one.mask > 0.5) == (here > 0.5)).all()
    assert ((other.mask > 0.5) == (here > 0.5)).all()
    assert np.allclose(one.inverse_depth, depth, atol=1e-5)
    assert np.allclose(other.inverse_depth, 5 * depth - 2, atol=1e-4)
    assert one.confidence == pytest.approx(0.3)
    nothing = replace(sure, confidence=np.zeros(1, np.float32))
    agreeing = replace(nothing, mask=np.where(here > 0, 0.6, 0.2).astype(np.float32))
    neither = averaged(nothing, agreeing)
    assert np.allclose(neither.mask, (here + agreeing.mask) / 2)


def test_two_things_found_are_not_none() -> None:
    here, there = np.zeros((2, 1, 8, 8), np.float32)
    here[0, :4], there[0, 4:] = 0.9, 0.9
    depth, metric = np.ones((1, 8, 8), np.float32), np.ones((1, 2), np.float32)
    one = FocusMaps(depth, here, here, np.array([0.60], np.float32), metric)
    other = FocusMaps(depth, there, there, np.array([0.55], np.float32), metric)
    for both in (averaged(one, other), averaged(other, one)):
        assert (both.mask == here).all()
        assert (both.boundary == here).all()


def test_metres_of_two_looks_are_the_mean_of_both() -> None:
    depth = np.random.default_rng(0).uniform(1, 2, (1, 8, 8)).astype(np.float32)
    sure = np.ones(1, np.float32)
    one = FocusMaps(depth, depth, depth, sure, np.array([[0.2, 1.0]], np.float32))
    same = replace(one, inverse_depth=5 * depth - 2, metric=np.array([[0.04, 1.08]], np.float32))
    farther = replace(same, metric=same.metric / 2)

    def metric(maps: FocusMaps) -> np.ndarray:
        return maps.metric[0, 0] * maps.inverse_depth + maps.metric[0, 1]

    assert np.allclose(metric(averaged(one, same)), metric(one), atol=1e-5)
    assert np.allclose(metric(averaged(one, farther)), 0.75 * metric(one), atol=1e-5)
    flat = replace(same, inverse_depth=np.ones_like(depth))
    assert np.allclose(averaged(one, flat).metric, one.metric)
    unscaled = replace(one, metric=np.zeros((1, 2), np.float32))
    assert not averaged(unscaled, unscaled).metric.any()


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('the red mug', False),
        ('the mug left of the box', True),
        ('the left mug', True),
        ('the mug right', True),
    ],
)
def test_words_of_places_are_told_from_words_of_things(text: str, says: bool) -> None:
    box = Target('b', '', box=(10.0, 10.0, 40.0, 40.0))
    prompts = ENCODER.encode([Target('a', '', text=text), box], 100, 100)
    assert ENCODER.says_where(prompts).tolist() == [says, False]
