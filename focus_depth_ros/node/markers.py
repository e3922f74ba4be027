"""Targets as RViz draws them in space: a box and a name over it, in the overlay's colours."""

from __future__ import annotations

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from focus_depth_ros.pipeline.overlay import TARGET_COLOURS, caption
from focus_depth_ros.pipeline.result import FocusResult

BOX_ALPHA = 0.35
LETTERS_M = 0.03
"""How tall the letters of a name are within a metre; farther away they grow with the distance."""
THINNEST_M = 1e-3
"""RViz complains of boxes that are flat."""
LIFETIME = Duration(sec=5)
"""What a node that has stopped drew goes away; many times as long as an answer takes."""


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
        letters = LETTERS_M * max(1.0, z)
        box = _marker(header, 'boxes', index)
        box.type, box.pose = Marker.CUBE, _at(x, y, z)
        box.scale, box.color = Vector3(x=width, y=height, z=depth), _colour(colour, BOX_ALPHA)
        name = _marker(header, 'names', index)
        name.type, name.pose = Marker.TEXT_VIEW_FACING, _at(x, y - height / 2 - letters, z)
        # RViz makes spaces as wide as x says, and a metre of its own where it says nothing.
        name.scale, name.color = Vector3(x=letters, z=letters), _colour(colour, 1.0)
        name.text = caption(answer)
        markers += [box, name]
    return MarkerArray(markers=markers)


def _marker(header: Header, namespace: str, index: int) -> Marker:
    # Locked: RViz does not wait for tf, and leaves out what has a stamp that tf has not reached.
    return Marker(header=header, ns=namespace, id=index, lifetime=LIFETIME, frame_locked=True)


def _at(x: float, y: float, z: float) -> Pose:
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))


def _colour(rgb: tuple[int, int, int], alpha: float) -> ColorRGBA:
    red, green, blue = (value / 255 for value in rgb)
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)
