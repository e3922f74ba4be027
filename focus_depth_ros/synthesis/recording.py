"""`focus-depth render-recording`: a camera moving over one table, as a ROS 2 recording.

Topics: /camera/image_raw/compressed and /camera/camera_info at 15 Hz (640x480, one stamp for
both), /detections at 3 Hz (boxes of a mug and a bowl, a little off, published 80-120 ms after the
picture they were seen in), /text_target once, after 55 % of the time. Every fifth frame
/truth/depth (16UC1 PNG, unit 0.1 mm, 320x240) and /truth/ids (mono8 PNG, 320x240); /truth/objects
once (JSON: id, class, caption).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from focus_depth_ros.core import Box, tight_box
from focus_depth_ros.synthesis import surroundings
from focus_depth_ros.synthesis.bag import NANOSECONDS, Bag
from focus_depth_ros.synthesis.cameras import Camera, look_at
from focus_depth_ros.synthesis.captions import Described, captions_of
from focus_depth_ros.synthesis.frames import described, object_ids, parts_of
from focus_depth_ros.synthesis.lighting import Lamp, Lighting, spread
from focus_depth_ros.synthesis.meshes import rotation
from focus_depth_ros.synthesis.objects import make_thing
from focus_depth_ros.synthesis.placement import Surface, centred
from focus_depth_ros.synthesis.renderer import Renderer
from focus_depth_ros.synthesis.sample import depth_to_counts, encode_image
from focus_depth_ros.synthesis.splits import scene_generator
from focus_depth_ros.synthesis.themes import Scene

WIDTH, HEIGHT, FOCAL_PX = 640, 480, 560.0
RATE_HZ, DURATION_S = 15, 13.0
DETECTION_EVERY, DETECTION_PHASE, TRUTH_EVERY = 5, 2, 5
TEXT_AT = 0.55
PICTURE_DELAY_NS = 15_000_000
START_NS = 1_767_225_600 * NANOSECONDS
MOST_BYTES = 7_600_000
LAMP_POINTS = 20


@dataclass(frozen=True)
class Role:
    """One object of the table.

    What it is and where it stands (metres, radians about the vertical).
    """

    class_name: str
    colour: str
    x_m: float
    y_m: float
    turn: float = 0.0


CAST = (
    Role('carton', 'orange', -0.13, 0.26, 0.25),
    Role('bottle', 'green', 0.07, 0.22),
    Role('can', 'blue', 0.22, 0.20),
    Role('can', 'yellow', 0.33, 0.12),
    Role('mug', 'red', -0.06, 0.04, -0.6),
    Role('bowl', 'cyan', 0.19, -0.06),
    Role('carton', 'white', -0.30, 0.12, -0.5),
    Role('banana', 'yellow', -0.10, -0.17, 0.4),
)
DETECTED = ('mug', 'bowl')
TEXT_TARGET = ('bottle', 'green')


@dataclass(frozen=True)
class Shot:
    """One moment: RGB, truth at half the size, boxes (xyxy px of the full picture) by object id."""

    rgb: NDArray[np.uint8]
    depth_counts: NDArray[np.uint16]
    ids: NDArray[np.uint8]
    K: NDArray[np.float64]
    boxes: dict[int, Box]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument('--out', type=Path, required=True, help='folder to make')
    parser.add_argument('--seed', type=int, default=1, help='another seed, other shapes and prints')


def run(arguments: argparse.Namespace) -> int:
    """Render and write; returns 0."""
    if arguments.out.exists():
        raise FileExistsError(f'{arguments.out} exists; name a new folder or remove it first')
    rng = scene_generator('test', arguments.seed, 0)
    scene = table(rng)
    lighting = soft_light(rng)
    renderer = Renderer(WIDTH)
    renderer.load(parts_of(scene))
    times = np.linspace(0, 1, int(DURATION_S * RATE_HZ))
    shots = [shoot(renderer, lighting, float(t)) for t in track(times, 'rendering')]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_recording(arguments.out, scene, shots, rng)
    return 0


def table(rng: np.random.Generator) -> Scene:
    """The cast on a pale desk in a room, from the test split's shapes and textures."""
    low, high = np.array([-0.85, -0.5]), np.array([0.85, 0.55])
    top = surroundings.pale_top(surroundings.texture_generator('test', rng))
    fixtures = surroundings.table(rng, top, low, high)
    fixtures += surroundings.room('test', rng, low, high, -surroundings.FLOOR_DROP_M)
    surface = Surface(low, high)
    for role in CAST:
        thing = make_thing('test', role.class_name, rng, role.colour)
        mesh = centred(thing.mesh.transformed(rotation('z', role.turn)))
        if surface.stand(thing, mesh, np.array([role.x_m, role.y_m])) is None:
            raise ValueError(f'the {role.colour} {role.class_name} finds no room; try another seed')
    return Scene('desk', fixtures, surface)


def soft_light(rng: np.random.Generator) -> Lighting:
    """A large window from the left, a fill without shadows from the front."""
    window = Lamp(
        directions=spread(rng, np.array([0.5, 0.2, -0.85]), 0.2, LAMP_POINTS),
        centre=np.zeros(3), distance_m=1.6, ambient=np.zeros(3),
        diffuse=np.array([0.52, 0.51, 0.48]), specular=np.full(3, 0.5),
    )  # fmt: skip
    fill = Lamp(
        directions=spread(rng, np.array([-0.3, 0.75, -0.6]), 0.05, LAMP_POINTS),
        centre=np.zeros(3), distance_m=2.0, ambient=np.full(3, 0.42),
        diffuse=np.full(3, 0.22), specular=np.full(3, 0.1), casts_shadow=False,
    )  # fmt: skip
    return Lighting((window, fill))


def camera_at(time: float) -> Camera:
    """The smooth path: an arc from left to right that comes closer and rises; time in [0, 1]."""
    ease = time - np.sin(2 * np.pi * time) / (2 * np.pi)
    azimuth = np.radians(-125 + 70 * ease)
    tilt = np.radians(33 + 14 * np.sin(np.pi * time))
    reach = 0.98 - 0.2 * np.sin(np.pi * time) ** 2
    back = np.array([np.cos(tilt) * np.cos(azimuth), np.cos(tilt) * np.sin(azimuth), np.sin(tilt)])
    aim = np.array([0.0, 0.04, 0.06])
    pose = look_at(aim + reach * back, aim, 0.0)
    return Camera(pose, FOCAL_PX, WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5, WIDTH, HEIGHT)


def shoot(renderer: Renderer, lighting: Lighting, time: float) -> Shot:
    """The picture and its truth at a time in [0, 1] of the scene that is loaded."""
    camera = camera_at(time)
    ids, truth = object_ids(renderer.labels(camera)), renderer.labels(camera.at_width(WIDTH // 2))
    boxes = {int(number): tight_box(ids == number) for number in np.unique(ids) if number}
    picture = renderer.picture(camera, lighting)
    return Shot(picture, depth_to_counts(truth.depth_m), object_ids(truth), camera.K, boxes)


def write_recording(
    folder: Path, scene: Scene, shots: list[Shot], rng: np.random.Generator
) -> None:
    """All messages in order of their time, the pictures as good as MOST_BYTES allows."""
    truth = {k: _truth_files(shots[k]) for k in range(0, len(shots), TRUTH_EVERY)}
    left = MOST_BYTES - sum(len(depth) + len(ids) for depth, ids in truth.values())
    pictures = _jpegs_within(left, [shot.rgb for shot in shots])
    named = [described(number, placed) for number, placed in enumerate(scene.placed, 1)]
    detected = {item.id: item.class_name for item in named if item.class_name in DETECTED}
    with Bag(folder) as bag:
        sends: list[tuple[int, Callable[[int], None]]] = []
        for k, shot in enumerate(shots):
            stamp = START_NS + k * NANOSECONDS // RATE_HZ
            shown = stamp + PICTURE_DELAY_NS
            sends.append((shown, partial(_send_frame, bag, stamp, shot, pictures[k])))
            if k in truth:
                sends.append((shown, partial(_send_truth, bag, stamp, truth[k])))
            if k % DETECTION_EVERY == DETECTION_PHASE:
                found = detections(shot, detected, rng)
                late = stamp + int(rng.integers(80, 121)) * 1_000_000
                sends.append((late, partial(_send_detections, bag, stamp, found)))
        sends.append((START_NS, partial(_send_objects, bag, named)))
        spoken = START_NS + int(TEXT_AT * len(shots) / RATE_HZ * NANOSECONDS)
        sends.append((spoken, partial(_send_text, bag, named)))
        for at, send in sorted(sends, key=lambda pair: pair[0]):
            send(at)


def detections(
    shot: Shot, detected: dict[int, str], rng: np.random.Generator
) -> list[tuple[str, float, Box]]:
    """Class name, score and box of each detected object (id -> class name) that is in view."""
    return [
        (name, float(rng.uniform(0.72, 0.96)), jittered(shot.boxes[number], rng))
        for number, name in detected.items()
        if number in shot.boxes
    ]


def jittered(box: Box, rng: np.random.Generator) -> Box:
    """A box as a detector gives it: each edge off by 2.5 % of the size (one standard deviation)."""
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    a, b, c, d = rng.normal(0, 0.025, 4)
    return (
        float(np.clip(left + a * wide, 0, WIDTH)),
        float(np.clip(top + b * high, 0, HEIGHT)),
        float(np.clip(right + c * wide, 0, WIDTH)),
        float(np.clip(bottom + d * high, 0, HEIGHT)),
    )


def _truth_files(shot: Shot) -> tuple[bytes, bytes]:
    smallest = (cv2.IMWRITE_PNG_COMPRESSION, 9)
    depth = encode_image('.png', shot.depth_counts, *smallest)
    return depth, encode_image('.png', shot.ids, *smallest)


def _jpegs_within(most_bytes: int, pictures: list[NDArray[np.uint8]]) -> list[bytes]:
    """All pictures as JPEG at the best quality whose sum fits."""
    for quality in range(94, 40, -4):
        files = [
            encode_image('.jpg', picture[:, :, ::-1], cv2.IMWRITE_JPEG_QUALITY, quality)
            for picture in pictures
        ]
        if sum(map(len, files)) <= most_bytes:
            return files
    raise ValueError(f'{len(pictures)} pictures do not fit {most_bytes} bytes')


def _send_frame(bag: Bag, stamp: int, shot: Shot, jpeg: bytes, at: int) -> None:
    bag.picture('/camera/image_raw/compressed', at, stamp, 'rgb8; jpeg compressed bgr8', jpeg)
    bag.camera_info('/camera/camera_info', at, stamp, (WIDTH, HEIGHT), shot.K)


def _send_truth(bag: Bag, stamp: int, files: tuple[bytes, bytes], at: int) -> None:
    bag.picture('/truth/depth', at, stamp, '16UC1; png', files[0])
    bag.picture('/truth/ids', at, stamp, 'mono8; png', files[1])


def _send_detections(bag: Bag, stamp: int, found: list[tuple[str, float, Box]], at: int) -> None:
    bag.detections('/detections', at, stamp, found)


def _send_objects(bag: Bag, named: list[Described], at: int) -> None:
    rows = [
        {
            'id': item.id,
            'class': item.class_name,
            'colour': item.colour,
            'captions': captions_of(item, named),
        }
        for item in named
    ]
    bag.text('/truth/objects', at, json.dumps(rows))


def _send_text(bag: Bag, named: list[Described], at: int) -> None:
    wanted = next(item for item in named if (item.class_name, item.colour) == TEXT_TARGET)
    bag.text('/text_target', at, captions_of(wanted, named)[0])
