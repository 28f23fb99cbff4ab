"""Every sampler on densities whose moments are known."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from surrogates.errors import DataError
from surrogates.inference import chains, chees, diagnostics, hmc, laplace, nuts
from surrogates.inference.contract import Differentiated
from tests.surrogates.inference.targets import TARGETS, Target, funnel, gaussian, student, two_modes

SEEDS = [0, 1]


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


def check_moments(x: Tensor, target: Target) -> None:
    """Means within 4 standard errors; variances also within 10 %, which is 3 of theirs or more."""
    flat = x.flatten(0, 1)
    error = (target.variance / diagnostics.ess_mean(x)).sqrt()
    assert bool(((flat.mean(dim=0) - target.mean).abs() < 4.0 * error).all())
    squares = (x - target.mean).square()
    noise = squares.flatten(0, 1).std(dim=0) / diagnostics.ess_mean(squares).sqrt()
    off = (squares.flatten(0, 1).mean(dim=0) - target.variance).abs()
    assert bool((3.0 * noise < 0.1 * target.variance).all())
    assert bool((off < torch.minimum(0.1 * target.variance, 4.0 * noise)).all())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", [*TARGETS, funnel()], ids=str)
def test_hmc_finds_the_moments(target: Target, seed: int) -> None:
    generator = seeded(seed)
    start = hmc.init(target.density, target.starts(64, generator))
    options = hmc.Options(warmup=100, draws=128, most_draws=4096, rhat=1.01, sd_error=0.0125)
    draws, _ = hmc.run(target.density, start, options=options, generator=generator)
    assert draws.diagnostics["converged"] == 1.0
    assert draws.x.shape[:2] == draws.log_density.shape
    check_moments(draws.x, target)


@pytest.mark.slow
@pytest.mark.parametrize("module", [chees, nuts], ids=["chees", "nuts"])
def test_a_centred_funnel_is_found_or_not_called_converged(module: Any) -> None:
    """Where it is narrow a chain may reject all steps that suit the others, with some seeds."""
    target, found = funnel(), 0
    for seed in range(3):
        generator = seeded(seed)
        start = module.init(target.density, target.starts(64, generator))
        options = module.Options(warmup=100, draws=256, most_draws=1024, sd_error=0.0125)
        draws, _ = module.run(target.density, start, options=options, generator=generator)
        if draws.diagnostics["converged"]:
            check_moments(draws.x, target)
            found += 1
    assert found > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_hmc_leaves_a_density_as_it_is_at_any_step_size(seed: int) -> None:
    """Chains that begin with draws of the density still have its moments, step by step."""
    target = two_modes()
    generator = seeded(seed)
    first = torch.randn((4096, 2), generator=generator, dtype=torch.float64)
    second = torch.rand(4096, generator=generator, dtype=torch.float64) < 0.3
    first[second] += torch.tensor([3.0, 0.5], dtype=torch.float64)
    for size in (0.2, 1.2):
        state = hmc.init(target.density, first)
        state = hmc.State(state.x, state.value, state.gradient, state.factor, size)
        accepted = 0.0
        for _ in range(9):  # one of them of small steps
            state, moved = hmc.step(target.density, state, hmc.Options(trajectory=2.0), generator)
            accepted = float(moved.accept.mean())
        error = (target.variance / 4096).sqrt()
        assert bool(((state.x.mean(dim=0) - target.mean).abs() < 4.5 * error).all())
        assert bool(((state.x.var(dim=0) / target.variance - 1.0).abs() < 0.15).all())
        assert (accepted > 0.99) == (size == 0.2)


def test_hmc_that_has_not_converged_says_so() -> None:
    target = two_modes(distance=20.0)  # no chain crosses
    generator = seeded(0)
    state = hmc.init(target.density, target.starts(8, generator))
    options = hmc.Options(draws=16, most_draws=64, jumps=0)
    draws, _ = hmc.run(target.density, state, options=options, generator=generator)
    assert draws.diagnostics["converged"] == 0.0
    assert "jumped" not in draws.diagnostics
    assert draws.diagnostics["rhat_max"] > 1.1
    assert draws.diagnostics["draws"] == 64


def test_hmc_goes_on_from_what_was_kept_as_if_it_had_not_stopped() -> None:
    target = gaussian(4)
    options = hmc.Options(warmup=20, draws=8, most_draws=8, ess=0.0)
    state = hmc.init(target.density, target.starts(4, seeded(0)))
    generator = seeded(1)
    _, between = hmc.run(target.density, state, options=options, generator=generator)
    options = dataclasses.replace(options, warmup=0)  # the metric is a learned one by now
    kept = hmc.State.from_json(between.to_json(), target.density, between.x)
    at = generator.get_state()
    straight, _ = hmc.run(target.density, between, options=options, generator=generator)
    generator.set_state(at)
    resumed, _ = hmc.run(target.density, kept, options=options, generator=generator)
    assert torch.equal(straight.x, resumed.x)


def test_hmc_draws_the_same_from_the_same_seed_and_others_from_another() -> None:
    target = gaussian(3)
    drawn = []
    for seed in (5, 5, 6):
        state = hmc.init(target.density, target.starts(4, seeded(0)))
        options = hmc.Options(draws=8, most_draws=8)
        drawn.append(hmc.run(target.density, state, options=options, generator=seeded(seed))[0].x)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_trajectories_of_small_steps_free_a_chain_that_rejects_all_others() -> None:
    density = Differentiated(lambda x: -0.5 * x.square().sum(dim=1))
    state = hmc.init(density, torch.full((4, 50), 1.0, dtype=torch.float64))
    state = dataclasses.replace(state, step_size=3.0)  # not stable above 2
    generator, freed = seeded(0), []
    for _ in range(16):
        before = state.x
        state, _ = hmc.step(density, state, hmc.Options(trajectory=12.0), generator)
        freed.append(not torch.equal(state.x, before))
    assert state.step_size == 3.0
    assert [number for number, free in enumerate(freed, 1) if free] == [8, 16]


def test_hmc_learns_a_metric_from_draws_that_have_not_converged() -> None:
    """A warm-up of less than 20 trajectories keeps the metric, which is 100 times too narrow."""
    scale = torch.tensor([1.0, 100.0], dtype=torch.float64)
    density = Differentiated(lambda x: -0.5 * (x / scale).square().sum(dim=1))
    start = torch.randn((16, 2), generator=seeded(0), dtype=torch.float64)
    options = hmc.Options(warmup=15, draws=16, most_draws=1024)
    draws, state = hmc.run(density, hmc.init(density, start), options=options, generator=seeded(1))
    assert draws.diagnostics["converged"] == 1.0
    assert 50.0 < float(state.factor[1, 1] / state.factor[0, 0]) < 200.0
    assert draws.x.flatten(0, 1).std(dim=0).tolist() == pytest.approx(scale.tolist(), rel=0.1)


def test_points_outside_the_support_are_rejected() -> None:
    """A half normal: -inf on one side, NaN far out on the other."""

    def log_density(x: Tensor) -> Tensor:
        inside = -0.5 * x[:, 0].square()
        return torch.where(x[:, 0] > 0, inside, -math.inf) + 0.0 * (9.0 - x[:, 0]).log()

    density = Differentiated(log_density)
    generator = seeded(0)
    start = torch.linspace(-1.0, 2.0, 16, dtype=torch.float64).unsqueeze(1)
    state = hmc.init(density, start)
    options = hmc.Options(draws=512, most_draws=512, trajectory=1.0, target_accept=0.3)
    draws, _ = hmc.run(density, state, options=options, generator=generator)
    assert bool((draws.x > 0).all())
    assert bool(torch.isfinite(draws.log_density).all())
    assert float(draws.x.mean()) == pytest.approx(math.sqrt(2 / math.pi), abs=0.05)


def test_a_density_that_is_constant_where_it_is_not_0_can_converge() -> None:
    x = torch.rand(8, 500, 2, generator=seeded(0), dtype=torch.float64, device="cpu")
    value = torch.zeros_like(x[:, :, 0])
    told = chains.judge(x, value, hmc.Options())
    assert told["converged"] == 1.0
    assert told["rhat_max"] < 1.01
    assert chains.judge(x[:, :1].expand_as(x), value, hmc.Options())["converged"] == 0.0
    told = chains.judge(
        x, (value.T + torch.arange(8.0, dtype=value.dtype, device="cpu")).T, hmc.Options()
    )
    assert told["converged"] == 0.0  # of each chain another one


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (torch.zeros(3, dtype=torch.float64), r"shape \(chains, dim\), got \(3,\)"),
        (torch.full((2, 2), math.nan, dtype=torch.float64), "finite values, got NaN"),
        (torch.full((2, 1), -1.0, dtype=torch.float64), "above 0 at one of 2 starting points"),
    ],
)
def test_bad_starts_are_refused(start: Tensor, told: str) -> None:
    density = Differentiated(lambda x: torch.where(x[:, 0] > 0, -x[:, 0], -math.inf))
    with pytest.raises(DataError, match=told):
        hmc.init(density, start)
    with pytest.raises(DataError, match=told):
        laplace.init(density, start, laplace.Options())


@pytest.mark.parametrize("least", [1e-2, 1e-6, 1e-7, 1e-9])
def test_scales_that_lie_decades_apart_along_a_diagonal_are_found(least: float) -> None:
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    sd = torch.tensor([10.0, least], dtype=torch.float64)
    precision = turn / sd.square() @ turn.T
    density = Differentiated(lambda x: -0.5 * ((x @ precision) * x).sum(dim=1))
    found = laplace.init(density, torch.zeros((1, 2), dtype=torch.float64), laplace.Options())
    assert bool((found.factor.diagonal() > 0.0).all())
    assert float(found.factor[0, 1]) == 0.0
    narrow = torch.linalg.solve_triangular(found.factor, turn[:, 1:], upper=False).norm()
    assert float(narrow) == pytest.approx(1.0 / least, rel=1e-2)
    assert float((turn[:, 0] @ found.factor).norm()) < 10.1


def test_a_log_density_of_another_shape_is_refused() -> None:
    density = Differentiated(lambda x: -x.square())
    with pytest.raises(DataError, match=r"expected shape \(2,\) for points of shape \(2, 3\)"):
        hmc.init(density, torch.zeros((2, 3), dtype=torch.float64))


def test_laplace_is_exact_for_a_gaussian() -> None:
    target = gaussian()
    start = target.starts(2, seeded(0))
    state = laplace.init(target.density, start, laplace.Options())
    assert torch.allclose(state.mode, target.mean, atol=1e-4)
    variance = (state.factor @ state.factor.T).diagonal()
    assert torch.allclose(variance, target.variance, rtol=1e-3)
    assert state.log_normaliser == pytest.approx(target.log_normaliser, abs=1e-3)


@pytest.mark.parametrize("rate", [1.0, 30.0, 1e3])
@pytest.mark.parametrize("outside", [-math.inf, math.nan])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_search_for_a_mode_turns_back_where_there_is_no_density(
    seed: int, outside: float, rate: float
) -> None:
    """Gamma densities, of shape 3 and of shape 2: steps from the starts lead beyond 0."""
    shape = torch.tensor([3.0, 2.0], dtype=torch.float64, device="cpu")
    rates = torch.tensor([rate, 1.0], dtype=torch.float64, device="cpu")

    def log_density(x: Tensor) -> Tensor:
        value = ((shape - 1.0) * x.clamp_min(1e-300).log() - rates * x).sum(dim=1)
        return torch.where((x > 0.0).all(dim=1), value, outside)

    start = 1.0 + torch.rand(2, 2, generator=seeded(seed), dtype=torch.float64, device="cpu")
    found = laplace.init(Differentiated(log_density), start, laplace.Options())
    assert torch.allclose(found.mode, (shape - 1.0) / rates, rtol=1e-3)
    assert torch.allclose(found.factor.diagonal(), (shape - 1.0).sqrt() / rates, rtol=1e-2)


@pytest.mark.parametrize(
    ("bend", "width"), [(25.0, 0.2), (0.0, 7.0)], ids=["half normal", "straight"]
)
@pytest.mark.parametrize("seed", range(4))
def test_the_width_at_an_edge_is_that_of_the_side_that_has_a_density(
    seed: int, bend: float, width: float
) -> None:
    def log_density(x: Tensor) -> Tensor:
        value = -0.5 * bend * x[:, 0].square() - (bend == 0.0) * x[:, 0]
        return torch.where(x[:, 0] > 0.0, value, -math.inf)

    start = torch.rand(2, 1, generator=seeded(seed), dtype=torch.float64, device="cpu")
    density = Differentiated(log_density)
    found = laplace.init(density, start, laplace.Options(greatest_sd=7.0))
    assert 0.0 < float(found.mode) < 0.1
    assert found.value == float(density.value_and_grad(found.mode.unsqueeze(0))[0])
    assert float(found.factor) == pytest.approx(width, rel=1e-3)


@pytest.mark.parametrize(
    ("place", "sd"), [(0.0, 1e-4), (0.0, 1e-8), (5.0, 1e-5), (2000.0, 0.1), (1e5, 1.0), (0.0, 1e3)]
)
def test_the_width_at_a_mode_is_told_whatever_the_unit(place: float, sd: float) -> None:
    """Of a Student t with 4 degrees of freedom, whose curvature falls within its width."""
    density = Differentiated(lambda x: -2.5 * torch.log1p(((x - place) / sd).square() / 4.0).sum(1))
    start = torch.tensor([[place + 0.3 * sd], [place - 0.5 * sd]], dtype=torch.float64)
    found = laplace.init(density, start, laplace.Options(greatest_sd=1e6))
    assert float(found.factor) == pytest.approx(sd / math.sqrt(1.25), rel=1e-2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_importance_sampling_from_laplace_finds_the_moments(target: Target, seed: int) -> None:
    generator = seeded(seed)
    draws = laplace.run(
        target.density,
        target.starts(2, generator),
        options=laplace.Options(draws=100_000),
        generator=generator,
    )
    assert draws.diagnostics["converged"] == 1.0
    assert draws.diagnostics["log_normaliser"] == pytest.approx(target.log_normaliser, abs=0.05)
    assert draws.log_weights is not None
    weights, x = draws.log_weights[0].exp(), draws.x[0]
    assert float(weights.sum()) == pytest.approx(1.0)
    squares = (x - target.mean).square()
    error = (weights.square() @ squares).sqrt()
    assert bool(((weights @ x - target.mean).abs() < 4.0 * error).all())
    noise = (weights.square() @ (squares - target.variance).square()).sqrt()
    assert bool((3.0 * noise < 0.1 * target.variance).all())
    assert torch.allclose(weights @ squares, target.variance, rtol=0.1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "target", [student(degrees=2.5), funnel(), two_modes()], ids=["heavy tails", "funnel", "modes"]
)
def test_a_gaussian_proposal_that_misses_mass_is_not_trusted(target: Target, seed: int) -> None:
    """Each has variances that are wrong by 5 % to 70 %."""
    options = laplace.Options(draws=100_000, degrees=0)
    start = target.starts(4, seeded(seed))
    told = laplace.run(target.density, start, options=options, generator=seeded(seed))
    assert told.diagnostics["khat"] > 0.7
    assert told.diagnostics["converged"] == 0.0


def test_a_flat_direction_has_a_finite_width() -> None:
    density = Differentiated(lambda x: -0.5 * x[:, 0].square())
    start = torch.zeros((1, 2), dtype=torch.float64)
    state = laplace.init(density, start, laplace.Options(greatest_sd=7.0))
    assert (state.factor @ state.factor.T).diagonal().tolist() == pytest.approx([1.0, 49.0])


@pytest.mark.parametrize("flat", [True, False], ids=["gradients", "values"])
def test_a_density_that_returns_other_shapes_is_refused(flat: bool) -> None:
    class Odd:
        def value_and_grad(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            value = -0.5 * x.square().sum(dim=1)
            return (value, -x.sum(dim=1)) if flat else (value.unsqueeze(1), -x)

    start = torch.zeros((8, 2), dtype=torch.float64, device="cpu")
    with pytest.raises(DataError, match="a density expected to return values"):
        hmc.init(Odd(), start)
