"""MuJoCo as a rasteriser.

Posed meshes with textures -> RGB with soft shadows, exact depth, part ids.

One GL context and one compiled model serve a whole process. The model holds empty mesh and texture
slots; for each scene their numbers are overwritten and uploaded again, and the list of things to
draw is written straight into the visualiser's scene. That is what makes it fast; no physics runs
here.

A GPU is used through EGL where there is one, see `opengl`.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.boundaries import Scan
from focus_depth_ros.synthesis.cameras import HEIGHT_PX, WIDTH_PX, Camera
from focus_depth_ros.synthesis.lighting import EVEN_LIGHT, Lighting
from focus_depth_ros.synthesis.materials import (
    OBJECT_TEXTURE_PX,
    STRUCTURE_TEXTURE_PX,
    Texture,
)
from focus_depth_ros.synthesis.meshes import Array, Mesh
from focus_depth_ros.synthesis.objects import Look

NEAR_M, FAR_M = 0.05, 20.0
SMALL_SLOTS, LARGE_SLOTS, DETAILED_SLOTS = 40, 12, 26
"""Slots for objects and their textures, for structure and its, and for large user meshes."""
SMALL_PX, LARGE_PX = OBJECT_TEXTURE_PX, STRUCTURE_TEXTURE_PX
_SLOT_SIDE = 64
_SHADOW_MAP_PX = 1024
SCAN_STEPS = 4
"""Samples a pixel along each axis where boundaries are looked for."""
_SPOT_CUTOFF_DEG = 80.0
_SHADOW_REACH_M = 0.6


class RendererError(RuntimeError):
    """OpenGL or MuJoCo is not usable here, or a scene does not fit the slots."""


@dataclass(frozen=True)
class Part:
    """One mesh with its texture in the world. part_id 1..65535 is what `Labels.parts` will show."""

    mesh: Mesh
    texture: Texture
    part_id: int
    look: Look = field(default_factory=Look)
    casts_shadow: bool = True


@dataclass(frozen=True)
class Labels:
    """depth_m float32 (H,W) along Z, NaN where nothing was hit.

    parts int32 (H,W), 0 where nothing was hit.
    """

    depth_m: NDArray[np.float32]
    parts: NDArray[np.int32]


@dataclass(frozen=True)
class _Slot:
    """Room for a mesh of side x side vertices and a square texture."""

    side: int
    texture_px: int

    def holds(self, part: Part) -> bool:
        mesh = part.mesh
        fits = len(mesh.vertices) <= self.side**2 and len(mesh.faces) <= 2 * (self.side - 1) ** 2
        return fits and part.texture.shape[0] == self.texture_px


def _slots(detail: int) -> list[_Slot]:
    slots = [_Slot(_SLOT_SIDE, SMALL_PX)] * SMALL_SLOTS + [
        _Slot(_SLOT_SIDE, LARGE_PX)
    ] * LARGE_SLOTS
    if detail > (_SLOT_SIDE - 1) ** 2:
        slots += [_Slot(int(np.ceil(np.sqrt(detail))) + 1, SMALL_PX)] * DETAILED_SLOTS
    return slots


def _place_holder(side: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Vertices (S,S,3), texture coordinates (S,S,2) and faces (F,3) of a mesh of that size."""
    rows, columns = np.meshgrid(
        np.linspace(0.1, 3.0, side), np.linspace(0, 6.2, side), indexing='ij'
    )
    points = np.stack(
        [np.sin(rows) * np.cos(columns), np.sin(rows) * np.sin(columns), np.cos(rows)], axis=2
    )
    index = np.arange(side**2).reshape(side, side)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack(t, axis=2).reshape(-1, 3) for t in ((a, c, b), (a, d, c))])
    return points, np.stack([columns / 7, rows / 4], axis=2), faces


class Renderer:
    """Draws one scene at a time: `load` the parts, then `picture` and `labels` from any camera."""

    def __init__(self, width: int = WIDTH_PX, detail: int = 0) -> None:
        """`width`, px, of the largest picture, at 4:3; `detail` of the largest mesh there will be.

        `detail`: its vertices, or half its triangles.
        Raises RendererError where no OpenGL can be started, ModuleNotFoundError without mujoco.
        """
        height = width * HEIGHT_PX // WIDTH_PX
        self._slots = _slots(detail)
        self._drawn: list[tuple[int, Part]] = []
        try:
            import mujoco

            self._mujoco = mujoco
            self._model = self._compile_slots(width, height)
            self._gl = mujoco.GLContext(width, height)
            self._gl.make_current()
            self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_50)
            self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and error.name == 'mujoco':
                raise
            backend = os.environ.get('MUJOCO_GL')
            raise RendererError(
                f'cannot start OpenGL through MUJOCO_GL={backend}: {error}. Install libosmesa6 for '
                'software rendering and set MUJOCO_GL=osmesa, or MUJOCO_GL=egl with a GPU driver'
            ) from error
        atexit.register(self.close)  # OpenGL must go before the interpreter does
        self.width, self.height = width, height
        self._scene = mujoco.MjvScene(self._model, maxgeom=len(self._slots))
        for flag in (
            mujoco.mjtRndFlag.mjRND_REFLECTION,
            mujoco.mjtRndFlag.mjRND_SKYBOX,
            mujoco.mjtRndFlag.mjRND_HAZE,
        ):
            self._scene.flags[flag] = False

    def close(self) -> None:
        """Free the GL context."""
        self._context.free()
        self._gl.free()

    def _compile_slots(self, width: int, height: int):  # type: ignore[no-untyped-def]
        """A model of equal mesh and texture slots; their contents are only place holders."""
        mujoco = self._mujoco
        spec = mujoco.MjSpec()
        for number, slot in enumerate(self._slots):
            points, uv, faces = _place_holder(slot.side)
            spec.add_texture(
                name=f"picture{number}", type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3,
                builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT, width=slot.texture_px,
                height=slot.texture_px,
            )  # fmt: skip
            material = spec.add_material(name=f'stuff{number}')
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f'picture{number}'
            mesh = spec.add_mesh(
                name=f'shape{number}', inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
            )
            mesh.uservert, mesh.usernormal = points.ravel(), points.ravel()
            mesh.usertexcoord = uv.ravel()
            mesh.userface = faces.ravel().astype(np.int32)
            spec.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"shape{number}",
                material=f"stuff{number}", contype=0, conaffinity=0,
            )  # fmt: skip
        spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
        spec.visual.quality.shadowsize, spec.visual.quality.offsamples = _SHADOW_MAP_PX, 0
        spec.stat.extent = 1.0
        spec.visual.map.shadowclip = _SHADOW_REACH_M
        spec.visual.map.znear, spec.visual.map.zfar = NEAR_M, FAR_M
        model = spec.compile()
        model.mesh_facenum[:] = 1  # place holders need no upload
        return model

    def load(self, parts: list[Part]) -> None:
        """Upload the parts of a scene; everything of the scene before is gone."""
        free = dict(enumerate(self._slots))
        self._drawn = []
        for drawn, part in enumerate(parts):
            slot = next((number for number, room in free.items() if room.holds(part)), None)
            if slot is None:
                raise RendererError(
                    f'no slot is left for a mesh of {len(part.mesh.vertices)} vertices and '
                    f'{len(part.mesh.faces)} triangles in a scene of {len(parts)} parts'
                )
            del free[slot]
            self._upload(slot, part)
            self._drawn.append((slot, part))
            self._place(drawn, slot, part)
        self._scene.ngeom = len(parts)

    def _place(self, number: int, slot: int, part: Part) -> None:
        """Make the part in a slot the scene's geom of that number."""
        geom = self._scene.geoms[number]
        self._mujoco.mjv_initGeom(
            geom,
            self._mujoco.mjtGeom.mjGEOM_MESH,
            np.ones(3),
            np.zeros(3),
            np.eye(3).ravel(),
            np.array([1, 1, 1, part.look.alpha], np.float32),
        )
        geom.dataid, geom.matid, geom.segid, geom.texcoord = 2 * slot, slot, part.part_id, 1
        geom.texid = slot
        geom.category = self._mujoco.mjtCatBit.mjCAT_DYNAMIC
        geom.specular, geom.shininess = part.look.specular, part.look.shininess
        geom.castshadow = part.casts_shadow and part.look.alpha > 0.99

    def _upload(self, slot: int, part: Part) -> None:
        model, mesh = self._model, part.mesh
        count, triangles = len(mesh.vertices), len(mesh.faces)
        for field_name, start, values in (
            ('mesh_vert', model.mesh_vertadr[slot], mesh.vertices),
            ('mesh_normal', model.mesh_normaladr[slot], mesh.normals),
            ('mesh_texcoord', model.mesh_texcoordadr[slot], mesh.uv),
        ):
            getattr(model, field_name)[start : start + count] = values
        for field_name in ('mesh_face', 'mesh_facenormal', 'mesh_facetexcoord'):
            start = model.mesh_faceadr[slot]
            getattr(model, field_name)[start : start + triangles] = mesh.faces
        model.mesh_facenum[slot] = triangles
        start = model.tex_adr[slot]
        model.tex_data[start : start + part.texture.size] = part.texture.ravel()
        self._mujoco.mjr_uploadMesh(model, self._context, slot)
        self._mujoco.mjr_uploadTexture(model, self._context, slot)

    def _aim(self, camera: Camera, offset_px: tuple[float, float]) -> None:
        """Point MuJoCo's camera; the offset shifts the picture's sampling points."""
        if camera.width > self.width or camera.height > self.height:
            raise RendererError(
                f'camera of {camera.width}x{camera.height} px, '
                f'renderer of at most {self.width}x{self.height} px'
            )
        focal, cx, cy = (
            camera.focal_px,
            camera.cx_px + 0.5 - offset_px[0],
            camera.cy_px + 0.5 - offset_px[1],
        )
        scale = NEAR_M / focal
        for eye in self._scene.camera:
            eye.pos = camera.pose[:3, 3]
            eye.forward = camera.pose[:3, 2]
            eye.up = -camera.pose[:3, 1]
            eye.frustum_near, eye.frustum_far = NEAR_M, FAR_M
            eye.frustum_top, eye.frustum_bottom = cy * scale, (cy - camera.height) * scale
            eye.frustum_center = (camera.width / 2 - cx) * scale
            eye.frustum_width = camera.width * scale / 2

    def _shine(self, lighting: Lighting, turn: int) -> None:
        """Set the lamps; `turn` picks one point of each lamp's surface."""
        self._scene.nlight = len(lighting.lamps)
        for light, lamp in zip(self._scene.lights, lighting.lamps, strict=False):
            light.headlight = 0
            light.type = (
                self._mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
                if lamp.far
                else self._mujoco.mjtLightType.mjLIGHT_SPOT
            )
            direction = lamp.directions[turn % len(lamp.directions)]
            light.dir = direction
            light.pos = lamp.centre - direction * lamp.distance_m
            light.ambient, light.diffuse, light.specular = lamp.ambient, lamp.diffuse, lamp.specular
            light.castshadow = lamp.casts_shadow
            light.attenuation = (1.0, 0.0, lamp.falloff)
            light.cutoff, light.exponent = _SPOT_CUTOFF_DEG, 0.0

    def picture(self, camera: Camera, lighting: Lighting) -> NDArray[np.uint8]:
        """RGB uint8 (H,W,3).

        The mean of passes that differ in sub-pixel offset and in the point of each lamp.
        """
        rect = self._mujoco.MjrRect(0, 0, camera.width, camera.height)
        total = np.zeros((camera.height, camera.width, 3), np.uint16)
        buffer = np.empty((camera.height, camera.width, 3), np.uint8)
        self._label_mode(False)
        for turn, offset in enumerate(_pass_offsets_px(lighting.passes)):
            self._aim(camera, offset)
            self._shine(lighting, turn)
            self._mujoco.mjr_render(rect, self._scene, self._context)
            self._mujoco.mjr_readPixels(buffer, None, rect, self._context)
            total += buffer
        return ((total[::-1] + lighting.passes // 2) // lighting.passes).astype(np.uint8)

    def unlit(self, camera: Camera) -> NDArray[np.uint8]:
        """RGB uint8 (H,W,3): the bare textures, without light, shadow and shine."""
        # Not a subclass's: Cycles overrides it.
        return Renderer.picture(self, camera, EVEN_LIGHT)

    def _label_mode(self, on: bool) -> None:
        flags = self._mujoco.mjtRndFlag
        self._scene.flags[flags.mjRND_SEGMENT] = on
        self._scene.flags[flags.mjRND_IDCOLOR] = on
        self._scene.flags[flags.mjRND_SHADOW] = not on

    def labels(self, camera: Camera, offset_px: tuple[float, float] = (0.0, 0.0)) -> Labels:
        """Depth and part ids at the pixel centres of `camera`, or at an offset (column, row)."""
        rect = self._mujoco.MjrRect(0, 0, camera.width, camera.height)
        colour = np.empty((camera.height, camera.width, 3), np.uint8)
        buffer = np.empty((camera.height, camera.width), np.float32)
        self._label_mode(True)
        self._aim(camera, offset_px)
        self._mujoco.mjr_render(rect, self._scene, self._context)
        self._mujoco.mjr_readPixels(colour, buffer, rect, self._context)
        bytes3 = colour[::-1].astype(np.int32)
        parts = bytes3[..., 0] + (bytes3[..., 1] << 8) + (bytes3[..., 2] << 16) - 1
        depth = _metric_depth(buffer[::-1])
        return Labels(np.where(parts > 0, depth, np.nan).astype(np.float32), np.maximum(parts, 0))

    def opaque_labels(self, camera: Camera) -> Labels:
        """Labels of the loaded scene without what is transparent; its parts come last."""
        self._scene.ngeom = sum(part.look.alpha == 1 for _, part in self._drawn)
        try:
            return self.labels(camera)
        finally:
            self._scene.ngeom = len(self._drawn)

    def outline(self, camera: Camera, part_id: int) -> NDArray[np.bool_]:
        """The pixels (H,W) that a part would cover if nothing stood before it."""
        number = next(k for k, (_, part) in enumerate(self._drawn) if part.part_id == part_id)
        self._place(0, *self._drawn[number])
        self._scene.ngeom = 1
        try:
            return np.asarray(self.labels(camera).parts == part_id)
        finally:
            self._place(0, *self._drawn[0])
            self._scene.ngeom = len(self._drawn)

    def scans(self, camera: Camera, labels: Labels) -> tuple[Scan, Scan]:
        """Samples between the pixels, along rows and along columns, for `boundaries`."""
        steps = np.arange(1, SCAN_STEPS) / SCAN_STEPS
        across = [labels, *(self.labels(camera, (step, 0.0)) for step in steps)]
        down = [labels, *(self.labels(camera, (0.0, step)) for step in steps)]
        return (
            Scan(np.stack([s.depth_m for s in across], 2), np.stack([s.parts for s in across], 2)),
            Scan(np.stack([s.depth_m.T for s in down], 2), np.stack([s.parts.T for s in down], 2)),
        )


def _pass_offsets_px(passes: int) -> list[tuple[float, float]]:
    """Sub-pixel offsets in columns and rows.

    A lattice without rows or columns, centred on the pixel.
    """
    across = (np.arange(passes) + 0.5) / passes - 0.5
    down = np.arange(passes) * 0.6180339887 % 1.0
    down -= down.mean()
    return list(zip(across.tolist(), down.tolist(), strict=True))


def _metric_depth(buffer: NDArray[np.float32]) -> Array:
    """MuJoCo's reversed depth buffer (1 = near plane, 0 = far) -> metres along Z."""
    near, far = np.float64(np.float32(NEAR_M)), np.float64(np.float32(FAR_M))
    return np.asarray(near * far / (near + buffer.astype(np.float64) * (far - near)))
