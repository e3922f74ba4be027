"""Parts of the pipeline: prompts, scale, layers, rays and clouds."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import CAMERA, noise

from focus_depth_ros.core import Camera, InvalidInput, Target
from focus_depth_ros.pipeline.cloud import (
    _rays_at,
    cell_rays,
    corner_bend_px,
    fill_cloud,
    pack_rgb,
    target_points,
    viewing_rays,
    write_ply,
)
from focus_depth_ros.pipeline.layers import (
    Layers,
    separate,
    upsample,
    upsample_mask,
)
from focus_depth_ros.pipeline.measured_shape import as_measured, measured_shape
from focus_depth_ros.pipeline.phrase import QUALITIES
from focus_depth_ros.pipeline.picture import stretch
from focus_depth_ros.pipeline.prompts import PromptEncoder
from focus_depth_ros.pipeline.result import TargetResult, composite, measure, to_depth
from focus_depth_ros.pipeline.scale import (
    RELATIVE,
    Scale,
    aligned,
    scale_from_model,
    scale_from_reference,
    scale_of_target,
    shared_scale,
)
from focus_depth_ros.synthesis.vocabulary import COLOURS, MATERIALS, SIZES


class TestPrompts:
    encoder = PromptEncoder(['<pad>', '<unknown>', 'the', 'red', 'mug'], 4)

    def test_known_and_unknown_words(self) -> None:
        words = self.encoder.read('The RED, mug-thing!')
        assert words.known == ('the', 'red', 'mug') and words.unknown == ('thing',)

    def test_words_beyond_what_is_read_are_said(self) -> None:
        words = self.encoder.read('the red red mug red mug')
        assert words.known == ('the', 'red', 'red', 'mug')
        assert words.remarks == 'too long, left out: red, mug'
        # what is read goes to the network as a text again, with every picture
        assert self.encoder.read(' '.join(words.known)).known == words.known
        assert self.encoder.read('the the the the mug').beyond == ()
        with pytest.raises(InvalidInput, match='at most 200'):
            self.encoder.read(150 * '\u0130')  # two characters in lower case

    @pytest.mark.parametrize(
        ('word', 'reading'),
        [
            ('mugs', 'mug'),
            ('boxes', 'box'),
            ('bottels', 'bottle'),
            ('botle', 'bottle'),
            ('screwdirverr', 'screwdriver'),
            ('gray', 'grey'),
            ('boot', ''),
            ('kettle', ''),
            ('rattle', ''),
            ('throttle', ''),
        ],
    )
    def test_forms_of_known_words_are_read_and_said(self, word: str, reading: str) -> None:
        things = ['mug', 'box', 'bottle', 'book', 'screwdriver']
        known = ['<pad>', '<unknown>', 'the', 'red', 'grey', *things]
        words = PromptEncoder(known, 4).read(f'the red {word}')
        if reading:
            assert words.known == ('the', 'red', reading) and words.unknown == ()
            assert words.remarks == f'{word} read as {reading}'
        else:
            assert words.unknown == (word,) and words.remarks.endswith(word)

    @pytest.mark.parametrize(
        ('text', 'caption'),
        [
            ('red mug', 'the red mug'),
            ('a red mug', 'the red mug'),
            ('the red mug', 'the red mug'),
            ('red mug left of box', 'the red mug left of the box'),
            ('mug in front of a red box', 'the mug in front of the red box'),
            ('mug behind the box', 'the mug behind the box'),
            ('the left mug', 'the left mug'),
        ],
    )
    def test_a_text_is_asked_as_captions_are_written(self, text: str, caption: str) -> None:
        words = ['the', 'a', 'red', 'mug', 'box', 'left', 'of', 'in', 'front', 'behind']
        encoder = PromptEncoder(['<pad>', '<unknown>', *words], 12)
        (row,) = encoder.encode([Target('a', 'a', text=text)], 64, 48)[1]
        assert [words[number - 2] for number in row if number] == caption.split()

    @pytest.mark.parametrize('text', ['', ' ,', 'the', 'foo', 'pad', 'x' * 201])
    def test_texts_without_meaning_are_refused(self, text: str) -> None:
        with pytest.raises(InvalidInput):
            self.encoder.read(text)

    @pytest.mark.parametrize(
        ('text', 'known', 'unanchored'),
        [
            ('mug to the left of the zebra', 'mug', 'left of'),
            ('the mug on a table', 'the mug', 'on'),
            ('the mug on the left', 'the mug on the left', ''),
            ('picture of a mug', 'a mug', ''),
            ('picture of a mug left of the zebra', 'a mug', 'left of'),
            ('red mug left of the red zebra', 'red mug left of the red', ''),
            ('zebra in the fridge', None, ''),
            ('mug left of', 'mug', 'left of'),
            ('mug in front of the', 'mug', 'in front of'),
            ('mug behind', 'mug behind', ''),
            ('red and mug', 'red mug', ''),
            ('zebra left of the mug', None, ''),
            ('what is on the mug', None, ''),
            ('left of', None, ''),
        ],
    )
    def test_a_place_needs_its_thing(self, text: str, known: str | None, unanchored: str) -> None:
        words = ['the', 'a', 'red', 'mug', 'left', 'of', 'in', 'on', 'behind', 'front']
        encoder = PromptEncoder(['<pad>', '<unknown>', *words], 12)
        if known is None:
            with pytest.raises(InvalidInput, match=r'says what to look at; .* knows: mug, red$'):
                encoder.read(text)
            return
        read = encoder.read(text)
        assert (read.text, ' '.join(read.unanchored)) == (known, unanchored)
        assert (f'left out with it: {unanchored}' in read.remarks) == bool(unanchored)

    @pytest.mark.parametrize(
        ('text', 'said'),
        [
            ('not the red mug', "'not' is not understood: say what to look at"),
            ('the mug and the red mug', "'mug' is one more thing"),
            ('a mug or red mug', "'mug' is one more thing"),
            ('mug, mugs', "'mugs' is one more thing"),
            ('the mug the red mug', "'mug' is one more thing"),
        ],
    )
    def test_what_would_mean_another_thing_is_refused(self, text: str, said: str) -> None:
        with pytest.raises(InvalidInput, match=said):
            self.encoder.read(text)

    @pytest.mark.parametrize(
        ('text', 'known', 'left_out'),
        [
            ('the mug next to the red box', 'the mug', 'red box'),
            ('the mug with a red box', 'the mug', 'red box'),
            ('the mug left to the box', 'the mug', 'left box'),
            ('the mug to the left of the box', 'the mug the left of the box', ''),
            ('the mug with a red lid on the box', 'the mug on the box', 'red'),
            ('the mug on the red box near the mug', 'the mug on the red box', 'mug'),
            ('the shiny red mug', 'the red mug', ''),
            ('the mug that is red', 'the mug red', ''),
            ('the red and white mug', 'the red white mug', ''),
            ('big, red mug', 'big red mug', ''),
            ('mug box', 'mug box', ''),
            ('the leftmost mug', 'the left mug', ''),
            ('the mug closest to the camera', 'the mug', ''),
        ],
    )
    def test_what_stands_beside_in_no_known_way_is_left_out(
        self, text: str, known: str, left_out: str
    ) -> None:
        words = ['the', 'a', 'red', 'white', 'big', 'mug', 'box', 'left', 'of', 'on']
        read = PromptEncoder(['<pad>', '<unknown>', *words], 12).read(text)
        assert (read.text, ' '.join(read.unanchored)) == (known, left_out)
        assert ',' not in read.unknown

    def test_what_was_read_is_read_the_same_again(self) -> None:
        """It goes to the network as a text, with every picture."""
        known = ['the', 'a', 'red', 'big', 'mug', 'box', 'left', 'of', 'on', 'in', 'front']
        encoder = PromptEncoder(['<pad>', '<unknown>', *known], 6)
        spoken = [*known, 'and', ',', 'zebra', 'next', 'to', 'that', 'is']
        rng = np.random.default_rng(0)
        read = 0
        for _ in range(2000):
            try:
                words = encoder.read(' '.join(rng.choice(spoken, rng.integers(1, 10))))
            except InvalidInput:
                continue
            read += 1
            assert encoder.read(words.text).known == words.known
        assert read > 500

    def test_qualities_are_those_that_scenes_have(self) -> None:
        assert {*SIZES, *COLOURS, *MATERIALS} == QUALITIES

    def test_boxes_and_words_become_rows(self) -> None:
        targets = [Target('a', 'a', box=(16, 12, 32, 48)), Target('b', 'b', text='red mug')]
        boxes, words = self.encoder.encode(targets, 64, 48)
        assert boxes.tolist() == [[0.25, 0.25, 0.5, 1.0], [0, 0, 0, 0]]
        assert words.tolist() == [[0, 0, 0, 0], [2, 3, 4, 0]]  # "the" is what captions begin with
        boxes, words = self.encoder.encode([], 64, 48)
        assert boxes.shape == (1, 4) and not boxes.any() and not words.any()


class TestScale:
    def test_answers_share_the_mean_of_their_metres(self) -> None:
        one = noise(40, 60).astype(np.float32) / 255 + 0.1
        maps = np.stack((one, 2 * one - 0.1, one))
        scales = [Scale('model', 1.0, 0.2), Scale('model', 1.0, 0.5), Scale('model', -1.0, 0.0)]
        # in the first one's map: 1/Z is x + .2, 2 (x + .2), and nothing that could be
        for weights, factor in (((0.8, 0.2, 0.9), 2**0.2), ((1, 0, 0), 1), ((0, 0, 0), 1)):
            shared = shared_scale(scales, maps, np.array(weights, np.float32), 0)
            assert (shared.source, shared.scale, shared.shift) == (
                'model', pytest.approx(factor, rel=1e-3), pytest.approx(0.2 * factor, rel=1e-3)
            )  # fmt: skip

    def test_an_answer_that_has_most_of_the_picture_nowhere_has_no_say(self) -> None:
        one = noise(40, 60).astype(np.float32) / 255 + 0.1
        scales = [Scale('model', 1.0, 0.0), Scale('model', 1.0, -0.8), Scale('model', 1.5, 0.0)]
        weights = np.array([0.5, 0.9, 0.5], np.float32)
        shared = shared_scale(scales, np.stack((one, one, one)), weights, 0)
        assert shared.scale == pytest.approx(1.5**0.5, rel=1e-3)

    def test_the_models_metres_follow_the_focal_length(self) -> None:
        metric = np.array([2.0, 0.5], np.float32)
        one = scale_from_model(metric, Camera(224, 168, 200, 200, 112, 84), (224, 168), 200.0)
        two = scale_from_model(metric, Camera(448, 336, 800, 800, 224, 168), (224, 168), 200.0)
        assert (one.scale, one.shift) == pytest.approx((2.0, 0.5))
        assert (two.scale, two.shift) == pytest.approx((1.0, 0.25))

    def test_a_wide_picture_is_seen_by_a_focal_length_of_each_axis(self) -> None:
        camera = Camera(1280, 720, 900.0, 900.0, 639.5, 359.5)
        scale = scale_from_model(np.array([2.0, 0.5], np.float32), camera, (288, 216), 200.0)
        focal_px = math.sqrt(900 * 288 / 1280 * 900 * 216 / 720)
        assert (scale.scale, scale.shift) == pytest.approx((400 / focal_px, 100 / focal_px))

    def test_a_reference_with_holes_and_outliers(self) -> None:
        rng = np.random.default_rng(1)
        inverse_depth = rng.uniform(0.5, 2.0, (84, 112)).astype(np.float32)
        reference = 1.0 / (0.7 * inverse_depth + 0.2)
        reference[rng.random(reference.shape) < 0.3] = np.nan
        reference[:8] = 0.3
        scale = scale_from_reference(inverse_depth, reference.astype(np.float32))
        assert scale is not None and scale.source == 'reference_depth'
        assert (scale.scale, scale.shift) == pytest.approx((0.7, 0.2), abs=0.01)

    @pytest.mark.parametrize(
        ('part', 'wrong_m'),
        [
            (np.s_[-51:], 65.535),  # nearest quarter: saturated millimetres
            (np.s_[:60], 0.2),  # farthest: a rig before the lens
            (np.s_[80:200, 30:180], 65.535),
        ],
    )
    def test_a_reference_that_saw_a_region_wrongly(self, part: object, wrong_m: float) -> None:
        rng = np.random.default_rng(0)
        ramp = np.linspace(0, 1, 216)[:, None] + rng.normal(0, 0.01, (216, 288))
        reference = 1.0 / (ramp + 0.5)
        reference[part] = wrong_m  # type: ignore[index]
        scale = scale_from_reference(ramp.astype(np.float32), reference.astype(np.float32))
        assert scale is not None
        assert (scale.scale, scale.shift) == pytest.approx((1.0, 0.5), abs=0.01)

    def test_useless_references(self) -> None:
        ramp = np.linspace(1, 2, 84 * 112, dtype=np.float32).reshape(84, 112)
        sparse = np.full_like(ramp, np.nan)
        sparse.flat[::120] = 1 / ramp.flat[::120]
        assert np.isfinite(sparse).sum() == 79
        assert scale_from_reference(ramp, sparse) is None
        assert scale_from_reference(ramp, np.full((84, 112), np.nan, np.float32)) is None
        assert scale_from_reference(ramp, ramp) is None  # farther where the map says nearer
        assert scale_from_reference(np.ones_like(ramp), ramp) is None
        assert scale_from_reference(ramp, 0.04 / ramp) is None  # nearer than cameras see

    def test_a_reference_of_something_else_is_no_scale(self) -> None:
        ramp = np.linspace(1, 2, 84 * 112, dtype=np.float32).reshape(84, 112)
        for seed in range(20):
            noise = np.random.default_rng(seed).uniform(0.1, 5, ramp.shape).astype(np.float32)
            assert scale_from_reference(ramp, noise) is None
            rough = noise.clip(0.9, 1.1) / ramp  # a tenth off
            assert scale_from_reference(ramp, rough) is not None


class TestScaleOfATarget:
    """A target 0.8 m away that the picture's scale puts elsewhere."""

    picture = Scale('reference_depth', 2.0, 0.1)
    inside = np.tile(np.linspace(0.5, 0.7, 112, dtype=np.float32), (84, 1))
    mask = np.zeros((84, 112), np.bool_)
    mask[20:60, 30:80] = True

    def nearness(self, scale: Scale) -> np.ndarray:
        return (scale.scale * self.inside + scale.shift)[self.mask]

    def measured(self, true: Scale) -> np.ndarray:
        reference = np.full((84, 112), 3.0, np.float32)
        reference[self.mask] = 1 / self.nearness(true)
        return reference

    @pytest.mark.parametrize('true', [Scale('', 2.0, 0.3), Scale('', 1.4, 0.5), Scale('', 3.5, -1)])
    def test_is_moved_and_tilted_to_what_was_measured(self, true: Scale) -> None:
        reference = self.measured(true)
        rng = np.random.default_rng(0)
        reference[rng.random(reference.shape) < 0.3] = np.nan
        reference[20:60, 30:38] = 0.4  # a sixth of it is something else before it
        found = scale_of_target(self.picture, self.inside, self.mask, reference)
        assert found.source == 'reference_depth'
        assert (found.scale, found.shift) == pytest.approx((true.scale, true.shift), abs=0.02)

    @pytest.mark.parametrize(('true', 'slope'), [(0.1, 1.0), (9.0, 4.0), (-3.0, 1.0)])
    def test_is_never_twice_as_steep_or_flat(self, true: float, slope: float) -> None:
        middle = 0.6 * self.picture.scale + self.picture.shift
        reference = self.measured(Scale('', true, middle - 0.6 * true + 0.2))
        found = scale_of_target(self.picture, self.inside, self.mask, reference)
        assert found.scale == pytest.approx(slope)
        centre = np.median(1 / reference[self.mask])
        assert np.median(self.nearness(found)) == pytest.approx(centre, abs=0.02)

    def test_what_was_hardly_measured_stays(self) -> None:
        """As glass: half of it holes, and the rest what stands behind."""
        reference = self.measured(Scale('', 2.0, -0.2))
        reference[20:60:2, 30:80] = np.nan
        kept = Scale('reference_depth_of_picture', self.picture.scale, self.picture.shift)
        assert scale_of_target(self.picture, self.inside, self.mask, reference) == kept
        nothing = np.full_like(reference, np.nan)
        assert scale_of_target(self.picture, self.inside, self.mask, nothing) == kept

    @pytest.mark.parametrize(('shift', 'source'), [(0.3, ''), (0.08, ''), (0.0, '_of_picture')])
    def test_what_was_partly_measured_is_moved_if_nothing_farther_was(
        self, shift: float, source: str
    ) -> None:
        """A fifth of it, nearer than the picture's scale has it, as far, or a twentieth farther."""
        reference = self.measured(Scale('', 2.0, shift))
        reference[28:, :] = np.nan
        found = scale_of_target(self.picture, self.inside, self.mask, reference)
        assert found.source == 'reference_depth' + source
        assert found.shift == pytest.approx(0.1 if source else shift, abs=0.02)
        shaped = measured_shape(found, self.inside, self.mask, reference)
        np.testing.assert_array_equal(shaped, self.inside)

    @pytest.mark.parametrize('cells', [np.s_[40:42, 30:60], np.s_[40:44, 30:34]])
    def test_a_thin_or_small_target_is_all_rim(self, cells: tuple[slice, slice]) -> None:
        """Measured a cell beside where it is seen, half of it or more is the table."""
        thin = np.zeros_like(self.mask)
        thin[cells] = True
        nearness = np.where(np.roll(thin, 1, axis=0), 2.0 * self.inside + 0.1, 0.5)
        reference = (1 / nearness).astype(np.float32)
        found = scale_of_target(self.picture, self.inside, thin, reference)
        assert found == Scale('reference_depth_of_picture', 2.0, 0.1)


class TestShapeOfATarget:
    """A ball 1 m away, of which the network says that it is flat and upright."""

    scale = Scale('reference_depth', 2.0, 0.1)
    down, across = np.mgrid[:84, :112].astype(np.float32)
    from_middle = np.hypot(down - 42, across - 56) / 25
    mask = from_middle < 1
    inside = np.full((84, 112), 0.45, np.float32)
    true = 1 + 0.05 * np.sqrt(np.maximum(1 - from_middle**2, 0)) + 0.002 * (down - 42)

    def measured(self) -> np.ndarray:
        """4 mm of noise, a hole over a fifth of it, and something else before a sixteenth."""
        rng = np.random.default_rng(0)
        reference = (1 / self.true + rng.normal(0, 0.004, self.true.shape)).astype(np.float32)
        reference[~self.mask] = 3.0
        reference[30:50, 40:56] = np.nan
        reference[50:60, 60:70] = 0.5
        return reference

    def off_by(self, inside: np.ndarray) -> np.ndarray:
        nearness = self.scale.scale * inside + self.scale.shift
        return np.abs(self.true / nearness - 1)[self.mask]

    def test_is_what_was_measured_without_its_noise_and_holes(self) -> None:
        found = measured_shape(self.scale, self.inside, self.mask, self.measured())
        assert np.isfinite(found).all()
        assert self.off_by(self.inside).mean() > 0.03
        assert self.off_by(found).mean() < 0.005
        assert self.off_by(found).max() < 0.03

    def test_where_nothing_was_measured_the_network_is_followed(self) -> None:
        """Its bump goes on under a hole, on the tilt that was measured around it."""
        bump = 0.02 * np.exp(-(((self.down - 42) ** 2 + (self.across - 48) ** 2) / 18))
        true = 1.0 + 0.003 * (self.down - 42) + 2 * bump
        reference = (1 / true).astype(np.float32)
        reference[34:50, 40:56] = np.nan
        inside = (0.45 + bump).astype(np.float32)
        found = measured_shape(self.scale, inside, self.mask, reference)
        nearness = self.scale.scale * found + self.scale.shift
        assert np.abs(nearness / true - 1)[self.mask].max() < 0.01

    def test_nothing_measured_changes_nothing(self) -> None:
        nothing = np.full(self.mask.shape, np.nan, np.float32)
        found = measured_shape(self.scale, self.inside, self.mask, nothing)
        np.testing.assert_array_equal(found, self.inside)
        layers = Layers(self.inside, self.inside, np.uint8(255) * self.mask)
        same, scale = as_measured(layers, self.scale, nothing)
        assert same is layers
        assert scale.source == 'reference_depth_of_picture'

    def test_a_thin_target_is_not_tilted_by_noise_across_it(self) -> None:
        thin = np.zeros_like(self.mask)
        thin[40:43, 20:90] = True  # one row within its rim
        reference = np.full(self.mask.shape, 1.0, np.float32)
        found = measured_shape(self.scale, self.inside, thin, reference)
        nearness = self.scale.scale * found + self.scale.shift
        assert np.abs(nearness - 1)[thin].max() < 1e-3


class TestLayers:
    def test_a_blurred_step_becomes_sharp_and_the_rest_stays(self) -> None:
        step = np.where(np.arange(112) < 50, 2.0, 1.0).astype(np.float32)
        truth = np.repeat(step[None], 84, axis=0)
        blurred = cv2.GaussianBlur(truth, (0, 0), 1.2)
        mask = cv2.GaussianBlur((truth > 1.5).astype(np.float32), (0, 0), 0.8)
        layers = separate(blurred, mask)
        size = (560, 420)
        inside, outside = upsample(layers.inside, size), upsample(layers.outside, size)
        sharp = np.where(upsample_mask(layers.mask, size), inside, outside)
        between = lambda picture: float(((picture > 1.2) & (picture < 1.8)).mean())  # noqa: E731
        assert between(upsample(blurred, size)) > 0.01
        assert between(sharp) < 0.2 * between(upsample(blurred, size))
        assert np.allclose(sharp[:, :200], 2.0, atol=0.01) and np.allclose(
            sharp[:, 300:], 1.0, atol=0.01
        )

    @pytest.mark.parametrize('size', [(640, 480), (848, 480), (641, 480), (160, 120)])
    @pytest.mark.parametrize('window', [(0, 0, 30, 20), (60, 30, 140, 110), (200, 150, 224, 168)])
    def test_a_part_is_enlarged_as_within_the_whole(
        self, size: tuple[int, int], window: tuple[int, int, int, int]
    ) -> None:
        x0, y0, x1, y1 = window
        mask = np.zeros((168, 224), np.float32)
        mask[y0:y1, x0:x1] = 1.0
        layers = separate(noise(168, 224) / np.float32(255), cv2.GaussianBlur(mask, (0, 0), 1.5))
        target = Target('a', '', box=(0, 0, 1, 1))
        answer = TargetResult(target, 1.0, RELATIVE, layers, None, size, None, 10.0)
        whole = upsample_mask(layers.mask, size)
        assert np.array_equal(answer.mask, whole)
        inside, outside = upsample(layers.inside, size), upsample(layers.outside, size)
        picture = composite(answer, (answer,))
        assert np.allclose(picture, np.where(whole, inside, outside), rtol=0, atol=1e-5)

    def test_a_slope_goes_on_to_the_edge_of_the_mask(self) -> None:
        ramp = np.tile(np.linspace(1, 2, 112, dtype=np.float32), (84, 1))
        mask = np.zeros_like(ramp)
        mask[20:60, 30:80] = 1
        layers = separate(ramp, mask)
        assert np.allclose(layers.inside[mask > 0], ramp[mask > 0], atol=1e-5)
        assert np.allclose(layers.outside[mask == 0], ramp[mask == 0], atol=1e-5)

    def test_without_a_mask_nothing_changes(self) -> None:
        values = np.random.default_rng(0).uniform(size=(84, 112)).astype(np.float32)
        layers = separate(values, np.zeros_like(values))
        assert np.allclose(layers.outside, values, atol=1e-6) and not layers.mask.any()

    def test_a_mask_is_where_its_probability_is_over_one_half(self) -> None:
        ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
        assert np.array_equal(upsample_mask(ramp, (16, 16)), ramp > 127)

    def test_invalid_inverse_depth_is_nan(self) -> None:
        depth = to_depth(np.array([2.0, 0.1, 0.05, 0.0, -1.0, np.nan], np.float32), 10.0)
        assert depth[:2].tolist() == pytest.approx([0.5, 10.0]) and np.isnan(depth[2:]).all()


def test_maps_are_aligned_to_the_view() -> None:
    view = np.random.default_rng(0).uniform(1, 2, (84, 112)).astype(np.float32)
    scale = aligned(Scale('model', 2.0, 0.5), 3.0 * view - 1.0, view)
    assert scale.source == 'model'
    assert np.allclose(scale.scale * (3.0 * view - 1.0) + scale.shift, 2.0 * view + 0.5, atol=1e-5)
    flat = aligned(Scale('none'), np.ones_like(view), view)
    assert flat.scale == 0.0
    assert flat.shift == pytest.approx(view.mean(), rel=1e-5)


class TestClouds:
    def test_rays_of_a_pinhole(self) -> None:
        rays = viewing_rays(CAMERA)
        assert rays[10, 20] == pytest.approx(((20 - 31.5) / 60, (10 - 23.5) / 60))

    def test_cells_look_through_their_middles(self) -> None:
        rays = cell_rays(CAMERA, (16, 12))
        assert rays[0, 0] == pytest.approx(((1.5 - 31.5) / 60, (1.5 - 23.5) / 60), abs=1e-6)
        assert rays[11, 3] == pytest.approx(((13.5 - 31.5) / 60, (45.5 - 23.5) / 60), abs=1e-6)

    @pytest.mark.parametrize(
        ('model', 'coefficients'),
        [
            ('plumb_bob', (-0.2, 0.05, 0.001, -0.002, 0.0)),
            ('rational_polynomial', (-0.2, 0.05, 0.001, -0.002, 0.0, 0.01, 0.0, 0.0)),
            ('plumb_bob', (-0.5, 0.25, 0.0, 0.0, 0.0)),  # so wide that five turns are too few
            ('equidistant', (0.05, -0.01, 0.0, 0.0)),
            ('equidistant', (0.0, 0.0, 0.0, 0.0)),  # zeros make no pinhole of it
        ],
    )
    def test_rays_of_a_distorting_lens_project_back(self, model: str, coefficients: tuple) -> None:
        camera = Camera(64, 48, 60.0, 60.0, 31.5, 23.5, model, coefficients)
        rays = viewing_rays(camera)[::6, ::6].reshape(-1, 2)
        points = np.concatenate((rays, np.ones((len(rays), 1))), axis=1).astype(np.float64)[None]
        matrix = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
        project = cv2.fisheye.projectPoints if model == 'equidistant' else cv2.projectPoints
        pixels, _ = project(points, np.zeros(3), np.zeros(3), matrix, np.array(coefficients))
        rows, columns = np.mgrid[0:48:6, 0:64:6]
        assert (
            np.abs(pixels.reshape(-1, 2) - np.stack((columns, rows), -1).reshape(-1, 2)).max()
            < 1e-3
        )

    @pytest.mark.parametrize(
        ('model', 'coefficients'),
        [
            ('plumb_bob', (-0.3, 0.1, 0.001, -0.001, 0.0)),
            ('equidistant', (0.05, -0.01, 0.0, 0.0)),
        ],
    )
    @pytest.mark.parametrize(('width', 'height'), [(641, 479), (640, 480)])
    def test_rays_of_a_large_picture_are_those_of_every_pixel(
        self, width: int, height: int, model: str, coefficients: tuple
    ) -> None:
        camera = Camera(width, height, 500.0, 500.0, 320.0, 240.0, model, coefficients)
        wanted = _rays_at(camera, np.arange(width), np.arange(height))
        assert np.abs(viewing_rays(camera) - wanted).max() * 500 < 0.05  # px

    @pytest.mark.parametrize(('k1', 'bend_px'), [(0.0, 0.0), (-0.1, 20.7), (0.05, 8.3)])
    def test_a_lens_bends_its_corners_so_far(self, k1: float, bend_px: float) -> None:
        # 400 px off the axis, 0.667 focal lengths: r (1 + k1 r^2) = 0.667 for r .7012 and .6528
        distortion = (k1, 0.0, 0.0, 0.0)
        tall = Camera(640, 960, 600.0, 1200.0, 320.0, 480.0, 'plumb_bob', distortion)
        assert corner_bend_px(tall) == pytest.approx(math.hypot(0.8, 1.2) * bend_px, abs=0.4)
        camera = Camera(640, 480, 600.0, 600.0, 320.0, 240.0, 'plumb_bob', distortion)
        assert corner_bend_px(camera) == pytest.approx(bend_px, abs=0.2)

    def test_a_lens_whose_distortion_has_no_way_back_bends_without_end(self) -> None:
        bent = Camera(640, 480, 300, 300, 320, 240, 'plumb_bob', (-0.4, 0.0, 0.0, 0.0))
        assert corner_bend_px(bent) == math.inf

    def test_pixels_whose_distortion_has_no_way_back_become_no_points(self) -> None:
        coefficients = (-0.3, 0.0, 0.0, 0.0, 0.0)  # r (1 - 0.3 r^2) grows up to r = 1.05 only
        camera = Camera(64, 48, 33.0, 33.0, 31.5, 23.5, 'plumb_bob', coefficients)
        rays = viewing_rays(camera)
        rows, columns = np.mgrid[0:48, 0:64]
        radius = np.hypot(columns - 31.5, rows - 23.5) / 33.0
        farthest = 1.054 * (1 - 0.3 * 1.054**2)
        seen = np.isfinite(rays).all(-1)
        assert seen[radius < farthest - 0.02].all() and not seen[radius > farthest + 0.03].any()

    def test_what_a_fisheye_sees_beside_and_behind_it_becomes_no_points(self) -> None:
        camera = Camera(64, 48, 15.0, 15.0, 31.5, 23.5, 'equidistant', (0.0, 0.0, 0.0, 0.0))
        rays, everywhere = viewing_rays(camera), np.ones((48, 64), np.bool_)
        rows, columns = np.mgrid[0:48, 0:64]
        angle = np.hypot(columns - 31.5, rows - 23.5) / 15.0  # r = f * angle
        seen = np.isfinite(rays).all(-1)
        assert seen[angle < np.radians(80)].all() and not seen[angle > np.radians(90)].any()
        depth, rgb = np.ones((48, 64), np.float32), np.zeros((48, 64, 3), np.uint8)
        cloud = np.full((48, 64, 4), np.nan, np.float32)
        fill_cloud(cloud, depth, rgb, everywhere, rays)
        assert np.array_equal(np.isfinite(cloud).all(-1), seen)
        assert np.array_equal(np.isfinite(cloud).any(-1), seen)
        points = target_points(depth, rgb, everywhere, rays)
        assert len(points) == seen.sum() and np.abs(points[:, :2]).max() <= 10.0
        geometry = measure(1 / depth, np.full((48, 64), 255, np.uint8), rays, 10.0)
        assert geometry is not None and np.isfinite(geometry.centroid_m).all()
        assert geometry.centroid_m == pytest.approx((0, 0, 1), abs=1e-3)

    def test_a_fisheye_is_undone_beyond_where_opencv_gives_up(self) -> None:
        coefficients = (0.1, 0.02, 0.0, 0.0)
        camera = Camera(1500, 16, 400.0, 400.0, 640.0, 8.0, 'equidistant', coefficients)
        angle = np.radians([10, 60, 73, 75, 80])
        columns = 640 + 400 * angle * (1 + 0.1 * angle**2 + 0.02 * angle**4)
        rays = _rays_at(camera, columns, np.array([8.0]))[0]
        assert rays[:, 0] == pytest.approx(np.tan(angle), rel=1e-4)

    def test_points_of_the_mask_only(self, tmp_path: Path) -> None:
        depth = np.full((48, 64), 2.0, np.float32)
        depth[20, 20] = np.nan
        rgb = np.zeros((48, 64, 3), np.uint8)
        rgb[...] = (10, 20, 30)
        mask = np.zeros((48, 64), np.bool_)
        mask[18:22, 18:26] = True
        cloud = np.full((48, 64, 4), np.nan, np.float32)
        region = fill_cloud(cloud, depth, rgb, mask, viewing_rays(CAMERA))
        assert region == (slice(18, 22), slice(18, 26))
        assert np.array_equal(np.isfinite(cloud[..., 2]), mask & np.isfinite(depth))
        points = target_points(depth, rgb, mask, viewing_rays(CAMERA))
        assert points.shape == (31, 4)
        assert np.array_equal(points, cloud[np.isfinite(cloud[..., 2])])
        assert points[0, 3] == pack_rgb(np.array([[10, 20, 30]], np.uint8))[0]
        write_ply(tmp_path / 'a.ply', points)
        data = (tmp_path / 'a.ply').read_bytes()
        header, body = data.split(b'end_header\n')
        assert b'element vertex 31' in header and len(body) == 31 * 15
        assert body[12:15] == bytes([10, 20, 30])
        assert np.frombuffer(body[:12], '<f4') == pytest.approx(points[0, :3])

    def test_an_empty_mask(self) -> None:
        nothing = np.zeros((48, 64), np.bool_)
        rgb, depth = np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32)
        assert target_points(depth, rgb, nothing, viewing_rays(CAMERA)).shape == (0, 4)
        assert (
            fill_cloud(np.empty((48, 64, 4), np.float32), depth, rgb, nothing, viewing_rays(CAMERA))
            is None
        )


def test_pictures_shrink_without_aliasing_or_shift() -> None:
    ramp = (
        np.repeat(np.linspace(0, 255, 640)[None, :, None], 480, axis=0)
        .repeat(3, axis=2)
        .astype(np.uint8)
    )
    wanted = cv2.resize(ramp, (224, 168), interpolation=cv2.INTER_AREA)
    assert np.abs(stretch(ramp, (224, 168)).astype(int) - wanted).max() <= 1
    checker = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (960, 960))[..., None].repeat(
        3, axis=2
    )
    assert np.abs(stretch(checker, (224, 168)).astype(int) - 127).max() <= 2
    assert stretch(ramp[:100, :120], (224, 168)).shape == (168, 224, 3)
    for height in (100, 170, 220, 400):  # sides that shrink and grow, by different factors
        stripes = np.tile(np.array([0, 255], np.uint8), 640).repeat(3).reshape(1, -1, 3)
        low = stretch(stripes.repeat(height, axis=0), (224, 168))
        assert np.abs(low.astype(int) - 127).max() <= 40
