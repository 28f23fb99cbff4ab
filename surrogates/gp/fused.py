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
from surrogates.gp.lanes import exp, likelihoods
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


def log_likelihoods(
    x: Array,
    squares: Array,
    rows: Array,
    y: Array,
    known: Array,
    floor: float,
    matern: bool,
    room: Room,
) -> tuple[Array, Array]:
    """See `Hyperposterior.log_likelihood`.

    Args:
        x: (chains, dim) points.
        squares: (p, pairs) squared distances.
        rows: these as `lanes.ordered` has them.
        y: (n,) outcomes.
        known: (n,) variances of the noise, or empty.
        floor: what an unknown variance has at least.
        matern: or RBF.
        room: of `lanes.scratch`; it has no rows where there are too many for lanes.
    """
    values, gradients = np.full(len(x), np.nan), np.zeros(x.shape)
    _by_lanes(x, values, gradients, len(squares), rows, y, known, floor, matern, room)
    if np.isnan(values).any():  # what is seldom needed is compiled when it is
        _one_by_one(x, values, gradients, squares, y, known, floor, matern)
    return values, gradients


def log_posteriors(
    x: Array,
    squares: Array,
    rows: Array,
    y: Array,
    known: Array,
    floor: float,
    matern: bool,
    room: Room,
    terms: Array,
    shared: Array,
) -> tuple[Array, Array]:
    """See `Hyperposterior.value_and_grad`; the last two are of `hyperpriors.terms`."""
    values, gradients = log_likelihoods(x, squares, rows, y, known, floor, matern, room)
    _add_log_priors(x, values, gradients, terms)
    if shared.size:
        _add_shrinkages(x, values, gradients, len(squares), shared)
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
    floor: float,
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
        values[:] = np.nan
        _by_lanes(x, values, gradient, len(squares), rows, y, known, floor, matern, room)
        _one_by_one(x, values, gradient, squares, y, known, floor, matern)
        _add_log_priors(x, values, gradient, terms)
        if shared.size:
            _add_shrinkages(x, values, gradient, len(squares), shared)
        share = size
    for c in range(chains):
        _kick(momentum[c], gradient[c], factor, 0.5 * size)
    return values


@compiled
def _by_lanes(
    x: Array,
    values: Array,
    gradients: Array,
    p: int,
    rows: Array,
    y: Array,
    known: Array,
    floor: float,
    matern: bool,
    room: Room,
) -> None:
    """Likelihoods of those that are enough for lanes; a value is NaN where a jitter is needed."""
    chains, dim = x.shape
    if not len(room[1]):
        return
    some, of_some, slopes = np.empty((LANES, dim)), np.empty(LANES), np.empty((LANES, dim))
    for first in range(0, chains, LANES):
        count = min(LANES, chains - first)
        if count < _FEWEST:
            continue
        for v in range(LANES):
            for i in range(dim):
                some[v, i] = x[first + min(v, count - 1), i]
        likelihoods(some, of_some, slopes, p, rows, y, known, floor, matern, room)
        for v in range(count):
            values[first + v] = of_some[v]
            for i in range(dim):
                gradients[first + v, i] = slopes[v, i]


@compiled
def _one_by_one(
    x: Array,
    values: Array,
    gradients: Array,
    squares: Array,
    y: Array,
    known: Array,
    floor: float,
    matern: bool,
) -> None:
    """Likelihoods of those whose values are NaN."""
    lacking = 0
    for value in values:
        lacking += math.isnan(value)
    if not lacking:
        return
    n = len(y)
    of_pairs, matrix, both = np.empty((3, squares.shape[1])), np.empty((n, n)), np.empty((2, n))
    for c in range(len(x)):
        if math.isnan(values[c]):
            gradients[c] = 0.0
            values[c] = _log_likelihood(
                x[c], gradients[c], squares, y, known, floor, matern, of_pairs, matrix, both
            )


@compiled
def _add_log_priors(x: Array, values: Array, gradients: Array, terms: Array) -> None:
    for c in range(len(x)):
        for i in range(len(terms)):
            centre, precision, shape, rate, constant = terms[i]
            off = x[c, i] - centre
            risen = rate * math.exp(x[c, i]) if rate > 0.0 else 0.0
            values[c] += constant - 0.5 * precision * off * off + shape * x[c, i] - risen
            gradients[c, i] += shape - precision * off - risen


@compiled
def _add_shrinkages(x: Array, values: Array, gradients: Array, p: int, shared: Array) -> None:
    for c in range(len(x)):
        values[c] += shrinkage(x[c, :p], gradients[c, :p], shared)


@compiled
def _kick(push: Array, slope: Array, factor: Array, share: float) -> None:
    """A change of the momentum, in units of the metric."""
    for i in range(len(push)):
        for j in range(i + 1):
            push[j] += share * factor[i, j] * slope[i]


@compiled
def _log_likelihood(
    x: Array,
    gradient: Array,
    squares: Array,
    y: Array,
    known: Array,
    floor: float,
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
    whole = np.empty(3, dtype=np.int32)
    size, two, failed = whole[:1], whole[1:2], whole[2:]
    size[0], two[0], failed[0] = n, 2, 0
    weight = np.empty(p)
    for q in range(p):
        weight[q] = math.exp(-2.0 * x[q])
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
            noise = known[i] if len(known) else floor + noise_var
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
    for i in range(n):
        alpha[i], beta[i] = y[i], 1.0
    _dpotrs(
        _LOWER.ctypes, size.ctypes, two.ctypes, matrix.ctypes, size.ctypes, both.ctypes,
        size.ctypes, failed.ctypes,
    )  # fmt: skip
    fitted = np.dot(y, alpha)
    _dpotri(_LOWER.ctypes, size.ctypes, matrix.ctypes, size.ctypes, failed.ctypes)
    at = 0
    noisy = 0.0
    for i in range(n):
        noise = known[i] if len(known) else floor + noise_var
        noisy += noise * (alpha[i] * alpha[i] - matrix[i, i])
        for j in range(i + 1, n):
            slope[at] *= alpha[i] * alpha[j] - matrix[i, j]
            at += 1
    mixed, ones = 0.0, 0.0
    for i in range(n):
        mixed += alpha[i]
        ones += beta[i]
    constant = MEAN_VAR * (mixed * mixed - ones)
    pulls = np.dot(squares, slope)
    for q in range(p):
        gradient[q] = -2.0 * weight[q] * pulls[q]
    # See `Hyperposterior._batched`.
    gradient[p] = 0.5 * (fitted - n - noisy - constant)
    if not len(known):
        gradient[p + 1] = 0.5 * noisy * noise_var / (floor + noise_var)
    return -0.5 * (fitted + n * LOG_2PI) - log_det
