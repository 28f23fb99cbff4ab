"""Kernels that are sums of products, and warps: values, gradients against torch's."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from surrogates.gp import hyperpriors, kernels
from surrogates.gp.hyperposterior import LEAST_NOISE_VAR, MEAN_VAR, Data, Hyperposterior
from surrogates.inputs import Column, Inputs

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
        X = torch.cat([1 - (1 - inside**a) ** b, X[:, w:]], dim=1)
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
        noise = (LEAST_NOISE_VAR + x[data.noise_at].exp()).expand(n)
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
    n, noise_var = len(data.y), LEAST_NOISE_VAR + x[data.noise_at].exp()
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
