"""Variational inference with a Gaussian whose coordinates are independent.

Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), "Automatic Differentiation Variational
Inference": q = N(m, diag(s^2)) maximises the ELBO, E[log p(m + s e)] + sum log s + constant with
e ~ N(0, 1). Its gradient in m is E[g], in log s it is E[g e] s + 1, with g that of log p.

Departs from it: the expectation is an average over points that stay fixed while L-BFGS climbs
(Giordano, Ingram & Broderick 2024, "Black Box Variational Inference with a Deterministic
Objective"); the points are quasi-random. Rounds go on with twice as many fresh points until a round
raises the ELBO at its own points by less than `tolerance`: this is the test of `converged`. The
first round begins at the best mode that L-BFGS finds, with small standard deviations; no matrix is
formed, so that there may be thousands of coordinates.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

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

_START_SD = 0.1


@options
class Options:
    """How well the optimum is sought and how much is drawn."""

    draws: int = option(default=512, help="draws of the fit", low=16, high=10_000_000)
    weighted: bool = option(default=True, help="whether draws carry importance weights")
    points: int = option(default=64, help="points of the first round", low=16, high=10**6)
    most_points: int = option(
        default=2048, help="points of a round; stops there, converged or not", low=16, high=10**7
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
        sd: (dim,) standard deviations.
        iterations: of L-BFGS so far.
    """

    mean: Tensor
    sd: Tensor
    iterations: int = 0

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {"mean": self.mean.tolist(), "sd": self.sd.tolist(), "iterations": self.iterations}

    @staticmethod
    def from_json(told: Mapping[str, Any], like: Tensor) -> "State":
        """With the dtype and device of `like`."""
        check_told(told, "mean", "sd", "iterations")
        where: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        mean, sd = torch.tensor(told["mean"], **where), torch.tensor(told["sd"], **where)
        return State(mean, sd, told["iterations"])


def init(density: Density, start: Tensor, options: Options) -> State:
    """A narrow Gaussian at the best mode that is found from (starts, dim) points.

    Raises:
        DataError: a start that is not finite, or a density of 0 at all of them.
    """
    values, _ = check_start(start, density)
    best, highest, iterations = start[0], -math.inf, 0
    sd = torch.full_like(best, _START_SD)
    for row, value in zip(start, values.tolist(), strict=True):
        if not math.isfinite(value):
            continue
        guarded = Guarded(density, row, value, sd)

        def height(x: Tensor, target: Density = guarded) -> tuple[float, Tensor]:
            told, gradient = target.value_and_grad(x.unsqueeze(0))
            return float(told), gradient[0]

        found, top, used = climb(
            height, row, iterations=options.max_iterations, tolerance=options.tolerance
        )
        iterations += used
        if top > highest:
            best, highest = found, top
    return State(best, sd, iterations)


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

    def unpacked(flat: Tensor) -> tuple[Tensor, Tensor]:
        return state.mean + state.sd * flat[:dim], state.sd * flat[dim:].exp()

    def elbo(flat: Tensor) -> tuple[float, Tensor]:
        mean, sd = unpacked(flat)
        value, gradient = density.value_and_grad(mean + sd * e)
        slope = [gradient.mean(dim=0) * state.sd, (gradient * e).mean(dim=0) * sd + 1.0]
        return float(value.mean() + flat[dim:].sum()), torch.cat(slope)

    flat = torch.zeros(2 * dim, dtype=e.dtype, device=e.device)
    before, _ = elbo(flat)
    flat, after, used = climb(elbo, flat, iterations=iterations, tolerance=tolerance)
    mean, sd = unpacked(flat)
    return State(mean, sd, state.iterations + used), after - before


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
    state = init(counted, start, options) if isinstance(start, Tensor) else start
    dim = len(state.mean)
    value, _ = check_start(state.mean.unsqueeze(0), counted)
    guarded = Guarded(counted, state.mean, float(value), state.sd)
    count, rise = options.points, math.inf
    while count <= max(options.most_points, options.points) and not rise < options.tolerance:
        state, rise = step(
            guarded,
            state,
            points(count, dim, generator, state.mean),
            iterations=options.max_iterations,
            tolerance=0.1 * options.tolerance,
        )
        count *= 2
    e = normals((options.draws, dim), generator, state.mean)
    log_q = -0.5 * (e.square().sum(dim=1) + dim * math.log(2 * math.pi)) - state.sd.log().sum()
    draws = judged(
        counted,
        state.mean + state.sd * e,
        log_q,
        weighted=options.weighted,
        stopped=rise < options.tolerance,
        iterations=state.iterations,
    )
    return draws, state
