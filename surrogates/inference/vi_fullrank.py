"""Variational inference with a Gaussian of any covariance.

Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), "Automatic Differentiation Variational
Inference", section 4.2, full-rank: q = N(m, L L^T) maximises the ELBO, E[log p(m + L e)] + log |L|
+ constant with e ~ N(0, 1). Its gradient in m is E[g], in L the lower triangle of E[g e^T] +
diag(1 / L_ii), with g that of log p.

Departs from it: the expectation is an average over points that stay fixed while L-BFGS climbs
(Burroni, Domke & Sheldon 2024, "Sample Average Approximation for Black-Box Variational Inference");
the points are quasi-random. Rounds go on with twice as many fresh points until a round raises the
ELBO at its own points by less than `tolerance`: this is the test of `converged`. The path-wise
estimate of Roeder, Wu & Duvenaud (2017), "Sticking the Landing", is the same one here: it adds
terms whose averages are 0 at points with exact second moments. The first round begins with the
Laplace approximation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
from surrogates.inference.variational import Guarded, climb, judged, points
from surrogates.options import option, options


@options
class Options:
    """How well the optimum is sought and how much is drawn."""

    draws: int = option(default=512, help="draws of the fit", low=16, high=10_000_000)
    weighted: bool = option(default=True, help="whether draws carry importance weights")
    points: int = option(
        default=64, help="points of the first round, raised to 4 per dimension", low=2, high=10**6
    )
    most_points: int = option(
        default=2048, help="points of a round; stops there, converged or not", low=2, high=10**7
    )
    tolerance: float = option(
        default=0.02, help="rise of the ELBO in a round that ends the fit", low=0.0
    )
    max_iterations: int = option(default=200, help="of L-BFGS per round", low=1, high=100_000)


@dataclass(frozen=True)
class State:
    """The Gaussian.

    Attributes:
        mean: (dim,).
        factor: (dim, dim) lower triangular, times its transpose the covariance.
        iterations: of L-BFGS so far.
    """

    mean: Tensor
    factor: Tensor
    iterations: int = 0

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "mean": self.mean.tolist(),
            "factor": self.factor.tolist(),
            "iterations": self.iterations,
        }

    @staticmethod
    def from_json(told: Mapping[str, Any], like: Tensor) -> "State":
        """With the dtype and device of `like`."""
        check_told(told, "mean", "factor", "iterations")
        where: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        mean = torch.tensor(told["mean"], **where)
        return State(mean, torch.tensor(told["factor"], **where), told["iterations"])


def init(density: Density, start: Tensor) -> State:
    """The Laplace approximation, of the best mode that is found from (starts, dim) points.

    Raises:
        DataError: a start that is not finite, or a density of 0 at all of them.
    """
    found = laplace.init(density, start, laplace.Options())
    return State(found.mode, found.factor.contiguous())


def step(
    density: Density, state: State, e: Tensor, *, iterations: int, tolerance: float
) -> tuple[State, float]:
    """Climb from where the state is, averaging over given points; returns the rise too.

    Args:
        density: above 0 everywhere (see `variational.Guarded`).
        state: the Gaussian to begin with.
        e: (points, dim) of a standard normal.
        iterations: at most.
        tolerance: of `variational.climb`.
    """
    dim = len(state.mean)
    row, column = torch.tril_indices(dim, dim, -1, dtype=torch.int64, device=e.device)

    # In units of the Gaussian to begin with: m = mean + factor a, L = factor B.
    def unpacked(flat: Tensor) -> tuple[Tensor, Tensor]:
        inner = torch.diag(flat[dim : 2 * dim].exp())
        inner[row, column] = flat[2 * dim :]
        return state.mean + state.factor @ flat[:dim], inner

    def elbo(flat: Tensor) -> tuple[float, Tensor]:
        mean, inner = unpacked(flat)
        value, gradient = density.value_and_grad(mean + e @ (state.factor @ inner).T)
        pull = gradient @ state.factor
        inner_slope = pull.T @ e / len(e)
        log_slope = inner_slope.diagonal() * inner.diagonal() + 1.0
        slope = torch.cat([pull.mean(dim=0), log_slope, inner_slope[row, column]])
        return float(value.mean() + flat[dim : 2 * dim].sum()), slope

    flat = torch.zeros(2 * dim + len(row), dtype=e.dtype, device=e.device)
    before, _ = elbo(flat)
    flat, after, used = climb(elbo, flat, iterations=iterations, tolerance=tolerance)
    mean, inner = unpacked(flat)
    return State(mean, state.factor @ inner, state.iterations + used), after - before


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
        state, rise = step(
            guarded,
            state,
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
