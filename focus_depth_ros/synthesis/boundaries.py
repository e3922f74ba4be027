"""Occlusion boundaries from geometry: jumps of depth that no slope of a surface explains.

Inverse depth of a plane is linear in the picture, so each side is extrapolated to the border
between two samples from its own next sample inward; what then remains is the true gap. Samples
lie closer than pixels, so that a steep face of one pixel still shows its slope. Picture gradients
play no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.sample import BOUNDARY_CONTACT, BOUNDARY_OCCLUSION, BOUNDARY_SELF

Ids = NDArray[np.integer[Any]]
"""(H, W), 0 = no thing."""

_GAP_M, _GAP_SHARE = 0.003, 0.002
"""The least gap that is a boundary: this, and so much of the nearer side's distance."""
_FAR = 1e-3
"""Inverse depth, 1/m, of what is nowhere: a kilometre away."""
_STEEP = 0.6
"""A surface goes on where the step beside a break is at least this share of the break."""
_WORTH_A_LOOK = 0.7
"""Two pixels at least this share of the least gap apart may have a break between them."""
_MARGIN = 2
"""Pixels on either side of a pair that its slopes are taken from."""


def _gentler(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smaller of two slopes (NaN = unknown), 0 where they disagree in sign.

    So the limbs of round things, which bend away, explain less.
    """
    first = np.nan_to_num(first)
    second = np.where(np.isnan(second), first, second)
    agree = np.sign(first) == np.sign(second)
    return np.where(agree, np.sign(first) * np.minimum(np.abs(first), np.abs(second)), 0.0)


def _pair_gaps(
    inverse: NDArray[np.float64], parts: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The gap in metres between columns c and c+1, both sides extrapolated; whether c is nearer.

    A side is extrapolated half a sample when its inner neighbour is of the same part; the
    smaller of the plain and the extrapolated gap counts, so a slope can explain a jump but
    never make one.
    """
    left, right = inverse[:, :-1], inverse[:, 1:]
    step = np.where(parts[:, 1:] == parts[:, :-1], right - left, np.nan)
    slope_left, slope_right = np.zeros_like(left), np.zeros_like(right)
    slope_left[:, 1:] = _gentler(
        step[:, :-1], np.pad(step[:, :-2], ((0, 0), (1, 0)), constant_values=np.nan)
    )
    slope_right[:, :-1] = _gentler(
        step[:, 1:], np.pad(step[:, 2:], ((0, 0), (0, 1)), constant_values=np.nan)
    )

    def depth(value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1 / np.maximum(value, _FAR))

    plain = depth(right) - depth(left)
    guesses = [
        depth(right - slope_right / 2) - depth(left + slope_left / 2),
        depth(right) - depth(left + slope_left),
        depth(right - slope_right) - depth(left),
    ]
    gap = np.abs(plain)
    for guess in guesses:
        gap = np.minimum(gap, np.abs(guess))
    return gap, left >= right


def _one_surface(
    inverse: NDArray[np.float64], parts: NDArray[np.int32], left_nearer: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Pairs within one part between which a single surface runs steeply, on at least one side.

    So a wall at a grazing angle and the limb of a round thing are told from a jump. A far pixel
    that ends its part is the last of a limb: one pixel cannot show a second surface.
    """
    step = inverse[:, 1:] - inverse[:, :-1]
    same = parts[:, 1:] == parts[:, :-1]
    after, before = np.zeros_like(step), np.zeros_like(step)
    after[:, :-1] = np.where(same[:, 1:], step[:, 1:], np.nan)
    before[:, 1:] = np.where(same[:, :-1], step[:, :-1], np.nan)
    far, near = np.where(left_nearer, [after, before], [before, after])
    ends_here = np.isnan(far)
    return np.asarray(same & (ends_here | _as_steep(far, step) | _as_steep(near, step)))


def _as_steep(neighbour: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.bool_]:
    alike = np.sign(neighbour) == np.sign(step)
    return np.asarray(alike & (np.abs(neighbour) >= _STEEP * np.abs(step)))


@dataclass(frozen=True)
class Scan:
    """Samples along the rows of a picture: depth_m and parts (H, W, k), at column + n / k, n < k.

    depth_m: metres, NaN = nothing. parts tells surfaces apart (structure too).
    """

    depth_m: NDArray[np.float32]
    parts: NDArray[np.int32]


def _jumps(scan: Scan) -> NDArray[np.bool_]:
    """Whether the surface breaks between columns c and c+1: (H, W-1).

    Only pairs of pixels that differ in depth, with a step to match somewhere between them, are
    looked at, with all samples between and about them.
    """
    height, width, steps = scan.parts.shape
    depth = np.where(np.isfinite(scan.depth_m), scan.depth_m, 1 / _FAR).astype(np.float64)
    pixels = depth[:, :, 0]
    nearest = np.minimum(pixels[:, :-1], pixels[:, 1:])
    least = _GAP_M + _GAP_SHARE * nearest
    fine = np.abs(np.diff(depth.reshape(height, -1), axis=1))[:, : (width - 1) * steps]
    stepped = fine.reshape(height, width - 1, steps).max(axis=2) > least
    apart = np.abs(np.diff(pixels, axis=1)) > least * _WORTH_A_LOOK
    rows, columns = np.nonzero(stepped & apart)
    around = columns[:, None] * steps + np.arange(-_MARGIN * steps, (_MARGIN + 1) * steps + 1)
    along = np.clip(around, 0, width * steps - 1)
    inverse = 1 / depth.reshape(height, -1)[rows[:, None], along]
    parts = scan.parts.reshape(height, -1)[rows[:, None], along]
    gap, left_nearer = _pair_gaps(inverse, parts)
    broken = (gap > least[rows, columns, None]) & ~_one_surface(inverse, parts, left_nearer)
    found = np.zeros((height, width - 1), bool)
    found[rows, columns] = broken[:, _MARGIN * steps : (_MARGIN + 1) * steps].any(axis=1)
    return found


def _mark(out: NDArray[np.uint8], scan: Scan, labels: NDArray[np.int32]) -> None:
    """Mark, on the nearer pixel, all breaks between horizontal neighbours.

    Transposed arrays give those between vertical ones.
    """
    jump = _jumps(scan)
    differ = labels[:, :-1] != labels[:, 1:]
    kind = np.where(
        jump,
        np.where(differ, BOUNDARY_OCCLUSION, BOUNDARY_SELF),
        np.where(differ, BOUNDARY_CONTACT, 0),
    )
    depth = np.nan_to_num(scan.depth_m[:, :, 0], nan=np.inf)
    left_nearer = depth[:, :-1] <= depth[:, 1:]
    for owner, target in ((left_nearer, out[:, :-1]), (~left_nearer, out[:, 1:])):
        value = np.where(owner, kind, 0).astype(np.uint8)
        stronger = (value > 0) & ((target == 0) | (value < target))
        target[stronger] = value[stronger]


def boundaries_from_scans(across: Scan, down: Scan, ids: Ids) -> NDArray[np.uint8]:
    """Boundary image uint8 (H,W), see sample.BOUNDARY_*: one pixel thin, on the nearer surface.

    across: samples along the rows, (H, W, k); down: along the columns, (W, H, k). ids (H,W)
    objects, 0 = structure. Breaks between two structure parts (a table's edge before the floor)
    count as occlusion.
    """
    out = np.zeros(ids.shape, np.uint8)
    parts = across.parts[:, :, 0]
    labels = np.where(ids > 0, ids, -parts).astype(np.int32)
    _mark(out, across, labels)
    transposed = np.ascontiguousarray(out.T)
    _mark(transposed, down, np.ascontiguousarray(labels.T))
    out = np.ascontiguousarray(transposed.T)
    structure_contact = (out == BOUNDARY_CONTACT) & _only_structure(ids)
    out[structure_contact] = 0
    return out


def find_boundaries(
    depth_m: NDArray[np.float32], parts: NDArray[np.int32], ids: Ids
) -> NDArray[np.uint8]:
    """`boundaries_from_scans` where nothing finer than the pixels (H,W) is known.

    Steep faces of less than four pixels may then be taken for breaks.
    """
    across = Scan(depth_m[..., None], parts[..., None])
    return boundaries_from_scans(across, Scan(depth_m.T[..., None], parts.T[..., None]), ids)


def _only_structure(ids: Ids) -> NDArray[np.bool_]:
    """Pixels whose neighbourhood holds no object.

    There a contact edge is only a wall meeting a floor.
    """
    touched = ids > 0
    near = touched.copy()
    near[1:] |= touched[:-1]
    near[:-1] |= touched[1:]
    near[:, 1:] |= touched[:, :-1]
    near[:, :-1] |= touched[:, 1:]
    return np.asarray(~near)
