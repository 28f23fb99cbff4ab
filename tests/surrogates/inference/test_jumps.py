"""Jumps of chains by proposals fitted to draws: what is proposed, and that no density changes."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Generator

from surrogates.inference import diagnostics, hmc, proposal
from surrogates.inference.chains import pooled_factor
from surrogates.inference.contract import Density, Differentiated, leapfrog_by_steps
from surrogates.inference.proposal import Proposal
from tests.surrogates.inference.targets import gaussian, two_modes

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


def mixture() -> Proposal:
    """Two components in the plane."""
    factors = torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[0.3, 0.0], [-0.2, 0.6]]], **F64)
    means = torch.tensor([[0.0, 1.0], [4.0, -1.0]], **F64)
    return Proposal(torch.tensor([0.75, 0.25], **F64).log(), means, factors)


def test_the_density_of_a_proposal_integrates_to_one() -> None:
    line = torch.linspace(-60.0, 60.0, 1201, **F64)
    grid = torch.cartesian_prod(line, line)
    assert float(mixture().log_density(grid).exp().sum()) * 0.1**2 == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_proposed_has_the_density_of_the_proposal(seed: int) -> None:
    """The mean of g / q over draws of q is the integral of g, here of normal densities."""
    told = mixture()
    x = told.sample(200_000, seeded(seed))
    for centre in told.means:
        square = (x - centre).square().sum(dim=1) / 0.25
        ratio = torch.exp(-0.5 * square - told.log_density(x)) / (2.0 * math.pi * 0.25)
        error = float(ratio.std()) / math.sqrt(len(x))
        assert error < 0.01
        assert abs(float(ratio.mean()) - 1.0) < 4.0 * error


def test_a_fit_finds_modes_their_shares_and_their_spread() -> None:
    generator = seeded(3)
    x = torch.randn((4000, 3), generator=generator, **F64)
    x[1000:, 0] = 12.0 + 0.5 * x[1000:, 0]
    told = proposal.fit(x, generator)
    assert told is not None
    far = told.means[:, 0] > 6.0
    assert float(told.log_weights.exp()[far].sum()) == pytest.approx(0.75, abs=0.01)
    drawn = told.sample(50_000, generator)
    right = drawn[:, 0] > 6.0
    assert float(right.double().mean()) == pytest.approx(0.75, abs=0.02)
    # A t with 3 degrees of freedom has three times the variance; the prior widens narrow ones.
    assert 0.5 < float(drawn[right, 0].std()) < 2.0


def test_too_few_draws_or_none_that_differ_fit_no_proposal() -> None:
    assert proposal.fit(torch.randn((23, 3), generator=seeded(0), **F64), seeded(1)) is None
    assert proposal.fit(torch.ones((100, 3), **F64), seeded(1)) is None


def test_of_two_proposals_each_has_its_share() -> None:
    one, x = mixture(), torch.tensor([[0.3, -0.8], [5.0, 2.0]], **F64)
    other = dataclasses.replace(one, means=one.means + 1.0)
    both = one.beside(other, 0.1).log_density(x).exp()
    parts = 0.9 * one.log_density(x).exp() + 0.1 * other.log_density(x).exp()
    assert torch.allclose(both, parts, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_jumps_leave_a_density_as_it_is(seed: int, count: int) -> None:
    """Chains that begin with draws of the density have its moments after a bad proposal's jumps."""
    target, generator = two_modes(), seeded(seed)
    first = torch.randn((4096, 2), generator=generator, **F64)
    second = torch.rand(4096, generator=generator, **F64) < 0.3
    first[second] += torch.tensor([3.0, 0.5], **F64)
    state = hmc.init(target.density, first)
    for _ in range(6):
        state, jumped = hmc.jump(target.density, state, mixture(), count, generator)
        assert 0.05 < jumped < 0.95
    error = (target.variance / 4096).sqrt()
    assert bool(((state.x.mean(dim=0) - target.mean).abs() < 4.5 * error).all())
    assert bool(((state.x.var(dim=0) / target.variance - 1.0).abs() < 0.15).all())
    value, gradient = target.density.value_and_grad(state.x)
    assert torch.equal(state.value, value)
    assert torch.allclose(state.gradient, gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_chains_that_no_trajectory_takes_between_two_modes_find_their_shares(seed: int) -> None:
    target, generator = two_modes(distance=20.0, share=0.3), seeded(seed)
    start = torch.randn((32, 2), generator=generator, **F64)
    start[:16, 0] += 20.0  # half of them, not a third
    state = hmc.init(target.density, start)
    options = hmc.Options(ess=1000.0)
    draws, _ = hmc.run(target.density, state, options=options, generator=generator)
    assert draws.diagnostics["converged"] == 1.0
    assert draws.diagnostics["jumped"] > 0.3
    far = (draws.x[..., :1] > 10.0).double()
    error = math.sqrt(0.3 * 0.7 / float(diagnostics.ess_mean(far)))
    assert error < 0.03
    assert abs(float(far.mean()) - 0.3) < 4.0 * error


@pytest.mark.parametrize("heat", [2.0, 4.0])
def test_hot_chains_move_by_the_density_to_a_power(heat: float) -> None:
    """The steps that a density makes of its own are those of the hot one, called by its values."""
    target, generator = gaussian(3), seeded(0)
    hot = hmc.Heated(target.density, heat)
    x = target.starts(5, generator)
    momentum = torch.randn((5, 3), generator=generator, **F64)
    value, gradient = hot.value_and_grad(x)
    cold, slope = target.density.value_and_grad(x)
    assert torch.allclose(heat * value, cold, rtol=1e-12, atol=0.0)
    assert torch.allclose(heat * gradient, slope, rtol=1e-12, atol=1e-12)
    factor = torch.linalg.cholesky(torch.eye(3, **F64) + 0.3)
    told = hot.leapfrog(x, momentum, gradient, factor, 0.2, 7)
    truth = leapfrog_by_steps(hot, x, momentum, gradient, factor, 0.2, 7)
    for one, other in zip(told, truth, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


def with_a_mode_aside(*, share: float, distance: float, sd: float) -> Density:
    """A standard normal density in eight dimensions, and a share of another one aside."""
    centre = distance * torch.eye(8, **F64)[0]

    def log_density(x: torch.Tensor) -> torch.Tensor:
        here = math.log(1.0 - share) - 0.5 * x.square().sum(dim=1)
        aside = -0.5 * ((x - centre) / sd).square().sum(dim=1)
        return torch.logaddexp(here, math.log(share) - 8.0 * math.log(sd) + aside)

    return Differentiated(log_density)


def with_a_rare_part() -> Density:
    return with_a_mode_aside(share=0.03, distance=12.0, sd=1.5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_chains_that_all_begin_elsewhere_find_a_rare_part(seed: int) -> None:
    """With what hot chains saw."""
    generator = seeded(seed)
    state = hmc.init(with_a_rare_part(), torch.randn((16, 8), generator=generator, **F64))
    draws, _ = hmc.run(
        state=state, density=with_a_rare_part(), options=hmc.Options(), generator=generator
    )
    assert draws.diagnostics["converged"] == 1.0
    assert draws.diagnostics["mcse_sd_max"] <= 0.1
    far = (draws.x[..., :1] > 6.0).double()
    error = math.sqrt(0.03 * 0.97 / float(diagnostics.ess_mean(far)))
    assert error < 0.01
    assert abs(float(far.mean()) - 0.03) < 4.0 * error


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_chain_at_a_mode_of_its_own_has_it_proposed_to_all(seed: int) -> None:
    """And neither its narrowness nor the distance makes the others' steps short."""
    generator = seeded(seed)
    density = with_a_mode_aside(share=0.1, distance=30.0, sd=0.4)
    start = torch.randn((4, 8), generator=generator, **F64)
    start[2] = 30.0 * torch.eye(8, **F64)[0] + 0.4 * start[2]
    options = hmc.Options(heat=1.0, sd_error=0.15, most_draws=4096)
    draws, state = hmc.run(density, hmc.init(density, start), options=options, generator=generator)
    assert draws.diagnostics["converged"] == 1.0
    assert state.step_size > 0.2
    far = (draws.x[..., :1] > 15.0).double()
    error = math.sqrt(0.1 * 0.9 / float(diagnostics.ess_mean(far)))
    assert error < 0.03
    assert abs(float(far.mean()) - 0.1) < 4.0 * error


@pytest.mark.parametrize("seed", [0, 1])
def test_a_metric_is_not_stretched_to_points_far_aside(seed: int) -> None:
    x = torch.randn((100, 3), generator=seeded(seed), **F64)
    aside = x.clone()
    aside[:30] += torch.tensor([500.0, 0.0, -500.0], **F64)
    eye = torch.eye(3, **F64)
    assert torch.equal(pooled_factor(aside, eye), pooled_factor(x[30:], eye))
    still = x.clone()
    still[:60] = x[60]  # chains that have not moved yet
    everywhere = still - still.mean(dim=0)
    told = torch.linalg.cholesky((everywhere.T @ everywhere + 3.0 * eye) / 103.0)
    assert torch.allclose(pooled_factor(still, eye), told, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_nor_where_half_of_the_points_are_at_each_of_two_places(seed: int) -> None:
    x = torch.randn((100, 3), generator=seeded(seed), **F64)
    x[50:] = 0.5 * x[50:] + torch.tensor([500.0, 0.0, -500.0], **F64)
    factor = pooled_factor(x, torch.eye(3, **F64))
    assert torch.equal(factor, pooled_factor(x[50:], torch.eye(3, **F64)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_modes_with_half_of_the_chains_each_do_not_make_steps_short(seed: int) -> None:
    generator = seeded(seed)
    density = with_a_mode_aside(share=0.5, distance=100.0, sd=0.5)
    start = torch.randn((4, 8), generator=generator, **F64)
    start[2:] = 100.0 * torch.eye(8, **F64)[0] + 0.5 * start[2:]
    options = hmc.Options(heat=1.0, jumps=0)
    state = hmc.warm_up(density, hmc.init(density, start), options, generator)
    assert state.step_size > 0.2


def test_a_run_that_does_not_look_around_keeps_chains_where_they_began() -> None:
    target, generator = gaussian(2), seeded(0)
    state = hmc.init(target.density, target.starts(8, generator))
    for options in (hmc.Options(heat=1.0), hmc.Options(jumps=0), hmc.Options(warmup=5)):
        told = [
            hmc.run(target.density, state, options=each, generator=seeded(1))[0].x
            for each in (options, dataclasses.replace(options, heat=1.0))
        ]
        assert torch.equal(*told)
    hot = hmc.look_around(target.density, state, hmc.Options(), generator)
    assert hot.proposal is not None
    assert hot.step_size == state.step_size
    assert torch.equal(hot.factor, state.factor)
    value, gradient = target.density.value_and_grad(hot.x)
    assert torch.allclose(hot.value, value, rtol=1e-10, atol=1e-10)
    assert torch.allclose(hot.gradient, gradient, rtol=1e-10, atol=1e-10)


def test_a_proposal_that_takes_no_chain_anywhere_is_dropped() -> None:
    target, generator = gaussian(2), seeded(0)
    far = dataclasses.replace(mixture(), means=torch.full((2, 2), 1e4, **F64))
    state = hmc.init(target.density, target.starts(8, generator), None, far)
    after = hmc.warm_up(target.density, state, hmc.Options(warmup=5), generator)
    assert after.proposal is None
    kept = dataclasses.replace(state, proposal=mixture())
    assert hmc.warm_up(target.density, kept, hmc.Options(warmup=5), generator).proposal is not None
