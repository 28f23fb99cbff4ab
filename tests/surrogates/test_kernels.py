"""Kernels that are sums of products, and warps: values, gradients, priors, predictions, fits."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from botorch.sampling import SobolQMCNormalSampler
from botorch.sampling.pathwise import draw_matheron_paths
from torch import Generator, Tensor

import bo
from surrogates.errors import UsageError
from surrogates.gp import hmc, hyperpriors, kernels, spectra
from surrogates.gp.hyperposterior import MEAN_VAR, Data, Hyperposterior
from surrogates.gp.mixture import MixtureGP
from surrogates.inputs import Column, Inputs
from tests.surrogates.test_hyperposterior import check_prior

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
EXPRESSIONS = (
    "matern12",
    "matern32",
    "rq",
    "periodic",
    "linear",
    "co2",
    "airline",
    "linear*linear + matern52*periodic",
    "linear*rbf + matern12*rq*matern32 + linear",
)


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


def mixed(d: int) -> Inputs:
    """Reals, and in three dimensions or more the two columns of a choice."""
    if d < 3:
        return Inputs.reals(d)
    reals = tuple(Column("real", j) for j in range(d - 2))
    return Inputs((*reals, Column("category", d, 2), Column("category", d, 2)))


def made(
    text: str, n: int, d: int, *, known: bool = False, warp: bool = False, seed: int = 0
) -> Data:
    """Rows of which some coincide or nearly do."""
    generator, inputs = seeded(seed + n + d), mixed(d)
    X = torch.rand((n, d), generator=generator, **F64)
    if d > 2:
        X[:, -2] = (X[:, -2] > 0.5).double()
        X[:, -1] = 1.0 - X[:, -2]
    if n > 5:
        X[1], X[2] = X[0], X[0]
        X[2, 0] += 1e-7
    y = torch.randn(n, generator=generator, **F64)
    noise = torch.rand(n, generator=generator, **F64) + 1e-3 if known else None
    warped = inputs.numeric if warp else ()
    kernel = kernels.kernel(text, inputs)
    return Data(X, y, inputs.groups, matern=False, noise=noise, kernel=kernel, warped=warped)


def elementary(name: str, X: Tensor, logs: list[Tensor], numbers: int) -> Tensor:
    """An elementary kernel by its definition; takes its hyperparameters off the list."""
    d = X.shape[1]
    if name == "linear":
        return 12.0 / d * (X - 0.5) @ (X - 0.5).T
    p = min(d, numbers + 1)  # all columns of the choice have one length-scale
    groups = [min(j, p - 1) for j in range(d)]
    scale = torch.stack([logs.pop(0).exp() for _ in range(p)])[groups]
    difference = X[:, None] - X[None]
    squared = (difference / scale).square().sum(dim=-1)
    r = (squared + 1e-300).sqrt()
    if name == "rbf":
        return torch.exp(-squared / 2)
    if name == "matern12":
        return torch.exp(-r)
    if name == "matern32":
        return (1 + math.sqrt(3) * r) * torch.exp(-math.sqrt(3) * r)
    if name == "matern52":
        return (1 + math.sqrt(5) * r + 5 * squared / 3) * torch.exp(-math.sqrt(5) * r)
    if name == "rq":
        alpha = logs.pop(0).exp()
        return (1 + squared / (2 * alpha)) ** -alpha
    assert name == "periodic"
    period = torch.stack([logs.pop(0).exp() for _ in range(numbers)])
    turned = torch.sin(math.pi * difference[..., :numbers] / period) / scale[:numbers]
    rest = (difference[..., numbers:] / scale[numbers:]).square().sum(dim=-1)
    return torch.exp(-2 * turned.square().sum(dim=-1) - rest / 2)


def covariance(x: Tensor, data: Data, X: Tensor) -> Tensor:
    """Of f at some points, by the definitions of its parts."""
    assert data.kernel is not None
    numbers = sum(cycle >= 0 for cycle in data.kernel.cycles)
    if data.warped:
        w = len(data.warped)
        a, b = x[-2 * w :].exp().split(w)
        inside = X[:, :w] * (1 - 2e-7) + 1e-7
        return covariance(
            x[: -2 * w],
            dataclasses.replace(data, warped=()),
            torch.cat([1 - (1 - inside**a) ** b, X[:, w:]], dim=1),
        )
    logs, total = list(x), torch.zeros((len(X), len(X)), **F64)
    for term in data.kernel.text.split(" + "):
        product = torch.ones_like(total)
        for name in term.split("*"):
            product = product * elementary(name, X, logs, numbers)
        total = total + logs.pop(0).exp() * product
    return total


def naive(x: Tensor, data: Data) -> Tensor:
    """Log marginal likelihood at one point, by torch's own distribution."""
    n = len(data.y)
    noise = data.noise
    if noise is None:
        noise = (data.least_noise_var + x[data.noise_at].exp()).expand(n)
    matrix = covariance(x, data, data.X) + MEAN_VAR + torch.diag(noise)
    normal = torch.distributions.MultivariateNormal(torch.zeros(n, **F64), matrix)
    return normal.log_prob(data.y)


def compared(data: Data, x: Tensor) -> float:
    """Greatest error of a gradient, as a share of the greatest slope; values are checked."""
    prior = hyperpriors.named(
        "vague", 1, noise=data.noise is None, kernel=data.kernel, warped=len(data.warped)
    )
    value, gradient = Hyperposterior(data, prior).log_likelihood(x)
    at = x.clone().requires_grad_()
    truth = torch.stack([naive(row, data) for row in at])
    (slope,) = torch.autograd.grad(truth.sum(), at)
    assert torch.allclose(value, truth.detach(), rtol=1e-9, atol=1e-9 * len(data.y))
    return float((gradient - slope).abs().max() / slope.abs().max())


@pytest.mark.parametrize("warp", [False, True], ids=["plain", "warped"])
@pytest.mark.parametrize("known", [False, True], ids=["unknown noise", "known noise"])
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_values_and_gradients_are_those_of_torch(text: str, known: bool, warp: bool) -> None:
    for n, d in ((1, 2), (2, 3), (20, 4), (60, 1)):
        data = made(text, n, d, known=known, warp=warp)
        x = torch.randn((3, data.dim), generator=seeded(n), **F64)
        assert compared(data, x) < 1e-9


@pytest.mark.parametrize("warp", [False, True], ids=["plain", "warped"])
@pytest.mark.parametrize("text", ["co2", "matern52", "linear*rbf + matern12*rq"])
def test_gradients_hold_for_many_rows(text: str, warp: bool) -> None:
    data = made(text, 300, 3, warp=warp)
    x = torch.randn((2, data.dim), generator=seeded(1), **F64)
    assert compared(data, x) < 1e-9


def of_its_own(data: Data, x: Tensor, seed: int) -> Data:
    """The same rows, with outcomes that the model draws at a point of the hyperparameters."""
    n, noise_var = len(data.y), data.least_noise_var + x[data.noise_at].exp()
    matrix = covariance(x, data, data.X) + noise_var * torch.eye(n, **F64)
    normal = torch.randn(n, generator=seeded(seed), **F64)
    return dataclasses.replace(data, y=torch.linalg.cholesky(matrix) @ normal)


@pytest.mark.parametrize("warp", [False, True], ids=["plain", "warped"])
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_gradients_hold_with_noise_at_its_floor(text: str, warp: bool) -> None:
    for n, d in ((7, 1), (30, 2), (100, 3)):
        data = made(text, n, d, warp=warp)
        x = torch.randn((1, data.dim), generator=seeded(n + 1), **F64)
        x[:, data.noise_at] = -30.0
        assert compared(of_its_own(data, x[0], n), x) < 1e-9


def test_known_values_of_each_kernel() -> None:
    """At a distance of 0.3, with length-scale 0.5, alpha 2, period 0.7 and signal variance 1.5."""
    r = 0.3 / 0.5
    known = {
        "rbf": math.exp(-(r**2) / 2),
        "matern12": math.exp(-r),
        "matern32": (1 + math.sqrt(3) * r) * math.exp(-math.sqrt(3) * r),
        "matern52": (1 + math.sqrt(5) * r + 5 * r**2 / 3) * math.exp(-math.sqrt(5) * r),
        "rq": (1 + r**2 / 4) ** -2,
        "periodic": math.exp(-2 * math.sin(math.pi * 0.3 / 0.7) ** 2 / 0.25),
        "linear": 12 * (0.1 - 0.5) * (0.4 - 0.5),
    }
    assert set(known) == set(kernels.ELEMENTARY)
    a, b = torch.tensor([[0.1]], **F64), torch.tensor([[0.4]], **F64)
    logs = {"lengthscale": 0.5, "alpha": 2.0, "period": 0.7, "signal_var": 1.5}
    for text in (*known, "rbf*periodic", "linear*rq"):
        kernel = kernels.kernel(text, Inputs.reals(1))
        x = torch.tensor([[math.log(logs[slot.kind]) for slot in kernel.slots]], **F64)
        truth = 1.5 * math.prod(known[name] for name in text.split("*"))
        assert float(kernel.between(x, a, b)) == pytest.approx(truth, rel=1e-12)
        if "linear" not in text:
            assert float(kernel.between(x, a, a)) == pytest.approx(1.5, rel=1e-12)


def test_layout_and_short_names() -> None:
    kernel = kernels.kernel("co2", Inputs.reals(1))
    assert kernel.text == "rbf + rbf*periodic + rq + rbf"
    assert kernel.dim + 1 == 12  # one more than the paper's 11, which counts no mean
    assert kernels.kernel("airline", Inputs.reals(1)).dim + 1 == 7
    many = kernels.kernel("rbf*periodic", mixed(4))
    # a length-scale of each parameter, a period of the two numbers only, one signal variance
    assert [(slot.kind, slot.count) for slot in many.slots] == [
        ("lengthscale", 3),
        ("lengthscale", 3),
        ("period", 2),
        ("signal_var", 1),
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("rbf + cubic", "matern12, matern32, .* co2, airline, got 'cubic'"),
        ("rbf*(rq + linear)", "write a\\*\\(b \\+ c\\) as"),
        ("", "got ''"),
        ("rbf + ", "got ''"),
        ("co2 + rbf", "got 'co2'"),
    ],
)
def test_other_words_are_refused(text: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        hmc.Options(kernel=text)
    with pytest.raises(UsageError, match=match):
        bo.Study({"x": bo.real(0, 1)}, method="gp-hmc", options={"surrogate.kernel": text})


@pytest.mark.parametrize("name", hyperpriors.NAMES)
def test_priors_have_gradients_of_their_values_and_draws_of_their_density(name: str) -> None:
    kernel = kernels.kernel("co2", mixed(4))
    prior = hyperpriors.named(name, 3, noise=True, kernel=kernel, warped=2)
    slots = [(slot.kind, slot.count) for slot in kernel.slots]
    check_prior(prior, name, [*slots, ("noise_var", 1), ("warp", 4)])
    drawn = prior.sample(20_000, seeded(3), torch.zeros(1, **F64))
    product = prior.value_and_grad(drawn)[1] * drawn
    error = product.std(dim=0) / len(drawn) ** 0.5
    assert bool(((product.mean(dim=0) + 1.0).abs() < 5.0 * error).all())  # Stein


def test_vague_is_of_everything_and_periods_are_within_the_cube() -> None:
    kernel = kernels.kernel("co2", Inputs.reals(1))
    zero = torch.zeros((1, 1), **F64)
    vague = hyperpriors.named("vague", 1, noise=True, kernel=kernel, warped=1)
    assert torch.allclose(vague.sample(50_000, seeded(0), zero).std(dim=0), 3 + zero[0], rtol=0.03)
    moderate = hyperpriors.named("moderate", 1, noise=True, kernel=kernel, warped=1)
    drawn = moderate.sample(50_000, seeded(0), zero)
    periods = kernel.periods[0].of(drawn).exp()
    assert float(periods.median()) == pytest.approx(0.2, rel=0.05)
    assert float(((periods > 0.0105) & (periods < 3.8)).double().mean()) == pytest.approx(
        0.95, abs=0.01
    )
    assert torch.allclose(drawn[:, -2:].var(dim=0), 0.75 + zero[0], rtol=0.05)


def mixture(data: Data, draws: int = 4) -> MixtureGP:
    x = 0.5 * torch.randn((draws, data.dim), generator=seeded(11), **F64)
    return MixtureGP(data, x, centre=3.0, unit=2.0)


def brute(model: MixtureGP, X: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of each draw at (q, d) points, from the joint matrix of all."""
    told: list[tuple[Tensor, Tensor]] = []
    for s, row in enumerate(model.draws):
        joint = covariance(row, model.data, torch.cat([x, X])) + MEAN_VAR
        n = len(x)
        noise = model.noise[s, 0] * torch.eye(n, **F64)
        towards = joint[n:, :n]
        inner = torch.linalg.solve(joint[:n, :n] + noise, torch.cat([y[:, None], towards.T], dim=1))
        told.append((towards @ inner[:, 0], joint[n:, n:] - towards @ inner[:, 1:]))
    return torch.stack([m for m, _ in told]), torch.stack([c for _, c in told])


@pytest.mark.parametrize("warp", [False, True], ids=["plain", "warped"])
@pytest.mark.parametrize("text", [*EXPRESSIONS, "matern52"])
def test_predictions_and_fantasies_are_those_of_the_definitions(text: str, warp: bool) -> None:
    model = mixture(made(text, 9, 4, warp=warp))
    X = made(text, 5, 4, seed=3).X
    told = model.posterior(X)
    mean, covariances = brute(model, X, model.data.X, model.data.y)
    assert torch.allclose(told.mean.squeeze(-1), 3.0 + 2.0 * mean, rtol=1e-7, atol=1e-7)
    variances = 4.0 * covariances.diagonal(dim1=1, dim2=2)
    assert torch.allclose(told.variance.squeeze(-1), variances, rtol=1e-6, atol=1e-8)
    more, outcomes = made(text, 2, 4, seed=4).X, torch.tensor([[1.0], [5.0]], **F64)
    after = model.condition_on_observations(more, outcomes).posterior(X)
    y = torch.cat([model.data.y, (outcomes[:, 0] - 3.0) / 2.0])
    mean, covariances = brute(model, X, torch.cat([model.data.X, more]), y)
    assert torch.allclose(after.mean.squeeze(-1), 3.0 + 2.0 * mean, rtol=1e-6, atol=1e-6)
    fantasies = model.fantasize(X.unsqueeze(1), SobolQMCNormalSampler(torch.Size([2]), seed=0))
    assert fantasies.posterior(X).mean.shape == (2, 5, 4, 5, 1)


@pytest.mark.parametrize("text", [*EXPRESSIONS, "matern52"])
def test_predictions_can_be_differentiated_at_the_data_too(text: str) -> None:
    data = made(text, 9, 4, warp=True)
    model = mixture(data)
    inside = 0.1 + 0.8 * torch.rand((5, 1, 4), generator=seeded(2), **F64)
    X = torch.cat([inside, data.X[:2].unsqueeze(1)]).requires_grad_()
    told = model.posterior(X)
    (gradient,) = torch.autograd.grad(told.mean.sum() + told.variance.sum(), X)
    assert bool(torch.isfinite(gradient).all())
    step = torch.randn((5, 1, 4), generator=seeded(5), **F64)

    def value(at: Tensor) -> Tensor:
        with torch.no_grad():
            told = model.posterior(at)
        return told.mean.sum() + told.variance.sum()

    slope = (value(inside + 1e-5 * step) - value(inside - 1e-5 * step)) / 2e-5
    assert float(slope) == pytest.approx(float((gradient[:5] * step).sum()), rel=1e-4)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_functions_drawn_of_the_prior_have_its_covariances(text: str) -> None:
    kernel = kernels.kernel(text, mixed(4))
    x = 0.3 * torch.randn((1, kernel.dim), generator=seeded(1), **F64)
    X = made(text, 6, 4, seed=5).X
    many = torch.stack(
        [spectra.drawn(kernel, x[0], seeded(i), features=64)(X) for i in range(4000)]
    )
    truth = kernel.between(x, X, X)[0]
    scale = truth.diagonal().sqrt()
    error = ((many.T @ many / 4000 - truth) / (scale[:, None] * scale)).abs().max()
    assert float(error) < 6.0 * (2.0 / 4000) ** 0.5


@pytest.mark.parametrize("warp", [False, True], ids=["plain", "warped"])
@pytest.mark.parametrize("text", ["co2", "linear*rbf + matern12*rq*matern32 + linear"])
def test_paths_have_the_moments_of_the_posterior(text: str, warp: bool) -> None:
    model = mixture(made(text, 9, 4, warp=warp))
    X = torch.cat([model.data.X[:2], made(text, 3, 4, seed=8).X])
    paths = torch.stack([model.draw_path(seeded(i))(X) for i in range(600)])
    told = model.posterior(X)
    mean, sd = told.mixture_mean.flatten(), told.mixture_variance.flatten().sqrt()
    assert bool(((paths.mean(dim=0) - mean).abs() < 5.0 * sd / 600**0.5 + 0.01).all())
    assert bool(((paths.std(dim=0) / sd - 1.0).abs() < 0.25).all())


def test_paths_of_every_draw_have_its_moments() -> None:
    model: Any = mixture(made("linear*rbf + rbf*periodic", 9, 4, warp=True))
    X = torch.cat([model.data.X[:2], made("rbf", 3, 4, seed=8).X])
    torch.manual_seed(0)
    paths = draw_matheron_paths(model, torch.Size([600]))(X)
    told = model.posterior(X)
    mean, sd = told.mean.squeeze(-1), told.variance.squeeze(-1).sqrt()
    assert paths.shape == (600, 4, 5)
    assert bool(((paths.mean(dim=0) - mean).abs() < 5.0 * sd / 600**0.5 + 0.01).all())
    assert bool(((paths.std(dim=0) / sd - 1.0).abs() < 0.25).all())
