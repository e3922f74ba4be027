"""From a scene to labelled frames: draw, find boundaries, count what is visible, write captions."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import tight_box
from focus_depth_ros.synthesis.boundaries import boundaries_from_scans
from focus_depth_ros.synthesis.cameras import HEIGHT_PX, WIDTH_PX, Camera
from focus_depth_ros.synthesis.captions import Described, absent_captions, captions_of
from focus_depth_ros.synthesis.lighting import Lighting
from focus_depth_ros.synthesis.normals import surface_normals
from focus_depth_ros.synthesis.physics import UnsettledError
from focus_depth_ros.synthesis.placement import Placed
from focus_depth_ros.synthesis.relation_captions import Speaker
from focus_depth_ros.synthesis.relations import SceneGraph, seen_objects
from focus_depth_ros.synthesis.renderer import Labels, Part, Renderer
from focus_depth_ros.synthesis.sample import FARTHEST_M, Extras, Sample, SceneObject
from focus_depth_ros.synthesis.seen_colours import called, colour_shares
from focus_depth_ros.synthesis.sensor import SensorView, sensor_depth
from focus_depth_ros.synthesis.splits import scene_generator
from focus_depth_ros.synthesis.stock import Stock
from focus_depth_ros.synthesis.support import Support, supports
from focus_depth_ros.synthesis.themes import VIEWS_PER_SCENE, Scene, build_scene

_log = logging.getLogger(__name__)
MIN_VISIBLE_SHARE = 100 / (WIDTH_PX * HEIGHT_PX)
"""Of the picture, that an object must cover to have captions."""
FIRST_FIXTURE_PART = 256
TOTE_NOUN = 'box'
"""What the tote may be taken for. It is no object, so in its scenes nobody says the word."""
_TRIES = 6
_SENSOR_STREAM = (77, 1)
_WORDS_STREAM = (78, 1)


def parts_of(scene: Scene) -> list[Part]:
    """Objects are parts 1..n (their id), fixtures 256 and up.

    Transparent ones come last so that they blend.
    """
    fixtures = [
        Part(
            fixture.mesh,
            fixture.texture,
            FIRST_FIXTURE_PART + k,
            fixture.look,
            fixture.casts_shadow,
        )
        for k, fixture in enumerate(scene.fixtures)
    ]
    objects = [
        Part(p.mesh, p.thing.texture, k + 1, p.thing.look) for k, p in enumerate(scene.placed)
    ]
    return sorted(fixtures + objects, key=lambda part: part.look.alpha < 1)


def described(number: int, placed: Placed) -> Described:
    """What captions may say of a placed object."""
    thing = placed.thing
    x, y, z = (round(float(value), 4) for value in placed.mesh.extent_m)
    return Described(
        number,
        thing.class_name,
        thing.colour,
        thing.material,
        (x, y, z),
        own_extent_m=tuple(thing.mesh.extent_m),
    )


def object_ids(labels: Labels) -> NDArray[np.uint8]:
    """The ids image (H,W): 0 where structure or nothing was hit."""
    return np.where(labels.parts < FIRST_FIXTURE_PART, labels.parts, 0).astype(np.uint8)


@dataclass(frozen=True)
class Spoken:
    """What a frame's words are: objects with captions, and captions that fit nothing in view."""

    objects: list[SceneObject]
    absent: list[str]
    absent_relations: list[str]


def as_seen(item: Described, shares: Mapping[str, float]) -> Described:
    """The object with the colours it is called by; a transparent one shows those behind it."""
    colour, others = called(item.colour, shares)
    return replace(item, colour=colour, other_colours=others)


def describe(
    scene: Scene,
    ids: NDArray[np.uint8],
    unlit: NDArray[np.uint8],
    graph: SceneGraph,
    rng: np.random.Generator,
) -> Spoken:
    """Words for what is visible in one view; unlit uint8 (H,W,3) is its picture without light."""
    counts = np.bincount(ids.ravel(), minlength=len(scene.placed) + 1)
    seen = {n: placed for n, placed in enumerate(scene.placed, 1) if counts[n] > 0}
    shares = colour_shares(unlit, ids, seen)
    present = [
        as_seen(described(number, placed), shares[number]) for number, placed in seen.items()
    ]
    named = [item for item in present if counts[item.id] >= MIN_VISIBLE_SHARE * ids.size]
    speaker = Speaker(named, graph, rng)
    objects = []
    for item in present:
        objects.append(
            SceneObject(
                id=item.id,
                class_name=item.class_name,
                colour=item.colour,
                material=item.material,
                box=tight_box(ids == item.id),
                visible_px=int(counts[item.id]),
                captions=captions_of(item, named) if item in named else [],
                extent_m=item.extent_m,
                relation_captions=speaker.captions_of(item) if item in named else [],
                other_colours=item.other_colours,
            )
        )
    spoken = Spoken(objects, absent_captions(present, rng), speaker.absent(present))
    return without(TOTE_NOUN, spoken) if scene.theme == 'tote' else spoken


def without(word: str, spoken: Spoken) -> Spoken:
    """What is said without the word."""

    def kept(captions: list[str]) -> list[str]:
        return [caption for caption in captions if word not in caption.split()]

    objects = [
        replace(
            item,
            captions=kept(item.captions),
            relation_captions=[
                row for row in item.relation_captions if word not in row.caption.split()
            ],
        )
        for item in spoken.objects
    ]
    return Spoken(objects, kept(spoken.absent), kept(spoken.absent_relations))


def make_frame(
    renderer: Renderer,
    scene: Scene,
    view: tuple[Camera, Lighting],
    labels: Labels,
    supported: Mapping[tuple[int, int], Support],
    rng: np.random.Generator,
    number: int,
) -> Sample:
    """One labelled frame of a loaded scene, the `number`th; labels are those of the view's camera.

    Captions draw from rng, which is theirs alone: what is said changes no picture.
    """
    camera, lighting = view
    ids = object_ids(labels)
    depth = np.where(labels.depth_m <= FARTHEST_M, labels.depth_m, np.nan).astype(np.float32)
    graph = SceneGraph(seen_objects(ids, labels.depth_m, camera), supported)
    spoken = describe(scene, ids, renderer.unlit(camera), graph, rng)
    scans = renderer.scans(camera, labels)
    return Sample(
        rgb=renderer.picture(camera, lighting),
        depth_m=depth,
        ids=ids,
        boundary=boundaries_from_scans(*scans, ids),
        K=camera.K,
        objects=spoken.objects,
        absent_captions=spoken.absent,
        absent_relation_captions=spoken.absent_relations,
        theme=scene.theme,
        scene=number,
        camera_pose=camera.pose,
    )


def with_extras(
    renderer: Renderer, scene: Scene, camera: Camera, sample: Sample, rng: np.random.Generator
) -> Sample:
    """The sample of a loaded scene with measured depth, normals and whole outlines."""
    labels, opaque = renderer.labels(camera), renderer.opaque_labels(camera)
    normals = surface_normals(*renderer.scans(camera, labels), camera.K)
    rows, columns = np.mgrid[: camera.height, : camera.width]
    sight = np.stack(
        [
            (columns - camera.cx_px) / camera.focal_px,
            (rows - camera.cy_px) / camera.focal_px,
            np.ones(rows.shape),
        ],
        axis=2,
    )
    facing = -(normals * sight).sum(axis=2) / np.linalg.norm(sight, axis=2)
    clear = [k for k, placed in enumerate(scene.placed, 1) if placed.thing.look.alpha < 1]
    seen = SensorView(
        depth_m=labels.depth_m,
        behind_m=opaque.depth_m,
        rgb=sample.rgb,
        facing=np.nan_to_num(facing).astype(np.float32),
        transparent=np.isin(sample.ids, clear),
    )
    outlines = [renderer.outline(camera, item.id) for item in sample.objects]
    amodal = np.array(outlines, bool).reshape(-1, camera.height, camera.width)
    measured = sensor_depth(seen, camera.focal_px, rng)
    return replace(sample, extras=Extras(measured, normals, amodal))


def _worth_seeing(labels: Labels) -> bool:
    """Whether an object is in view, nothing is nearer than 15 cm, the camera is in the room."""
    seen = np.count_nonzero((labels.parts > 0) & (labels.parts < FIRST_FIXTURE_PART))
    if seen < 4 * MIN_VISIBLE_SHARE * labels.parts.size or np.any(labels.parts == 0):
        return False
    return float(labels.depth_m.min()) > 0.15


def settled_scene(
    stock: Stock, seed: int, number: int, theme: str | None, rng: np.random.Generator
) -> Scene:
    """A scene at rest; one that does not settle is drawn again from the same generator.

    Raises UnsettledError when it never does.
    """
    for _ in range(_TRIES):
        try:
            return build_scene(stock, rng, theme)
        except UnsettledError as error:
            _log.info('%s scene %d of seed %d is drawn again: %s', stock.split, number, seed, error)
    raise UnsettledError(f'{_TRIES} drawings of the scene did not come to rest')


def scene_frames(
    renderer: Renderer,
    stock: Stock,
    seed: int,
    scene_number: int,
    theme: str | None = None,
    extras: bool = False,
) -> Iterator[Sample]:
    """The VIEWS_PER_SCENE frames of one scene, as wide as the renderer's pictures.

    A pure function of its arguments.
    extras change nothing else: they have random numbers of their own.
    """
    rng = scene_generator(stock.split, seed, scene_number)
    scene = settled_scene(stock, seed, scene_number, theme, rng)
    renderer.load(parts_of(scene))
    supported = supports(scene.surface)
    sensor_rng = np.random.default_rng([*_SENSOR_STREAM, seed, scene_number])
    words_rng = np.random.default_rng([*_WORDS_STREAM, seed, scene_number])
    for _ in range(VIEWS_PER_SCENE):
        for _ in range(_TRIES):
            camera, lighting = scene.view(rng)
            view = camera.at_width(renderer.width), lighting
            labels = renderer.labels(view[0])
            if _worth_seeing(labels):
                break
        sample = make_frame(renderer, scene, view, labels, supported, words_rng, scene_number)
        yield with_extras(renderer, scene, view[0], sample, sensor_rng) if extras else sample
