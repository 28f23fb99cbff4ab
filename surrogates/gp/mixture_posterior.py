"""The posterior of a mixture over draws of hyperparameters, whose draws may have weights. No paper.

BoTorch's `GaussianMixturePosterior` knows mixtures of equal weights only, and its acquisition
functions average over the draws as if all counted the same. So two things are kept apart. What is
named after the mixture (`mixture_mean`, `mixture_variance`, `mixture_covariance_matrix`,
`quantile`, `density`, `mixture_samples`) takes the weights as they are. What has the draws in its
shape (`mean`, `variance`, `distribution`, `rsample`) shows each draw about as often as its weight
says, in as many places as there are draws (systematic resampling, Kitagawa 1996), so that a plain
average over these places is right.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from botorch.posteriors.fully_bayesian import MCMC_DIM, GaussianMixturePosterior
from botorch.posteriors.transformed import TransformedPosterior
from jaxtyping import Float
from linear_operator import to_dense, to_linear_operator
from torch import Generator, Tensor

from surrogates.errors import UsageError
from surrogates.gp.scaled import ScaledNormal
from surrogates.inference.contract import normals, uniforms

_STEPS = 200
_PRECISION = 1e-13
_NODES = 48


class MixturePosterior(GaussianMixturePosterior):
    """A mixture of normal distributions, one for each of S draws.

    Args:
        distribution: (..., S, q) of all draws.
        log_weights: (S,) whose exponentials sum to 1; None where all draws count the same.
    """

    def __init__(
        self,
        distribution: ScaledNormal,
        log_weights: Float[Tensor, " S"] | None = None,
    ) -> None:
        shown = distribution
        if log_weights is not None:
            places = places_by_weight(log_weights, len(log_weights))
            covariance = to_dense(distribution.lazy_covariance_matrix)[..., places, :, :]
            shown = ScaledNormal(
                distribution.mean[..., places, :],
                to_linear_operator(covariance),
                distribution.unit,
            )
        super().__init__(shown)
        self.every, self.log_weights = distribution, log_weights
        self._moments = (distribution.mean.unsqueeze(-1), distribution.variance.unsqueeze(-1))

    @property
    def mixture_mean(self) -> Float[Tensor, "*b q 1"]:
        """Of the mixture."""
        return self.averaged(self._moments[0])

    @property
    def mixture_variance(self) -> Float[Tensor, "*b q 1"]:
        """Of the mixture: the average variance and the variance of the means."""
        means, variances = self._moments
        return self.averaged(variances + (means - self.mixture_mean.unsqueeze(MCMC_DIM)).square())

    @property
    def mixture_covariance_matrix(self) -> Float[Tensor, "*b q q"]:
        """Of the mixture."""
        off = self._moments[0] - self.mixture_mean.unsqueeze(MCMC_DIM)
        return self.averaged(to_dense(self.every.lazy_covariance_matrix) + off @ off.mT)

    def quantile(self, value: Tensor) -> Tensor:
        """(..., q, 1) where the cumulative distribution is `value`; of several, they come first.

        Newton's method, kept in the interval that is known to hold the answer.
        """
        if value.numel() > 1:
            return torch.stack([self.quantile(each) for each in value])
        level = float(value)
        if not 0.0 < level < 1.0:
            raise UsageError(f"a quantile expected a level between 0 and 1, got {level}")
        with torch.no_grad():
            means, stds = self._moments[0], self._moments[1].clamp_min(1e-300).sqrt()
            ends = means + stds * torch.special.ndtri(value.reshape(()).to(means))
            low, high = ends.amin(dim=MCMC_DIM), ends.amax(dim=MCMC_DIM)
            x = 0.5 * (low + high)
            for _ in range(_STEPS):
                z = (x.unsqueeze(MCMC_DIM) - means) / stds
                excess = self.averaged(torch.special.ndtr(z)) - level
                low, high = torch.where(excess > 0, low, x), torch.where(excess > 0, x, high)
                ahead = x - excess / self.averaged(_normal_density(z) / stds)
                inside = (ahead >= low) & (ahead <= high)
                ahead = torch.where(inside, ahead, 0.5 * (low + high))
                moved, x = (ahead - x).abs(), ahead
                if bool((moved <= _PRECISION * (x.abs() + stds.amax(dim=MCMC_DIM))).all()):
                    break
        return x

    def density(self, value: Tensor) -> Tensor:
        """The mixture's density of each point alone at (..., q, 1) values."""
        means, stds = self._moments[0], self._moments[1].sqrt()
        return self.averaged(_normal_density((value.unsqueeze(MCMC_DIM) - means) / stds) / stds)

    def mixture_samples(self, count: int, generator: Generator) -> Float[Tensor, "count *b q 1"]:
        """Draws from the mixture: for each one draw of hyperparameters, then the q values of it."""
        means = self.every.mean
        covariances = to_dense(self.every.lazy_covariance_matrix)
        covariances = covariances.expand(*means.shape, means.shape[-1])
        picked = uniforms((count,), generator, means)
        place = torch.searchsorted(self._weights(means).cumsum(0), picked)
        place = place.clamp_max(means.shape[-2] - 1)
        unit = normals((count, *means.shape[:-2], means.shape[-1]), generator, means)
        made: list[Tensor] = []
        for at, z in zip(place.tolist(), unit, strict=True):
            root = to_linear_operator(covariances[..., at, :, :]).cholesky()
            made.append(means[..., at, :] + to_dense(root @ z.unsqueeze(-1)).squeeze(-1))
        return torch.stack(made).unsqueeze(-1)

    def averaged(self, told: Tensor) -> Tensor:
        """The average over (..., S, q, q or 1), by the weights."""
        return (self._weights(told)[:, None, None] * told).sum(dim=MCMC_DIM)

    def _weights(self, like: Tensor) -> Tensor:
        if self.log_weights is None:
            count = self.every.mean.shape[-2]
            return torch.full((count,), 1.0 / count, dtype=like.dtype, device=like.device)
        return self.log_weights.to(like).exp()


class TransformedMixture(TransformedPosterior):
    """A mixture whose outcomes are seen through a function, such as the exponential.

    Args:
        inner: the mixture.
        back: from its outcomes to those that are seen; each outcome by itself, and monotone.
    """

    def __init__(self, inner: MixturePosterior, back: Callable[[Tensor], Tensor]) -> None:
        def mean(means: Tensor, variances: Tensor | None) -> Tensor:
            return _seen(means, variances, back)[0]

        super().__init__(
            inner, back, mean_transform=mean, variance_transform=lambda m, v: _seen(m, v, back)[1]
        )
        self.inner, self.back = inner, back

    @property
    def mixture_mean(self) -> Tensor:
        """(..., q, 1) of the mixture."""
        return self.inner.averaged(self._every()[0])

    @property
    def mixture_variance(self) -> Tensor:
        """(..., q, 1) of the mixture."""
        means, variances = self._every()
        off = means - self.inner.averaged(means).unsqueeze(MCMC_DIM)
        return self.inner.averaged(variances + off.square())

    def quantile(self, value: Tensor) -> Tensor:
        """(..., q, 1) where the cumulative distribution is `value`; of several, they come first."""
        middle = self.inner.mixture_mean
        rising = bool((self.back(middle + 1.0) >= self.back(middle - 1.0)).all())
        return self.back(self.inner.quantile(value if rising else 1.0 - value))

    def mixture_samples(self, count: int, generator: Generator) -> Tensor:
        """(count, ..., q, 1) draws from the mixture."""
        return self.back(self.inner.mixture_samples(count, generator))

    def _every(self) -> tuple[Tensor, Tensor]:
        told = self.inner.every
        return _seen(told.mean.unsqueeze(-1), told.variance.unsqueeze(-1), self.back)


def places_by_weight(log_weights: Float[Tensor, " S"], count: int) -> Tensor:
    """(count,) draws, each about as often as its weight says; always the same ones."""
    edges = log_weights.exp().cumsum(0)
    at = (torch.arange(count, dtype=edges.dtype, device=edges.device) + 0.5) / count
    return torch.searchsorted(edges / edges[-1], at).clamp_max(len(edges) - 1)


def _seen(
    means: Tensor, variances: Tensor | None, back: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean and variance of a function of normal variables, by Gauss-Hermite quadrature."""
    assert variances is not None
    at, shares = np.polynomial.hermite_e.hermegauss(_NODES)
    shares = shares / shares.sum()
    where: dict[str, Any] = {"dtype": means.dtype, "device": means.device}
    nodes = torch.as_tensor(at, **where).reshape(-1, *[1] * means.ndim)
    share = torch.as_tensor(shares, **where).reshape(nodes.shape)
    told = back(means + variances.sqrt() * nodes)
    mean = (share * told).sum(dim=0)
    return mean, (share * (told - mean).square()).sum(dim=0)


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
