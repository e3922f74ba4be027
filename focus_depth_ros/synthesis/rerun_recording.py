"""Rendered frames as a rerun recording: open it with `rerun FILE`.

A timeline of frames; picture, depth, boundaries by kind and captioned objects lie under one pinhole
camera, whose points stand in the world beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import rerun
from numpy.typing import NDArray

from focus_depth_ros.synthesis.sample import Sample

POINT_STRIDE = 2
"""Every so many columns and rows become points."""
_KIND_NAMES = {1: 'occlusion', 2: 'self-occlusion', 3: 'contact'}


def write_recording(
    path: Path, samples: Iterable[Sample], boundary_colours: dict[int, tuple[int, int, int]]
) -> None:
    """Write a .rrd of the frames in order; boundary_colours: RGB of each kind."""
    recording = rerun.RecordingStream('focus_depth_scenes')
    recording.save(path)
    kinds = [(kind, _KIND_NAMES[kind], colour) for kind, colour in boundary_colours.items()]
    recording.log('world', rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    recording.log('world/camera/boundary', rerun.AnnotationContext(kinds), static=True)
    for number, sample in enumerate(samples):
        recording.set_time('frame', sequence=number)
        _log_frame(recording, sample)
    recording.flush()


def _log_frame(recording: rerun.RecordingStream, sample: Sample) -> None:
    height, width = sample.ids.shape
    recording.log(
        'world/camera',
        rerun.Transform3D(translation=sample.camera_pose[:3, 3], mat3x3=sample.camera_pose[:3, :3]),
        rerun.Pinhole(
            image_from_camera=sample.K,
            resolution=[width, height],
            camera_xyz=rerun.ViewCoordinates.RDF,
        ),
    )
    recording.log('world/camera/picture', rerun.Image(sample.rgb).compress(jpeg_quality=90))
    recording.log('world/camera/depth', rerun.DepthImage(np.nan_to_num(sample.depth_m), meter=1.0))
    recording.log('world/camera/boundary', rerun.SegmentationImage(sample.boundary))
    recording.log('world/camera/masks', rerun.SegmentationImage(sample.ids))
    recording.log(
        'world/camera/objects',
        rerun.Boxes2D(
            array=[item.box for item in sample.objects],
            array_format=rerun.Box2DFormat.XYXY,
            class_ids=[item.id for item in sample.objects],
            labels=['; '.join(item.captions) or item.class_name for item in sample.objects],
        ),
    )
    points, colours = world_points(sample)
    recording.log('world/points', rerun.Points3D(points, colors=colours, radii=0.002))
    words = ', '.join(sample.absent_captions)
    recording.log('scene', rerun.TextLog(f'{sample.theme}, scene {sample.scene}; none: {words}'))


def world_points(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """World coordinates in metres (N,3) and RGB (N,3) of every POINT_STRIDEth valid pixel."""
    rows, columns = np.mgrid[: sample.ids.shape[0], : sample.ids.shape[1]]
    chosen = np.isfinite(sample.depth_m)
    chosen &= (rows % POINT_STRIDE == 0) & (columns % POINT_STRIDE == 0)
    pixels = np.stack([columns[chosen], rows[chosen], np.ones(np.count_nonzero(chosen))])
    seen = np.linalg.inv(sample.K) @ pixels * sample.depth_m[chosen]
    points = sample.camera_pose[:3, :3] @ seen + sample.camera_pose[:3, 3:]
    return points.T, sample.rgb[chosen]
