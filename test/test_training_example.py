"""What is asked of one picture, and the truth that answers it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from block_scene import sample

torch = pytest.importorskip('torch', reason='training needs torch (extra: train)')
pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')
torch.set_num_threads(1)

from focus_depth_ros.networks.compact import CompactShape  # noqa: E402
from focus_depth_ros.synthesis.sample import (  # noqa: E402
    BOUNDARY_CONTACT,
    BOUNDARY_OCCLUSION,
    BOUNDARY_SELF,
    RelationCaption,
)
from focus_depth_ros.synthesis.splits import split_of  # noqa: E402
from focus_depth_ros.synthesis.vocabulary import (  # noqa: E402
    CLASS_WORDS,
    COLOURS,
    RELATION_WORDS,
    SIZES,
)
from focus_depth_ros.training.augmentation import (  # noqa: E402
    Crop,
    apply_crop,
    degrade,
    draw_crop,
    draw_near_crop,
)
from focus_depth_ros.training.compact import normalised  # noqa: E402
from focus_depth_ros.training.example import (  # noqa: E402
    ABSENT_PROMPT,
    BOX_PROMPT,
    TEXT_PROMPT,
    VOCABULARY,
    PromptShares,
    _boundary_target,
    _nearest,
    _relations_in_view,
    _word_targets,
    canonical_disparity,
    caption_words,
    example,
    jittered,
    more_questions,
    normalised_box,
    question,
)

SHAPE = CompactShape()
HEIGHT, WIDTH = SHAPE.grid(2)


def test_relations_are_mirrored_with_the_picture_and_need_their_anchor_in_view() -> None:
    frame = sample()
    target = frame.objects[0]
    frame.ids[:20, :20] = 5
    anchor = replace(target, id=5, class_name='box', visible_px=400, captions=['the box'])
    said = [
        RelationCaption('the mug left of the box', 'left of', anchor.id),
        RelationCaption('the left mug', 'left', 0),
    ]
    frame = replace(frame, objects=[replace(target, relation_captions=said), anchor])
    height, width = frame.ids.shape
    mirror = apply_crop(frame, Crop(0, 0, width, height, True))
    captions = [row.caption for row in mirror.objects[0].relation_captions]
    assert captions == ['the mug right of the box', 'the right mug']
    assert _relations_in_view(frame, frame.objects[0], False) == [row.caption for row in said]
    gone = replace(frame, ids=np.where(frame.ids == anchor.id, 0, frame.ids).astype(np.uint8))
    assert _relations_in_view(gone, gone.objects[0], boxed=False) == []
    # in a second look words come with a box, and the first look has seen the anchor
    shares = PromptShares(
        box=0.0, text=1.0, absent_of_text=0.5, relation_of_text=1.0, box_of_text=1.0
    )
    gone = replace(gone, absent_relation_captions=['the mug right of the box'])
    made = example(gone, SHAPE, np.random.default_rng(0), 60, shares, augment=False)
    told = [tuple(caption_words(row.caption)) for row in said]
    for kind, words in zip(made['kind'], made['words'], strict=True):
        fits = tuple(words) in told
        assert fits == (kind == TEXT_PROMPT)
        plain = [tuple(caption_words(text)) for text in ('the blue mug', 'the box')]
        assert fits or tuple(words) in plain  # no relation, which the window cannot refute
    assert set(made['kind']) == {TEXT_PROMPT, ABSENT_PROMPT}


def test_a_box_round_what_holds_the_target_is_no_wrong_box() -> None:
    frame = sample()
    rows, columns = np.nonzero(frame.ids == 4)
    frame.ids[rows.min() : rows.min() + 3, columns.min() : columns.max() + 1] = 5
    frame.ids[rows.max() - 2 : rows.max() + 1, columns.min() : columns.max() + 1] = 5
    bowl = replace(frame.objects[0], id=5, class_name='bowl', visible_px=600, captions=[])
    frame = replace(frame, objects=[frame.objects[0], bowl])
    shares = PromptShares(
        box=0.0, text=1.0, absent_of_text=0.0, relation_of_text=0.0, box_of_text=1.0
    )
    made = example(frame, SHAPE, np.random.default_rng(0), 200, shares, augment=False)
    fits = made['kind'] == TEXT_PROMPT
    assert fits.mean() > 0.9
    for x0, y0, x1, y1 in np.rint(made['box'][~fits] * (320, 240, 320, 240)).astype(int):
        assert (frame.ids[y0:y1, x0:x1] == 4).sum() < 0.5 * (frame.ids == 4).sum()


def test_example_answers_each_kind_of_prompt() -> None:
    frame = sample()
    for kind, shares in (
        (BOX_PROMPT, PromptShares(box=1.0, text=0.0, jitter=0.0)),
        (TEXT_PROMPT, PromptShares(box=0.0, text=1.0, absent_of_text=0.0)),
        (ABSENT_PROMPT, PromptShares(box=0.0, text=1.0, absent_of_text=1.0)),
    ):
        made = example(frame, SHAPE, np.random.default_rng(0), 2, shares, augment=False)
        assert made['kind'].tolist() == [kind, kind]
        area = made['mask'].sum((1, 2)) * (320 / WIDTH) * (240 / HEIGHT)
        assert area == pytest.approx(0 if kind == ABSENT_PROMPT else 8000, rel=1e-3)
        assert made['words'].any() == (kind != BOX_PROMPT)
        assert made['box'].any() == (kind == BOX_PROMPT)
    hits = {VOCABULARY[index] for index in np.flatnonzero((made['words_at'] == 1).any((1, 2)))}
    assert hits == {'the', 'a', 'object', 'red', 'plastic', 'block'}


def test_an_example_has_the_size_of_the_network_it_is_for() -> None:
    frame, shares = sample(), PromptShares(box=1.0, text=0.0, jitter=0.0)
    shape = CompactShape(height=96, width=160)
    made = example(frame, shape, np.random.default_rng(0), 1, shares, augment=False)
    assert made['picture'].shape == (96, 160, 3)
    for name in ('disparity', 'objects', 'boundary'):
        assert made[name].shape == (48, 80), name
    assert made['mask'].mean() == pytest.approx(8000 / (320 * 240), rel=1e-3)
    assert made['words_at'].shape == (len(VOCABULARY), 12, 20)
    half = np.sqrt((96 / 240) * (160 / 320))  # the focal length shrinks with the picture
    assert made['disparity'].max() == pytest.approx(300 * half / (200 * 0.8), rel=1e-4)


def test_where_an_objects_other_colours_are_is_not_asked() -> None:
    frame = sample()
    objects = [replace(item, colour='', other_colours=('red', 'white')) for item in frame.objects]
    shares = PromptShares(box=1.0, text=0.0)
    frame = replace(frame, objects=objects)
    made = example(frame, SHAPE, np.random.default_rng(0), 1, shares, augment=False)
    targets = {word: made['words_at'][VOCABULARY.index(word)] for word in ('red', 'white', 'blue')}
    on_object = made['words_at'][VOCABULARY.index('object')] == 1
    for word in ('red', 'white'):
        assert (targets[word][on_object] == 255).all()
        assert (targets[word][~on_object] == 0).all()
    assert not targets['blue'].any()


def test_what_train_never_shows_together_is_not_said_to_be_absent() -> None:
    kept = next(
        f'the {colour} {name}'
        for name in CLASS_WORDS
        for colour in COLOURS
        if split_of(name, colour) == 'test'
    )
    shares = PromptShares(box=0.0, text=1.0, absent_of_text=1.0, relation_of_text=0.0)
    for absent, kind in (([kept], TEXT_PROMPT), ([kept, 'the blue mug'], ABSENT_PROMPT)):
        frame = replace(sample(), absent_captions=absent)
        made = example(frame, SHAPE, np.random.default_rng(0), 2, shares, augment=False)
        assert made['kind'].tolist() == [kind, kind]
        assert made['words'].tolist() == 2 * [
            caption_words('the blue mug' if kind == ABSENT_PROMPT else 'the red block')
        ]


def test_words_ask_for_rare_classes_as_often() -> None:
    frame = sample()
    one = replace(frame.objects[0], visible_px=1600)
    rare = replace(one, id=9, class_name='mug', captions=['the mug'])
    for number in range(5):
        frame.ids[:, 40 * number : 40 * number + 40] = number + 1
    frame.ids[:, 200:240] = rare.id
    many = [replace(one, id=number + 1) for number in range(5)]
    frame = replace(frame, objects=[*many, rare])
    shares = PromptShares(box=0.0, text=1.0, absent_of_text=0.0, relation_of_text=0.0)
    made = example(frame, SHAPE, np.random.default_rng(0), 300, shares, augment=False)
    asked_for_mug = (made['words'] == caption_words('the mug')).all(1)
    assert 0.4 < asked_for_mug.mean() < 0.6


def test_more_questions_take_turns_among_things_in_view() -> None:
    frame = sample()
    red = frame.objects[0]
    frame.ids[:40, :60] = 5
    said = [RelationCaption('the mug left of the red block', 'left of', red.id)]
    mug = replace(red, id=5, visible_px=2400, captions=['the mug'], relation_captions=said)
    tiny = replace(red, id=6, visible_px=4, captions=['the bowl'])
    frame.ids[200:202, :2] = tiny.id
    frame = replace(frame, objects=[red, mug, tiny])
    grid = SHAPE.grid(2)

    def means(captions: int, relations: float) -> list[tuple[str, int]]:
        shares = PromptShares(relation_of_text=relations, captions=captions)
        asked = more_questions(frame, grid, np.random.default_rng(0), shares)
        assert not any(box.any() for box, _, _ in asked)
        return [(' '.join(VOCABULARY[i] for i in words if i), about) for _, words, about in asked]

    def boxed(boxes: int) -> list[tuple[list[float], int]]:
        shares = PromptShares(boxes=boxes, jitter=0.0)
        asked = more_questions(frame, grid, np.random.default_rng(0), shares)
        assert not any(any(words) for _, words, _ in asked)
        return [((box * (320, 240, 320, 240)).round().tolist(), about) for box, _, about in asked]

    assert means(0, 0.0) == []
    assert sorted(means(4, 0.0)) == 2 * [('the mug', 5)] + 2 * [('the red block', red.id)]
    assert sorted(means(2, 1.0)) == [('the mug left of the red block', 5), ('the red block', 4)]
    assert sorted(about for _, about in boxed(4)) == 2 * [red.id] + 2 * [5]
    assert ([0.0, 0.0, 60.0, 40.0], 5) in boxed(2)
    frame = replace(frame, objects=[tiny])  # too little to be asked for
    assert means(3, 0.0) == 3 * [('', 0)]
    assert boxed(2) == 2 * [([0.0, 0.0, 0.0, 0.0], 0)]


def test_things_in_whose_box_others_stand_are_boxed_more_often() -> None:
    """Asked with a box alone, those are what a network takes wrongly."""
    frame = sample()
    frame.ids[:] = 0
    frame.ids[20:100, 20:120] = 1
    frame.ids[60:100, 50:90] = 2  # before 1, in a fifth of its box
    frame.ids[150:200, 150:250] = 3  # alone
    first = frame.objects[0]
    items = [replace(first, id=number, visible_px=4000) for number in (1, 2, 3)]
    frame = replace(frame, objects=items)

    def share(crowded: float) -> list[float]:
        shares = PromptShares(box=1.0, text=0.0, crowded=crowded)
        rng = np.random.default_rng(0)
        about = [question(frame, SHAPE.grid(2), rng, shares).about for _ in range(400)]
        return [about.count(number) / 400 for number in (1, 2, 3)]

    assert share(0.0) == pytest.approx([1 / 3] * 3, abs=0.1)
    assert share(1.0)[0] > 0.8
    assert 0 < share(1.0)[2] < 0.1


def test_canonical_disparity_survives_crop_mirror_and_stretch() -> None:
    """f / (f_c Z): a half-width, full-height window doubles fx after the stretch."""
    frame = sample()
    whole = canonical_disparity(frame, SHAPE)
    assert whole.max() == pytest.approx(300 * SHAPE.width / 320 / (200 * 0.8), rel=1e-4)
    assert whole.min() == 0.0  # unknown
    half = apply_crop(frame, Crop(160, 0, 160, 240, mirrored=True))
    assert canonical_disparity(half, SHAPE)[45, 9] == pytest.approx(
        300 * SHAPE.width / 320 * np.sqrt(2) / (200 * half.depth_m[101, 10]), rel=1e-4
    )
    assert np.array_equal(half.ids, frame.ids[:, 160:][:, ::-1])
    assert half.K[0, 2] == pytest.approx(159 - (159.5 - 160))


def test_crops_stay_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        crop = draw_crop(320, 240, rng)
        assert 0 <= crop.left <= 320 - crop.width
        assert 0 <= crop.top <= 240 - crop.height
        assert crop.width >= 100
        assert crop.height >= 75


def test_near_crops_show_most_of_what_they_are_round() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        x0, y0 = rng.uniform(0, 280), rng.uniform(0, 200)
        box = (x0, y0, min(320.0, x0 + rng.uniform(3, 200)), min(240.0, y0 + rng.uniform(3, 150)))
        crop = draw_near_crop(box, 320, 240, rng)
        assert 0 <= crop.left <= 320 - crop.width
        assert 0 <= crop.top <= 240 - crop.height
        assert min(crop.width / 320, crop.height / 240) >= 0.149
        across = min(box[2], crop.left + crop.width) - max(box[0], crop.left)
        down = min(box[3], crop.top + crop.height) - max(box[1], crop.top)
        assert across * down > 0.4 * (box[2] - box[0]) * (box[3] - box[1])


def test_near_pictures_are_windows_and_their_truth_moves_along() -> None:
    frame = sample()
    shares = PromptShares(box=1.0, text=0.0, jitter=0.0, near=1.0)
    whole = (frame.ids == frame.objects[0].id).mean()
    nearer = []
    for seed in range(20):
        made = example(frame, SHAPE, np.random.default_rng(seed), 1, shares, augment=True)
        assert made['kind'].tolist() == [BOX_PROMPT]
        nearer.append(made['mask'].mean() / whole)
        x0, y0, x1, y1 = made['box'][0] * np.tile([WIDTH, HEIGHT], 2)
        assert made['mask'].sum() == pytest.approx((x1 - x0) * (y1 - y0), rel=0.05)
    assert min(nearer) > 0.8  # windows of up to the whole frame
    assert np.median(nearer) > 1.5


def test_words_with_a_box_hold_only_where_both_are() -> None:
    frame = sample()
    frame.ids[:20, :40] = 5
    other = replace(frame.objects[0], id=5, class_name='box', visible_px=800, captions=['the box'])
    frame = replace(frame, objects=[frame.objects[0], other])
    shares = PromptShares(
        box=0.0, text=1.0, absent_of_text=0.2, relation_of_text=0.0, box_of_text=1.0
    )
    made = example(frame, SHAPE, np.random.default_rng(0), 200, shares, augment=False)
    fits = made['kind'] == TEXT_PROMPT
    assert set(made['kind']) == {TEXT_PROMPT, ABSENT_PROMPT}
    assert 0.3 < fits.mean() < 0.8
    assert not made['mask'][~fits].any()
    for box, mask in zip(made['box'][fits], made['mask'][fits], strict=True):
        rows, columns = np.nonzero(mask > 0.5)
        middle = np.array([columns.mean() / WIDTH, rows.mean() / HEIGHT])
        assert (box[:2] < middle).all() and (middle < box[2:]).all()
    assert (made['box'][~fits, 2] > made['box'][~fits, 0]).all()
    alone = replace(frame, objects=frame.objects[:1])
    made = example(
        alone, SHAPE, np.random.default_rng(0), 50, replace(shares, absent_of_text=0), False
    )
    assert set(made['kind']) == {TEXT_PROMPT}


def test_what_a_window_leaves_out_is_not_in_view() -> None:
    frame = sample()
    gone = replace(frame.objects[0], id=9, captions=['the white pitcher', 'the small pitcher'])
    frame = replace(frame, objects=[*frame.objects, gone], absent_captions=['the blue mug'])
    shares = PromptShares(box=0.0, text=1.0, absent_of_text=1.0, relation_of_text=0.0)
    made = example(frame, SHAPE, np.random.default_rng(0), 60, shares, augment=False)
    said = {tuple(words) for words in made['words']}
    assert said == {tuple(caption_words(text)) for text in ('the white pitcher', 'the blue mug')}
    assert set(made['kind']) == {ABSENT_PROMPT}


def test_boxes_are_tight_and_jitter_is_bounded() -> None:
    mask = np.zeros((100, 200), np.bool_)
    mask[20:40, 50:150] = True
    box = normalised_box(mask)
    assert box.tolist() == pytest.approx([0.25, 0.2, 0.75, 0.4])
    moved = jittered(box, np.random.default_rng(0), 0.1)
    assert np.abs(moved - box)[[0, 2]].max() <= 0.05
    assert np.abs(moved - box)[[1, 3]].max() <= 0.02


def test_a_mirrored_view_mirrors_all_of_the_truth() -> None:
    frame = sample(3)
    rng = np.random.default_rng(0)
    frame = replace(
        frame,
        rgb=rng.integers(0, 255, frame.rgb.shape, np.uint8),
        boundary=rng.integers(0, 4, frame.boundary.shape).astype(np.uint8),
        depth_m=rng.random(frame.depth_m.shape, np.float32),
    )
    seen = apply_crop(frame, Crop(40, 30, 200, 150, mirrored=True))
    for name in ('rgb', 'depth_m', 'ids', 'boundary'):
        wanted = getattr(frame, name)[30:180, 40:240][:, ::-1]
        assert np.array_equal(getattr(seen, name), wanted), name
    assert seen.K[1, 2] == frame.K[1, 2] - 30


def test_boundaries_of_contacts_are_not_asked() -> None:
    boundary = np.zeros((8, 8), np.uint8)
    boundary[0, 0], boundary[0, 3], boundary[0, 5] = (
        BOUNDARY_OCCLUSION,
        BOUNDARY_SELF,
        BOUNDARY_CONTACT,
    )
    boundary[4, 0], boundary[4, 1] = BOUNDARY_CONTACT, BOUNDARY_OCCLUSION
    found = _boundary_target(boundary, (4, 4))
    assert found[0].tolist() == [1, 1, 255, 0]
    assert found[2].tolist() == [1, 0, 0, 0]


def test_where_sizes_and_places_are_is_not_asked() -> None:
    found = _word_targets(sample(), (27, 36))
    for word in (*SIZES, *RELATION_WORDS):
        assert (found[VOCABULARY.index(word)] == 255).all(), word


def test_a_cell_is_what_lies_in_its_middle() -> None:
    image = np.arange(12)[:, None] * 100 + np.arange(20)
    wanted = [[100 * row + column for column in (2, 6, 10, 14, 18)] for row in (2, 6, 10)]
    assert _nearest(image, (3, 5)).tolist() == wanted


def test_published_means_are_of_red_green_and_blue() -> None:
    red = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    red[..., 0] = 255
    wanted = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert normalised(red)[0, :, 0, 0].tolist() == pytest.approx(wanted, rel=1e-4)


def test_jpeg_weighs_colours_as_a_camera_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's order goes into its encoder, and the picture's own order comes back."""
    rgb = np.full((64, 64, 3), (200, 60, 40), np.uint8)
    written: list[np.ndarray] = []
    encode = cv2.imencode

    def noted(ending: str, image: np.ndarray, options: list[int]) -> tuple[bool, np.ndarray]:
        written.append(image.copy())
        return encode(ending, image, options)

    monkeypatch.setattr(cv2, 'imencode', noted)
    for seed in range(30):
        found = degrade(rgb, np.random.default_rng(seed))
        if written:
            break
    (bgr,) = written
    assert bgr[..., 2].mean() > bgr[..., 0].mean() + 50
    assert found[..., 0].mean() > found[..., 2].mean() + 50
