"""`focus-depth predict`: picture files in, result files out, a sentence for every mistake."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import noise

from focus_depth_ros.core import Frame
from focus_depth_ros.encoded_picture import read_picture
from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.pipeline import result_files
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline
from focus_depth_ros.pipeline.overview import overview, row_of


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

    def test_a_result_that_cannot_be_written_leaves_the_earlier_one(
        self, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cv2.imwrite(str(tmp_path / 'a.png'), cv2.merge([noise(48, 64)] * 3))
        out = tmp_path / 'o'
        common = [str(tmp_path / 'a.png'), '--text', 'mug', '--model', str(tiny_model)]
        common += ['--out', str(out)]
        assert self.predict(*common) == 0
        before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(result_files, 'overview', full)
        assert self.predict(*common, '--text', 'red') == 2
        assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before

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
