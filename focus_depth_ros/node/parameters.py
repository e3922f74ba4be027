"""The node's parameters: name, default, meaning, bounds, in one table; read as one typed value."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from focus_depth_ros.inference.backends import BACKENDS
from focus_depth_ros.inference.fallback import PRECISIONS
from focus_depth_ros.inference.model_folder import BUILT_IN
from focus_depth_ros.pipeline.scale import SCALE_SOURCES
from focus_depth_ros.pipeline.settings import Settings


@dataclass(frozen=True)
class Specification:
    """One parameter. `choices` or inclusive `bounds` limit it; `live` ones change while active."""

    default: bool | int | float | str | list[str]
    description: str
    choices: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    live: bool = False


SPECIFICATIONS: dict[str, Specification] = {
    'model': Specification('', 'Model folder with model.json; empty takes the built-in one.'),
    'backend': Specification(
        'auto',
        'What runs the network; auto takes TensorRT where an engine is built, else CUDA where '
        'ONNX Runtime offers it, else the CPU.',
        choices=BACKENDS,
    ),
    'precision': Specification(
        'auto',
        "Numeric precision of the network; auto takes the backend's fastest.",
        choices=PRECISIONS,
    ),
    'inference_threads': Specification(
        0, 'Threads of the network; 0 takes all cores but one.', bounds=(0, 64)
    ),
    'fovea': Specification(
        False,
        'A second pass on a full-resolution crop around each target: sharper, one more network '
        'pass per target.',
        live=True,
    ),
    'mirror': Specification(
        False,
        'Also run on the mirrored image and average: errs less, doubles the network time.',
        live=True,
    ),
    'image_transport': Specification(
        'raw',
        'raw subscribes to image, compressed to image/compressed.',
        choices=('raw', 'compressed'),
    ),
    'image_is_rectified': Specification(
        False,
        'True when the images are rectified although camera_info holds distortion: '
        'then its projection matrix P counts instead of K and D.',
    ),
    'autostart': Specification(
        True, 'Configure and activate at start, without a lifecycle manager.'
    ),
    'text': Specification(
        '', "A text target to begin with, such as 'the red mug'; empty: none, detections count."
    ),
    'scale_source': Specification(
        'auto',
        'Where metres come from; auto prefers reference_depth, then the model.',
        choices=SCALE_SOURCES,
        live=True,
    ),
    'max_depth_m': Specification(
        10.0, 'Depth beyond this is NaN, metres.', bounds=(0.1, 1000.0), live=True
    ),
    'min_confidence': Specification(
        0.3,
        'A target with less confidence counts as not found: no mask, no points.',
        bounds=(0.0, 1.0),
        live=True,
    ),
    'classes': Specification(
        [''], 'Detections of these class ids only; an empty string takes all.', live=True
    ),
    'score_threshold': Specification(
        0.3, 'Detections with a lower score are left out.', bounds=(0.0, 1.0), live=True
    ),
    'max_targets': Specification(4, 'Targets answered at once, best score first.', bounds=(1, 32)),
    'detection_slop_s': Specification(
        0.1,
        'Largest time between a detection and the image it is matched to, s.',
        bounds=(0.0, 10.0),
    ),
    'detection_timeout_s': Specification(
        2.0,
        'For so long detected targets are tracked while no detection message comes, s.',
        bounds=(0.05, 3600.0),
    ),
    'depth_encoding': Specification(
        '32FC1',
        'Encoding of depth/image: 32FC1 metres or 16UC1 millimetres.',
        choices=('32FC1', '16UC1'),
        live=True,
    ),
    'dense_cloud': Specification(
        False,
        'target/points holds only valid points instead of an organised cloud with NaN.',
        live=True,
    ),
}


@dataclass(frozen=True)
class Parameters:
    """All parameters, typed. Field names are parameter names."""

    model: str
    backend: str
    precision: str
    inference_threads: int
    fovea: bool
    mirror: bool
    image_transport: str
    image_is_rectified: bool
    autostart: bool
    text: str
    scale_source: str
    max_depth_m: float
    min_confidence: float
    classes: tuple[str, ...]
    score_threshold: float
    max_targets: int
    detection_slop_s: float
    detection_timeout_s: float
    depth_encoding: str
    dense_cloud: bool

    @property
    def model_path(self) -> Path:
        """The folder to load."""
        return Path(self.model).expanduser() if self.model else BUILT_IN

    @property
    def thread_count(self) -> int:
        """Threads for the network: as asked, else every core but one, which is left to ROS."""
        return self.inference_threads or max(1, len(os.sched_getaffinity(0)) - 1)

    @property
    def settings(self) -> Settings:
        """The part that the pipeline reads."""
        return Settings(
            self.scale_source, self.min_confidence, self.max_depth_m, self.fovea, self.mirror
        )

    def wants_class(self, class_id: str) -> bool:
        """True when detections of this class are to be looked at."""
        chosen = {name for name in self.classes if name}
        return not chosen or class_id in chosen


def declare_parameters(node: Node) -> None:
    """Declare every parameter with its descriptor. Raises rclpy's ParameterException."""
    for name, specification in SPECIFICATIONS.items():
        default = specification.default
        declared = node.declare_parameter(name, default, _descriptor(specification))
        if declared.type_ is Parameter.Type.NOT_SET:  # ROS reads `classes: []` as nothing at all
            node.set_parameters([Parameter(name, value=default)])


def warn_of_unknown_parameters(node: Node, of_topics: bool) -> None:
    """Name what was given at the start and the node does not have: ROS leaves it out in silence.

    `of_topics`: the overrides of quality of service, which are known once a topic is subscribed to;
    else all the others. rclpy has no public way to ask for what was given; where it keeps that
    otherwise, nothing is said.
    """
    if unknown := _unknown_parameters(node, of_topics):
        node.get_logger().warning(f'no such parameter, left out: {", ".join(unknown)}')


def refuse_unknown_parameters(node: Node) -> None:
    """Raise ValueError for what was given at the start and the node does not have."""
    if unknown := _unknown_parameters(node, of_topics=False):
        raise ValueError(f'no such parameter: {", ".join(unknown)}')


def _unknown_parameters(node: Node, of_topics: bool) -> list[str]:
    given: dict[str, object] = getattr(node, '_parameter_overrides', {})
    return [
        name
        for name in given
        if name.startswith('qos_overrides.') is of_topics and not node.has_parameter(name)
    ]


def read_parameters(node: Node, changed: list[Parameter] | None = None) -> Parameters:
    """Current values, with `changed` ones laid over them."""
    values: dict[str, Any] = {name: node.get_parameter(name).value for name in SPECIFICATIONS}
    values.update({item.name: item.value for item in changed or [] if item.name in values})
    values['classes'] = tuple(values['classes'] or ())
    return Parameters(**values)


def check_change(changed: list[Parameter], is_configured: bool) -> SetParametersResult:
    """Accept or refuse a change; the reason says what is allowed."""
    for item in changed:
        specification = SPECIFICATIONS.get(item.name)
        if specification is None:
            continue
        if objection := _objection(item.name, item.value):
            return _refused(objection)
        if is_configured and not specification.live:
            return _refused(f'{item.name} is read when the node is configured: clean it up first')
    return SetParametersResult(successful=True)


def check_choices(parameters: Parameters) -> None:
    """Raise ValueError for a start value that is not among a parameter's choices."""
    for name in SPECIFICATIONS:
        if objection := _objection(name, getattr(parameters, name)):
            raise ValueError(f'parameter {objection}')


def _objection(name: str, value: object) -> str:
    choices = SPECIFICATIONS[name].choices
    is_allowed = not choices or value in choices
    return '' if is_allowed else f'{name} is {value!r}; allowed: {", ".join(choices)}'


def _refused(reason: str) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=reason)


def _descriptor(specification: Specification) -> ParameterDescriptor:
    constraints = ''
    if specification.choices:
        constraints = 'one of: ' + ', '.join(specification.choices)
    descriptor = ParameterDescriptor(
        description=specification.description, additional_constraints=constraints
    )
    if specification.bounds is not None:
        low, high = specification.bounds
        if isinstance(specification.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        else:
            descriptor.integer_range = [
                IntegerRange(from_value=int(low), to_value=int(high), step=1)
            ]
    return descriptor
