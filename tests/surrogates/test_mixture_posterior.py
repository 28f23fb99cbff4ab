"""Weights of draws, outcome transforms, quantiles and memory of a mixture, by brute force."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from botorch.acquisition import (
    LogExpectedImprovement,
    qExpectedImprovement,
    qLogExpectedImprovement,
)
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.models.transforms.outcome import Bilog, ChainedOutcomeTransform, Log, Standardize
from botorch.sampling import SobolQMCNormalSampler
from torch import Generator, Tensor

from surrogates.errors import CapabilityError, UsageError
from surrogates.gp import hyperpriors
from surrogates.gp.hyperposterior import Data
from surrogates.gp.mixture import MixtureGP
from surrogates.gp.mixture_posterior import places_by_weight

pytestmark = pytest.mark.filterwarnings("ignore:.*has known numerical issues")

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
DRAWS = 6
WEIGHTS = torch.tensor([0.4, 0.05, 0.25, 0.0, 0.2, 0.1], **F64)
POINTS = torch.rand((5, 2, 2), generator=Generator(device="cpu").manual_seed(8), **F64)
ONE = POINTS[:, :1]


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


def made(weights: Tensor | None = WEIGHTS, **given: Any) -> MixtureGP:
    X = torch.rand((9, 2), generator=seeded(0), **F64)
    y = torch.randn(9, generator=seeded(1), **F64)
    draws = hyperpriors.named("dimension-scaled", 2, noise=True).sample(DRAWS, seeded(2), X) - 1.0
    log_weights = None if weights is None else weights.log() + 3.0  # up to a constant
    settings: dict[str, Any] = {"centre": 1.0, "unit": 0.5, **given}
    return MixtureGP(Data(X, y, (0, 1), True), draws, log_weights=log_weights, **settings)


def of_each(model: MixtureGP, X: Tensor) -> tuple[Tensor, Tensor]:
    """Means (b, S, q) and covariances of each draw alone."""
    told = [model.with_draws([place]).posterior(X) for place in range(DRAWS)]
    means = torch.cat([each.mean[..., 0] for each in told], dim=1)
    return means, torch.cat([each.covariance_matrix for each in told], dim=1)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_moments_are_those_of_the_weighted_mixture(weights: Tensor | None) -> None:
    model = made(weights)
    share = (torch.full((DRAWS,), 1 / DRAWS, **F64) if weights is None else weights)[:, None]
    told = model.posterior(POINTS)
    means, covariances = of_each(model, POINTS)
    mean = (share * means).sum(dim=1)
    off = means - mean[:, None]
    within = covariances + off.unsqueeze(-1) * off.unsqueeze(-2)
    covariance = (share[..., None] * within).sum(dim=1)
    assert torch.allclose(told.mixture_mean[..., 0], mean, rtol=1e-8, atol=1e-8)
    assert torch.allclose(told.mixture_covariance_matrix, covariance, rtol=1e-8, atol=1e-8)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(told.mixture_variance[..., 0], variance, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("level", [1e-9, 0.025, 0.3, 0.5, 0.975, 1 - 1e-6])
def test_quantiles_are_those_of_the_weighted_mixture(weights: Tensor | None, level: float) -> None:
    model = made(weights)
    share = torch.full((DRAWS,), 1 / DRAWS, **F64) if weights is None else weights
    found = model.posterior(POINTS).quantile(torch.tensor([level], **F64))[..., 0]
    means, covariances = of_each(model, POINTS)
    stds = covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    low, high = torch.full_like(found, -100.0), torch.full_like(found, 100.0)
    middle = low
    for _ in range(200):
        middle = 0.5 * (low + high)
        below = (share[:, None] * torch.special.ndtr((middle[:, None] - means) / stds)).sum(dim=1)
        low, high = (
            torch.where(below < level, middle, low),
            torch.where(below < level, high, middle),
        )
    tail = 1e-8 if level < 0.99 else 1e-7
    assert torch.allclose(found, middle, rtol=tail, atol=tail)


def test_several_quantiles_and_none_outside_of_0_and_1() -> None:
    told = made().posterior(POINTS)
    levels = torch.tensor([0.1, 0.9], **F64)
    both = told.quantile(levels)
    assert both.shape == (2, 5, 2, 1)
    assert torch.equal(both[1], told.quantile(levels[1:]))
    with pytest.raises(UsageError, match="between 0 and 1"):
        told.quantile(torch.tensor([1.0], **F64))


def test_density_and_samples_are_those_of_the_weighted_mixture() -> None:
    model = made()
    told = model.posterior(POINTS)
    means, covariances = of_each(model, POINTS)
    stds = covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    at = told.mixture_mean + 0.3
    normal = torch.distributions.Normal(means, stds)
    density = (WEIGHTS[:, None] * normal.log_prob(at[:, None, :, 0]).exp()).sum(dim=1)
    assert torch.allclose(told.density(at)[..., 0], density, rtol=1e-8)
    drawn = told.mixture_samples(4000, seeded(3))[..., 0]
    assert torch.equal(drawn, told.mixture_samples(4000, seeded(3))[..., 0])
    spread = told.mixture_variance[..., 0].sqrt()
    assert ((drawn.mean(dim=0) - told.mixture_mean[..., 0]) / spread).abs().max() < 0.07
    joint = told.mixture_covariance_matrix
    off = drawn - drawn.mean(dim=0)
    found = (off.unsqueeze(-1) * off.unsqueeze(-2)).mean(dim=0)
    scale = spread.unsqueeze(-1) * spread.unsqueeze(-2)
    assert ((found - joint) / scale).abs().max() < 0.15


def test_botorch_sees_draws_as_often_as_they_weigh() -> None:
    places = places_by_weight(WEIGHTS.log(), 40).bincount(minlength=DRAWS) / 40.0
    assert torch.allclose(places.double(), WEIGHTS, atol=1 / 40)
    weights = torch.tensor([3, 0, 2, 0, 1, 0], **F64) / DRAWS
    model = made(weights)
    means, covariances = of_each(model, ONE)
    z = (means[..., 0] - 1.2) / (std := covariances[..., 0, 0].sqrt())
    normal = torch.distributions.Normal(torch.zeros((), **F64), torch.ones((), **F64))
    gain = std * (normal.log_prob(z).exp() + z * normal.cdf(z))
    expected = (weights * gain).sum(dim=1)
    assert torch.allclose(LogExpectedImprovement(model, 1.2)(ONE), expected.log(), rtol=1e-5)
    sampler = SobolQMCNormalSampler(torch.Size([8192]), seed=0)
    told = qExpectedImprovement(model, 1.2, sampler=sampler)(ONE)
    assert torch.allclose(told, expected, rtol=0.01, atol=1e-4)


def test_paths_fantasies_and_thinning_keep_to_the_weights() -> None:
    one = torch.zeros(DRAWS, **F64)
    one[2] = 1.0
    model, alone = made(one), made(None).with_draws([2])
    X = torch.rand((3, 1, 2), generator=seeded(5), **F64)
    sampler = SobolQMCNormalSampler(torch.Size([4]), seed=0)
    told = model.fantasize(X, sampler).posterior(POINTS[:1])
    expected = alone.fantasize(X, sampler).posterior(POINTS[:1])
    assert torch.allclose(told.mean, expected.mean.expand_as(told.mean), atol=1e-8)
    for fewer in (model.thinned(2), model.thinned(100), model.equal):
        assert torch.allclose(
            fewer.posterior(ONE).mixture_mean, alone.posterior(ONE).mixture_mean, atol=1e-8
        )
    path = model.draw_path(seeded(1))(model.data.X)
    near = alone.posterior(model.data.X)
    assert ((path - near.mean[0, :, 0]) / near.variance[0, :, 0].sqrt()).abs().max() < 4.5
    more, Y = POINTS[0], torch.tensor([[1.0], [2.0]], **F64)
    after = made().condition_on_observations(more, Y).posterior(POINTS)
    each = [
        made().with_draws([place]).condition_on_observations(more, Y).posterior(POINTS)
        for place in range(DRAWS)
    ]
    mean = sum(w * told.mixture_mean for w, told in zip(WEIGHTS, each, strict=True))
    assert torch.allclose(after.mixture_mean, torch.as_tensor(mean), rtol=1e-8, atol=1e-8)


def test_outcomes_seen_through_the_exponential() -> None:
    model = made(outcome_transform=Log())
    told, inner = model.posterior(POINTS), made().posterior(POINTS)
    means, covariances = of_each(made(), POINTS)
    variances = covariances.diagonal(dim1=-2, dim2=-1)
    each = torch.exp(means + variances / 2)
    share = WEIGHTS[:, None]
    mean = (share * each).sum(dim=1)
    second = (share * torch.exp(2 * means + 2 * variances)).sum(dim=1)
    assert torch.allclose(told.mixture_mean[..., 0], mean, rtol=1e-8)
    assert torch.allclose(told.mixture_variance[..., 0], second - mean.square(), rtol=1e-8)
    assert told.mean.shape == told.variance.shape == (5, DRAWS, 2, 1)
    level = torch.tensor([0.9], **F64)
    assert torch.allclose(told.quantile(level), inner.quantile(level).exp(), rtol=1e-8)
    drawn = told.mixture_samples(50, seeded(0))
    assert torch.allclose(drawn, inner.mixture_samples(50, seeded(0)).exp())


@pytest.mark.parametrize("transform", ["log", "chained", "bilog"])
def test_models_of_transformed_outcomes(transform: str) -> None:
    outcomes = torch.rand((9, 1), generator=seeded(4), **F64).exp()
    made_of: dict[str, Any] = {
        "log": Log,
        "chained": lambda: ChainedOutcomeTransform(log=Log(), scale=Standardize(1)),
        "bilog": Bilog,
    }
    how = made_of[transform]()
    inside = how(outcomes)[0].detach()
    how.eval()
    base = made(None)
    centre, unit = float(inside.mean()), float(inside.std())
    data = Data(base.data.X, (inside[:, 0] - centre) / unit, (0, 1), True)
    model = MixtureGP(data, base.draws, centre=centre, unit=unit, outcome_transform=how)
    at_known = model.posterior(data.X, observation_noise=True)
    level = torch.tensor([0.01, 0.99], **F64)
    low, high = at_known.quantile(level)
    assert bool(((low < outcomes) & (outcomes < high)).all())
    sampler = SobolQMCNormalSampler(torch.Size([4096]), seed=0)
    drawn = sampler(model.posterior(ONE))
    assert drawn.shape == (4096, 5, DRAWS, 1, 1)
    told = model.posterior(ONE)
    assert torch.allclose(drawn.mean(dim=(0, 2)), told.mixture_mean, rtol=0.02)
    function = qLogExpectedImprovement(model, float(outcomes.max()), sampler=sampler)
    best = torch.log((drawn[..., 0, 0] - outcomes.max()).clamp_min(0).mean(dim=(0, 2)))
    near = best > best.max() - 6.0
    assert torch.allclose(function(ONE)[near], best[near], atol=0.1)
    more, Y = POINTS[0], torch.tensor([[1.5], [2.5]], **F64)
    after = model.condition_on_observations(more, Y).posterior(more)
    inner = MixtureGP(data, base.draws, centre=centre, unit=unit)
    expected = inner.condition_on_observations(more, how(Y)[0]).posterior(more)
    assert torch.allclose(after.quantile(level), how.untransform(expected.quantile(level))[0])
    fantasies = model.fantasize(ONE, SobolQMCNormalSampler(torch.Size([3]), seed=0))
    assert fantasies.posterior(more).mean.shape == (3, 5, DRAWS, 2, 1)
    assert model.draw_path(seeded(0))(data.X).shape == (9,)
    with pytest.raises(CapabilityError, match="Monte Carlo objective"):
        model.posterior(ONE, posterior_transform=ScalarizedPosteriorTransform(torch.ones(1, **F64)))


def test_a_linear_transform_leaves_a_mixture() -> None:
    outcomes = 5.0 + torch.rand((9, 1), generator=seeded(4), **F64)
    how = Standardize(1)
    how(outcomes)
    told = made(outcome_transform=how.eval()).posterior(POINTS)
    plain = made().posterior(POINTS)
    stretched = how.untransform(plain.mixture_mean)[0]
    assert torch.allclose(told.mixture_mean, stretched, rtol=1e-8)
    assert torch.allclose(told.mixture_variance, plain.mixture_variance * how.stdvs**2, rtol=1e-8)


_PREDICTS = """
import resource, torch
from torch import Generator
from surrogates.gp import hyperpriors
from surrogates.gp.hyperposterior import Data
from surrogates.gp.mixture import MixtureGP
seeded = Generator(device="cpu").manual_seed(0)
X = torch.rand((200, 6), generator=seeded, dtype=torch.float64)
y = torch.randn(200, generator=seeded, dtype=torch.float64)
prior = hyperpriors.named("dimension-scaled", 6, noise=True)
draws = prior.sample(64, seeded, X)
weights = torch.randn(64, generator=seeded, dtype=torch.float64)
model = MixtureGP(Data(X, y, tuple(range(6)), True), draws, centre=0.0, unit=1.0,
                  log_weights=weights)
model.posterior(X[:2, None])
points = torch.rand((10_000, 1, 6), generator=seeded, dtype=torch.float64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
told = model.posterior(points)
told.mixture_mean, told.mixture_variance
told.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_ten_thousand_points_take_little_memory() -> None:
    made = subprocess.run(
        [sys.executable, "-c", _PREDICTS], capture_output=True, text=True, check=True, timeout=300
    )
    # The covariances with all observations would take 1,000 MiB at once, and several times so.
    assert float(made.stdout) < 300.0


def test_too_many_points_for_one_joint_posterior() -> None:
    with pytest.raises(CapabilityError, match=r"expected at most 9128 points.*\(points, 1, d\)"):
        made().posterior(torch.zeros(10_000, 2, **F64))
