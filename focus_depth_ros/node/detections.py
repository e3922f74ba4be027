"""vision_msgs detections become targets, and answers become vision_msgs detections in space."""

from __future__ import annotations

import math
from collections.abc import Callable

from std_msgs.msg import Header
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
MAX_NAME_CHARACTERS = 100
MAX_SCORE = 3.4e38
"""A detection's score is a float64, a target's a float32, which rclpy refuses to overflow."""


def targets_from_detections(
    message: Detection2DArray, parameters: Parameters, complain: Callable[[InvalidInput], None]
) -> list[Target]:
    """Wanted detections as targets, best score first; those with NaN are left out and said."""
    if len(message.detections) > MAX_DETECTIONS:
        complain(
            InvalidInput(
                'detections_count',
                f'{len(message.detections)} detections in one message; '
                f'the first {MAX_DETECTIONS} count',
            )
        )
    targets = []
    for detection in message.detections[:MAX_DETECTIONS]:
        try:
            target = _target(detection)
        except InvalidInput as problem:
            complain(problem)
            continue
        # a detector that gives no score at all is taken at its word
        if parameters.wants_class(target.label) and not target.score < parameters.score_threshold:
            targets.append(target)
    targets.sort(key=lambda target: 0.0 if math.isnan(target.score) else -target.score)
    return targets


def _target(detection: Detection2D) -> Target:
    hypotheses = [result.hypothesis for result in detection.results]
    class_id = max(hypotheses, key=lambda h: h.score).class_id if hypotheses else ''
    label = class_id[:MAX_NAME_CHARACTERS]
    if not all(abs(hypothesis.score) <= MAX_SCORE for hypothesis in hypotheses):
        raise InvalidInput(
            'score',
            f'a detection of {label!r} has a score that is no float32',
        )
    centre, box = detection.bbox.center, detection.bbox
    numbers = (centre.position.x, centre.position.y, box.size_x, box.size_y, centre.theta)
    if not all(math.isfinite(number) for number in numbers):
        raise InvalidInput('box', f'a detection of {label!r} holds NaN or infinity')
    x, y, width, height, theta = numbers
    # a turned box: the upright one round it
    cosine, sine = abs(math.cos(theta)), abs(math.sin(theta))
    half_width = (cosine * width + sine * height) / 2
    half_height = (sine * width + cosine * height) / 2
    return Target(
        id=detection.id[:MAX_NAME_CHARACTERS],
        label=label,
        box=(x - half_width, y - half_height, x + half_width, y + half_height),
        score=max((float(hypothesis.score) for hypothesis in hypotheses), default=math.nan),
    )


def detections_3d(result: FocusResult, header: Header) -> Detection3DArray:
    """Targets that have a place in space, as boxes axis-aligned in the optical frame.

    In the order of the targets.
    """
    message = Detection3DArray(header=header)
    for answer in result.targets:
        if answer.geometry is None:
            continue
        hypothesis = ObjectHypothesis(
            class_id=answer.target.label,
            score=answer.confidence if math.isnan(answer.target.score) else answer.target.score,
        )
        detection = Detection3D(
            header=header,
            id=answer.target.id,
            results=[ObjectHypothesisWithPose(hypothesis=hypothesis)],
        )
        centre, size = detection.bbox.center, detection.bbox.size
        place = centre.position
        place.x, place.y, place.z = map(float, answer.geometry.box_centre_m)
        centre.orientation.w = 1.0
        size.x, size.y, size.z = map(float, answer.geometry.extent_m)
        detection.results[0].pose.pose = centre
        message.detections.append(detection)
    return message
