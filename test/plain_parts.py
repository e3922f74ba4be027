"""Parts of one grey each, for tests of what is drawn."""

from __future__ import annotations

import numpy as np

from focus_depth_ros.synthesis.meshes import Mesh, sheet
from focus_depth_ros.synthesis.objects import Look
from focus_depth_ros.synthesis.renderer import Part


def part(mesh: Mesh, part_id: int, value: int = 200, alpha: float = 1.0) -> Part:
    return Part(mesh, np.full((256, 256, 3), value, np.uint8), part_id, Look(alpha=alpha))


def ground() -> Mesh:
    """Four metres square, at z = 0."""
    return sheet(np.array([-2.0, -2, 0]), np.array([4.0, 0, 0]), np.array([0, 4.0, 0]))
