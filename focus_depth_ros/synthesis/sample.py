"""One labelled frame and its form on disk.

The only place that knows the names and units inside a shard.

A shard is an uncompressed tar in the WebDataset manner: the files of one frame share a key and
differ in their ending (`KEY.rgb.jpg`, `KEY.depth.png`, `KEY.ids.png`, `KEY.boundary.png`,
`KEY.json`). Extras, where they were asked for: `KEY.sensor_depth.png`, `KEY.normals.png`,
`KEY.amodal.png`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box, InvalidInput
from focus_depth_ros.encoded_picture import decoded

DEPTH_UNIT_M = 1e-4
"""Metres of one count in `KEY.depth.png`; 0 counts = no measurement. 65535 counts reach 6.55 m."""
FARTHEST_M = 6.5
JPEG_QUALITY = 95
PLANE_KINDS = {'ids.png': np.uint8, 'depth.png': np.uint16, 'boundary.png': np.uint8}
"""What images as large as the picture hold."""
ENDINGS = ('rgb.jpg', 'depth.png', 'ids.png', 'boundary.png', 'json')
EXTRA_ENDINGS = ('sensor_depth.png', 'normals.png', 'amodal.png')

BOUNDARY_OCCLUSION, BOUNDARY_SELF, BOUNDARY_CONTACT = 1, 2, 3
"""Values of the boundary image, else 0; a boundary pixel lies on the nearer surface (its owner)."""
OCCLUSIONS = (BOUNDARY_OCCLUSION, BOUNDARY_SELF)


@dataclass(frozen=True)
class RelationCaption:
    """A caption that names its object by how it stands to others.

    relation: one of vocabulary.RELATIONS to the object with the id `anchor`, or one of
    vocabulary.POSITIONS among those alike, anchor 0.
    """

    caption: str
    relation: str
    anchor: int


@dataclass(frozen=True)
class SceneObject:
    """One visible object.

    id: value in the ids image (1..255). colour: what everyone would call it, empty where there is
    no such word; other_colours: what someone might. box: tight xyxy on the visible pixels, px,
    right and lower edge exclusive. captions: each fits this object and no other visible one.
    extent_m: size along the world's axes, z up. relation_captions: likewise, by relations to other
    objects.
    """

    id: int
    class_name: str
    colour: str
    material: str
    box: Box
    visible_px: int
    captions: list[str]
    extent_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    relation_captions: list[RelationCaption] = field(default_factory=list)
    other_colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Extras:
    """What only some uses need.

    sensor_depth_m float32 (H,W), as a depth camera would measure it, NaN = hole; normals float32
    (H,W,3), unit, optical frame, towards the camera, NaN = nothing; amodal bool (N,H,W), whole
    outlines in the order of the sample's objects.
    """

    sensor_depth_m: NDArray[np.float32]
    normals: NDArray[np.float32]
    amodal: NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """One frame: rgb uint8 (H,W,3); depth_m float32 (H,W) along Z, NaN = invalid.

    ids uint8 (H,W), 0 = structure; boundary uint8 (H,W), see BOUNDARY_*; K float64 (3,3) px,
    pixel centres at integers; camera_pose float64 (4,4) world_T_optical (x right, y down, z
    forward), metres. absent_captions and absent_relation_captions fit nothing in view. scene: its
    number among those of a seed.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    ids: NDArray[np.uint8]
    boundary: NDArray[np.uint8]
    K: NDArray[np.float64]
    objects: list[SceneObject]
    absent_captions: list[str] = field(default_factory=list)
    absent_relation_captions: list[str] = field(default_factory=list)
    theme: str = ''
    scene: int = 0
    camera_pose: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    extras: Extras | None = None


def encode_image(ending: str, image: NDArray[Any], *options: int) -> bytes:
    """An image file in memory: ending such as '.png', OpenCV options. Raises ValueError."""
    done, data = cv2.imencode(ending, image, list(options))
    if not done:
        raise ValueError(
            f'OpenCV could not encode an image of shape {image.shape} {image.dtype} as {ending}'
        )
    return bytes(data.tobytes())


def _object_to_json(item: SceneObject) -> dict[str, Any]:
    row = asdict(item)
    row['class'] = row.pop('class_name')
    return row


def _object_from_json(row: dict[str, Any]) -> SceneObject:
    return SceneObject(
        id=int(row['id']),
        class_name=row['class'],
        colour=row['colour'],
        material=row['material'],
        box=tuple(row['box']),
        visible_px=int(row['visible_px']),
        captions=list(row['captions']),
        extent_m=tuple(row.get('extent_m', (0.0, 0.0, 0.0))),
        relation_captions=[RelationCaption(**entry) for entry in row.get('relation_captions', [])],
        other_colours=tuple(row.get('other_colours', ())),
    )


def depth_to_counts(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Metres (NaN = invalid) -> uint16 counts of DEPTH_UNIT_M.

    Invalid or beyond FARTHEST_M becomes 0.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0) & (depth_m <= FARTHEST_M)
    counts = np.rint(np.where(valid, depth_m, 0.0).astype(np.float64) / DEPTH_UNIT_M)
    return counts.astype(np.uint16)


def counts_to_depth(counts: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Inverse of `depth_to_counts`: 0 counts becomes NaN."""
    return np.where(counts > 0, counts * DEPTH_UNIT_M, np.nan).astype(np.float32)


def _encode_extras(extras: Extras) -> dict[str, bytes]:
    """Depth in DEPTH_UNIT_M; normals as 128 + 127 n, 0 = nothing; outlines one below another."""
    outlines = (
        extras.amodal if len(extras.amodal) else np.zeros((1, *extras.normals.shape[:2]), bool)
    )
    seen = np.isfinite(extras.normals).all(axis=2, keepdims=True)
    normals = np.where(seen, np.rint(128 + 127 * np.nan_to_num(extras.normals)), 0)
    stacked = outlines.reshape(-1, outlines.shape[2]).astype(np.uint8) * 255
    compressed = (cv2.IMWRITE_PNG_COMPRESSION, 4)
    return {
        'sensor_depth.png': encode_image(
            '.png', depth_to_counts(extras.sensor_depth_m), *compressed
        ),
        'normals.png': encode_image('.png', normals.astype(np.uint8)[:, :, ::-1], *compressed),
        'amodal.png': encode_image('.png', stacked, *compressed),
    }


def encode_sample(sample: Sample) -> dict[str, bytes]:
    """The frame's files by ending. The same sample always gives the same bytes."""
    row = {
        'K': sample.K.tolist(),
        'camera_pose': sample.camera_pose.tolist(),
        'theme': sample.theme,
        'seed': sample.scene,  # shards have always called it so
        'objects': [_object_to_json(item) for item in sample.objects],
        'absent_captions': sample.absent_captions,
        'absent_relation_captions': sample.absent_relation_captions,
    }
    return {
        'rgb.jpg': encode_image(
            '.jpg', sample.rgb[:, :, ::-1], cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY
        ),
        'depth.png': encode_image(
            '.png', depth_to_counts(sample.depth_m), cv2.IMWRITE_PNG_COMPRESSION, 2
        ),
        'ids.png': encode_image('.png', sample.ids, cv2.IMWRITE_PNG_COMPRESSION, 2),
        'boundary.png': encode_image('.png', sample.boundary, cv2.IMWRITE_PNG_COMPRESSION, 2),
        'json': json.dumps(row, separators=(',', ':')).encode(),
    } | (_encode_extras(sample.extras) if sample.extras else {})


def decode_sample(files: dict[str, bytes], where: str = 'sample') -> Sample:
    """Inverse of `encode_sample`; `where` names the frame in errors.

    Raises ValueError on missing or broken files.
    """
    missing = [ending for ending in ENDINGS if ending not in files]
    if missing:
        raise ValueError(
            f'{where}: the frame lacks {", ".join(missing)}; the shard is not of this format'
        )
    planes = {ending: _image(files, ending, cv2.IMREAD_UNCHANGED, where) for ending in PLANE_KINDS}
    rgb = np.ascontiguousarray(_image(files, 'rgb.jpg', cv2.IMREAD_COLOR, where)[:, :, ::-1])
    _check_planes(planes, rgb.shape[:2], where)
    sample = _with_words(files['json'], rgb, planes, where)
    return replace(sample, extras=_decode_extras(files, sample, where))


def _image(files: dict[str, bytes], ending: str, flag: int, where: str) -> NDArray[Any]:
    try:
        return decoded(files[ending], flag)
    except InvalidInput as problem:
        raise ValueError(f'{where}: {ending}: {problem}; render the shard again') from problem


def _check_planes(planes: dict[str, NDArray[Any]], size: tuple[int, ...], where: str) -> None:
    """Raise ValueError unless each is of its kind and as large as the picture."""
    for ending, kind in PLANE_KINDS.items():
        plane = planes[ending]
        if plane.dtype != kind or plane.shape != size:
            raise ValueError(
                f'{where}: {ending} is {plane.dtype} {plane.shape}, '
                f'it should be {np.dtype(kind)} {size}'
            )


def _with_words(
    content: bytes, rgb: NDArray[np.uint8], planes: dict[str, NDArray[Any]], where: str
) -> Sample:
    """The sample of decoded images and of what its json says; no extras. Raises ValueError."""
    try:
        row = json.loads(content)
        return Sample(
            rgb=rgb,
            depth_m=counts_to_depth(planes['depth.png']),
            ids=planes['ids.png'],
            boundary=planes['boundary.png'],
            K=_matrix(row['K'], 3),
            objects=[_object_from_json(item) for item in row['objects']],
            absent_captions=list(row['absent_captions']),
            absent_relation_captions=list(row.get('absent_relation_captions', [])),
            theme=row['theme'],
            scene=int(row['seed']),
            camera_pose=_matrix(row['camera_pose'], 4),
        )
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise ValueError(f'{where}: json is not of this format ({error!r})') from error


def _decode_extras(files: dict[str, bytes], sample: Sample, where: str) -> Extras | None:
    """Inverse of `_encode_extras`; None where there are none. Raises ValueError."""
    given = [ending for ending in EXTRA_ENDINGS if ending in files]
    if not given:
        return None
    if len(given) < len(EXTRA_ENDINGS):
        raise ValueError(f'{where}: of the extras it has {", ".join(given)} only')
    stored = _image(files, 'normals.png', cv2.IMREAD_COLOR, where)[:, :, ::-1].astype(np.float32)
    outlines = _image(files, 'amodal.png', cv2.IMREAD_UNCHANGED, where) > 0
    sensor = _image(files, 'sensor_depth.png', cv2.IMREAD_UNCHANGED, where)
    height, width = size = sample.ids.shape
    if (
        sensor.dtype != np.uint16
        or (sensor.shape, stored.shape) != (size, (*size, 3))
        or outlines.ndim != 2
        or outlines.shape[1] != width
        or outlines.shape[0] % height
    ):
        raise ValueError(f"{where}: its extras are not of the picture's size")
    normals = np.where(stored.any(axis=2, keepdims=True), (stored - 128) / 127, np.nan)
    return Extras(
        sensor_depth_m=counts_to_depth(sensor),
        normals=normals.astype(np.float32),
        amodal=outlines.reshape(-1, height, width)[: len(sample.objects)],
    )


def _matrix(rows: Any, side: int) -> NDArray[np.float64]:
    matrix = np.array(rows, np.float64)
    if matrix.shape != (side, side) or not np.isfinite(matrix).all():
        raise ValueError(f'{rows} is no matrix of {side} by {side} numbers')
    return matrix


def write_sample(shard: tarfile.TarFile, key: str, sample: Sample) -> None:
    """Append one frame to an open tar under `key` (no dots).

    Times and owners are left at zero: bytes repeat.
    """
    for ending, data in encode_sample(sample).items():
        entry = tarfile.TarInfo(f'{key}.{ending}')
        entry.size = len(data)
        shard.addfile(entry, io.BytesIO(data))


def check_end(path: str | Path, shard: tarfile.TarFile) -> None:
    """Raise ValueError unless the shard that was read ends where an archive does, in zeros.

    A damaged header, or a cut before one, is to tarfile the end as well: frames would be missing.
    """
    with open(path, 'rb') as stream:
        stream.seek(shard.offset)
        if not (end := stream.read()) or any(end):
            raise ValueError(
                f'{path}: damaged or cut short after {shard.offset} bytes; '
                'delete it and render it again'
            )


def read_shard(path: str | Path) -> Iterator[Sample]:
    """Stream the frames of one shard in order.

    Raises ValueError naming the shard and key that is broken.
    """
    try:
        with tarfile.open(path, 'r|') as shard:
            key, files = '', dict[str, bytes]()
            for entry in shard:
                stem, _, ending = entry.name.partition('.')
                if files and stem != key:
                    yield decode_sample(files, f'{path}: {key}')
                    files = {}
                key = stem
                content = shard.extractfile(entry)
                files[ending] = content.read() if content else b''
            if files:
                yield decode_sample(files, f'{path}: {key}')
            check_end(path, shard)
    except tarfile.TarError as error:
        raise ValueError(
            f'{path}: not a readable shard ({error}); delete it and render it again'
        ) from error
