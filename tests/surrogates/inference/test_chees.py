"""ChEES-HMC on densities whose moments are known."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from surrogates.errors import DataError
from surrogates.inference import chees, hmc
from surrogates.inference.chains import travel
from surrogates.inference.contract import Density, Differentiated
from tests.surrogates.inference.targets import TARGETS, Target, gaussian, two_modes
from tests.surrogates.inference.test_samplers import check_moments, seeded

SEEDS = [0, 1]


def normal(sd: Tensor) -> Density:
    return Differentiated(lambda x: -0.5 * (x / sd).square().sum(dim=1))


def at_size(state: chees.State, size: float, trajectory: float) -> chees.State:
    return chees.State(dataclasses.replace(state.chains, step_size=size), trajectory)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_it_finds_the_moments(target: Target, seed: int) -> None:
    generator = seeded(seed)
    start = chees.init(target.density, target.starts(64, generator))
    options = chees.Options(draws=128, most_draws=4096, sd_error=0.0125)
    draws, _ = chees.run(target.density, start, options=options, generator=generator)
    assert draws.diagnostics["converged"] == 1.0
    assert draws.x.shape[:2] == draws.log_density.shape
    value, _ = target.density.value_and_grad(draws.x.flatten(0, 1))
    assert torch.allclose(value, draws.log_density.flatten())
    check_moments(draws.x, target)


@pytest.mark.parametrize("size", [0.2, 1.2, 1.8])
@pytest.mark.parametrize("seed", SEEDS)
def test_it_leaves_a_density_as_it_is_at_any_step_size(seed: int, size: float) -> None:
    """Chains that begin with draws of the density still have its moments."""
    target, generator = two_modes(), seeded(seed)
    first = torch.randn((20_000, 2), generator=generator, dtype=torch.float64)
    second = torch.rand(20_000, generator=generator, dtype=torch.float64) < 0.3
    first[second] += torch.tensor([3.0, 0.5], dtype=torch.float64)
    state = at_size(chees.init(target.density, first), size, 3.0)
    accepted = 1.0
    for _ in range(5):
        state, moved = chees.step(target.density, state, generator)
        accepted = float(moved.accept.mean())
    off = state.chains.x - target.mean
    assert bool((off.mean(dim=0).abs() < 4.5 * (target.variance / 20_000).sqrt()).all())
    squares = off.square()
    error = squares.std(dim=0) / 20_000**0.5
    assert bool(((squares.mean(dim=0) - target.variance).abs() < 4.5 * error).all())
    assert (accepted > 0.98) == (size == 0.2)
    value, gradient = target.density.value_and_grad(state.chains.x)
    assert torch.allclose(value, state.chains.value)
    assert torch.allclose(gradient, state.chains.gradient)


@pytest.mark.parametrize("length", [0.5, 1.0, 2.0])
def test_the_slope_is_that_of_the_criterion(length: float) -> None:
    """A Gaussian's ChEES is dim sin(t)^2 in coordinates whitened by its own factor."""
    factor = torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-2.0, 1.0, 0.1]], dtype=torch.float64)
    precision = torch.cholesky_inverse(factor)
    density = Differentiated(lambda x: -0.5 * ((x @ precision) * x).sum(dim=1))
    generator = seeded(0)
    white = torch.randn((20_000, 3), generator=generator, dtype=torch.float64)
    state = hmc.init(density, white @ factor.T, factor)
    state = dataclasses.replace(state, step_size=0.025)
    travelled = travel(density, state, round(length / 0.025), generator)
    assert travelled.length == pytest.approx(length)
    slopes = chees.chees_slope(state, travelled) / length
    error = float(slopes.std()) / 20_000**0.5
    assert abs(float(slopes.mean()) - 3.0 * math.sin(2.0 * length)) < 4.5 * error


@pytest.mark.parametrize("seed", SEEDS)
def test_it_learns_a_longer_trajectory_where_some_directions_are_wide(seed: int) -> None:
    """Mean over shares of dim sin(t)^2 has its maximum at tan 2t = 2t: t = 2.25, in one width."""
    learned: list[float] = []
    for widest in (1.0, 10.0):
        sd = torch.linspace(1.0, widest, 5, dtype=torch.float64)
        generator = seeded(seed)
        start = sd * torch.randn((64, 5), generator=generator, dtype=torch.float64)
        options = chees.Options(warmup=200, metric=False)
        state = chees.warm_up(normal(sd), chees.init(normal(sd), start), options, generator)
        assert torch.equal(state.chains.factor, torch.eye(5, dtype=torch.float64))
        learned.append(state.trajectory)
    assert 1.3 < learned[0] < 3.2
    assert learned[1] > 3.0 * learned[0]


def test_a_metric_takes_the_place_of_a_long_trajectory() -> None:
    sd = torch.linspace(1.0, 10.0, 5, dtype=torch.float64)
    generator = seeded(0)
    start = sd * torch.randn((64, 5), generator=generator, dtype=torch.float64)
    state = chees.init(normal(sd), start)
    state = chees.warm_up(normal(sd), state, chees.Options(warmup=200), generator)
    assert 1.3 < state.trajectory < 3.2
    variance = (state.chains.factor @ state.chains.factor.T).diagonal()
    assert torch.allclose(variance, sd.square(), rtol=0.25)


def test_lengths_are_not_learned_from_rejected_and_outlying_trajectories() -> None:
    length = chees.Length(2.0, 0.05)
    one = torch.ones(4, dtype=torch.float64)
    assert length.update(math.inf * one, 0.0 * one) == pytest.approx(2.0)
    assert length.update(torch.full_like(one, math.nan), one) == pytest.approx(2.0)
    assert length.update(one, one) == pytest.approx(2.0 * math.exp(0.05))
    length.update(1e12 * one, one)
    now = math.log(length.update(-one, one))
    assert math.log(length.update(-one, one)) < now - 0.01
    assert length.best < 2.0 * math.exp(0.2)


def test_one_that_has_not_converged_says_so() -> None:
    target = two_modes(distance=20.0)  # no chain crosses
    generator = seeded(0)
    # Without a metric: that of both modes would carry chains from one to the other.
    state = chees.init(target.density, target.starts(8, generator))
    options = chees.Options(warmup=30, draws=16, most_draws=64, metric=False)
    draws, _ = chees.run(target.density, state, options=options, generator=generator)
    assert draws.diagnostics["converged"] == 0.0
    assert draws.diagnostics["rhat_max"] > 1.1
    assert draws.diagnostics["draws"] == 64


def test_it_goes_on_from_what_was_kept_as_if_it_had_not_stopped() -> None:
    target = gaussian(4)
    options = chees.Options(warmup=20, draws=8, most_draws=8, ess=0.0)
    state = chees.init(target.density, target.starts(4, seeded(0)))
    generator = seeded(1)
    _, between = chees.run(target.density, state, options=options, generator=generator)
    options = dataclasses.replace(options, warmup=0)
    kept = chees.State.from_json(between.to_json(), target.density, between.chains.x)
    at = generator.get_state()
    straight, _ = chees.run(target.density, between, options=options, generator=generator)
    generator.set_state(at)
    resumed, _ = chees.run(target.density, kept, options=options, generator=generator)
    assert torch.equal(straight.x, resumed.x)
    assert straight.diagnostics == resumed.diagnostics


def test_it_draws_the_same_from_the_same_seed_and_others_from_another() -> None:
    target = gaussian(3)
    drawn = []
    for seed in (5, 5, 6):
        state = chees.init(target.density, target.starts(4, seeded(0)))
        options = chees.Options(draws=8, most_draws=8)
        drawn.append(chees.run(target.density, state, options=options, generator=seeded(seed))[0].x)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_single_precision_stays_single() -> None:
    density = normal(torch.ones(3, dtype=torch.float32))
    state = chees.init(density, torch.ones((4, 3), dtype=torch.float32))
    options = chees.Options(draws=8, most_draws=8)
    draws, after = chees.run(density, state, options=options, generator=seeded(0))
    assert draws.x.dtype == draws.log_density.dtype == after.chains.factor.dtype == torch.float32


def test_one_chain_keeps_the_length_that_it_has() -> None:
    density = normal(torch.ones(2, dtype=torch.float64))
    state = chees.init(density, torch.ones((1, 2), dtype=torch.float64))
    after = chees.warm_up(density, state, chees.Options(), seeded(0))
    assert after.trajectory == pytest.approx(state.trajectory)


@pytest.mark.parametrize("outside", [-math.inf, math.nan, math.inf])
def test_points_outside_the_support_are_rejected(outside: float) -> None:
    """A half normal: no density on one side, NaN far out on the other."""

    def log_density(x: Tensor) -> Tensor:
        inside = -0.5 * x[:, 0].square()
        return torch.where(x[:, 0] > 0, inside, outside) + 0.0 * (9.0 - x[:, 0]).log()

    density, generator = Differentiated(log_density), seeded(0)
    # Exact draws, which the sampler must leave as they are.
    start = torch.randn((20_000, 1), generator=generator, dtype=torch.float64).abs()
    state = at_size(chees.init(density, start), 0.4, 2.0)
    for _ in range(3):
        state, _ = chees.step(density, state, generator)
    x = state.chains.x
    assert bool((x > 0).all())
    assert bool(torch.isfinite(state.chains.value).all())
    mean, sd = math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi)
    assert abs(float(x.mean()) - mean) < 4.5 * sd / 20_000**0.5


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
        chees.init(density, start)
