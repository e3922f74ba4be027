"""The node `focus_depth`: a lifecycle node that looks at one thing in a camera's pictures.

Two threads: the executor's, here, takes messages and services; the worker's, in `worker`, takes the
newest picture, runs the network and publishes. Inference therefore never blocks the executor, and
pictures that come while it runs give way to the newest one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from focus_depth_ros.inference.focus_model import FocusModel
from focus_depth_ros.node.camera import CameraInput, FrameCounts
from focus_depth_ros.node.commands import Commands
from focus_depth_ros.node.complaints import Complaints
from focus_depth_ros.node.diagnostics import Rates, diagnostic_array
from focus_depth_ros.node.outputs import Outputs
from focus_depth_ros.node.parameters import (
    check_change,
    check_choices,
    declare_parameters,
    read_parameters,
    warn_of_unknown_parameters,
)
from focus_depth_ros.node.process import add_ros_arguments, run_command, run_in_ros
from focus_depth_ros.node.worker import Worker, WorkerStuckError
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline
from focus_depth_ros.pipeline.targets import TargetsInView


class FocusDepthNode(LifecycleNode):
    """Camera topics and targets in; focused depth, boundaries and target clouds out."""

    def __init__(self) -> None:
        super().__init__('focus_depth')
        self._complaints = Complaints(self.get_logger().warning)
        self._state = 'unconfigured'
        self._failure = ''
        self._counts = FrameCounts()
        self._rates = Rates()
        self._pipeline: FocusPipeline | None = None
        self._targets: TargetsInView | None = None
        self._outputs: Outputs | None = None
        self._worker: Worker | None = None
        self._commands = Commands(
            self, self._complaints, parameters=lambda: self._options, state=lambda: self._state
        )
        declare_parameters(self)
        warn_of_unknown_parameters(self, of_topics=False)
        self._options = read_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # a clock of its own: diagnostics must come when simulated time stands still
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    def start(self) -> None:
        """Configure and activate, when the parameter `autostart` says so."""
        if not self._options.autostart:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and advertise; a model that cannot be used is an error message."""
        self._failure = ''
        if not self._tried('configure', self._configure):
            self._release()
            self._state = 'failed'
            return TransitionCallbackReturn.FAILURE
        self._state = 'inactive'
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        self._options = parameters = read_parameters(self)
        check_choices(parameters)
        model = FocusModel(
            parameters.model_path,
            parameters.backend,
            parameters.thread_count,
            parameters.precision,
            builds=True,
            say=self.get_logger().error,
        )
        try:
            self._pipeline = FocusPipeline(model, parameters.settings)
        except Exception:
            model.close()
            raise
        self._targets = TargetsInView(
            self._complaints,
            parameters.max_targets,
            parameters.detection_slop_s,
            parameters.detection_timeout_s,
        )
        self._commands.open(self._targets, self._pipeline.prompts)
        self._commands.look_at_text(parameters.text)
        self._outputs = Outputs(self)
        self.get_logger().info(
            f'model {model.folder.name} {model.folder.version} ({model.folder.licence}) from '
            f'{model.folder.path}, {parameters.thread_count} thread(s); engine: {model.choice}'
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker."""
        self._failure = ''
        super().on_activate(state)  # publishers first: the worker may answer at once
        if not self._tried('activate', self._start_working):
            self._tried('stop', self._stop_working)
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self._state = 'active'
        warn_of_unknown_parameters(self, of_topics=True)
        return TransitionCallbackReturn.SUCCESS

    def _start_working(self) -> None:
        pipeline, targets, outputs = self._pipeline, self._targets, self._outputs
        assert pipeline is not None and targets is not None and outputs is not None
        parameters = self._options
        is_compressed = parameters.image_transport == 'compressed'
        camera = CameraInput(self, self._complaints, is_compressed, parameters.image_is_rectified)
        self._worker = Worker(
            self,
            camera,
            pipeline,
            targets,
            outputs,
            self._complaints,
            parameters=lambda: self._options,
            is_enabled=lambda: self._commands.enabled,
        )
        self._counts = camera.counts
        self._worker.start()
        self._commands.listen()
        pipeline.model.start_building()
        self.get_logger().info(f'active; pictures from {camera.topic}')

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working; the model stays loaded."""
        if not self._tried('deactivate', self._stop_working):
            return TransitionCallbackReturn.ERROR
        self._state = 'inactive'
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and take the publishers down."""
        if not self._tried('clean up', self._free):
            return TransitionCallbackReturn.ERROR
        self._state = 'unconfigured'
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free whatever the state was; the end comes also when that fails."""
        self._release()
        self._state = 'finalized'
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything after a transition that broke off; the node can be configured again."""
        self._release()
        self._state = 'unconfigured'
        self.get_logger().error(f'unconfigured, after a transition from {state.label} broke off')
        return TransitionCallbackReturn.SUCCESS

    def _LifecycleNodeMixin__change_state(  # noqa: N802, rclpy's own, by its mangled name
        self, transition: int
    ) -> TransitionCallbackReturn:
        """Refuse a transition that the state does not allow, such as configuring an active node.

        Until Jazzy rclpy raises there, in the executor: the node would end and never answer.
        """
        try:
            return super()._LifecycleNodeMixin__change_state(transition)
        except RuntimeError as error:
            if not self.context.ok():
                raise
            self.get_logger().error(f'no transition {transition} while {self._state}: {error}')
            return TransitionCallbackReturn.ERROR

    def destroy_node(self) -> None:
        """Stop the worker and free the model before the node's handles go."""
        self._release()
        super().destroy_node()

    def _tried(self, what: str, step: Callable[[], None]) -> bool:
        """Do a step; False when it failed, which is said here: rclpy would swallow it.

        The first one since the node was last asked to start stands in /diagnostics.
        """
        try:
            step()
        except Exception as error:
            said = f'cannot {what}: {error}'
            self.get_logger().error(said)
            self._failure = self._failure or said
            return False
        return True

    def _release(self) -> None:
        self._tried('stop', self._stop_working)
        self._tried('free the model', self._free)

    def _stop_working(self) -> None:
        """Stop the worker and what feeds it; each is let go whatever the others raise."""
        worker, self._worker = self._worker, None
        with ExitStack() as last_first:
            if self._pipeline is not None:
                last_first.callback(self._pipeline.model.stop_building)
            if self._targets is not None:
                last_first.callback(self._targets.forget_pictures)
            last_first.callback(self._commands.stop_listening)
            if worker is not None:
                last_first.callback(self._stop_worker, worker)

    def _stop_worker(self, worker: Worker) -> None:
        try:
            worker.stop()
        except WorkerStuckError:
            self._pipeline = self._outputs = None  # still in its hands
            raise

    def _free(self) -> None:
        """Let go of model and publishers, each whatever the other raises."""
        outputs, pipeline = self._outputs, self._pipeline
        self._outputs, self._pipeline, self._targets = None, None, None
        self._commands.close()
        with ExitStack() as last_first:
            if pipeline is not None:
                last_first.callback(pipeline.model.close)
            if outputs is not None:
                last_first.callback(outputs.close)

    # Parameters and diagnostics

    def _on_set_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        answer = check_change(changed, self._pipeline is not None)
        if answer.successful:
            self._options = read_parameters(self, changed)
        return answer

    def _publish_diagnostics(self) -> None:
        facts = {'state': self._state, 'enabled': str(self._commands.enabled).lower()}
        facts.update(self._rates.since_last(self._counts))
        if self._worker is not None:
            self._worker.camera.complain_of_silence()
        problems = self._complaints.active()
        if self._worker is not None:
            facts['looking at'] = self._worker.looked_at or 'nothing'
            facts['targets by'] = 'command' if self._worker.targets.is_commanded else 'detections'
            if self._worker.scale_source:
                facts['scale source'] = self._worker.scale_source
            if delay := self._worker.delay:
                problems['worker'] = delay
        if self._pipeline is not None:
            folder = self._pipeline.model.folder
            facts['model'] = f'{folder.name} {folder.version} {folder.sha256[:12]}'
            facts.update(self._pipeline.model.facts())
            if trouble := self._pipeline.model.trouble:
                problems['engine'] = trouble
            facts['inference ms'] = f'{1e3 * self._pipeline.inference_s:.1f}'
        self._diagnostics.publish(
            diagnostic_array(
                self.get_fully_qualified_name().lstrip('/'),
                self.get_clock().now(),
                self._state,
                self._failure,
                self._counts,
                facts,
                problems,
                self._complaints.counts(),
            )
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit status."""
    cv2.setNumThreads(1)
    return run_in_ros('focus_depth', arguments, _prepare)


def _prepare(stack: ExitStack) -> Callable[[], None]:
    node = FocusDepthNode()
    stack.callback(node.destroy_node)
    node.start()
    return lambda: rclpy.spin(node)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth run`."""
    topics = '-r image:=/camera/image_raw -r camera_info:=/camera/camera_info'
    add_ros_arguments(parser, f'{topics} -p fovea:=true')


def run(arguments: argparse.Namespace) -> int:
    """`focus-depth run`: the node, for machines without ros2 launch."""
    return run_command(arguments, main)
