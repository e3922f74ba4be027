"""What the node is told: what to look at, by service and by topic, and whether to look at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2DArray

from focus_depth_ros.core import InvalidInput, Target
from focus_depth_ros.node.complaints import Complaints
from focus_depth_ros.node.detections import MAX_NAME_CHARACTERS, targets_from_detections
from focus_depth_ros.node.parameters import Parameters
from focus_depth_ros.node.qos import overridable, target_profile
from focus_depth_ros.node.stamps import nanoseconds
from focus_depth_ros.pipeline.prompts import PromptEncoder
from focus_depth_ros.pipeline.targets import TargetsInView
from focus_depth_ros.srv import SetBoxTarget, SetTextTarget

Response = TypeVar(
    'Response', SetTextTarget.Response, SetBoxTarget.Response, Trigger.Response, SetBool.Response
)


class Commands:
    """The services of one node, which answer in each of its states, and the topics of targets.

    `state` is the node's; targets are taken between `open` and `close`, topics heard between
    `listen` and `stop_listening`. All of it runs in the executor's thread.
    """

    def __init__(
        self,
        node: LifecycleNode,
        complaints: Complaints,
        parameters: Callable[[], Parameters],
        state: Callable[[], str],
    ) -> None:
        self.enabled = True
        self._node, self._complaints = node, complaints
        self._parameters, self._state = parameters, state
        self._targets: TargetsInView | None = None
        self._prompts: PromptEncoder | None = None
        self._last_text: str | None = None
        self._subscriptions: list[Subscription] = []
        node.create_service(SetTextTarget, '~/set_text_target', self._set_text_target)
        node.create_service(SetBoxTarget, '~/set_box_target', self._set_box_target)
        node.create_service(Trigger, '~/clear_targets', self._clear_targets)
        node.create_service(SetBool, '~/enable', self._enable)

    def open(self, targets: TargetsInView, prompts: PromptEncoder) -> None:
        """Put targets here from now on; `prompts` knows the words."""
        self._targets, self._prompts = targets, prompts

    def close(self) -> None:
        """Take no targets until the next `open`."""
        self._targets = self._prompts = self._last_text = None

    def look_at_text(self, text: str) -> None:
        """Look at what a text names, as `text_target` does; empty: at nothing yet.

        Raises InvalidInput for a text without a known word.
        """
        if text.strip():
            self._node.get_logger().info(self._look_at_text(text, append=False)[1])
            self._last_text = text

    def listen(self) -> None:
        """Subscribe to detections and texts."""
        for kind, topic, callback in (
            (Detection2DArray, 'detections', self._on_detections),
            (String, 'text_target', self._on_text_target),
        ):
            self._subscriptions.append(
                self._node.create_subscription(
                    kind, topic, callback, target_profile(), qos_overriding_options=overridable()
                )
            )

    def stop_listening(self) -> None:
        """Let go of each subscription, whatever the others raise."""
        subscriptions, self._subscriptions = self._subscriptions, []
        with ExitStack() as last_first:
            for subscription in subscriptions:
                last_first.callback(self._node.destroy_subscription, subscription)

    def _on_detections(self, message: Detection2DArray) -> None:
        targets = targets_from_detections(message, self._parameters(), self._complaints)
        try:
            if self._targets is not None:
                self._targets.detect(nanoseconds(message.header.stamp), targets)
        except InvalidInput as problem:
            self._complaints(problem)

    def _on_text_target(self, message: String) -> None:
        if message.data == self._last_text and not self._clears_something(message.data):
            return  # a publisher may repeat itself
        try:
            _, answer = self._look_at_text(message.data, append=False)
            self._node.get_logger().info(answer, throttle_duration_sec=1.0)
        except InvalidInput as problem:
            self._complaints(problem)
        self._last_text = message.data

    def _clears_something(self, text: str) -> bool:
        """Whether the text is empty and a service has named a target since the last one."""
        return not text.strip() and self._targets is not None and self._targets.is_commanded

    def _look_at_text(self, text: str, append: bool) -> tuple[str, str]:
        """The target's id, empty where the text clears, and what was understood."""
        targets = self._opened()
        if not text.strip():
            return '', self._clear()
        assert self._prompts is not None
        words = self._prompts.read(text)
        label = ' '.join(words.known)
        target = Target(id=label.replace(' ', '_'), label=label, text=words.text)
        remarks = f' ({words.remarks})' if words.remarks else ''
        return targets.command(target, append), f'looking at: {label}{remarks}'

    def _look_at_box(self, request: SetBoxTarget.Request) -> tuple[str, str]:
        targets, box = self._opened(), request.box
        if not (box.width and box.height):
            raise InvalidInput('box', 'the box has no area')
        left, top = float(box.x_offset), float(box.y_offset)
        edges = (left, top, left + box.width, top + box.height)
        label = request.label[:MAX_NAME_CHARACTERS]
        target = Target(id=label or 'box', label=label, box=edges)
        name = targets.command(target, request.append, nanoseconds(request.stamp))
        return name, 'looking at box ({:.0f}, {:.0f}) to ({:.0f}, {:.0f})'.format(*edges)

    def _clear(self) -> str:
        cleared = self._opened().clear()
        self._last_text = None
        return f'{cleared} target(s) cleared; detections count again'

    def _opened(self) -> TargetsInView:
        if self._targets is None:
            raise InvalidInput('inactive', f'the node is {self._state()}: configure it first')
        return self._targets

    def _set_text_target(
        self, request: SetTextTarget.Request, response: SetTextTarget.Response
    ) -> SetTextTarget.Response:
        def act() -> str:
            response.id, said = self._look_at_text(request.text, request.append)
            return said

        return self._answer(response, act)

    def _set_box_target(
        self, request: SetBoxTarget.Request, response: SetBoxTarget.Response
    ) -> SetBoxTarget.Response:
        def act() -> str:
            response.id, said = self._look_at_box(request)
            return said

        return self._answer(response, act)

    def _clear_targets(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        return self._answer(response, self._clear)

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.enabled = request.data
        said = 'pictures are looked at' if request.data else 'pictures are not looked at'
        return self._answer(response, lambda: said)

    def _answer(self, response: Response, act: Callable[[], str]) -> Response:
        """Do what a service asks; the response says what was understood, or why nothing was."""
        try:
            response.message, response.success = act(), True
        except InvalidInput as problem:
            response.message, response.success = str(problem), False
        if response.success:
            self._node.get_logger().info(response.message)
        state = self._state()
        condition = state if self.enabled or state != 'active' else 'disabled'
        if response.success and condition != 'active':
            response.message += f' (the node is {condition})'
        return response
