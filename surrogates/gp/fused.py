"""What `hyperposterior` computes on the CPU, compiled: densities of hyperparameters, trajectories.

The formulas are those of `Hyperposterior` and of `hyperpriors`. Eight chains at a time go through
`lanes`; for the others LAPACK is called from within, so that a whole trajectory of all chains is
one piece of compiled code, with no call of Python in it. No paper: that of each formula stands
there.
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
from surrogates.gp.lanes import LEAST_NOISE_VAR, exp, likelihoods
from surrogates.gp.vectors import LANES

Array = NDArray[np.float64]
Room = tuple[Array, Array, Array, Array]

_FEWEST = 4  # chains that are worth eight lanes
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
    x: Array, squares: Array, rows: Array, y: Array, known: Array, matern: bool, room: Room
) -> tuple[Array, Array]:
    """See `Hyperposterior.log_likelihood`.

    Args:
        x: (chains, dim) points.
        squares: (p, pairs) squared distances.
        rows: these as `lanes.ordered` has them.
        y: (n,) outcomes.
        known: (n,) variances of the noise, or empty.
        matern: or RBF.
        room: of `lanes.scratch`; it has no rows where there are too many for lanes.
    """
    chains, dim = x.shape
    values, gradients = np.empty(chains), np.zeros((chains, dim))
    _log_likelihoods(x, values, gradients, squares, rows, y, known, matern, room)
    return values, gradients


@compiled
def log_posteriors(
    x: Array,
    squares: Array,
    rows: Array,
    y: Array,
    known: Array,
    matern: bool,
    room: Room,
    terms: Array,
    shared: Array,
) -> tuple[Array, Array]:
    """See `Hyperposterior.value_and_grad`; the last two are of `hyperpriors.terms`."""
    chains, dim = x.shape
    values, gradients = np.empty(chains), np.zeros((chains, dim))
    _log_likelihoods(x, values, gradients, squares, rows, y, known, matern, room)
    for c in range(chains):
        values[c] += _log_prior(x[c], gradients[c], len(squares), terms, shared)
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
    rows: Array,
    y: Array,
    known: Array,
    matern: bool,
    room: Room,
    terms: Array,
    shared: Array,
) -> Array:
    """Log densities at the ends; the first three are changed in place (see `contract.leapfrog`)."""
    chains, dim = x.shape
    values = np.empty(chains)
    share = 0.5 * size
    for _ in range(steps):
        for c in range(chains):
            _kick(momentum[c], gradient[c], factor, share)
            for i in range(dim):
                moved = 0.0
                for j in range(i + 1):
                    moved += factor[i, j] * momentum[c, j]
                x[c, i] += size * moved
        gradient[:] = 0.0
        _log_likelihoods(x, values, gradient, squares, rows, y, known, matern, room)
        for c in range(chains):
            values[c] += _log_prior(x[c], gradient[c], len(squares), terms, shared)
        share = size
    for c in range(chains):
        _kick(momentum[c], gradient[c], factor, 0.5 * size)
    return values


@compiled
def _log_likelihoods(
    x: Array,
    values: Array,
    gradients: Array,
    squares: Array,
    rows: Array,
    y: Array,
    known: Array,
    matern: bool,
    room: Room,
) -> None:
    """By lanes; one after the other, where they are few and where a matrix needs a jitter."""
    chains, dim = x.shape
    values[:] = np.nan
    if len(room[1]):
        some, of_some, slopes = np.empty((LANES, dim)), np.empty(LANES), np.empty((LANES, dim))
        for first in range(0, chains, LANES):
            count = min(LANES, chains - first)
            if count < _FEWEST:
                continue
            for v in range(LANES):
                some[v] = x[first + min(v, count - 1)]
            likelihoods(some, of_some, slopes, len(squares), rows, y, known, matern, room)
            values[first : first + count] = of_some[:count]
            gradients[first : first + count] = slopes[:count]
    if not np.isnan(values).any():
        return
    n = len(y)
    of_pairs, matrix, both = np.empty((3, len(squares[0]))), np.empty((n, n)), np.empty((2, n))
    for c in range(chains):
        if np.isnan(values[c]):
            gradients[c] = 0.0
            values[c] = _log_likelihood(
                x[c], gradients[c], squares, y, known, matern, of_pairs, matrix, both
            )


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
            exponent[i] = _SQRT5 * math.sqrt(squared[i])
            k[i] = -exponent[i]
        exp(k, slope, pairs)
        for i in range(pairs):
            decay, r = signal_var * k[i], exponent[i]
            k[i] = (1.0 + r + r * r / 3.0) * decay
            slope[i] = -5.0 / 6.0 * (1.0 + r) * decay
    else:
        for i in range(pairs):
            k[i] = -0.5 * squared[i]
        exp(k, slope, pairs)
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
