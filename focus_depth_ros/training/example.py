"""How one frame becomes a training example: what is seen of it, what is asked, what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from focus_depth_ros.caption_words import model_vocabulary, word_indices
from focus_depth_ros.core import tight_box
from focus_depth_ros.networks.compact import CompactShape
from focus_depth_ros.synthesis.sample import (
    BOUNDARY_CONTACT,
    OCCLUSIONS,
    Sample,
    SceneObject,
)
from focus_depth_ros.synthesis.splits import names_kept_combination
from focus_depth_ros.synthesis.vocabulary import (
    ARTICLES,
    GENERIC_NOUN,
    MOST_WORDS,
    RELATION_WORDS,
    SIZES,
    WORDS,
    nouns_of,
)
from focus_depth_ros.training.augmentation import (
    Crop,
    apply_crop,
    degrade,
    draw_crop,
    draw_near_crop,
    whole_crop,
)
from focus_depth_ros.training.draws import Draw, drawn

Size = tuple[int, int]
"""(height, width)."""
CANONICAL_FOCAL_PX = 200.0
VOCABULARY = model_vocabulary(WORDS)
NO_PROMPT, BOX_PROMPT, TEXT_PROMPT, ABSENT_PROMPT = range(4)
SMALLEST_SHARE, WHOLE_SHARE = 0.4, 0.8
"""How much of a target, and of an anchor, a window must leave."""
ROUGH_JITTER = 0.35
"""How far a side of the box that comes with words may be off, as a share of the box."""
WRONG_BOX_SHARE = 0.3
"""Of the boxes that come with words: round another thing, so that nothing is what both say."""
AGREES = 0.5
"""Of a thing's pixels: a box round another one that holds so many is no wrong box for it."""
LEFT_OUT_SHARE = 0.5
"""Of the plain captions that fit nothing: of a thing that the window leaves out, where one is."""
SPARSE = 0.01
"""Added to the part that others take of a box: things that stand alone are asked for too."""
SMALLEST_TARGET_SHARE = 0.001
"""Share of the picture that a target must cover to be asked for (77 px of a 320x240 frame)."""


@dataclass(frozen=True)
class PromptShares:
    """How often each kind of prompt is asked; the rest goes without a prompt.

    `box_of_text` of the captions come with a rough box too, as in a second look; `near` of the
    pictures are windows round one object, as such a look sees them. `crowded` of the boxes are
    drawn round a thing the likelier, the more of its box others take. So many `captions` and
    `boxes` more are answered by the coarse mask alone, which costs little. The foundation family
    asks for boxes and captions alone.
    """

    box: float = 0.40
    text: float = 0.48
    absent_of_text: float = 0.15
    relation_of_text: float = 0.3
    box_of_text: float = 0.0
    jitter: float = 0.12
    near: float = 0.0
    crowded: float = 0.0
    captions: int = 0
    boxes: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for shares that are none."""
        others = ('jitter', 'captions', 'boxes')
        shares = {name: value for name, value in vars(self).items() if name not in others}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f'ask: {name} is {share}; it is a share, from 0 to 1')
        if self.box + self.text > 1 + 1e-9:
            raise ValueError(f'ask: box and text are {self.box} and {self.text}, over 1 together')


class FocusDataset(Dataset[dict[str, Any]]):
    """A draw -> the arrays of one picture and its prompts (see `example`)."""

    def __init__(
        self, shape: CompactShape, prompts: int, shares: PromptShares, augment: bool
    ) -> None:
        self.shape = shape
        self.prompts = prompts
        self.shares = shares
        self.augment = augment

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        sample, rng = drawn(draw)
        return example(sample, self.shape, rng, self.prompts, self.shares, self.augment)


def example(
    sample: Sample,
    shape: CompactShape,
    rng: np.random.Generator,
    prompts: int,
    shares: PromptShares,
    augment: bool,
) -> dict[str, Any]:
    """Arrays of one training picture with P prompts; h, w is the shape's stride-2 grid.

    picture uint8 (2 h, 2 w, 3); disparity float32 (h, w), canonical f / (f_c Z), 0 = unknown;
    objects bool (h, w); boundary uint8 (h, w), 255 = not asked; words_at uint8 (V, h / 4, w / 4),
    255 = not asked; box float32 (P, 4); words int32 (P, 12); mask float32 (P, h, w) area share;
    kind int64 (P,); ids uint8 (h, w); more_box float32 (C, 4), more_words int32 (C, 12) and
    more_ids int64 (C,), further prompts and whom they mean, 0 = nobody.
    """
    seen = apply_crop(sample, _crop(sample, rng, shares.near, augment))
    picture = resized(seen.rgb, shape.grid(1))
    if augment:
        picture = degrade(picture.astype(np.uint8), rng)
    asked = [question(seen, shape.grid(2), rng, shares) for _ in range(prompts)]
    more = more_questions(seen, shape.grid(2), rng, shares)
    return {
        'picture': picture,
        **truth_of(seen, shape),
        'box': np.stack([prompt.box for prompt in asked]),
        'words': np.array([prompt.words for prompt in asked], np.int32),
        'mask': np.stack([prompt.mask for prompt in asked]),
        'kind': np.array([prompt.kind for prompt in asked], np.int64),
        'ids': _nearest(seen.ids, shape.grid(2)).astype(np.uint8),
        'more_box': np.array([box for box, _, _ in more], np.float32).reshape(-1, 4),
        'more_words': np.array([words for _, words, _ in more], np.int32).reshape(-1, MOST_WORDS),
        'more_ids': np.array([about for _, _, about in more], np.int64),
    }


def truth_of(seen: Sample, shape: CompactShape) -> dict[str, NDArray[Any]]:
    """What is true of a view whatever is asked: see `example`."""
    return {
        'disparity': canonical_disparity(seen, shape),
        'objects': _nearest(seen.ids, shape.grid(2)) > 0,
        'boundary': _boundary_target(seen.boundary, shape.grid(2)),
        'words_at': _word_targets(seen, shape.grid(8)),
    }


def _crop(sample: Sample, rng: np.random.Generator, near: float, augment: bool) -> Crop:
    height, width = sample.ids.shape
    if not augment:
        return whole_crop(width, height)
    in_view = [item for item in sample.objects if item.visible_px]
    if in_view and near and rng.random() < near:
        item = in_view[int(rng.integers(len(in_view)))]
        return draw_near_crop(tight_box(sample.ids == item.id), width, height, rng)
    return draw_crop(width, height, rng)


def canonical_disparity(sample: Sample, shape: CompactShape) -> NDArray[np.float32]:
    """Inverse depth of the canonical camera on the stride-2 grid, f / (f_c Z); 0 = unknown.

    f = sqrt(fx fy) of the picture stretched to the network's input, px.
    """
    height, width = sample.depth_m.shape
    stretch = (shape.width / width) * (shape.height / height)
    focal_px = float(np.sqrt(sample.K[0, 0] * sample.K[1, 1] * stretch))
    depth_m = _nearest(sample.depth_m, shape.grid(2))
    known = np.isfinite(depth_m) & (depth_m > 0)
    disparity = focal_px / (CANONICAL_FOCAL_PX * np.where(known, depth_m, 1.0))
    return np.where(known, disparity, 0.0).astype(np.float32)


@dataclass(frozen=True)
class Question:
    """A prompt with its true answer.

    box (4,) xyxy / picture size, zeros = none; words, MOST_WORDS indices; mask (h, w) area share;
    about: id of the object that a box was drawn round, or that words fit; 0 for none.
    """

    kind: int
    box: NDArray[np.float32]
    words: list[int]
    mask: NDArray[np.float32]
    about: int = 0


def question(seen: Sample, grid: Size, rng: np.random.Generator, shares: PromptShares) -> Question:
    """One random question about the picture, with its true answer on the grid (height, width)."""
    nothing = np.zeros(grid, np.float32)
    no_box, no_words = np.zeros(4, np.float32), [0] * MOST_WORDS
    choice = rng.random()
    if shares.box <= choice < shares.box + shares.text:
        return _said(seen, grid, rng, shares) or Question(NO_PROMPT, no_box, no_words, nothing)
    if choice < shares.box:
        for item in _boxed_shuffled(seen, seen.objects, rng, shares.crowded):
            mask = _target_mask(seen, item, grid)
            if mask is not None:
                box = jittered(normalised_box(seen.ids == item.id), rng, shares.jitter)
                return Question(BOX_PROMPT, box, no_words, mask, item.id)
    return Question(NO_PROMPT, no_box, no_words, nothing)


def _said(
    seen: Sample, grid: Size, rng: np.random.Generator, shares: PromptShares
) -> Question | None:
    """A caption, with a rough box at times; None when nothing in view has one."""
    nothing = np.zeros(grid, np.float32)
    by_relation = rng.random() < shares.relation_of_text
    boxed = rng.random() < shares.box_of_text
    absent = _absent_captions(seen, by_relation and not (boxed and _left_out(seen)), rng)
    answers = ((item.id, _target_mask(seen, item, grid)) for item in seen.objects)
    masks = {key: mask for key, mask in answers if mask is not None}
    in_view = [item for item in _classes_shuffled(seen.objects, rng) if item.id in masks]
    if absent and rng.random() < shares.absent_of_text:
        box = _rough_box(seen, in_view if boxed else [], rng)
        return Question(ABSENT_PROMPT, box, caption_words(_one_of(absent, rng)), nothing)
    for item in in_view:
        captions = _relations_in_view(seen, item, boxed) if by_relation else item.captions
        captions = captions or item.captions
        if not captions:
            continue
        words = caption_words(_one_of(captions, rng))
        others = [other for other in in_view if other is not item]
        if boxed and others and rng.random() < WRONG_BOX_SHARE:
            box = _rough_box(seen, others, rng)
            if _share_within(seen.ids == item.id, box) < AGREES:
                return Question(ABSENT_PROMPT, box, words, nothing)
        box = _rough_box(seen, [item] if boxed else [], rng)
        return Question(TEXT_PROMPT, box, words, masks[item.id], item.id)
    return None


ShortQuestion = tuple[NDArray[np.float32], list[int], int]
"""Box, word indices, and the id of the object that they mean."""


def more_questions(
    seen: Sample, grid: Size, rng: np.random.Generator, shares: PromptShares
) -> list[ShortQuestion]:
    """`shares.captions` captions and `shares.boxes` boxes of things in view.

    Objects take turns; where there are too few, the last ones ask for nothing and mean nobody.
    """
    in_view = [item for item in seen.objects if _target_mask(seen, item, grid) is not None]
    captions = _more_captions(seen, in_view, rng, shares)
    boxes = _more_boxes(seen, in_view, rng, shares)
    nothing: ShortQuestion = (np.zeros(4, np.float32), [0] * MOST_WORDS, 0)
    missing = shares.captions + shares.boxes - len(captions) - len(boxes)
    return [*captions, *boxes, *[nothing] * missing]


def _more_captions(
    seen: Sample, in_view: list[SceneObject], rng: np.random.Generator, shares: PromptShares
) -> list[ShortQuestion]:
    found: list[ShortQuestion] = []
    for _ in range(shares.captions):  # each turn finds a caption, or there are none
        for item in _classes_shuffled(in_view, rng):
            by_relation = rng.random() < shares.relation_of_text
            captions = _relations_in_view(seen, item, boxed=False) if by_relation else []
            captions = captions or item.captions
            if captions:
                words = caption_words(_one_of(captions, rng))
                found.append((np.zeros(4, np.float32), words, item.id))
        if len(found) >= shares.captions:
            break
    return found[: shares.captions]


def _more_boxes(
    seen: Sample, in_view: list[SceneObject], rng: np.random.Generator, shares: PromptShares
) -> list[ShortQuestion]:
    found: list[ShortQuestion] = []
    while in_view and len(found) < shares.boxes:
        for item in _boxed_shuffled(seen, in_view, rng, shares.crowded):
            box = jittered(normalised_box(seen.ids == item.id), rng, shares.jitter)
            found.append((box, [0] * MOST_WORDS, item.id))
    return found[: shares.boxes]


def _rough_box(
    seen: Sample, items: Sequence[SceneObject], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A box roughly round one of the items; zeros where there is none."""
    if not items:
        return np.zeros(4, np.float32)
    item = items[int(rng.integers(len(items)))]
    return jittered(normalised_box(seen.ids == item.id), rng, ROUGH_JITTER)


def _share_within(mask: NDArray[np.bool_], box: NDArray[np.float32]) -> float:
    """Which part of a mask's pixels a box xyxy / picture size holds."""
    height, width = mask.shape
    x0, y0, x1, y1 = np.rint(box * (width, height, width, height)).astype(int)
    return float(mask[y0:y1, x0:x1].sum() / max(int(mask.sum()), 1))


def _left_out(seen: Sample) -> list[SceneObject]:
    """What the frame shows and this window of it does not."""
    return [item for item in seen.objects if not (seen.ids == item.id).any()]


def _absent_captions(seen: Sample, by_relation: bool, rng: np.random.Generator) -> list[str]:
    """Captions that fit nothing in view: of nothing in the frame, or of what the window leaves out.

    A caption singles out one object of the whole frame; one by size says nothing of a window that
    lacks what it was compared with. A combination that is kept from train is never there: said to
    be absent, it would be learned so.
    """
    absent = (by_relation and seen.absent_relation_captions) or seen.absent_captions
    left_out = _left_out(seen)
    if left_out and not by_relation and rng.random() < LEFT_OUT_SHARE:
        captions = [caption for item in left_out for caption in item.captions]
        absent = [said for said in captions if not set(said.split()) & set(SIZES)] or absent
    return [caption for caption in absent if not names_kept_combination(caption)]


def _one_of(captions: Sequence[str], rng: np.random.Generator) -> str:
    return captions[int(rng.integers(len(captions)))]


def _relations_in_view(seen: Sample, item: SceneObject, boxed: bool) -> list[str]:
    """The item's captions by relation of which the window has cut nothing off.

    A window may hide an anchor, or the one can that is farther left. Where a box comes with the
    words, as in a second look, the first one has seen all that, and the window need not.
    """
    if boxed:
        return [said.caption for said in item.relation_captions]
    whole = {other.id for other in seen.objects if _visible_share(seen, other) > WHOLE_SHARE}
    if len(whole) == len(seen.objects):
        return [said.caption for said in item.relation_captions]
    return [said.caption for said in item.relation_captions if said.anchor and said.anchor in whole]


def _visible_share(seen: Sample, item: SceneObject) -> float:
    """How much of what the whole frame shows of an object the window shows."""
    return float(np.count_nonzero(seen.ids == item.id)) / max(item.visible_px, 1)


def caption_words(caption: str) -> list[int]:
    """A caption as the network's word indices."""
    return word_indices(caption, VOCABULARY, MOST_WORDS)


def normalised_box(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`tight_box` of a mask's pixels / picture size."""
    height, width = mask.shape
    return (np.array(tight_box(mask)) / (width, height, width, height)).astype(np.float32)


def jittered(
    box: NDArray[np.float32], rng: np.random.Generator, largest: float
) -> NDArray[np.float32]:
    """A box as a detector gives it: each side off by up to a random share of its size."""
    size = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-1, 1, 4) * rng.uniform(0, largest) * size
    return np.clip(moved, 0, 1).astype(np.float32)


def _shuffled(objects: list[SceneObject], rng: np.random.Generator) -> list[SceneObject]:
    return [objects[index] for index in rng.permutation(len(objects))]


def _boxed_shuffled(
    seen: Sample, objects: list[SceneObject], rng: np.random.Generator, crowded: float
) -> list[SceneObject]:
    """The objects in the order in which to box them; see `PromptShares.crowded`."""
    if not crowded or rng.random() >= crowded:  # without it runs of before are drawn as they were
        return _shuffled(objects, rng)
    waits = [rng.exponential() / (SPARSE + _taken_by_others(seen, item)) for item in objects]
    return [objects[index] for index in np.argsort(waits)]


def _taken_by_others(seen: Sample, item: SceneObject) -> float:
    """Which part of an object's box shows other objects; 0 for one out of view."""
    visible = seen.ids == item.id
    if not visible.any():
        return 0.0
    x0, y0, x1, y1 = map(int, tight_box(visible))
    inside = seen.ids[y0:y1, x0:x1]
    return float(np.mean((inside > 0) & (inside != item.id)))


def _classes_shuffled(objects: list[SceneObject], rng: np.random.Generator) -> list[SceneObject]:
    """Random classes, and random objects in each: rare classes are asked for as often."""
    names = sorted({item.class_name for item in objects})
    rank = dict(zip(names, rng.permutation(len(names)), strict=True))
    return sorted(_shuffled(objects, rng), key=lambda item: int(rank[item.class_name]))


def _target_mask(seen: Sample, item: SceneObject, grid: Size) -> NDArray[np.float32] | None:
    """Share of each cell the object covers, or None if too little of it is in the window."""
    visible = seen.ids == item.id
    if _visible_share(seen, item) < SMALLEST_SHARE:
        return None
    mask = np.asarray(resized(visible.astype(np.float32), grid), np.float32)
    return mask if mask.mean() >= SMALLEST_TARGET_SHARE else None


def _boundary_target(boundary: NDArray[np.uint8], grid: Size) -> NDArray[np.uint8]:
    """1 where an occlusion runs through the cell, 255 where only a contact edge does, else 0."""

    def touched(*kinds: int) -> NDArray[np.bool_]:
        lines = np.isin(boundary, kinds).astype(np.float32)
        share = cv2.resize(lines, grid[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(share > 0)

    occlusion = touched(*OCCLUSIONS)
    contact = touched(BOUNDARY_CONTACT)
    return np.where(occlusion, 1, np.where(contact, 255, 0)).astype(np.uint8)


def _word_targets(seen: Sample, grid: Size) -> NDArray[np.uint8]:
    """Which words hold at each cell of a grid: (V, height, width).

    1 / 0, and 255 = not asked: sizes and places are relative to what else is in view, and of an
    object's other colours nobody knows where they are.
    """
    table = np.zeros((256, len(VOCABULARY)), np.uint8)
    for item in seen.objects:
        for colour in set(item.other_colours).intersection(VOCABULARY):
            table[item.id, VOCABULARY.index(colour)] = 255
        nouns = nouns_of(item.class_name)
        for word in (*ARTICLES, GENERIC_NOUN, item.colour, item.material, *nouns):
            if word in VOCABULARY:
                table[item.id, VOCABULARY.index(word)] = 1
    for word in (VOCABULARY[0], VOCABULARY[1], *SIZES, *RELATION_WORDS):
        table[:, VOCABULARY.index(word)] = 255
    there = _nearest(seen.ids, grid)
    return np.ascontiguousarray(table[there].transpose(2, 0, 1))


def resized(image: NDArray[Any], size: Size) -> NDArray[Any]:
    """At another size (height, width): averaged where it shrinks, interpolated where it grows."""
    height, width = size
    grows = image.shape[1] < width or image.shape[0] < height
    way = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, (width, height), interpolation=way))


def _nearest(image: NDArray[Any], grid: Size) -> NDArray[Any]:
    """The image's value at the centre of each cell of a (height, width) grid."""
    height, width = grid
    rows = ((np.arange(height) + 0.5) * image.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * image.shape[1] / width).astype(np.intp)
    return np.asarray(image[rows[:, None], columns])
