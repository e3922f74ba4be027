"""What colour an object is called by whoever sees it, and what else someone might call it.

A thing has a colour by its recipe, but prints may hide it: a carton with a blue face is no "white
carton" to anyone who sees that face alone. Colours are judged without light, as eyes judge them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.synthesis.materials import colour_indices
from focus_depth_ros.synthesis.vocabulary import COLOURS

OWN_SHARE = 0.4
"""Of the visible pixels that have an object's colour, from which it is called so."""
OTHER_SHARE = 0.2
"""Of another colour, from which someone might call it that."""


def colour_shares(
    unlit: NDArray[np.uint8], ids: NDArray[np.uint8], wanted: Iterable[int]
) -> dict[int, dict[str, float]]:
    """Of each object's visible pixels the share of each colour name, most common first.

    unlit uint8 (H,W,3): the picture without light and shadow; ids (H,W); wanted: ids to look at.
    """
    found = {}
    for number in wanted:
        pixels = unlit[ids == number]
        counts = np.bincount(colour_indices(pixels), minlength=len(COLOURS))
        order = np.argsort(-counts, kind='stable')
        found[number] = {COLOURS[k]: float(counts[k] / len(pixels)) for k in order}
    return found


def called(own: str, shares: Mapping[str, float]) -> tuple[str, tuple[str, ...]]:
    """Colour and other colours of an object: its own, or none, and what else it might be called."""
    others = tuple(name for name, share in shares.items() if share >= OTHER_SHARE and name != own)
    if shares.get(own, 0.0) >= OWN_SHARE:
        return own, others
    return '', (own, *others) if own else others
