"""What any Python node would cost here: one that computes nothing, between the same processes.

    python benchmarks/bare_node.py [--rate HZ] [--seconds S] [--out FILE.json]

It takes each 640x480 picture as bytes, like the node, and publishes finished messages of the node's
kinds and sizes: as messages, or as bytes that were serialised beforehand, which is the least that
rclpy can do. Latency is from the picture's stamp to the last publication, as in node_latency.py.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import node_latency
import numpy as np
import rclpy
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection3D, Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from focus_depth_ros.evaluation.measured_on import when_and_where
from focus_depth_ros.evaluation.percentiles import percentiles
from focus_depth_ros.heap import keep_large_blocks_in_the_heap
from focus_depth_ros.msg import FocusTarget, FocusTargetArray
from focus_depth_ros.node import clouds
from focus_depth_ros.node.image_codec import image_from_array
from focus_depth_ros.node.outputs import TOPICS
from focus_depth_ros.node.qos import result_profile
from focus_depth_ros.node.serialised_image import read_image
from focus_depth_ros.node.stamps import nanoseconds
from focus_depth_ros.node.transport import use_large_message_profile

SIZE = (node_latency.HEIGHT, node_latency.WIDTH)
WARM_UP = 5


def finished_messages() -> dict[str, Any]:
    """One message of each of the node's outputs, of the size it has for a 640x480 picture."""
    return {
        'depth/image': image_from_array(np.ones(SIZE, np.float32), '32FC1'),
        'depth/camera_info': CameraInfo(),
        'targets': FocusTargetArray(targets=[FocusTarget()]),
        'target/detections_3d': Detection3DArray(detections=[Detection3D()]),
        'target/markers': MarkerArray(markers=[Marker(), Marker(), Marker()]),
        'boundary/image': image_from_array(np.ones(SIZE, np.uint8), 'mono8'),
        'target/mask': image_from_array(np.ones(SIZE, np.uint8), 'mono8'),
        'target/labels': image_from_array(np.ones(SIZE, np.uint8), 'mono8'),
        'target/points': clouds.blank_cloud(SIZE[::-1]),
        'overlay/image': image_from_array(np.ones((*SIZE, 3), np.uint8), 'rgb8'),
    }


def relay(outputs: list[str], as_bytes: bool) -> None:
    """Answer every picture until the input ends; print the latencies, ms."""
    rclpy.init()
    node = rclpy.create_node('focus_depth')
    ready = finished_messages()
    serialised = {name: serialize_message(ready[name]) for name in outputs}
    publishers = {
        name: node.create_publisher(TOPICS[name], f'/focus_depth/{name}', result_profile())
        for name in outputs
    }
    latencies: list[float] = []

    def answer(data: bytes) -> None:
        header = read_image(data).header
        for name, publisher in publishers.items():
            if name != 'target/markers':  # its markers have one each
                ready[name].header = header
            publisher.publish(serialised[name] if as_bytes else ready[name])
        latencies.append((node.get_clock().now().nanoseconds - nanoseconds(header.stamp)) / 1e6)

    node.create_subscription(Image, 'image', answer, qos_profile_sensor_data, raw=True)
    quiet_since = time.monotonic()
    while not latencies or time.monotonic() - quiet_since < 2:
        before = len(latencies)
        rclpy.spin_once(node, timeout_sec=0.1)
        if len(latencies) > before:
            quiet_since = time.monotonic()
    print(json.dumps(latencies[WARM_UP:]), flush=True)
    rclpy.try_shutdown()


def one_round(outputs: list[str], as_bytes: bool, rate: float, seconds: float) -> dict[str, float]:
    """Play to a bare node and listen to it; its latencies' percentiles, ms."""
    listener = rclpy.create_node('listener')
    for name in outputs:
        listener.create_subscription(
            TOPICS[name], f'/focus_depth/{name}', lambda _: None, QoSProfile(depth=20), raw=True
        )
    words = ['--relay', ','.join(outputs), *(['--bytes'] if as_bytes else [])]
    bare = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
    words = ['--camera', '--rate', str(rate), '--seconds', str(seconds)]
    camera = subprocess.Popen(
        [sys.executable, node_latency.__file__, *words], stdout=subprocess.DEVNULL
    )
    while bare.poll() is None:
        rclpy.spin_once(listener, timeout_sec=0.05)
    camera.wait()
    listener.destroy_node()
    assert bare.stdout is not None
    return percentiles(np.array(json.loads(bare.stdout.read())))


def main() -> int:
    """Run the rounds, print them, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--rate', type=float, default=15.0, help='pictures a second')
    parser.add_argument('--seconds', type=float, default=10.0)
    parser.add_argument('--out', type=Path)
    parser.add_argument('--relay', help=argparse.SUPPRESS)
    parser.add_argument('--bytes', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    use_large_message_profile()
    keep_large_blocks_in_the_heap()
    if arguments.relay:
        relay(arguments.relay.split(','), arguments.bytes)
        return 0
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
    rclpy.init()
    everything = [name for name in TOPICS if name != 'depth/relative']
    rounds = {}
    for name, outputs in (('every output', everything), ('depth alone', ['depth/image'])):
        for form in ('messages', 'bytes'):
            played = arguments.rate, arguments.seconds
            rounds[f'{name}, as {form}'] = one_round(outputs, form == 'bytes', *played)
            print(f'{name}, as {form}: {rounds[f"{name}, as {form}"]}', flush=True)
    report = {
        'command': f'bare_node.py --rate {arguments.rate:g} --seconds {arguments.seconds:g}',
        'latency_ms': rounds,
        **when_and_where(),
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1), encoding='utf-8')
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
