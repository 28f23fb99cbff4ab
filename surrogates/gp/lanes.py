"""The log marginal likelihood of a Gaussian process and its gradient, of eight chains at a time.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning": algorithm 2.1 and equations
2.30 and 5.9; the formulas are those of `Hyperposterior`.

A vector register of the processor holds a number of each of eight chains, its lanes: what is done
to one matrix is done to eight, element by element, and no part of a matrix is too small to fill a
register. All inner products are of two rows with two rows (`surrogates/gp/vectors.py`): each
element that is loaded is used twice.

Matrices have an even number of rows, m: a last one of the unit matrix is added to an odd number.
Below them stand two rows more, the outcomes and ones. Factoring the matrix above solves for them.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from surrogates.gp.conditioned import LOG_2PI, MEAN_VAR
from surrogates.gp.vectors import LANES, TOGETHER, inner, scaled_sums, weighted

Array = NDArray[np.float64]

_MOST = 300  # points; the memory of eight larger matrices is far from the processor
_vectorised = njit(cache=True, fastmath={"contract"}, error_model="numpy")
_MAGIC = 1.5 * 2.0**52  # added to a number, it leaves the nearest whole one in the last bits
_F2, _F3, _F4, _F5, _F6, _F7, _F8, _F9, _F10, _F11, _F12, _F13 = (
    1.0 / math.factorial(k) for k in range(2, 14)
)


def ordered(squares: Array, n: int) -> Array:
    """(p, pairs) squared distances as `likelihoods` wants them.

    Args:
        squares: of the pairs (i, j), i < j, row by row.
        n: points.

    Returns:
        Those of (i, j), i > j, row by row; with rows of zeros, so that their number is a multiple
        of four.
    """
    place = np.zeros((n, n), dtype=np.int64)
    place[np.triu_indices(n, 1)] = np.arange(squares.shape[1])
    rows = np.zeros((-(-len(squares) // TOGETHER) * TOGETHER, squares.shape[1]))
    rows[: len(squares)] = squares[:, place.T[np.tril_indices(n, -1)]]
    return rows


def scratch(n: int) -> tuple[Array, Array, Array, Array]:
    """Memory for n points: matrices, their inverses, slopes, vectors. It is used again and again.

    None for more points than lanes are good for.
    """
    n = n if n <= _MOST else 0
    m = n + n % 2
    matrix, inverse = np.empty((m + 2, m + 2, LANES)), np.empty((m, m, LANES))
    return matrix, inverse, np.empty((n * (n - 1) // 2, LANES)), np.empty((4, m, LANES))


@_vectorised
def likelihoods(
    x: Array,
    values: Array,
    gradients: Array,
    p: int,
    rows: Array,
    y: Array,
    known: Array,
    floor: float,
    matern: bool,
    room: tuple[Array, Array, Array, Array],
) -> None:
    """Of eight points; where a matrix is not definite as it is, the value is NaN.

    Args:
        x: (8, dim) points, as `Hyperposterior` has them.
        values: (8,) to be filled.
        gradients: (8, dim) to be filled.
        p: number of length-scales.
        rows: of `ordered`.
        y: (n,) outcomes.
        known: (n,) variances of the noise; empty where it is one unknown one.
        floor: what that one has at least.
        matern: Matern-5/2; else RBF.
        room: of `scratch`.
    """
    matrix, inverse, slopes, vectors = room
    n, m = len(y), len(inverse)
    sums = np.empty((TOGETHER, LANES))
    weight, signal_var = np.empty((p, LANES)), np.empty(LANES)
    noise = np.empty((m, LANES))
    for v in range(LANES):
        for q in range(p):
            weight[q, v] = math.exp(-2.0 * x[v, q])
        signal_var[v] = math.exp(x[v, p])
        unknown = 0.0 if len(known) else floor + math.exp(x[v, p + 1])
        for i in range(n):
            noise[i, v] = known[i] if len(known) else unknown
    _fill(matrix, slopes, vectors, weight, signal_var, noise, rows, y, matern)
    log_det, least = _factor(matrix, vectors[0], sums)
    # The last two rows are z = L^-1 y and u = L^-1 1 now; their inner products:
    fitted, mixed, ones = sums[0].copy(), sums[1].copy(), sums[3].copy()
    _invert(matrix, inverse, vectors[0], sums)
    noisy = _pull(matrix, inverse, slopes, vectors[1], noise, n, sums)
    for q in range(0, p, TOGETHER):
        scaled_sums(sums, slopes, rows, q)
        for each in range(q, min(q + TOGETHER, p)):
            for v in range(LANES):
                gradients[v, each] = -2.0 * weight[each, v] * sums[each - q, v]
    for v in range(LANES):
        constant = MEAN_VAR * (mixed[v] * mixed[v] - ones[v])
        gradients[v, p] = 0.5 * (fitted[v] - n - noisy[v] - constant)
        if not len(known):
            free = (noise[0, v] - floor) / noise[0, v]
            gradients[v, p + 1] = 0.5 * noisy[v] * free
        values[v] = -0.5 * (fitted[v] + n * LOG_2PI + log_det[v]) if least[v] > 0.0 else np.nan


@_vectorised
def _fill(
    matrix: Array,
    slopes: Array,
    vectors: Array,
    weight: Array,
    signal_var: Array,
    noise: Array,
    rows: Array,
    y: Array,
    matern: bool,
) -> None:
    """Covariances, and their derivatives in the squared distances."""
    n, m = len(y), vectors.shape[1]
    squared, decay, bits = vectors[0], vectors[1], vectors[2]
    at = 0
    for i in range(n):
        weighted(squared, weight, rows, at, i)
        if matern:
            _root_exp(squared, decay, bits, i)
            for j in range(i):
                for v in range(LANES):
                    r, decayed = squared[j, v], signal_var[v] * decay[j, v]
                    matrix[i, j, v] = (1.0 + r + r * r * (1.0 / 3.0)) * decayed + MEAN_VAR
                    slopes[at + j, v] = (-5.0 / 6.0) * (1.0 + r) * decayed
        else:
            _half_exp(squared, decay, bits, i)
            for j in range(i):
                for v in range(LANES):
                    decayed = signal_var[v] * decay[j, v]
                    matrix[i, j, v] = decayed + MEAN_VAR
                    slopes[at + j, v] = -0.5 * decayed
        at += i
        for v in range(LANES):
            matrix[i, i, v] = signal_var[v] + MEAN_VAR + noise[i, v]
        matrix[m, i], matrix[m + 1, i] = y[i], 1.0
    if m > n:
        matrix[n, :n] = 0.0
        matrix[n, n] = 1.0
        matrix[m, n], matrix[m + 1, n] = 0.0, 0.0


@_vectorised
def _factor(matrix: Array, over: Array, sums: Array) -> tuple[Array, Array]:
    """Cholesky's factor below the diagonal, and 1 over its diagonal.

    Returns the logarithms of the determinants, and the least pivots. `sums` has the inner products
    of the last two rows.
    """
    m = len(over)
    log_det, least = np.zeros(LANES), np.ones(LANES)
    for i in range(0, m + 2, 2):
        for j in range(0, min(i, m), 2):
            inner(sums, matrix, i, matrix, j, 0, j)
            for v in range(LANES):
                below, first, second = matrix[j + 1, j, v], over[j, v], over[j + 1, v]
                upper = (matrix[i, j, v] - sums[0, v]) * first
                lower = (matrix[i + 1, j, v] - sums[2, v]) * first
                matrix[i, j, v], matrix[i + 1, j, v] = upper, lower
                rest = matrix[i, j + 1, v] - sums[1, v] - upper * below
                matrix[i, j + 1, v] = rest * second
                rest = matrix[i + 1, j + 1, v] - sums[3, v] - lower * below
                matrix[i + 1, j + 1, v] = rest * second
        inner(sums, matrix, i, matrix, i, 0, min(i, m))
        if i == m:
            break
        for v in range(LANES):
            first = matrix[i, i, v] - sums[0, v]
            over[i, v] = 1.0 / math.sqrt(first)
            below = (matrix[i + 1, i, v] - sums[2, v]) * over[i, v]
            second = matrix[i + 1, i + 1, v] - sums[3, v] - below * below
            matrix[i + 1, i, v], over[i + 1, v] = below, 1.0 / math.sqrt(second)
            # NaN is not greater: a pivot that is none stays the least.
            least[v] = least[v] if first > least[v] else first
            least[v] = least[v] if second > least[v] else second
            log_det[v] += math.log(first * second)
    return log_det, least


@_vectorised
def _invert(matrix: Array, inverse: Array, over: Array, sums: Array) -> None:
    """The transpose of the inverse of the factor: its rows are the inverse's columns."""
    m = len(over)
    for j in range(0, m, 2):
        for v in range(LANES):
            inverse[j, j, v], inverse[j + 1, j + 1, v] = over[j, v], over[j + 1, v]
            inverse[j, j + 1, v] = -matrix[j + 1, j, v] * over[j, v] * over[j + 1, v]
            inverse[j + 1, j, v] = 0.0
        for i in range(j + 2, m, 2):
            inner(sums, matrix, i, inverse, j, j, i)
            for v in range(LANES):
                below, first, second = matrix[i + 1, i, v], over[i, v], over[i + 1, v]
                left, right = -sums[0, v] * first, -sums[1, v] * first
                inverse[j, i, v], inverse[j + 1, i, v] = left, right
                inverse[j, i + 1, v] = -(sums[2, v] + below * left) * second
                inverse[j + 1, i + 1, v] = -(sums[3, v] + below * right) * second


@_vectorised
def _pull(
    matrix: Array,
    inverse: Array,
    slopes: Array,
    alpha: Array,
    noise: Array,
    n: int,
    sums: Array,
) -> Array:
    """Multiplies the slopes by (alpha alpha' - K^-1); returns noise times that of the diagonal."""
    m = len(alpha)
    for i in range(0, m, 2):
        inner(sums, inverse, i, matrix, m, i, m)
        for v in range(LANES):
            alpha[i, v], alpha[i + 1, v] = sums[0, v], sums[2, v]
    noisy = np.zeros(LANES)
    for i in range(0, m, 2):
        upper = i * (i - 1) // 2  # where the pairs of a row begin
        lower = upper + i
        whole = i + 1 < n
        for j in range(0, i, 2):
            inner(sums, inverse, i, inverse, j, i, m)
            for v in range(LANES):
                slopes[upper + j, v] *= alpha[i, v] * alpha[j, v] - sums[0, v]
                slopes[upper + j + 1, v] *= alpha[i, v] * alpha[j + 1, v] - sums[1, v]
            if whole:
                for v in range(LANES):
                    slopes[lower + j, v] *= alpha[i + 1, v] * alpha[j, v] - sums[2, v]
                    slopes[lower + j + 1, v] *= alpha[i + 1, v] * alpha[j + 1, v] - sums[3, v]
        inner(sums, inverse, i, inverse, i, i, m)
        for v in range(LANES):
            noisy[v] += noise[i, v] * (alpha[i, v] * alpha[i, v] - sums[0, v])
        if whole:
            for v in range(LANES):
                noisy[v] += noise[i + 1, v] * (alpha[i + 1, v] * alpha[i + 1, v] - sums[3, v])
                slopes[lower + i, v] *= alpha[i + 1, v] * alpha[i, v] - sums[2, v]
    return noisy


@_vectorised
def _root_exp(squared: Array, out: Array, bits: Array, count: int) -> None:
    """r = sqrt(5 s) in place of s, and exp(-r), of the first `count` rows."""
    s, exponent = squared.reshape(-1), out.reshape(-1)
    for i in range(count * LANES):
        s[i] = math.sqrt(5.0 * s[i])
        exponent[i] = -s[i]
    exp(exponent, bits.reshape(-1), count * LANES)


@_vectorised
def _half_exp(squared: Array, out: Array, bits: Array, count: int) -> None:
    """exp(-s / 2) of the first `count` rows."""
    s, exponent = squared.reshape(-1), out.reshape(-1)
    for i in range(count * LANES):
        exponent[i] = -0.5 * s[i]
    exp(exponent, bits.reshape(-1), count * LANES)


@_vectorised
def exp(x: Array, bits: Array, count: int) -> None:
    """exp of numbers that are not above 0, in place, to 1e-15; in loops that have no call in them.

    By 2^k exp(r), |r| <= log(2) / 2, and Taylor's series of the latter.
    """
    for i in range(count):
        least = max(x[i], -708.0)
        bits[i] = least * 1.4426950408889634 + _MAGIC
        k = bits[i] - _MAGIC
        r = (least - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
        s = _F12 + r * _F13
        s = _F11 + r * s
        s = _F10 + r * s
        s = _F9 + r * s
        s = _F8 + r * s
        s = _F7 + r * s
        s = _F6 + r * s
        s = _F5 + r * s
        s = _F4 + r * s
        s = _F3 + r * s
        s = _F2 + r * s
        s = 1.0 + r * s
        x[i] = 1.0 + r * s
    whole, told = bits.view(np.int64), x.view(np.int64)
    for i in range(count):
        told[i] += whole[i] << 52
