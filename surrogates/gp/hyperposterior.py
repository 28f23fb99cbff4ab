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
from surrogates.gp.hyperpriors import Prior

Array = NDArray[np.float64]

LEAST_NOISE_VAR = 1e-4
MEAN_VAR = 1.0
_JITTERS = np.array([0.0, 1e-10, 1e-8, 1e-6, 1e-4])
_SQRT5 = math.sqrt(5.0)
_LOG_2PI = math.log(2 * math.pi)
_MOST_ON_CUDA, _MOST_ELSEWHERE = 100_000_000, 100_000  # elements of the matrices made at once
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

    @property
    def names(self) -> tuple[str, ...]:
        """What each coordinate is the logarithm of; a length-scale by the number of its group."""
        scales = [f"lengthscale.{group}" for group in range(self.p)]
        return (*scales, "signal_var", *["noise_var"] * (self.noise is None))


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
            n = len(self.data.y)
            most = _MOST_ON_CUDA if x.device.type == "cuda" else _MOST_ELSEWHERE
            told = [self._batched(part) for part in x.split(max(1, most // n**2))]
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
        row, column = self.upper
        matrix = x.new_zeros(len(x), n, n)
        matrix[:, row, column] = k
        matrix = matrix + matrix.mT + MEAN_VAR
        matrix.diagonal(dim1=-2, dim2=-1).add_(signal_var + noise)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        for jitter in _JITTERS[1:]:
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
        for jitter in _JITTERS:
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
        values[c] = -0.5 * (np.dot(y, alpha) + n * _LOG_2PI) - log_det
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
