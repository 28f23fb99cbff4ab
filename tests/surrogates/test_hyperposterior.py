"""The density of a GP's hyperparameters: values and gradients against torch's; its priors."""

import dataclasses
import math
from typing import Any

import mpmath
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


def naive(x: Tensor, data: Data) -> Tensor:
    """Log marginal likelihood at one point, by torch's own distribution."""
    p, n = data.p, len(data.y)
    scaled = data.X / x[:p].exp()[list(data.groups)]
    squared = (scaled[:, None] - scaled[None]).square().sum(dim=-1)
    r = (5.0 * (squared + 1e-300)).sqrt()
    k = (1.0 + r + r.square() / 3.0) * torch.exp(-r) if data.matern else torch.exp(-0.5 * squared)
    noise = data.noise
    if noise is None:
        noise = (data.least_noise_var + x[p + 1].exp()).expand(n)
    covariance = x[p].exp() * k + MEAN_VAR + torch.diag(noise)
    normal = torch.distributions.MultivariateNormal(torch.zeros(n, **F64), covariance)
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


def precise(x: list[float], data: Data) -> Any:
    """Log marginal likelihood with 60 digits."""
    mp = mpmath.mp.clone()
    mp.dps = 60
    p, n = data.p, len(data.y)
    X = [[mp.mpf(value) for value in row] for row in data.X.tolist()]
    matrix = mp.matrix(n, n)
    for i in range(n):
        for j in range(n):
            parts = zip(X[i], X[j], data.groups, strict=True)
            squared = sum((a - b) ** 2 * mp.exp(-2 * x[g]) for a, b, g in parts)
            r = mp.sqrt(5 * squared)
            matrix[i, j] = mp.exp(x[p]) * (1 + r + r * r / 3) * mp.exp(-r) + MEAN_VAR
        matrix[i, i] += mp.mpf(data.least_noise_var) + mp.exp(x[p + 1])
    y = mp.matrix([mp.mpf(value) for value in data.y.tolist()])
    fit = (y.T * mp.lu_solve(matrix, y))[0]
    return -(fit + n * mp.log(2 * mp.pi) + mp.log(mp.det(matrix))) / 2


@pytest.mark.parametrize("floor", [1e-4, 1e-6])
def test_gradients_hold_where_inputs_nearly_coincide_and_noise_is_at_its_floor(
    floor: float,
) -> None:
    data = made(7, 3, matern=True, known=False, seed=4)
    data = dataclasses.replace(data, least_noise_var=floor)
    if floor < 1e-4:  # the outcomes there are such as so little noise allows
        data.y[1], data.y[2] = data.y[0] + 1e-3, data.y[0] - 1e-3
    density = Hyperposterior(data, hyperpriors.named("vague", data.p, noise=True))
    at = [0.3, -0.2, 0.5, -30.0]
    mp = mpmath.mp.clone()
    mp.dps = 60
    step = mp.mpf(10) ** -20
    slope: list[float] = []
    for j in range(4):
        ends = [[mp.mpf(v) + s * step * (i == j) for i, v in enumerate(at)] for s in (1, -1)]
        above, below = (precise(end, data) for end in ends)
        slope.append(float((above - below) / (2 * step)))
    truth = torch.tensor(slope, **F64)
    for fused in (True, False):
        density.fused = fused
        for chains in (1, 4):
            value, gradient = density.log_likelihood(torch.tensor([at] * chains, **F64))
            assert value.tolist() == pytest.approx([float(precise(at, data))] * chains, rel=1e-9)
            assert float((gradient - truth).abs().max() / truth.abs().max()) < 1e-9


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


@pytest.mark.parametrize("name", hyperpriors.NAMES)
@pytest.mark.parametrize("p", [1, 6, 40])
def test_gradients_of_priors_are_those_of_their_values(name: str, p: int) -> None:
    prior = hyperpriors.named(name, p, noise=True)
    x = torch.randn((4, p + 2), generator=seeded(p), **F64)
    _, gradient = prior.value_and_grad(x)
    step = 1e-5
    for j in range(p + 2):
        offset = torch.zeros(p + 2, **F64)
        offset[j] = step
        above, below = (prior.value_and_grad(x + s * offset)[0] for s in (1.0, -1.0))
        assert torch.allclose((above - below) / (2 * step), gradient[:, j], rtol=1e-5, atol=1e-7)
    single = prior.value_and_grad(x.float())
    assert torch.allclose(single[0].double(), prior.value_and_grad(x)[0], rtol=1e-4, atol=1e-3)


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
