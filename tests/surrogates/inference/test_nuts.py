"""The No-U-Turn sampler on densities whose moments are known."""

import dataclasses
import math

import pytest
import torch
from torch import Generator, Tensor

from surrogates.errors import DataError
from surrogates.inference import nuts
from surrogates.inference.contract import Density, Differentiated
from tests.surrogates.inference.targets import TARGETS, Target, gaussian, two_modes
from tests.surrogates.inference.test_samplers import check_moments, seeded

SEEDS = [0, 1]
ONE_SOON = [0, pytest.param(1, marks=pytest.mark.slow)]


class Watched:
    """A density that keeps how many rows each call had."""

    def __init__(self, density: Density) -> None:
        self.density = density
        self.rows: list[int] = []

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert bool(torch.isfinite(x).all())
        self.rows.append(len(x))
        return self.density.value_and_grad(x)


def exact(count: int, generator: Generator) -> Tensor:
    """Independent draws of `two_modes()`."""
    first = torch.randn((count, 2), generator=generator, dtype=torch.float64)
    second = torch.rand(count, generator=generator, dtype=torch.float64) < 0.3
    first[second] += torch.tensor([3.0, 0.5], dtype=torch.float64)
    return first


def check_independent(x: Tensor, target: Target) -> None:
    """Means and variances of independent draws within 4.5 standard errors."""
    off = x - target.mean
    assert bool((off.mean(dim=0).abs() < 4.5 * (target.variance / len(x)).sqrt()).all())
    squares = off.square()
    error = squares.std(dim=0) / len(x) ** 0.5
    assert bool(((squares.mean(dim=0) - target.variance).abs() < 4.5 * error).all())


def standard(dim: int) -> Density:
    return Differentiated(lambda x: -0.5 * x.square().sum(dim=1))


@pytest.mark.parametrize("seed", ONE_SOON)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_it_finds_the_moments(target: Target, seed: int) -> None:
    generator = seeded(seed)
    start = nuts.init(target.density, target.starts(128, generator))
    options = nuts.Options(warmup=50, draws=128, most_draws=2048, sd_error=1.0 / 60.0)
    draws, _ = nuts.run(target.density, start, options=options, generator=generator)
    assert draws.diagnostics["converged"] == 1.0
    assert draws.x.shape[:2] == draws.log_density.shape
    value, _ = target.density.value_and_grad(draws.x.flatten(0, 1))
    assert torch.allclose(value, draws.log_density.flatten())
    check_moments(draws.x, target)


@pytest.mark.parametrize("size", [0.2, 0.7, 1.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_it_leaves_a_density_as_it_is_at_any_step_size(seed: int, size: float) -> None:
    """Chains that begin with draws of the density still have its moments."""
    target, generator = two_modes(), seeded(seed)
    state = nuts.init(target.density, exact(20_000, generator))
    state = dataclasses.replace(state, step_size=size)
    accepted = 1.0
    for _ in range(3):
        state, moved = nuts.step(target.density, state, nuts.Options(), generator)
        accepted = float(moved.accept.mean())
        assert not bool(moved.diverged.any())
    check_independent(state.x, target)
    assert (accepted > 0.98) == (size == 0.2)
    value, gradient = target.density.value_and_grad(state.x)
    assert torch.allclose(value, state.value)
    assert torch.allclose(gradient, state.gradient)


@pytest.mark.parametrize("max_depth", [1, 2, 3])
def test_it_leaves_a_density_as_it_is_where_trees_are_cut_short(max_depth: int) -> None:
    target, generator = two_modes(), seeded(max_depth)
    state = nuts.init(target.density, exact(20_000, generator))
    state = dataclasses.replace(state, step_size=0.6)
    options = nuts.Options(max_depth=max_depth)
    for _ in range(4):
        state, moved = nuts.step(target.density, state, options, generator)
        assert moved.steps == 2**max_depth - 1
    check_independent(state.x, target)


def test_a_tree_goes_on_until_it_turns() -> None:
    """A Gaussian turns after half a period, pi / 0.05 = 62.8 steps: before the 64th."""
    generator = seeded(0)
    density = standard(20)
    start = torch.randn((64, 20), generator=generator, dtype=torch.float64)
    state = dataclasses.replace(nuts.init(density, start), step_size=0.05)
    _, moved = nuts.step(density, state, nuts.Options(max_depth=12), generator)
    assert moved.steps == 63


def test_chains_that_have_turned_are_not_called() -> None:
    """They turn early where they move along the narrow axis, late where along the wide one."""
    density = Watched(Differentiated(lambda x: -0.5 * (x[:, 0].square() + x[:, 1].square() / 100)))
    generator = seeded(0)
    start = torch.randn((64, 2), generator=generator, dtype=torch.float64)
    start[:, 1] *= 10.0
    state = dataclasses.replace(nuts.init(density, start), step_size=0.2)
    density.rows.clear()
    _, moved = nuts.step(density, state, nuts.Options(max_depth=12), generator)
    assert len(density.rows) == moved.steps
    assert density.rows == sorted(density.rows, reverse=True)
    assert density.rows[0] == 64
    assert density.rows[-1] < 48


def test_draws_of_a_gaussian_are_less_alike_than_those_of_a_short_trajectory() -> None:
    """Of a long trajectory the later half is preferred: successive draws are hardly correlated."""
    density, generator = standard(20), seeded(0)
    start = torch.randn((2000, 20), generator=generator, dtype=torch.float64)
    state = dataclasses.replace(nuts.init(density, start), step_size=0.2)
    after, _ = nuts.step(density, state, nuts.Options(), generator)
    assert float((after.x * start).mean()) < 0.1
    assert float((after.x - start).square().sum(dim=1).min()) > 0.0


def test_energy_that_is_lost_is_told_and_stops_a_chain() -> None:
    density, generator = Watched(standard(2)), seeded(0)
    start = torch.randn((8, 2), generator=generator, dtype=torch.float64)
    state = dataclasses.replace(nuts.init(density, start), step_size=100.0)
    density.rows.clear()
    after, moved = nuts.step(density, state, nuts.Options(), generator)
    assert bool(moved.diverged.all())
    assert density.rows == [8]
    assert torch.equal(after.x, start)
    assert float(moved.accept.max()) == 0.0


def test_one_that_has_not_converged_says_so() -> None:
    target = two_modes(distance=20.0)  # no chain crosses
    generator = seeded(0)
    state = nuts.init(target.density, target.starts(8, generator))
    options = nuts.Options(warmup=20, draws=16, most_draws=64)
    draws, _ = nuts.run(target.density, state, options=options, generator=generator)
    assert draws.diagnostics["converged"] == 0.0
    assert draws.diagnostics["rhat_max"] > 1.1
    assert draws.diagnostics["draws"] == 64


def test_it_goes_on_from_what_was_kept_as_if_it_had_not_stopped() -> None:
    class Rounded:
        """Rounds differently in calls of other numbers of rows, as products of matrices may."""

        def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
            value, gradient = target.density.value_and_grad(x)
            return value, gradient * (1.0 + 1e-12 * len(x))

    target, density = gaussian(4), Rounded()
    options = nuts.Options(warmup=20, draws=8, most_draws=8, ess=0.0)
    state = nuts.init(density, target.starts(32, seeded(0)))
    generator = seeded(1)
    _, between = nuts.run(density, state, options=options, generator=generator)
    options = dataclasses.replace(options, warmup=0)
    kept = nuts.State.from_json(between.to_json(), density, between.x)
    assert not torch.equal(kept.gradient, between.gradient)  # some are of calls for fewer chains
    at = generator.get_state()
    straight, _ = nuts.run(density, between, options=options, generator=generator)
    generator.set_state(at)
    resumed, _ = nuts.run(density, kept, options=options, generator=generator)
    assert torch.equal(straight.x, resumed.x)
    assert straight.diagnostics == resumed.diagnostics


def test_it_draws_the_same_from_the_same_seed_and_others_from_another() -> None:
    target = gaussian(3)
    drawn = []
    for seed in (5, 5, 6):
        state = nuts.init(target.density, target.starts(4, seeded(0)))
        options = nuts.Options(draws=8, most_draws=8)
        drawn.append(nuts.run(target.density, state, options=options, generator=seeded(seed))[0].x)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_single_precision_stays_single() -> None:
    density, generator = standard(3), seeded(0)
    state = nuts.init(density, torch.ones((4, 3), dtype=torch.float32))
    options = nuts.Options(draws=8, most_draws=8)
    draws, after = nuts.run(density, state, options=options, generator=generator)
    assert draws.x.dtype == draws.log_density.dtype == after.factor.dtype == torch.float32


@pytest.mark.parametrize("outside", [-math.inf, math.nan, math.inf])
def test_points_outside_the_support_are_rejected(outside: float) -> None:
    """A half normal: no density on one side, NaN far out on the other."""

    def log_density(x: Tensor) -> Tensor:
        inside = -0.5 * x[:, 0].square()
        return torch.where(x[:, 0] > 0, inside, outside) + 0.0 * (9.0 - x[:, 0]).log()

    density, generator = Differentiated(log_density), seeded(0)
    # Exact draws, which the sampler must leave as they are.
    start = torch.randn((20_000, 1), generator=generator, dtype=torch.float64).abs()
    state = dataclasses.replace(nuts.init(density, start), step_size=0.4)
    for _ in range(3):
        state, _ = nuts.step(density, state, nuts.Options(), generator)
    assert bool((state.x > 0).all())
    assert bool(torch.isfinite(state.value).all())
    mean, sd = math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi)
    assert abs(float(state.x.mean()) - mean) < 4.5 * sd / 20_000**0.5


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
        nuts.init(density, start)
