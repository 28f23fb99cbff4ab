"""The posterior density of a Gaussian process's hyperparameters, at many values of them at once.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning": equations 2.30 (log marginal
likelihood) and 5.9 (its gradient).

Model: y = m + f(x) + e on standardised outcomes. The kernel of f is signal_var g(r), r^2 = sum_j
(x_j - x'_j)^2 / l_j^2, one length-scale per group of columns, with g the Matern-5/2 function or
g(r) = exp(-r^2 / 2) (RBF). The constant m ~ N(0, 1) is integrated out: it adds 1 to every
covariance. The noise has the variance 1e-4 + noise_var, or variances that are known. Or f has a
kernel of `surrogates/gp/kernels.py`, and columns that are warped first (`surrogates/gp/warp.py`).

A point of the density holds the logarithms of the length-scales (p), of signal_var, and of
noise_var where it is unknown; of another kernel, those that it has in place of the first two; then
log a and log b of the warped columns. It is a density of these logarithms.

On the CPU everything of a point but its prior is one compiled kernel, which calls LAPACK itself;
elsewhere, for other dtypes than float64, and for other kernels, the same formulas are batched in
torch.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from llvmlite.binding import add_symbol
from numba import types
from numba.extending import get_cython_function_address
from numpy.typing import NDArray
from torch import Tensor

from surrogates.compiled import compiled
from surrogates.gp import warp
from surrogates.gp.conditioned import JITTERS, LOG_2PI, MEAN_VAR, conditioned
from surrogates.gp.hyperpriors import Prior
from surrogates.gp.kernels import Kernel
from surrogates.gp.pairs import Covariances, pairs

Array = NDArray[np.float64]

LEAST_NOISE_VAR = 1e-4
_SQRT5 = math.sqrt(5.0)
_MOST_ON_CUDA, _MOST_ELSEWHERE = 100_000_000, 100_000  # elements of the matrices made at once
_MOST_COMPOSED = 1_000_000  # of those of a kernel with several parts, and there are more calls
_LOWER = np.frombuffer(b"L", dtype=np.uint8)


def _lapack(name: str, arguments: str) -> Any:
    """A routine of LAPACK that compiled code can call; `i`, `d` and `c` are pointers."""
    symbol = f"wald_{name}"
    add_symbol(symbol, get_cython_function_address("scipy.linalg.cython_lapack", name))
    kinds = {"i": types.int32, "d": types.float64, "c": types.uint8}
    pointers = [types.CPointer(kinds[letter]) for letter in arguments]
    return types.ExternalFunction(symbol, types.void(*pointers))


_dpotrf = _lapack("dpotrf", "cidii")
_dpotri = _lapack("dpotri", "cidii")
_dpotrs = _lapack("dpotrs", "ciididii")


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
    """

    X: Tensor
    y: Tensor
    groups: tuple[int, ...]
    matern: bool
    noise: Tensor | None = None
    kernel: Kernel | None = None
    warped: tuple[int, ...] = ()

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
                np.ascontiguousarray(data.y.numpy()),
                np.ascontiguousarray(noise.numpy()),
                data.matern,
            )

    def value_and_grad(
        self, x: Float[Tensor, "chains dim"]
    ) -> tuple[Float[Tensor, " chains"], Float[Tensor, "chains dim"]]:
        """Log densities and their gradients; -inf where no jitter makes a matrix definite."""
        value, gradient = self.log_likelihood(x)
        prior, slope = self.prior.value_and_grad(x)
        return value + prior, gradient + slope

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
        values, gradients = _log_likelihoods(np.ascontiguousarray(x.numpy()), *self._arrays)
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
        made = conditioned(data.y, self.upper, k, signal_var, noise, signal_var)
        value, failed, pull = made.value, made.failed, made.pull
        signal, noisy = made.signal, made.noisy
        parts = [-2.0 * weight * ((pull * slope) @ self.squares.T), signal.unsqueeze(1)]
        if data.noise is None:
            free = told[:, p + 1] / (LEAST_NOISE_VAR + told[:, p + 1])
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
            noise = (LEAST_NOISE_VAR + noise_var).expand(-1, n)
        else:
            noise_var, noise = None, data.noise.expand(len(x), n)
        scale = kernel.signal_var(x[:, :at]).unsqueeze(1)
        told = conditioned(data.y, self.upper, seen.k, seen.var, noise, scale)
        slope, *columns = seen.pulled(told.pull, 0.5 * told.diagonal, data.warped)
        if len(kernel.terms) == 1:
            kernel.terms[0].signal_var.of(slope)[:, 0] = told.signal
        parts = [slope]
        if noise_var is not None:
            free = noise_var[:, 0] / (LEAST_NOISE_VAR + noise_var[:, 0])
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


@compiled
def _log_likelihoods(
    x: Array, squares: Array, y: Array, known: Array, matern: bool
) -> tuple[Array, Array]:
    """See `Hyperposterior.log_likelihood`; `known` is empty where the noise is not."""
    chains, dim = x.shape
    p, pairs = squares.shape
    n = len(y)
    values, gradients = np.empty(chains), np.zeros((chains, dim))
    exponent, k, slope = np.empty(pairs), np.empty(pairs), np.empty(pairs)
    matrix, alpha, noise = np.empty((n, n)), np.empty(n), np.empty(n)
    size, one = np.array([n], dtype=np.int32), np.array([1], dtype=np.int32)
    failed = np.zeros(1, dtype=np.int32)
    for c in range(chains):
        weight = np.exp(-2.0 * x[c, :p])
        signal_var = math.exp(x[c, p])
        noise_var = 0.0
        if len(known):
            noise[:] = known
        else:
            noise_var = math.exp(x[c, p + 1])
            noise[:] = LEAST_NOISE_VAR + noise_var
        squared = np.dot(weight, squares)
        if matern:
            for i in range(pairs):
                exponent[i] = -_SQRT5 * math.sqrt(squared[i])
            _exp(exponent, k)
            for i in range(pairs):
                decay, r = signal_var * k[i], -exponent[i]
                k[i] = (1.0 + r + r * r / 3.0) * decay
                slope[i] = -5.0 / 6.0 * (1.0 + r) * decay
        else:
            for i in range(pairs):
                exponent[i] = -0.5 * squared[i]
            _exp(exponent, k)
            for i in range(pairs):
                k[i] *= signal_var
                slope[i] = -0.5 * k[i]
        for jitter in JITTERS:
            at = 0
            for i in range(n):  # the upper triangle in rows is LAPACK's lower one in columns
                matrix[i, i] = signal_var * (1.0 + jitter) + noise[i] + MEAN_VAR
                for j in range(i + 1, n):
                    matrix[i, j] = k[at] + MEAN_VAR
                    at += 1
            _dpotrf(_LOWER.ctypes, size.ctypes, matrix.ctypes, size.ctypes, failed.ctypes)
            if failed[0] == 0:
                break
        if failed[0] != 0:
            values[c] = -np.inf
            continue
        log_det = 0.0
        for i in range(n):
            log_det += math.log(matrix[i, i])
        alpha[:] = y
        _dpotrs(
            _LOWER.ctypes, size.ctypes, one.ctypes, matrix.ctypes, size.ctypes, alpha.ctypes,
            size.ctypes, failed.ctypes,
        )  # fmt: skip
        values[c] = -0.5 * (np.dot(y, alpha) + n * LOG_2PI) - log_det
        _dpotri(_LOWER.ctypes, size.ctypes, matrix.ctypes, size.ctypes, failed.ctypes)
        at = 0
        noisy, total, trace = 0.0, 0.0, 0.0
        for i in range(n):
            trace += matrix[i, i]
            noisy += noise[i] * (alpha[i] * alpha[i] - matrix[i, i])
            for j in range(i + 1, n):
                total += matrix[i, j]
                slope[at] *= alpha[i] * alpha[j] - matrix[i, j]
                at += 1
        constant = MEAN_VAR * (alpha.sum() ** 2 - trace - 2.0 * total)
        gradients[c, :p] = -2.0 * weight * np.dot(squares, slope)
        # See `_batched`.
        gradients[c, p] = 0.5 * (np.dot(y, alpha) - n - noisy - constant)
        if not len(known):
            gradients[c, p + 1] = 0.5 * noisy * noise_var / (LEAST_NOISE_VAR + noise_var)
    return values, gradients


@compiled
def _exp(x: Array, out: Array) -> None:
    """exp(x) of numbers that are not above 0, to 1e-15; in loops that have no call in them."""
    bits = np.empty(len(x), dtype=np.int64)
    for i in range(len(x)):
        whole = math.floor(max(x[i], -708.0) * 1.4426950408889634 + 0.5)
        bits[i] = (np.int64(whole) + 1023) << 52
        r = max(x[i], -708.0) - whole * 0.693147180369123816490 - whole * 1.90821492927058770002e-10
        s = 1.0 + r / 13.0
        s = 1.0 + r * s / 12.0
        s = 1.0 + r * s / 11.0
        s = 1.0 + r * s / 10.0
        s = 1.0 + r * s / 9.0
        s = 1.0 + r * s / 8.0
        s = 1.0 + r * s / 7.0
        s = 1.0 + r * s / 6.0
        s = 1.0 + r * s / 5.0
        s = 1.0 + r * s / 4.0
        s = 1.0 + r * s / 3.0
        s = 1.0 + r * s / 2.0
        out[i] = 1.0 + r * s
    powers = bits.view(np.float64)
    for i in range(len(x)):
        out[i] *= powers[i]
