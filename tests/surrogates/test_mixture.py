"""The mixture over draws of hyperparameters: its moments, fantasies and paths; acquisitions."""

import re
from typing import Any

import pytest
import torch
from botorch.acquisition import (
    LogExpectedImprovement,
    PosteriorMean,
    UpperConfidenceBound,
    qKnowledgeGradient,
    qLogExpectedImprovement,
    qLogNoisyExpectedImprovement,
    qUpperConfidenceBound,
)
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from torch import Generator, Tensor

from surrogates.errors import CapabilityError, DataError
from surrogates.gp import hyperpriors
from surrogates.gp.hyperposterior import MEAN_VAR, Data
from surrogates.gp.mixture import MixtureGP
from surrogates.gp.of_draw import of_draw

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
DRAWS = 5


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


def made(n: int = 9, *, matern: bool = True, known: bool = False) -> MixtureGP:
    generator = seeded(n)
    X = torch.rand((n, 2), generator=generator, **F64)
    y = torch.randn(n, generator=generator, **F64)
    noise = torch.rand(n, generator=generator, **F64) + 0.01 if known else None
    data = Data(X, y, (0, 1), matern, noise)
    prior = hyperpriors.named("dimension-scaled", 2, noise=not known)
    return MixtureGP(data, prior.sample(DRAWS, generator, X) - 1.0, centre=3.0, unit=2.0)


def brute(model: MixtureGP, X: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of each draw at (q, d) points, from the joint matrix of all."""
    told: list[tuple[Tensor, Tensor]] = []
    for s, row in enumerate(model.draws.exp()):
        every = torch.cat([x, X]) / row[:2]
        squared = (every[:, None] - every[None]).square().sum(dim=-1)
        r = (5.0 * squared).sqrt()
        k = (1 + r + r.square() / 3) * torch.exp(-r)
        k = k if model.data.matern else torch.exp(-0.5 * squared)
        joint = row[2] * k + MEAN_VAR
        n = len(x)
        noise = (
            (model.data.least_noise_var + row[3]).expand(n)
            if model.data.noise is None
            else torch.cat([model.data.noise, model.noise_var[s].expand(n - len(model.data.noise))])
        )
        inner = torch.linalg.inv(joint[:n, :n] + torch.diag(noise))
        towards = joint[n:, :n]
        told.append((towards @ inner @ y, joint[n:, n:] - towards @ inner @ towards.T))
    return torch.stack([m for m, _ in told]), torch.stack([c for _, c in told])


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("matern", [True, False])
def test_moments_and_quantiles_are_those_of_the_mixture(matern: bool, known: bool) -> None:
    model = made(matern=matern, known=known)
    X = torch.rand((4, 2), generator=seeded(0), **F64)
    mean, covariance = brute(model, X, model.data.X, model.data.y)
    told = model.posterior(X)
    assert torch.allclose(told.mean.squeeze(-1), 3.0 + 2.0 * mean, rtol=1e-8, atol=1e-8)
    assert torch.allclose(
        told.variance.squeeze(-1), 4.0 * covariance.diagonal(dim1=1, dim2=2), rtol=1e-7, atol=1e-9
    )
    means, variances = 3.0 + 2.0 * mean, 4.0 * covariance.diagonal(dim1=1, dim2=2)
    assert torch.allclose(told.mixture_mean.squeeze(-1), means.mean(0), rtol=1e-8, atol=1e-8)
    spread = variances.mean(0) + means.var(dim=0, correction=0)
    between = variances.mean(0) + means.var(dim=0, correction=1)
    variance = told.mixture_variance.squeeze(-1)
    assert bool(
        ((variance - spread).abs() < 1e-7).all() | ((variance - between).abs() < 1e-7).all()
    )
    level = told.quantile(torch.tensor([0.1], **F64)).flatten()
    below = torch.distributions.Normal(means, variances.sqrt()).cdf(level).mean(dim=0)
    assert torch.allclose(below, torch.full_like(below, 0.1), atol=1e-5)


def test_shapes_batches_and_many_points_at_once() -> None:
    model = made()
    X = torch.rand((3, 4, 2), generator=seeded(1), **F64)
    told = model.posterior(X)
    assert told.mean.shape == (3, DRAWS, 4, 1)
    assert model.batch_shape == (DRAWS,)
    many = torch.rand((200_000, 1, 2), generator=seeded(2), **F64)
    few = model.posterior(many[-3:])
    all_of_them = model.posterior(many)
    assert torch.allclose(all_of_them.mean[-3:], few.mean, rtol=1e-10, atol=1e-10)
    noisy = model.posterior(X, observation_noise=True).variance - told.variance
    assert torch.allclose(noisy, 4.0 * model.noise_var[:, None, None].expand_as(noisy), atol=1e-9)


def test_more_observations_are_as_if_they_had_been_there() -> None:
    model = made()
    more = torch.rand((2, 2), generator=seeded(3), **F64)
    outcomes = torch.tensor([[1.0], [5.0]], **F64)
    after = model.condition_on_observations(more, outcomes)
    X = torch.rand((4, 2), generator=seeded(4), **F64)
    y = torch.cat([model.data.y, (outcomes[:, 0] - 3.0) / 2.0])
    mean, covariance = brute(model, X, torch.cat([model.data.X, more]), y)
    told = after.posterior(X)
    assert torch.allclose(told.mean.squeeze(-1), 3.0 + 2.0 * mean, rtol=1e-7, atol=1e-7)
    variance = 4.0 * covariance.diagonal(dim1=1, dim2=2)
    assert torch.allclose(told.variance.squeeze(-1), variance, rtol=1e-6, atol=1e-8)


def test_a_path_goes_through_what_was_observed_last_and_fantasies_have_none() -> None:
    model = made()
    more = torch.rand((2, 2), generator=seeded(3), **F64)
    after = model.condition_on_observations(more, torch.tensor([[1.0], [5.0]], **F64))
    mean, variance = (
        getattr(after.posterior(more), f"mixture_{name}").flatten() for name in ("mean", "variance")
    )
    paths = torch.stack([after.draw_path(seeded(i))(more) for i in range(200)])
    error = (variance / 200).sqrt() + 0.02
    assert bool(((paths.mean(dim=0) - mean).abs() < 5.0 * error).all())
    fantasies = model.fantasize(more.unsqueeze(1), SobolQMCNormalSampler(torch.Size([2]), seed=0))
    with pytest.raises(CapabilityError, match="expected one model"):
        fantasies.draw_path(seeded(0))


def test_fantasies_of_a_batch_are_conditioned_one_by_one() -> None:
    model = made()
    X = torch.rand((3, 1, 2), generator=seeded(5), **F64)
    sampler = SobolQMCNormalSampler(torch.Size([4]), seed=0)
    fantasies = model.fantasize(X, sampler)
    assert fantasies.batch_shape == (4, 3, DRAWS)
    at = torch.rand((2, 2), generator=seeded(6), **F64)
    told = fantasies.posterior(at)
    assert told.mean.shape == (4, 3, DRAWS, 2, 1)
    outcomes = sampler(model.posterior(X, observation_noise=True))
    for f, b in ((0, 0), (3, 2)):
        alone = model.condition_on_observations(X[b], outcomes[f, b]).posterior(at)
        assert torch.allclose(told.mean[f, b], alone.mean, rtol=1e-8, atol=1e-8)
        assert torch.allclose(told.variance[b % 1, b], alone.variance, rtol=1e-6, atol=1e-9)


ACQUISITIONS = {
    "LogEI": lambda model: LogExpectedImprovement(model, best_f=3.0),
    "UCB": lambda model: UpperConfidenceBound(model, beta=4.0),
    "mean": PosteriorMean,
    "qLogEI": lambda model: qLogExpectedImprovement(model, 3.0, sampler=sampler(16)),
    "qUCB": lambda model: qUpperConfidenceBound(model, 4.0, sampler=sampler(16)),
    "qLogNEI": lambda model: qLogNoisyExpectedImprovement(
        model, model.data.X, sampler=sampler(16), prune_baseline=False
    ),
    "qKG": lambda model: qKnowledgeGradient(model, num_fantasies=4, sampler=sampler(4)),
}


@pytest.mark.parametrize("batch", [3, DRAWS])
def test_noise_that_is_told_is_that_of_each_row(batch: int) -> None:
    model = made()
    X = torch.rand((batch, 2, 2), generator=seeded(1), **F64)
    noise = torch.rand((batch, 2, 1), generator=seeded(2), **F64)
    own = torch.rand((batch, DRAWS, 2, 1), generator=seeded(3), **F64)
    plain = model.posterior(X).variance
    for told, more in ((noise, noise.unsqueeze(1)), (own, own), (noise[0], noise[0])):
        added = model.posterior(X, observation_noise=told).variance - plain
        assert torch.allclose(added, more.expand_as(plain), atol=1e-9)
    drawn = SobolQMCNormalSampler(torch.Size([2]), seed=0)
    fantasies = model.fantasize(X, drawn, observation_noise=noise)
    at = torch.rand((1, 2), generator=seeded(4), **F64)
    for row in range(batch):
        alone = model.condition_on_observations(
            X[row],
            model.centre + model.unit * fantasies.y[0, row, :, -2:].unsqueeze(-1),
            noise=noise[row].expand(DRAWS, 2, 1),
        )
        expected = alone.posterior(at)
        told = fantasies.posterior(at.expand(batch, 1, 2))
        assert torch.allclose(told.mean[0, row], expected.mean, atol=1e-8)
        assert torch.allclose(told.variance.expand_as(told.mean)[0, row], expected.variance)


def test_after_points_of_each_draws_own_one_draw_has_its_own() -> None:
    model = made()
    X = torch.rand((DRAWS, 1, 2), generator=seeded(1), **F64)
    Y = torch.arange(10.0, 10.0 + DRAWS, **F64).reshape(-1, 1, 1)
    told = model.condition_on_observations(X, Y, noise=torch.full_like(Y, 1e-5))
    for place in range(DRAWS):
        one, every = of_draw(told, place).posterior(X[place]), told.posterior(X[place])
        assert torch.allclose(one.mean, every.mean[place], atol=1e-5)
        assert abs(float(one.mean - Y[place])) < 0.1
    for seed in range(4):
        path = told.draw_path(seeded(seed))
        off = torch.stack([path(X[place]) - Y[place, 0] for place in range(DRAWS)]).abs()
        assert float(off.min()) < 0.1


def sampler(n: int) -> SobolQMCNormalSampler:
    return SobolQMCNormalSampler(torch.Size([n]), seed=1)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_acquisition_functions_of_botorch_take_it(name: str) -> None:
    function = ACQUISITIONS[name](made())
    bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]], **F64)
    torch.manual_seed(0)
    point, value = optimize_acqf(
        function, bounds, q=1, num_restarts=2, raw_samples=16, options={"maxiter": 5}
    )
    assert point.shape == (1, 2)
    assert torch.isfinite(torch.as_tensor(value)).all()


def test_log_expected_improvement_is_the_logarithm_of_the_mean_over_draws() -> None:
    model = made()
    X = torch.rand((6, 1, 2), generator=seeded(7), **F64)
    told = model.posterior(X)
    mean, sd = told.mean[..., 0, 0], told.variance[..., 0, 0].sqrt()
    normal = torch.distributions.Normal(torch.tensor(0.0, **F64), torch.tensor(1.0, **F64))
    z = (mean - 3.0) / sd
    improvement = sd * (z * normal.cdf(z) + normal.log_prob(z).exp())
    value = LogExpectedImprovement(model, best_f=3.0)(X)
    assert torch.allclose(value, improvement.mean(dim=1).log(), rtol=1e-6, atol=1e-8)


def test_points_of_another_shape_or_dtype_are_told() -> None:
    model = made()
    for wrong in (torch.zeros(3, 5, **F64), torch.zeros(0, 2, **F64)):
        got = re.escape(str(tuple(wrong.shape)))
        with pytest.raises(DataError, match=rf"of torch.float64, got {got}"):
            model.posterior(wrong)
    with pytest.raises(DataError, match="got .* of torch.float32"):
        model.posterior(torch.zeros(3, 2, dtype=torch.float32, device="cpu"))
