"""A robot for tests: starts the node in a process of its own, speaks to it over real DDS."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Float64, Header, String
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    Detection3DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)
from visualization_msgs.msg import MarkerArray

from focus_depth_ros.msg import FocusTargetArray
from focus_depth_ros.node.image_codec import image_from_array
from focus_depth_ros.srv import SetBoxTarget, SetTextTarget

WIDTH, HEIGHT = 320, 240
OUTPUTS: dict[str, type] = {
    'depth/image': Image,
    'depth/camera_info': CameraInfo,
    'depth/relative': Image,
    'boundary/image': Image,
    'target/mask': Image,
    'target/labels': Image,
    'target/points': PointCloud2,
    'targets': FocusTargetArray,
    'target/detections_3d': Detection3DArray,
    'target/markers': MarkerArray,
    'overlay/image': Image,
    'debug/inference_time_ms': Float64,
    'debug/pipeline_latency_ms': Float64,
}
SERVICES: dict[str, type] = {
    'set_text_target': SetTextTarget,
    'set_box_target': SetBoxTarget,
    'clear_targets': Trigger,
    'enable': SetBool,
}


class NodeProcess:
    """The node as users start it, or as a script of the tests does; its output is kept."""

    def __init__(
        self,
        *ros_arguments: str,
        command: str = 'run',
        program: tuple[str, ...] = ('-m', 'focus_depth_ros'),
    ) -> None:
        self._log = tempfile.NamedTemporaryFile('w+', prefix='focus_depth_', suffix='.log')  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, *program, command, '--ros-args', *ros_arguments],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, 'PYTHONUNBUFFERED': '1'},
        )
        atexit.register(self.process.kill)  # a failed test must not leave a node behind

    @property
    def output(self) -> str:
        """Everything that the process has printed so far."""
        return Path(self._log.name).read_text(encoding='utf-8', errors='replace')

    def wait_for_output(self, words: str, timeout_s: float = 15.0) -> None:
        """Wait until the process has printed these words."""
        deadline = time.monotonic() + timeout_s
        while words not in self.output:
            assert self.process.poll() is None, f'the node ended:\n{self.output}'
            if time.monotonic() > deadline:
                self.process.kill()  # it must not disturb the tests that follow
                raise AssertionError(f'never said {words!r}:\n{self.output}')
            time.sleep(0.02)

    def stop(self, signal_number: int = signal.SIGINT) -> tuple[int, float]:
        """Signal the process; returns its exit status and how long it took, s."""
        start = time.monotonic()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal_number)
        status = self.process.wait(timeout=10)
        return status, time.monotonic() - start


class Robot:
    """Publishes pictures and targets, hears every output of one node."""

    def __init__(self, node_name: str = '/focus_depth', namespace: str = '') -> None:
        self.node = rclpy.create_node('robot', namespace=namespace)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self.stamp_ns = 1_000_000_000_000
        self.images = self.node.create_publisher(Image, 'image', qos_profile_sensor_data)
        self.compressed = self.node.create_publisher(
            CompressedImage, 'image/compressed', qos_profile_sensor_data
        )
        self.camera_infos = self.node.create_publisher(
            CameraInfo, 'camera_info', qos_profile_sensor_data
        )
        self.references = self.node.create_publisher(
            Image, 'reference_depth', qos_profile_sensor_data
        )
        self.detections = self.node.create_publisher(Detection2DArray, 'detections', 5)
        self.texts = self.node.create_publisher(String, 'text_target', 5)
        self._name = node_name
        self._subscriptions = {name: self.listen(name) for name in OUTPUTS}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._clients = {
            name: self.node.create_client(kind, f'{node_name}/{name}')
            for name, kind in SERVICES.items()
        }
        self._change: Any = None
        self.diagnostics: DiagnosticArray | None = None
        self._calibration: CameraInfo | None = None

    def listen(self, name: str) -> Any:
        """Subscribe to one output."""
        return self.node.create_subscription(
            OUTPUTS[name], f'{self._name}/{name}', self.heard[name].append, QoSProfile(depth=10)
        )

    def stop_listening(self, *names: str) -> None:
        """Unsubscribe from outputs."""
        for name in names:
            self.node.destroy_subscription(self._subscriptions.pop(name))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if self._name.strip('/') == message.status[0].name:
            self.diagnostics = message

    def wait_for(self, condition: Callable[[], Any], what: str, timeout_s: float = 15.0) -> Any:
        """Spin until the condition holds; its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f'waited {timeout_s} s in vain for {what}'
            self.executor.spin_once(timeout_sec=0.02)
        return value

    def spin(self, seconds: float) -> None:
        """Let messages come in for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)

    def connect(self, pictures: Any = None) -> None:
        """Wait until node and robot have found each other."""
        publisher = pictures or self.images
        self.wait_for(
            lambda: (
                publisher.get_subscription_count()
                and self.camera_infos.get_subscription_count()
                and self.detections.get_subscription_count()
                and self.texts.get_subscription_count()
                and self.node.count_publishers(f'{self._name}/depth/image')
                and all(client.service_is_ready() for client in self._clients.values())
            ),
            'the node to be found',
        )
        self.spin(0.3)

    def next_stamp(self, step_ns: int = 33_000_000) -> Time:
        """The stamp of one more picture."""
        self.stamp_ns += step_ns
        return self.now()

    def now(self) -> Time:
        """The newest picture's stamp."""
        return Time(sec=self.stamp_ns // 10**9, nanosec=self.stamp_ns % 10**9)

    def send_camera_info(self, width: int = WIDTH, height: int = HEIGHT, **changes: Any) -> None:
        """Publish a calibration (300 px focal length) and give it time to arrive."""
        k = [300.0, 0.0, width / 2, 0.0, 300.0, height / 2, 0.0, 0.0, 1.0]
        fields: dict[str, Any] = {
            'k': k,
            'd': [0.0] * 5,
            'distortion_model': 'plumb_bob',
            **changes,
        }
        message = CameraInfo(width=width, height=height, **fields)
        message.header.stamp = self.now()
        self._calibration = message
        self.camera_infos.publish(message)
        self.spin(0.15)

    def send(self, message: Image, publisher: Any = None) -> None:
        """Publish one picture under the next stamp."""
        message.header.stamp, message.header.frame_id = self.next_stamp(), 'camera_optical'
        (publisher or self.images).publish(message)

    def answer(
        self, message: Image | None = None, output: str = 'depth/image', publisher: Any = None
    ) -> Any:
        """Send a good picture; its output.

        Best effort may lose the picture, or the calibration before it where the node has yet to
        find the robot's publisher: both are sent again until there is an answer.
        """
        for attempt in range(3):
            if attempt and self._calibration:
                self.camera_infos.publish(self._calibration)
                self.spin(0.15)
            self.send(message or picture(), publisher)
            stamp = self.now()
            try:
                return self.wait_for(
                    lambda stamp=stamp: next(
                        (m for m in self.heard[output] if _stamp(m) == stamp), None
                    ),
                    f'{output} for a good picture',
                    timeout_s=3.0,
                )
            except AssertionError as error:
                problem = error
        raise problem

    def beside(self, answer: Any, output: str) -> Any:
        """Another output for the same picture."""
        return self.wait_for(
            lambda: next((m for m in self.heard[output] if _header(m) == answer.header), None),
            output,
        )

    def send_detections(
        self, *boxes: tuple[str, float, float, float, float, float], stamp: Time | None = None
    ) -> None:
        """Publish (class, score, x0, y0, x1, y1) px for the newest picture, or that of `stamp`."""
        message = Detection2DArray()
        message.header.stamp = stamp or self.now()
        for class_id, score, x0, y0, x1, y1 in boxes:
            detection = Detection2D(
                results=[
                    ObjectHypothesisWithPose(
                        hypothesis=ObjectHypothesis(class_id=class_id, score=score)
                    )
                ]
            )
            detection.bbox.center.position.x = float(x0 + x1) / 2
            detection.bbox.center.position.y = float(y0 + y1) / 2
            # rclpy writes an int into a float64 field as rubbish, without a word
            detection.bbox.size_x, detection.bbox.size_y = float(x1 - x0), float(y1 - y0)
            message.detections.append(detection)
        self.detections.publish(message)
        self.spin(0.15)

    def call(self, service: str, **fields: Any) -> Any:
        """Call one of the node's services."""
        future = self._clients[service].call_async(SERVICES[service].Request(**fields))
        self.wait_for(future.done, f'an answer of {service}')
        return future.result()

    def change_state(self, transition: int) -> bool:
        """Ask the node for a lifecycle transition; whether it took place."""
        if self._change is None:
            self._change = self.node.create_client(ChangeState, f'{self._name}/change_state')
            self.wait_for(self._change.service_is_ready, 'change_state')
            self.spin(0.5)  # on a busy machine an answer may go out before its reader is known
        request = ChangeState.Request(transition=Transition(id=transition))
        future = self._change.call_async(request)
        self.wait_for(future.done, 'a transition')
        return bool(future.result().success)

    def problem(self, kind: str, count: int = 1) -> int:
        """Wait until /diagnostics has counted this kind of problem so often; the count."""

        def counted() -> int:
            if self.diagnostics is None:
                return 0
            values = {v.key: v.value for v in self.diagnostics.status[0].values}
            return int(values.get(f'problem {kind}', 0))

        return int(self.wait_for(lambda: counted() >= count and counted(), f'problem {kind}'))

    def fact(self, key: str) -> str:
        """One value of the next /diagnostics."""
        self.diagnostics = None
        self.wait_for(lambda: self.diagnostics, 'diagnostics')
        assert self.diagnostics is not None
        return str({v.key: v.value for v in self.diagnostics.status[0].values}.get(key, ''))

    def close(self) -> None:
        """Take the robot down."""
        self.executor.remove_node(self.node)
        self.node.destroy_node()


@contextmanager
def robot_of(*ros_arguments: str) -> Iterator[Robot]:
    """A robot with a calibrated camera and an active node of its own, which has to end cleanly."""
    node = NodeProcess(*ros_arguments)
    client = Robot()
    node.wait_for_output('active; pictures')
    client.connect()
    client.send_camera_info()
    yield client
    client.close()
    status, _ = node.stop()
    assert status == 0, node.output


def texture(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> NDArray[np.uint8]:
    """A picture with corners that tracking can hold on to, uint8 RGB (H, W, 3)."""
    blocks = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8)))


def picture(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Image:
    """A good rgb8 picture."""
    return image_from_array(texture(width, height, seed), 'rgb8')


def _stamp(message: Any) -> Time:
    return _header(message).stamp


def _header(message: Any) -> Header:
    return message.markers[0].header if isinstance(message, MarkerArray) else message.header
