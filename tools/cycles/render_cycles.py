"""The package's scenes, drawn by Blender's Cycles: shards like `focus-depth render` makes.

    python tools/cycles/render_cycles.py --blender-python BPY_VENV/bin/python --scenes 100
        --seed 1 --split train --out data/cycles

Scenes, cameras, lamps and every label are the package's own, from the same seed; only the picture
comes from Cycles, which draws in a process of its own. Each worker is such a pair of processes, so
that labels of one shard are found while another one is drawn. Finished shards are kept: the same
command goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.cameras import WIDTH_PX, Camera
from focus_depth_ros.synthesis.lighting import Lighting
from focus_depth_ros.synthesis.render import (
    add_photographs_argument,
    add_theme_argument,
    add_width_argument,
    data_set,
)
from focus_depth_ros.synthesis.renderer import Part, Renderer
from focus_depth_ros.synthesis.shards import (
    Job,
    missing,
    plan,
    remove_abandoned,
    shard_bytes,
    store_shard,
)
from focus_depth_ros.synthesis.splits import SPLITS

WORKER = Path(__file__).with_name('blender_worker.py')
SCENES_PER_SHARD = 5


class CyclesRenderer(Renderer):
    """Labels as ever; pictures from a Blender process. Raises RuntimeError when that fails."""

    def __init__(
        self, blender_python: Path, samples: int, threads: int, width: int = WIDTH_PX
    ) -> None:
        super().__init__(width)
        self._samples = samples
        self._folder = tempfile.TemporaryDirectory(prefix='focus_depth_cycles_')
        answers, worker_end = os.pipe()
        self._worker = subprocess.Popen(
            [str(blender_python), str(WORKER), str(worker_end), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(worker_end,),
            text=True,
        )
        os.close(worker_end)
        self._answers = os.fdopen(answers)

    def load(self, parts: list[Part]) -> None:
        """Give the parts of a scene to both renderers."""
        super().load(parts)
        arrays: dict[str, NDArray[Any]] = {}
        for number, part in enumerate(parts):
            mesh = part.mesh
            stored = (mesh.vertices, mesh.normals, mesh.uv, mesh.faces, part.texture)
            arrays |= {
                f'{name}{number}': array for name, array in zip('vnuft', stored, strict=True)
            }
        looks = [
            (look.specular, look.shininess, look.alpha, look.metallic, part.casts_shadow)
            for part, look in ((part, part.look) for part in parts)
        ]
        path = Path(self._folder.name) / 'scene.npz'
        np.savez(path, looks=np.array(looks, np.float64), **arrays)
        seed = int(abs(parts[0].mesh.vertices.sum()) * 1e6)  # the scene's own, so that bytes repeat
        self._order({'load': str(path), 'seed': seed})

    def picture(self, camera: Camera, lighting: Lighting) -> NDArray[np.uint8]:
        """RGB uint8 (H,W,3), from Cycles."""
        path = Path(self._folder.name) / 'picture.png'
        seed = int(abs(camera.pose[:3, 3].sum()) * 1e6)  # the view's own, likewise
        self._order(
            {
                'draw': str(path),
                'camera': asdict(camera),
                'lamps': [asdict(lamp) for lamp in lighting.lamps],
                'seed': seed,
                'samples': self._samples,
            }
        )
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None or picture.shape != (camera.height, camera.width, 3):
            raise RuntimeError(f'Blender wrote no {camera.width}x{camera.height} picture')
        return np.ascontiguousarray(picture[:, :, ::-1])

    def _order(self, order: dict[str, Any]) -> None:
        try:
            assert self._worker.stdin is not None  # a pipe was asked for
            self._worker.stdin.write(json.dumps(order, default=np.ndarray.tolist) + '\n')
            self._worker.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._answers.readline().strip()
        if answer != 'done':
            raise RuntimeError(f'Blender: {answer or "its process ended, see above"}')


@lru_cache(maxsize=1)
def _renderer(blender_python: Path, samples: int, width: int) -> CyclesRenderer:
    """The one renderer of this process."""
    return CyclesRenderer(blender_python, samples, threads=1, width=width)


def _draw(blender_python: Path, samples: int, job: Job) -> Job:
    """Make one shard. Raises OSError and RuntimeError."""
    store_shard(job, shard_bytes(job, _renderer(blender_python, samples, job.width)))
    return job


def main() -> int:
    """Render what is missing. Returns 0 when all shards are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--blender-python', type=Path, required=True, help='a Python with bpy')
    parser.add_argument('--scenes', type=int, required=True)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--split', choices=SPLITS, default='train')
    parser.add_argument('--samples', type=int, default=6, help='light paths a pixel')
    parser.add_argument('--workers', type=int, default=1, help='shards at a time, a thread each')
    add_theme_argument(parser)
    add_photographs_argument(parser)
    add_width_argument(parser)
    arguments = parser.parse_args()
    if arguments.scenes < 1 or arguments.workers < 1 or arguments.samples < 1 or arguments.seed < 0:
        parser.error('--scenes, --workers and --samples must be at least 1, --seed at least 0')
    arguments.out.mkdir(parents=True, exist_ok=True)
    remove_abandoned(arguments.out)
    jobs = plan(data_set(arguments), SCENES_PER_SHARD)
    draw = partial(_draw, arguments.blender_python, arguments.samples)
    start = time.perf_counter()
    done = 0
    with multiprocessing.get_context('spawn').Pool(arguments.workers) as pool:
        try:
            for job in pool.imap_unordered(draw, missing(jobs)):
                done += job.frames
                rate = done / (time.perf_counter() - start)
                print(f'{job.path}: {done} frames so far, {rate:.2f} frames/s', flush=True)
        except (OSError, RuntimeError, ValueError) as error:
            print(f'render_cycles: {error}; the same command goes on', file=sys.stderr)
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
