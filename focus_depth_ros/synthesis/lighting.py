"""Lamps and exposure.

A lamp is a small surface: each render pass sees another point of it, so shadows are soft.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from focus_depth_ros.synthesis.meshes import Array

TRAINING_PASSES = 4


@dataclass(frozen=True)
class Lamp:
    """One lamp, far (parallel light: a window, a ceiling) or near (a spot with a fall-off).

    directions: (passes,3) unit vectors its light travels along, one for each point of it.
    centre: the point it aims at, metres. falloff: it dims by 1 / (1 + falloff * metres^2).
    Colours are RGB gains.
    """

    directions: Array
    centre: Array
    distance_m: float
    ambient: Array
    diffuse: Array
    specular: Array
    casts_shadow: bool = True
    far: bool = True
    falloff: float = 0.0


@dataclass(frozen=True)
class Lighting:
    """The lamps of one picture."""

    lamps: tuple[Lamp, ...]

    @property
    def passes(self) -> int:
        """How many points of the lamps a picture averages."""
        return len(self.lamps[0].directions)


EVEN_LIGHT = Lighting(
    (
        Lamp(
            directions=np.array([[0.0, 0.0, -1.0]]),
            centre=np.zeros(3),
            distance_m=1.0,
            ambient=np.ones(3),
            diffuse=np.zeros(3),
            specular=np.zeros(3),
            casts_shadow=False,
        ),
    )
)
"""From everywhere alike: a picture shows the textures as they are."""


def spread(rng: np.random.Generator, direction: Array, radius: float, passes: int) -> Array:
    """(passes,3) unit directions on a ring about one; `radius` is the tangent of the half angle."""
    side = np.cross(direction, [1.0, 0, 0] if abs(direction[0]) < 0.8 else [0, 1.0, 0])
    side /= np.linalg.norm(side)
    other = np.cross(direction, side)
    angle = rng.uniform(0, 2 * np.pi) + np.arange(passes) * 2 * np.pi / passes
    reach = radius * rng.uniform(0.4, 1.0, passes)[:, None]
    found = direction + reach * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * other)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def _down(rng: np.random.Generator, least_deg: float, most_deg: float) -> Array:
    """A direction from above, so many degrees from the vertical."""
    away, round_about = np.radians(rng.uniform(least_deg, most_deg)), rng.uniform(0, 2 * np.pi)
    return np.array(
        [np.sin(away) * np.cos(round_about), np.sin(away) * np.sin(round_about), -np.cos(away)]
    )


def random_lighting(
    rng: np.random.Generator, centre: Array, softness: tuple[float, float]
) -> Lighting:
    """One main lamp with shadows, one or two fills without, ambient; dim to over-exposed in all."""
    exposure = rng.uniform(0.85, 1.25) if rng.random() < 0.88 else rng.uniform(0.45, 0.85)
    ambient_share = rng.uniform(0.42, 0.72)
    tint = np.clip(1 + rng.normal(0, 0.05) * np.array([1.0, 0.1, -1.0]), 0.8, 1.2)
    main_share = (1 - ambient_share) * rng.uniform(0.35, 0.8)
    reach = rng.uniform(*softness)
    if reach > 0.2:  # a wide lamp: its few points would show as separate shadows, so they are faint
        main_share *= 0.6
    main = Lamp(
        directions=spread(rng, _down(rng, 5, 50), reach, TRAINING_PASSES),
        centre=centre,
        distance_m=1.6,
        ambient=np.zeros(3),
        diffuse=exposure * main_share * 1.15 * tint,
        specular=np.full(3, exposure * rng.uniform(0.3, 0.9)),
    )
    left = 1 - ambient_share - main_share
    # ambient light hangs on a lamp without shadows: MuJoCo darkens all of a lamp that casts them
    fills = []
    for turn in range(int(rng.integers(1, 3))):
        near = turn > 0 and rng.random() < 0.6
        share = left * rng.uniform(0.7, 1.4)
        fills.append(
            Lamp(
                directions=spread(rng, _down(rng, 35, 80), 0.1, TRAINING_PASSES),
                centre=centre + np.append(rng.normal(0, 0.3, 2), 0),
                distance_m=rng.uniform(1.2, 2.5),
                ambient=exposure * ambient_share * tint * (turn == 0),
                diffuse=np.full(3, exposure * share * (1.5 if near else 1.0)),
                specular=np.full(3, exposure * rng.uniform(0.0, 0.6)),
                casts_shadow=False,
                far=not near,
                falloff=rng.uniform(0.05, 0.2) if near else 0.0,
            )
        )
    return Lighting((main, *fills))
