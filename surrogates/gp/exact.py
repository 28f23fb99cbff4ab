"""An exact GP on the CPU: log posterior of its hyperparameters with gradient, mode, predictions.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning": equations 2.25-2.26
(prediction), 2.30 (log marginal likelihood) and 5.9 (its gradient).

The model is that of `surrogates/gp/map.py`: y = m + f(x) + e on standardised outcomes, with the
kernel signal_var g(r), r^2 = sum_j (x_j - x'_j)^2 / l_j^2, one length-scale per group of columns.
The flat constant m is profiled out: for given others its mode is 1'K^-1 y / 1'K^-1 1.

Some columns may be bent first (`surrogates/gp/warp.py`).

Two compiled passes over a triangle build the matrix and gather the gradient; between them LAPACK
factorises and inverts. Compiled code is kept on disk: the first use on a machine takes some
seconds, later processes load it in tenths of one. All in float64.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs
from scipy.optimize import minimize

from surrogates.compiled import compiled
from surrogates.gp import warp
from surrogates.gp.conditioned import JITTERS

Array = NDArray[np.float64]

SHORTEST_LENGTHSCALE = 2.5e-2
LEAST_SIGNAL_VAR = 1e-2
LEAST_NOISE_VAR = 1e-6
_GREATEST = 1e6
_SQRT5 = math.sqrt(5.0)
_LOG_2PI = math.log(2 * math.pi)
_potrf, _potri, _potrs, _trtrs = get_lapack_funcs(
    ("potrf", "potri", "potrs", "trtrs"), dtype=np.float64
)


@dataclasses.dataclass(frozen=True)
class Data:
    """What the hyperparameters are to explain.

    Attributes:
        X: (n, d) columns in the unit cube.
        y: (n,) standardised outcomes.
        groups: (d,) which length-scale each column has: 0 to p - 1.
        matern: Matern-5/2; else RBF.
        noise: (n,) known variances of the noise in standardised units, or None: one unknown one.
        warped: which columns are warped, each by exponents of its own; none by default.
    """

    X: Array
    y: Array
    groups: NDArray[np.int64]
    matern: bool
    noise: Array | None = None
    warped: tuple[int, ...] = ()

    @property
    def p(self) -> int:
        """Number of length-scales."""
        return int(self.groups.max()) + 1

    @property
    def plain(self) -> int:
        """Number of hyperparameters before those of the warps."""
        return self.p + 1 + (self.noise is None)


@dataclasses.dataclass(frozen=True)
class Mode:
    """Hyperparameters in standardised units, and how they were found.

    Attributes:
        theta: log length-scales (p,), log signal variance, log noise variance where it is unknown,
            log a and then log b of the warped columns.
        mean: the constant m.
        log_posterior: the log density there.
        iterations: of the start that found it.
        evaluations: of the log posterior, over all starts.
    """

    theta: Array
    mean: float
    log_posterior: float
    iterations: int
    evaluations: int


def log_posterior(theta: Array, data: Data) -> tuple[float, Array, float]:
    """The log density of outcomes and hyperparameters, and its gradient.

    Args:
        theta: as in `Mode`.
        data: what is to be explained.

    Returns:
        The value (priors are densities of the hyperparameters themselves, not of their logarithms),
        the gradient in `theta`, and the constant m; -inf, zeros and 0 where no jitter makes the
        matrix positive definite.
    """
    p, n = data.p, len(data.y)
    noise = _noise(theta, data)
    lengthscale = np.exp(theta[:p])[data.groups]
    scaled = warp.forward(data.X, data.warped, theta[data.plain :]) / lengthscale
    factor, slopes = _factorise(scaled, math.exp(theta[p]), noise, matern=data.matern)
    if factor is None:
        return -math.inf, np.zeros_like(theta), 0.0
    diagonal = factor.diagonal()
    solved, _ = _potrs(factor.T, np.column_stack([data.y, np.ones(n)]), lower=0)
    mean = float(solved[:, 0].sum() / solved[:, 1].sum())
    alpha = solved[:, 0] - mean * solved[:, 1]
    fit = float((data.y - mean) @ alpha)
    value = -0.5 * (fit + n * _LOG_2PI) - float(np.log(diagonal).sum())
    inverse, _ = _potri(factor.T, lower=0, overwrite_c=1)
    gradient = np.empty_like(theta)
    if data.warped:
        pulls = _gather_points(scaled, alpha, inverse.T, slopes)
        per_column = -(pulls * scaled).sum(axis=0)
        to_a, to_b = warp.slopes(data.X, data.warped, theta[data.plain :])
        pulls = (pulls / lengthscale)[:, data.warped]
        gradient[data.plain :] = np.concatenate(
            [(pulls * to_a).sum(axis=0), (pulls * to_b).sum(axis=0)]
        )
    else:
        per_column = _gather(scaled, alpha, inverse.T, slopes)
    gradient[:p] = np.bincount(data.groups, weights=per_column, minlength=p)
    # Of all of K, 0.5 (y - m)'alpha - 0.5 n; what is not the noise's share is the signal's.
    noisy = 0.5 * float((np.square(alpha) - inverse.diagonal()) @ noise)
    gradient[p] = 0.5 * (fit - n) - noisy
    if data.noise is None:
        gradient[p + 1] = noisy
    centre, var = _prior(data)
    offset = (theta - centre) / var
    prior = theta + 0.5 * (theta - centre) * offset + 0.5 * np.log(2 * math.pi * var)
    return value - float(prior.sum()), gradient - 1.0 - offset, mean


def find_mode(
    data: Data, starts: Sequence[Array], *, max_iterations: int, tolerance: float
) -> Mode:
    """The best of the modes that L-BFGS-B finds from some starts.

    Args:
        data: what is to be explained.
        starts: values of theta.
        max_iterations: per start.
        tolerance: relative, of the log posterior per observation.
    """
    low, high = _bounds(data)
    n, count = len(data.y), 0
    best: Any = None

    def objective(theta: Array) -> tuple[float, Array]:
        nonlocal count
        count += 1
        value, gradient, _ = log_posterior(theta, data)
        if value == -math.inf:
            return 1e10, gradient
        return -value / n, -gradient / n

    for start in starts:
        found = minimize(
            objective,
            np.clip(start, low, high),
            jac=True,
            method="L-BFGS-B",
            bounds=np.column_stack([low, high]),
            options={"maxiter": max_iterations, "ftol": tolerance},
        )
        if best is None or found.fun < best.fun:
            best = found
    theta = np.asarray(best.x)
    value, _, mean = log_posterior(theta, data)
    return Mode(theta, mean, value, int(best.nit), count)


def default_start(data: Data) -> Array:
    """The modes of the priors (of a log-normal: its centre less its variance, in logs)."""
    centre, var = _prior(data)
    return np.clip(centre - var, *_bounds(data))


def _prior(data: Data) -> tuple[Array, Array]:
    """Centres and variances of the logarithms, in the order of theta."""
    p = data.p
    k, warps = data.plain, np.full(2 * len(data.warped), warp.PRIOR_VAR)
    centre = np.append(np.full(p, math.sqrt(2) + 0.5 * math.log(p)), [0.0, -4.0])
    var = np.append(np.full(p, 3.0), [1.0, 1.0])
    return np.append(centre[:k], warps), np.append(var[:k], warps)  # so that their mode is no warp


def _bounds(data: Data) -> tuple[Array, Array]:
    p = data.p
    low = np.log(np.append(np.full(p, SHORTEST_LENGTHSCALE), [LEAST_SIGNAL_VAR, LEAST_NOISE_VAR]))
    k, warps = data.plain, np.full(2 * len(data.warped), math.log(warp.GREATEST))
    high = np.append(np.full(k, math.log(_GREATEST)), warps)
    return np.append(low[:k], -warps), high


class Predictor:
    """The posterior of f in standardised units, and its gradient, for k histories of outcomes.

    Histories share their points, and so the variance; as fitted there is one.

    Args:
        theta: as in `Mode`.
        mean: the constant m.
        data: what the model was fitted to.
        outcomes: (n, k) standardised outcomes; None takes those of the data.

    Raises:
        numpy.linalg.LinAlgError: no jitter makes the matrix positive definite.
    """

    def __init__(
        self, theta: Array, mean: float, data: Data, outcomes: Array | None = None
    ) -> None:
        p = data.p
        self.theta = theta
        self.mean = mean
        self.data = data
        self.outcomes = data.y[:, None] if outcomes is None else outcomes
        self.signal_var = math.exp(theta[p])
        self.lengthscale = np.exp(theta[:p])[data.groups]
        self.noise = _noise(theta, data)
        self.scaled = self._scale(data.X)
        factor, _ = _factorise(self.scaled, self.signal_var, self.noise, matern=data.matern)
        if factor is None:
            raise np.linalg.LinAlgError("expected a positive definite covariance matrix")
        self.factor = factor
        self.alpha = _potrs(factor.T, self.outcomes - mean, lower=0)[0]
        inverse, _ = _potri(np.array(factor.T, order="F"), lower=0, overwrite_c=1)
        _mirror(inverse.T)
        self.inverse = inverse

    def moments(self, x: Array) -> tuple[Array, Array]:
        """Means (m, k) and variance (m,) at (m, d) columns."""
        k, half = self._towards(x)
        var = self.signal_var - np.square(half).sum(axis=0)
        return self.mean + k @ self.alpha, np.maximum(var, 1e-12 * self.signal_var)

    def moments_and_gradients(self, x: Array) -> tuple[Array, float, Array, Array]:
        """Means (k,) and variance at one point (d,), and their gradients (k, d) and (d,)."""
        at = self._scale(x[None])
        k, slopes = _cross(at, self.scaled, self.signal_var, self.data.matern)
        weight = self.inverse @ k[0]
        var = max(self.signal_var - float(k[0] @ weight), 1e-12 * self.signal_var)
        pulls = slopes[0] * np.concatenate([self.alpha.T, -2.0 * weight[None]])
        gradient = 2.0 * (pulls.sum(axis=1)[:, None] * at - pulls @ self.scaled) / self.lengthscale
        if self.data.warped:
            gradient *= warp.gradient(x, self.data.warped, self.theta[self.data.plain :])
        return self.mean + k[0] @ self.alpha, var, gradient[:-1], gradient[-1]

    def imagining(self, x: Array, normals: Array) -> "Predictor":
        """The same model with outcomes at (q, d) columns that are drawn from what it expects there.

        Args:
            x: columns.
            normals: (k, q) standard normal numbers: a row for every history to imagine.
        """
        towards, half = self._towards(x)
        scaled = self._scale(x)
        among, _ = _cross(scaled, scaled, self.signal_var, self.data.matern)
        noise = np.full(len(x), float(np.median(self.noise)))
        covariance = among - half.T @ half
        covariance[np.diag_indices(len(x))] += noise + 1e-9 * self.signal_var
        centre = self.mean + towards @ self.alpha[:, :1]
        drawn = centre + np.linalg.cholesky(covariance) @ normals.T
        known = np.repeat(self.outcomes[:, :1], len(normals), axis=1)
        data = dataclasses.replace(
            self.data,
            X=np.concatenate([self.data.X, x]),
            y=np.append(self.data.y, centre[:, 0]),
            noise=None if self.data.noise is None else np.append(self.noise, noise),
        )
        return Predictor(self.theta, self.mean, data, np.concatenate([known, drawn]))

    def _scale(self, x: Array) -> Array:
        bent = warp.forward(x, self.data.warped, self.theta[self.data.plain :])
        return bent / self.lengthscale

    def _towards(self, x: Array) -> tuple[Array, Array]:
        """Covariances (m, n) with the points known, and L^-1 times their transpose."""
        k, _ = _cross(self._scale(x), self.scaled, self.signal_var, self.data.matern)
        half, _ = _trtrs(self.factor.T, k.T, lower=0, trans=1)
        return k, half


def _noise(theta: Array, data: Data) -> Array:
    if data.noise is not None:
        return data.noise
    return np.full(len(data.y), math.exp(theta[data.p + 1]))


def _factorise(
    scaled: Array, signal_var: float, noise: Array, *, matern: bool
) -> tuple[Array | None, Array]:
    """The lower Cholesky factor (its upper triangle is not to be read), and dK / dr^2."""
    n = len(scaled)
    slopes = np.empty((n, n))
    for jitter in JITTERS:
        matrix = np.empty((n, n))
        _fill(scaled, signal_var, noise + jitter * signal_var, matern, matrix, slopes)
        # LAPACK's upper triangle in its column order is the lower one in ours.
        factor, failed = _potrf(matrix.T, lower=0, clean=0, overwrite_a=1)
        if not failed:
            return factor.T, slopes
    return None, slopes


@compiled
def _fill(
    scaled: Array, signal_var: float, noise: Array, matern: bool, matrix: Array, slopes: Array
) -> None:
    """Lower triangles of the covariance and of its derivative in the squared distance."""
    n, d = scaled.shape
    for i in range(n):
        for j in range(i):
            squared = 0.0
            for c in range(d):
                difference = scaled[i, c] - scaled[j, c]
                squared += difference * difference
            if matern:
                r = _SQRT5 * math.sqrt(squared)
                decay = signal_var * math.exp(-r)
                matrix[i, j] = (1.0 + r + r * r / 3.0) * decay
                slopes[i, j] = -5.0 / 6.0 * (1.0 + r) * decay
            else:
                matrix[i, j] = signal_var * math.exp(-0.5 * squared)
                slopes[i, j] = -0.5 * matrix[i, j]
        matrix[i, i] = signal_var + noise[i]
        slopes[i, i] = 0.0


@compiled
def _gather(scaled: Array, alpha: Array, inverse: Array, slopes: Array) -> Array:
    """0.5 tr((alpha alpha' - K^-1) dK / dlog l) of every column; reads lower triangles."""
    n, d = scaled.shape
    gradient = np.zeros(d)
    for i in range(n):
        for j in range(i):
            weight = -2.0 * (alpha[i] * alpha[j] - inverse[i, j]) * slopes[i, j]
            for c in range(d):
                difference = scaled[i, c] - scaled[j, c]
                gradient[c] += weight * difference * difference
    return gradient


@compiled
def _gather_points(scaled: Array, alpha: Array, inverse: Array, slopes: Array) -> Array:
    """0.5 tr((alpha alpha' - K^-1) dK) by every scaled coordinate, (n, d); lower triangles."""
    n, d = scaled.shape
    gradient = np.zeros((n, d))
    for i in range(n):
        for j in range(i):
            weight = 2.0 * (alpha[i] * alpha[j] - inverse[i, j]) * slopes[i, j]
            for c in range(d):
                pull = weight * (scaled[i, c] - scaled[j, c])
                gradient[i, c] += pull
                gradient[j, c] -= pull
    return gradient


@compiled
def _cross(x: Array, scaled: Array, signal_var: float, matern: bool) -> tuple[Array, Array]:
    """(m, n) covariances, and their derivatives in the squared distance."""
    m, d = x.shape
    n = len(scaled)
    k, slopes = np.empty((m, n)), np.empty((m, n))
    for i in range(m):
        for j in range(n):
            squared = 0.0
            for c in range(d):
                difference = x[i, c] - scaled[j, c]
                squared += difference * difference
            if matern:
                r = _SQRT5 * math.sqrt(squared)
                decay = signal_var * math.exp(-r)
                k[i, j] = (1.0 + r + r * r / 3.0) * decay
                slopes[i, j] = -5.0 / 6.0 * (1.0 + r) * decay
            else:
                k[i, j] = signal_var * math.exp(-0.5 * squared)
                slopes[i, j] = -0.5 * k[i, j]
    return k, slopes


@compiled
def _mirror(matrix: Array) -> None:
    """Copy the lower triangle to the upper one."""
    for i in range(len(matrix)):
        for j in range(i):
            matrix[j, i] = matrix[i, j]
