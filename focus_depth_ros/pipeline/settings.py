"""What a user may choose of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """`scale_source`: auto, model, reference_depth or none.

    fovea: a second look at each target, which costs as much as the first, or several for words
    (pipeline/fovea.py). mirror: all of it again in the mirror, twice the time (pipeline/looks.py).
    """

    scale_source: str = 'auto'
    min_confidence: float = 0.3
    max_depth_m: float = 10.0
    fovea: bool = False
    mirror: bool = False
