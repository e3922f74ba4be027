# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws pictures with Blender's Cycles: run by render_cycles.py in a process of its own.

Needs a Python with Blender as a module (`pip install bpy`, Python 3.11). Reads one JSON order a
line from standard input and answers each with one line, `done` or `failed: why`, on the stream it
was given as its first argument (the second: threads):

    {"load": FILE.npz, "seed": N}         meshes, textures and looks of a scene replace the last one
    {"draw": FILE.png, "camera": ..., "lamps": ..., "seed": N, "samples": N}

Quality is set for pictures of 320x240: six light paths a pixel, denoised, look like a hundred.

Blender and this file are GPL (the rest of this repository is not); what they draw is free.
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any

import bpy
import numpy as np

# isort: split
import bmesh  # it is there once bpy is
from mathutils import Matrix, Vector

SENSOR_MM = 36.0
WALL_M = 0.0015
"""How thick transparent things are that have no inner wall of their own."""
CLEAR_IOR = 1.47
INK_STEP = 30
"""Grey levels between the body of a transparent thing and what is printed on it."""
BODY = (slice(20, 110), slice(15, 50))
"""Rows and columns of an object's picture (256x256) that show its plain body."""
SKY_PX = (128, 256)
PANORAMAS = ('interior', 'studio', 'courtyard', 'city', 'forest', 'sunset')
"""Light of real places that Blender brings (by Poly Haven, CC0)."""
BRIGHTEST = 12.0
"""Times the mean: a sun in the sky would leave sparks with so few paths; the lamps are for that."""


def prepare(threads: int) -> None:
    """An empty Blender that renders with Cycles on the CPU."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = 'CYCLES'
    scene.cycles.device = 'CPU'
    _budget(scene.cycles)
    scene.render.threads_mode, scene.render.threads = 'FIXED', threads
    scene.render.image_settings.file_format = 'PNG'
    scene.render.image_settings.color_mode = 'RGB'
    scene.view_settings.view_transform = 'Standard'  # no filmic look: a camera's own curve
    scene.world = bpy.data.worlds.new('ambient')
    scene.world.use_nodes = True
    nodes, links = scene.world.node_tree.nodes, scene.world.node_tree.links
    scene.world.cycles.sampling_method = 'NONE'  # a map of its lamps costs more than it saves
    sky = nodes.new('ShaderNodeTexEnvironment')
    sky.image = bpy.data.images.new('sky', SKY_PX[1], SKY_PX[0], float_buffer=True)
    gain = nodes.new('ShaderNodeVectorMath')
    gain.name, gain.operation = 'gain', 'MULTIPLY'
    links.new(sky.outputs['Color'], gain.inputs[0])
    links.new(gain.outputs['Vector'], nodes['Background'].inputs['Color'])
    camera = bpy.data.objects.new('camera', bpy.data.cameras.new('camera'))
    scene.collection.objects.link(camera)
    scene.camera = camera


def _budget(cycles: Any) -> None:
    """Where time goes: few paths, bounces where they show, and a denoiser made for few paths."""
    cycles.use_adaptive_sampling = cycles.use_light_tree = False  # a handful of paths and lamps
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 8, 2, 2
    cycles.transmission_bounces, cycles.transparent_max_bounces = 8, 8
    cycles.caustics_reflective = cycles.caustics_refractive = False  # see _let_light_through
    cycles.sample_clamp_indirect = 3.0
    cycles.use_denoising = True
    cycles.denoising_prefilter, cycles.denoising_quality = 'FAST', 'BALANCED'


def load(path: str, seed: int) -> None:
    """Replace everything that is drawn by the parts of an .npz.

    Five views of a scene build it once. But what Cycles keeps it knows by address: it would show
    textures of the last scene in the place of new ones, so all is dropped between scenes.
    """
    render = bpy.context.scene.render
    render.use_persistent_data = False
    for item in [item for item in bpy.data.objects if item.type == 'MESH']:
        bpy.data.objects.remove(item)
    pictures = [image for image in bpy.data.images if image.name.startswith('picture')]
    for blocks, old in (
        (bpy.data.meshes, list(bpy.data.meshes)),
        (bpy.data.materials, list(bpy.data.materials)),
        (bpy.data.images, pictures),
    ):
        for block in old:
            blocks.remove(block)
    bpy.data.images['sky'].pixels.foreach_set(_sky(np.random.default_rng(seed)).ravel())
    bpy.data.images['sky'].update()
    with np.load(path, allow_pickle=False) as parts:
        looks = parts['looks']  # (parts, 5), see _add_part
        for number, look in enumerate(looks):
            _add_part(number, look, {name: parts[f'{name}{number}'] for name in 'vnuft'})
    render.use_persistent_data = True


def _add_part(number: int, look: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
    """look: specular, shininess, alpha, metallic, casts_shadow."""
    vertices, normals, uv, faces = (arrays[name].astype(np.float32) for name in 'vnuf')
    faces = faces.astype(np.int32)
    if look[2] < 1 and _is_solid(vertices, faces):  # a bottle: give it an inside
        vertices = np.concatenate([vertices, vertices - WALL_M * normals])
        normals, uv = np.concatenate([normals, -normals]), np.concatenate([uv, uv])
        faces = np.concatenate([faces, faces[:, ::-1] + len(vertices) // 2])
    mesh = bpy.data.meshes.new(f'part{number}')
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set('co', vertices.ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set('vertex_index', faces.ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set('loop_start', np.arange(0, faces.size, 3, dtype=np.int32))
    coordinates = mesh.uv_layers.new(name='uv')
    flipped = uv[faces.ravel()] * [1, -1] + [0, 1]  # Blender's pictures begin below
    coordinates.data.foreach_set('uv', flipped.astype(np.float32).ravel())
    mesh.update(calc_edges=True)
    mesh.normals_split_custom_set_from_vertices(normals)
    mesh.materials.append(_material(number, look, arrays['t']))
    item = bpy.data.objects.new(f'part{number}', mesh)
    item.visible_shadow = bool(look[4])
    bpy.context.scene.collection.objects.link(item)


def _is_solid(vertices: np.ndarray, faces: np.ndarray) -> bool:
    """Whether closed triangles hold most of what their convex hull holds; walls hold a fraction."""
    hull = bmesh.new()
    for vertex in vertices:
        hull.verts.new(vertex)
    bmesh.ops.convex_hull(hull, input=hull.verts)
    whole = hull.calc_volume()
    hull.free()
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return bool(np.einsum('ij,ij->', a, np.cross(b, c)) / 6 > 0.5 * whole)


def _material(number: int, look: np.ndarray, texture: np.ndarray) -> Any:
    """A texture under a coat whose gloss follows MuJoCo's specular and shininess; or glass."""
    specular, shininess, alpha, metallic, _ = map(float, look)
    colours = np.ones((*texture.shape[:2], 4), np.float32)
    colours[..., :3] = texture.astype(np.float32) / 255
    if alpha < 1:
        colours[..., 3] = _ink(texture)
        clear = colours[..., 3:] == 0
        colours[..., :3] = np.where(clear, 1 - alpha * (1 - colours[..., :3]), colours[..., :3])
    material = bpy.data.materials.new(f'stuff{number}')
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    surface = nodes['Principled BSDF']
    picture = nodes.new('ShaderNodeTexImage')
    picture.image = _image(f'picture{number}', colours)
    links.new(picture.outputs['Color'], surface.inputs['Base Color'])
    surface.inputs['Roughness'].default_value = 0.08 + 0.8 * (1 - shininess) * (1 - 0.5 * specular)
    surface.inputs['Specular IOR Level'].default_value = 0.2 + 0.6 * specular
    surface.inputs['Metallic'].default_value = metallic
    if alpha < 1:
        surface.inputs['Roughness'].default_value = 0.02
        surface.inputs['Specular IOR Level'].default_value = 0.5
        surface.inputs['IOR'].default_value = CLEAR_IOR
        clearness = nodes.new('ShaderNodeMath')
        clearness.operation, clearness.inputs[0].default_value = 'SUBTRACT', 1.0
        links.new(picture.outputs['Alpha'], clearness.inputs[1])
        links.new(clearness.outputs[0], surface.inputs['Transmission Weight'])
        _let_light_through(nodes, links, surface, picture, clearness)
    return material


def _ink(texture: np.ndarray) -> np.ndarray:
    """(H,W) 1 where a transparent thing is not: prints and caps, which differ from its body."""
    body = np.median(texture[BODY].reshape(-1, 3), axis=0)
    return (np.abs(texture - body).max(axis=2) > INK_STEP).astype(np.float32)


def _let_light_through(nodes: Any, links: Any, surface: Any, picture: Any, clearness: Any) -> None:
    """Lamps and bounced light pass clear walls straight on: a tinted shadow without caustics."""
    path, either = nodes.new('ShaderNodeLightPath'), nodes.new('ShaderNodeMath')
    either.operation = 'MAXIMUM'
    links.new(path.outputs['Is Shadow Ray'], either.inputs[0])
    links.new(path.outputs['Is Diffuse Ray'], either.inputs[1])
    passes = nodes.new('ShaderNodeMath')
    passes.operation = 'MULTIPLY'
    links.new(either.outputs[0], passes.inputs[0])
    links.new(clearness.outputs[0], passes.inputs[1])
    pane, mixed = nodes.new('ShaderNodeBsdfTransparent'), nodes.new('ShaderNodeMixShader')
    links.new(picture.outputs['Color'], pane.inputs['Color'])
    links.new(passes.outputs[0], mixed.inputs[0])
    links.new(surface.outputs['BSDF'], mixed.inputs[1])
    links.new(pane.outputs['BSDF'], mixed.inputs[2])
    links.new(mixed.outputs[0], nodes['Material Output'].inputs['Surface'])


def _image(name: str, colours: np.ndarray) -> Any:
    """A picture of (H,W,4) values, the first row on top; alpha does not touch the colours."""
    rows, columns, _ = colours.shape
    image = bpy.data.images.new(name, columns, rows, alpha=True)
    image.alpha_mode = 'CHANNEL_PACKED'
    image.pixels.foreach_set(colours[::-1].ravel())
    image.update()
    return image


def draw(order: dict[str, Any]) -> None:
    """Render one view to a PNG."""
    scene, view = bpy.context.scene, order['camera']
    _aim(scene, view)
    _shine(scene, order['lamps'])
    scene.cycles.samples, scene.cycles.seed = order['samples'], order['seed'] % (2**31)
    scene.render.filepath = order['draw']
    bpy.ops.render.render(write_still=True)


def _aim(scene: Any, view: dict[str, Any]) -> None:
    """`pose` is world_T_optical (x right, y down, z forward); Blender looks along -z, y up."""
    width, height = view['width'], view['height']
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.render.resolution_percentage = 100
    camera = scene.camera
    camera.matrix_world = Matrix(view['pose']) @ Matrix.Diagonal((1, -1, -1, 1))
    camera.data.sensor_fit, camera.data.sensor_width = 'HORIZONTAL', SENSOR_MM
    camera.data.lens = view['focal_px'] * SENSOR_MM / width
    camera.data.shift_x = (width / 2 - (view['cx_px'] + 0.5)) / width
    camera.data.shift_y = ((view['cy_px'] + 0.5) - height / 2) / width
    camera.data.clip_start, camera.data.clip_end = 0.02, 50.0


def _shine(scene: Any, lamps: list[dict[str, Any]]) -> None:
    """MuJoCo's gains as light: gain g shows a surface that faces the lamp at g times its colour.

    Irradiance pi g does that. A far lamp is a sun as wide as the spread of its directions, a near
    one a disk; ambient light is the sky's.
    """
    for item in [item for item in scene.objects if item.type == 'LIGHT']:
        data = item.data
        bpy.data.objects.remove(item)
        bpy.data.lights.remove(data)
    ambient = np.sum([lamp['ambient'] for lamp in lamps], axis=0)
    scene.world.node_tree.nodes['gain'].inputs[1].default_value = [float(part) for part in ambient]
    for number, lamp in enumerate(lamps):
        directions = np.array(lamp['directions'])
        middle = directions.mean(0) / np.linalg.norm(directions.mean(0))
        reach = float(np.arccos(np.clip(directions @ middle, -1, 1)).max())
        gain = np.array(lamp['diffuse'])
        strength = max(float(gain.max()), 1e-6)
        light = bpy.data.lights.new(f'lamp{number}', 'SUN' if lamp['far'] else 'AREA')
        light.color = [float(value) for value in gain / strength]
        light.use_shadow = bool(lamp['casts_shadow'])
        distance_m = float(lamp['distance_m'])
        if lamp['far']:
            light.energy, light.angle = math.pi * strength, 2 * reach
        else:  # a small disk of power P gives P / (pi d^2) on its axis
            light.shape, light.size = 'DISK', max(2 * distance_m * math.tan(reach), 0.02)
            fall_off = 1 + lamp['falloff'] * distance_m**2
            light.energy = math.pi**2 * distance_m**2 * strength / fall_off
        item = bpy.data.objects.new(f'lamp{number}', light)
        item.location = Vector(np.array(lamp['centre']) - middle * distance_m)
        item.rotation_euler = Vector(middle).to_track_quat('-Z', 'Y').to_euler()
        scene.collection.objects.link(item)


def _sky(rng: np.random.Generator) -> np.ndarray:
    """(H,W,4) the light from above, the lowest row straight below: what glossy things mirror.

    A real place seven times of ten, else windows and ceiling lamps. A surface that faces up gets
    1 of it all.
    """
    light = _panorama(rng) if rng.random() < 0.7 else _windows(rng)
    height = (np.arange(SKY_PX[0])[:, None] + 0.5) / SKY_PX[0] * math.pi - math.pi / 2
    facing = np.clip(np.sin(height), 0, None) * np.cos(height) * np.ones(SKY_PX)
    light /= (light.mean(2) * facing).sum() / facing.sum()
    return np.concatenate([light, np.ones((*SKY_PX, 1))], axis=2).astype(np.float32)


def _panorama(rng: np.random.Generator) -> np.ndarray:
    """(H,W,3) one of Blender's panoramas, turned and paled at random."""
    folder = bpy.utils.system_resource('DATAFILES', path='studiolights/world')
    image = bpy.data.images.load(os.path.join(folder, f'{rng.choice(PANORAMAS)}.exr'))
    columns, rows = image.size
    light = np.empty(rows * columns * 4, np.float32)
    image.pixels.foreach_get(light)
    bpy.data.images.remove(image)
    light = np.clip(light.reshape(rows, columns, 4)[..., :3], 0, None)
    light = np.minimum(light, BRIGHTEST * light.mean())
    tall, wide = rows // SKY_PX[0], columns // SKY_PX[1]
    light = light.reshape(SKY_PX[0], tall, SKY_PX[1], wide, 3).mean(axis=(1, 3))
    light = np.roll(light, int(rng.integers(SKY_PX[1])), axis=1)
    grey = light.mean(axis=2, keepdims=True)
    return grey + (light - grey) * rng.uniform(0.2, 0.9)


def _windows(rng: np.random.Generator) -> np.ndarray:
    """(H,W,3) an even grey with one to four bright windows and lamps."""
    rows, columns = SKY_PX
    height = (np.arange(rows)[:, None] + 0.5) / rows * math.pi - math.pi / 2
    turn = (np.arange(columns)[None] + 0.5) / columns * 2 * math.pi
    light = np.full(SKY_PX, 1.0)
    for _ in range(int(rng.integers(1, 5))):
        middle, about = rng.uniform(0.3, 1.4), rng.uniform(0, 2 * math.pi)
        tall, wide = rng.uniform(0.06, 0.3), rng.uniform(0.1, 0.5)
        away = (turn - about + math.pi) % (2 * math.pi) - math.pi
        inside = (np.abs(height - middle) < tall) & (np.abs(away) * np.cos(height) < wide)
        light += inside * rng.uniform(2, 12)
    return np.repeat(light[..., None], 3, axis=2)


def main() -> None:
    """Serve orders until standard input ends."""
    answers = os.fdopen(int(sys.argv[1]), 'w')
    prepare(int(sys.argv[2]))
    for line in sys.stdin:
        order = json.loads(line)
        try:
            draw(order) if 'draw' in order else load(order['load'], order['seed'])
            answers.write('done\n')
        except Exception as error:  # the other side decides what a failed picture means
            answers.write(f'failed: {error}\n'.replace('\n', ' ') + '\n')
        answers.flush()


main()
