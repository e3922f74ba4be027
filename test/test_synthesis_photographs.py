"""The user's photographs on prints: read with what is wrong said, cropped, printed; labels stay."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_depth_ros.cli import main
from focus_depth_ros.synthesis.photographs import PhotographError, crop_of, read_photographs
from focus_depth_ros.synthesis.prints import print_label
from focus_depth_ros.synthesis.sample import read_shard
from focus_depth_ros.synthesis.shards import Job, render_shard

GREY = np.full(3, 0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs: stripes of red, and of blue, 4 px wide."""
    pictures = tmp_path / 'photographs'
    (pictures / 'deeper').mkdir(parents=True)
    for name, channel in (('a.jpg', 2), ('deeper/b.png', 0)):
        picture = np.zeros((120, 2000, 3), np.uint8)
        picture[:, np.arange(2000) % 8 < 4, channel] = 250
        cv2.imwrite(str(pictures / name), picture)
    (pictures / 'notes.txt').write_text('no picture')
    return pictures


def test_photographs_are_read_as_rgb_and_huge_ones_made_smaller(folder):
    red, blue = read_photographs(folder)
    assert red.shape == blue.shape == (61, 1024, 3)
    assert red[..., 0].mean() > 100 > 30 > red[..., 2].mean()
    assert blue[..., 2].mean() > 100 > 30 > blue[..., 0].mean()


@pytest.mark.parametrize(
    ('name', 'content', 'said'),
    [
        ('a.txt', b'', 'holds no photographs'),
        ('a.jpg', b'\xff\xd8 cut off', r'a\.jpg: .* no readable JPEG'),
        (
            'b.jpg',
            cv2.imencode('.jpg', np.zeros((99, 99), np.uint8))[1].tobytes()[:-40],
            'truncated',
        ),
        ('a.png', cv2.imencode('.png', np.zeros((20, 200), np.uint8))[1].tobytes(), 'smaller'),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, capsys, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PhotographError, match=said):
        read_photographs(tmp_path)
    out = ['--scenes', '1', '--out', str(tmp_path / 'out')]
    assert main(['render', *out, '--photographs', str(tmp_path)]) != 0
    assert 'Traceback' not in capsys.readouterr().err


def test_crops_have_the_size_asked_for_and_differ(folder):
    photographs, rng = read_photographs(folder), np.random.default_rng(0)
    crops = [
        crop_of(photographs, size, rng) for size in ((16, 200), (200, 16), (90, 90)) for _ in 'abcd'
    ]
    assert {crop.shape for crop in crops} == {(16, 200, 3), (200, 16, 3), (90, 90, 3)}
    assert all(crop.dtype == np.uint8 and crop.std() > 0 for crop in crops)
    assert len({crop.tobytes() for crop in crops}) == len(crops)


def test_a_photograph_lies_on_three_prints_of_four_and_leaves_a_rest_of_the_design(folder):
    photographs = read_photographs(folder)
    covered = []
    for seed in range(60):
        plain, printed = (np.full((100, 120, 3), 128, np.uint8) for _ in range(2))
        print_label(plain, np.random.default_rng(seed), GREY)
        print_label(printed, np.random.default_rng(seed), GREY, photographs)
        covered.append((plain != printed).any(axis=2).mean())
    changed = np.array(covered) > 0
    assert 0.6 < changed.mean() < 0.9
    assert 0.2 < np.median(np.array(covered)[changed]) < 0.7
    assert max(covered) < 0.97


def test_pictures_change_and_labels_do_not(renderer, folder, tmp_path):
    frames = {}
    for name, photographs in (('plain', None), ('printed', folder)):
        (tmp_path / name).mkdir()
        job = Job(tmp_path / name, 'train', 3, 0, 0, 1, themes=('pile',), photographs=photographs)
        frames[name] = list(read_shard(render_shard(job).path))
    differ = []
    for plain, printed in zip(frames['plain'], frames['printed'], strict=True):
        np.testing.assert_array_equal(plain.ids, printed.ids)
        np.testing.assert_array_equal(plain.depth_m, printed.depth_m)
        np.testing.assert_array_equal(plain.boundary, printed.boundary)
        for before, after in zip(plain.objects, printed.objects, strict=True):  # but for words
            assert (before.id, before.class_name, before.box) == (
                after.id,
                after.class_name,
                after.box,
            )
        differ.append(np.abs(plain.rgb.astype(int) - printed.rgb).max() > 60)
    assert any(differ)
