"""MoDOT: both decoders in step, the refiner, and its losses by hand and by numerical gradient."""

import math
from functools import partial

import pytest

torch = pytest.importorskip('torch', reason='the networks need torch (extra: train)')
torch.set_num_threads(1)

from torch.nn import functional  # noqa: E402

from focus_depth_ros.networks.blocks import resize  # noqa: E402
from focus_depth_ros.networks.modot import (  # noqa: E402
    CASM,
    BoundaryDecoder,
    FullResolutionPath,
    SpatialAttention,
    StripPair,
)
from focus_depth_ros.networks.ssr import SSRRefiner  # noqa: E402
from focus_depth_ros.training import boundary_losses as losses  # noqa: E402

ENCODER = (12, 10, 8, 6)
GRIDS = ((1, 2), (2, 4), (4, 8), (8, 16))


def random(*shape: int, seed: int = 0) -> 'torch.Tensor':
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def double(*shape: int, seed: int = 0) -> 'torch.Tensor':
    values = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.requires_grad_()


@pytest.fixture
def decoder() -> BoundaryDecoder:
    torch.manual_seed(0)
    return BoundaryDecoder(ENCODER, depth_channels=8, full_channels=8).eval()


def encoder_features() -> 'list[torch.Tensor]':
    return [random(2, c, *grid, seed=c) for c, grid in zip(ENCODER, GRIDS, strict=True)]


def pattern(module: torch.nn.Module, seed: int = 7) -> None:
    """Weights and statistics that leave nothing at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.normal_(std=0.5, generator=generator)
        if name.endswith('running_var'):
            value.abs_().add_(0.5)


def conv_norm(block: torch.nn.Module, x: 'torch.Tensor', relu: bool = True) -> 'torch.Tensor':
    """Convolution, padded by half its kernel, and normalisation by the kept statistics."""
    convolution, norm = [part for part in block.modules() if not list(part.children())][:2]
    weight = convolution.weight
    x = functional.conv2d(x, weight, padding=(weight.shape[2] // 2, weight.shape[3] // 2))
    mean, variance, scale, shift = (
        value[:, None, None]
        for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    x = (x - mean) / torch.sqrt(variance + norm.eps) * scale + shift
    return x.clamp(min=0) if relu else x


def strips(pair: StripPair, a: 'torch.Tensor', length: int) -> 'torch.Tensor':
    """ReLU(S_1xk a + S_kx1 a);  S = Conv - BN - ReLU - Conv - BN."""
    assert pair.horizontal[0][0][0].weight.shape[2:] == (1, length)
    assert pair.vertical[1][0].weight.shape[2:] == (length, 1)
    both = [
        conv_norm(strip[1], conv_norm(strip[0], a), relu=False)
        for strip in (pair.horizontal, pair.vertical)
    ]
    return sum(both).clamp(min=0)


def channel_attention(attention: torch.nn.Module, x: 'torch.Tensor') -> 'torch.Tensor':
    """sigmoid(SE(maxpool x) + SE(avgpool x));  SE = 1x1, ReLU, 1x1, no bias."""
    down, _, up = attention.squeeze
    pooled = (x.flatten(2).max(2).values, x.flatten(2).mean(2))
    weights = sum(
        (v @ down.weight[..., 0, 0].T).clamp(min=0) @ up.weight[..., 0, 0].T for v in pooled
    )
    return (1 / (1 + torch.exp(-weights)))[..., None, None]


@torch.no_grad()
def test_casm_by_the_papers_equations() -> None:
    """D' = MSSF(Conv1x1([O || D])) + D CA_o(O) + D;  O' = O + O CA_d(D);  strips of 7 and 11."""
    casm = CASM(16).eval()
    pattern(casm)
    boundary, depth = random(2, 16, 9, 13, seed=1), random(2, 16, 9, 13, seed=2)
    u = functional.conv2d(torch.cat([boundary, depth], 1), casm.join.weight, casm.join.bias)
    parts = [strips(casm.short_strips, u, 7), conv_norm(casm.square, u)]
    parts.append(strips(casm.long_strips, u, 11))
    refined = conv_norm(casm.merge, torch.cat(parts, 1))
    refined = refined + depth * channel_attention(casm.boundary_attention, boundary) + depth
    sharper = boundary + boundary * channel_attention(casm.depth_attention, depth)
    found_boundary, found_depth = casm(boundary, depth)
    assert torch.allclose(found_depth, refined, rtol=1e-4, atol=1e-4)
    assert torch.allclose(found_boundary, sharper, rtol=1e-4, atol=1e-4)
    assert refined.std() > 1


@torch.no_grad()
def test_strips_reach_along_both_axes_and_nowhere_else() -> None:
    """Two strips of 7 in a row see 6 px to each side, on the row and the column alone."""
    for length, reach in ((7, 6), (11, 10)):
        pair = StripPair(1, length).eval()
        for name, value in pair.named_parameters():
            value.fill_(0.0 if name.endswith('bias') else 1.0)
        dot = torch.zeros(1, 1, 31, 31)
        dot[..., 15, 15] = 1
        seen = pair(dot)[0, 0] > 0
        cross = torch.zeros(31, 31, dtype=torch.bool)
        cross[15, 15 - reach : 16 + reach] = cross[15 - reach : 16 + reach, 15] = True
        assert torch.equal(seen, cross)


def test_both_decoders_run_in_step(decoder: BoundaryDecoder) -> None:
    seen = []

    def depth_step(index: int, above: 'torch.Tensor | None') -> 'torch.Tensor':
        seen.append((index, None if above is None else tuple(above.shape[-2:])))
        base = random(2, 8, *GRIDS[index], seed=50 + index)
        return base if above is None else base + resize(above, GRIDS[index])

    maps = decoder(random(2, 3, 32, 64), encoder_features(), depth_step)
    assert seen == [(0, None), (1, (1, 2)), (2, (2, 4)), (3, (4, 8))]
    assert maps.boundary.shape == (2, 1, 32, 64)
    assert maps.features.shape == (2, 8, 32, 64)
    assert maps.depth.shape == (2, 8, 8, 16)
    assert [tuple(side.shape) for side in maps.sides] == [(2, 1, *grid) for grid in GRIDS]


def test_boundaries_reach_the_depth_decoder_and_the_picture_the_boundaries(
    decoder: BoundaryDecoder,
) -> None:
    def depth_step(index: int, above: 'torch.Tensor | None') -> 'torch.Tensor':
        base = random(2, 8, *GRIDS[index], seed=50 + index)
        return base if above is None else base + resize(above, GRIDS[index])

    picture, features = random(2, 3, 32, 64), encoder_features()
    first = decoder(picture, features, depth_step)
    other_encoder = decoder(picture, [features[0] + 1, *features[1:]], depth_step)
    assert not torch.allclose(first.depth, other_encoder.depth)
    other_picture = decoder(picture + 1, features, depth_step)
    assert torch.equal(first.depth, other_picture.depth)
    assert not torch.allclose(first.boundary, other_picture.boundary)


def test_one_pixel_lines_survive_at_full_resolution() -> None:
    """A line one pixel wide changes the path's output within its reach of 3 + 3 pixels only."""
    torch.manual_seed(0)
    path = FullResolutionPath(8).eval()
    plain, lined = torch.zeros(1, 3, 32, 48), torch.zeros(1, 3, 32, 48)
    lined[..., 20] = 1
    features = path.entry(lined) - path.entry(plain)
    columns = features.abs().sum((0, 1, 2)).nonzero().flatten().tolist()
    assert columns == list(range(18, 23))
    weight = SpatialAttention()(random(1, 8, 9, 9))
    assert weight.shape == (1, 1, 9, 9)
    assert ((weight > 0) & (weight < 1)).all()


def test_the_full_resolution_path_weighs_channels_then_places() -> None:
    torch.manual_seed(0)
    path = FullResolutionPath(8).eval()
    picture = random(1, 3, 12, 16)
    features = path.entry(picture)
    features = features * path.channel_attention(features)
    wanted = path.exit(features * path.spatial_attention(features))
    assert torch.allclose(path(picture), wanted, atol=1e-6)


def test_an_untrained_refiner_changes_nothing_and_a_trained_one_sharpens() -> None:
    torch.manual_seed(0)
    refiner = SSRRefiner(shallow_channels=6, boundary_channels=8, channels=16)
    shallow, features = random(2, 6, 8, 16), random(2, 8, 32, 64)
    truth = torch.ones(2, 1, 32, 64)
    truth[..., 30:] = 2
    depth = torch.nn.functional.avg_pool2d(truth, 9, 1, 4, count_include_pad=False)
    features[:, :1] = truth  # the boundary branch knows the edge's side
    logits = random(2, 1, 32, 64, seed=3)
    same, same_logits = refiner.eval()(shallow, features, depth, logits)
    assert torch.equal(same, depth)
    assert torch.equal(same_logits, logits)
    refiner.train()
    optimizer = torch.optim.Adam(refiner.parameters(), lr=2e-3)
    before = float((depth - truth).abs().mean())
    for _ in range(60):
        refined, _ = refiner(shallow, features, depth, logits)
        loss = (refined - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * before


def test_a_fresh_refiner_hands_gradients_through() -> None:
    """With its heads at zero, whatever stage 1 is asked for reaches it untouched."""
    refiner = SSRRefiner(6, 8, 16)
    depth = random(1, 1, 32, 32).requires_grad_()
    boundary = random(1, 1, 32, 32, seed=1).requires_grad_()
    refined, sharper = refiner(random(1, 6, 8, 8), random(1, 8, 32, 32), depth, boundary)
    (refined.sum() + 2 * sharper.sum()).backward()
    assert torch.allclose(depth.grad, torch.ones_like(depth))
    assert torch.allclose(boundary.grad, torch.full_like(boundary, 2))


def test_side_outputs_have_the_published_weights() -> None:
    """All logits 0, half of the target set: each output costs ln 2 (1/2 x 1/2 + 1.21/2 x 1/2)."""
    target = torch.zeros(1, 32, 64, dtype=torch.uint8)
    target[:, :16] = 1
    sides = [torch.zeros(1, 32 // stride, 64 // stride) for stride in (16, 8, 4, 2)]
    one = 0.6931472 * (0.25 + 1.21 * 0.25)
    whole = losses.boundary_loss(torch.zeros(1, 32, 64), sides, target)
    assert float(whole) == pytest.approx(one * (2.3 + 0.1 + 0.3 + 0.3 + 0.5), rel=1e-5)
    three = losses.boundary_loss(torch.zeros(1, 32, 64), sides[1:], target)
    assert float(three) == pytest.approx(one * (2.3 + 0.3 + 0.3 + 0.5), rel=1e-5)
    sure = torch.where(target > 0, 40.0, -40.0)
    for unsure, weight in enumerate((0.1, 0.3, 0.3, 0.5)):
        sides = [sure[:, ::stride, ::stride] for stride in (16, 8, 4, 2)]
        sides[unsure] = torch.zeros_like(sides[unsure])
        loss = losses.boundary_loss(sure, sides, target)
        assert float(loss) == pytest.approx(one * weight, rel=1e-3)


def test_a_side_outputs_cells_may_hang_over_the_rim() -> None:
    """20 rows in strides of 8: cells of 8, 8 and 4, not of 20 / 3."""
    hits = torch.zeros(1, 1, 20, 16)
    hits[..., 15, 3] = hits[..., 16, 12] = 1
    assert losses._in_cells(hits, (3, 2))[0, 0].tolist() == [[0, 0], [1, 0], [0, 1]]
    assert losses._in_cells(hits, (8, 16)).shape[-2:] == (8, 16)  # of no whole stride


def test_published_weights() -> None:
    assert losses.SILOG_WEIGHT == 1.2


def test_silog_forgives_most_of_a_scale() -> None:
    truth = torch.tensor([[[1.0, 2.0, 4.0, 0.0]]])
    assert float(losses.scale_invariant_log(truth + (truth == 0), truth)) == pytest.approx(1e-6)
    # g = 1 everywhere: sqrt(1 - 0.85).
    scaled = torch.e * truth + (truth == 0)
    assert float(losses.scale_invariant_log(scaled, truth)) == pytest.approx(0.15**0.5, rel=1e-5)


def test_cross_entropy_balances_the_classes_and_skips_the_unasked() -> None:
    """One positive, two negatives, one unasked, all logits 0: ln 2 (2/3 + 2 x 1.21/3) / 3."""
    target = torch.tensor([[[1, 0], [0, 255]]])
    loss = losses.balanced_cross_entropy(torch.zeros(1, 2, 2), target)
    assert loss.item() == pytest.approx(math.log(2) * (2 / 3 + 2 * 1.21 / 3) / 3, rel=1e-5)


def test_silog_of_nothing_known_is_nothing() -> None:
    depth = torch.ones(1, 4, 4, requires_grad=True)
    loss = losses.scale_invariant_log(depth, torch.zeros(1, 4, 4))
    loss.backward()
    assert loss.item() == 0 and not depth.grad.any()


def step_picture() -> 'tuple[torch.Tensor, torch.Tensor]':
    """A vertical step of 0.5 between columns 2 and 3, and its boundary on both sides of it."""
    depth = torch.ones(1, 5, 6)
    depth[..., 3:] = 1.5
    boundary = torch.zeros(1, 5, 6)
    boundary[..., 2:4] = 1
    return depth, boundary


def test_agreement_by_hand_and_why_max() -> None:
    """Inner pixels 3 x 4, 6 of them boundary, where dh = 0.5 and dv = 0."""
    depth, boundary = step_picture()
    published = losses.agreement_loss(depth, boundary, form='min')
    assert float(published) == pytest.approx(0.1 * 6 / 12)  # the straight edge costs all it can
    assert float(losses.agreement_loss(depth, boundary)) == pytest.approx(0.1 * 6 / 12 * 0.5)
    margin = losses.true_margin(depth)
    assert float(losses.agreement_loss(depth, boundary, margin)) == pytest.approx(0, abs=1e-7)
    # No boundary said: the step itself is what costs, once from either side, 3 rows of 0.5.
    assert float(losses.agreement_loss(depth, 0 * boundary)) == pytest.approx(0.1 * 2 * 1.5 / 12)
    assert margin[0, 2].tolist() == pytest.approx([0.01, 0.01, 0.5, 0.5, 0.01, 0.01])


def test_agreement_asks_nothing_where_nothing_is_known() -> None:
    """The step lies where no depth is known: neither a jump nor its absence costs anything."""
    depth, boundary = step_picture()
    known = torch.ones(1, 5, 6)
    known[..., 2:4] = 0
    assert float(losses.agreement_loss(depth, 0 * boundary, known=known)) == 0
    assert float(losses.agreement_loss(depth, boundary, known=known)) == 0
    # Of a known half the mean is that half's own: columns 1 and 2, where the step costs 3 of 6.
    known[..., 2], known[..., 4:] = 1, 0
    half = losses.agreement_loss(depth, 0 * boundary, known=known)
    assert float(half) == pytest.approx(0.1 * 3 * 0.5 / 6)
    assert float(losses.agreement_loss(depth, boundary, known=0 * known)) == 0


@pytest.mark.parametrize('form', ['max', 'min'])
@pytest.mark.parametrize('relative', [False, True])
def test_gradient_of_agreement(form: str, relative: bool) -> None:
    margin = (0.2 + double(1, 5, 6, seed=4)).detach() if relative else None
    check = partial(losses.agreement_loss, margin=margin, form=form)
    assert torch.autograd.gradcheck(check, (double(1, 5, 6), double(1, 5, 6, seed=1)))


def test_gradient_of_boundary_and_log_losses() -> None:
    target = torch.tensor([[[1, 0, 0, 255], [1, 0, 1, 0]]])

    def boundary(final: 'torch.Tensor', side: 'torch.Tensor') -> 'torch.Tensor':
        return losses.boundary_loss(final, [side], target)

    assert torch.autograd.gradcheck(boundary, (double(1, 2, 4), double(1, 1, 2, seed=1)))
    truth = torch.tensor([[[1.0, 2.0], [0.0, 3.0]]], dtype=torch.float64)
    silog = partial(losses.scale_invariant_log, truth=truth)
    assert torch.autograd.gradcheck(silog, (0.5 + double(1, 2, 2).detach()).requires_grad_())
