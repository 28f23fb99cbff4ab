"""What `hyperposterior` computes on the CPU, compiled: densities of hyperparameters, trajectories.

The formulas are those of `Hyperposterior` and of `hyperpriors`. LAPACK is called from within, so
that a whole trajectory of a chain is one piece of compiled code, with no call of Python in it.
No paper: that of each formula stands there.
"""

import math
from typing import Any

import numpy as np
from llvmlite.binding import add_symbol
from numba import types
from numba.extending import get_cython_function_address
from numpy.typing import NDArray

from surrogates.compiled import compiled
from surrogates.gp.conditioned import JITTERS, LOG_2PI, MEAN_VAR
from surrogates.gp.hyperpriors import shrinkage

Array = NDArray[np.float64]

LEAST_NOISE_VAR = 1e-4
_SQRT5 = math.sqrt(5.0)
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


@compiled
def log_likelihoods(
    x: Array, squares: Array, y: Array, known: Array, matern: bool
) -> tuple[Array, Array]:
    """See `Hyperposterior.log_likelihood`; `known` is empty where the noise is not."""
    chains, dim = x.shape
    values, gradients = np.empty(chains), np.zeros((chains, dim))
    rows, matrix, both = _scratch(squares, y)
    for c in range(chains):
        values[c] = _log_likelihood(
            x[c], gradients[c], squares, y, known, matern, rows, matrix, both
        )
    return values, gradients


@compiled
def log_posteriors(
    x: Array,
    squares: Array,
    y: Array,
    known: Array,
    matern: bool,
    terms: Array,
    shared: Array,
) -> tuple[Array, Array]:
    """See `Hyperposterior.value_and_grad`; the last two are of `hyperpriors.terms`."""
    chains, dim = x.shape
    values, gradients = np.empty(chains), np.zeros((chains, dim))
    rows, matrix, both = _scratch(squares, y)
    for c in range(chains):
        likelihood = _log_likelihood(
            x[c], gradients[c], squares, y, known, matern, rows, matrix, both
        )
        prior = _log_prior(x[c], gradients[c], len(squares), terms, shared)
        values[c] = likelihood + prior
    return values, gradients


@compiled
def leapfrogs(
    x: Array,
    momentum: Array,
    gradient: Array,
    factor: Array,
    size: float,
    steps: int,
    squares: Array,
    y: Array,
    known: Array,
    matern: bool,
    terms: Array,
    shared: Array,
) -> Array:
    """Log densities at the ends; the first three are changed in place (see `contract.leapfrog`)."""
    chains, dim = x.shape
    values = np.empty(chains)
    rows, matrix, both = _scratch(squares, y)
    for c in range(chains):
        at, push, slope = x[c], momentum[c], gradient[c]
        value = 0.0
        share = 0.5 * size
        for _ in range(steps):
            _kick(push, slope, factor, share)
            for i in range(dim):
                moved = 0.0
                for j in range(i + 1):
                    moved += factor[i, j] * push[j]
                at[i] += size * moved
            slope[:] = 0.0
            value = _log_likelihood(at, slope, squares, y, known, matern, rows, matrix, both)
            value += _log_prior(at, slope, len(squares), terms, shared)
            share = size
        _kick(push, slope, factor, 0.5 * size)
        values[c] = value
    return values


@compiled
def _kick(push: Array, slope: Array, factor: Array, share: float) -> None:
    """A change of the momentum, in units of the metric."""
    for i in range(len(push)):
        for j in range(i + 1):
            push[j] += share * factor[i, j] * slope[i]


@compiled
def _log_prior(x: Array, gradient: Array, p: int, terms: Array, shared: Array) -> float:
    """Logarithm of the prior; its gradient is added to that at hand."""
    value = 0.0
    for i in range(len(x)):
        centre, precision, shape, rate, constant = terms[i]
        off = x[i] - centre
        risen = rate * math.exp(x[i]) if rate > 0.0 else 0.0
        value += constant - 0.5 * precision * off * off + shape * x[i] - risen
        gradient[i] += shape - precision * off - risen
    if shared.size:
        value += shrinkage(x[:p], gradient[:p], shared)
    return value


@compiled
def _scratch(squares: Array, y: Array) -> tuple[Array, Array, Array]:
    n = len(y)
    return np.empty((3, squares.shape[1])), np.empty((n, n)), np.empty((2, n))


@compiled
def _log_likelihood(
    x: Array,
    gradient: Array,
    squares: Array,
    y: Array,
    known: Array,
    matern: bool,
    rows: Array,
    matrix: Array,
    both: Array,
) -> float:
    """Log marginal likelihood at a point; its gradient is put where that is asked for."""
    p, pairs = squares.shape
    n = len(y)
    exponent, k, slope = rows[0], rows[1], rows[2]
    alpha, beta = both[0], both[1]
    size, two = np.array([n], dtype=np.int32), np.array([2], dtype=np.int32)
    failed = np.zeros(1, dtype=np.int32)
    weight = np.exp(-2.0 * x[:p])
    signal_var = math.exp(x[p])
    noise_var = 0.0 if len(known) else math.exp(x[p + 1])
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
            noise = known[i] if len(known) else LEAST_NOISE_VAR + noise_var
            matrix[i, i] = signal_var * (1.0 + jitter) + noise + MEAN_VAR
            for j in range(i + 1, n):
                matrix[i, j] = k[at] + MEAN_VAR
                at += 1
        _dpotrf(_LOWER.ctypes, size.ctypes, matrix.ctypes, size.ctypes, failed.ctypes)
        if failed[0] == 0:
            break
    if failed[0] != 0:
        return -np.inf
    log_det = 0.0
    for i in range(n):
        log_det += math.log(matrix[i, i])
    alpha[:] = y
    beta[:] = 1.0
    _dpotrs(
        _LOWER.ctypes, size.ctypes, two.ctypes, matrix.ctypes, size.ctypes, both.ctypes,
        size.ctypes, failed.ctypes,
    )  # fmt: skip
    fitted = np.dot(y, alpha)
    _dpotri(_LOWER.ctypes, size.ctypes, matrix.ctypes, size.ctypes, failed.ctypes)
    at = 0
    noisy = 0.0
    for i in range(n):
        noise = known[i] if len(known) else LEAST_NOISE_VAR + noise_var
        noisy += noise * (alpha[i] * alpha[i] - matrix[i, i])
        for j in range(i + 1, n):
            slope[at] *= alpha[i] * alpha[j] - matrix[i, j]
            at += 1
    constant = MEAN_VAR * (alpha.sum() ** 2 - beta.sum())
    gradient[:p] = -2.0 * weight * np.dot(squares, slope)
    # See `Hyperposterior._batched`.
    gradient[p] = 0.5 * (fitted - n - noisy - constant)
    if not len(known):
        gradient[p + 1] = 0.5 * noisy * noise_var / (LEAST_NOISE_VAR + noise_var)
    return -0.5 * (fitted + n * LOG_2PI) - log_det


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
