"""Expected improvement over draws of hyperparameters, in closed form, against what it is."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Generator

from bo.acquisition.functions import Models, acquisition
from bo.acquisition.fused import Array
from bo.acquisition.fused_mixture import FusedMixtureLogEI
from bo.acquisition.fused_mixture_ehvi import FusedMixtureLogEHVI
from surrogates.gp import hyperpriors
from surrogates.gp.hyperposterior import Data
from surrogates.gp.mixture import MixtureGP

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
DRAWS = 8


def made(
    seed: int,
    *,
    matern: bool = True,
    centre: float = 3.0,
    unit: float = 2.0,
    weighted: bool = False,
) -> MixtureGP:
    generator = Generator(device="cpu").manual_seed(seed)
    X = torch.rand((12, 3), generator=Generator(device="cpu").manual_seed(0), **F64)
    y = torch.randn(12, generator=generator, **F64)
    prior = hyperpriors.named("dimension-scaled", 3, noise=True)
    draws = prior.sample(DRAWS, generator, X) - 1.0
    weights = torch.tensor([0.3, 0.0, 0.25, 0.2, 0.1, 0.1, 0.05, 0.0], **F64)
    return MixtureGP(
        Data(X, y, (0, 1, 2), matern),
        draws,
        centre=centre,
        unit=unit,
        log_weights=weights.log() if weighted else None,
    )


def points(m: int) -> Array:
    return np.random.default_rng(5).uniform(size=(m, 3))


@pytest.mark.parametrize("margin", [0.0, 0.7])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("matern", [True, False])
def test_values_are_the_log_of_the_average_over_draws(
    matern: bool, limited: bool, margin: float
) -> None:
    model = made(1, matern=matern)
    limits = [made(2, matern=matern, centre=0.2, unit=0.5)] if limited else []
    function = FusedMixtureLogEI(model, None, limits=limits, seed=0, margin=margin)
    x = points(20)
    X = torch.as_tensor(x).unsqueeze(1)

    def moments(each: MixtureGP, at: torch.Tensor):
        told = each.posterior(at)
        return told.mean[..., 0, 0].numpy(), told.variance[..., 0, 0].sqrt().numpy()

    known = model.data.X.unsqueeze(1)
    mean, sd = moments(model, X)
    at_known, _ = moments(model, known)
    holds = np.ones_like(at_known, dtype=bool)
    chance = np.ones_like(mean)
    for limit in limits:
        holds &= moments(limit, known)[0] >= 0.0
        limit_mean, limit_sd = moments(limit, X)
        chance *= norm.cdf(limit_mean / limit_sd)
    best = np.where(holds, at_known, -np.inf).max(axis=0)
    best = np.where(holds.any(axis=0), best, at_known.min(axis=0)) + margin
    z = (mean - best) / sd
    truth = np.log((sd * (z * norm.cdf(z) + norm.pdf(z)) * chance).mean(axis=1))
    assert np.allclose(function.values(x), truth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("matern", [True, False])
def test_gradients_are_those_of_the_values(matern: bool, limited: bool, pending: bool) -> None:
    limits = [made(2, matern=matern, centre=0.2, unit=0.5)] if limited else []
    waiting = torch.as_tensor(points(2) * 0.5) if pending else None
    function = FusedMixtureLogEI(made(1, matern=matern), waiting, limits=limits, seed=3)
    for x in points(6):
        value, gradient = function.value_and_gradient(x)
        assert value == pytest.approx(function.values(x[None])[0], rel=1e-8, abs=1e-8)
        steps = 1e-6 * np.eye(3)
        change = [function.values(np.stack([x + s, x - s])) for s in steps]
        slope = np.array([(above - below) / 2e-6 for above, below in change])
        assert np.allclose(gradient, slope, rtol=1e-4, atol=1e-5)


def test_points_together_are_what_each_is_alone() -> None:
    function = FusedMixtureLogEI(made(1), None, limits=[made(2)], seed=3)
    x = np.concatenate([points(7), points(7)[:2]])
    values, gradients = function.values_and_gradients(x)
    for row, value, gradient in zip(x, values, gradients, strict=True):
        alone = function.value_and_gradient(row)
        assert value == pytest.approx(alone[0], rel=1e-9)
        assert np.allclose(gradient, alone[1], rtol=1e-7, atol=1e-9)


def test_near_a_pending_point_little_is_left_to_gain() -> None:
    model = made(1)
    free = FusedMixtureLogEI(model, None, seed=0)
    x = points(400)
    best = x[np.argmax(free.values(x))]
    waiting = FusedMixtureLogEI(model, torch.as_tensor(best[None]), seed=0)
    assert waiting.values(best[None])[0] < free.values(best[None])[0] - 0.5
    again = FusedMixtureLogEI(model, torch.as_tensor(best[None]), seed=0)
    assert np.array_equal(waiting.values(x), again.values(x)), "of the same seed"


@pytest.mark.parametrize("matern", [True, False])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_pending_points_may_coincide_or_nearly(unit: float, matern: bool) -> None:
    """Long length-scales and no noise: rounding is more than what is left to learn."""
    model = made(1)
    data = dataclasses.replace(model.data, y=model.data.X.sum(dim=1) - 1.5, matern=matern)
    draws = model.draws.clone()
    draws[:, :3], draws[:, 3], draws[:, 4] = draws[:, :3].abs() + 1.0, 4.0, -20.0
    smooth = MixtureGP(data, draws, centre=3.0, unit=unit)
    generator = Generator(device="cpu").manual_seed(0)
    near = 0.5 + 1e-7 * torch.rand((6, 3), generator=generator, **F64)
    for pending in (near, near[:1].expand(6, 3), torch.cat([data.X, data.X])):
        function = FusedMixtureLogEI(smooth, pending, seed=0)
        assert np.isfinite(function.values(points(10))).all()
        assert np.isfinite(function.value_and_gradient(points(1)[0])[1]).all()
        chosen = FusedMixtureLogEHVI([smooth, smooth], [3.0, 3.0], pending, seed=0)
        assert np.isfinite(chosen.values(points(10))).all()


def test_it_is_what_logei_of_a_mixture_means_on_the_cpu() -> None:
    model = made(1)
    function = acquisition("logei", Models([model]), model.data.X, None, seed=0)
    assert isinstance(function, FusedMixtureLogEI)
    x = torch.as_tensor(points(4)).unsqueeze(1).requires_grad_()
    values = function(x)
    assert np.allclose(values.detach().numpy(), function.values(points(4)))
    (slope,) = torch.autograd.grad(values.sum(), x)
    assert np.allclose(slope[2, 0].numpy(), function.value_and_gradient(points(4)[2])[1])


def test_weights_of_draws_count() -> None:
    model = made(1, weighted=True)
    function = FusedMixtureLogEI(model, None, seed=0)
    gains = np.zeros(20)
    for place, weight in enumerate(model.weights.tolist()):
        alone = FusedMixtureLogEI(model.with_draws([place]), None, seed=0)
        gains += weight * np.exp(alone.values(points(20)))
    assert np.allclose(function.values(points(20)), np.log(gains), rtol=1e-8, atol=1e-8)
    x = points(1)[0]
    value, gradient = function.value_and_gradient(x)
    assert value == pytest.approx(np.log(gains[0]), rel=1e-8)
    change = [function.values(np.stack([x + s, x - s])) for s in 1e-6 * np.eye(3)]
    slope = np.array([(above - below) / 2e-6 for above, below in change])
    assert np.allclose(gradient, slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("limited", [False, True])
def test_with_pending_points_or_limits_draws_count_as_often_as_they_weigh(limited: bool) -> None:
    model, limits = made(1, weighted=True), [made(2, weighted=True)] if limited else []
    waiting = None if limited else torch.as_tensor(points(2))
    told = FusedMixtureLogEI(model, waiting, limits=limits, seed=0).values(points(9))
    equal = FusedMixtureLogEI(
        model.equal, waiting, limits=[each.equal for each in limits], seed=0
    ).values(points(9))
    assert np.array_equal(told, equal)
