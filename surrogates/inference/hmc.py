"""Hamiltonian Monte Carlo: many chains, jittered trajectories, run until the diagnostics hold.

Neal (2011), "MCMC Using Hamiltonian Dynamics": leapfrog steps of a position and a momentum, then a
Metropolis test of the energy. All chains make the same number of steps, so that every gradient is
one call for all; it is drawn anew for each trajectory (his section 3.2, against periodicity).
Hoffman & Gelman (2014), "The No-U-Turn Sampler", section 3.2.1: the step size by dual averaging.

Departs from them: the metric, a full covariance, is that of all chains' positions in the warm-up
(shrunk towards the one before), and the acceptance that is averaged is the harmonic mean over
chains, so that no chain is left behind at a step that suits the others (Hoffman, Radul & Sountsov
2021, "An Adaptive-MCMC Scheme for Setting Trajectory Lengths in Hamiltonian Monte Carlo"); each
counts as at least 0.05, so that one lost chain does not stop all of them.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from surrogates.inference import diagnostics
from surrogates.inference.contract import Density, Draws, check_start, normals, uniforms
from surrogates.options import option, options

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_SHORTEST, _LONGEST = 0.4, 1.6  # share of the mean trajectory
_DIVERGED = 1000.0
_MOST_STEPS = 256
_LEAST_ACCEPT = 0.05  # of a chain in the mean: one that is lost must not hold all others


@options
class Options:
    """How long the chains are and when they are long enough."""

    warmup: int = option(default=30, help="trajectories of the warm-up", low=0, high=100_000)
    draws: int = option(
        default=64, help="per chain, before the first look at the diagnostics", low=4, high=10**6
    )
    most_draws: int = option(
        default=1024, help="per chain; stops there, converged or not", low=4, high=10**7
    )
    trajectory: float = option(
        default=3.0, help="mean length, in standard deviations", low=1e-3, high=1e3
    )
    target_accept: float = option(
        default=0.75, help="mean probability of acceptance", low=0.1, high=0.99
    )
    rhat: float = option(default=1.02, help="goes on until the greatest is below", low=1.0)
    ess: float = option(default=200.0, help="and the smallest effective size above", low=0.0)


@dataclasses.dataclass(frozen=True)
class State:
    """Where the chains are and how they move; enough to go on.

    Attributes:
        x: (chains, dim) positions.
        value: (chains,) log densities there.
        gradient: (chains, dim) of these.
        factor: (dim, dim) lower triangular, times its transpose the inverse metric.
        step_size: of the leapfrog, in units of `factor`.
        count: trajectories so far, which the jitter goes by.
    """

    x: Tensor
    value: Tensor
    gradient: Tensor
    factor: Tensor
    step_size: float
    count: int = 0

    def to_json(self) -> dict[str, Any]:
        """Without value and gradient, which belong to a density."""
        return {
            "x": self.x.tolist(),
            "factor": self.factor.tolist(),
            "step_size": self.step_size,
            "count": self.count,
        }

    @staticmethod
    def from_json(told: Mapping[str, Any], density: Density, like: Tensor) -> "State":
        """Raises `DataError` where the density is 0 at all positions."""
        where: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        x = torch.tensor(told["x"], **where)
        value, gradient = check_start(x, density)
        factor = torch.tensor(told["factor"], **where)
        return State(x, value, gradient, factor, told["step_size"], told["count"])


@dataclasses.dataclass(frozen=True)
class Moved:
    """How a trajectory went, for every chain.

    Attributes:
        accept: (chains,) probabilities of acceptance.
        energy: (chains,) Hamiltonian where the chain is now, with the momentum that took it there.
        diverged: (chains,) whether the energy was lost on the way.
        steps: of the leapfrog.
    """

    accept: Tensor
    energy: Tensor
    diverged: Tensor
    steps: int


def init(density: Density, start: Tensor, factor: Tensor | None = None) -> State:
    """Chains at given points.

    Args:
        density: unnormalised.
        start: (chains, dim), a point per chain; those of density 0 begin at one of the others.
        factor: (dim, dim) lower triangular, times its transpose a guess of the covariance; None
            takes the unit matrix.

    Raises:
        DataError: points that are not finite, or a density of 0 at all of them.
    """
    value, gradient = check_start(start, density)
    good = torch.isfinite(value).nonzero().flatten()
    place = torch.arange(len(start), dtype=torch.int64, device=start.device)
    place = torch.where(torch.isfinite(value), place, good[place % len(good)])
    dim = start.shape[1]
    factor = torch.eye(dim, dtype=start.dtype, device=start.device) if factor is None else factor
    return State(start[place], value[place], gradient[place], factor, 0.5 * dim**-0.25)


def step(
    density: Density, state: State, options: Options, generator: Generator
) -> tuple[State, Moved]:
    """One trajectory of every chain.

    Args:
        density: that of the state.
        state: where the chains are.
        options: see `Options`.
        generator: of the momenta and of the test.
    """
    x, gradient = state.x, state.gradient
    factor = state.factor.contiguous()  # its layout decides how products round
    size = state.step_size
    share = _SHORTEST + (_LONGEST - _SHORTEST) * ((state.count + 1) * _GOLDEN % 1.0)
    steps = min(max(math.ceil(options.trajectory * share / size), 1), _MOST_STEPS)
    momentum = normals((len(x), x.shape[1]), generator, x)
    uniform = uniforms((len(x),), generator, x)
    before = 0.5 * momentum.square().sum(dim=1) - state.value
    across = factor.T.contiguous()
    position, value = x, state.value
    momentum.addmm_(gradient, factor, alpha=0.5 * size)
    for left in range(steps, 0, -1):
        # A chain that meets NaN on its way stays by itself, and fails the test at the end.
        position = torch.addmm(position, momentum, across, alpha=size)
        value, gradient = density.value_and_grad(position)
        momentum.addmm_(gradient, factor, alpha=size if left > 1 else 0.5 * size)
    energy = 0.5 * momentum.square().sum(dim=1) - value
    lost = energy - before
    lost = torch.where(torch.isfinite(lost), lost, torch.full_like(lost, math.inf))
    accept = torch.exp(-lost).clamp_max(1.0)
    taken = uniform < accept
    moved = State(
        torch.where(taken[:, None], position, x),
        torch.where(taken, value, state.value),
        torch.where(taken[:, None], gradient, state.gradient),
        factor,
        size,
        state.count + 1,
    )
    return moved, Moved(accept, torch.where(taken, energy, before), lost > _DIVERGED, steps)


class StepSize:
    """Dual averaging of the logarithm of the step size (Hoffman & Gelman 2014, algorithm 5)."""

    def __init__(self, step_size: float, target: float) -> None:
        self.target = target
        self.centre = math.log(10.0 * step_size)
        self.error = 0.0
        self.average = math.log(step_size)
        self.count = 0

    def update(self, accept: Tensor) -> float:
        """The next step size, from the probabilities of acceptance at the last."""
        harmonic = len(accept) / float(accept.clamp_min(_LEAST_ACCEPT).reciprocal().sum())
        self.count += 1
        weight = 1.0 / (self.count + 10.0)
        self.error += weight * (self.target - harmonic - self.error)
        now = self.centre - math.sqrt(self.count) / 0.05 * self.error
        now = min(max(now, -20.0), 5.0)
        decay = self.count**-0.75
        self.average += decay * (now - self.average)
        return math.exp(now)

    @property
    def best(self) -> float:
        """The step size to go on with after the warm-up."""
        return math.exp(self.average)


def warm_up(density: Density, state: State, options: Options, generator: Generator) -> State:
    """Trajectories that find step size and metric; their positions are no draws."""
    sizes = StepSize(state.step_size, options.target_accept)
    seen: list[Tensor] = []
    looks = {options.warmup * share // 4 for share in (1, 2, 3)}
    for at in range(1, options.warmup + 1):
        state, moved = step(density, state, options, generator)
        seen.append(state.x)
        size = sizes.update(moved.accept)
        if at in looks:
            factor = pooled_factor(torch.cat(seen[len(seen) // 2 :]), state.factor)
            seen = []
            state = dataclasses.replace(state, factor=factor)
            sizes = StepSize(sizes.best, options.target_accept)
            size = sizes.best
        state = dataclasses.replace(state, step_size=size)
    return dataclasses.replace(state, step_size=sizes.best) if options.warmup else state


def run(
    density: Density,
    state: State,
    *,
    options: Options,
    generator: Generator,
) -> tuple[Draws, State]:
    """Warm up, then draw until the diagnostics hold, or until there are `most_draws`.

    Args:
        density: unnormalised.
        state: of `init`, or of an earlier run.
        options: see `Options`; `warmup=0` goes on as the state does.
        generator: of every random number.

    Returns:
        The draws and where the chains ended. Diagnostics: `rhat_max` (rank-normalised, split; of
        the log density too), `ess_min` (the smallest of bulk and tail), `ebfmi_min`, `divergences`,
        `accept` (mean), `step_size`, `gradients` (calls for all chains, warm-up included), `draws`
        (per chain), `converged`.
    """
    counted = _Counted(density)
    state = warm_up(counted, state, options, generator)
    kept: list[Tensor] = []
    values: list[Tensor] = []
    energies: list[Tensor] = []
    accepted, diverged = 0.0, 0
    wanted = min(options.draws, options.most_draws)
    while True:
        while len(kept) < wanted:
            state, moved = step(counted, state, options, generator)
            kept.append(state.x)
            values.append(state.value)
            energies.append(moved.energy)
            accepted += float(moved.accept.mean())
            diverged += int(moved.diverged.sum())
        x, value = torch.stack(kept, dim=1), torch.stack(values, dim=1)
        told = judge(x, value, rhat=options.rhat, ess=options.ess)
        if told["converged"] or wanted == options.most_draws:
            break
        wanted = min(2 * wanted, options.most_draws)
    told |= {
        "ebfmi_min": float(diagnostics.ebfmi(torch.stack(energies, dim=1)).min()),
        "divergences": float(diverged),
        "accept": accepted / len(kept),
        "step_size": state.step_size,
        "gradients": float(counted.calls),
        "draws": float(len(kept)),
    }
    return Draws(x, value, None, told), state


def judge(x: Tensor, value: Tensor, *, rhat: float, ess: float) -> dict[str, float]:
    """`rhat_max`, `ess_min` and whether they are good enough, of chains and their log densities."""
    quantities = torch.cat([x, value.unsqueeze(-1)], dim=-1)
    worst = float(diagnostics.rhat(quantities).max())
    least = float(
        torch.minimum(diagnostics.ess_bulk(quantities), diagnostics.ess_tail(quantities)).min()
    )
    return {
        "rhat_max": worst,
        "ess_min": least,
        "converged": float(worst <= rhat and least >= ess),  # NaN is neither
    }


def pooled_factor(x: Tensor, before: Tensor) -> Tensor:
    """Lower Cholesky factor of the covariance of (n, dim) points, shrunk to the one before."""
    n, dim = x.shape
    offset = x - x.mean(dim=0)
    covariance = (offset.T @ offset + dim * (before @ before.T)) / (n + dim)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    return before if bool(failed) or not bool(torch.isfinite(factor).all()) else factor


class _Counted:
    def __init__(self, density: Density) -> None:
        self.density = density
        self.calls = 0

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return self.density.value_and_grad(x)
