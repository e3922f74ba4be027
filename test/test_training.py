"""Training: data in a known order, losses worked out by hand, resuming after a kill."""

import argparse
import json
import os
import socket
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from block_scene import sample

torch = pytest.importorskip('torch', reason='training needs torch (extra: train)')
pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')
torch.set_num_threads(1)

from compact_model import SMALL_TRUNK  # noqa: E402

from focus_depth_ros.networks.compact import CompactShape  # noqa: E402
from focus_depth_ros.synthesis.sample import (  # noqa: E402
    RelationCaption,
    write_sample,
)
from focus_depth_ros.synthesis.splits import split_of  # noqa: E402
from focus_depth_ros.synthesis.vocabulary import CLASS_WORDS, COLOURS  # noqa: E402
from focus_depth_ros.training import average, compact_losses, muon, train  # noqa: E402
from focus_depth_ros.training.augmentation import (  # noqa: E402
    View,
    apply_view,
    degrade,
    draw_near_view,
    draw_view,
)
from focus_depth_ros.training.boundary_losses import balanced_cross_entropy  # noqa: E402
from focus_depth_ros.training.calibration import fit_calibration  # noqa: E402
from focus_depth_ros.training.config import TrainConfig, read_config  # noqa: E402
from focus_depth_ros.training.draws import DrawOrder, RankShare, read_frame  # noqa: E402
from focus_depth_ros.training.example import (  # noqa: E402
    ABSENT_PROMPT,
    BOX_PROMPT,
    TEXT_PROMPT,
    VOCABULARY,
    PromptShares,
    _relations_in_view,
    canonical_disparity,
    caption_words,
    example,
    jittered,
    more_captions,
    normalised_box,
)
from focus_depth_ros.training.families import family_named  # noqa: E402
from focus_depth_ros.training.muon import orthogonalised  # noqa: E402

SHAPE = CompactShape()
HEIGHT, WIDTH = SHAPE.grid(2)


@pytest.fixture(scope='module')
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('shards')
    for shard in range(2):
        with tarfile.open(folder / f'train-{shard:06d}.tar', 'w') as archive:
            for number in range(5):
                write_sample(archive, f'{number:06d}', sample(10 * shard + number))
    return folder


def test_order_visits_every_frame_once_a_pass_and_can_be_replayed(shards: Path) -> None:
    order = DrawOrder(shards, seed=3, batch=4)
    batches = iter(order)
    drawn = [next(batches) for _ in range(5)]  # two passes of ten frames
    flat = [(draw.shard, draw.number) for batch in drawn for draw in batch]
    assert len(set(flat[:10])) == len(set(flat[10:])) == 10
    assert flat[:10] != flat[10:]
    assert len({draw.seed for batch in drawn for draw in batch}) == 20
    later = DrawOrder(shards, seed=3, batch=4, passes=order.passes, first_batch=3)
    assert next(iter(later)) == drawn[3]


def test_a_frame_is_read_by_offset(shards: Path) -> None:
    frame = read_frame(str(shards / 'train-000001.tar'), 3)
    expected = sample(13)
    assert np.array_equal(frame.ids, expected.ids)
    assert frame.objects == expected.objects


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
    mirror = apply_view(frame, View(0, 0, width, height, True))
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


def test_more_captions_take_turns_among_things_in_view() -> None:
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
        asked = more_captions(frame, grid, np.random.default_rng(0), shares)
        return [(' '.join(VOCABULARY[i] for i in words if i), about) for words, about in asked]

    assert means(0, 0.0) == []
    assert sorted(means(4, 0.0)) == 2 * [('the mug', 5)] + 2 * [('the red block', red.id)]
    assert sorted(means(2, 1.0)) == [('the mug left of the red block', 5), ('the red block', 4)]
    frame = replace(frame, objects=[tiny])  # too little to be asked for
    assert means(3, 0.0) == 3 * [('', 0)]


def test_a_caption_chooses_among_things_by_their_mean_score() -> None:
    """Hand-computed: two things of 4 and 2 cells, logits 1 and -1 on their halves."""
    ids = torch.zeros(1, 2, 4, dtype=torch.uint8)
    ids[0, :, :2], ids[0, 0, 2:] = 3, 1
    logits = torch.full((1, 2, 2, 4), -2.0)
    logits[0, 0, 0, :3] = 1.0  # half of thing 3, half of thing 1
    means = torch.tensor([[3, 0]])  # the second caption is none
    terms = compact_losses.caption_terms(logits, ids, means)
    of_3, of_1 = (1.0 + 1.0 - 2.0 - 2.0) / 4, (1.0 - 2.0) / 2
    expected = -np.log(np.exp(of_3) / (np.exp(of_3) + np.exp(of_1)))
    assert terms['choice'].item() == pytest.approx(0.3 * expected, rel=1e-5)
    alone = compact_losses.caption_terms(logits[:, :1], ids, means[:, :1])
    assert alone['captions'].item() == pytest.approx(terms['captions'].item(), rel=1e-5)
    none = compact_losses.caption_terms(logits, ids, torch.zeros(1, 2, dtype=torch.int64))
    assert [term.item() for term in none.values()] == [0.0, 0.0]
    empty = compact_losses.caption_terms(logits, torch.zeros_like(ids), 0 * means)
    assert [term.item() for term in empty.values()] == [0.0, 0.0]


def test_words_are_learned_apart_from_how_often_they_hold() -> None:
    """Hand-computed: a word of one cell weighs as much as one of three; misses weigh ten times."""
    target = torch.zeros(1, 2, 1, 4)
    target[0, 0, 0, :3] = 1
    target[0, 1, 0, 3] = 1
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 1, 0, 3] = 2.0
    even, sure = np.log(2), np.log1p(np.exp(-2.0))
    expected = (even + sure) / 2 + 10 * even
    assert compact_losses.word_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_canonical_disparity_survives_crop_mirror_and_stretch() -> None:
    """f / (f_c Z): a half-width, full-height window doubles fx after the stretch."""
    frame = sample()
    whole = canonical_disparity(frame, SHAPE)
    assert whole.max() == pytest.approx(300 * SHAPE.width / 320 / (200 * 0.8), rel=1e-4)
    assert whole.min() == 0.0  # unknown
    half = apply_view(frame, View(160, 0, 160, 240, mirrored=True))
    assert canonical_disparity(half, SHAPE)[45, 9] == pytest.approx(
        300 * SHAPE.width / 320 * np.sqrt(2) / (200 * half.depth_m[101, 10]), rel=1e-4
    )
    assert np.array_equal(half.ids, frame.ids[:, 160:][:, ::-1])
    assert half.K[0, 2] == pytest.approx(159 - (159.5 - 160))


def test_views_stay_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        view = draw_view(320, 240, rng)
        assert 0 <= view.left <= 320 - view.width
        assert 0 <= view.top <= 240 - view.height
        assert view.width >= 100
        assert view.height >= 75


def test_near_views_show_most_of_what_they_are_round() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        x0, y0 = rng.uniform(0, 280), rng.uniform(0, 200)
        box = (x0, y0, min(320.0, x0 + rng.uniform(3, 200)), min(240.0, y0 + rng.uniform(3, 150)))
        view = draw_near_view(box, 320, 240, rng)
        assert 0 <= view.left <= 320 - view.width
        assert 0 <= view.top <= 240 - view.height
        assert min(view.width / 320, view.height / 240) >= 0.149
        across = min(box[2], view.left + view.width) - max(box[0], view.left)
        down = min(box[3], view.top + view.height) - max(box[1], view.top)
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


def test_depth_loss_ignores_scale_and_shift_but_not_shape() -> None:
    torch.manual_seed(0)
    truth = torch.rand(1, 84, 112) + 0.5
    truth[0, 0, 0] = 0  # unknown
    mask = torch.zeros(1, 84, 112)
    mask[0, 30:50, 40:60] = 1
    objects = mask.bool()
    scaled = compact_losses.depth_loss(3 * truth + 2, truth, objects, mask)
    for name in ('global', 'gradient', 'foreground', 'band'):
        assert float(scaled[name]) == pytest.approx(0, abs=1e-4)
    wrong = compact_losses.depth_loss(-truth, truth, objects, mask)
    assert float(wrong['global']) > 1


def test_aligned_error_is_zero_for_the_right_shape() -> None:
    truth = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    region = torch.ones(1, 8, 8)
    assert float(compact_losses.aligned_error(truth / 2 + 1, truth, region)) == pytest.approx(
        0, abs=1e-5
    )
    assert float(compact_losses.aligned_error(-truth, truth, region)) > 0.2


def test_soft_iou_by_hand() -> None:
    mask = torch.zeros(1, 2, 2)
    mask[0, 0] = 1
    assert float(compact_losses.soft_iou(torch.full((1, 2, 2), 0.5), mask)) == pytest.approx(1 / 3)
    assert float(compact_losses.soft_iou(torch.ones(1, 2, 2), torch.zeros(1, 2, 2))) == 0


def test_boundary_loss_balances_the_classes_and_skips_the_unasked() -> None:
    """One positive, two negatives, one unasked, all logits 0: ln 2 (2/3 + 2 x 1.21/3) / 3."""
    target = torch.tensor([[[1, 0], [0, 255]]])
    loss = balanced_cross_entropy(torch.zeros(1, 2, 2), target)
    assert float(loss) == pytest.approx(np.log(2) * (2 / 3 + 2 * 1.21 / 3) / 3, rel=1e-5)


def test_calibration_finds_the_true_odds() -> None:
    """Truth drawn with sigmoid(0.5 x - 2): that slope and bias come back, and the order stays."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(100_000, generator=generator)
    truth = (torch.rand(100_000, generator=generator) < torch.sigmoid(0.5 * logits - 2)).float()
    found = fit_calibration(logits, truth)
    assert found.slope == pytest.approx(0.5, rel=0.03)
    assert found.bias == pytest.approx(-2, rel=0.03)
    with pytest.raises(ValueError, match='was the network trained'):
        fit_calibration(-logits, truth)


@pytest.mark.parametrize('has_bfloat16', [True, False])
def test_muon_steps_are_nearly_orthogonal(
    has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, 'multiplies_bfloat16', lambda device: has_bfloat16)
    torch.manual_seed(0)
    step = orthogonalised(torch.randn(12, 40))
    values = torch.linalg.svdvals(step)
    assert values.min() > 0.5
    assert values.max() < 1.4


@pytest.mark.parametrize('has_bfloat16', [True, False])
def test_bfloat16_is_left_where_it_is_only_emulated(
    has_bfloat16: bool, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, 'multiplies_bfloat16', lambda device: has_bfloat16)
    wanted = replace(config(shards, tmp_path), bfloat16=True)
    assert train.begin(wanted).config.bfloat16 is has_bfloat16


CONFIGS = Path(train.__file__).with_name('configs')
TINY = {
    'height': 96, 'width': 128, 'stem': 8, 'trunk': SMALL_TRUNK,
    'detail': 8, 'decoder': 16, 'fine': 8, 'boundary': 8, 'grounding': 16, 'experts_hidden': 4,
}  # fmt: skip


def config(shards: Path, output: Path, name: str = 'compact') -> TrainConfig:
    return replace(
        read_config(CONFIGS / f'{name}.yaml'),
        train=shards,
        validation=shards,
        output=output,
        initial=None,
        frozen=(),
        network=TINY,
        steps=4,
        batch=2,
        threads=1,
        workers=0,
        checkpoint_every=2,
        validate_every=4,
        validation_frames=2,
    )


def test_nothing_random_is_frozen(shards: Path, tmp_path: Path) -> None:
    frozen = replace(config(shards, tmp_path), frozen=('encoder.trunk.stem.*',))
    with pytest.raises(ValueError, match=r'encoder\.trunk\.stem\.\* .* would stay random: name'):
        train.train(frozen)


def test_checkpoints_to_keep_stay_as_they_were(shards: Path, tmp_path: Path) -> None:
    train.train(replace(config(shards, tmp_path), keep=(1,)))
    steps = {
        name: torch.load(tmp_path / f'{name}.pt', weights_only=True)['step']
        for name in ('step1', 'checkpoint')
    }
    assert steps == {'step1': 1, 'checkpoint': 4}


def test_a_killed_run_goes_on_to_the_same_weights(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of the second stage, with tokens shuffled at random on the way."""
    whole, parts = (
        replace(
            config(shards, tmp_path / name, 'shuffled_tokens'), steps=10, checkpoint_every=4,
            validate_every=10,
        )
        for name in ('whole', 'parts')
    )  # fmt: skip
    train.train(whole)

    class KilledError(Exception):
        pass

    original = train.save_checkpoint

    def save_then_die(*arguments: object) -> None:
        original(*arguments)
        raise KilledError

    monkeypatch.setattr(train, 'save_checkpoint', save_then_die)
    with pytest.raises(KilledError):
        train.train(parts)
    monkeypatch.setattr(train, 'save_checkpoint', original)
    train.train(parts)
    first, second = (
        torch.load(folder / 'checkpoint.pt', weights_only=True)
        for folder in (whole.output, parts.output)
    )
    assert first['step'] == second['step'] == 10
    for name, value in first['average'].items():
        assert torch.equal(value, second['average'][name]), name
    assert (parts.output / 'validation_000010.png').is_file()
    assert list(parts.output.rglob('events.out.tfevents*'))
    train.train(replace(parts, initial=tmp_path / 'gone.pt'))  # what it began from may be gone
    train.train(replace(parts, steps=60, checkpoint_every=60))  # step 10 is in stage 1 by now
    ended = torch.load(parts.output / 'checkpoint.pt', weights_only=True)
    assert (ended['step'], ended['stage']) == (60, 1)
    smaller = replace(parts, steps=11, network={**TINY, 'fine': 4})
    with pytest.raises(ValueError, match='a network of other sizes'):
        train.train(smaller)


def test_checkpoints_average_and_statistics_are_taken_anew(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(average, 'STATISTICS_BATCHES', 2)
    frozen = read_config(CONFIGS / 'compact.yaml').frozen
    parts = replace(config(shards, tmp_path / 'run'), frozen=frozen)
    network = family_named('compact').build(parts)
    plain = network.state_dict()
    shifted = {n: v + 2 if v.is_floating_point() else v for n, v in plain.items()}
    mean = average.mean_weights([plain, shifted])
    weights = average.with_statistics(mean, parts)
    for name, value in plain.items():
        if name.endswith(('running_mean', 'running_var')):
            continue
        # Not value + 1: where a weight is near -1, nothing but rounding is left of that.
        expected = (value + shifted[name]) / 2 if value.is_floating_point() else value
        assert torch.allclose(weights[name], expected) or (
            name.endswith('num_batches_tracked') and weights[name] == 2
        ), name
    statistics, published = 'encoder.detail.0.1.running_mean', 'encoder.trunk.stem.1.running_mean'
    assert not torch.allclose(weights[statistics], plain[statistics] + 1)
    assert torch.allclose(weights[published], plain[published] + 1), 'no stage touches the stem'
    halved = average.with_statistics(mean, replace(parts, bfloat16=True))
    assert torch.equal(halved[statistics], weights[statistics]), 'statistics are float32'
    with pytest.raises(ValueError, match='different networks'):
        average.mean_weights([plain, {}])
    folder = Path(average.__file__).parent / 'configs'
    frozen = argparse.Namespace(config=folder / 'compact_fovea.yaml', train=None)
    with pytest.raises(ValueError, match='freezes parts'):
        average.run(frozen)


def losses_of(output: Path) -> 'list[float]':
    """The total loss of every step, from TensorBoard's file."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = output.rglob('events.out.tfevents*')
    events = EventAccumulator(str(file)).Reload()
    return [entry.value for entry in events.Scalars('total')]


def test_two_processes_train_as_one_does(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same global batches, a half each: the same losses. Statistics of norms are frozen.

    Without dropout: each process draws its own.
    Adam's steps have the same size where a gradient is nothing but rounding; from this seed's start
    few are.
    """
    monkeypatch.setattr(train, 'LOG_EVERY', 1)
    alone, together = tmp_path / 'alone', tmp_path / 'together'
    settings = tmp_path / 'adapters.yaml'
    settings.write_text(
        f"""base: {CONFIGS / 'focusdepth.yaml'}
train: {shards}
validation: {shards}
output: {together}
initial: null
seed: 3
frozen: []
network: {json.dumps({**TINY, 'dropout': 0.0})}
ask: {{box: 1.0, text: 0.0}}
steps: 4
batch: 4
bfloat16: false
workers: 0
threads: 1
validation_frames: 2
stages:
  - share: 1.0
    trained: ['focus.fusion*']
    muon_lr: 0
    adam_lr: 1.0e-2
    warm_up: 0
    decay_from: 1
    decay: linear
"""
    )
    code = (
        'from focus_depth_ros.training import train; train.LOG_EVERY = 1; '
        'from focus_depth_ros.cli import main; '
        f'raise SystemExit(main(["train", {str(settings)!r}]))'
    )
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, '-c', code],
            env={
                **os.environ, 'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': '2',
                'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'ACCELERATE_USE_CPU': 'true',
                'OMP_NUM_THREADS': '1',
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        train.train(replace(read_config(settings), output=alone))
        for rank in ranks:
            _, errors = rank.communicate(timeout=400)
            assert rank.returncode == 0, errors[-2000:]
    finally:
        for rank in ranks:
            rank.kill()
    assert losses_of(together) == pytest.approx(losses_of(alone), rel=1e-4)
    first, second = (
        torch.load(folder / 'checkpoint.pt', weights_only=True)['network']
        for folder in (alone, together)
    )
    for name, value in first.items():
        assert torch.allclose(value, second[name], atol=1e-4), name
    start = initial_weights(seed=3)
    moved = max(float((first[name] - value).abs().max()) for name, value in start.items())
    assert 1e-2 < moved < 0.1


def initial_weights(seed: int) -> 'dict[str, torch.Tensor]':
    torch.manual_seed(seed)
    built = family_named('compact').build(config(Path(), Path()))
    return built.state_dict()


def test_a_batch_that_cannot_be_shared_is_refused(shards: Path) -> None:
    with pytest.raises(ValueError, match='take a multiple of 3'):
        RankShare(DrawOrder(shards, 0, batch=4), rank=0, ranks=3)
    order = DrawOrder(shards, 0, batch=4)
    first, second = (next(iter(RankShare(order, rank, 2))) for rank in (0, 1))
    assert first + second == next(iter(DrawOrder(shards, 0, batch=4)))


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
