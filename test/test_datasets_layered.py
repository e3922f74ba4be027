"""Cut-outs over backgrounds: the composite is the two layers, faults stay where they belong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_depth_ros.datasets.catalogue import open_dataset
from focus_depth_ros.datasets.frame import DatasetError
from focus_depth_ros.datasets.layered import NEARER, compose, layered

BACKGROUND = np.full((120, 160, 3), (10, 200, 30), np.uint8)
FAR = np.linspace(0.5, 1.0, 160, dtype=np.float32)[None].repeat(120, 0)
"""Inverse depth of the background, 1/m: 2 m at the left, 1 m at the right."""


def cutout(alpha: int = 255) -> np.ndarray:
    """A red square of 60 x 60 px with a hole of 12 x 12 px."""
    rgba = np.zeros((120, 160, 4), np.uint8)
    rgba[30:90, 50:110] = 255, 0, 0, alpha
    rgba[54:66, 74:86, 3] = 0
    return rgba


def test_the_composite_is_m_d1_and_one_minus_m_d2() -> None:
    layers = compose(cutout(204), np.full((120, 160), 2.0, np.float32), BACKGROUND, FAR)
    assert layers.matte[40, 60] == pytest.approx(0.8)
    expected = 0.8 * 2.0 + 0.2 * FAR[40, 60]
    assert layers.inverse_depth[40, 60] == pytest.approx(expected)
    assert layers.inverse_depth[60, 80] == FAR[60, 80]  # through the hole
    np.testing.assert_array_equal(layers.rgb[40, 60], (206, 40, 6))
    assert np.isnan(layers.inside[0, 0])


def test_a_cutout_comes_in_front_of_its_background() -> None:
    layers = compose(cutout(), np.full((120, 160), 0.1, np.float32), BACKGROUND, FAR)
    inside = layers.mask
    assert (layers.inside[inside] >= NEARER * FAR[inside] * (1 - 1e-6)).all()


def test_an_unknown_foreground_stays_unknown() -> None:
    near = np.full((120, 160), 2.0, np.float32)
    near[40, 60] = np.nan
    layers = compose(cutout(), near, BACKGROUND, FAR)
    assert np.isnan(layers.inverse_depth[40, 60])
    assert np.isfinite(layers.inverse_depth).sum() == 120 * 160 - 1


def write_layered(folder: Path) -> None:
    for name in ('foregrounds', 'backgrounds'):
        (folder / name).mkdir()
    red = cutout()[20:100, 40:120]
    cv2.imwrite(str(folder / 'foregrounds' / 'a.rgba.png'), red[:, :, [2, 1, 0, 3]])
    near = np.full(red.shape[:2], 5000, np.uint16)
    cv2.imwrite(str(folder / 'foregrounds' / 'a.depth.png'), near)
    cv2.imwrite(str(folder / 'backgrounds' / 'b.rgb.jpg'), BACKGROUND[:, :, ::-1])
    far = np.rint(1e4 / FAR).astype(np.uint16)
    far[0, 0] = 0
    cv2.imwrite(str(folder / 'backgrounds' / 'b.depth.png'), far)


def test_a_folder_of_cutouts_and_backgrounds(tmp_path: Path) -> None:
    write_layered(tmp_path)
    (frame,) = open_dataset('layered', tmp_path)
    np.testing.assert_array_equal(frame.ids > 0, cutout()[..., 3] > 0)  # placed in the middle
    assert frame.depth_m[40, 60] == pytest.approx(0.5, abs=1e-4)
    assert frame.depth_m[60, 80] == pytest.approx(1 / FAR[60, 80], abs=1e-4)
    assert np.isnan(frame.depth_m[0, 0])


def test_wrong_folders_are_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='there are 0 and 0'):
        list(layered(tmp_path))
    write_layered(tmp_path)
    cv2.imwrite(str(tmp_path / 'backgrounds' / 'b.rgb.jpg'), BACKGROUND[:50, :50])
    with pytest.raises(DatasetError, match='its depth is of another size'):
        list(layered(tmp_path))
    cv2.imwrite(str(tmp_path / 'backgrounds' / 'b.depth.png'), np.ones((50, 50), np.uint16))
    with pytest.raises(DatasetError, match=r'a\.rgba\.png is larger than its background'):
        list(layered(tmp_path))
    cv2.imwrite(str(tmp_path / 'foregrounds' / 'a.rgba.png'), BACKGROUND)
    with pytest.raises(DatasetError, match='it should be 8-bit RGBA'):
        list(layered(tmp_path))
