"""Cameras, frames, boxes and targets check themselves."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import CAMERA

from focus_depth_ros.core import Camera, Frame, InvalidInput, Target, check_size, clip_box


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
        assert clip_box((10, 10, 90, 90), 64, 48) == (10, 10, 64, 48)
        assert clip_box((-5, 2, 90, 40), 64, 48) == (0, 2, 64, 40)
        for box in ((0, 0, 0, 10), (70, 0, 90, 10), (float('nan'), 0, 5, 5), (9, 9, 3, 3)):
            with pytest.raises(InvalidInput):
                clip_box(box, 64, 48)

    def test_a_sliver_is_no_box(self) -> None:
        with pytest.raises(InvalidInput, match='2 x 2 px are the least'):
            clip_box((10, 10, 11.5, 30), 64, 48)

    def test_pictures_of_too_many_megapixels_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match='megapixels'):
            check_size(8192, 8192)

    def test_a_target_is_a_box_or_words(self) -> None:
        for wrong in ({}, {'box': (0, 0, 1, 1), 'text': 'mug'}):
            with pytest.raises(InvalidInput):
                Target('a', 'a', **wrong)
