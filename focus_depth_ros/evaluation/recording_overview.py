"""A node's answers to a recording, drawn: one row of panels by box, one by words, and a cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.evaluation.recording import Answers, Recording
from focus_depth_ros.evaluation.recording_score import TargetScore, image_array
from focus_depth_ros.pipeline.cloud import write_ply
from focus_depth_ros.pipeline.overlay import Mark, draw
from focus_depth_ros.pipeline.overview import Row, overview

DRAWN = ('depth/image', 'boundary/image', 'target/mask', 'targets')


def draw_results(
    recording: Recording, answers: Answers, scores: list[TargetScore], folder: Path
) -> None:
    """Write overview.png (one row by box, one by words) and target.ply (the named target)."""
    boxed = [item for item in scores if item.label in {o.class_name for o in recording.objects}]
    named = [item for item in scores if item not in boxed]
    rows = []
    for title, items in (('targets by box', boxed), ('target by words', named)):
        drawn = [item for item in items if _is_whole(answers, item.stamp_ns)]
        if drawn:
            stamp = drawn[len(drawn) // 2].stamp_ns
            labels = ', '.join(item.label for item in items if item.stamp_ns == stamp)
            rows.append(row_of_answers(f'{title}: {labels}', recording, answers, stamp))
            cloud = answers.messages.get('target/points', {}).get(stamp)
            write_ply(folder / 'target.ply', _points(cloud))
    if rows:
        cv2.imwrite(str(folder / 'overview.png'), overview(rows)[..., ::-1])


def _is_whole(answers: Answers, stamp_ns: int) -> bool:
    """Whether every answer to this picture was recorded: one may be lost."""
    return all(stamp_ns in answers.messages.get(topic, {}) for topic in DRAWN)


def row_of_answers(title: str, recording: Recording, answers: Answers, stamp_ns: int) -> Row:
    """The overview's row for one frame as the node published it."""
    depth = image_array(answers.messages['depth/image'][stamp_ns])
    boundary = image_array(answers.messages['boundary/image'][stamp_ns])
    mask = image_array(answers.messages['target/mask'][stamp_ns]) > 127
    rgb = recording.rgb(stamp_ns)
    targets = answers.messages['targets'][stamp_ns].targets
    marks = [_mark(target, mask) for target in targets]
    with np.errstate(invalid='ignore'):
        inverse_depth = np.asarray(1.0 / depth, np.float32)
    return Row(
        title,
        rgb,
        draw(rgb, boundary, marks),
        inverse_depth,
        boundary,
        mask,
        depth,
        recording.camera,
    )


def _mark(target: Any, mask: NDArray[np.bool_]) -> Mark:
    box = target.box
    x0, y0, x1, y1 = box.x_offset, box.y_offset, box.x_offset + box.width, box.y_offset + box.height
    own = np.zeros_like(mask)
    own[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    caption = f'{target.label} {target.depth_median_m:.2f} m ({target.confidence:.2f})'
    return Mark(caption, target.found, (x0, y0, x1, y1), own if target.found else None)


def _points(cloud: Any) -> NDArray[np.float32]:
    if cloud is None:
        return np.empty((0, 4), np.float32)
    return np.frombuffer(cloud.data, np.float32).reshape(-1, 4)
