"""Diagnostics against closed forms, and against figures of another implementation."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from surrogates.inference import diagnostics


def autoregressive(rho: float, *, chains: int, draws: int, seed: int) -> Tensor:
    """Stationary AR(1) chains with unit variance."""
    noise = np.random.default_rng(seed).normal(size=(chains, draws))
    x = noise.copy()
    for at in range(1, draws):
        x[:, at] = rho * x[:, at - 1] + math.sqrt(1 - rho**2) * noise[:, at]
    return torch.as_tensor(x)


def wave(chains: int, draws: int, trend: float = 0.0) -> Tensor:
    """No randomness at all, so that figures can be quoted."""
    place = np.arange(chains * draws).reshape(chains, draws)
    x = np.sin(place**1.5) + 0.7 * np.cos(0.1 * place) + trend * np.arange(chains)[:, None]
    return torch.as_tensor(x)


# Computed with arviz-stats 0.8.0 in float64: rhat, ess bulk, tail (0.05, 0.95) and mean.
QUOTED = {
    (4, 100, 0.0): [1.0166239050170407, 62.97254537637196, 73.25796569580292, 64.1708294071346],
    (3, 61, 0.0): [1.0306749473381256, 44.69733818643211, 68.06050599718354, 47.962236548754746],
    (4, 100, 0.5): [1.1953605669890637, 16.140509626315104, 32.5275968565575, 16.26209387987813],
}


@pytest.mark.parametrize("case", QUOTED)
def test_figures_are_those_of_another_implementation(case: tuple[int, int, float]) -> None:
    draws = wave(*case)
    ours = [
        diagnostics.rhat(draws),
        diagnostics.ess_bulk(draws),
        diagnostics.ess_tail(draws),
        diagnostics.ess_mean(draws),
    ]
    assert [float(each) for each in ours] == pytest.approx(QUOTED[case], rel=1e-9)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_effective_sizes_of_autoregressive_chains(rho: float, seed: int) -> None:
    """n (1 - rho) / (1 + rho) draws of an AR(1) chain tell its mean as well as n independent."""
    draws = autoregressive(rho, chains=4, draws=20_000, seed=seed)
    expected = draws.numel() * (1 - rho) / (1 + rho)
    # The estimate's own standard deviation is some 5 % at 0.9: it sums over a hundred lags.
    assert float(diagnostics.ess_mean(draws)) == pytest.approx(expected, rel=0.2)
    assert float(diagnostics.ess_bulk(draws)) == pytest.approx(expected, rel=0.2)


def test_rhat_sees_another_place_another_width_and_a_trend() -> None:
    good = autoregressive(0.2, chains=4, draws=500, seed=0)
    assert float(diagnostics.rhat(good)) < 1.01
    for bad in (
        good + torch.tensor([0.0, 0.0, 0.0, 1.0]).unsqueeze(1),
        good * torch.tensor([1.0, 1.0, 1.0, 3.0]).unsqueeze(1),
        good + torch.linspace(0.0, 2.0, 500),
    ):
        assert float(diagnostics.rhat(bad)) > 1.04


def test_every_quantity_is_judged_by_itself() -> None:
    alone = [autoregressive(rho, chains=4, draws=300, seed=3) for rho in (0.0, 0.8)]
    both = torch.stack(alone, dim=-1)
    for judge in (
        diagnostics.rhat,
        diagnostics.ess_bulk,
        diagnostics.ess_tail,
        diagnostics.mcse_sd,
    ):
        assert torch.allclose(judge(both), torch.stack([judge(each) for each in alone]))
    assert diagnostics.rhat(both.unsqueeze(-1)).shape == (2, 1)


def test_what_is_constant_or_not_finite_is_undefined() -> None:
    draws = autoregressive(0.0, chains=4, draws=50, seed=0)
    broken = draws.clone()
    broken[1, 3] = math.inf
    for bad in (torch.ones(4, 50, dtype=torch.float64), broken):
        assert math.isnan(float(diagnostics.rhat(bad)))
        assert math.isnan(float(diagnostics.ess_bulk(bad)))
        assert math.isnan(float(diagnostics.mcse_sd(bad)))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("power", [1.0, 1.5])
def test_the_error_of_a_standard_deviation_is_its_spread_over_runs(seed: int, power: float) -> None:
    """Of autoregressive chains as they are, and with heavy tails."""
    runs = [autoregressive(0.5, chains=4, draws=500, seed=1000 * seed + k) for k in range(200)]
    runs = [each.sign() * each.abs() ** power for each in runs]
    found = torch.stack([each.std() for each in runs])
    told = torch.stack([diagnostics.mcse_sd(each) for each in runs])
    assert float(told.mean()) == pytest.approx(float(found.std() / found.mean()), rel=0.2)


def test_nested_rhat_allows_short_chains() -> None:
    rng = np.random.default_rng(0)
    # 16 superchains of 64 chains with a single draw each: no chain can be judged by itself.
    good = torch.as_tensor(rng.normal(size=(16 * 64, 1)))
    assert 1.0 <= float(diagnostics.nested_rhat(good, 16)) < 1.02
    shift = torch.as_tensor(np.repeat(rng.normal(size=16), 64))[:, None]
    assert float(diagnostics.nested_rhat(good + shift, 16)) > 1.2
    with pytest.raises(ValueError, match="divide 1024 chains, got 3"):
        diagnostics.nested_rhat(good, 3)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_khat_is_the_shape_of_a_pareto_tail(shape: float) -> None:
    uniform = np.random.default_rng(1).random(200_000)
    ratios = torch.as_tensor((uniform ** (-shape) - 1.0) / shape)
    assert diagnostics.khat(ratios.log()) == pytest.approx(shape, abs=0.1)


def test_khat_and_smoothed_weights_of_another_implementation() -> None:
    """The tail of 95 draws fitted by arviz-stats 0.8.0: its shape."""
    log_ratios = torch.as_tensor(-0.6 * np.log(np.arange(1, 1001) * 0.6180339887 % 1.0))
    log_weights, khat = diagnostics.pareto_smoothed(log_ratios)
    assert khat == pytest.approx(0.5514409736069464, rel=1e-9)
    assert float(log_weights.exp().sum()) == pytest.approx(1.0)
    # What is not of the tail keeps its order and its proportions.
    low = log_ratios < log_ratios.sort().values[-96]
    assert torch.allclose(
        (log_weights - log_ratios)[low].std(), torch.tensor(0.0, dtype=torch.float64)
    )


def test_weights_that_say_nothing_are_said_so() -> None:
    assert diagnostics.khat(torch.zeros(10)) == math.inf  # too few
    assert diagnostics.khat(torch.full((100,), math.nan)) == math.inf
    assert diagnostics.good_khat(10_000) == 0.7
    assert diagnostics.good_khat(100) == 0.5


@pytest.mark.parametrize("spread", [0.0, 1e-12, 1e-6, 1e-3])
def test_nearly_equal_weights_do_not_alarm_whatever_their_tail(spread: float) -> None:
    """The tail of the logarithms alone has the shape 0.8: a perfect fit and noise."""
    uniform = torch.as_tensor(np.random.default_rng(4).random(1000))
    noise = spread * uniform.pow(-0.8)
    log_weights, khat = diagnostics.pareto_smoothed(noise)
    assert khat == 0.0
    assert torch.allclose(log_weights, noise - torch.logsumexp(noise, 0), rtol=0.0, atol=1e-14)


def test_what_changes_an_average_by_more_than_its_error_alarms() -> None:
    uniform = torch.as_tensor(np.random.default_rng(4).random(1000))
    ratios = 1.0 + 1e-2 * uniform.pow(-0.8)
    assert diagnostics.khat(ratios.log()) > diagnostics.good_khat(1000)
    few = torch.zeros(1000, dtype=torch.float64)
    few[:200] = torch.linspace(0.0, 5.0, 200, dtype=torch.float64)
    assert diagnostics.khat(few) != 0.0
    few[3:] = 0.0
    few[:3] = 5.0
    assert diagnostics.khat(few) == math.inf


def test_importance_sampling_is_judged_by_khat() -> None:
    """N(0, 1) by N(0, s^2): the ratios have a Pareto tail of shape 1 - s^2 for s < 1."""
    rng = np.random.default_rng(2)
    for sd, good in ((1.5, True), (0.9, True), (0.4, False)):
        x = torch.as_tensor(rng.normal(scale=sd, size=4000))
        ratios = -0.5 * x.square() + 0.5 * (x / sd).square()
        assert (diagnostics.khat(ratios) < diagnostics.good_khat(4000)) == good


def test_energies_that_hardly_change_warn() -> None:
    rng = np.random.default_rng(0)
    free = torch.as_tensor(rng.normal(size=(2, 2000)))
    assert diagnostics.ebfmi(free).tolist() == pytest.approx([2.0, 2.0], rel=0.1)
    stuck = autoregressive(0.99, chains=2, draws=5000, seed=0)
    assert bool((diagnostics.ebfmi(stuck) < 0.3).all())
