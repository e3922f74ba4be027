"""vision_msgs detections become targets, and answers become vision_msgs detections in space."""

from __future__ import annotations

import math
from collections.abc import Callable

from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from focus_depth_ros.core import InvalidInput, Target
from focus_depth_ros.node.parameters import Parameters
from focus_depth_ros.pipeline.result import FocusResult

MAX_DETECTIONS = 1000


def targets_from_detections(
    message: Detection2DArray, parameters: Parameters, complain: Callable[[InvalidInput], None]
) -> list[Target]:
    """Wanted detections as targets, best score first; boxes with NaN are left out and said."""
    if len(message.detections) > MAX_DETECTIONS:
        complain(
            InvalidInput(
                'detections_count',
                f'{len(message.detections)} detections in one message; '
                f'the first {MAX_DETECTIONS} count',
            )
        )
    targets = []
    for index, detection in enumerate(message.detections[:MAX_DETECTIONS]):
        best = max((r.hypothesis for r in detection.results), key=lambda h: h.score, default=None)
        class_id, score = (best.class_id, best.score) if best else ('', math.nan)
        if not parameters.wants_class(class_id) or score < parameters.score_threshold:
            continue
        try:
            targets.append(_target(detection, index, class_id, score))
        except InvalidInput as problem:
            complain(problem)
    targets.sort(key=lambda target: 0.0 if math.isnan(target.score) else -target.score)
    return targets


def _target(detection: Detection2D, index: int, class_id: str, score: float) -> Target:
    centre, box = detection.bbox.center, detection.bbox
    numbers = (centre.position.x, centre.position.y, box.size_x, box.size_y)
    if not all(math.isfinite(number) for number in numbers):
        raise InvalidInput('box', f'detection {index} ({class_id!r}) holds NaN or infinity')
    x, y, half_width, half_height = numbers[0], numbers[1], numbers[2] / 2, numbers[3] / 2
    return Target(
        id=detection.id or f'{class_id or "detection"}_{index}',
        label=class_id,
        box=(x - half_width, y - half_height, x + half_width, y + half_height),
        score=float(score),
    )


def detections_3d(result: FocusResult) -> Detection3DArray:
    """Targets that have a place in space, axis-aligned in the optical frame; header left empty."""
    message = Detection3DArray()
    for answer in result.found:
        if answer.geometry is None:
            continue
        hypothesis = ObjectHypothesis(
            class_id=answer.target.label,
            score=answer.confidence if math.isnan(answer.target.score) else answer.target.score,
        )
        detection = Detection3D(
            id=answer.target.id, results=[ObjectHypothesisWithPose(hypothesis=hypothesis)]
        )
        centre, size = detection.bbox.center, detection.bbox.size
        place = centre.position
        place.x, place.y, place.z = map(float, answer.geometry.centroid_m)
        centre.orientation.w = 1.0
        size.x, size.y, size.z = map(float, answer.geometry.extent_m)
        detection.results[0].pose.pose = centre
        message.detections.append(detection)
    return message
