"""One frame in, one result out, without ROS: prompts, scale, layers, clouds, tracking, files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_depth_ros.core import Camera, Frame, InvalidInput, Target, clip_box
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.pipeline.cloud import (
    fill_cloud,
    pack_rgb,
    target_points,
    viewing_rays,
    write_ply,
)
from focus_depth_ros.pipeline.encoded_picture import read_picture
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline
from focus_depth_ros.pipeline.layers import (
    separate,
    upsample,
    upsample_mask,
)
from focus_depth_ros.pipeline.overview import overview, row_of
from focus_depth_ros.pipeline.picture import stretch
from focus_depth_ros.pipeline.prompts import PromptEncoder
from focus_depth_ros.pipeline.result import TargetResult, composite, measure, to_depth
from focus_depth_ros.pipeline.scale import (
    RELATIVE,
    Scale,
    aligned,
    scale_from_model,
    scale_from_reference,
)
from focus_depth_ros.pipeline.targets import TargetsInView
from focus_depth_ros.pipeline.tracking import Patch, _moved

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(
        0, 255, (height // 4 + 1, width // 4 + 1), np.uint8
    )
    return np.ascontiguousarray(np.kron(blocks, np.ones((4, 4), np.uint8))[:height, :width])


class TestCore:
    def test_a_frame_checks_its_picture_and_its_camera(self) -> None:
        rgb = np.zeros((48, 64, 3), np.uint8)
        assert Frame(rgb, CAMERA).size == (64, 48)
        for wrong in (rgb.astype(np.float32), rgb[..., :1], rgb[:8]):
            with pytest.raises(InvalidInput):
                Frame(wrong)
        with pytest.raises(InvalidInput, match='64x48 px, the picture has 32x24'):
            Frame(np.zeros((24, 32, 3), np.uint8), CAMERA)

    @pytest.mark.parametrize(
        ('intrinsics', 'words'),
        [
            ((0.8, 0.8, 0.5, 0.5), 'are these pixels'),  # of a unit picture
            ((60.0, 1e-300, 32.0, 24.0), 'are these pixels'),
            ((1e300, 60.0, 32.0, 24.0), 'are these pixels'),
            ((60.0, 60.0, 32.0, -1e300), 'are these pixels'),
            ((60.0, 60.0, 32.0, 24.0, 'double_sphere', (0.2,) * 4), "model 'double_sphere' is not"),
        ],
    )
    def test_calibrations_of_no_camera_are_refused(self, intrinsics: tuple, words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            Camera(64, 48, *intrinsics)

    def test_boxes_are_clipped_or_refused(self) -> None:
        assert clip_box((-5, -5, 20, 20), 64, 48) == (0, 0, 20, 20)
        for box in ((0, 0, 0, 10), (70, 0, 90, 10), (float('nan'), 0, 5, 5), (9, 9, 3, 3)):
            with pytest.raises(InvalidInput):
                clip_box(box, 64, 48)

    def test_a_target_is_a_box_or_words(self) -> None:
        for wrong in ({}, {'box': (0, 0, 1, 1), 'text': 'mug'}):
            with pytest.raises(InvalidInput):
                Target('a', 'a', **wrong)


class TestPrompts:
    encoder = PromptEncoder(['<pad>', '<unknown>', 'the', 'red', 'mug'], 4)

    def test_known_and_unknown_words(self) -> None:
        words = self.encoder.read('The RED, mug-thing!')
        assert words.known == ('the', 'red', 'mug') and words.unknown == ('thing',)

    def test_words_beyond_what_is_read_are_said(self) -> None:
        words = self.encoder.read('red mug the red mug')
        assert words.known == ('red', 'mug', 'the', 'red')
        assert words.remarks == 'too long, left out: mug'
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

    def test_boxes_and_words_become_rows(self) -> None:
        targets = [Target('a', 'a', box=(16, 12, 32, 48)), Target('b', 'b', text='red mug')]
        boxes, words = self.encoder.encode(targets, 64, 48)
        assert boxes.tolist() == [[0.25, 0.25, 0.5, 1.0], [0, 0, 0, 0]]
        assert words.tolist() == [[0, 0, 0, 0], [2, 3, 4, 0]]  # "the" is what captions begin with
        boxes, words = self.encoder.encode([], 64, 48)
        assert boxes.shape == (1, 4) and not boxes.any() and not words.any()


class TestScale:
    def test_the_models_metres_follow_the_focal_length(self) -> None:
        metric = np.array([2.0, 0.5], np.float32)
        one = scale_from_model(metric, Camera(224, 168, 200, 200, 112, 84), (224, 168), 200.0)
        two = scale_from_model(metric, Camera(448, 336, 800, 800, 224, 168), (224, 168), 200.0)
        assert (one.scale, one.shift) == pytest.approx((2.0, 0.5))
        assert (two.scale, two.shift) == pytest.approx((1.0, 0.25))

    def test_a_reference_with_holes_and_outliers(self) -> None:
        rng = np.random.default_rng(1)
        inverse_depth = rng.uniform(0.5, 2.0, (84, 112)).astype(np.float32)
        reference = 1.0 / (0.7 * inverse_depth + 0.2)
        reference[rng.random(reference.shape) < 0.3] = np.nan
        reference[:8] = 0.3
        scale = scale_from_reference(inverse_depth, reference.astype(np.float32))
        assert scale is not None and scale.source == 'reference_depth'
        assert (scale.scale, scale.shift) == pytest.approx((0.7, 0.2), abs=0.01)

    def test_useless_references(self) -> None:
        ramp = np.linspace(1, 2, 84 * 112, dtype=np.float32).reshape(84, 112)
        assert scale_from_reference(ramp, np.full((84, 112), np.nan, np.float32)) is None
        assert scale_from_reference(ramp, ramp) is None  # farther where the map says nearer
        assert scale_from_reference(np.ones_like(ramp), ramp) is None


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
        answer = TargetResult(target, 1.0, True, RELATIVE, layers, None, size, None, 10.0)
        whole = upsample_mask(layers.mask, size)
        assert np.array_equal(answer.mask, whole)
        inside, outside = upsample(layers.inside, size), upsample(layers.outside, size)
        picture = composite(answer, (answer,))
        assert np.allclose(picture, np.where(whole, inside, outside), rtol=0, atol=1e-5)

    def test_without_a_mask_nothing_changes(self) -> None:
        values = np.random.default_rng(0).uniform(size=(84, 112)).astype(np.float32)
        layers = separate(values, np.zeros_like(values))
        assert np.allclose(layers.outside, values, atol=1e-6) and not layers.mask.any()

    def test_invalid_inverse_depth_is_nan(self) -> None:
        depth = to_depth(np.array([2.0, 0.1, 0.05, 0.0, -1.0, np.nan], np.float32), 10.0)
        assert depth[:2].tolist() == pytest.approx([0.5, 10.0]) and np.isnan(depth[2:]).all()


def test_targets_of_one_picture_stand_in_one_space(tiny_model: Path) -> None:
    from focus_depth_ros.inference.focus_model import FocusModel
    from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline

    pipeline = FocusPipeline(FocusModel(tiny_model))
    boxes = ((2.0, 2.0, 30.0, 46.0), (34.0, 2.0, 62.0, 46.0))
    targets = [Target(str(box), '', box=box) for box in boxes]
    for camera in (CAMERA, None):
        result = pipeline(Frame(np.zeros((48, 64, 3), np.uint8), camera), targets)
        assert len({answer.scale.source for answer in result.targets}) == 1
        assert (result.depth_m is None) == (camera is None)


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


class TestTracking:
    @pytest.mark.parametrize(('dx', 'dy', 'growth'), [(0, 0, 1.0), (7, -4, 1.0), (2, 1, 1.1)])
    def test_a_box_moves_and_grows_with_the_picture(
        self, dx: float, dy: float, growth: float
    ) -> None:
        before = cv2.GaussianBlur(noise(168, 224), (0, 0), 1)
        centre = np.array([110.0, 80.0])
        move = np.array([[growth, 0, 0], [0, growth, 0]])
        move[:, 2] = centre + np.array([dx, dy]) - growth * centre
        after = cv2.warpAffine(before, move, (224, 168), borderMode=cv2.BORDER_REFLECT)
        box = Patch(before, (80, 50, 140, 110)).follow(after)
        half = 30 * growth
        wanted = (110 + dx - half, 80 + dy - half, 110 + dx + half, 80 + dy + half)
        assert box == pytest.approx(wanted, abs=1.5)

    def test_as_many_votes_to_each_side_move_no_box(self) -> None:
        start = np.array([(90, 60), (130, 60), (90, 100), (130, 100), (110, 70), (110, 90)])
        votes = 0.1 * np.array([(1, 1), (-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)])
        box = (80.0, 50.0, 140.0, 110.0)
        moved = _moved(box, start.astype(np.float32), (start + votes).astype(np.float32))
        assert (moved[0] + moved[2]) / 2 == pytest.approx(110, abs=1e-4)
        assert (moved[1] + moved[3]) / 2 == pytest.approx(80, abs=1e-4)

    def test_what_cannot_be_seen_is_lost(self) -> None:
        before = noise(168, 224)
        plain = np.full_like(before, 128)
        assert Patch(before, (80, 50, 140, 110)).follow(plain) is None
        assert Patch(plain, (80, 50, 140, 110)).follow(before) is None
        for outside in ((300, 300, 310, 310), (-40, -40, -30, -30)):
            assert Patch(before, outside).follow(before) is None


class TestTargets:
    def make(self) -> tuple[TargetsInView, list[InvalidInput]]:
        problems: list[InvalidInput] = []
        return TargetsInView(problems.append, 2, 0.1, 1.0), problems

    def test_a_late_detection_is_carried_to_the_newest_picture(self) -> None:
        targets, problems = self.make()
        world = cv2.GaussianBlur(noise(200, 300), (0, 0), 1)
        step_ns = 33_000_000
        for index in range(5):
            grey = np.ascontiguousarray(world[:168, 3 * index : 224 + 3 * index])
            assert targets.locate(10**9 + index * step_ns, grey, (448, 336)) == []
        targets.detect(10**9 + step_ns, [Target('a', 'mug', box=(200, 100, 300, 200), score=0.9)])
        grey = np.ascontiguousarray(world[:168, 15:239])
        (target,) = targets.locate(10**9 + 5 * step_ns, grey, (448, 336))
        assert target.box == pytest.approx((176, 100, 276, 200), abs=3)
        assert not problems

    def pan(self, shift: int) -> np.ndarray:
        """A picture (168, 224) whose things lie `shift` px farther right than in that of 0."""
        world = cv2.GaussianBlur(noise(168, 900), (0, 0), 1)
        return np.ascontiguousarray(world[:, 300 - shift : 524 - shift])

    def test_what_moved_farther_than_tracking_reaches_is_followed_step_by_step(self) -> None:
        targets, problems = self.make()
        for index in range(13):
            targets.locate(10**9 + index * 33_000_000, self.pan(5 * index), (224, 168))
        targets.detect(10**9, [Target('a', 'mug', box=(40, 60, 90, 110))])
        (target,) = targets.locate(10**9 + 13 * 33_000_000, self.pan(65), (224, 168))
        assert target.box == pytest.approx((105, 60, 155, 110), abs=2)
        assert not problems

    def test_a_picture_in_which_a_target_is_lost_is_passed_over(self) -> None:
        targets, problems = self.make()
        for index in range(4):
            picture = np.full((168, 224), 99, np.uint8) if index == 2 else self.pan(3 * index)
            targets.locate(10**9 + index * 33_000_000, picture, (224, 168))
        targets.detect(10**9, [Target('a', 'mug', box=(40, 60, 90, 110))])
        (target,) = targets.locate(10**9 + 4 * 33_000_000, self.pan(12), (224, 168))
        assert target.box == pytest.approx((52, 60, 102, 110), abs=2)
        assert not problems

    def test_ids_stay_with_things_that_move_past_late_detections(self) -> None:
        targets, _ = self.make()
        names = set()
        for index in range(24):
            seen = targets.locate(10**9 + index * 33_000_000, self.pan(3 * index), (224, 168))
            names |= {(t.id, round((t.box[0] - 3 * index) / 20)) for t in seen if t.box}
            if index % 6 == 5:  # of a picture five steps ago: most of the way to the neighbour
                x = 3 * (index - 5)
                boxes = [(x + 40, 60, x + 60, 110), (x + 60, 60, x + 80, 110)]
                stamp_ns = 10**9 + (index - 5) * 33_000_000
                targets.detect(stamp_ns, [Target('', 'mug', box=box) for box in boxes])
        assert names == {('mug_1', 2), ('mug_2', 3)}

    def test_a_commanded_box_that_was_half_outside_comes_back_whole(self) -> None:
        targets, problems = self.make()
        targets.locate(10**9, self.pan(0), (224, 168))
        targets.command(Target('box', 'mug', box=(30, 60, 90, 110)), append=False)
        shifts = [*range(0, -61, -3), *range(-57, 1, 3)]
        boxes = [
            targets.locate(10**9 + index, self.pan(shift), (224, 168))[0].box
            for index, shift in enumerate(shifts, 1)
        ]
        assert boxes[20] == pytest.approx((0, 60, 30, 110), abs=2)
        assert boxes[-1] == pytest.approx((30, 60, 90, 110), abs=2)
        assert not problems

    def test_detections_of_skipped_pictures_count_in_a_slow_node(self) -> None:
        targets, problems = self.make()
        grey = noise(168, 224)
        for index in range(4):
            seen = targets.locate(10**9 + index * 600_000_000, grey, (224, 168))
            assert len(seen) == min(index, 1)
            stamp_ns = 10**9 + index * 600_000_000 + 250_000_000  # 0.25 s beside, slop 0.1 s
            targets.detect(stamp_ns, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert not problems
        with pytest.raises(InvalidInput, match='no kept picture within'):
            targets.detect(10**9 - 200_000_000, [Target('a', 'mug', box=(50, 50, 90, 90))])

    def test_after_a_pause_old_detections_do_not_count(self) -> None:
        targets, problems = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(
            18 * 10**8, [Target('a', 'mug', box=(50, 50, 90, 90))]
        )  # then nobody listened
        assert targets.locate(31 * 10**9, grey, (224, 168)) == []
        assert 'the nearest is 0.80 s away' in str(problems[0])

    def test_appended_targets_have_names_of_their_own(self) -> None:
        problems: list[InvalidInput] = []
        targets = TargetsInView(problems.append, 4, 0.1, 1.0)
        plain = np.full((168, 224), 99, np.uint8)
        targets.locate(10**9, plain, (224, 168))
        for _ in range(3):
            targets.command(Target('box', '', box=(50, 50, 90, 90)), append=True)
        del targets._commanded[1]  # as one that left the picture
        targets.command(Target('box', '', box=(50, 50, 90, 90)), append=True)
        seen = targets.locate(10**9 + 1, plain, (224, 168))
        assert [target.id for target in seen] == ['box', 'box_2', 'box_1']

    def test_what_is_followed_is_found_after_the_answer(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        targets, _ = self.make()
        calls: list[int] = []
        find = cv2.goodFeaturesToTrack
        monkeypatch.setattr(
            cv2, 'goodFeaturesToTrack', lambda *given: calls.append(1) or find(*given)
        )
        world = cv2.GaussianBlur(noise(200, 300), (0, 0), 1)
        targets.command(Target('a', 'mug', box=(50.0, 50.0, 110.0, 110.0)), append=False)
        for index in range(3):
            grey = np.ascontiguousarray(world[:168, 3 * index : 224 + 3 * index])
            calls.clear()
            (target,) = targets.locate(10**9 + index * 33_000_000, grey, (224, 168))
            assert not calls, 'corners are looked for while an answer waits'
            targets.settle({})
            assert len(calls) == 1
        assert target.box == pytest.approx((44, 50, 104, 110), abs=2)

    def test_a_detection_that_comes_before_its_picture_waits(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(10**9 + 50_000_000, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert targets.locate(10**9 + 20_000_000, grey, (224, 168)) == []
        assert len(targets.locate(10**9 + 50_000_000, grey, (224, 168))) == 1

    def test_a_detector_that_names_all_alike_still_has_several_targets(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        boxes = [(20, 20, 60, 60), (120, 80, 180, 140)]
        names = set()
        for stamp_ns in (10**9, 10**9 + 100_000_000, 10**9 + 200_000_000):
            targets.locate(stamp_ns, grey, (224, 168))
            targets.detect(stamp_ns, [Target('mug', 'mug', box=box) for box in boxes])
            seen = targets.locate(stamp_ns + 50_000_000, grey, (224, 168))
            names.add(tuple(target.id for target in seen))
        assert names == {('mug_1', 'mug_2')}

    def test_ids_that_are_shared_do_not_change_hands_with_the_scores(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        left, right = (20.0, 50.0, 60.0, 90.0), (120.0, 50.0, 160.0, 90.0)
        names = set()
        for index in range(6):
            targets.locate(10**9 + index, grey, (224, 168))
            boxes = [left, right][:: 1 if index % 2 else -1]  # the surer one first
            targets.detect(10**9 + index, [Target('0', 'cup', box=box) for box in boxes])
            seen = targets.locate(10**9 + index, grey, (224, 168))
            names.add(tuple(sorted((t.box[0] < 100, t.id) for t in seen if t.box)))
        assert len(names) == 1
        own = [Target('cup_3', 'cup', box=left), Target('', 'cup', box=right)]
        for box in ((70.0, 50.0, 110.0, 90.0), (165.0, 50.0, 200.0, 90.0)):  # new things beside
            targets.detect(10**9 + 5, [own[0], Target('', 'cup', box=box)])
            seen = targets.locate(10**9 + 5, grey, (224, 168))
            assert len({target.id for target in seen}) == 2

    def test_boxes_that_cannot_be_used_take_nobodys_place(self) -> None:
        targets, problems = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        bad = [Target('', 'cup', box=(900.0 + x, 0.0, 950.0, 20.0)) for x in range(4)]
        good = [Target(name, 'cup', box=(50, 50, 90, 90)) for name in 'abc']
        targets.detect(10**9, [*bad, *good])
        seen = targets.locate(10**9 + 1, grey, (224, 168))
        assert [target.id for target in seen] == ['a', 'b']  # two at most
        assert len(problems) == 4

    def test_a_new_box_is_not_put_where_the_old_ones_mask_is(self) -> None:
        targets, _ = self.make()
        plain = np.full((168, 224), 99, np.uint8)
        for index in range(6):
            stamp_ns = 10**9 + index * 33_000_000
            seen = targets.locate(stamp_ns, plain, (224, 168))
            left = 20.0 if index < 3 else 100.0
            late_ns = stamp_ns - min(index, 1) * 33_000_000  # the detector is a picture behind
            targets.detect(late_ns, [Target('7', 'cup', box=(left, 50, left + 40, 90))])
            targets.settle({target.id: target.box for target in seen if target.box})
        (target,) = targets.locate(10**9 + 2 * 10**8, plain, (224, 168))
        assert target.box == (100, 50, 140, 90)

    @pytest.mark.parametrize('unusable', [1, 3])
    def test_a_target_is_found_again_after_unusable_pictures(self, unusable: int) -> None:
        targets, problems = self.make()
        targets.locate(10**9, self.pan(0), (224, 168))
        targets.command(Target('box', 'mug', box=(40, 60, 90, 110)), append=False)
        for index in range(1, 6):
            bad = index <= unusable
            picture = np.full((168, 224), 3, np.uint8) if bad else self.pan(4 * index)
            (target,) = targets.locate(10**9 + index * 33_000_000, picture, (224, 168))
            if bad:
                assert target.box == pytest.approx((40, 60, 90, 110))
        assert target.box == pytest.approx((60, 60, 110, 110), abs=2)
        assert not problems

    def test_detections_of_now_are_no_future_for_a_slow_node(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        targets, problems = self.make()
        now_ns = [0]
        monkeypatch.setattr('time.monotonic_ns', lambda: now_ns[0])
        grey = noise(168, 224)
        for index in range(3):
            stamp_ns = 10**9 + index * 2_500_000_000
            seen = targets.locate(stamp_ns, grey, (224, 168))
            assert len(seen) == min(index, 1)
            for _ in range(25):  # a picture takes 2.5 s, a detection comes every 0.1 s
                now_ns[0] += 100_000_000
                stamp_ns += 100_000_000
                targets.detect(stamp_ns, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert not problems
        with pytest.raises(InvalidInput, match='share a clock'):
            targets.detect(stamp_ns + 1_100_000_000, [Target('a', 'mug', box=(50, 50, 90, 90))])

    def test_a_stamped_box_needs_a_picture(self) -> None:
        targets, _ = self.make()
        target = Target('box', 'mug', box=(50, 50, 90, 90))
        with pytest.raises(InvalidInput, match='no picture has come'):
            targets.command(target, append=False, stamp_ns=10**9)
        targets.command(target, append=False)
        assert len(targets.locate(10**9, noise(168, 224), (224, 168))) == 1

    def test_detections_expire(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(10**9, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert len(targets.locate(10**9 + 900_000_000, grey, (224, 168))) == 1
        assert targets.locate(10**9 + 1_100_000_000, grey, (224, 168)) == []

    def test_where_nothing_can_be_tracked_the_box_follows_the_mask(self) -> None:
        targets, problems = self.make()
        plain = np.full((168, 224), 99, np.uint8)
        targets.locate(10**9, plain, (224, 168))
        targets.command(Target('box', 'mug', box=(50, 50, 90, 90)), append=False)
        for index in range(1, 4):
            (target,) = targets.locate(10**9 + index, plain, (224, 168))
            assert target.box == (50 + 2 * index - 2, 50, 90 + 2 * index - 2, 90)
            targets.settle({'box': (50 + 2 * index, 50, 90 + 2 * index, 90)})
        assert not problems

    def test_a_tracked_box_is_not_corrected(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.command(Target('box', 'mug', box=(50, 50, 90, 90)), append=False)
        targets.locate(10**9 + 1, grey, (224, 168))
        targets.settle({'box': (0, 0, 20, 20)})
        (target,) = targets.locate(10**9 + 2, grey, (224, 168))
        assert target.box == pytest.approx((50, 50, 90, 90))

    def test_a_command_that_left_the_picture_does_not_give_way_to_detections(self) -> None:
        targets, _ = self.make()
        world = cv2.GaussianBlur(noise(168, 400), (0, 0), 1)
        left = lambda shift: np.ascontiguousarray(world[:, shift : shift + 224])  # noqa: E731
        targets.locate(10**9, left(0), (224, 168))
        targets.command(Target('box', 'mug', box=(4, 50, 30, 90)), append=False)
        for index in range(1, 12):
            seen = targets.locate(10**9 + index, left(3 * index), (224, 168))
        assert all(target.label == 'mug' for target in seen)
        targets.detect(10**9 + 11, [Target('', 'bowl', box=(50, 50, 90, 90))])
        seen = targets.locate(10**9 + 12, left(33), (224, 168))
        assert all(target.label == 'mug' for target in seen)
        targets.clear()
        targets.detect(10**9 + 12, [Target('', 'bowl', box=(50, 50, 90, 90))])
        (target,) = targets.locate(10**9 + 13, left(33), (224, 168))
        assert target.label == 'bowl'

    def test_ids_stay_with_their_objects(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        left, right = (20.0, 50.0, 60.0, 90.0), (120.0, 50.0, 160.0, 90.0)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(10**9, [Target('', 'mug', box=left), Target('', 'mug', box=right)])
        first = {t.box[0] < 100: t.id for t in targets.locate(10**9 + 1, grey, (224, 168)) if t.box}
        targets.detect(10**9 + 1, [Target('', 'mug', box=right), Target('', 'mug', box=left)])
        second = {
            t.box[0] < 100: t.id for t in targets.locate(10**9 + 2, grey, (224, 168)) if t.box
        }
        assert first == second
        assert len(set(first.values())) == 2

    def test_older_detections_do_not_replace_newer_ones(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        for index in range(3):
            targets.locate(10**9 + index, grey, (224, 168))
        targets.detect(10**9 + 2, [Target('new', 'mug', box=(50, 50, 90, 90))])
        targets.detect(10**9 + 1, [Target('old', 'mug', box=(50, 50, 90, 90))])
        assert [t.id for t in targets.locate(10**9 + 3, grey, (224, 168))] == ['new']


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


class TestPredict:
    def predict(self, *words: str) -> int:
        from focus_depth_ros.cli import main

        return main(['predict', *words])

    def test_every_file_with_and_without_intrinsics(self, tmp_path: Path, tiny_model: Path) -> None:
        picture = tmp_path / 'table.jpg'
        cv2.imwrite(str(picture), cv2.merge([noise(96, 128)] * 3))
        common = [
            str(picture),
            '--box',
            '30',
            '20',
            '90',
            '80',
            '--text',
            'red mug',
            '--model',
            str(tiny_model),
        ]
        assert (
            self.predict(
                *common, '--out', str(tmp_path / 'm'), '--intrinsics', '120', '120', '64', '48',
                '--no-mirror',
            )
            == 0
        )  # fmt: skip
        names = {path.name for path in (tmp_path / 'm').iterdir()}
        assert names == {
            *(f'table.target{k}.inverse_depth.npy' for k in (0, 1)),
            *(f'table.target{k}.depth.npy' for k in (0, 1)),
            *(f'table.target{k}.mask.png' for k in (0, 1)),
            'table.boundary.png', 'table.overview.png', 'table.ply', 'table.targets.json',
        }  # fmt: skip
        # of the more confident target, which gives the scale
        inverse_depth = np.load(tmp_path / 'm/table.target1.inverse_depth.npy')
        depth = np.load(tmp_path / 'm/table.target1.depth.npy')
        assert inverse_depth.shape == depth.shape == (96, 128)
        assert inverse_depth.dtype == depth.dtype == np.float32
        focal_px = 120 * np.sqrt(224 / 128 * 168 / 96)
        assert np.allclose(1 / depth, 200 / focal_px * inverse_depth, rtol=1e-4)
        mask = cv2.imread(str(tmp_path / 'm/table.target0.mask.png'), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (96, 128) and set(np.unique(mask)) == {0, 255}
        assert mask[25:75, 35:85].all() and not mask[:15].any()
        report = json.loads((tmp_path / 'm/table.targets.json').read_text())
        assert [row['prompt'] for row in report['targets']] == [[30, 20, 90, 80], 'red mug']
        assert report['targets'][0]['centroid_m'][2] == pytest.approx(
            np.median(depth[25:75, 35:85]), rel=0.05
        )

        (tmp_path / 'r').mkdir()
        (tmp_path / 'r/table.ply').write_text('of somebody else')
        assert self.predict(*common, '--out', str(tmp_path / 'r')) == 0
        assert (tmp_path / 'r/table.ply').read_text() == 'of somebody else'
        assert self.predict(*common, '--out', str(tmp_path / 'r')) == 0
        assert not list((tmp_path / 'r').glob('*.depth.npy')) and not list(
            (tmp_path / 'r').glob('*.ply')
        )
        assert len(list((tmp_path / 'r').glob('*.inverse_depth.npy'))) == 2

    def test_mistakes_get_a_sentence(
        self, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        picture = tmp_path / 'a.png'
        cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
        out = ['--out', str(tmp_path / 'o'), '--model', str(tiny_model)]
        for words, status, said in (
            ([str(picture)], 2, 'nothing to look at'),
            ([str(picture), '--box', '20', '20', '10', '10'], 2, 'no area: it is X0 Y0 X1 Y1'),
            ([str(picture), '--box', 'nan', '0', '9', '9'], 2, '--box nan 0 9 9: not a number'),
            ([str(picture), '--text', ' '], 2, '--text of 0 characters'),
            ([str(picture), '--text', 'x' * 300], 2, '--text of 300 characters'),
            ([str(picture), str(tmp_path / 'b/a.jpg'), '--text', 'mug'], 2, 'b/a.jpg have the sam'),
            ([str(tmp_path / 'none.png'), '--text', 'mug'], 1, 'none.png: No such file'),
            ([str(tmp_path), '--text', 'mug'], 1, 'Is a directory'),
            (
                [str(picture), '--text', 'mug', '--intrinsics', '0', '0', '1', '1'],
                2,
                '--intrinsics 0 0 1 1: FX and FY are above 0',
            ),
            (
                [str(picture), '--text', 'mug', '--intrinsics', '600', '600', '320', '240'],
                0,
                'is far from that of 64x48 px; are they for this size?',
            ),
            ([str(picture), '--text', 'mug', '--model', str(tmp_path)], 2, 'no model.json'),
        ):
            assert self.predict(*words, *(out if '--model' not in words else out[:2])) == status
            assert said in capsys.readouterr().err

    def test_unusable_targets_have_their_place_and_files_too(
        self, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        picture = tmp_path / 'a.png'
        cv2.imwrite(str(picture), cv2.merge([noise(48, 64)] * 3))
        words = [str(picture), '--text', 'quux', '--box', '10', '10', '40', '40']
        words += ['--box', '900', '900', '1e12', '1e12', '--text', 'missing', '--intrinsics']
        words += ['60', '60', '32', '24', '--model', str(tiny_model), '--out', str(tmp_path / 'o')]
        assert self.predict(*words) == 1
        said = capsys.readouterr().err
        assert "target0: no known word in 'quux'" in said and 'outside the 64x48 picture' in said
        rows = json.loads((tmp_path / 'o/a.targets.json').read_text())['targets']
        assert [row['id'] for row in rows] == [f'target{k}' for k in range(4)]
        assert [row['found'] for row in rows] == [False, True, False, False]
        assert [row['problem'] is None for row in rows] == [False, True, False, True]
        for k in range(4):
            inverse_depth, depth = (
                np.load(tmp_path / f'o/a.target{k}.{kind}.npy')
                for kind in ('inverse_depth', 'depth')
            )
            assert inverse_depth.shape == depth.shape == (48, 64)
            assert np.isfinite(inverse_depth).all() and np.isfinite(depth).any()
            mask = cv2.imread(str(tmp_path / f'o/a.target{k}.mask.png'), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (48, 64) and mask.any() == (k == 1)

    def test_a_result_replaces_the_earlier_one_as_a_whole(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        picture = tmp_path / 'a.b.png'
        cv2.imwrite(str(picture), cv2.merge([noise(48, 64)] * 3))
        out = tmp_path / 'o'
        common = [str(picture), '--text', 'mug', '--model', str(tiny_model), '--out', str(out)]
        assert self.predict(*common, '--text', 'red', '--intrinsics', '60', '60', '32', '24') == 0
        kept = [out / 'a.b.target0.note.txt', out / 'axb.ply', out / 'a.ply']
        for path in kept:
            path.touch()
        assert self.predict(*common) == 0
        assert {path.name for path in out.iterdir()} == {
            'a.b.target0.inverse_depth.npy', 'a.b.target0.mask.png', 'a.b.boundary.png',
            'a.b.overview.png', 'a.b.targets.json', *(path.name for path in kept),
        }  # fmt: skip

    def test_one_bad_file_does_not_cost_the_others(
        self, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        good = cv2.imencode('.png', cv2.merge([noise(48, 64)] * 3))[1].tobytes()
        bomb = good[:16] + (60_000).to_bytes(4, 'big') * 2 + good[24:]
        jpeg = cv2.imencode('.jpg', cv2.merge([noise(48, 64)] * 3))[1].tobytes()
        files = {
            b'0 empty.jpg': b'', b'1 words.png': b'hello', b'2 bomb.png': bomb,
            b'3 half.png': good[: len(good) // 2], b'4 half.jpg': jpeg[: len(jpeg) // 2],
            b'5 b\xfccher \xe7\x8c\xab.png': good, b'6 phone.jpg': jpeg + bytes(range(256)) * 99,
        }  # fmt: skip
        for name, data in files.items():
            (tmp_path / os.fsdecode(name)).write_bytes(data)
        pictures = [str(tmp_path / os.fsdecode(name)) for name in files]
        words = ['--text', 'mug', '--model', str(tiny_model), '--out', str(tmp_path / 'o')]
        assert self.predict(*pictures, *words) == 1
        said = capsys.readouterr().err
        for sentence in ('60000x60000 px', 'PNG of', 'JPEG of', '0 bytes cannot', '5 bytes cannot'):
            assert sentence in said
        names = {os.fsencode(path.name)[:1] for path in (tmp_path / 'o').glob('*.targets.json')}
        assert names == {b'5', b'6'}

    def test_pictures_are_turned_upright(self, tmp_path: Path) -> None:
        jpeg = cv2.imencode('.jpg', np.zeros((48, 64, 3), np.uint8))[1].tobytes()
        tag = b'\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00'
        tiff = b'Exif\0\0II*\0\x08\x00\x00\x00\x01\x00' + tag + bytes(4)
        segment = b'\xff\xe1' + (len(tiff) + 2).to_bytes(2, 'big') + tiff
        (tmp_path / 'a.jpg').write_bytes(jpeg[:2] + segment + jpeg[2:])
        assert read_picture(tmp_path / 'a.jpg').shape == (64, 48, 3)

    def test_a_strip_of_a_picture_makes_no_mile_of_an_overview(self, tiny_model: Path) -> None:
        result = FocusPipeline(FocusModel(tiny_model))(Frame(np.zeros((4000, 16, 3), np.uint8)))
        assert overview([row_of('strip', result)]).shape[0] <= 900
