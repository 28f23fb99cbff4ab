"""Gaussian variational inference by forward and backward steps in the Bures-Wasserstein space.

Diao, Balasubramanian, Chewi & Salim (2023), "Forward-Backward Gaussian Variational Inference via
JKO in the Bures-Wasserstein Space", algorithm 1, for p proportional to exp(-V):

    m <- m - h E[grad V]                                  forward step of the energy
    M = 1 - h E[Hess V],  S <- M S M
    S <- (S + 2 h + (S (S + 4 h))^(1/2)) / 2              backward (JKO) step of minus the entropy

Either with averages over fixed points (theirs is exact) or with fresh ones at every step
(stochastic).

Departs from it: the density gives no Hessians, so that E[Hess V] is E[grad V e^T] L^-1 for
x = m + L e (Stein's identity), made symmetric: by its lower triangle, which makes it the slope of
the ELBO at fixed points, so that their optimum is that of `vi_fullrank`; by its mean with its
transpose, which has less noise, where points are fresh. Steps are made in the coordinates in which
the covariance is 1, anew at every step: M and S commute there, the fixed points are the same, and
h = 1 over the greatest absolute eigenvalue of the Hessian, at most 1, suits any scale. The mean
moves by sqrt(dim) standard deviations at most. With fixed points h is halved, and the step undone,
where the ELBO at them falls. A stochastic round halves h and averages the moments of its last half.

A round ends where the Fisher divergence, which bounds the rise of the ELBO for a target that is as
curved as the Gaussian, is a tenth of `tolerance`. Rounds go on with fresh points, twice as many
where they are fixed, until one raises the ELBO at its own points by less than `tolerance`
(stochastic: that of its average, at points common with the one before): this is the test of
`converged`.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from surrogates.inference import laplace
from surrogates.inference.contract import (
    Counted,
    Density,
    Draws,
    check_run,
    check_start,
    check_told,
    normals,
)
from surrogates.inference.variational import Guarded, judged, points
from surrogates.options import option, options

_LEAST_SIZE = 1e-3


@options
class Options:
    """How well the optimum is sought and how much is drawn."""

    draws: int = option(default=512, help="draws of the fit", low=16, high=10_000_000)
    weighted: bool = option(default=True, help="whether draws carry importance weights")
    stochastic: bool = option(default=False, help="fresh points at every step")
    points: int = option(
        default=128,
        help="points of the first round (stochastic: of a step), raised to 4 per dimension",
        low=2,
        high=10**6,
    )
    most_points: int = option(
        default=2048, help="points of a round; stops there, converged or not", low=2, high=10**7
    )
    tolerance: float = option(
        default=0.02, help="rise of the ELBO in a round that ends the fit", low=0.0
    )
    max_iterations: int = option(default=100, help="steps per round", low=2, high=100_000)


@dataclasses.dataclass(frozen=True)
class State:
    """The Gaussian.

    Attributes:
        mean: (dim,).
        factor: (dim, dim) lower triangular, times its transpose the covariance.
        size: greatest step h, at most 1.
        iterations: steps so far.
    """

    mean: Tensor
    factor: Tensor
    size: float = 1.0
    iterations: int = 0

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "mean": self.mean.tolist(),
            "factor": self.factor.tolist(),
            "size": self.size,
            "iterations": self.iterations,
        }

    @staticmethod
    def from_json(told: Mapping[str, Any], like: Tensor) -> "State":
        """With the dtype and device of `like`."""
        check_told(told, "mean", "factor", "size", "iterations")
        where: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        mean, factor = torch.tensor(told["mean"], **where), torch.tensor(told["factor"], **where)
        return State(mean, factor, told["size"], told["iterations"])


@dataclasses.dataclass(frozen=True)
class Slope:
    """What a step goes by, in the coordinates in which the covariance is 1.

    Attributes:
        elbo: average at the points.
        pull: (dim,) mean gradient of log p.
        curvature: (dim, dim) mean Hessian of V.
        fisher: half the squared gradient, and a quarter of the squared curvature less 1.
    """

    elbo: float
    pull: Tensor
    curvature: Tensor
    fisher: float


def init(density: Density, start: Tensor) -> State:
    """The Laplace approximation, of the best mode that is found from (starts, dim) points.

    Raises:
        DataError: a start that is not finite, or a density of 0 at all of them.
    """
    found = laplace.init(density, start, laplace.Options())
    return State(found.mode, found.factor.contiguous())


def sloped(density: Density, state: State, e: Tensor, *, fixed: bool) -> Slope:
    """Averages over points e (points, dim) of a standard normal."""
    value, gradient = density.value_and_grad(state.mean + e @ state.factor.T)
    pull = gradient @ state.factor
    curvature = -pull.T @ e / len(e)
    if fixed:
        curvature = curvature.tril() + curvature.tril(-1).T
    else:
        curvature = 0.5 * (curvature + curvature.T)
    mean = pull.mean(dim=0)
    off = curvature - torch.eye(len(mean), dtype=e.dtype, device=e.device)
    elbo = float(value.mean() + state.factor.diagonal().log().sum())
    fisher = 0.5 * float(mean.square().sum()) + 0.25 * float(off.square().sum())
    return Slope(elbo, mean, curvature, fisher)


def step(state: State, slope: Slope) -> State:
    """One forward and one backward step; none where the averages are not finite."""
    if not math.isfinite(slope.fisher):
        return dataclasses.replace(state, iterations=state.iterations + 1)
    bend, axes = torch.linalg.eigh(slope.curvature)
    size = state.size / max(1.0, float(bend.abs().max()))
    move = size * slope.pull
    move = move * min(1.0, math.sqrt(len(move)) / max(float(move.norm()), 1e-300))
    forward = (1.0 - size * bend).square()
    backward = 0.5 * (forward + 2.0 * size + (forward * (forward + 4.0 * size)).sqrt())
    inner, failed = torch.linalg.cholesky_ex(axes * backward @ axes.T)
    if bool(failed):  # decades between them
        inner = laplace.lower_root(axes * backward.sqrt())
    return dataclasses.replace(
        state,
        mean=state.mean + state.factor @ move,
        factor=state.factor @ inner,
        iterations=state.iterations + 1,
    )


def settle(
    density: Density, state: State, e: Tensor, *, iterations: int, tolerance: float
) -> tuple[State, float]:
    """Steps at fixed points until nothing is left to gain; returns the rise too.

    Args:
        density: above 0 everywhere (see `variational.Guarded`).
        state: the Gaussian to begin with.
        e: (points, dim) of a standard normal.
        iterations: at most.
        tolerance: Fisher divergence at which it ends.
    """
    slope = sloped(density, state, e, fixed=True)
    before, rounding = slope.elbo, 8.0 * torch.finfo(e.dtype).eps
    for _ in range(iterations):
        if slope.fisher < tolerance or state.size < _LEAST_SIZE:
            break
        tried = step(state, slope)
        slope_there = sloped(density, tried, e, fixed=True)
        if slope_there.elbo >= slope.elbo - rounding * abs(slope.elbo):
            state, slope = tried, slope_there
        else:
            state = dataclasses.replace(state, size=0.5 * state.size, iterations=tried.iterations)
    return state, slope.elbo - before


def wander(density: Density, state: State, options: Options, generator: Generator) -> State:
    """Steps at fresh points; the Gaussian with the mean moments of the last half of them."""
    dim = len(state.mean)
    first, second = torch.zeros_like(state.mean), torch.zeros_like(state.factor)
    roots: list[Tensor] = []
    count = max(options.points, 4 * dim)
    half = options.max_iterations // 2
    for at in range(options.max_iterations):
        e = points(count, dim, generator, state.mean)
        state = step(state, sloped(density, state, e, fixed=False))
        if at >= options.max_iterations - half:
            first = first + state.mean / half
            second = second + state.factor @ state.factor.T / half
            roots.append(state.factor / math.sqrt(half))
    factor, failed = torch.linalg.cholesky_ex(second)
    if bool(failed):
        factor = laplace.lower_root(torch.cat(roots, dim=1))
    factor = factor.contiguous()  # in rows, as from_json has it
    return dataclasses.replace(state, mean=first, factor=factor, size=0.5 * state.size)


def run(
    density: Density,
    start: Tensor | State,
    *,
    options: Options,
    generator: Generator,
) -> tuple[Draws, State]:
    """Fit, then draw.

    Args:
        density: unnormalised.
        start: (starts, dim) points, or a state to go on from.
        options: see `Options`.
        generator: of every random number.

    Returns:
        The draws and the Gaussian. Diagnostics: see `variational.judged`.

    Raises:
        DataError: see `init`; a state whose mean has the density 0.
    """
    check_run(options, Options, generator, start, Tensor, State)
    counted = Counted(density)
    state = init(counted, start) if isinstance(start, Tensor) else start
    dim = len(state.mean)
    value, _ = check_start(state.mean.unsqueeze(0), counted)
    guarded = Guarded(counted, state.mean, float(value), state.factor.norm(dim=1))
    count, rise = max(options.points, 4 * dim), math.inf
    most = max(options.most_points, count)
    while count <= most and not rise < options.tolerance:
        if options.stochastic:
            e = points(most, dim, generator, state.mean)
            before = sloped(guarded, state, e, fixed=True).elbo
            state = wander(guarded, state, options, generator)
            rise = sloped(guarded, state, e, fixed=True).elbo - before
        else:
            state, rise = settle(
                guarded,
                dataclasses.replace(state, size=1.0),
                points(count, dim, generator, state.mean),
                iterations=options.max_iterations,
                tolerance=0.1 * options.tolerance,
            )
        count *= 2
    e = normals((options.draws, dim), generator, state.mean)
    log_q = -0.5 * (e.square().sum(dim=1) + dim * math.log(2 * math.pi))
    log_q = log_q - state.factor.diagonal().log().sum()
    draws = judged(
        counted,
        state.mean + e @ state.factor.T,
        log_q,
        weighted=options.weighted,
        stopped=rise < options.tolerance,
        iterations=state.iterations,
    )
    return draws, state
