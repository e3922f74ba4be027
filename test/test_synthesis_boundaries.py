"""Boundary labels against dense rays cast through the same meshes, without OpenGL.

The suite looks at a few scenes; FOCUS_DEPTH_SCENES=50 pytest -s test/test_synthesis_boundaries.py
looks at fifty and prints the counts.
"""

import os

import numpy as np

from focus_depth_ros.synthesis.boundaries import boundaries_from_scans
from focus_depth_ros.synthesis.frames import object_ids, parts_of, settled_scene
from focus_depth_ros.synthesis.splits import scene_generator
from focus_depth_ros.synthesis.stock import Stock

SCENES = int(os.environ.get('FOCUS_DEPTH_SCENES', '6'))
FINE = 32
SAMPLES = 60


class RayCaster:
    """Depth along Z through any picture point, from triangles alone."""

    def __init__(self, parts, camera):
        triangles = np.concatenate([p.mesh.vertices[p.mesh.faces] for p in parts])
        local = (triangles - camera.pose[:3, 3]) @ camera.pose[:3, :3]
        self.camera, self.local = camera, local
        z = np.maximum(local[..., 2], 1e-3)
        columns = local[..., 0] / z * camera.focal_px + camera.cx_px
        rows = local[..., 1] / z * camera.focal_px + camera.cy_px
        behind = (local[..., 2] < 0.02).any(axis=1)
        self.low = np.stack([columns.min(1), rows.min(1)], 1)
        self.high = np.stack([columns.max(1), rows.max(1)], 1)
        self.low[behind], self.high[behind] = -np.inf, np.inf

    def depth(self, points):
        """Nearest depth (N,) for picture points (N,2) close together; inf: nothing is hit."""
        low, high = points.min(0) - 0.01, points.max(0) + 0.01
        near = ((self.low <= high) & (self.high >= low)).all(1)
        a, b, c = self.local[near].transpose(1, 0, 2)
        middle = [self.camera.cx_px, self.camera.cy_px]
        rays = np.column_stack([(points - middle) / self.camera.focal_px, np.ones(len(points))])
        normal = np.cross(b - a, c - a)
        with np.errstate(divide='ignore', invalid='ignore'):
            z = (a * normal).sum(1) / (rays @ normal.T)
            hit = rays[:, None] * z[..., None]
            inside = np.ones(z.shape, bool)
            for p, q in ((a, b), (b, c), (c, a)):
                inside &= (np.cross(q - p, hit - p) * normal).sum(2) >= -1e-12
            facing = rays @ normal.T < 0
        z = np.where(inside & facing & (z > 0.02), z, np.inf)
        return z.min(1, initial=np.inf)

    def jump(self, row, column, down):
        """Largest step of depth between a pixel and its right or lower neighbour."""
        way = np.array([0.0, 1.0]) if down else np.array([1.0, 0.0])
        points = np.array([column, row], float) + np.linspace(0, 1, FINE + 1)[:, None] * way
        z = np.minimum(self.depth(points), 20.0)
        return np.abs(np.diff(z)).max(), z.min()


def threshold(nearest_m):
    return 0.003 + 0.002 * nearest_m


def scored(renderer, number):
    """Counts (right, wrong) of boundary pixels and (found, lost) of true jumps, at 1 px."""
    rng = scene_generator('test', 77, number)
    scene = settled_scene(Stock('test'), 77, number, None, rng)
    parts = parts_of(scene)
    renderer.load(parts)
    camera, _ = scene.view(rng)
    labels = renderer.labels(camera)
    boundary = boundaries_from_scans(*renderer.scans(camera, labels), object_ids(labels))
    marked = (boundary == 1) | (boundary == 2)
    caster = RayCaster(parts, camera)
    pick = np.random.default_rng(number)
    counts = np.zeros(4, int)

    pixels = np.argwhere(marked)
    pixels = pixels[((pixels > 1) & (pixels < np.array(marked.shape) - 2)).all(1)]
    for row, column in pixels[pick.permutation(len(pixels))[:SAMPLES]]:
        best = 0.0
        for y in range(row - 1, row + 2):
            for x in range(column - 1, column + 2):
                for down in (False, True):
                    jump, nearest = caster.jump(y, x, down)
                    best = max(best, jump / threshold(nearest))
            if best > 1:
                break
        counts[0 if best > 0.7 else 1] += 1

    depth = np.where(np.isfinite(labels.depth_m), labels.depth_m, 20)
    pairs = [(r, c, False) for r, c in np.argwhere(np.abs(np.diff(depth, axis=1)) > 0.006)]
    pairs += [(r, c, True) for r, c in np.argwhere(np.abs(np.diff(depth, axis=0)) > 0.006)]
    for k in pick.permutation(len(pairs))[:SAMPLES]:
        row, column, down = pairs[k]
        jump, nearest = caster.jump(row, column, down)
        if jump > 1.5 * threshold(nearest):
            around = marked[max(row - 1, 0) : row + 3, max(column - 1, 0) : column + 3]
            counts[2 if around.any() else 3] += 1
    return counts


def test_boundaries_agree_with_dense_rays(renderer):
    right, wrong, found, lost = np.sum([scored(renderer, k) for k in range(SCENES)], axis=0)
    print(f'{SCENES} scenes: {right} of {right + wrong} marks are true, ', end='')
    print(f'{found} of {found + lost} true jumps are marked')
    assert right + wrong >= 50 * SCENES
    assert found >= 5 * SCENES
    assert right / (right + wrong) >= 0.99
    assert found / (found + lost) >= 0.99


def test_rays_and_renderer_agree_on_depth(renderer):
    rng = scene_generator('test', 78, 0)
    scene = settled_scene(Stock('test'), 78, 0, 'vessels', rng)
    parts = parts_of(scene)
    renderer.load(parts)
    camera, _ = scene.view(rng)
    depth = renderer.labels(camera).depth_m
    caster = RayCaster(parts, camera)
    rows, columns = np.mgrid[5:235:9, 5:315:9]
    cast = [
        caster.depth(np.array([[c, r]], float))[0]
        for r, c in zip(rows.flat, columns.flat, strict=True)
    ]
    error = np.abs(depth[rows, columns].ravel() - cast)
    assert np.mean(error < 2e-4) > 0.99
