"""Recipes of objects by class: which shapes, materials, colours and prints it comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from focus_depth_ros.synthesis import shapes, tool_shapes
from focus_depth_ros.synthesis.collision import Solid
from focus_depth_ros.synthesis.materials import (
    ACCENT,
    CARTON_FACES,
    INSIDE,
    LID,
    WRAP,
    Colour,
    Texture,
    base_texture,
    brushed_metal,
    named_colour,
    part,
)
from focus_depth_ros.synthesis.meshes import Cell, Mesh
from focus_depth_ros.synthesis.prints import print_label
from focus_depth_ros.synthesis.splits import Split, allowed_colours, asset_seed
from focus_depth_ros.synthesis.vocabulary import COLOURS


@dataclass(frozen=True)
class Look:
    """How a surface answers light: specular and shininess in [0, 1], alpha 1 = opaque.

    metallic: 1 = bare metal, which mirrors in its own colour; path tracing alone shows that.
    """

    specular: float = 0.1
    shininess: float = 0.2
    alpha: float = 1.0
    metallic: float = 0.0


@dataclass(frozen=True)
class Thing:
    """One object before it is placed, anywhere near the origin.

    solids: what physics feels of it, where the class has no rule of its own.
    """

    class_name: str
    colour: str
    material: str
    mesh: Mesh
    texture: Texture
    look: Look
    solids: tuple[Solid, ...] = ()


Maker = Callable[[np.random.Generator], Mesh]


@dataclass(frozen=True)
class Recipe:
    """What a class of objects may be.

    print_share: how many carry a print on the `printed` cells. accent: colour of caps, handles and
    blades, "any", mostly its "own" or "metal". bare_metal: in metal it is mostly unpainted.
    """

    make: Maker
    materials: tuple[str, ...]
    colours: tuple[str, ...] = COLOURS
    printed: tuple[Cell, ...] = ()
    print_share: float = 0.0
    accent: Literal['any', 'own', 'metal'] = 'any'
    bare_metal: bool = False


_METALS = ('grey', 'black', 'white')
_WOODS = ('brown', 'yellow', 'orange')
RECIPES: dict[str, Recipe] = {
    'carton': Recipe(shapes.carton, ('paper',), printed=CARTON_FACES, print_share=0.92),
    'box': Recipe(
        shapes.plain_box,
        ('paper', 'plastic', 'wooden', 'metal'),
        printed=(WRAP,),
        print_share=0.3,
        bare_metal=True,
    ),
    'block': Recipe(shapes.block, ('wooden', 'plastic', 'metal'), bare_metal=True),
    'can': Recipe(
        shapes.can, ('metal', 'metal', 'paper', 'plastic'), printed=(WRAP, WRAP), print_share=0.75
    ),
    'bottle': Recipe(
        shapes.bottle, ('plastic', 'plastic', 'transparent'), printed=(WRAP,), print_share=0.55
    ),
    'mug': Recipe(
        shapes.mug,
        ('ceramic', 'ceramic', 'metal', 'plastic'),
        printed=(WRAP,),
        print_share=0.25,
        bare_metal=True,
        accent='own',
    ),
    'cup': Recipe(
        shapes.cup,
        ('paper', 'plastic', 'ceramic', 'metal'),
        printed=(WRAP,),
        print_share=0.3,
        bare_metal=True,
    ),
    'glass': Recipe(
        shapes.cup, ('transparent',), ('white', 'grey', 'cyan', 'green', 'blue', 'brown')
    ),
    'bowl': Recipe(
        shapes.bowl,
        ('ceramic', 'plastic', 'metal', 'wooden'),
        printed=(WRAP,),
        print_share=0.15,
        bare_metal=True,
    ),
    'plate': Recipe(shapes.plate, ('ceramic', 'plastic'), printed=(INSIDE,), print_share=0.2),
    'pot': Recipe(shapes.pot, ('metal', 'plastic', 'ceramic'), bare_metal=True, accent='own'),
    'ball': Recipe(shapes.ball, ('plastic', 'rubber'), printed=(WRAP,), print_share=0.25),
    'book': Recipe(
        shapes.book,
        ('paper',),
        printed=(CARTON_FACES[0], CARTON_FACES[5], CARTON_FACES[3]),
        print_share=0.9,
    ),
    'banana': Recipe(shapes.banana, ('plastic',), ('yellow', 'green', 'brown')),
    'screwdriver': Recipe(shapes.screwdriver, ('plastic', 'rubber'), accent='metal'),
    'hammer': Recipe(shapes.hammer, ('wooden', 'plastic', 'rubber'), accent='metal'),
    'wrench': Recipe(shapes.wrench, ('metal',), ('grey', 'black', 'white', 'blue', 'red')),
    'rod': Recipe(shapes.rod, ('plastic', 'metal', 'wooden'), bare_metal=True),
    'cable': Recipe(shapes.cable, ('rubber', 'plastic')),
    'ring': Recipe(shapes.ring, ('plastic', 'rubber', 'metal', 'paper'), bare_metal=True),
    'stone': Recipe(shapes.stone, ('rubber', 'plastic')),
    'bag': Recipe(shapes.bag, ('plastic', 'paper'), printed=(WRAP, WRAP), print_share=0.85),
    'pitcher': Recipe(
        tool_shapes.pitcher,
        ('plastic', 'ceramic', 'metal', 'transparent'),
        printed=(WRAP,),
        print_share=0.1,
        bare_metal=True,
        accent='own',
    ),
    'drill': Recipe(tool_shapes.drill, ('plastic', 'rubber'), printed=(WRAP,), print_share=0.3),
    'scissors': Recipe(tool_shapes.scissors, ('plastic', 'rubber'), accent='metal'),
    'clamp': Recipe(tool_shapes.clamp, ('plastic', 'metal', 'rubber')),
    'pliers': Recipe(tool_shapes.pliers, ('rubber', 'plastic'), accent='metal'),
    'marker': Recipe(tool_shapes.marker, ('plastic',), printed=(WRAP,), print_share=0.4),
    'spoon': Recipe(
        tool_shapes.spoon, ('metal', 'plastic', 'wooden'), bare_metal=True, accent='own'
    ),
    'fork': Recipe(tool_shapes.fork, ('metal', 'plastic'), bare_metal=True, accent='own'),
    'knife': Recipe(tool_shapes.knife, ('plastic', 'wooden', 'metal'), accent='metal'),
    'sponge': Recipe(tool_shapes.sponge, ('fabric', 'rubber')),
    'rack': Recipe(tool_shapes.rack, ('metal', 'plastic'), bare_metal=True),
    'basket': Recipe(tool_shapes.basket, ('metal', 'plastic'), bare_metal=True),
    'toy': Recipe(tool_shapes.toy, ('plastic', 'wooden', 'rubber')),
}


def _look(material: str, colour: str, rng: np.random.Generator) -> Look:
    """Light answer of a material."""
    if material == 'transparent':
        return Look(rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.0), rng.uniform(0.18, 0.55))
    gloss = {
        'metal': (0.4, 1.0),
        'ceramic': (0.2, 0.9),
        'plastic': (0.05, 0.7),
        'paper': (0.0, 0.35),
    }
    low, high = gloss.get(material, (0.0, 0.15))
    bare = material == 'metal' and colour == 'grey'
    return Look(rng.uniform(low, high), rng.uniform(0.15, 0.95), metallic=float(bare))


def _colours(recipe: Recipe, material: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Colours it comes in when made of this material."""
    if material == 'wooden':
        return _WOODS
    if material == 'metal' and recipe.bare_metal and rng.random() < 0.7:
        return _METALS
    return recipe.colours


def _accent(recipe: Recipe, own: Colour, rng: np.random.Generator) -> Colour:
    """Colour of lids, handles and blades."""
    accent = own if rng.random() < 0.4 else named_colour(str(rng.choice(COLOURS)), rng)
    if recipe.accent == 'metal':
        return named_colour('grey', rng)
    if recipe.accent == 'own' and rng.random() < 0.7:
        return own
    return accent


def _texture(
    class_name: str,
    material: str,
    colour: str,
    rng: np.random.Generator,
    photographs: tuple[Texture, ...],
) -> Texture:
    """The atlas of one object: its body everywhere, a tone inside, lids, prints on some cells."""
    recipe = RECIPES[class_name]
    own = named_colour(colour, rng)
    accent = _accent(recipe, own, rng)
    printed = recipe.printed if rng.random() < recipe.print_share else ()
    texture = base_texture(material, own, rng)
    if rng.random() < 0.35 and material in ('ceramic', 'plastic'):
        part(texture, INSIDE)[:] = (255 * named_colour('white', rng)).astype(np.uint8)
    part(texture, ACCENT)[:] = (255 * accent).astype(np.uint8)
    for cell in printed:
        print_label(part(texture, cell), rng, own, photographs)
    if class_name == 'book':
        pages = 255 * named_colour('white', rng)
        part(texture, CARTON_FACES[2])[:] = pages.astype(np.uint8)
    if class_name == 'can' and printed and rng.random() < 0.6:
        print_label(part(texture, LID), rng, own, photographs)
    elif class_name == 'can' and rng.random() < 0.7:
        lid = brushed_metal(named_colour('grey', rng), rng)
        part(texture, LID)[:] = part(lid, LID)
    return texture


def make_thing(
    split: Split,
    class_name: str,
    rng: np.random.Generator,
    colour: str | None = None,
    photographs: tuple[Texture, ...] = (),
) -> Thing:
    """A random object of a class, of a random colour unless one is named.

    Shape and print come from asset seeds of the split, the answer to light from rng; photographs:
    what prints may show.
    """
    recipe = RECIPES[class_name]
    material = str(rng.choice(recipe.materials))
    colours = _colours(recipe, material, rng)
    if colour is None:
        colour = str(rng.choice(allowed_colours(split, class_name, colours)))
    shape_rng = np.random.default_rng([1, asset_seed(split, rng)])
    print_rng = np.random.default_rng([2, asset_seed(split, rng)])
    texture = _texture(class_name, material, colour, print_rng, photographs)
    mesh = recipe.make(shape_rng)
    return Thing(class_name, colour, material, mesh, texture, _look(material, colour, rng))
