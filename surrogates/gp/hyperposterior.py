"""The posterior density of a Gaussian process's hyperparameters, at many values of them at once.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning": equations 2.30 (log marginal
likelihood) and 5.9 (its gradient).

Model: y = m + f(x) + e on standardised outcomes. The kernel of f is signal_var g(r), r^2 = sum_j
(x_j - x'_j)^2 / l_j^2, one length-scale per group of columns, with g the Matern-5/2 function or
g(r) = exp(-r^2 / 2) (RBF). The constant m ~ N(0, 1) is integrated out: it adds 1 to every
covariance. The noise has the variance 1e-4 + noise_var, or variances that are known.

A point of the density holds the logarithms of the length-scales (p), of signal_var, and of
noise_var where it is unknown. It is a density of these logarithms.

On the CPU everything of a point but its prior is one compiled kernel, which calls LAPACK itself;
elsewhere, and for other dtypes than float64, the same formulas are batched in torch.
"""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.gp import fused
from surrogates.gp.fused import JITTERS, LEAST_NOISE_VAR, MEAN_VAR
from surrogates.gp.hyperpriors import Prior, terms
from surrogates.inference import contract

__all__ = ["LEAST_NOISE_VAR", "MEAN_VAR", "Data", "Hyperposterior"]

_SQRT5 = math.sqrt(5.0)
_LOG_2PI = math.log(2 * math.pi)
_MOST_ON_CUDA, _MOST_ELSEWHERE = 100_000_000, 100_000  # elements of the matrices made at once


@dataclasses.dataclass(frozen=True)
class Data:
    """What the hyperparameters are to explain.

    Attributes:
        X: (n, d) columns in the unit cube.
        y: (n,) standardised outcomes.
        groups: (d,) which length-scale each column has: 0 to p - 1.
        matern: Matern-5/2; else RBF.
        noise: (n,) known variances of the noise in standardised units, or None: one unknown one.
    """

    X: Tensor
    y: Tensor
    groups: tuple[int, ...]
    matern: bool
    noise: Tensor | None = None

    @property
    def p(self) -> int:
        """Number of length-scales."""
        return max(self.groups) + 1

    @property
    def dim(self) -> int:
        """Number of hyperparameters."""
        return self.p + 1 + (self.noise is None)


class Hyperposterior:
    """The density (see `surrogates.inference.contract.Density`).

    Args:
        data: what is to be explained.
        prior: of the logarithms.
    """

    def __init__(self, data: Data, prior: Prior) -> None:
        self.data, self.prior = data, prior
        self.fused = data.X.device.type == "cpu" and data.X.dtype == torch.float64
        n = len(data.y)
        upper = torch.triu_indices(n, n, 1, dtype=torch.int64, device=data.X.device)
        difference = (data.X[upper[0]] - data.X[upper[1]]).square()
        groups = torch.tensor(data.groups, dtype=torch.int64, device=data.X.device)
        squares = torch.zeros(data.p, upper.shape[1], dtype=data.X.dtype, device=data.X.device)
        squares.index_add_(0, groups, difference.T)
        self.upper, self.squares = upper, squares
        if self.fused:
            known = torch.empty(0, dtype=torch.float64, device="cpu")
            noise = known if data.noise is None else data.noise
            self._arrays = (
                np.ascontiguousarray(squares.numpy()),
                np.ascontiguousarray(data.y.numpy()),
                np.ascontiguousarray(noise.numpy()),
                data.matern,
            )
        self._terms = terms(prior) if self.fused else None

    def value_and_grad(
        self, x: Float[Tensor, "chains dim"]
    ) -> tuple[Float[Tensor, " chains"], Float[Tensor, "chains dim"]]:
        """Log densities and their gradients; -inf where no jitter makes a matrix definite."""
        if self.fused and self._terms is not None:
            told = fused.log_posteriors(
                np.ascontiguousarray(x.numpy()), *self._arrays, *self._terms
            )
            return torch.from_numpy(told[0]), torch.from_numpy(told[1])
        value, gradient = self.log_likelihood(x)
        prior, slope = self.prior.value_and_grad(x)
        return value + prior, gradient + slope

    def leapfrog(
        self, x: Tensor, momentum: Tensor, gradient: Tensor, factor: Tensor, size: float, steps: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `contract.Leaping`."""
        if not (self.fused and self._terms is not None):
            return contract.leapfrog_by_steps(self, x, momentum, gradient, factor, size, steps)
        at, push, slope = (np.array(told.numpy(), order="C") for told in (x, momentum, gradient))
        across = np.ascontiguousarray(factor.numpy())
        values = fused.leapfrogs(at, push, slope, across, size, steps, *self._arrays, *self._terms)
        position, momentum, gradient = map(torch.from_numpy, (at, push, slope))
        return position, momentum, torch.from_numpy(values), gradient

    def log_likelihood(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log marginal likelihoods (chains,) and their gradients at (chains, dim) points."""
        if not self.fused:
            n = len(self.data.y)
            most = _MOST_ON_CUDA if x.device.type == "cuda" else _MOST_ELSEWHERE
            told = [self._batched(part) for part in x.split(max(1, most // n**2))]
            return torch.cat([value for value, _ in told]), torch.cat([slope for _, slope in told])
        values, gradients = fused.log_likelihoods(np.ascontiguousarray(x.numpy()), *self._arrays)
        return torch.from_numpy(values), torch.from_numpy(gradients)

    def _batched(self, x: Tensor) -> tuple[Tensor, Tensor]:
        data, n, p = self.data, len(self.data.y), self.data.p
        told = torch.exp(x)
        weight = told[:, :p].pow(-2)
        signal_var = told[:, p, None]
        k, slope = _kernel(weight @ self.squares, data.matern)
        k, slope = signal_var * k, signal_var * slope
        if data.noise is None:
            noise = (LEAST_NOISE_VAR + told[:, p + 1, None]).expand(-1, n)
        else:
            noise = data.noise.expand(len(x), n)
        row, column = self.upper
        matrix = x.new_zeros(len(x), n, n)
        matrix[:, row, column] = k
        matrix = matrix + matrix.mT + MEAN_VAR
        matrix.diagonal(dim1=-2, dim2=-1).add_(signal_var + noise)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        for jitter in JITTERS[1:]:
            if not bool(failed.any()):
                break
            more = torch.where(failed.bool()[:, None], jitter * signal_var, 0.0).expand(-1, n)
            factor, failed = torch.linalg.cholesky_ex(matrix + torch.diag_embed(more))
        eye = torch.eye(n, dtype=x.dtype, device=x.device)
        factor = torch.where(failed.bool()[:, None, None], eye, factor)
        alpha = torch.cholesky_solve(data.y.expand(len(x), n).unsqueeze(-1), factor).squeeze(-1)
        value = -0.5 * (alpha @ data.y + n * _LOG_2PI) - factor.diagonal(
            dim1=-2, dim2=-1
        ).log().sum(dim=-1)
        inverse = torch.cholesky_inverse(factor)
        diagonal = alpha.square() - inverse.diagonal(dim1=-2, dim2=-1)
        noisy = 0.5 * (noise * diagonal).sum(dim=1)
        constant = 0.5 * MEAN_VAR * (alpha.sum(dim=1).square() - inverse.sum(dim=(1, 2)))
        pull = alpha[:, row] * alpha[:, column] - inverse[:, row, column]
        # Of all of K it is 0.5 y'alpha - 0.5 n: what is not of noise or mean is of the signal.
        # Summed directly, great terms cancel where inputs nearly coincide.
        signal = 0.5 * (alpha @ data.y - n) - noisy - constant
        parts = [-2.0 * weight * ((pull * slope) @ self.squares.T), signal.unsqueeze(1)]
        if data.noise is None:
            free = told[:, p + 1] / (LEAST_NOISE_VAR + told[:, p + 1])
            parts.append((free * noisy).unsqueeze(1))
        return torch.where(failed.bool(), -torch.inf, value), torch.cat(parts, dim=1)


def _kernel(squared: Tensor, matern: bool) -> tuple[Tensor, Tensor]:
    """g and its derivative in the squared distance."""
    if not matern:
        k = torch.exp(-0.5 * squared)
        return k, -0.5 * k
    r = _SQRT5 * squared.sqrt()
    decay = torch.exp(-r)
    return (1.0 + r + r.square() / 3.0) * decay, -5.0 / 6.0 * (1.0 + r) * decay
