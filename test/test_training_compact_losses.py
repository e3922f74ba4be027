"""The terms of the built-in model's loss, by hand, and what each of them moves."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='training needs torch (extra: train)')
pytest.importorskip('accelerate', reason='training needs accelerate (extra: train)')
torch.set_num_threads(1)

from focus_depth_ros.networks.compact import FocusOutput  # noqa: E402
from focus_depth_ros.networks.prompt import BoxMaps  # noqa: E402
from focus_depth_ros.training import compact_losses  # noqa: E402
from focus_depth_ros.training.example import ABSENT_PROMPT, BOX_PROMPT  # noqa: E402


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


def test_a_caption_chooses_among_things_by_their_mean_score() -> None:
    """Hand-computed: two things of 4 and 2 cells, logits 1 and -1 on their halves."""
    ids = torch.zeros(1, 2, 4, dtype=torch.uint8)
    ids[0, :, :2], ids[0, 0, 2:] = 3, 1
    logits = torch.full((1, 2, 2, 4), -2.0)
    logits[0, 0, 0, :3] = 1.0  # half of thing 3, half of thing 1
    means = torch.tensor([[3, 0]])  # the second caption is none
    terms = compact_losses.coarse_terms(logits, ids, means)
    of_3, of_1 = (1.0 + 1.0 - 2.0 - 2.0) / 4, (1.0 - 2.0) / 2
    expected = -np.log(np.exp(of_3) / (np.exp(of_3) + np.exp(of_1)))
    assert terms['choice'].item() == pytest.approx(0.3 * expected, rel=1e-5)
    alone = compact_losses.coarse_terms(logits[:, :1], ids, means[:, :1])
    assert alone['more'].item() == pytest.approx(terms['more'].item(), rel=1e-5)
    none = compact_losses.coarse_terms(logits, ids, torch.zeros(1, 2, dtype=torch.int64))
    assert [term.item() for term in none.values()] == [0.0, 0.0]
    empty = compact_losses.coarse_terms(logits, torch.zeros_like(ids), 0 * means)
    assert [term.item() for term in empty.values()] == [0.0, 0.0]


def test_a_thing_too_thin_to_be_seen_is_not_asked_about() -> None:
    ids = torch.zeros(1, 2, 4, dtype=torch.uint8)
    ids[0, :, :2] = 1
    means = torch.tensor([[1, 5]])
    terms = compact_losses.coarse_terms(torch.zeros(1, 2, 2, 4), ids, means)
    alone = compact_losses.coarse_terms(torch.zeros(1, 1, 2, 4), ids, means[:, :1])
    assert terms['choice'].item() == pytest.approx(alone['choice'].item(), abs=1e-6)
    assert terms['more'].item() == pytest.approx(alone['more'].item(), rel=1e-5)


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


def outputs() -> FocusOutput:
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    return FocusOutput(
        some(2, 8, 12),
        some(2, 8, 12),
        some(2, 8, 12),
        some(2),
        some(2, 2).exp(),
        some(2, 2, 3),
        (some(2, 4, 6),),
    )


def batch() -> dict[str, torch.Tensor]:
    """A box that holds the target, and words that fit nothing."""
    mask = torch.zeros(2, 8, 12)
    mask[0, 2:6, 3:9] = 1
    return {
        'disparity': torch.rand(2, 8, 12, generator=torch.Generator().manual_seed(1)) + 0.5,
        'objects': mask.bool(),
        'boundary': torch.zeros(2, 8, 12, dtype=torch.uint8),
        'mask': mask,
        'box': torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 0.5, 0.5]]),
        'kind': torch.tensor([BOX_PROMPT, ABSENT_PROMPT]),
        'words_at': torch.zeros(1, 5, 2, 3, dtype=torch.uint8),
    }


def terms(output: FocusOutput) -> dict[str, torch.Tensor]:
    words = torch.zeros(1, 5, 2, 3)
    return compact_losses.compact_terms(output, words, batch(), BoxMaps(8, 12))


def gradient(term: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(term, of, retain_graph=True, allow_unused=True)
    return torch.zeros_like(of) if found is None else found


def test_words_that_fit_nothing_teach_the_confidence_alone() -> None:
    output = outputs()
    found = terms(output)
    for name in ('mask', 'mask_coarse'):
        logits = getattr(output, name)
        assert gradient(found[name], logits)[0].any() and not gradient(found[name], logits)[1].any()
    assert (gradient(found['confidence'], output.confidence) != 0).all()


def test_metres_do_not_move_the_depth_nor_confidence_the_mask() -> None:
    output = outputs()
    found = terms(output)
    assert not gradient(found['metric'], output.inverse_depth).any()
    assert not gradient(found['confidence'], output.mask).any()
    assert gradient(found['global'], output.inverse_depth).any()


def test_cells_of_things_weigh_three_times() -> None:
    """A wrong spot on an object costs what three such spots beside cost; none where unknown."""
    truth = torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(0)) + 1
    truth[:, :5] = 0
    objects = torch.zeros(1, 40, 40, dtype=torch.bool)
    objects[:, 10:14, 10:14] = True
    valid = (truth > 0).float()
    guess = torch.randn(1, 40, 40, generator=torch.Generator().manual_seed(2))
    centre = lambda v: compact_losses.centred(v, valid)  # noqa: E731
    error = (centre(guess) - centre(truth)).abs()
    weight = valid * (1 + 2 * objects.float())
    expected = (error * weight).sum() / weight.sum()
    found = compact_losses.depth_loss(guess, truth, objects, torch.zeros(1, 40, 40))
    assert found['global'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_metres_by_hand() -> None:
    """Everything e times too near: 1 over the picture and 1 on the target."""
    output = outputs()
    truth = torch.full((2, 8, 12), 0.5)
    mask = torch.zeros(2, 8, 12)
    mask[0, 2:6, 3:9] = 1
    flat = replace(
        output,
        inverse_depth=torch.ones(2, 8, 12),
        metric=torch.tensor([[0.5 * np.e, 0.0], [0.5 * np.e, 0.0]], dtype=torch.float32),
    )
    assert compact_losses.metric_loss(flat, truth, mask).item() == pytest.approx(2, rel=1e-5)


def test_a_mask_counts_inside_its_box_too() -> None:
    """Entropy in the mean, in the box, and Dice: halved."""
    output, given = outputs(), batch()
    inside = BoxMaps(8, 12)(given['box'])[:1, 0]
    alone = compact_losses.mask_loss(output.mask[:1], given['mask'][:1], inside, torch.ones(1))
    assert terms(output)['mask'].item() == pytest.approx(alone.item(), rel=1e-5)


def test_words_are_part_of_what_is_learned() -> None:
    word_logits = torch.randn(1, 5, 2, 3, generator=torch.Generator().manual_seed(3))
    found = compact_losses.compact_terms(outputs(), word_logits, batch(), BoxMaps(8, 12))
    wanted = compact_losses.word_loss(word_logits, batch()['words_at'])
    assert found['words'].item() == pytest.approx(wanted.item()) and wanted > 0
