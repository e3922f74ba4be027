"""Targets as RViz draws them in space: a box and a name over it, in the overlay's colours."""

from __future__ import annotations

from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from focus_depth_ros.pipeline.overlay import TARGET_COLOURS, caption
from focus_depth_ros.pipeline.result import FocusResult

BOX_ALPHA = 0.35
LETTERS_M = 0.03
"""How tall the capital letters of a name are."""
THINNEST_M = 1e-3
"""RViz complains of boxes that are flat."""


def target_markers(result: FocusResult, header: Header) -> MarkerArray:
    """Boxes and names of the targets that have a place in space; those drawn before go.

    The boxes are those of `detections_3d`, m, along the axes of the optical frame (y down).
    """
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for index, answer in enumerate(result.targets):
        if answer.geometry is None:
            continue
        colour = TARGET_COLOURS[index % len(TARGET_COLOURS)]
        x, y, z = map(float, answer.geometry.box_centre_m)
        width, height, depth = (max(float(side), THINNEST_M) for side in answer.geometry.extent_m)
        box = Marker(
            header=header,
            ns='boxes',
            id=index,
            type=Marker.CUBE,
            pose=_at(x, y, z),
            scale=Vector3(x=width, y=height, z=depth),
            color=_colour(colour, BOX_ALPHA),
        )
        name = Marker(
            header=header,
            ns='names',
            id=index,
            type=Marker.TEXT_VIEW_FACING,
            pose=_at(x, y - height / 2 - LETTERS_M, z),
            scale=Vector3(z=LETTERS_M),
            color=_colour(colour, 1.0),
            text=caption(answer),
        )
        markers += [box, name]
    return MarkerArray(markers=markers)


def _at(x: float, y: float, z: float) -> Pose:
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))


def _colour(rgb: tuple[int, int, int], alpha: float) -> ColorRGBA:
    red, green, blue = (value / 255 for value in rgb)
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)
