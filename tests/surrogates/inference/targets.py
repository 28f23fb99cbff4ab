"""Densities whose moments are known, for every engine."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from surrogates.inference.contract import Density, Differentiated


@dataclass(frozen=True)
class Target:
    """A density with what is true of it, and an over-dispersed place to start from.

    Attributes:
        mean: (dim,).
        variance: (dim,).
        log_normaliser: logarithm of its integral.
        spread: standard deviation of starting points around `centre`.
    """

    name: str
    density: Density
    mean: Tensor
    variance: Tensor
    log_normaliser: float
    spread: float = 2.0

    def starts(self, chains: int, generator: Generator) -> Tensor:
        noise = torch.randn((chains, len(self.mean)), generator=generator, dtype=torch.float64)
        return self.mean + self.spread * self.variance.sqrt() * noise

    def __str__(self) -> str:
        return self.name


def gaussian(dim: int = 10) -> Target:
    """Correlated, with standard deviations over an order of magnitude."""
    place = torch.arange(dim, dtype=torch.float64)
    sd = 10.0 ** torch.linspace(-0.5, 0.5, dim, dtype=torch.float64)
    correlation = 0.9 ** (place[:, None] - place[None]).abs()
    covariance = sd[:, None] * correlation * sd[None]
    factor = torch.linalg.cholesky(covariance)
    precision = torch.cholesky_inverse(factor)
    mean = place - 3.0

    class Gaussian:
        def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
            pull = (mean - x) @ precision
            return 0.5 * (pull * (x - mean)).sum(dim=1), pull

    volume = 0.5 * dim * math.log(2 * math.pi) + float(factor.diagonal().log().sum())
    return Target("gaussian", Gaussian(), mean, covariance.diagonal(), volume)


def student(dim: int = 3, degrees: float = 7.0) -> Target:
    """Heavy tails."""
    log_normaliser = (
        math.lgamma(degrees / 2)
        - math.lgamma((degrees + dim) / 2)
        + 0.5 * dim * math.log(degrees * math.pi)
    )
    density = Differentiated(
        lambda x: -0.5 * (degrees + dim) * torch.log1p(x.square().sum(dim=1) / degrees)
    )
    one = torch.ones(dim, dtype=torch.float64)
    variance = degrees / (degrees - 2.0) * one
    return Target("student", density, 0.0 * one, variance, log_normaliser)


def funnel(dim: int = 4) -> Target:
    """Neal (2003), "Slice sampling", section 8, less deep: v ~ N(0, 1), each x ~ N(0, e^v)."""

    def log_density(x: Tensor) -> Tensor:
        v, rest = x[:, 0], x[:, 1:]
        return -0.5 * (v.square() + (dim - 1) * v + rest.square().sum(dim=1) * torch.exp(-v))

    variance = torch.full((dim,), math.exp(0.5), dtype=torch.float64)
    variance[0] = 1.0
    volume = 0.5 * dim * math.log(2 * math.pi)
    return Target("funnel", Differentiated(log_density), 0.0 * variance, variance, volume)


def funnel_not_centred(dim: int = 10) -> Target:
    """Neal's funnel as deep as his, v ~ N(0, 9) and each x ~ N(0, e^v), of v and z = x e^(-v/2)."""

    def log_density(at: Tensor) -> Tensor:
        v = at[:, 0]
        x = at[:, 1:] * torch.exp(0.5 * v).unsqueeze(1)
        log = -0.5 * (v.square() / 9.0 + (dim - 1) * v + x.square().sum(dim=1) * torch.exp(-v))
        return log + 0.5 * (dim - 1) * v  # the Jacobian

    variance = torch.ones(dim, dtype=torch.float64)
    variance[0] = 9.0
    volume = 0.5 * dim * math.log(2 * math.pi) + math.log(3.0)
    density = Differentiated(log_density)
    return Target("funnel, not centred", density, 0.0 * variance, variance, volume)


def two_modes(distance: float = 3.0, share: float = 0.3) -> Target:
    """Two Gaussians in the plane, near enough for a chain to cross."""
    centres = torch.tensor([[0.0, 0.0], [distance, 0.5]], dtype=torch.float64)
    weights = torch.tensor([1.0 - share, share], dtype=torch.float64)

    def log_density(x: Tensor) -> Tensor:
        squares = (x[:, None] - centres).square().sum(dim=2)
        return torch.logsumexp(weights.log() - 0.5 * squares, dim=1)

    mean = weights @ centres
    variance = 1.0 + weights @ (centres - mean).square()
    return Target("two modes", Differentiated(log_density), mean, variance, math.log(2 * math.pi))


TARGETS = [gaussian(), student(), funnel_not_centred(), two_modes()]
