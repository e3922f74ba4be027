"""The second look: where it looks, and how both looks become one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_depth_ros.core import Camera, Frame, Target
from focus_depth_ros.inference.focus_model import Features, FocusMaps, FocusModel, NearLook
from focus_depth_ros.inference.window import Window, window_around
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline
from focus_depth_ros.pipeline.fovea import (
    FINER,
    NEAR_SAY,
    NEAR_SAY_OF_PLACES,
    NEAR_SHARE,
    _feather,
    _folded,
    look_again,
)
from focus_depth_ros.pipeline.prompts import prompt_encoder
from focus_depth_ros.pipeline.region import box_of
from focus_depth_ros.pipeline.settings import Settings

GRID = (168, 224)
RGB = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
NOWHERE = np.zeros(1, np.bool_)
"""Of a question that says nothing of places."""


@pytest.fixture(scope='module')
def model(tiny_model: Path) -> Iterator[FocusModel]:
    loaded = FocusModel(tiny_model, 'onnxruntime')
    yield loaded
    loaded.close()


Prompts = tuple[np.ndarray, np.ndarray]


def first_look(model: FocusModel, *targets: Target) -> tuple[Features, Prompts, FocusMaps]:
    prompts = prompt_encoder(model.folder).encode(targets, 640, 480)
    picture = FocusPipeline(model).picture(Frame(RGB))
    features = model.encode(picture)
    return features, prompts, model.focus(features, *prompts)


def test_a_window_holds_the_box_with_a_margin_and_stays_in_the_picture() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        low = rng.uniform(0, 0.7, 2)
        box = np.concatenate([low, low + rng.uniform(0.02, 0.28, 2)]).astype(np.float32)
        window = window_around(box, GRID)
        assert window is not None
        assert 0 <= window.left <= GRID[1] - window.width
        assert 0 <= window.top <= GRID[0] - window.height
        assert window.width / GRID[1] == pytest.approx(window.height / GRID[0], abs=0.01)
        inside = window.of(box)
        assert (inside[2:] - inside[:2]).max() < 1 / 1.7
        corner = [window.left, window.top] * 2
        back = inside * ([window.width, window.height] * 2) + corner
        assert back == pytest.approx(box * ([GRID[1], GRID[0]] * 2), abs=0.01)
    smallest = window_around(np.array([0.5, 0.5, 0.52, 0.52], np.float32), GRID)
    assert smallest is not None
    assert (smallest.width, smallest.height) == (67, 50)  # 0.3 of the sides
    assert window_around(np.array([0.1, 0.1, 0.7, 0.3], np.float32), GRID) is None
    assert window_around(np.zeros(4, np.float32), GRID) is None


def test_a_window_cuts_what_its_coordinates_say() -> None:
    window = Window(left=56, top=42, width=112, height=84, grid=GRID)
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[200:300, 240:400] = 255
    box = np.array([240 / 640, 200 / 480, 400 / 640, 300 / 480], np.float32)
    cut = window.cut(picture)
    assert cut.shape == (240, 320, 3)
    x0, y0, x1, y1 = np.rint(window.of(box) * [320, 240, 320, 240]).astype(int)
    assert (cut[y0:y1, x0:x1] == 255).all()
    assert cut.sum() == picture.sum()


def test_the_box_of_a_mask_is_tight() -> None:
    inside = np.zeros((84, 112), np.bool_)
    assert not box_of(inside).any()
    inside[21:42, 28:56] = True
    assert box_of(inside).tolist() == [0.25, 0.25, 0.5, 0.5]


def test_another_scale_and_shift_of_the_second_look_change_nothing() -> None:
    rng = np.random.default_rng(2)
    depth = rng.normal(0, 1, (1, *GRID)).astype(np.float32)
    window = Window(40, 30, 112, 84, GRID)
    values = np.full((1, *GRID), 0.25, np.float32)
    first = FocusMaps(depth, values, values, np.array([0.8]), np.array([[0.3, 0.4]]))
    cut = depth[:, window.cells[0], window.cells[1]]
    near = FocusMaps(
        0.5 * cut - 3,
        np.full_like(cut, 0.75),
        np.full_like(cut, 0.25),
        np.array([0.6]),
        np.array([[9.0, 9.0]]),
    )
    both = _folded(first, near, window, NEAR_SAY)
    assert both.inverse_depth == pytest.approx(depth, abs=1e-4)
    assert both.metric is first.metric
    assert both.confidence[0] == pytest.approx(0.8 ** (1 - NEAR_SAY) * 0.6**NEAR_SAY)
    middle = both.mask[0, 30 + 42, 40 + 56]
    assert middle == pytest.approx(0.25 + NEAR_SHARE * 0.5)
    outside = np.ones(GRID, np.bool_)
    outside[window.cells] = False
    assert (both.mask[0][outside] == 0.25).all()
    steps = np.abs(np.diff(both.mask[0], axis=1)).max()
    assert steps < 0.02  # no seam


def test_a_second_look_inside_out_is_not_believed() -> None:
    ramp = np.tile(np.linspace(0, 1, GRID[1], dtype=np.float32), (GRID[0], 1))[None]
    first = FocusMaps(ramp, ramp, ramp, np.ones(1, np.float32), np.ones((1, 2), np.float32))
    window = Window(60, 40, 112, 84, GRID)
    near = FocusMaps(-ramp, ramp, ramp, np.ones(1, np.float32), np.ones((1, 2), np.float32))
    both = _folded(first, near, window, NEAR_SAY).inverse_depth[0]
    assert (np.diff(both, axis=1)[84, 80:150] > 0).all()


def test_the_second_look_does_not_fade_at_the_pictures_own_sides() -> None:
    weight = _feather(Window(0, 20, 100, 80, GRID))
    assert weight[40, 0] == 1
    assert weight[40, -1] < 0.1
    assert weight[0, 50] < 0.1


def test_the_second_look_fades_at_its_own_sides_only_within_the_picture() -> None:
    weight = _feather(Window(56, 84, 112, 84, GRID))  # ends at the lower side, not at the right
    assert weight[-1, 56] == 1 and weight[0, 56] < 0.1
    assert weight[42, -1] < 0.1 and weight[42, 0] < 0.1


def test_boundaries_of_two_looks_are_joined_as_masks_are() -> None:
    def maps(depth: np.ndarray, mask: float, boundary: float) -> FocusMaps:
        one = np.ones_like(depth)
        return FocusMaps(depth, mask * one, boundary * one, np.ones(1), np.ones((1, 2)))

    depth = np.random.default_rng(0).normal(size=(1, 168, 224)).astype(np.float32)
    near = maps(depth[:, :84, :112], 0.9, 0.5)
    both = _folded(maps(depth, 0.2, 0.1), near, Window(40, 30, 112, 84, GRID), NEAR_SAY)
    assert both.boundary[0, 72, 96] == pytest.approx(0.1 + NEAR_SHARE * 0.4)


@pytest.mark.parametrize('enlarged', [False, True])
def test_a_second_look_is_brought_to_its_window_without_blocks(enlarged: bool) -> None:
    """Stripes of one cell become their mean, a ramp of fewer cells a finer ramp."""
    stripes = np.tile(np.arange(224, dtype=np.float32) % 2, (168, 1))[None]
    ramp = np.tile(np.arange(56, dtype=np.float32) / 56, (42, 1))[None]
    seen, blank, sure = ramp if enlarged else stripes, np.zeros((1, *GRID), np.float32), np.ones(1)
    first = FocusMaps(blank, blank, blank, sure, np.ones((1, 2)))
    near = FocusMaps(seen, seen, seen, sure, np.ones((1, 2)))
    row = _folded(first, near, Window(40, 30, 112, 84, GRID), NEAR_SAY).mask[0, 72, 70:120]
    if enlarged:
        assert np.diff(row) == pytest.approx(np.full(49, NEAR_SHARE / 112), abs=1e-5)
    else:
        assert row == pytest.approx(np.full(50, NEAR_SHARE / 2))


def test_two_looks_agree_where_one_was_right(model: FocusModel) -> None:
    box = (200.0, 160.0, 330.0, 280.0)
    features, prompts, first = first_look(model, Target('a', '', box=box))
    both = look_again(model, RGB, features, prompts, NOWHERE, first, 0.3)
    assert both.mask.shape == (1, FINER * 84, FINER * 112)
    coarse = first.mask[0].repeat(FINER, 0).repeat(FINER, 1) > 0.5
    assert np.count_nonzero((both.mask[0] > 0.5) ^ coarse) < 0.05 * np.count_nonzero(coarse)
    assert np.array_equal(both.metric, first.metric)


def test_words_that_were_not_found_are_not_looked_for_again(model: FocusModel) -> None:
    targets = (Target('a', '', text='missing'), Target('b', '', text='the mug'))
    features, prompts, first = first_look(model, *targets)
    calls = []

    class Counting:
        folder = model.folder
        held = staticmethod(model.held)

        @staticmethod
        def look_near(held: Features, look: NearLook) -> FocusMaps:
            calls.append(look.picture.shape)
            return model.look_near(held, look)

    both = look_again(Counting(), RGB, features, prompts, NOWHERE.repeat(2), first, 0.3)  # type: ignore[arg-type]
    assert calls == [(168, 224, 3)]
    assert first.confidence[0] == both.confidence[0] == 0
    assert both.confidence[1] > first.confidence[1]  # sure of it from near


class ColourBlind:
    """Answers the window's mean brightness as confidence, and that all of it is the target."""

    def __init__(self, model: FocusModel) -> None:
        self.folder = model.folder
        self.boxes: list[np.ndarray] = []

    def held(self, features: Features) -> Features:
        return features

    def look_near(self, held: Features, look: NearLook) -> FocusMaps:
        assert look.words.any()
        self.boxes.append(look.box)
        maps = np.ones((1, 84, 112), np.float32)
        confidence = np.array([look.picture.mean() / 255], np.float32)
        return FocusMaps(maps, maps, maps, confidence, np.ones((1, 2), np.float32))


def test_of_several_parts_the_one_that_words_fit_best_is_the_target(model: FocusModel) -> None:
    mask = np.zeros((1, 84, 112), np.float32)
    mask[0, 10:20, 10:20] = mask[0, 60:70, 90:100] = 0.9
    mask[0, 40, 50] = 0.9  # a speck
    ramp = np.tile(np.linspace(0, 1, 112, dtype=np.float32), (84, 1))[None]
    first = FocusMaps(ramp, mask, mask, np.full(1, 0.4, np.float32), np.ones((1, 2), np.float32))
    features, prompts, _ = first_look(model, Target('a', '', text='the mug'))
    for bright, (row, column) in (((0, 0), (15, 15)), ((1, 1), (65, 95))):
        picture = np.zeros((480, 640, 3), np.uint8)
        down, across = bright
        picture[240 * down : 240 * down + 240, 320 * across : 320 * across + 320] = 255
        blind = ColourBlind(model)
        both = look_again(blind, picture, features, prompts, NOWHERE, first, 0.3)  # type: ignore[arg-type]
        assert len(blind.boxes) == 2
        assert all(0.2 < (box[0, 2] - box[0, 0]) < 0.9 for box in blind.boxes)
        there = both.mask[0] > 0.5
        assert there[2 * row, 2 * column]
        assert not there[2 * (79 - row), 2 * (109 - column)]
        assert not there[80, 100]


def test_the_largest_four_of_many_parts_are_looked_at(model: FocusModel) -> None:
    mask = np.zeros((1, 84, 112), np.float32)
    for left in range(6):
        mask[0, 40:50, 16 * left : 16 * left + 10] = 0.9
    features, prompts, first = first_look(model, Target('a', '', text='the mug'))
    said, blind = replace(first, mask=mask), ColourBlind(model)
    look_again(blind, RGB, features, prompts, NOWHERE, said, 0.3)  # type: ignore[arg-type]
    assert len(blind.boxes) == 4


def test_words_without_a_mask_stay_with_their_first_look(model: FocusModel) -> None:
    features, prompts, first = first_look(model, Target('a', '', text='the mug'))
    said = replace(first, mask=np.zeros_like(first.mask))
    assert said.confidence[0] >= 0.5
    both = look_again(model, RGB, features, prompts, NOWHERE, said, 0.3)
    assert np.array_equal(both.inverse_depth[0], cv2.resize(first.inverse_depth[0], (224, 168)))
    assert not both.mask.any() and both.confidence[0] == first.confidence[0]


@pytest.mark.parametrize(
    ('confidence', 'min_confidence', 'looks'),
    [(0.25, 0.3, 1), (0.06, 0.3, 1), (0.04, 0.3, 0), (0.04, 0.03, 1)],
)
def test_words_that_may_be_there_are_looked_at_again(
    model: FocusModel, confidence: float, min_confidence: float, looks: int
) -> None:
    features, prompts, first = first_look(model, Target('a', '', text='the mug'))
    said = replace(first, confidence=np.full(1, confidence, np.float32))
    blind = ColourBlind(model)
    look_again(blind, RGB, features, prompts, NOWHERE, said, min_confidence)  # type: ignore[arg-type]
    assert len(blind.boxes) == looks


def test_words_of_places_trust_the_first_look_more(model: FocusModel) -> None:
    features, prompts, first = first_look(model, Target('a', '', text='the mug'))
    said = replace(first, confidence=np.full(1, 0.4, np.float32))
    asked = (ColourBlind(model), np.full_like(RGB, 255), features, prompts)  # sure from near
    wary = look_again(*asked, ~NOWHERE, said, 0.3)  # type: ignore[arg-type]
    bold = look_again(*asked, NOWHERE, said, 0.3)  # type: ignore[arg-type]
    assert wary.confidence[0] == pytest.approx(0.4 ** (1 - NEAR_SAY_OF_PLACES))
    assert bold.confidence[0] == pytest.approx(0.4 ** (1 - NEAR_SAY))
    assert np.array_equal(wary.mask, bold.mask)


def test_an_empty_prompt_stays_with_its_first_look(model: FocusModel) -> None:
    features, prompts, first = first_look(model)
    first = replace(first, confidence=np.ones(1, np.float32))
    both = look_again(model, RGB, features, prompts, NOWHERE, first, 0.3)
    finer = cv2.resize(first.inverse_depth[0], (224, 168))
    assert np.array_equal(both.inverse_depth[0], finer)


def test_the_pipeline_looks_twice_when_asked(model: FocusModel) -> None:
    frame = Frame(RGB, Camera(640, 480, 600.0, 600.0, 319.5, 239.5))
    target = Target('a', '', box=(200.0, 160.0, 330.0, 280.0))
    once = FocusPipeline(model)(frame, [target])
    twice = FocusPipeline(model, Settings(fovea=True))(frame, [target])
    assert twice.targets[0].found
    assert twice.targets[0].layers.mask.shape == (168, 224)
    agreement = (once.targets[0].mask & twice.targets[0].mask).sum()
    assert agreement > 0.95 * (once.targets[0].mask | twice.targets[0].mask).sum()
    assert FocusPipeline(model, Settings(fovea=True))(frame).targets == ()


class TestFovea:
    """A model with a graph of its own for the second look."""

    @pytest.fixture
    def fovea(self, compact_model: Path) -> Iterator[FocusModel]:
        loaded = FocusModel(compact_model, 'onnxruntime', precision='fp32')
        yield loaded
        loaded.close()

    def look(self, fovea: FocusModel, seed: int = 0) -> tuple[Features, NearLook]:
        rng = np.random.default_rng(seed)
        whole, near = rng.integers(0, 255, (2, 56, 88, 3), np.uint8)
        look = NearLook(
            picture=near,
            window=np.array([[0.25, 0.25, 0.75, 0.75]], np.float32),
            first=rng.random((1, 2, 28, 44), np.float32),
            box=np.array([[0.2, 0.3, 0.7, 0.8]], np.float32),
            words=np.zeros((1, 8), np.int32),
        )
        return fovea.encode(whole), look

    def test_it_hears_of_the_whole_picture_and_of_the_first_look(self, fovea: FocusModel) -> None:
        features, look = self.look(fovea)
        held = fovea.held(features)
        assert set(held.values) == {'stride4', 'stride8', 'stride16', 'stride32'}
        answer = fovea.look_near(held, look)
        assert answer.mask.shape == (1, 28, 44)
        again = fovea.look_near(held, look)
        assert np.array_equal(answer.mask, again.mask)
        others, _ = self.look(fovea, seed=1)
        assert not np.array_equal(answer.mask, fovea.look_near(fovea.held(others), look).mask)
        flipped = replace(look, first=look.first[..., ::-1].copy())
        assert not np.array_equal(answer.mask, fovea.look_near(held, flipped).mask)

    def test_the_pipeline_takes_it(self, fovea: FocusModel) -> None:
        seen: list[NearLook] = []
        look_near = fovea.look_near

        def watched(held: Features, look: NearLook) -> FocusMaps:
            seen.append(look)
            return look_near(held, look)

        fovea.look_near = watched  # type: ignore[method-assign]
        target = Target('a', '', box=(200.0, 160.0, 330.0, 280.0))
        _, _, first = first_look(fovea, target)
        FocusPipeline(fovea, Settings(fovea=True))(Frame(RGB), [target])
        (look,) = seen
        assert np.array_equal(look.first[0, 0], first.inverse_depth[0])
        assert np.array_equal(look.first[0, 1], first.mask[0])
        x0, y0, x1, y1 = look.window[0]
        assert x0 < 200 / 640 and x1 > 330 / 640 and y0 < 160 / 480 and y1 > 280 / 480
