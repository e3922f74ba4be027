"""Captions that name an object by another one: "the mug left of the red box".

The anchor's phrase alone singles the anchor out; the target's phrase with the relation singles the
target out. Both are checked against every visible object, by `captions.may_fit` and the scene
graph. Of several alike, "the left can" names the outermost.
"""

from __future__ import annotations

import numpy as np

from focus_depth_ros.synthesis.captions import (
    Described,
    Phrase,
    absent_captions,
    may_fit,
    plain_phrases,
    single_phrases,
)
from focus_depth_ros.synthesis.relations import SceneGraph
from focus_depth_ros.synthesis.sample import RelationCaption
from focus_depth_ros.synthesis.vocabulary import MOST_WORDS, POSITIONS, RELATIONS

_MOST_OF_AN_OBJECT = 4
_ANCHOR_PHRASES = 3
_ABSENT = 4
"""Captions of a picture that fit nothing."""
_ABSENT_SHARES = (0.25, 0.25, 0.17, 0.17, 0.08, 0.08)
_SWAPPED = {'left': 'right', 'right': 'left'}


def mirrored(caption: str) -> str:
    """The caption of the mirrored picture."""
    return ' '.join(_SWAPPED.get(word, word) for word in caption.split())


def joined(target: Phrase, relation: str, anchor: Phrase) -> str | None:
    """The caption's words, None when they are more than MOST_WORDS."""
    caption = f'{target} {relation} {anchor}'
    return caption if len(caption.split()) <= MOST_WORDS else None


class Speaker:
    """Says how the objects of one view stand to one another."""

    def __init__(
        self, visible: list[Described], graph: SceneGraph, rng: np.random.Generator
    ) -> None:
        """`visible`: those that captions may name; the graph knows them all."""
        self._visible, self._graph, self._rng = visible, graph, rng
        self._names = {
            item.id: names
            for item in visible
            if (names := single_phrases(item, visible)[:_ANCHOR_PHRASES])
        }

    def captions_of(self, item: Described) -> list[RelationCaption]:
        """Captions that single this object out; those come first whose words need the relation."""
        needed: list[RelationCaption] = []
        spare: list[RelationCaption] = []
        pairs = [
            (relation, anchor)
            for relation in RELATIONS
            for anchor in self._names
            if anchor != item.id and self._graph.judge(relation, item.id, anchor)
        ]
        phrases = plain_phrases(item)
        for index in self._rng.permutation(len(pairs)):
            relation, anchor = pairs[index]
            names = self._names[anchor]
            name = names[int(self._rng.integers(len(names)))]
            phrase = phrases[int(self._rng.integers(len(phrases)))]
            caption = joined(phrase, relation, name)
            rivals = [other for other in self._visible if may_fit(phrase, other, self._visible)]
            if caption and self._false_of_others(relation, anchor, rivals, item):
                row = RelationCaption(caption, relation, anchor)
                (needed if len(rivals) > 1 else spare).append(row)
        return (self._positions(item) + needed + spare)[:_MOST_OF_AN_OBJECT]

    def _positions(self, item: Described) -> list[RelationCaption]:
        """At most two captions that name the item by its place among those like it."""
        found = []
        phrases = plain_phrases(item)
        for position in POSITIONS:
            phrase = phrases[int(self._rng.integers(len(phrases)))]
            alike = [other for other in self._visible if may_fit(phrase, other, self._visible)]
            others = [other.id for other in alike if other is not item]
            if others and self._graph.is_outermost(position, item.id, others):
                found.append(
                    RelationCaption(str(phrase).replace('the', f'the {position}', 1), position, 0)
                )
        return found[:2]

    def _false_of_others(
        self, relation: str, anchor: int, rivals: list[Described], item: Described | None
    ) -> bool:
        return all(
            self._graph.judge(relation, other.id, anchor) is False
            for other in rivals
            if other is not item and other.id != anchor
        )

    def absent(self, present: list[Described]) -> list[str]:
        """Captions that fit nothing, also nothing of what is barely visible (`present`).

        Mostly things that are there with a relation that is false; a quarter with an anchor that
        is not there.
        """
        found: list[str] = []
        for _ in range(5 * _ABSENT):
            caption = self._absent_anchor(present) if self._rng.random() < 0.25 else None
            caption = caption or self._false_relation(present)
            if caption and caption not in found:
                found.append(caption)
            if len(found) == _ABSENT:
                break
        return found

    def _false_relation(self, present: list[Described]) -> str | None:
        if len(self._visible) < 2 or not self._names:
            return None
        anchor = int(self._rng.choice(list(self._names)))
        item, phrase = self._any_phrase()
        relation = str(self._rng.choice(RELATIONS, p=_ABSENT_SHARES))
        rivals = [other for other in present if may_fit(phrase, other, present)]
        if item.id == anchor or not self._false_of_others(relation, anchor, rivals, None):
            return None
        return joined(phrase, relation, self._names[anchor][0])

    def _any_phrase(self) -> tuple[Described, Phrase]:
        """A random visible object, and one of the phrases that fit it."""
        item = self._visible[int(self._rng.integers(len(self._visible)))]
        phrases = plain_phrases(item)
        return item, phrases[int(self._rng.integers(len(phrases)))]

    def _absent_anchor(self, present: list[Described]) -> str | None:
        if not self._visible:
            return None
        _, phrase = self._any_phrase()
        missing = absent_captions(present, self._rng, 1)
        if not missing:
            return None
        caption = f'{phrase} {self._rng.choice(RELATIONS)} {missing[0]}'
        return caption if len(caption.split()) <= MOST_WORDS else None
