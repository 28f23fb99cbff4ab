"""The posterior density of a Gaussian process's hyperparameters, at many values of them at once.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning": equations 2.30 (log marginal
likelihood) and 5.9 (its gradient).

Model: y = m + f(x) + e on standardised outcomes. The kernel of f is signal_var g(r), r^2 = sum_j
(x_j - x'_j)^2 / l_j^2, one length-scale per group of columns, with g the Matern-5/2 function or
g(r) = exp(-r^2 / 2) (RBF). The constant m ~ N(0, 1) is integrated out: it adds 1 to every
covariance. The noise has the variance least_noise_var + noise_var, or variances that are known.
Or f has a kernel of `surrogates/gp/kernels.py`, and columns that are warped first
(`surrogates/gp/warp.py`).

A point of the density holds the logarithms of the length-scales (p), of signal_var, and of
noise_var where it is unknown; of another kernel, those that it has in place of the first two; then
log a and log b of the warped columns. It is a density of these logarithms.

On the CPU whole trajectories are compiled (`surrogates/gp/fused.py`), eight chains at a time;
elsewhere, for other dtypes than float64, and for other kernels, the same formulas are batched in
torch.
"""

import dataclasses
import math
from collections import Counter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.gp import fused, lanes, warp
from surrogates.gp.conditioned import MEAN_VAR, conditioned
from surrogates.gp.hyperpriors import LEAST_NOISE_VAR, Prior, terms
from surrogates.gp.kernels import Kernel
from surrogates.gp.pairs import Covariances, pairs
from surrogates.inference import contract

__all__ = ["MEAN_VAR", "Data", "Hyperposterior"]

_SQRT5 = math.sqrt(5.0)
_MOST_ON_CUDA, _MOST_ELSEWHERE = 100_000_000, 100_000  # elements of the matrices made at once
_MOST_COMPOSED = 1_000_000  # of those of a kernel with several parts, and there are more calls


@dataclasses.dataclass(frozen=True)
class Data:
    """What the hyperparameters are to explain.

    Attributes:
        X: (n, d) columns in the unit cube.
        y: (n,) standardised outcomes.
        groups: (d,) which length-scale each column has: 0 to p - 1.
        matern: Matern-5/2; else RBF.
        noise: (n,) known variances of the noise in standardised units, or None: one unknown one.
        kernel: in place of Matern-5/2 or RBF; None is one of these.
        warped: columns that are warped, where there is a `kernel`.
        least_noise_var: what unknown noise has at least, in standardised units.
    """

    X: Tensor
    y: Tensor
    groups: tuple[int, ...]
    matern: bool
    noise: Tensor | None = None
    kernel: Kernel | None = None
    warped: tuple[int, ...] = ()
    least_noise_var: float = LEAST_NOISE_VAR

    @property
    def p(self) -> int:
        """Number of length-scales."""
        return max(self.groups) + 1

    @property
    def dim(self) -> int:
        """Number of hyperparameters."""
        return self.noise_at + (self.noise is None) + 2 * len(self.warped)

    @property
    def noise_at(self) -> int:
        """Place of the noise: how many hyperparameters the kernel has."""
        return self.p + 1 if self.kernel is None else self.kernel.dim

    def warps(self, x: Tensor) -> Tensor:
        """(..., 2 w) log a and log b of (..., dim) hyperparameters."""
        return x[..., self.dim - 2 * len(self.warped) :]

    @property
    def names(self) -> tuple[str, ...]:
        """What each coordinate is the logarithm of, with the number of its group after a dot.

        The second of a kind, in a kernel of several parts, is `lengthscale_2`, and so on.
        """
        told = [f"lengthscale.{group}" for group in range(self.p)] + ["signal_var"]
        if self.kernel is not None:
            told, met = [], Counter[str]()
            for slot in self.kernel.slots:
                met[slot.kind] += 1
                kind = slot.kind if met[slot.kind] == 1 else f"{slot.kind}_{met[slot.kind]}"
                each = slot.kind == "lengthscale" and slot.count == self.p
                told += [f"{kind}.{g}" if each else kind for g in range(slot.count)]
        groups = [self.groups[column] for column in self.warped]
        warps = [f"warp_{letter}.{group}" for letter in "ab" for group in groups]
        return (*told, *["noise_var"] * (self.noise is None), *warps)


class Hyperposterior:
    """The density (see `surrogates.inference.contract.Density`).

    Args:
        data: what is to be explained.
        prior: of the logarithms.
    """

    def __init__(self, data: Data, prior: Prior) -> None:
        self.data, self.prior = data, prior
        plain = data.kernel is None
        self.fused = plain and data.X.device.type == "cpu" and data.X.dtype == torch.float64
        self._terms = terms(prior) if self.fused else None
        n = len(data.y)
        upper = torch.triu_indices(n, n, 1, dtype=torch.int64, device=data.X.device)
        self.upper = upper
        if data.kernel is not None:
            self._rows = pairs(data.kernel, data.X.unsqueeze(0), upper)
            return
        difference = (data.X[upper[0]] - data.X[upper[1]]).square()
        groups = torch.tensor(data.groups, dtype=torch.int64, device=data.X.device)
        squares = torch.zeros(data.p, upper.shape[1], dtype=data.X.dtype, device=data.X.device)
        squares.index_add_(0, groups, difference.T)
        self.squares = squares
        if self.fused:
            known = torch.empty(0, dtype=torch.float64, device="cpu")
            noise = known if data.noise is None else data.noise
            self._arrays = (
                np.ascontiguousarray(squares.numpy()),
                lanes.ordered(squares.numpy(), n),
                np.ascontiguousarray(data.y.numpy()),
                np.ascontiguousarray(noise.numpy()),
                data.least_noise_var,
                data.matern,
                lanes.scratch(n),
            )

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
            data, n = self.data, len(self.data.y)
            most = _MOST_ELSEWHERE if data.kernel is None else _MOST_COMPOSED
            most = _MOST_ON_CUDA if x.device.type == "cuda" else most
            size = n**2 * (1 if data.kernel is None else data.kernel.size(len(data.warped)))
            part = self._batched if data.kernel is None else self._composed
            told = [part(some) for some in x.split(max(1, most // size))]
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
            noise = (data.least_noise_var + told[:, p + 1, None]).expand(-1, n)
        else:
            noise = data.noise.expand(len(x), n)
        made = conditioned(data.y, self.upper, k, signal_var, noise, signal_var)
        value, failed, pull = made.value, made.failed, made.pull
        signal, noisy = made.signal, made.noisy
        parts = [-2.0 * weight * ((pull * slope) @ self.squares.T), signal.unsqueeze(1)]
        if data.noise is None:
            free = told[:, p + 1] / (data.least_noise_var + told[:, p + 1])
            parts.append((free * noisy).unsqueeze(1))
        return torch.where(failed, -torch.inf, value), torch.cat(parts, dim=1)

    def _composed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `_batched`, of a kernel of `surrogates/gp/kernels.py`."""
        data, n = self.data, len(self.data.y)
        kernel, rows, at = data.kernel, self._rows, data.noise_at
        assert kernel is not None
        if data.warped:
            bent = warp.bent(data.X, data.warped, data.warps(x))
            rows = pairs(kernel, bent, self.upper)
        seen = Covariances(kernel, x[:, :at], rows)
        if data.noise is None:
            noise_var = torch.exp(x[:, at, None])
            noise = (data.least_noise_var + noise_var).expand(-1, n)
        else:
            noise_var, noise = None, data.noise.expand(len(x), n)
        scale = kernel.signal_var(x[:, :at]).unsqueeze(1)
        told = conditioned(data.y, self.upper, seen.k, seen.var, noise, scale)
        slope, *columns = seen.pulled(told.pull, 0.5 * told.diagonal, data.warped)
        if len(kernel.terms) == 1:
            kernel.terms[0].signal_var.of(slope)[:, 0] = told.signal
        parts = [slope]
        if noise_var is not None:
            free = noise_var[:, 0] / (data.least_noise_var + noise_var[:, 0])
            parts.append((free * told.noisy).unsqueeze(1))
        if data.warped:
            to_a, to_b = warp.bent_slopes(data.X, data.warped, data.warps(x))
            pulled = torch.stack(columns, dim=2)
            parts += [(pulled * to_a).sum(dim=1), (pulled * to_b).sum(dim=1)]
        return torch.where(told.failed, -torch.inf, told.value), torch.cat(parts, dim=1)


def _kernel(squared: Tensor, matern: bool) -> tuple[Tensor, Tensor]:
    """g and its derivative in the squared distance."""
    if not matern:
        k = torch.exp(-0.5 * squared)
        return k, -0.5 * k
    r = _SQRT5 * squared.sqrt()
    decay = torch.exp(-r)
    return (1.0 + r + r.square() / 3.0) * decay, -5.0 / 6.0 * (1.0 + r) * decay
