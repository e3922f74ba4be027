"""Published layouts, written here in small and read back; wrong files are said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_depth_ros.core import tight_box
from focus_depth_ros.datasets import image_files, tum_rgbd
from focus_depth_ros.datasets.catalogue import ADAPTERS, open_dataset
from focus_depth_ros.datasets.frame import DatasetError, LabelledFrame, triplets, unique_names

HEIGHT, WIDTH = 48, 64
LABELS = np.zeros((HEIGHT, WIDTH), np.int32)
LABELS[10:30, 8:28], LABELS[20:44, 40:60] = 1, 2
DEPTH_M = np.where(LABELS == 1, 0.5, np.where(LABELS == 2, 0.75, 1.25)).astype(np.float32)
DEPTH_M[0, :5] = np.nan
COUNTS = np.nan_to_num(DEPTH_M)
"""Metres with 0 for unknown, to be scaled to each layout's counts."""
RGB = np.stack([np.where(label == LABELS, 220, 40) for label in (0, 1, 2)], 2).astype(np.uint8)
K = np.array([[60.0, 0, 31.5], [0, 62.0, 23.5], [0, 0, 1]])


def write_image(path: Path, image: np.ndarray) -> None:
    """PNG or JPEG of an RGB, RGBA or single-channel array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    stored = image[:, :, order[image.shape[2]]] if image.ndim == 3 else image
    assert cv2.imwrite(str(path), stored)


def read(name: str, path: Path) -> list[LabelledFrame]:
    return list(open_dataset(name, path))


def check_scene(frame: LabelledFrame, camera: np.ndarray | None = K) -> None:
    """The frame is the one above, whatever it was stored as; None: its camera is its own."""
    np.testing.assert_allclose(frame.depth_m, DEPTH_M, atol=1e-4)
    first, second = sorted(frame.captions)
    np.testing.assert_array_equal(frame.ids == first, LABELS == 1)
    np.testing.assert_array_equal(frame.ids == second, LABELS == 2)
    assert np.abs(frame.rgb.astype(int) - RGB).mean() < 12  # JPEG
    assert frame.rgb[2, 30, 0] > 150  # red stayed red
    if camera is not None:
        np.testing.assert_allclose(frame.K, camera, atol=1e-3)


# --- the common form


def labelled(**changes: object) -> LabelledFrame:
    facts: dict[str, object] = {
        'name': 'x',
        'group': 'g',
        'rgb': RGB,
        'depth_m': DEPTH_M,
        'ids': LABELS,
        'K': K,
        'captions': {1: ['the red mug', 'the mug'], 2: []},
        'absent_captions': ['the blue ball'],
    }
    return LabelledFrame(**(facts | changes))  # type: ignore[arg-type]


def test_triplets_are_rows_with_one_prompt_each() -> None:
    rows = triplets(labelled(), smallest_px=1)
    assert [row.kind for row in rows] == ['box', 'text', 'box', 'text']
    assert [row.is_absent for row in rows] == [False, False, False, True]
    assert rows[0].box == (8.0, 10.0, 28.0, 30.0) == tight_box(LABELS == 1)
    assert rows[1].words == rows[1].target.text == 'the red mug'
    assert rows[2].target.box == (40.0, 20.0, 60.0, 44.0)
    assert not rows[3].mask.any()
    for row in rows[:2]:
        np.testing.assert_array_equal(row.mask, LABELS == 1)
    assert len(triplets(labelled(), smallest_px=450)) == 2  # the smaller thing has 400 px
    related = labelled(relations={2: ['the mug right of the box']}, absent_relations=['no such'])
    kinds = [(row.kind, row.words) for row in triplets(related, smallest_px=1)]
    assert kinds[3] == ('relation', 'the mug right of the box')
    assert kinds[-1] == ('relation', 'no such')


@pytest.mark.parametrize(
    'changes',
    [
        {'depth_m': DEPTH_M.astype(np.float64)},
        {'ids': LABELS[1:]},
        {'K': np.eye(4)},
        {'boundary': np.zeros((3, 3), np.bool_)},
        {'rgb': RGB[:, :, 0]},
    ],
)
def test_a_frame_whose_arrays_do_not_fit_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(DatasetError, match=f'x: {next(iter(changes))} is'):
        labelled(**changes)


def test_a_name_two_things_bear_singles_out_none() -> None:
    assert unique_names({1: 'mug', 2: 'mug', 3: 'box'}, LABELS) == {1: [], 2: []}
    assert unique_names({1: 'mug', 2: 'box'}, LABELS) == {1: ['mug'], 2: ['box']}


def test_unknown_data_sets_and_paths_are_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no data set 'kitti'"):
        open_dataset('kitti', tmp_path)
    with pytest.raises(DatasetError, match='nowhere does not exist'):
        open_dataset('nyu', tmp_path / 'nowhere')


def test_a_missing_module_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('robotwin', 'hdf5_files'):
        monkeypatch.delitem(sys.modules, f'focus_depth_ros.datasets.{name}', raising=False)
    monkeypatch.setitem(sys.modules, 'h5py', None)  # as where it is not installed
    with pytest.raises(DatasetError, match=r"robotwin needs the Python module 'h5py': pip install"):
        open_dataset('robotwin', tmp_path)


@pytest.mark.parametrize('name', ADAPTERS)
def test_an_empty_folder_is_said_by_every_adapter(name: str, tmp_path: Path) -> None:
    pytest.importorskip('h5py')
    pytest.importorskip('scipy')
    with pytest.raises(DatasetError, match=str(tmp_path)):
        read(name, tmp_path)


# --- rgbd_folder


@pytest.fixture
def rgbd_folder(tmp_path: Path) -> Path:
    rows = []
    for name in ('desk_1', 'glass_1'):
        write_image(tmp_path / f'{name}.rgb.jpg', RGB)
        write_image(tmp_path / f'{name}.depth.png', np.rint(COUNTS * 1e4).astype(np.uint16))
        write_image(tmp_path / f'{name}.labels.png', LABELS.astype(np.uint8))
        objects = {'1': 'red mug', '2': 'object'}
        row = {'name': name, 'K': K.ravel().tolist(), 'depth_unit_m': 1e-4, 'objects': objects}
        rows.append(row)
    seen = np.rint(COUNTS * 1e4).astype(np.uint16)
    seen[LABELS == 2] = 0
    write_image(tmp_path / 'glass_1.sensor_depth.png', seen)
    (tmp_path / 'frames.json').write_text(json.dumps(rows))
    return tmp_path


def test_rgbd_folder(rgbd_folder: Path) -> None:
    desk, glass = read('rgbd_folder', rgbd_folder)
    check_scene(desk)
    assert (desk.group, glass.group) == ('desk', 'glass+sensor')
    assert desk.captions == {1: ['red mug'], 2: []}
    assert desk.boundary is not None and desk.boundary[20, 8] and not desk.boundary[20, 7]
    assert glass.sensor_depth_m is not None and np.isnan(glass.sensor_depth_m[LABELS == 2]).all()


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'name': '../mosd_1'}, 'no name of a file'),
        ({'depth_unit_m': 0}, 'above 0'),
        ({'depth_unit_m': -1e-4}, 'above 0'),
        ({'depth_unit_m': float('nan')}, 'above 0'),
        ({'K': [0] * 9}, 'above 0'),
        ({'objects': {'0': 'table'}}, 'labels of objects begin at 1'),
        ({'objects': {'1': ''}}, "without a name of its own is called 'object'"),
        ({'objects': {'1': None}}, "without a name of its own is called 'object'"),
        ({'depth_unit_m': 10**400}, 'OverflowError'),
        ({'K': [0.001, 0, 30, 0, 0.001, 20, 0, 0, 1]}, r'frames\.json: K of desk_1: .*no camera'),
    ],
)
def test_nonsense_of_an_rgbd_frame_is_said(rgbd_folder: Path, changes: dict, said: str) -> None:
    listing = rgbd_folder / 'frames.json'
    (row, *_) = json.loads(listing.read_text())
    listing.write_text(json.dumps([row | changes]))
    with pytest.raises(DatasetError, match=said):
        read('rgbd_folder', rgbd_folder)
    for no_json in (b'\xff', b'[' * 200_000):
        listing.write_bytes(no_json)
        with pytest.raises(DatasetError, match=r'frames\.json: not JSON'):
            read('rgbd_folder', rgbd_folder)
    listing.write_text('5')
    with pytest.raises(DatasetError, match=r'frames\.json: holds no list'):
        read('rgbd_folder', rgbd_folder)


def test_half_a_jpeg_is_not_filled_with_grey(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    data = cv2.imencode('.jpg', picture)[1].tobytes()
    (tmp_path / 'half.jpg').write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match=r'half\.jpg is not a readable image: .*truncated'):
        image_files.read_rgb(tmp_path / 'half.jpg')
    (tmp_path / 'whole.jpg').write_bytes(data)
    assert image_files.read_rgb(tmp_path / 'whole.jpg').shape == (240, 320, 3)


def test_wrong_rgbd_folders_are_said(rgbd_folder: Path) -> None:
    listing = rgbd_folder / 'frames.json'
    rows = json.loads(listing.read_text())
    (rgbd_folder / 'desk_1.labels.png').write_bytes(b'\x89PNG and then nothing')
    with pytest.raises(DatasetError, match=r'desk_1\.labels\.png is not a readable image'):
        read('rgbd_folder', rgbd_folder)
    write_image(rgbd_folder / 'desk_1.labels.png', LABELS[:40].astype(np.uint8))
    with pytest.raises(DatasetError, match='desk_1: ids is'):
        read('rgbd_folder', rgbd_folder)
    write_image(rgbd_folder / 'desk_1.labels.png', RGB)
    with pytest.raises(DatasetError, match='has 3 channels'):
        read('rgbd_folder', rgbd_folder)
    write_image(rgbd_folder / 'desk_1.labels.png', LABELS.astype(np.uint8))
    write_image(rgbd_folder / 'desk_1.depth.png', LABELS.astype(np.uint8))
    with pytest.raises(DatasetError, match='depth is stored as 16-bit PNG'):
        read('rgbd_folder', rgbd_folder)
    (rgbd_folder / 'desk_1.depth.png').unlink()
    with pytest.raises(DatasetError, match=r'desk_1\.depth\.png is missing'):
        read('rgbd_folder', rgbd_folder)
    for wrong in ({'K': [float('nan')] * 9}, {'depth_unit_m': 1e300}):
        listing.write_text(json.dumps([rows[0] | wrong]))
        with pytest.raises(DatasetError, match=r'frames\.json: .*K finite'):
            read('rgbd_folder', rgbd_folder)
    del rows[0]['K']
    listing.write_text(json.dumps(rows))
    with pytest.raises(DatasetError, match=r"KeyError..K.. in .*'desk_1'"):
        read('rgbd_folder', rgbd_folder)
    listing.write_text('[{')
    with pytest.raises(DatasetError, match=r'frames\.json: not JSON'):
        read('rgbd_folder', rgbd_folder)


# --- NYU v2


@pytest.fixture
def nyu_folder(tmp_path: Path) -> Path:
    h5py, scipy_io = pytest.importorskip('h5py'), pytest.importorskip('scipy.io')
    labels, instances = np.zeros((2, 640, 480), np.uint16), np.zeros((2, 640, 480), np.uint8)
    labels[:, 100:200, 50:90], instances[:, 100:200, 50:90] = 2, 1
    labels[:, 300:400, 60:99], instances[:, 300:400, 60:99] = 1, 1
    labels[1, 420:500, 60:99], instances[1, 420:500, 60:99] = 1, 2
    depths = np.full((2, 640, 480), 2.0, np.float32)
    depths[:, 100:200, 50:90], depths[0, 300, 60] = 1.0, 0.0
    with h5py.File(tmp_path / 'nyu_depth_v2_labeled.mat', 'w') as file:
        images = file.create_dataset('images', (2, 3, 640, 480), np.uint8, fillvalue=0)
        images[0, 0, 100:200, 50:90] = 255  # red on the first thing
        file['depths'], file['labels'], file['instances'] = depths, labels, instances
        names = file.create_dataset('names', (1, 2), h5py.ref_dtype)
        for place, name in enumerate(('chair', 'mug')):
            codes = np.array([[ord(letter)] for letter in name], np.uint16)
            names[0, place] = file.create_dataset(f'#refs#/{place}', data=codes).ref
    split = {'trainNdxs': np.array([[2]]), 'testNdxs': np.array([[1]])}
    scipy_io.savemat(tmp_path / 'splits.mat', split)
    return tmp_path


def test_nyu(nyu_folder: Path) -> None:
    first, second = read('nyu', nyu_folder)
    assert first.rgb.shape == (426, 560, 3)
    assert (first.name, first.group, second.group) == ('nyu/0001', 'nyu test', 'nyu train')
    mug, chair = 2 * 256 + 1, 1 * 256 + 1
    assert first.captions == {chair: ['chair'], mug: ['mug']}
    assert second.captions == {chair: [], chair + 1: [], mug: ['mug']}  # two chairs
    assert tight_box(first.ids == mug) == (100.0 - 41, 50.0 - 45, 200.0 - 41, 90.0 - 45)
    assert (first.rgb[first.ids == mug] == (255, 0, 0)).all()
    assert np.isnan(first.depth_m[60 - 45, 300 - 41])
    assert (first.depth_m[first.ids == mug] == 1.0).all()
    wanted = [[518.8579, 0, 325.5824 - 41], [0, 519.4696, 253.7362 - 45], [0, 0, 1]]
    np.testing.assert_allclose(first.K, wanted, atol=1e-3)
    (nyu_folder / 'splits.mat').unlink()
    alone = read('nyu', nyu_folder / 'nyu_depth_v2_labeled.mat')
    assert [frame.group for frame in alone] == ['nyu', 'nyu']


def test_wrong_nyu_files_are_said(nyu_folder: Path) -> None:
    import h5py

    path = nyu_folder / 'nyu_depth_v2_labeled.mat'
    (nyu_folder / 'splits.mat').write_bytes(b'no mat file')
    with pytest.raises(DatasetError, match=r'splits\.mat: not a readable \.mat'):
        read('nyu', nyu_folder)
    (nyu_folder / 'splits.mat').unlink()
    with h5py.File(path, 'a') as file:
        del file['depths']
        file['depths'] = np.zeros((2, 480, 640), np.float32)
    with pytest.raises(DatasetError, match=r'/depths is \(2, 480, 640\), not \(2, 640, 480\)'):
        read('nyu', nyu_folder)
    with h5py.File(path, 'a') as file:
        del file['depths']
    with pytest.raises(DatasetError, match=r"has no 'depths'; there is .*images"):
        read('nyu', nyu_folder)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DatasetError, match='not readable as HDF5, it may be truncated'):
        read('nyu', nyu_folder)


# --- YCB-Video


@pytest.fixture
def ycb_folder(tmp_path: Path) -> Path:
    scipy_io = pytest.importorskip('scipy.io')
    for key in ('0048/000001', '0048/000002'):
        stem = tmp_path / 'data' / key
        write_image(stem.with_name(f'{stem.name}-color.png'), RGB)
        counts = np.rint(COUNTS * 10000).astype(np.uint16)
        write_image(stem.with_name(f'{stem.name}-depth.png'), counts)
        write_image(stem.with_name(f'{stem.name}-label.png'), LABELS.astype(np.uint8))
        meta = {
            'cls_indexes': np.array([[1], [2]]),
            'factor_depth': np.array([[10000]]),
            'intrinsic_matrix': K,
        }
        scipy_io.savemat(stem.with_name(f'{stem.name}-meta.mat'), meta)
    (tmp_path / 'image_sets').mkdir()
    classes = '002_master_chef_can\n003_cracker_box\n'
    (tmp_path / 'image_sets' / 'classes.txt').write_text(classes)
    return tmp_path


def test_ycb_video(ycb_folder: Path) -> None:
    first, second = read('ycb_video', ycb_folder)
    check_scene(first)
    assert (first.name, second.name) == ('ycb_video/0048/000001', 'ycb_video/0048/000002')
    assert first.captions == {1: ['master chef can'], 2: ['cracker box']}
    np.testing.assert_array_equal(first.K, K)
    (ycb_folder / 'image_sets' / 'keyframe.txt').write_text('0048/000002\n')
    assert [frame.name for frame in read('ycb_video', ycb_folder)] == ['ycb_video/0048/000002']


def test_wrong_ycb_files_are_said(ycb_folder: Path) -> None:
    import scipy.io

    meta = ycb_folder / 'data' / '0048' / '000001-meta.mat'
    scipy.io.savemat(meta, {'factor_depth': np.array([[0]]), 'intrinsic_matrix': K})
    with pytest.raises(DatasetError, match=r'000001-meta\.mat: factor_depth is 0'):
        read('ycb_video', ycb_folder)
    scipy.io.savemat(meta, {'factor_depth': np.array([[10000]])})
    with pytest.raises(DatasetError, match=r'000001-meta\.mat: lacks intrinsic_matrix'):
        read('ycb_video', ycb_folder)
    meta.write_bytes(b'')
    with pytest.raises(DatasetError, match=r'000001-meta\.mat: not a readable'):
        read('ycb_video', ycb_folder)


# --- TUM RGB-D


@pytest.fixture
def tum_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tum_rgbd, 'CALIBRATED_PX', RGB.shape[1::-1])
    folder = tmp_path / 'rgbd_dataset_freiburg2_desk'
    for stamp in ('10.000', '10.033', '10.066'):
        write_image(folder / 'rgb' / f'{stamp}.png', RGB)
    for stamp in ('10.005', '10.040', '10.300'):
        counts = np.rint(COUNTS * 5000).astype(np.uint16)
        write_image(folder / 'depth' / f'{stamp}.png', counts)
    for kind, stamps in (('rgb', '10.000 10.033 10.066'), ('depth', '10.005 10.040 10.300')):
        lines = [f'{stamp} {kind}/{stamp}.png' for stamp in stamps.split()]
        (folder / f'{kind}.txt').write_text('\n'.join(['# color images', *lines, '']))
    write_image(folder / 'masks' / '10.000.png', LABELS.astype(np.uint16))
    return folder


def test_tum_rgbd(tum_folder: Path) -> None:
    first, second = read('tum_rgbd', tum_folder)  # 10.066 has no depth of its own
    check_scene(first, camera=None)
    assert second.name.endswith('/10.033000')
    assert not second.captions and not second.ids.any()  # no mask lies there
    wanted = [[520.9, 0, 325.1], [0, 521.0, 249.7], [0, 0, 1]]
    np.testing.assert_allclose(first.K, wanted)


def test_wrong_tum_listings_are_said(tum_folder: Path) -> None:
    (tum_folder / 'rgb.txt').write_text('# fine\n10.0\n')
    with pytest.raises(DatasetError, match=r"rgb\.txt:2: '10\.0' is not"):
        read('tum_rgbd', tum_folder)
    (tum_folder / 'rgb.txt').write_text('99.0 rgb/10.000.png\n')
    with pytest.raises(DatasetError, match='no picture and depth within'):
        read('tum_rgbd', tum_folder)


def test_tum_pictures_of_another_size_than_their_calibration_are_refused(
    tum_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tum_rgbd, 'CALIBRATED_PX', (640, 480))
    with pytest.raises(DatasetError, match=r'10\.000\.png is .* calibrations are 640x480'):
        read('tum_rgbd', tum_folder)


def test_stamps_are_paired_nearest_first_and_once() -> None:
    pictures, depths = np.array([0.0, 0.03, 0.06, 1.0]), np.array([0.2, 0.045, 0.019, 0.0])
    assert tum_rgbd.pair_by_stamp(pictures, depths) == [(0.0, 0.0), (0.03, 0.019), (0.06, 0.045)]
    assert tum_rgbd.pair_by_stamp(pictures, np.array([])) == []


# --- RLBench


@pytest.fixture
def rlbench_folder(tmp_path: Path) -> Path:
    episode = tmp_path / 'open_jar' / 'variation0' / 'episodes' / 'episode0'
    near_m, far_m = 0.01, 4.5
    share = (np.where(np.isnan(DEPTH_M), far_m, DEPTH_M) - near_m) / (far_m - near_m)
    code = np.floor(share.astype(np.float64) * (2**24 - 1) + 0.5).astype(np.int64)
    handles = np.where(LABELS == 1, 83, np.where(LABELS == 2, 70000, 0))
    for number in (0, 1):
        write_image(episode / 'front_rgb' / f'{number}.png', RGB)
        coded = np.stack([code >> 16, code >> 8 & 255, code & 255], 2).astype(np.uint8)
        write_image(episode / 'front_depth' / f'{number}.png', coded)
        masked = np.stack([handles & 255, handles >> 8 & 255, handles >> 16], 2).astype(np.uint8)
        write_image(episode / 'front_mask' / f'{number}.png', masked)
    camera = {'near_m': near_m, 'far_m': far_m, 'K': K.ravel().tolist()}
    (tmp_path / 'camera.json').write_text(json.dumps(camera))
    return tmp_path


def test_rlbench(rlbench_folder: Path) -> None:
    frames = read('rlbench', rlbench_folder)
    assert len(frames) == 2
    check_scene(frames[0])
    assert frames[0].captions == {83: [], 70000: []}
    camera = {'near_m': 0.01, 'far_m': 4.5, 'names': {'70000': 'red jar'}}
    (rlbench_folder / 'open_jar' / 'camera.json').write_text(json.dumps(camera))  # nearer, counts
    frame = read('rlbench', rlbench_folder)[0]
    assert frame.K is None
    assert frame.captions == {70000: ['red jar']}


def test_rlbench_says_what_it_needs_and_opens_no_pickle(rlbench_folder: Path) -> None:
    camera = rlbench_folder / 'camera.json'
    camera.write_text('{"near_m": 4.5, "far_m": 0.01}')
    with pytest.raises(DatasetError, match='no clipping planes'):
        read('rlbench', rlbench_folder)
    camera.write_text('{"near_m": 0.01}')
    with pytest.raises(DatasetError, match=r'camera\.json: needs near_m and far_m'):
        read('rlbench', rlbench_folder)
    camera.unlink()
    with pytest.raises(DatasetError, match=r'only in a pickle.*not opened; write camera\.json'):
        read('rlbench', rlbench_folder)


# --- RoboTwin


@pytest.fixture
def robotwin_folder(tmp_path: Path) -> Path:
    h5py = pytest.importorskip('h5py')
    palette = np.array([(240, 248, 255), (0, 255, 255), (1, 2, 3)], np.uint8)
    pictures = [cv2.imencode('.jpg', RGB)[1].tobytes() for _ in range(2)]  # RGB taken for BGR
    path = tmp_path / 'beat_block_hammer' / 'demo_clean' / 'data' / 'episode0.hdf5'
    path.parent.mkdir(parents=True)
    with h5py.File(path, 'w') as file:
        camera = file.create_group('observation/head_camera')
        longest = max(map(len, pictures))
        camera.create_dataset('rgb', data=pictures, dtype=f'S{longest}')
        camera['depth'] = np.stack([COUNTS.astype(np.float64) * 1000] * 2)
        camera['actor_segmentation'] = np.stack([palette[LABELS]] * 2)
        camera['intrinsic_cv'] = np.stack([K.astype(np.float32)] * 2)
    return tmp_path


def test_robotwin(robotwin_folder: Path) -> None:
    frames = read('robotwin', robotwin_folder)
    assert len(frames) == 2
    assert set(frames[0].captions) == {0x00FFFF, 0x010203}  # the background fills over half
    np.testing.assert_array_equal(frames[0].ids == 0x00FFFF, LABELS == 1)
    np.testing.assert_allclose(frames[0].depth_m, DEPTH_M, atol=1e-6)
    assert np.abs(frames[0].rgb.astype(int) - RGB).mean() < 12
    names = {'#00ffff': 'hammer'}
    (robotwin_folder / 'beat_block_hammer' / 'names.json').write_text(json.dumps(names))
    assert read('robotwin', robotwin_folder)[1].captions == {0x00FFFF: ['hammer']}


def test_names_are_looked_for_no_farther_up_than_what_is_given(robotwin_folder: Path) -> None:
    episode = next(robotwin_folder.rglob('episode0.hdf5'))
    (robotwin_folder / 'names.json').write_text(json.dumps({'#00ffff': 'hammer'}))
    for given in (episode, episode.parent):
        assert read('robotwin', given)[0].captions == {0x00FFFF: [], 0x010203: []}
    (episode.parent / 'names.json').write_text(json.dumps({'#010203': 'block'}))
    for given in (episode, robotwin_folder):
        assert read('robotwin', given)[0].captions == {0x010203: ['block']}


def test_wrong_robotwin_files_are_said(robotwin_folder: Path) -> None:
    import h5py

    path = next(robotwin_folder.rglob('episode0.hdf5'))
    with h5py.File(path, 'a') as file:
        camera = file['observation/head_camera']
        pictures = [bytes(data)[:40] for data in camera['rgb']]
        del camera['rgb']
        camera.create_dataset('rgb', data=pictures, dtype='S40')
    with pytest.raises(DatasetError, match='picture 0 is not a readable JPEG'):
        read('robotwin', robotwin_folder)
    with h5py.File(path, 'a') as file:
        del file['observation/head_camera/actor_segmentation']
    with pytest.raises(DatasetError, match="has no 'actor_segmentation'"):
        read('robotwin', robotwin_folder)


# --- Hypersim


@pytest.fixture
def hypersim_folder(tmp_path: Path) -> Path:
    h5py = pytest.importorskip('h5py')
    images = tmp_path / 'ai_001_002' / 'images'
    write_image(images / 'scene_cam_00_final_preview' / 'frame.0003.tonemap.jpg', RGB)
    focal = WIDTH / 2 / np.tan(np.deg2rad(30))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    rays = np.stack([(columns - 31.5) / focal, (rows - 23.5) / focal, np.ones_like(rows)], 2)
    distance = np.linalg.norm(rays, axis=2) * DEPTH_M
    classes = np.where(LABELS == 1, 5, np.where(LABELS == 2, 40, 2)).astype(np.int16)
    things = np.where(LABELS > 0, LABELS * 10, -1).astype(np.int16)
    geometry = images / 'scene_cam_00_geometry_hdf5'
    geometry.mkdir()
    for name, array in (
        ('depth_meters', distance.astype(np.float16)),
        ('semantic', classes),
        ('semantic_instance', things),
    ):
        with h5py.File(geometry / f'frame.0003.{name}.hdf5', 'w') as file:
            file['dataset'] = array
    header = 'scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,'
    (tmp_path / 'metadata_images_split_scene_v1.csv').write_text(
        f'{header}split_partition_name\nai_001_002,cam_00,3,True,,val\n'
    )
    return tmp_path


def test_hypersim_distance_becomes_depth(hypersim_folder: Path) -> None:
    (frame,) = read('hypersim', hypersim_folder)
    np.testing.assert_allclose(frame.depth_m, DEPTH_M, rtol=1e-3)  # stored as 16-bit floats
    assert frame.group == 'hypersim val'
    assert frame.captions == {10: ['chair'], 20: []}  # "otherprop" is no name
    assert frame.K is not None and frame.K[0, 0] == pytest.approx(WIDTH * 886.81 / 1024, abs=1e-2)
    edges = frame.boundary
    assert edges is not None
    inner = cv2.erode((LABELS > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    np.testing.assert_array_equal(edges[2:], ((LABELS > 0) & ~inner)[2:])  # outlines, nearer side


@pytest.mark.parametrize('tilt', [0.0, 0.1])
def test_a_hypersim_scene_with_a_camera_of_its_own(hypersim_folder: Path, tilt: float) -> None:
    import h5py

    ray_of = np.array([[0.4, 0, 0.02], [0, 0.3, -0.05], [tilt, 0, -1]])
    u = (np.arange(WIDTH) + 0.5) / WIDTH * 2 - 1
    v = 1 - (np.arange(HEIGHT) + 0.5) / HEIGHT * 2
    rays = np.stack([*np.meshgrid(u, v), np.ones((HEIGHT, WIDTH))], 2) @ ray_of.T
    geometry = hypersim_folder / 'ai_001_002' / 'images' / 'scene_cam_00_geometry_hdf5'
    with h5py.File(geometry / 'frame.0003.depth_meters.hdf5', 'w') as file:
        file['dataset'] = np.linalg.norm(rays, axis=2) / -rays[..., 2] * DEPTH_M
    names = [f'M_cam_from_uv_{i}{j}' for i in range(3) for j in range(3)]
    row = ','.join(map(str, ray_of.ravel()))
    cameras = hypersim_folder / 'metadata_camera_parameters.csv'
    cameras.write_text(f'scene_name,{",".join(names)}\nai_001_002,{row}\n')
    (frame,) = read('hypersim', hypersim_folder)
    np.testing.assert_allclose(frame.depth_m, DEPTH_M, rtol=1e-5)
    if tilt:
        assert frame.K is None
    else:
        points = rays / -rays[..., 2:] * (1, -1, -1)  # x right, y down, z forward
        assert frame.K is not None
        pixels = points @ frame.K.T
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        np.testing.assert_allclose(pixels[..., 0], columns, atol=1e-6)
        np.testing.assert_allclose(pixels[..., 1], rows, atol=1e-6)
    cameras.write_text(f'scene_name,{",".join(names)}\nai_009_009,{row}\n')
    with pytest.raises(DatasetError, match='ai_001_002 is not in metadata_camera'):
        read('hypersim', hypersim_folder)
    cameras.write_text('scene_name\nai_001_002\n')
    with pytest.raises(DatasetError, match='not the official cameras'):
        read('hypersim', hypersim_folder)


def test_wrong_hypersim_files_are_said(hypersim_folder: Path) -> None:
    import h5py

    geometry = hypersim_folder / 'ai_001_002' / 'images' / 'scene_cam_00_geometry_hdf5'
    with h5py.File(geometry / 'frame.0003.semantic.hdf5', 'w') as file:
        file['dataset'] = np.zeros((5, 5), np.int16)
    with pytest.raises(DatasetError, match=r'the files of frame\.0003 differ in size'):
        read('hypersim', hypersim_folder)
    with h5py.File(geometry / 'frame.0003.semantic.hdf5', 'w') as file:
        file['labels'] = np.zeros((5, 5), np.int16)
    with pytest.raises(DatasetError, match="has no 'dataset'; there is labels"):
        read('hypersim', hypersim_folder)
    (geometry / 'frame.0003.semantic.hdf5').unlink()
    with pytest.raises(DatasetError, match=r'frame\.0003\.semantic\.hdf5 is missing'):
        read('hypersim', hypersim_folder)
