"""FocusDepth's loss, term by term, against numbers worked out by hand."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='training needs torch (extra: train)')
torch.set_num_threads(1)

from focus_depth_ros.evaluation import regions  # noqa: E402
from focus_depth_ros.evaluation.regions import boundary_band as band_of_the_metrics  # noqa: E402
from focus_depth_ros.networks.compact import CompactShape  # noqa: E402
from focus_depth_ros.training import compact_losses, losses  # noqa: E402


def scene() -> 'tuple[torch.Tensor, torch.Tensor]':
    """Depth 2 with a target of depth 1, rows 10 to 19 and columns 12 to 23 of 40 x 48."""
    mask = torch.zeros(1, 40, 48)
    mask[:, 10:20, 12:24] = 1
    depth = 2 - mask
    depth[:, :2] = 0  # unknown
    return depth, mask


def test_units_of_the_loss() -> None:
    depth = torch.tensor([[[1.0, 2.0, 4.0, 0.0]]])
    ratio = losses.target_units(depth, inverse=False)
    assert ratio[0, 0].tolist() == pytest.approx([3 / 7, 6 / 7, 12 / 7, 0])
    disparity = losses.target_units(depth, inverse=True)
    assert disparity[0, 0].tolist() == pytest.approx([1, 1 / 3, 0, 0])


def test_alignment_is_over_all_valid_pixels_and_detached() -> None:
    depth, _ = scene()
    valid = (depth > 0).float()
    truth = losses.target_units(depth, inverse=False)
    prediction = (3 * truth - 2).requires_grad_()
    back = losses.aligned(prediction, truth, valid)
    assert torch.allclose(back * valid, truth * valid, atol=1e-5)
    (gradient,) = torch.autograd.grad(back.sum(), prediction)
    assert torch.allclose(gradient, torch.full_like(gradient, 1 / 3))  # a alone, no path through it


def test_band_is_the_one_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    for radius_px in (1, 4, 10):
        mask = np.zeros((60, 70), np.bool_)
        top, left = rng.integers(0, 40, 2)
        mask[top : top + 30, left : left + 25] = True
        expected = band_of_the_metrics(mask, radius_px)
        band = losses.boundary_band(torch.from_numpy(mask).float()[None], radius_px)
        assert np.array_equal(band[0].numpy() > 0, expected)


def test_the_band_is_an_ellipse_of_the_published_radius() -> None:
    dot = torch.zeros(1, 41, 41)
    dot[:, 20, 20] = 1
    band = losses.boundary_band(dot, 10)[0]
    assert band[20, 30] == band[10, 20] == 1
    assert band[20, 31] == band[28, 28] == 0  # 8, 8: in a square of 10, in no circle of 10
    assert losses.BAND_RADIUS_PX == regions.BAND_RADIUS_PX == 10
    share = compact_losses.BAND_CELLS / CompactShape().grid(2)[1]
    assert share == pytest.approx(10 / 320, rel=0.15)


def test_region_loss_by_hand() -> None:
    """Error x / 10: mean square over 20 columns is 1.235, gradients (1 + 2 + 4 + 8) / 40."""
    error = (torch.arange(20.0) / 10).expand(1, 20, 20)
    whole = losses.region_loss(error, torch.ones(1, 20, 20))
    assert whole.item() == pytest.approx(1.235 + 0.375, rel=1e-5)
    half = torch.zeros(1, 20, 20)
    half[..., :2] = 1  # columns 0 and 1: only stride 1 has both pixels inside
    assert losses.region_loss(error, half).item() == pytest.approx(0.005 + 0.1 / 4, rel=1e-5)


def test_small_regions_are_skipped_picture_by_picture() -> None:
    error = torch.stack([torch.ones(10, 10), 2 * torch.ones(10, 10)])
    region = torch.zeros(2, 10, 10)
    region[0, :3, :3] = 1  # nine pixels: too few
    region[1] = 1
    assert losses.region_loss(error, region).item() == pytest.approx(4)
    assert losses.region_loss(error[:1], region[:1]).item() == 0


@pytest.mark.parametrize('inverse', [False, True])
def test_a_right_prediction_costs_nothing(inverse: bool) -> None:
    depth, mask = scene()
    known = torch.where(depth > 0, depth, torch.ones(()))
    prediction = 5 + 0.2 * (1 / known if inverse else known)
    logits = 40 * (mask - 0.5)
    terms = losses.focusdepth_terms(prediction, logits, depth, mask, inverse, radius_px=4)
    assert set(terms) == set(losses.TERMS)
    for name, value in terms.items():
        assert value.item() == pytest.approx(0, abs=1e-5), name


def test_each_region_sees_only_its_own_error() -> None:
    depth, mask = scene()
    inside = depth.clone()
    inside[:, 14:16, 16:20] += 0.5  # deep in the target: 4 px from its outline
    terms = losses.focusdepth_terms(inside, mask, depth, mask, inverse=False, radius_px=3)
    plain = {name: value.item() for name, value in terms.items()}
    assert plain['foreground'] > 4 * plain['global']
    # The band knows of it only through the alignment, which is the whole picture's.
    assert plain['boundary'] < 0.1 * plain['foreground']
    only = losses.focusdepth_terms(inside, mask, depth, mask, False, 3, terms=('global',))
    assert {name: value.item() for name, value in only.items()} == {'global': plain['global']}


def test_mask_loss_is_cross_entropy_and_dice() -> None:
    mask = torch.zeros(1, 2, 2)
    mask[0, 0] = 1
    # Probability 1/2 everywhere: ln 2, and Dice 1 - (2 x 1 + 1) / (2 + 2 + 1).
    assert losses.mask_loss(torch.zeros(1, 2, 2), mask).item() == pytest.approx(
        0.6931 + 0.4, abs=1e-4
    )
    assert losses.dice(mask, mask).item() == pytest.approx(0)
    assert losses.dice(1 - mask, mask).item() == pytest.approx(1 - 1 / 5)
    depth, target = scene()
    coarse = losses.focusdepth_terms(depth, torch.zeros(1, 20, 24), depth, target, False)
    share = 120 / 1920
    assert coarse['mask'].item() == pytest.approx(
        0.6931 + 1 - (share * 480 + 1) / (240 + share * 480 + 1), abs=1e-4
    )


def test_gradients_of_the_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    error = torch.rand(2, 9, 9, generator=generator, dtype=torch.float64).requires_grad_()
    region = (torch.rand(2, 9, 9, generator=generator) > 0.3).double()
    assert torch.autograd.gradcheck(losses.region_loss, (error, region))
    assert torch.autograd.gradcheck(losses.mask_loss, (error, region))
