"""What a scene may hold: the recipes' things and, if there are any, the user's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from focus_depth_ros.synthesis.materials import Texture, base_texture, colour_name, named_colour
from focus_depth_ros.synthesis.objects import Look, Thing, make_thing
from focus_depth_ros.synthesis.splits import Split, shared_colours
from focus_depth_ros.synthesis.user_meshes import UserMesh

_USER_SHARE = 0.6


@dataclass(frozen=True)
class Stock:
    """Things by split. meshes: the user's; with them, they are 60 % of all things.

    photographs: the user's, for prints.
    """

    split: Split
    meshes: tuple[UserMesh, ...] = ()
    photographs: tuple[Texture, ...] = ()

    def pick(self, weights: dict[str, float], rng: np.random.Generator) -> Thing:
        """A thing of a random class; `weights` hold for the recipes."""
        if self.meshes and rng.random() < _USER_SHARE:
            return _user_thing(self.meshes[int(rng.integers(len(self.meshes)))], self.split, rng)
        names = list(weights)
        share = np.array([weights[name] for name in names], float)
        return self.make(str(rng.choice(names, p=share / share.sum())), rng)

    def make(self, class_name: str, rng: np.random.Generator, colour: str | None = None) -> Thing:
        """A thing of one of the recipes."""
        return make_thing(self.split, class_name, rng, colour, self.photographs)


def _user_thing(user: UserMesh, split: Split, rng: np.random.Generator) -> Thing:
    """The user's mesh with its own picture, or in a random plain colour of this split."""
    texture, material = user.texture, ''
    if texture is None:
        colour, material = str(rng.choice(shared_colours(split, user.class_name))), 'plastic'
        texture = base_texture(material, named_colour(colour, rng), rng)
    else:
        colour = colour_name(texture.reshape(-1, 3).mean(axis=0))
    look = Look(rng.uniform(0.0, 0.5), rng.uniform(0.15, 0.9))
    return Thing(user.class_name, colour, material, user.mesh, texture, look, user.solids)
