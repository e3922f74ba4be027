"""What the node costs beside the network: camera and node in processes of their own, real DDS.

    python benchmarks/node_latency.py [--model DIR] [--rate HZ] [--seconds S] [--out FILE.json]

A camera process publishes 640x480 rgb8 (sensor-data QoS) with camera_info and, five times a second,
a box in the middle of a picture that pans; this process listens (raw bytes) like RViz or a grasp
planner would. Overhead is (publication - image stamp) - inference, frame by frame, and its ratio to
inference; NaN where a time was lost on its way, because the times have no stamps to pair them by.
Three rounds: every output subscribed, depth alone, and every output at twice the rate.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from focus_depth_ros.evaluation.child_process import ChildProcess
from focus_depth_ros.evaluation.measured_on import when_and_where
from focus_depth_ros.evaluation.overhead import node_overhead
from focus_depth_ros.evaluation.percentiles import percentiles
from focus_depth_ros.heap import keep_large_blocks_in_the_heap
from focus_depth_ros.inference.model_folder import BUILT_IN, read_model_folder
from focus_depth_ros.node.image_codec import image_from_array
from focus_depth_ros.node.outputs import TIMINGS, TOPICS
from focus_depth_ros.node.transport import use_large_message_profile

WIDTH, HEIGHT = 640, 480
WARM_UP = 5


def camera(rate: float, seconds: float) -> None:
    """Publish a panning picture and its calibration; says how many at the end."""
    rclpy.init()
    node = rclpy.create_node('camera')
    images = node.create_publisher(Image, 'image', qos_profile_sensor_data)
    infos = node.create_publisher(CameraInfo, 'camera_info', qos_profile_sensor_data)
    detections = node.create_publisher(Detection2DArray, 'detections', 5)
    blocks = np.random.default_rng(0).integers(0, 255, (60, 120, 3), np.uint8)
    world = np.kron(blocks, np.ones((16, 16, 1), np.uint8))
    info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model='plumb_bob', d=[0.0] * 5)
    info.k = [525.0, 0.0, 320.0, 0.0, 525.0, 240.0, 0.0, 0.0, 1.0]
    pictures = [
        image_from_array(
            np.ascontiguousarray(world[shift : shift + HEIGHT, shift : shift + WIDTH]), 'rgb8'
        )
        for shift in [*range(0, 100, 2), *range(100, 0, -2)]
    ]
    while not images.get_subscription_count():
        time.sleep(0.05)
    time.sleep(1.0)
    start, sent = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        message = pictures[sent % len(pictures)]
        message.header.stamp = info.header.stamp = node.get_clock().now().to_msg()
        message.header.frame_id = info.header.frame_id = 'camera_optical'
        images.publish(message)  # the order of image_transport's camera publisher
        infos.publish(info)
        if sent % max(1, round(rate / 5)) == 0:
            detections.publish(_detection(message))
        sent += 1
        time.sleep(max(0.0, sent / rate - (time.monotonic() - start)))
    time.sleep(1.5)
    print(sent, flush=True)
    rclpy.try_shutdown()


def _detection(picture: Image) -> Detection2DArray:
    hypothesis = ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id='mug', score=0.9))
    detection = Detection2D(results=[hypothesis])
    detection.bbox.center.position.x, detection.bbox.center.position.y = 320.0, 240.0
    detection.bbox.size_x, detection.bbox.size_y = 160.0, 160.0
    return Detection2DArray(header=picture.header, detections=[detection])


class Node(ChildProcess):
    """The node in a process of its own, its start timed, its memory read."""

    def __init__(self, model: Path, folder: Path) -> None:
        start = time.monotonic()
        words = ['run', '--ros-args', '-p', f'model:={model}', '-p', 'min_confidence:=0.0']
        super().__init__('node', [sys.executable, '-m', 'focus_depth_ros', *words], folder)
        self.wait_for_words('active; pictures')
        self.start_s = time.monotonic() - start

    def memory_mb(self, which: str) -> float:
        """VmRSS or VmHWM."""
        status = Path(f'/proc/{self.pid}/status').read_text()
        found = re.search(rf'{which}:\s+(\d+) kB', status)
        return int(found.group(1)) / 1024 if found else float('nan')


class Listener:
    """Subscribes to `outputs` and to the node's times, raw, and keeps what it hears."""

    def __init__(self, outputs: list[str]) -> None:
        self.node = rclpy.create_node('listener')
        self.answers = 0
        self.times: dict[str, list[float]] = {name: [] for name in TIMINGS}
        for name in outputs:
            heard = self._count if name == 'depth/image' else _ignore
            self._subscribe(TOPICS[name], name, heard, depth=20)
        for name in TIMINGS:
            self._subscribe(Float64, f'debug/{name}', partial(self._keep, name), depth=50)

    def _subscribe(
        self, kind: type[Any], topic: str, heard: Callable[[bytes], None], depth: int
    ) -> None:
        profile = QoSProfile(depth=depth)
        self.node.create_subscription(kind, f'/focus_depth/{topic}', heard, profile, raw=True)

    def _count(self, data: bytes) -> None:
        self.answers += 1

    def _keep(self, name: str, data: bytes) -> None:
        self.times[name].append(deserialize_message(data, Float64).data)


def _ignore(data: bytes) -> None:
    pass


def one_round(
    model: Path, outputs: list[str], rate: float, seconds: float, folder: Path
) -> dict[str, Any]:
    """Start a node, play to it, listen to `outputs`; the figures of this round."""
    process = Node(model, folder)
    listener = Listener(outputs)
    sent, memory = played(listener, process, rate, seconds)
    peak = process.memory_mb('VmHWM')
    status = process.stop()
    listener.node.destroy_node()
    middle, end = memory[len(memory) // 3 : len(memory) // 2], memory[-len(memory) // 5 :]
    return {
        'outputs': len(outputs),
        'rate_hz': rate,
        'sent': sent,
        'answered': listener.answers,
        'answered_percent': round(100 * listener.answers / max(sent, 1), 1),
        **figures_of(listener.times),
        'start_s': round(process.start_s, 2),
        'memory_peak_mb': round(peak),
        'memory_growth_mb': round(float(np.median(end) - np.median(middle)), 1),
        'exit_status': status,
    }


def played(
    listener: Listener, process: Node, rate: float, seconds: float
) -> tuple[int, list[float]]:
    """Let a camera play and listen meanwhile: how many it sent, the node's memory in MB."""
    player = subprocess.Popen(
        [sys.executable, __file__, '--camera', '--rate', str(rate), '--seconds', str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    memory = []
    while player.poll() is None:
        rclpy.spin_once(listener.node, timeout_sec=0.05)
        memory.append(process.memory_mb('VmRSS'))
    return int(player.stdout.read()) if player.stdout else 0, memory


def figures_of(times: dict[str, list[float]]) -> dict[str, Any]:
    """Percentiles and overheads of a node's times, those of its first frames left out."""
    inference, latency, processing = (
        np.array(times[name])[WARM_UP:]
        for name in ('inference_time_ms', 'pipeline_latency_ms', 'processing_time_ms')
    )
    return {
        'inference_ms': percentiles(inference),
        'latency_ms': percentiles(latency),
        **node_overhead(latency, inference),
        'processing_without_inference_ms': node_overhead(processing, inference)['overhead_ms'],
        'latency_p90_in_inferences': round(
            float(np.quantile(latency, 0.9) / np.median(inference)), 2
        ),
    }


def main() -> int:
    """Run the rounds, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--model', type=Path, default=BUILT_IN)
    parser.add_argument(
        '--rate', type=float, default=30.0, help='a rate that the network can hold, Hz'
    )
    parser.add_argument('--seconds', type=float, default=20.0)
    parser.add_argument('--out', type=Path)
    parser.add_argument('--camera', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    use_large_message_profile()
    keep_large_blocks_in_the_heap()
    if arguments.camera:
        camera(arguments.rate, arguments.seconds)
        return 0
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
    rclpy.init()
    everything = [name for name in TOPICS if name != 'depth/relative']
    rounds = {
        'every output': (everything, arguments.rate),
        'depth alone': (['depth/image'], arguments.rate),
        'overload': (everything, 2 * arguments.rate),
    }
    model, results = read_model_folder(arguments.model), {}
    for name, (outputs, rate) in rounds.items():
        with tempfile.TemporaryDirectory() as folder:
            result = one_round(arguments.model, outputs, rate, arguments.seconds, Path(folder))
        results[name] = result
        print(f'\n{name} ({rate:g} Hz)')
        for key, value in result.items():
            print(f'  {key:32} {value}')
    report = {
        'command': (
            f'{Path(__file__).name} --rate {arguments.rate:g} --seconds {arguments.seconds:g}'
            + ('' if arguments.model == BUILT_IN else f' --model {arguments.model}')
        ),
        'rounds': results,
        'picture': f'{WIDTH}x{HEIGHT} rgb8',
        'model': f'{model.name} {model.version}',
        **when_and_where(),
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1), encoding='utf-8')
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
