"""What comes out for one frame. Full-size pictures are computed when first asked for, and once.

The network answers at its own small size. Which outputs anybody wants is known only to the caller,
so each full-size product is a cached property: nobody asks, nothing is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.core import Box, Camera, Frame, InvalidInput, Target
from focus_depth_ros.pipeline import cloud
from focus_depth_ros.pipeline.enlarged_part import Part, part_around
from focus_depth_ros.pipeline.layers import Layers, upsample, upsample_mask
from focus_depth_ros.pipeline.region import Region, bounding_region
from focus_depth_ros.pipeline.scale import Scale


@dataclass(frozen=True)
class Geometry:
    """A target's visible side in metres, optical frame, vectors (3,) float32.

    `centroid_m` is the mean of its points; `box_centre_m` and `extent_m` are those of the box that
    holds their 2nd to 98th percentiles along the frame's axes.
    """

    centroid_m: NDArray[np.float32]
    box_centre_m: NDArray[np.float32]
    extent_m: NDArray[np.float32]
    depth_p05_m: float
    depth_median_m: float
    depth_p95_m: float


@dataclass(frozen=True)
class TargetResult:
    """One target's answer.

    `box` is tight on the mask in px of the picture, None when the network is not confident of the
    target; `size` is the picture's (W, H). `camera` and `max_depth_m` are what `geometry` needs
    beside the maps.
    """

    target: Target
    confidence: float
    scale: Scale
    layers: Layers
    box: Box | None
    size: tuple[int, int]
    camera: Camera | None
    max_depth_m: float

    @property
    def found(self) -> bool:
        """Whether the target is there."""
        return self.box is not None

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The mask at the picture's size, bool (H, W)."""
        mask = np.zeros(self.size[::-1], np.bool_)
        if (part := self._part) is not None:
            mask[part.pixels] = upsample_mask(self.layers.mask[part.cells], part.size)
        return mask

    @cached_property
    def _part(self) -> Part | None:
        """Where the mask may be; None where it is nowhere."""
        near = bounding_region(self.layers.mask > 127, 1)
        return None if near is None else part_around(near, self.layers.mask.shape, self.size)

    def put_mask(self, union: NDArray[np.bool_], rim_px: tuple[int, int]) -> None:
        """Add the mask, less a rim (across, down) inside its edge, to others', bool (H, W)."""
        if (part := self._part) is not None:
            window = np.ones((2 * rim_px[1] + 1, 2 * rim_px[0] + 1), np.uint8)
            mask = self.mask[part.pixels].view(np.uint8)
            union[part.pixels] |= (cv2.erode(mask, window) if any(rim_px) else mask).view(np.bool_)

    def lay_over(self, picture: NDArray[np.float32]) -> None:
        """Put the inside layer into a picture of inverse depth (H, W), where the mask is."""
        if (part := self._part) is not None:
            inside = upsample(self.scaled(self.layers.inside[part.cells]), part.size)
            cv2.copyTo(inside, self.mask[part.pixels].view(np.uint8), picture[part.pixels])

    @cached_property
    def geometry(self) -> Geometry | None:
        """Where the target is; None when not found, without a metric scale or a camera."""
        part = self._part
        if not self.found or part is None or not self.scale.is_metric or self.camera is None:
            return None
        cells, mask = part.cells, self.layers.mask
        rays = cloud.cell_rays(self.camera, mask.shape[::-1])[cells]
        inside = self.scaled(self.layers.inside[cells])
        return measure(inside, mask[cells], rays, self.max_depth_m)

    def scaled(self, layer: NDArray[np.float32]) -> NDArray[np.float32]:
        """A layer or a part of it: 1/m with a metric scale, else affine-invariant."""
        return layer * self.scale.scale + self.scale.shift


@dataclass(frozen=True)
class FocusResult:
    """One frame's answer.

    `view` sets the background, the picture's scale and how far depth is valid: the surest target's
    answer, or that of the empty prompt when there is no target. A target may have a scale of its
    own (`scale.scale_of_target`).
    """

    frame: Frame
    targets: tuple[TargetResult, ...]
    view: TargetResult
    boundary_cells: NDArray[np.float32]

    @property
    def scale(self) -> Scale:
        """Where this frame's metres come from."""
        return self.view.scale

    @cached_property
    def found(self) -> tuple[TargetResult, ...]:
        """The targets that are there, the surest last (it wins where masks overlap)."""
        present = [answer for answer in self.targets if answer.found]
        return tuple(sorted(present, key=lambda answer: answer.confidence))

    @cached_property
    def inverse_depth(self) -> NDArray[np.float32]:
        """float32 (H, W), larger = nearer: 1/m with a metric scale, else affine-invariant."""
        return composite(self.view, self.found)

    @cached_property
    def depth_m(self) -> NDArray[np.float32] | None:
        """float32 (H, W) metres along Z, NaN invalid (REP-117); None without a metric scale."""
        if not self.scale.is_metric:
            return None
        return to_depth(self.inverse_depth, self.view.max_depth_m)

    def put_depth(self, memory: NDArray[np.float32]) -> None:
        """Compute `depth_m` in the caller's memory (H, W), where it lies from then on.

        Only with a metric scale.
        """
        # what a cached property would have kept; whoever asks for depth_m before computes it twice
        vars(self)['depth_m'] = to_depth(self.inverse_depth, self.view.max_depth_m, out=memory)

    @cached_property
    def boundary(self) -> NDArray[np.uint8]:
        """Occlusion boundary probability x 255, uint8 (H, W)."""
        cells = np.rint(self.boundary_cells * 255.0).astype(np.uint8)
        return np.asarray(cv2.resize(cells, self.frame.size, interpolation=cv2.INTER_LINEAR))

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Union of the found targets' masks, bool (H, W)."""
        return self._union((0, 0))

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Which target each pixel shows, uint8 (H, W): 0 none, k + 1 the k-th of `targets`."""
        labels = np.zeros(self.frame.rgb.shape[:2], np.uint8)
        numbers = {answer.target.id: number for number, answer in enumerate(self.targets, 1)}
        for answer in self.found:
            labels[answer.mask] = numbers[answer.target.id]
        return labels

    @cached_property
    def grasp_mask(self) -> NDArray[np.bool_]:
        """Each found target's mask less a rim of half a network cell: pixels that become points.

        The mask is not surer of its edge than that, and a point on the wrong side of it flies.
        """
        (width, height), (rows, columns) = self.frame.size, self.boundary_cells.shape
        return self._union((round(width / columns) // 2, round(height / rows) // 2))

    def _union(self, rim_px: tuple[int, int]) -> NDArray[np.bool_]:
        union = np.zeros(self.frame.rgb.shape[:2], np.bool_)
        for answer in self.found:
            answer.put_mask(union, rim_px)
        return union

    def fill_cloud(self, points: NDArray[np.float32]) -> Region | None:
        """Write x y z rgb into a NaN cloud float32 (H, W, 4); the region written, None if nothing.

        Raises InvalidInput without a metric scale or a camera: ask `has_points` first.
        """
        return cloud.fill_cloud(points, *self._cloud_parts())

    def target_points(self) -> NDArray[np.float32]:
        """Points x y z rgb float32 (N, 4) of the targets. Raises InvalidInput like `fill_cloud`."""
        return cloud.target_points(*self._cloud_parts())

    @property
    def has_points(self) -> bool:
        """True with a metric scale and a camera: then pixels have a place in space."""
        return self.scale.is_metric and self.frame.camera is not None

    def _cloud_parts(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float32]]:
        if self.depth_m is None or self.frame.camera is None:
            raise InvalidInput('scale', 'without a metric scale and a camera there are no points')
        rays = cloud.viewing_rays(self.frame.camera)
        return self.depth_m, self.frame.rgb, self.grasp_mask, rays


def composite(view: TargetResult, shown: tuple[TargetResult, ...]) -> NDArray[np.float32]:
    """The view's background with each shown target's inside layer laid over it, (H, W)."""
    picture = upsample(view.scaled(view.layers.outside), view.size)
    for answer in shown:
        answer.lay_over(picture)
    return picture


def to_depth(
    inverse_depth: NDArray[np.float32],
    max_depth_m: float,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """1/m to metres, in `out` if given; NaN where nothing, behind the camera or too far."""
    farthest = np.float32(1.0 / max_depth_m)
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.reciprocal(inverse_depth, out=out)
    if not inverse_depth.min() >= farthest:  # a picture that is valid all over needs no second look
        depth[~(inverse_depth >= farthest)] = np.nan
    return depth


def measure(
    inverse_depth_inside: NDArray[np.float32],
    mask: NDArray[np.uint8],
    rays: NDArray[np.float32],
    max_depth_m: float,
) -> Geometry | None:
    """Geometry of one target from the cells (h, w) of its mask (probability x 255), with rays."""
    depth = to_depth(inverse_depth_inside, max_depth_m)
    chosen = (mask > 127) & np.isfinite(depth) & np.isfinite(rays[..., 0])
    if not chosen.any():
        return None
    z = depth[chosen]
    points = np.concatenate((rays[chosen] * z[:, None], z[:, None]), axis=1)
    ordered = np.sort(points, axis=0)
    low, high = (ordered[round(share * (len(z) - 1))] for share in (0.02, 0.98))
    p05, median, p95 = (float(ordered[round(q * (len(z) - 1)), 2]) for q in (0.05, 0.5, 0.95))
    return Geometry(
        centroid_m=points.mean(axis=0, dtype=np.float64).astype(np.float32),
        box_centre_m=(low + high) / 2,
        extent_m=high - low,
        depth_p05_m=p05,
        depth_median_m=median,
        depth_p95_m=p95,
    )
