"""`focus-depth find TEXT`: name a target to a running node and say where it is.

Everything a program does with the node's service and its topic `targets`, for a person.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from focus_depth_ros.msg import FocusTarget, FocusTargetArray
from focus_depth_ros.node.image_codec import rgb_from_image
from focus_depth_ros.node.qos import result_profile
from focus_depth_ros.srv import SetTextTarget

SERVICE = 'set_text_target'
DISCOVERY_S = 10.0
ANSWER_S = 2.0
"""An answer that does not come in this time was sent before its reader was known: ask again."""
SURE = 0.5
OVERLAYS_KEPT = 5
PICTURE_SUFFIXES = ('.png', '.jpg', '.jpeg')
ROUGH = {
    FocusTarget.MODEL: ' (one camera: typically off by about 10 %)',
    FocusTarget.REFERENCE_OF_PICTURE: ' (too little of it was measured: typically off by 3 %)',
}
Answer = TypeVar('Answer')


class NotFoundError(RuntimeError):
    """There is nothing to say where it is; the message says why."""


def find(node: Node, name: str, text: str, timeout_s: float) -> tuple[Header, FocusTarget]:
    """Have the node called `name` look at `text` until it is found; the image's header, the target.

    The node goes on looking at it. Raises NotFoundError.
    """
    heard: list[FocusTargetArray] = []
    states: list[str] = []

    def on_diagnostics(message: DiagnosticArray) -> None:
        states.extend(s.message for s in message.status if s.name == name.lstrip('/'))

    node.create_subscription(FocusTargetArray, f'{name}/targets', heard.append, result_profile())
    node.create_subscription(DiagnosticArray, '/diagnostics', on_diagnostics, 10)
    target_id = _named(node, name, text)
    heard.clear()  # of images before the answer
    seen: list[FocusTarget] = []
    others: list[str] = []

    def found() -> tuple[Header, FocusTarget] | None:
        while heard:
            message = heard.pop(0)
            ours = [target for target in message.targets if target.id == target_id]
            seen.extend(ours)
            if ours:
                others.clear()
            else:
                others.append(', '.join(target.id for target in message.targets) or 'nothing')
            if seen and seen[-1].found:
                return message.header, seen[-1]
        return None

    answer = _wait_for(node, found, time.monotonic() + timeout_s)
    if answer is None:
        raise NotFoundError(_in_vain(name, seen, others, states, timeout_s))
    return answer


def _named(node: Node, name: str, text: str) -> str:
    """The id under which the node called `name` now looks at `text`."""
    client = node.create_client(SetTextTarget, f'{name}/{SERVICE}')
    deadline = time.monotonic() + DISCOVERY_S
    if not _wait_for(node, client.service_is_ready, deadline):
        raise NotFoundError(f'no node {name} answers; {_others(node, name)}')
    deadline = time.monotonic() + DISCOVERY_S
    while time.monotonic() < deadline:
        asked = client.call_async(SetTextTarget.Request(text=text))
        if _wait_for(node, asked.done, time.monotonic() + ANSWER_S):
            answer = asked.result()
            if not answer.success:
                raise NotFoundError(answer.message)
            print(answer.message, flush=True)
            return str(answer.id)
    raise NotFoundError(f'{name} is known, but does not answer')


class Overlays:
    """The node's newest pictures of what it sees; somebody has to listen before it draws them."""

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._heard: deque[Image] = deque(maxlen=OVERLAYS_KEPT)
        quality = QoSProfile(depth=OVERLAYS_KEPT)
        node.create_subscription(Image, f'{name}/overlay/image', self._on_overlay, quality)

    def _on_overlay(self, message: Image) -> None:
        self._heard.append(message)

    def save(self, header: Header, path: Path) -> None:
        """Write the one of this header. Raises NotFoundError, OSError."""
        message = _wait_for(
            self._node,
            lambda: next((one for one in self._heard if one.header == header), None),
            time.monotonic() + ANSWER_S,
        )
        if message is None:
            raise NotFoundError(f'{path} was not written: no overlay of that image came')
        if not cv2.imwrite(str(path), cv2.cvtColor(rgb_from_image(message), cv2.COLOR_RGB2BGR)):
            raise OSError(f'{path} cannot be written')


def _wait_for(node: Node, condition: Callable[[], Answer], deadline: float) -> Answer:
    while not (value := condition()) and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.05)
    return value


def _others(node: Node, name: str) -> str:
    kind = f'focus_depth_ros/srv/{SetTextTarget.__name__}'
    services = node.get_service_names_and_types()
    names = (service.removesuffix(f'/{SERVICE}') for service, kinds in services if kind in kinds)
    if others := [other for other in names if other != name]:
        return f'give one of these: --node {" or ".join(others)}'
    return 'is it started, in this ROS_DOMAIN_ID? (ros2 launch focus_depth_ros focus.launch.py)'


def _in_vain(
    name: str,
    seen: list[FocusTarget],
    others: list[str],
    states: list[str],
    timeout_s: float,
) -> str:
    if len(others) > 1:  # one may have been on its way
        return f'{name} was told to look at something else meanwhile: {others[-1]}'
    if seen:
        best = max(target.confidence for target in seen)
        said = f'not found in {len(seen)} image(s), {timeout_s:g} s; confidence at most {best:.2f}'
    else:
        said = f'no image was answered in {timeout_s:g} s'
    state = f'\n{name} is {states[-1]}' if states else ''
    return f'{said}; {name} goes on looking{state}'


def told(frame_id: str, target: FocusTarget) -> str:
    """What was found, in lines."""
    box, at, extent = target.box, target.centroid, target.extent
    right, bottom = box.x_offset + box.width, box.y_offset + box.height
    unsure = '' if target.confidence >= SURE else f' (unsure: under {SURE})'
    lines = [
        f'{target.label}: found, confidence {target.confidence:.2f}{unsure}',
        f'box: {box.x_offset} {box.y_offset} {right} {bottom} px (left, top, right, bottom)',
    ]
    if math.isnan(at.z):
        return '\n'.join(
            [*lines, 'no metres: no camera_info, no scale, too thin, or beyond max_depth_m']
        )
    across = f'{abs(at.x):.2f} m {"left" if at.x < 0 else "right"}'
    down = f'{abs(at.y):.2f} m {"up" if at.y < 0 else "down"}'
    return '\n'.join(
        [
            *lines,
            f'place: {at.z:.2f} m ahead, {across}, {down} in {frame_id}',
            f'seen of it: {extent.x:.2f} x {extent.y:.2f} x {extent.z:.2f} m (across, down, ahead)',
            f'metres from: {target.scale_source}{ROUGH.get(target.scale_source, "")}',
        ]
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth find`."""
    parser.add_argument('text', nargs='+', help='what to look at, such as: the red mug')
    parser.add_argument('--node', default='/focus_depth', help='the node to ask (/focus_depth)')
    parser.add_argument(
        '--timeout', type=float, default=10.0, metavar='S', help='how long to look (10 s)'
    )
    parser.add_argument(
        '--picture', type=_picture_file, metavar='FILE', help='draw what was found (PNG or JPEG)'
    )


def _picture_file(name: str) -> Path:
    path = Path(name)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'there is no folder {path.parent}')
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise argparse.ArgumentTypeError(f'{name} ends in none of {", ".join(PICTURE_SUFFIXES)}')
    return path


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command; its status is 1 where nothing is found."""
    text = ' '.join(arguments.text).strip()
    if not text:  # to the node it would mean: look at nothing
        raise ValueError('the text is empty')
    name = f'/{arguments.node.strip("/")}'
    try:
        validate_full_topic_name(name)
    except InvalidTopicNameException as problem:
        raise ValueError(f'--node: {problem}') from problem
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node('focus_depth_find')
    try:
        overlays = Overlays(node, name) if arguments.picture else None
        header, target = find(node, name, text, arguments.timeout)
        print(told(header.frame_id, target))
        if overlays is not None:
            overlays.save(header, arguments.picture)
            print(f'look at {arguments.picture}')
    except NotFoundError as problem:
        print(f'focus-depth find: {problem}', file=sys.stderr)
        return 1
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return 0
