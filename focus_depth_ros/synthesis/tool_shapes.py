"""Shapes of tools, cutlery, wire ware and toys: each function draws one mesh, in metres.

As in `shapes`, proportions are random and shapes need not stand at the origin.
"""

from __future__ import annotations

import numpy as np

from focus_depth_ros.synthesis.materials import ACCENT, BODY, INSIDE, WRAP
from focus_depth_ros.synthesis.meshes import Array, Cell, Mesh, box, lathe, merge, rotation, sweep
from focus_depth_ros.synthesis.shapes import curve, handle, lump, superquadric, vessel


def _bar(points: list[tuple[float, ...]], radii: float | Array, cell: Cell, sides: int) -> Mesh:
    path = np.array(points, float)
    return sweep(path, np.broadcast_to(np.asarray(radii, float), len(path)), cell, sides)


def _loop(
    across_m: float, along_m: float, radius_m: float, cell: Cell, squareness: float = 2
) -> Mesh:
    """A closed wire in the plane z = 0, round or nearly rectangular."""
    angle = np.linspace(0, 2 * np.pi, 25)
    reach = (np.abs(np.cos(angle)) ** squareness + np.abs(np.sin(angle)) ** squareness) ** (
        -1 / squareness
    )
    path = np.stack(
        [across_m * reach * np.cos(angle), along_m * reach * np.sin(angle), np.zeros(25)], axis=1
    )
    return sweep(path, np.full(25, radius_m), cell, 6)


def pitcher(rng: np.random.Generator) -> Mesh:
    """A tall hollow vessel with a large handle."""
    foot, height = rng.uniform(0.04, 0.06), rng.uniform(0.16, 0.25)
    belly, neck = foot * rng.uniform(1.0, 1.35), foot * rng.uniform(0.7, 1.05)
    outer = curve(
        [(foot, 0.0), (belly, height * 0.35), (neck, height * 0.8), (neck * 1.1, height)], 16
    )
    thick = rng.uniform(0.003, 0.006)
    low, high = height * rng.uniform(0.2, 0.35), height * rng.uniform(0.8, 0.93)
    at = float(np.interp(high, outer[:, 1], outer[:, 0]))
    grip = handle(at, low, high, rng.uniform(0.035, 0.06), rng.uniform(0.006, 0.01))
    return merge(vessel(outer, thick, thick * 2), grip)


def drill(rng: np.random.Generator) -> Mesh:
    """A cordless drill lying on its side: motor along x, grip and battery along -y."""
    long, radius = rng.uniform(0.12, 0.17), rng.uniform(0.025, 0.034)
    grip, lean = rng.uniform(0.09, 0.12), rng.uniform(0.0, 0.03)
    motor = _bar(
        [(0, 0, 0), (long * 0.5, 0, 0), (long, 0, 0)], radius * np.array([0.95, 1, 0.8]), WRAP, 12
    )
    chuck = _bar(
        [(long, 0, 0), (long + 0.035, 0, 0)], np.array([radius * 0.6, radius * 0.4]), ACCENT, 10
    )
    bit = _bar([(long + 0.03, 0, 0), (long + rng.uniform(0.06, 0.12), 0, 0)], 0.003, ACCENT, 6)
    shaft = _bar([(long * 0.3, 0, 0), (long * 0.25 - lean, -grip, 0)], radius * 0.62, WRAP, 10)
    size = np.array([rng.uniform(0.07, 0.1), rng.uniform(0.03, 0.05), radius * 1.9])
    battery = box(size, (ACCENT,) * 6).moved(long * 0.25 - lean, -grip - size[1] / 2, -size[2] / 2)
    return merge(motor, chuck, bit, shaft, battery)


def _crossed(
    rng: np.random.Generator, tip: Mesh, grip_m: float, bow_m: float, thick_m: float
) -> Mesh:
    """Two mirrored halves that cross at the origin: a tip along +x, a bowed grip along -x."""
    opening = rng.uniform(0.05, 0.35)
    t = np.linspace(0, 1, 8)
    arc = np.stack([-grip_m * t, -bow_m * np.sin(np.pi * np.minimum(t * 0.9, 1)), 0 * t], axis=1)
    half = merge(sweep(arc, np.full(8, thick_m), WRAP, 8), tip)
    other = half.transformed(np.diag([1.0, -1.0, -1.0])).moved(0, 0, thick_m * 0.4)
    pivot = lathe(
        np.array([[thick_m * 1.6, -thick_m], [thick_m * 1.6, thick_m], [0, thick_m]]), ACCENT, 12
    )
    return merge(
        half.transformed(rotation('z', opening)), other.transformed(rotation('z', -opening)), pivot
    )


def pliers(rng: np.random.Generator) -> Mesh:
    """Two jaws and two bowed grips, lying."""
    jaw = rng.uniform(0.035, 0.06)
    tip = _bar(
        [(0, 0, 0), (jaw * 0.5, 0.004, 0), (jaw, 0, 0)], np.array([0.008, 0.007, 0.003]), ACCENT, 8
    )
    return _crossed(rng, tip, rng.uniform(0.08, 0.12), rng.uniform(0.015, 0.025), 0.006)


def clamp(rng: np.random.Generator) -> Mesh:
    """A spring clamp: short broad jaws with pads, straight grips."""
    jaw = rng.uniform(0.04, 0.07)
    arm = _bar([(0, 0, 0), (jaw * 0.6, 0.014, 0), (jaw, 0.004, 0)], 0.008, WRAP, 8)
    pad = box(np.array([0.02, 0.01, 0.02]), (ACCENT,) * 6).moved(jaw, 0.0, -0.01)
    return _crossed(rng, merge(arm, pad), rng.uniform(0.05, 0.09), rng.uniform(0.005, 0.015), 0.008)


def scissors(rng: np.random.Generator) -> Mesh:
    """Two thin blades and two finger rings, lying."""
    blade, ring = rng.uniform(0.07, 0.11), rng.uniform(0.014, 0.024)
    edge = box(np.array([blade, rng.uniform(0.009, 0.014), 0.0018]), (ACCENT,) * 6)
    thick = rng.uniform(0.003, 0.0045)
    eye = _loop(ring * 1.3, ring, thick, WRAP).moved(-0.07 - ring, -ring * 0.8, 0)
    tip = merge(edge.moved(blade / 2, 0.002, 0), eye)
    return _crossed(rng, tip, 0.07, 0.01, thick)


def marker(rng: np.random.Generator) -> Mesh:
    """A pen with a cap."""
    long, radius = rng.uniform(0.11, 0.15), rng.uniform(0.005, 0.011)
    body = _bar([(0, 0, 0), (long * 0.65, 0, 0)], radius, WRAP, 12)
    cap = _bar(
        [(long * 0.65, 0, 0), (long * 0.97, 0, 0), (long, 0, 0)],
        radius * np.array([1.1, 1.05, 0.6]),
        ACCENT,
        12,
    )
    return merge(body, cap)


def _cutlery_handle(rng: np.random.Generator, long_m: float) -> Mesh:
    """A flat grip along -x, thin where the head begins at the origin."""
    t = np.linspace(0, 1, 9)
    path = np.stack([-long_m * t, 0 * t, 0.006 * np.sin(np.pi * t)], axis=1)
    radii = rng.uniform(0.006, 0.009) * (0.45 + 0.55 * t**1.5)
    return sweep(path, radii, WRAP, 8, flatness=0.3)


def spoon(rng: np.random.Generator) -> Mesh:
    """A grip and a shallow hollow bowl."""
    wide = rng.uniform(0.016, 0.03)
    deep = wide * rng.uniform(0.25, 0.45)
    outer = curve([(0.0, 0.0), (wide * 0.7, deep * 0.35), (wide, deep)], 8)
    inner = outer[::-1] * [0.96, 1.0] + [0, 0.0012]
    bowl = merge(lathe(outer, ACCENT), lathe(inner, INSIDE))
    bowl = bowl.transformed(np.diag([rng.uniform(1.2, 1.6), 1.0, 1.0]))
    grip = _cutlery_handle(rng, rng.uniform(0.1, 0.16))
    return merge(grip.moved(-wide * 1.15, 0, deep), bowl)


def fork(rng: np.random.Generator) -> Mesh:
    """A grip, a palm and three or four tines."""
    wide, tine = rng.uniform(0.009, 0.013), rng.uniform(0.035, 0.05)
    palm = superquadric(np.array([0.018, wide, 0.0015]), 0.6, 0.8, ACCENT).moved(0.012, 0, -0.0015)
    count = int(rng.integers(3, 5))
    tines = [
        _bar(
            [(0.02, y, 0), (0.02 + tine * 0.6, y, -0.003), (0.02 + tine, y, 0.002)],
            np.array([0.0018, 0.0016, 0.0008]),
            ACCENT,
            6,
        )
        for y in np.linspace(-wide * 0.8, wide * 0.8, count)
    ]
    return merge(_cutlery_handle(rng, rng.uniform(0.1, 0.15)), palm, *tines)


def knife(rng: np.random.Generator) -> Mesh:
    """A round grip and a flat tapered blade."""
    blade, grip = rng.uniform(0.09, 0.18), rng.uniform(0.09, 0.12)
    t = np.linspace(0, 1, 9)
    path = np.stack([blade * t, 0.004 * t**2, 0 * t], axis=1)
    radii = rng.uniform(0.009, 0.018) * np.sqrt(np.maximum(1 - t**3, 0.01))
    edge = sweep(path, radii, ACCENT, 6, flatness=0.08)
    bow = np.stack([-grip * t, 0 * t, 0 * t], axis=1)
    return merge(edge, sweep(bow, np.full(9, rng.uniform(0.008, 0.012)), WRAP, 8, flatness=0.7))


def sponge(rng: np.random.Generator) -> Mesh:
    """A soft block, often with a pad of another colour."""
    size = rng.uniform([0.07, 0.05, 0.02], [0.12, 0.08, 0.045])
    body = superquadric(size / 2, 0.15, 0.15, BODY)
    if rng.random() < 0.5:
        return body
    pad = superquadric(np.array([size[0] / 2, size[1] / 2, 0.004]), 0.15, 0.15, ACCENT)
    return merge(body, pad.moved(0, 0, size[2] - 0.002))


def rack(rng: np.random.Generator) -> Mesh:
    """A wire rack: a flat cooling grid on feet, or a row of upright bows as for plates or toast."""
    wide, deep = rng.uniform(0.1, 0.2), rng.uniform(0.07, 0.14)
    wire, count = rng.uniform(0.0013, 0.003), int(rng.integers(5, 11))
    across = np.linspace(-wide * 0.92, wide * 0.92, count)
    if rng.random() < 0.4:
        feet = rng.uniform(0.012, 0.03)
        parts = [_loop(wide, deep, wire * 1.4, WRAP, 8).moved(0, 0, feet)]
        parts += [_bar([(x, -deep, feet), (x, deep, feet)], wire, WRAP, 6) for x in across]
        parts += [
            _bar([(x, y, 0), (x, y, feet)], wire * 1.4, WRAP, 6)
            for x in (-wide * 0.85, wide * 0.85)
            for y in (-deep * 0.85, deep * 0.85)
        ]
        return merge(*parts)
    high = rng.uniform(0.05, 0.12)
    turn = np.linspace(0, np.pi, 7)
    bow = np.stack([0 * turn, -deep * 0.8 * np.cos(turn), high * np.sin(turn) ** 0.6], axis=1)
    parts = [_loop(wide, deep * 0.8, wire * 1.4, WRAP, 8)]
    parts += [sweep(bow + np.array([x, 0, 0]), np.full(7, wire), WRAP, 6) for x in across]
    return merge(*parts)


def basket(rng: np.random.Generator) -> Mesh:
    """An open basket of wire, round or rectangular, wider above."""
    wide, deep, high = rng.uniform([0.08, 0.06, 0.05], [0.15, 0.11, 0.12])
    wire, flare = rng.uniform(0.0013, 0.0028), rng.uniform(1.05, 1.3)
    squareness = 2.0 if rng.random() < 0.5 else 8.0
    levels = np.linspace(0, 1, int(rng.integers(3, 6)))
    growth = 1 + (flare - 1) * levels
    parts = [
        _loop(wide * g, deep * g, wire * (1.8 if level == 1 else 1.0), WRAP, squareness).moved(
            0, 0, high * level
        )
        for level, g in zip(levels, growth, strict=True)
    ]
    for angle in np.linspace(0, 2 * np.pi, 19)[:-1]:
        c, s = np.cos(angle), np.sin(angle)
        reach = (abs(c) ** squareness + abs(s) ** squareness) ** (-1 / squareness)
        foot = np.array([wide * reach * c, deep * reach * s, 0])
        parts.append(_bar([(*foot[:2], 0), (*(foot[:2] * flare), high)], wire, WRAP, 6))
        if s > 0.05:
            parts.append(_bar([(*foot[:2], 0), (foot[0], -foot[1], 0)], wire, WRAP, 6))
    return merge(*parts)


def toy(rng: np.random.Generator) -> Mesh:
    """Two to five superquadrics or lumps grown together."""
    cells = (WRAP, BODY, ACCENT, INSIDE)
    parts: list[Mesh] = []
    at = np.zeros(3)
    for number in range(int(rng.integers(2, 6))):
        radii = rng.uniform(0.012, 0.04, 3)
        if rng.random() < 0.3:
            part = lump(rng, radii, 0.2)
        else:
            exponents = rng.uniform(0.15, 1.3, 2)
            part = superquadric(radii, exponents[0], exponents[1], cells[number % 4])
        turned = part.moved(0, 0, -radii[2]).transformed(
            rotation('x', rng.uniform(0, 6.3)) @ rotation('z', rng.uniform(0, 6.3))
        )
        parts.append(turned.moved(*at))
        away = rng.normal(size=3)
        at = at + away / np.linalg.norm(away) * radii.min() * rng.uniform(1.0, 1.6)
    return merge(*parts)
