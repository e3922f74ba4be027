"""Shards of scenes on disk: whole or absent, resumable, the same bytes whoever renders them."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from focus_depth_ros.synthesis.cameras import WIDTH_PX
from focus_depth_ros.synthesis.frames import scene_frames
from focus_depth_ros.synthesis.materials import Texture
from focus_depth_ros.synthesis.photographs import read_photographs
from focus_depth_ros.synthesis.renderer import Renderer
from focus_depth_ros.synthesis.sample import write_sample
from focus_depth_ros.synthesis.splits import Split
from focus_depth_ros.synthesis.stock import Stock
from focus_depth_ros.synthesis.themes import VIEWS_PER_SCENE
from focus_depth_ros.synthesis.user_meshes import UserMesh, read_folder

SCENES_PER_SHARD = 50
_PARTIAL = '.partial-'


@dataclass(frozen=True)
class Job:
    """One shard to render: scenes first..last-1 of a seed.

    meshes: folder of the user's own; extras: see `sample.Extras`; themes: scenes take turns
    among them, none = each draws its own; photographs: folder of those for prints; width: of the
    pictures, px, at 4:3.
    """

    folder: Path
    split: Split
    seed: int
    number: int
    first_scene: int
    last_scene: int
    meshes: Path | None = None
    extras: bool = False
    themes: tuple[str, ...] = ()
    photographs: Path | None = None
    width: int = WIDTH_PX

    @property
    def path(self) -> Path:
        """Where the finished shard lies."""
        return self.folder / f'{self.split}-{self.number:06d}.tar'

    @property
    def note(self) -> dict[str, Any]:
        """What it was asked for: written beside the shard, so that no other one passes for it."""
        asked = {field.name: getattr(self, field.name) for field in fields(self)}
        del asked['folder'], asked['number']
        for name in ('meshes', 'photographs'):
            asked[name] = str(asked[name].resolve()) if asked[name] else None
        return asked | {'themes': list(self.themes)}

    @property
    def note_path(self) -> Path:
        """Where the note lies."""
        return self.path.with_suffix('.job.json')

    @property
    def frames(self) -> int:
        """How many frames it holds."""
        return (self.last_scene - self.first_scene) * VIEWS_PER_SCENE

    def theme(self, scene: int) -> str | None:
        """The theme that a scene is bound to."""
        return self.themes[scene % len(self.themes)] if self.themes else None


def plan(whole: Job, scenes_per_shard: int = SCENES_PER_SHARD) -> list[Job]:
    """A data set's shards, finished or not: its scenes, given as one job, cut up."""
    return [
        replace(
            whole,
            number=number,
            first_scene=start,
            last_scene=min(start + scenes_per_shard, whole.last_scene),
        )
        for number, start in enumerate(range(0, whole.last_scene, scenes_per_shard))
    ]


def missing(jobs: Iterator[Job] | list[Job]) -> list[Job]:
    """Those whose shard is not there yet, or holds the first of its scenes only.

    Raises ValueError where a shard of other scenes lies in its place. One without a note is taken
    for what it is called.
    """
    return [job for job in jobs if not (job.path.exists() and _holds_all(job))]


def _holds_all(job: Job) -> bool:
    try:
        found = json.loads(job.note_path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return True
    if not isinstance(found, dict):
        return True
    if found.get('bytes', job.path.stat().st_size) != job.path.stat().st_size:
        return False  # the note of a shorter shard: the writer was killed between the two
    other = {name for name, value in job.note.items() if found.get(name) != value}
    if other - {'last_scene'}:
        said = ', '.join(f'{name} {found.get(name)} for {job.note[name]}' for name in sorted(other))
        raise ValueError(f'{job.path} is another shard ({said}): render into another folder')
    return not other or found.get('last_scene', 0) > job.last_scene


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files whose process is gone; those of workers still alive are left alone."""
    for path in folder.glob(f'*{_PARTIAL}*'):
        process = path.name.rpartition('-')[2]
        if not Path('/proc', process).exists():
            path.unlink()


@lru_cache(maxsize=1)
def process_meshes(folder: Path | None) -> tuple[UserMesh, ...]:
    """The user's meshes, read once by this process. Raises MeshError."""
    return read_folder(folder) if folder else ()


@lru_cache(maxsize=1)
def process_photographs(folder: Path | None) -> tuple[Texture, ...]:
    """The photographs for prints, read once by this process. Raises PhotographError."""
    return read_photographs(folder) if folder else ()


@lru_cache(maxsize=1)
def process_renderer(meshes: Path | None, width: int) -> Renderer:
    """The one GL context of this process, with room for the user's meshes."""
    sizes = [max(len(m.mesh.vertices), len(m.mesh.faces) // 2) for m in process_meshes(meshes)]
    return Renderer(width, detail=max(sizes, default=0))


def render_shard(job: Job) -> Job:
    """Render one shard to its place. Raises as `draw_shard`, OSError on a full disk."""
    with _placed(job) as stream:
        draw_shard(job, stream, process_renderer(job.meshes, job.width))
    return job


def shard_bytes(job: Job, renderer: Renderer) -> bytes:
    """A shard's tar in memory, for `store_shard`. Raises as `draw_shard`."""
    content = io.BytesIO()
    draw_shard(job, content, renderer)
    return content.getvalue()


def store_shard(job: Job, content: bytes) -> None:
    """Put a shard that was drawn elsewhere to its place. Raises OSError on a full disk."""
    with _placed(job) as stream:
        stream.write(content)


@contextmanager
def _placed(job: Job) -> Iterator[BinaryIO]:
    """A temporary file beside the shard's place; flushed to disk, then renamed, its note after it.

    A killed process leaves only its temporary file, see `remove_abandoned`.
    """
    temporary = job.path.with_name(f'{job.path.name}{_PARTIAL}{os.getpid()}')
    with open(temporary, 'wb') as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    note = job.note | {'bytes': temporary.stat().st_size}
    temporary_note = job.note_path.with_name(f'{job.note_path.name}{_PARTIAL}{os.getpid()}')
    temporary_note.write_text(json.dumps(note) + '\n', encoding='utf-8')
    temporary.rename(job.path)
    temporary_note.rename(job.note_path)


def draw_shard(job: Job, stream: BinaryIO, renderer: Renderer) -> None:
    """Write a shard's tar to an open file.

    Raises RuntimeError naming the seed and scene that failed, OSError of the file.
    """
    stock = Stock(job.split, process_meshes(job.meshes), process_photographs(job.photographs))
    with tarfile.open(fileobj=stream, mode='w', format=tarfile.USTAR_FORMAT) as shard:
        for scene in range(job.first_scene, job.last_scene):
            try:
                theme = job.theme(scene)
                samples = scene_frames(renderer, stock, job.seed, scene, theme, job.extras)
                for view, sample in enumerate(samples):
                    write_sample(shard, f'{job.seed:05d}-{scene:07d}-{view}', sample)
            except OSError:
                raise
            except Exception as error:
                raise RuntimeError(
                    f'{job.split} scene {scene} of seed {job.seed} failed: {error}'
                ) from error
