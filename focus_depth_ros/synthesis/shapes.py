"""Shapes of household things: each function draws one mesh with random proportions, in metres.

Shapes need not stand at the origin: who uses them centres them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from focus_depth_ros.synthesis.materials import (
    ACCENT,
    BODY,
    CARTON_FACES,
    INSIDE,
    LID,
    WRAP,
    smooth_noise,
)
from focus_depth_ros.synthesis.meshes import (
    Array,
    Cell,
    Mesh,
    box,
    grid_surface,
    lathe,
    merge,
    sweep,
)


def _disc(radius_m: float, z_m: float, cell: Cell, up: bool, squareness: float = 2.0) -> Mesh:
    rim, centre = [radius_m, z_m], [0.0, z_m]
    disc = lathe(np.array([rim, centre] if up else [centre, rim]), cell, squareness=squareness)
    left, top, right, bottom = cell
    across = disc.vertices[:, :2] / (2 * radius_m) + 0.5
    return replace(disc, uv=np.clip(across, 0, 1) * [right - left, bottom - top] + [left, top])


def curve(points: list[tuple[float, float]], count: int) -> Array:
    """A smooth profile through a few (radius, z) points, `count` samples."""
    corners = np.array(points)
    t = np.linspace(0, len(corners) - 1, count)
    i = np.clip(t.astype(int), 0, len(corners) - 2)
    f = (t - i)[:, None]
    before, after = corners[np.maximum(i - 1, 0)], corners[np.minimum(i + 2, len(corners) - 1)]
    p, q = corners[i], corners[i + 1]
    bend = (
        2 * p
        + (q - before) * f
        + (2 * before - 5 * p + 4 * q - after) * f**2
        + (3 * (p - q) + after - before) * f**3
    ) / 2
    bend[:, 0] = np.maximum(bend[:, 0], 0.0)
    return np.asarray(bend)


def handle(radius_at_m: float, low_m: float, high_m: float, reach_m: float, thick_m: float) -> Mesh:
    """A handle on the +x side from the lower to the upper height."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 11)
    x = radius_at_m - thick_m * 0.3 + reach_m * np.cos(angle) ** 0.8
    z = (low_m + high_m) / 2 + (high_m - low_m) / 2 * np.sin(angle)
    path = np.stack([x, np.zeros(11), z], axis=1)
    return sweep(path, np.full(11, thick_m), ACCENT, 8, flatness=1.5)


def vessel(outer: Array, thick_m: float, floor_m: float) -> Mesh:
    """A hollow body from its outer profile going up.

    Inner wall, rim and floor are real surfaces.
    """
    inner = outer[::-1].copy()
    inner[:, 0] = np.maximum(inner[:, 0] - thick_m, 0.0)
    inner = inner[inner[:, 1] > floor_m]
    bottom_r = float(np.interp(floor_m, outer[:, 1], outer[:, 0])) - thick_m
    inner = np.concatenate([inner, [[max(bottom_r, 0.0), floor_m]]])
    top_r, top_z = outer[-1]
    rim_angle = np.linspace(0, np.pi, 5)
    rim = np.stack(
        [
            top_r - thick_m / 2 + thick_m / 2 * np.cos(rim_angle),
            top_z + thick_m / 2 * np.sin(rim_angle),
        ],
        axis=1,
    )
    return merge(
        _disc(float(outer[0, 0]), float(outer[0, 1]), BODY, up=False),
        lathe(outer, WRAP),
        lathe(rim, LID),
        lathe(inner, INSIDE),
        _disc(float(inner[-1, 0]), floor_m, INSIDE, up=True),
    )


def carton(rng: np.random.Generator) -> Mesh:
    """Cereal, tea, milk: a printed cuboid."""
    kind = rng.random()
    if kind < 0.5:
        size = [rng.uniform(0.10, 0.21), rng.uniform(0.035, 0.085), rng.uniform(0.14, 0.31)]
    elif kind < 0.8:
        size = [rng.uniform(0.06, 0.13), rng.uniform(0.04, 0.10), rng.uniform(0.06, 0.15)]
    else:
        size = [rng.uniform(0.06, 0.10), rng.uniform(0.06, 0.10), rng.uniform(0.15, 0.26)]
    return box(np.array(size), CARTON_FACES, 3)


def plain_box(rng: np.random.Generator) -> Mesh:
    """A box of one stuff: cardboard, plastic; sometimes open at the top and hollow."""
    size = rng.uniform([0.08, 0.07, 0.04], [0.30, 0.24, 0.18])
    if rng.random() < 0.6:
        return box(size, (WRAP, WRAP, WRAP, WRAP, LID, BODY), 3)
    return tray(size, rng.uniform(0.002, 0.006))


def tray(size_m: Array, thick_m: float) -> Mesh:
    """An open box with walls of the given thickness."""
    w, d, h = size_m
    t = thick_m
    cells = (BODY,) * 6
    inside = (INSIDE,) * 6
    return merge(
        box(np.array([w, d, t]), inside, 4),
        box(np.array([w, t, h]), cells, 3).moved(0, d / 2 - t / 2, 0),
        box(np.array([w, t, h]), cells, 3).moved(0, -d / 2 + t / 2, 0),
        box(np.array([t, d - 2 * t, h]), cells, 3).moved(w / 2 - t / 2, 0, 0),
        box(np.array([t, d - 2 * t, h]), cells, 3).moved(-w / 2 + t / 2, 0, 0),
    )


def block(rng: np.random.Generator) -> Mesh:
    """A small solid block: cube, beam or a rounded superquadric."""
    size = rng.uniform(0.03, 0.09, 3)
    if rng.random() < 0.5:
        size[int(rng.integers(3))] *= rng.uniform(1.2, 2.2)
        return box(size, (WRAP, WRAP, WRAP, WRAP, BODY, BODY), 3)
    return superquadric(size / 2, rng.uniform(0.15, 0.6), rng.uniform(0.15, 0.6))


def superquadric(
    radii_m: Array, up_exponent: float, round_exponent: float, cell: Cell = WRAP
) -> Mesh:
    """Between a box (exponents near 0) and an ellipsoid (1)."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, 13)[:, None]
    longitude = np.linspace(0, 2 * np.pi, 25)[None]

    def power(value: Array, exponent: float) -> Array:
        return np.asarray(np.sign(value) * np.abs(value) ** exponent)

    flat = np.maximum(power(np.cos(latitude), up_exponent), 1e-4)
    x = radii_m[0] * flat * power(np.cos(longitude), round_exponent)
    y = radii_m[1] * flat * power(np.sin(longitude), round_exponent)
    z = radii_m[2] * (power(np.sin(latitude), up_exponent) + 1) * np.ones_like(longitude)
    return grid_surface(np.stack([x, y, z], axis=2), cell, closed=True)


def can(rng: np.random.Generator) -> Mesh:
    """Drink and food cans, tubs and wide tins, with a raised rim."""
    if rng.random() < 0.6:
        radius, height = rng.uniform(0.026, 0.052), rng.uniform(0.07, 0.20)
    else:
        radius, height = rng.uniform(0.06, 0.11), rng.uniform(0.03, 0.10)
    rim = min(0.004, radius * 0.08)
    lip = np.array([[radius, height], [radius - rim, height], [radius - rim, height - rim]])
    return merge(
        _disc(radius, 0.0, LID, up=False),
        lathe(np.array([[radius, 0.0], [radius, height]]), WRAP),
        lathe(lip[:2], LID),
        lathe(lip[1:], LID),
        _disc(radius - rim, height - rim, LID, up=True),
    )


def bottle(rng: np.random.Generator) -> Mesh:
    """Body, shoulder, neck and cap, round or squarish."""
    radius, height = rng.uniform(0.025, 0.05), rng.uniform(0.14, 0.31)
    neck = radius * rng.uniform(0.25, 0.5)
    shoulder = rng.uniform(0.5, 0.75)
    squareness = 2.0 if rng.random() < 0.65 else rng.uniform(2.5, 6)
    waist = radius * rng.uniform(0.8, 1.05)
    body = curve(
        [
            (radius, 0.0),
            (radius, 0.02),
            (waist, height * shoulder / 2),
            (radius, height * shoulder),
            (neck, height * (shoulder + 0.93) / 2 + 0.01),
            (neck, height * 0.93),
        ],
        20,
    )
    cap_r, cap_h = neck * rng.uniform(1.05, 1.4), height * rng.uniform(0.05, 0.12)
    top = height * 0.93
    cap = merge(
        lathe(np.array([[cap_r, top], [cap_r, top + cap_h]]), ACCENT, 20),
        lathe(np.array([[neck * 0.5, top], [cap_r, top]]), ACCENT, 20),
        _disc(cap_r, top + cap_h, ACCENT, up=True),
    )
    shape = merge(
        _disc(radius, 0.0, BODY, False, squareness), lathe(body, WRAP, squareness=squareness), cap
    )
    if rng.random() < 0.2:  # flattened, as detergent and sauce bottles are
        shape = shape.transformed(np.diag([1.0, rng.uniform(0.55, 0.8), 1.0]))
    return shape


def mug(rng: np.random.Generator) -> Mesh:
    """A cup with a handle, hollow."""
    top, height = rng.uniform(0.035, 0.05), rng.uniform(0.07, 0.125)
    bottom = top * rng.uniform(0.65, 1.05)
    outer = curve(
        [(bottom, 0.0), (bottom * 1.03, 0.01), ((bottom + top) / 2, height / 2), (top, height)], 12
    )
    thick = rng.uniform(0.003, 0.006)
    low, high = height * rng.uniform(0.15, 0.3), height * rng.uniform(0.75, 0.92)
    at = float(np.interp((low + high) / 2, outer[:, 1], outer[:, 0]))
    grip = handle(at, low, high, rng.uniform(0.02, 0.035), rng.uniform(0.004, 0.007))
    return merge(vessel(outer, thick, thick * 1.5), grip)


def cup(rng: np.random.Generator) -> Mesh:
    """A tapered beaker without a handle, hollow."""
    top, height = rng.uniform(0.03, 0.05), rng.uniform(0.06, 0.14)
    outer = np.array([[top * rng.uniform(0.6, 0.95), 0.0], [top, height]])
    t = np.linspace(0, 1, 8)[:, None]
    return vessel(outer[0] + t * (outer[1] - outer[0]), rng.uniform(0.0015, 0.005), 0.005)


def bowl(rng: np.random.Generator) -> Mesh:
    """Hollow, round-bottomed."""
    top, height = rng.uniform(0.055, 0.13), rng.uniform(0.035, 0.09)
    foot = top * rng.uniform(0.3, 0.6)
    outer = curve([(foot, 0.0), (top * rng.uniform(0.7, 0.85), height * 0.33), (top, height)], 12)
    thick = rng.uniform(0.003, 0.007)
    return vessel(outer, thick, thick * 1.6)


def plate(rng: np.random.Generator) -> Mesh:
    """Nearly flat, with a raised border."""
    top, height = rng.uniform(0.08, 0.13), rng.uniform(0.015, 0.03)
    outer = curve([(top * 0.6, 0.0), (top * 0.72, height * 0.3), (top, height)], 9)
    return vessel(outer, 0.004, 0.006)


def pot(rng: np.random.Generator) -> Mesh:
    """A cooking pot or storage tub: hollow with two grips, or with its lid on."""
    radius, height = rng.uniform(0.07, 0.12), rng.uniform(0.06, 0.14)
    outer = curve(
        [(radius * rng.uniform(0.8, 1.0), 0.0), (radius, height * 0.25), (radius, height)], 10
    )
    thick = rng.uniform(0.002, 0.005)
    parts = [vessel(outer, thick, thick * 2)]
    if rng.random() < 0.7:
        grip = handle(radius, -0.03, 0.03, rng.uniform(0.015, 0.035), 0.005)
        lying = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        turned = grip.transformed(lying)
        parts += [
            turned.moved(0, 0, height * 0.85),
            turned.transformed(np.diag([-1.0, -1.0, 1.0])).moved(0, 0, height * 0.85),
        ]
    if rng.random() < 0.25:
        dome = rng.uniform(0.005, 0.03)
        top = np.array(
            [
                [radius * 1.02, height],
                [radius, height + dome * 0.5],
                [radius * 0.6, height + dome],
                [0, height + dome],
            ]
        )
        knob = superquadric(np.array([0.014, 0.014, 0.01]), 0.8, 1.0, ACCENT).moved(
            0, 0, height + dome
        )
        parts += [lathe(top, LID), _disc(radius * 1.02, height, LID, up=False), knob]
    return merge(*parts)


def ball(rng: np.random.Generator) -> Mesh:
    """A sphere."""
    return superquadric(np.full(3, rng.uniform(0.02, 0.075)), 1.0, 1.0)


def book(rng: np.random.Generator) -> Mesh:
    """A closed book lying flat: cover above and below, pages at three sides."""
    size = np.array([rng.uniform(0.11, 0.2), rng.uniform(0.15, 0.27), rng.uniform(0.008, 0.045)])
    front, _, pages, back, _, bottom = CARTON_FACES
    return box(size, (pages, pages, pages, back, front, bottom), 3)


def banana(rng: np.random.Generator) -> Mesh:
    """A swept arc, tapered to both ends, five-sided."""
    reach, bend = rng.uniform(0.07, 0.10), rng.uniform(0.8, 1.4)
    t = np.linspace(-1, 1, 15)
    path = np.stack(
        [reach * np.sin(t * bend) / bend, reach * (1 - np.cos(t * bend)) / bend, np.zeros(15)],
        axis=1,
    )
    radii = rng.uniform(0.014, 0.02) * np.maximum(1 - np.abs(t) ** 3.5 * 0.85, 0.15)
    return sweep(path, radii, WRAP, 6)


def screwdriver(rng: np.random.Generator) -> Mesh:
    """A handle and a thin shaft, lying along x."""
    grip, shaft = rng.uniform(0.08, 0.12), rng.uniform(0.06, 0.14)
    radius = rng.uniform(0.011, 0.018)
    along = np.linspace(0, grip, 9)
    bulge = radius * (0.8 + 0.2 * np.sin(np.linspace(0.3, 2 * np.pi, 9)))
    handle = sweep(np.stack([along, 0 * along, 0 * along], axis=1), bulge, WRAP, 12)
    rod = sweep(
        np.array([[grip - 0.002, 0, 0], [grip + shaft, 0, 0]]), np.full(2, radius * 0.28), ACCENT, 8
    )
    return merge(handle, rod)


def hammer(rng: np.random.Generator) -> Mesh:
    """A round handle and a block for a head, lying."""
    length = rng.uniform(0.2, 0.3)
    handle = sweep(
        np.array([[0, 0, 0], [length / 2, 0, 0], [length, 0, 0]]),
        np.array([0.014, 0.012, 0.010]),
        WRAP,
        12,
    )
    head = box(np.array([rng.uniform(0.02, 0.032), rng.uniform(0.08, 0.12), 0.026]), (ACCENT,) * 6)
    return merge(handle, head.moved(length, 0, -0.013))


def wrench(rng: np.random.Generator) -> Mesh:
    """A flat bar with an open ring at either end."""
    length, width = rng.uniform(0.12, 0.24), rng.uniform(0.012, 0.02)
    bar = box(np.array([length, width, 0.006]), (BODY,) * 6)
    angle = np.linspace(0.5, 2 * np.pi - 0.5, 13)
    jaw = np.stack([width * np.cos(angle), width * np.sin(angle), np.full(13, 0.004)], axis=1)
    end = sweep(jaw, np.full(13, width * 0.35), BODY, 8, flatness=0.8)
    return merge(
        bar,
        end.moved(length / 2 + width, 0, 0),
        end.transformed(np.diag([-1.0, -1.0, 1.0])).moved(-length / 2 - width, 0, 0),
    )


def rod(rng: np.random.Generator) -> Mesh:
    """A thin straight stick: pencil, dowel, tube."""
    half, radius = rng.uniform(0.07, 0.2), rng.uniform(0.003, 0.009)
    return sweep(np.array([[-half, 0, 0], [0, 0, 0], [half, 0, 0]]), np.full(3, radius), WRAP, 10)


def cable(rng: np.random.Generator) -> Mesh:
    """A thin tube along a smooth random path that rises a little where it could cross itself."""
    turns = np.cumsum(rng.uniform(-0.9, 0.9) + rng.normal(0, 0.35, 60))
    step = rng.uniform(0.006, 0.012)
    plan = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1) * step, axis=0)
    radius = rng.uniform(0.002, 0.005)
    rise = np.linspace(0, 4 * radius, 60)
    return sweep(np.column_stack([plan, rise]), np.full(60, radius), WRAP, 7)


def ring(rng: np.random.Generator) -> Mesh:
    """A torus: tape roll, bangle, washer; the hole is real."""
    radius = rng.uniform(0.02, 0.07)
    thick = radius * rng.uniform(0.12, 0.4)
    angle = np.linspace(0, 2 * np.pi, 9) + np.pi
    section = np.stack(
        [radius + thick * np.cos(-angle), thick * rng.uniform(0.6, 2.0) * np.sin(-angle)], axis=1
    )
    return lathe(section[::-1], WRAP)


def stone(rng: np.random.Generator) -> Mesh:
    """A displaced ellipsoid: stone, fruit, dough."""
    return lump(rng, rng.uniform(0.02, 0.06, 3) + 0.01, 0.25)


def bag(rng: np.random.Generator) -> Mesh:
    """A soft printed pack: a pillow with dents."""
    return lump(rng, rng.uniform([0.05, 0.06, 0.015], [0.10, 0.13, 0.035]), 0.12, 0.7)


def lump(rng: np.random.Generator, radii_m: Array, depth: float, squareness: float = 1.0) -> Mesh:
    """A superquadric whose surface is pushed in and out at random by up to a share `depth`."""
    base = superquadric(radii_m, squareness, squareness)
    rows, columns = 13, 25
    bumps = smooth_noise(rng, (rows, columns), (3, 5), 2) * depth
    fade = np.sin(np.linspace(0, np.pi, rows))[:, None]
    bumps = bumps * fade
    bumps[:, -1] = bumps[:, 0]
    bumps[:, -2] = (bumps[:, -3] + bumps[:, 0]) / 2
    centre = np.array([0, 0, radii_m[2]])
    points = (base.vertices - centre).reshape(rows, columns, 3) * (1 + bumps[..., None]) + centre
    return grid_surface(points, WRAP, closed=True)
