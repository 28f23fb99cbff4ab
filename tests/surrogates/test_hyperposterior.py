"""The density of a GP's hyperparameters: values and gradients against torch's; its priors."""

import dataclasses
import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from surrogates.errors import UsageError
from surrogates.gp import hyperpriors, laplace
from surrogates.gp.conditioned import factorised
from surrogates.gp.hyperposterior import MEAN_VAR, Data, Hyperposterior
from surrogates.inference.contract import leapfrog_by_steps
from surrogates.inputs import Inputs

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


def made(n: int, d: int, *, matern: bool, known: bool, seed: int) -> Data:
    """Rows of which some coincide or nearly do; the first two columns share a length-scale."""
    generator = seeded(seed)
    X = torch.rand((n, d), generator=generator, **F64)
    if n > 5:
        X[1], X[2] = X[0], X[0] + 1e-7
    y = torch.randn(n, generator=generator, **F64)
    noise = torch.rand(n, generator=generator, **F64) + 1e-3 if known else None
    return Data(X, y, (0, 0, *range(1, d - 1)), matern, noise)


def covariance(x: Tensor, data: Data) -> Tensor:
    """Of the outcomes at one point."""
    p, n = data.p, len(data.y)
    scaled = data.X / x[:p].exp()[list(data.groups)]
    squared = (scaled[:, None] - scaled[None]).square().sum(dim=-1)
    r = (5.0 * (squared + 1e-300)).sqrt()
    k = (1.0 + r + r.square() / 3.0) * torch.exp(-r) if data.matern else torch.exp(-0.5 * squared)
    noise = data.noise
    if noise is None:
        noise = (data.least_noise_var + x[p + 1].exp()).expand(n)
    return x[p].exp() * k + MEAN_VAR + torch.diag(noise)


def naive(x: Tensor, data: Data) -> Tensor:
    """Log marginal likelihood at one point, by torch's own distribution."""
    zero = torch.zeros(len(data.y), **F64)
    normal = torch.distributions.MultivariateNormal(zero, covariance(x, data))
    return normal.log_prob(data.y)


@pytest.mark.parametrize("known", [False, True], ids=["unknown noise", "known noise"])
@pytest.mark.parametrize("matern", [True, False], ids=["matern52", "rbf"])
@pytest.mark.parametrize("chains", [3, 13], ids=["few", "lanes"])
@pytest.mark.parametrize(("n", "d"), [(1, 2), (2, 3), (21, 6), (60, 8), (299, 4), (310, 4)])
def test_values_and_gradients_are_those_of_torch(
    n: int, d: int, chains: int, matern: bool, known: bool
) -> None:
    data = made(n, d, matern=matern, known=known, seed=n + d)
    density = Hyperposterior(data, hyperpriors.named("vague", data.p, noise=not known))
    x = torch.randn((chains, data.dim), generator=seeded(1), **F64)
    value, gradient = density.log_likelihood(x)
    at = x.clone().requires_grad_()
    truth = torch.stack([naive(row, data) for row in at])
    (slope,) = torch.autograd.grad(truth.sum(), at)
    assert torch.allclose(value, truth.detach(), rtol=1e-9, atol=1e-9 * n)
    assert float((gradient - slope).abs().max() / slope.abs().max()) < 1e-9
    density.fused = False
    others = density.log_likelihood(x)
    assert torch.allclose(value, others[0], rtol=1e-9, atol=1e-9 * n)
    assert float((gradient - others[1]).abs().max() / slope.abs().max()) < 1e-9


MP = mpmath.mp.clone()
MP.dps = 60


def precise(x: list[Any], data: Data) -> Any:
    """Log marginal likelihood with 60 digits."""
    mp, p, n = MP, data.p, len(data.y)
    exp, sqrt = np.frompyfunc(mp.exp, 1, 1), np.frompyfunc(mp.sqrt, 1, 1)
    X = np.frompyfunc(mp.mpf, 1, 1)(data.X.numpy().astype(object))
    widths = np.array([mp.exp(2 * x[group]) for group in data.groups])
    squared = ((X[:, None] - X[None]) ** 2 / widths).sum(axis=2)
    r = sqrt(5 * squared)
    k = (1 + r + r * r / 3) * exp(-r) if data.matern else exp(-squared / 2)
    noise = mp.mpf(data.least_noise_var) + mp.exp(x[p + 1])
    left = mp.exp(x[p]) * k + MEAN_VAR + noise * np.eye(n, dtype=int)
    rest, value = np.frompyfunc(mp.mpf, 1, 1)(data.y.numpy().astype(object)), n * mp.log(2 * mp.pi)
    for _ in range(n):  # one row after the other is conditioned on
        ratio = left[1:, 0] / left[0, 0]
        value += mp.log(left[0, 0]) + rest[0] ** 2 / left[0, 0]
        rest = rest[1:] - ratio * rest[0]
        left = left[1:, 1:] - np.outer(ratio, left[0, 1:])
    return -value / 2


def precise_slope(x: list[float], data: Data) -> Tensor:
    """Its gradient, by differences over steps so small that 60 digits are needed."""
    step = MP.mpf(10) ** -20
    slope: list[float] = []
    for j in range(len(x)):
        ends = [[MP.mpf(v) + s * step * (i == j) for i, v in enumerate(x)] for s in (1, -1)]
        above, below = (precise(end, data) for end in ends)
        slope.append(float((above - below) / (2 * step)))
    return torch.tensor(slope, **F64)


def compared(x: Tensor, data: Data, truth: Tensor, slope: Tensor, tolerance: float) -> None:
    """Value and gradient at one point, compiled and batched, in few chains and in many."""
    density = Hyperposterior(data, hyperpriors.named("vague", data.p, noise=True))
    for fused, chains in ((True, 1), (True, 4), (True, 13), (False, 1), (False, 4)):
        density.fused = fused
        value, gradient = density.log_likelihood(x.repeat(chains, 1))
        assert value.tolist() == pytest.approx([float(truth)] * chains, rel=tolerance)
        assert float((gradient - slope).abs().max() / slope.abs().max()) < tolerance


@pytest.mark.parametrize("matern", [True, False], ids=["matern52", "rbf"])
@pytest.mark.parametrize("floor", [1e-4, 1e-6])
def test_gradients_hold_where_inputs_nearly_coincide_and_noise_is_at_its_floor(
    floor: float, matern: bool
) -> None:
    data = made(7, 3, matern=matern, known=False, seed=4)
    data = dataclasses.replace(data, least_noise_var=floor)
    if floor < 1e-4:  # the outcomes there are such as so little noise allows
        data.y[1], data.y[2] = data.y[0] + 1e-3, data.y[0] - 1e-3
    at = [0.3, -0.2, 0.5, -30.0]
    truth = float(precise(at, data))
    compared(
        torch.tensor(at, **F64), data, torch.tensor(truth, **F64), precise_slope(at, data), 1e-9
    )


def at_its_floor(n: int, floor: float, matern: bool, seed: int) -> tuple[Tensor, Data, float]:
    """A point, and outcomes that the model draws there; what rounding alone may do to a gradient.

    Other outcomes would have quadratic forms so huge that their rounding is all there is to see.
    Even of these no gradient is nearer than the rounding of the matrix, times its condition number:
    1e-9 for n = 300 and noise of 1e-4, 1e-7 for noise of 1e-6.
    """
    data = made(n, 3, matern=matern, known=False, seed=seed)
    data = dataclasses.replace(data, least_noise_var=floor)
    x = torch.randn(data.dim, generator=seeded(seed + 100), **F64)
    x[data.noise_at] = -30.0
    matrix = covariance(x, data)
    y = torch.linalg.cholesky(matrix) @ torch.randn(n, generator=seeded(seed), **F64)
    rounding = torch.finfo(torch.float64).eps * float(torch.linalg.cond(matrix))
    return x, dataclasses.replace(data, y=y), rounding


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("matern", [True, False], ids=["matern52", "rbf"])
@pytest.mark.parametrize("floor", [1e-4, 1e-6])
@pytest.mark.parametrize("n", [7, 20])
def test_gradients_at_the_floor_of_the_noise_are_those_of_60_digits(
    n: int, floor: float, matern: bool, seed: int
) -> None:
    x, data, rounding = at_its_floor(n, floor, matern, seed)
    at = x.tolist()
    truth = torch.tensor(float(precise(at, data)), **F64)
    compared(x, data, truth, precise_slope(at, data), max(1e-9, rounding))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("matern", [True, False], ids=["matern52", "rbf"])
@pytest.mark.parametrize("floor", [1e-4, 1e-6])
@pytest.mark.parametrize("n", [60, 300])
def test_gradients_at_the_floor_of_the_noise_are_those_of_torch(
    n: int, floor: float, matern: bool, seed: int
) -> None:
    """Within the rounding of either."""
    x, data, rounding = at_its_floor(n, floor, matern, seed)
    at = x.clone().requires_grad_()
    truth = naive(at, data)
    (slope,) = torch.autograd.grad(truth, at)
    compared(x, data, truth.detach(), slope, max(1e-9, 2.0 * rounding))


@pytest.mark.parametrize("fused", [True, False])
def test_what_cannot_be_factorised_has_no_density_and_harms_no_other(fused: bool) -> None:
    data = made(6, 3, matern=True, known=False, seed=0)
    density = Hyperposterior(data, hyperpriors.named("vague", data.p, noise=True))
    x = torch.zeros((11, data.dim), **F64)
    alone, _ = density.log_likelihood(x[:1])
    x[1] = math.nan
    x[2, data.p] = 800.0  # its exponential is infinite
    density.fused = fused
    for some in (x[:3], x):
        value, _ = density.log_likelihood(some)
        assert value[0] == pytest.approx(float(alone), rel=1e-12)
        assert not bool(torch.isfinite(value[1:3]).any())
        assert torch.allclose(value[3:], alone, rtol=1e-12, atol=0.0)


def test_a_matrix_that_needs_a_jitter_gets_it_and_no_other_does() -> None:
    data = made(20, 3, matern=False, known=True, seed=0)
    density = Hyperposterior(data, hyperpriors.named("vague", data.p, noise=False))
    x = torch.randn((8, data.dim), generator=seeded(1), **F64)
    x[3] = torch.tensor([1.0, 1.0, 40.0], **F64)  # noise is lost beside e^40
    value, gradient = density.log_likelihood(x)
    for chain in range(8):
        alone, slope = density.log_likelihood(x[chain : chain + 1])
        assert bool(torch.isfinite(alone).all())
        assert value[chain] == pytest.approx(float(alone), rel=1e-10)
        assert torch.allclose(gradient[chain], slope[0], rtol=1e-8, atol=1e-8)
    assert torch.equal(gradient[3:4], density.log_likelihood(x[3:4])[1])


def horseshoe(x: Tensor, log_tau: Tensor) -> Tensor:
    """Log density of log length-scales under `saas`; tau is integrated out over an even grid."""
    half_cauchy = torch.distributions.HalfCauchy
    shrunk = -2.0 * x - log_tau.unsqueeze(1)  # log rho
    local = half_cauchy(torch.tensor(1.0, **F64)).log_prob(shrunk.exp()) + shrunk + math.log(2.0)
    shared = half_cauchy(torch.tensor(0.1, **F64)).log_prob(log_tau.exp()) + log_tau
    return torch.logsumexp(local.sum(dim=1) + shared, dim=0) + (log_tau[1] - log_tau[0]).log()


def formula(name: str, x: Tensor, slots: list[tuple[str, int]]) -> Tensor:
    """Log density of one point of the logarithms, by torch's distributions of the numbers."""

    def normal(centre: float, sd: float, at: Tensor) -> Tensor:
        here = torch.distributions.LogNormal(torch.tensor(centre, **F64), torch.tensor(sd, **F64))
        return (here.log_prob(at.exp()) + at).sum()

    def gamma(shape: float, rate: float, at: Tensor) -> Tensor:
        here = torch.distributions.Gamma(torch.tensor(shape, **F64), torch.tensor(rate, **F64))
        return (here.log_prob(at.exp()) + at).sum()

    if name in ("vague", hyperpriors.FLAT):
        return normal(0.0, 3.0 if name == "vague" else 30.0, x)
    total = torch.zeros((), **F64)
    for (kind, count), at in zip(slots, x.split([count for _, count in slots]), strict=True):
        if kind == "lengthscale" and name == "saas":
            nodes = torch.from_numpy(hyperpriors._nodes(count)[0])
            total = total + horseshoe(at, nodes)
        elif kind == "lengthscale" and name == "gamma":
            total = total + gamma(3.0, 6.0, at)
        elif kind == "lengthscale":
            centre, sd = (math.log(0.4), 1.0) if name == "moderate" else (2.0**0.5, 3.0**0.5)
            total = total + normal(centre + 0.5 * math.log(count), sd, at)
        elif kind == "signal_var" and name != "moderate":
            total = total + gamma(2.0, 0.15, at)
        elif kind == "noise_var" and name in ("saas", "gamma"):
            total = total + gamma(*((0.9, 10.0) if name == "saas" else (1.1, 0.05)), at)
        else:
            centre, sd = {
                "signal_var": (0.0, 1.0),
                "noise_var": (-4.0, 1.0),
                "period": (math.log(0.2), 1.5),
                "alpha": (0.0, 1.0),
                "warp": (0.0, 0.75**0.5),
            }[kind]
            total = total + normal(centre, sd, at)
    return total


def check_prior(prior: hyperpriors.Prior, name: str, slots: list[tuple[str, int]]) -> None:
    """Values and gradients within 1e-9 of those that torch has of `formula`."""
    dim = sum(count for _, count in slots)
    x = torch.randn((4, dim), generator=seeded(dim), **F64)
    x[2:] *= 3.0
    value, gradient = prior.value_and_grad(x)
    assert gradient.shape == x.shape
    at = x.clone().requires_grad_()
    truth = torch.stack([formula(name, row, slots) for row in at])
    (slope,) = torch.autograd.grad(truth.sum(), at)
    assert torch.allclose(value, truth.detach(), rtol=1e-9, atol=0.0)
    size = slope.abs().max(dim=1).values
    assert bool(((gradient - slope).abs().max(dim=1).values < 1e-9 * size).all())
    single = prior.value_and_grad(x.float())
    assert torch.allclose(single[0].double(), value, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", [*hyperpriors.NAMES, hyperpriors.FLAT])
@pytest.mark.parametrize("noise", [True, False], ids=["unknown noise", "known noise"])
@pytest.mark.parametrize("p", [1, 6, 40])
def test_values_and_gradients_of_priors_are_those_of_torch(p: int, noise: bool, name: str) -> None:
    slots = [("lengthscale", p), ("signal_var", 1), *[("noise_var", 1)] * noise]
    check_prior(hyperpriors.named(name, p, noise=noise), name, slots)


@pytest.mark.parametrize("p", [1, 3, 6, 14, 40])
def test_few_nodes_integrate_tau_out(p: int) -> None:
    """As 8,000 of them do, to a ten-thousandth of the density; mostly to a millionth."""
    x = torch.randn((20, p), generator=seeded(p), **F64)
    x[10:] *= 3.0
    fine = torch.arange(-80.0, 80.0, 0.02, **F64)
    truth = torch.stack([horseshoe(row, fine) for row in x])
    value, _ = hyperpriors.Saas(p).value_and_grad(x)
    assert torch.allclose(value, truth, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("name", hyperpriors.NAMES)
def test_priors_of_one_length_scale_integrate_to_one(name: str) -> None:
    """On a line through each coordinate, the others being independent."""
    for noise, dim in ((True, 3), (False, 2)):
        prior = hyperpriors.named(name, 1, noise=noise)
        grid = torch.linspace(-40.0, 40.0, 40_001, **F64)
        x = torch.zeros((len(grid), dim), **F64)
        at_zero = float(prior.value_and_grad(x[:1])[0])
        total = 0.0
        for j in range(dim):
            moved = x.clone()
            moved[:, j] = grid
            value, _ = prior.value_and_grad(moved)
            total += math.log(float(torch.trapezoid((value - at_zero).exp(), grid)))
        # The product of the marginals at 0 is the density there: it is 1 over these integrals.
        assert total == pytest.approx(-at_zero, abs=2e-3)


@pytest.mark.parametrize("name", hyperpriors.NAMES)
def test_draws_of_a_prior_have_its_density(name: str) -> None:
    """Means of the gradient over draws are 0 (Stein), within 5 standard errors."""
    prior = hyperpriors.named(name, 3, noise=True)
    x = prior.sample(20_000, seeded(3), torch.zeros(1, **F64))
    _, gradient = prior.value_and_grad(x)
    error = gradient.std(dim=0) / len(x) ** 0.5
    assert bool((gradient.mean(dim=0).abs() < 5.0 * error).all())
    # and of the gradient times the coordinate, -1
    product = gradient * x
    error = product.std(dim=0) / len(x) ** 0.5
    assert bool(((product.mean(dim=0) + 1.0).abs() < 5.0 * error).all())


def test_an_unknown_prior_is_refused() -> None:
    with pytest.raises(UsageError, match="expected one of moderate, dimension-scaled, saas"):
        hyperpriors.named("uniform", 2, noise=True)


@pytest.mark.parametrize("known", [False, True], ids=["unknown noise", "known noise"])
@pytest.mark.parametrize("name", hyperpriors.NAMES)
def test_compiled_posterior_and_trajectory_are_those_made_of_parts(name: str, known: bool) -> None:
    data = made(20, 6, matern=True, known=known, seed=3)
    density = Hyperposterior(data, hyperpriors.named(name, data.p, noise=not known))
    x = torch.randn((5, data.dim), generator=seeded(1), **F64)
    value, gradient = density.value_and_grad(x)
    likelihood, slope = density.log_likelihood(x)
    prior, other = density.prior.value_and_grad(x)
    assert torch.allclose(value, likelihood + prior, rtol=1e-12)
    assert torch.allclose(gradient, slope + other, rtol=1e-10, atol=1e-10)
    momentum = torch.randn((5, data.dim), generator=seeded(2), **F64)
    factor = (0.3 * torch.eye(data.dim, **F64) + 0.01).tril()
    before = x.clone(), momentum.clone(), gradient.clone()
    ours = density.leapfrog(x, momentum, gradient, factor, 0.1, 7)
    theirs = leapfrog_by_steps(density, x, momentum, gradient, factor, 0.1, 7)
    for end, truth in zip(ours, theirs, strict=True):
        assert torch.allclose(end, truth, rtol=1e-8, atol=1e-8)
    for told, was in zip((x, momentum, gradient), before, strict=True):
        assert torch.equal(told, was)


def test_a_prior_of_ones_own_has_no_terms_and_goes_by_steps() -> None:
    class Flat:
        def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros_like(x[:, 0]), torch.zeros_like(x)

        def sample(self, n: int, generator: Generator, like: Tensor) -> Tensor:
            return torch.zeros((n, 8), **F64)

    data = made(12, 6, matern=True, known=False, seed=4)
    density, x = Hyperposterior(data, Flat()), torch.zeros((2, data.dim), **F64)
    assert hyperpriors.terms(density.prior) is None
    assert torch.equal(density.value_and_grad(x)[0], density.log_likelihood(x)[0])
    ends = density.leapfrog(x, x, density.value_and_grad(x)[1], torch.eye(data.dim, **F64), 0.1, 2)
    assert torch.equal(ends[2], density.value_and_grad(ends[0])[0])


def test_jitter_is_added_to_those_matrices_only_that_need_it() -> None:
    good = torch.tensor([[2.0, 1.0], [1.0, 2.0]], **F64)
    equal = torch.ones((2, 2), **F64)  # of two equal inputs
    hopeless = torch.tensor([[1.0, 2.0], [2.0, 1.0]], **F64)
    factor, failed = factorised(torch.stack([good, equal, hopeless]), torch.ones(3, **F64))
    assert failed.tolist() == [False, False, True]
    assert torch.equal(factor[0], torch.linalg.cholesky(good))
    jittered = equal + 1e-10 * torch.eye(2, **F64)
    assert torch.allclose(factor[1] @ factor[1].mT, jittered, rtol=0.0, atol=1e-13)
    assert not torch.allclose(equal, jittered, rtol=0.0, atol=1e-13)


def test_the_default_prior_lets_noise_be_less_than_botorchs_priors_do() -> None:
    X = torch.rand((40, 1), generator=seeded(0), **F64)
    Y = torch.sin(6.0 * X)
    found: dict[str, float] = {}
    for prior in hyperpriors.NAMES:
        options = laplace.Options(prior=prior, kernel="rbf")
        model = laplace.fit(X, Y, inputs=Inputs.reals(1), options=options)
        least = 1e-6 if prior == "moderate" else 1e-4
        assert float(model.noise_var.min()) >= least
        found[prior] = float(model.noise_var.max())
    assert found["moderate"] < 1e-4 < found["dimension-scaled"]
