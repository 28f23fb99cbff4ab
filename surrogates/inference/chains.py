"""What samplers of many chains share: where the chains are, trajectories, warm-up, the draws.

Neal (2011), "MCMC Using Hamiltonian Dynamics": leapfrog steps of a position and a momentum, then a
Metropolis test of the energy. All chains make the same number of steps, so that every gradient is
one call for all. Hoffman & Gelman (2014), "The No-U-Turn Sampler", section 3.2.1: the step size by
dual averaging.

Departs from them: the metric, a full covariance, is that of all chains' positions in the warm-up
(shrunk towards the one before), and the acceptance that is averaged is the harmonic mean over
chains, so that no chain is left behind at a step that suits the others (Hoffman, Radul & Sountsov
2021, "An Adaptive-MCMC Scheme for Setting Trajectory Lengths in Hamiltonian Monte Carlo"); each
counts as at least 0.05, so that one lost chain does not stop all of them.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from surrogates.inference import diagnostics
from surrogates.inference.contract import (
    Counted,
    Density,
    Draws,
    check_start,
    check_told,
    leapfrog,
    normals,
    uniforms,
)
from surrogates.inference.proposal import Proposal

DIVERGED = 1000.0
MOST_STEPS = 256
_LEAST_ACCEPT = 0.05  # of a chain in the mean: one that is lost must not hold all others
SHORT = 20  # trajectories of a warm-up that learns only the step size
_LOST = 1.06  # R-hat above which draws say more of where chains began than of the density
_ASIDE = 12.0  # times the half width of the closest half, beyond which others begin
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


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
        proposal: where else chains could be; None where that is not known.
    """

    x: Tensor
    value: Tensor
    gradient: Tensor
    factor: Tensor
    step_size: float
    count: int = 0
    proposal: Proposal | None = None

    def to_json(self) -> dict[str, Any]:
        """Without value and gradient, which belong to a density."""
        return {
            "x": self.x.tolist(),
            "factor": self.factor.tolist(),
            "step_size": self.step_size,
            "count": self.count,
            "proposal": None if self.proposal is None else self.proposal.to_json(),
        }

    @staticmethod
    def from_json(told: Mapping[str, Any], density: Density, like: Tensor) -> "State":
        """Raises `DataError` where the density is 0 at all positions."""
        check_told(told, "x", "factor", "step_size", "count")
        where: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        x = torch.tensor(told["x"], **where)
        value, gradient = check_start(x, density)
        factor = torch.tensor(told["factor"], **where)
        held = told.get("proposal")
        proposal = None if held is None else Proposal.from_json(held, like)
        return State(x, value, gradient, factor, told["step_size"], told["count"], proposal)


@dataclasses.dataclass(frozen=True)
class Moved:
    """How a trajectory went, for every chain.

    Attributes:
        accept: (chains,) probabilities of acceptance.
        energy: (chains,) Hamiltonian where the chain is now, with the momentum that took it there.
        diverged: (chains,) whether the energy was lost on the way.
        steps: of the leapfrog.
        jumped: share of the chains that jumped before; NaN where none could.
    """

    accept: Tensor
    energy: Tensor
    diverged: Tensor
    steps: int
    jumped: float = math.nan


@dataclasses.dataclass(frozen=True)
class Travelled:
    """A trajectory of every chain.

    Attributes:
        state: after the test.
        moved: how it went.
        end: (chains, dim) positions before the test.
        momentum: (chains, dim) there, in units of the metric.
        length: of the trajectory.
    """

    state: State
    moved: Moved
    end: Tensor
    momentum: Tensor
    length: float


class Wanted(Protocol):
    """The options that say how much to draw."""

    @property
    def draws(self) -> int: ...
    @property
    def most_draws(self) -> int: ...
    @property
    def rhat(self) -> float: ...
    @property
    def ess(self) -> float: ...
    @property
    def sd_error(self) -> float: ...


def init(
    density: Density,
    start: Tensor,
    factor: Tensor | None = None,
    proposal: Proposal | None = None,
) -> State:
    """Chains at given points.

    Args:
        density: unnormalised.
        start: (chains, dim), a point per chain; those of density 0 begin at one of the others.
        factor: (dim, dim) lower triangular, times its transpose a guess of the covariance; None
            takes the unit matrix.
        proposal: where else chains could be.

    Raises:
        DataError: points that are not finite, or a density of 0 at all of them.
    """
    value, gradient = check_start(start, density)
    good = torch.isfinite(value).nonzero().flatten()
    place = torch.arange(len(start), dtype=torch.int64, device=start.device)
    place = torch.where(torch.isfinite(value), place, good[place % len(good)])
    dim = start.shape[1]
    factor = torch.eye(dim, dtype=start.dtype, device=start.device) if factor is None else factor
    size = 0.5 * dim**-0.25
    return State(start[place], value[place], gradient[place], factor, size, proposal=proposal)


def jitter(state: State) -> float:
    """A share in [0, 1) for the next trajectory's length, evenly spread over trajectories."""
    return (state.count + 1) * _GOLDEN % 1.0


def travel(density: Density, state: State, steps: int, generator: Generator) -> Travelled:
    """So many leapfrog steps of every chain from a new momentum, and the test of the energy."""
    x, gradient, size = state.x, state.gradient, state.step_size
    factor = state.factor
    momentum = normals((len(x), x.shape[1]), generator, x)
    uniform = uniforms((len(x),), generator, x)
    before = 0.5 * momentum.square().sum(dim=1) - state.value
    position, momentum, value, gradient = leapfrog(
        density, x, momentum, gradient, factor, size, steps
    )
    energy = 0.5 * momentum.square().sum(dim=1) - value
    lost = energy - before
    lost = torch.where(torch.isfinite(lost), lost, torch.full_like(lost, math.inf))
    accept = torch.exp(-lost).clamp_max(1.0)
    taken = uniform < accept
    after = dataclasses.replace(
        state,
        x=torch.where(taken[:, None], position, x),
        value=torch.where(taken, value, state.value),
        gradient=torch.where(taken[:, None], gradient, state.gradient),
        count=state.count + 1,
    )
    moved = Moved(accept, torch.where(taken, energy, before), lost > DIVERGED, steps)
    return Travelled(after, moved, position, momentum, steps * size)


class StepSize:
    """Dual averaging of the logarithm of the step size (Hoffman & Gelman 2014, algorithm 5)."""

    def __init__(self, step_size: float, target: float, *, boost: float = 10.0) -> None:
        self.target = target
        self.centre = math.log(boost * step_size)
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


class Adaptation:
    """Step size and metric, from the trajectories of a warm-up.

    A warm-up of less than 20 trajectories keeps the metric, and the step size near what it is: it
    is for chains that go on from an earlier run.

    Args:
        state: at its beginning.
        warmup: trajectories.
        target: acceptance.
        looks: shares of the warm-up after which what was seen since the last look, but for its
            first half, makes a new metric.
    """

    def __init__(
        self,
        state: State,
        warmup: int,
        target: float,
        looks: tuple[float, ...] = (0.25, 0.5, 0.75),
    ) -> None:
        short = warmup < SHORT
        boost = 1.0 if short else 10.0
        self.sizes = StepSize(state.step_size, target, boost=boost)
        self.looks = [] if short else [math.floor(warmup * share) for share in looks]
        self.seen: list[Tensor] = []
        self.count = 0

    def update(self, state: State, accept: Tensor | None) -> State:
        """The state to go on with, from where a trajectory ended and how it was accepted.

        None for `accept`: it had other steps, and says nothing of the size.
        """
        self.count += 1
        size = state.step_size if accept is None else self.sizes.update(accept)
        if not self.looks:
            return dataclasses.replace(state, step_size=size)
        self.seen.append(state.x)
        if self.count < self.looks[0]:
            return dataclasses.replace(state, step_size=size)
        factor = pooled_factor(torch.cat(self.seen[len(self.seen) // 2 :]), state.factor)
        while self.looks and self.looks[0] <= self.count:
            del self.looks[0]
        self.seen = []
        self.sizes = StepSize(self.sizes.best, self.sizes.target)
        return dataclasses.replace(state, factor=factor, step_size=self.sizes.best)

    def best(self, state: State) -> State:
        """The state with the step size to go on with after the warm-up."""
        return dataclasses.replace(state, step_size=self.sizes.best)


def collect(
    advance: Callable[[State], tuple[State, Moved]],
    state: State,
    counted: Counted,
    options: Wanted,
    relearn: Callable[[State, Tensor], State] | None = None,
    refine: Callable[[State, Tensor], State] | None = None,
) -> tuple[Draws, State]:
    """Draw until the diagnostics hold, or until there are `most_draws` (see `hmc.run`).

    Args:
        advance: one trajectory of every chain.
        state: where the chains begin.
        counted: the density that `advance` calls.
        options: how much is wanted.
        relearn: makes a better state of one and its (chains, draws, dim) draws. Where these are far
            from convergence they were warm-up: they are dropped, and it goes on from that state.
        refine: the same where the draws are kept and there are to be more.
    """
    kept: list[Tensor] = []
    values: list[Tensor] = []
    energies: list[Tensor] = []
    jumped: list[float] = []
    accepted, diverged = 0.0, 0
    wanted = min(options.draws, options.most_draws)
    while True:
        while len(kept) < wanted:
            state, moved = advance(state)
            kept.append(state.x)
            values.append(state.value)
            energies.append(moved.energy)
            accepted += float(moved.accept.mean())
            diverged += int(moved.diverged.sum())
            jumped += [] if math.isnan(moved.jumped) else [moved.jumped]
        x, value = torch.stack(kept, dim=1), torch.stack(values, dim=1)
        told = judge(x, value, options)
        if told["converged"] or wanted == options.most_draws:
            break
        if relearn is not None and not told["rhat_max"] <= _LOST:
            state = relearn(state, x)
            kept, values, energies, jumped = [], [], [], []
            accepted, diverged = 0.0, 0
        elif refine is not None:
            state = refine(state, x)
        wanted = min(2 * wanted, options.most_draws)
    told |= {
        "ebfmi_min": float(diagnostics.ebfmi(torch.stack(energies, dim=1)).min()),
        "divergences": float(diverged),
        "accept": accepted / len(kept),
        "step_size": state.step_size,
        "gradients": counted.points / len(x),
        "draws": float(len(kept)),
    }
    if jumped:
        told["jumped"] = sum(jumped) / len(jumped)
    return Draws(x, value, None, told), state


def judge(x: Tensor, value: Tensor, wanted: Wanted) -> dict[str, float]:
    """`rhat_max`, `ess_min`, `mcse_sd_max` and whether all are good enough.

    Args:
        x: (chains, draws, dim) draws.
        value: (chains, draws) log densities, which are judged as well, unless they are all the
            same: a density may be constant where it is not 0.
        wanted: how good that is.
    """
    level = bool((value == value[0, 0]).all())
    quantities = x if level else torch.cat([x, value.unsqueeze(-1)], dim=-1)
    worst = float(diagnostics.rhat(quantities).max())
    least = float(
        torch.minimum(diagnostics.ess_bulk(quantities), diagnostics.ess_tail(quantities)).min()
    )
    error = float(diagnostics.mcse_sd(quantities).max())
    good = worst <= wanted.rhat and least >= wanted.ess and error <= wanted.sd_error  # NaN is not
    return {
        "rhat_max": worst,
        "ess_min": least,
        "mcse_sd_max": error,
        "converged": float(good),
    }


def pooled_factor(x: Tensor, before: Tensor) -> Tensor:
    """Lower Cholesky factor of the covariance of (n, dim) points, shrunk to the one before.

    Of those at one place: a chain at another mode, far away, would stretch the metric that way for
    all, and steps would be as short as the mode is narrow beside that distance.
    """
    white = torch.linalg.solve_triangular(before, x.T, upper=False).T
    for column in range(x.shape[1]):
        near = _together(white[:, column])
        x, white = x[near], white[near]
    n, dim = x.shape
    offset = x - x.mean(dim=0)
    covariance = (offset.T @ offset + dim * (before @ before.T)) / (n + dim)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    return before if bool(failed) or not bool(torch.isfinite(factor).all()) else factor


def _together(values: Tensor) -> Tensor:
    """Which of (n,) numbers are near the closest half of them; all, where these are one number.

    Near is 8 standard deviations of normal ones. Rousseeuw (1984), "Least Median of Squares
    Regression": the centre of the shortest interval with half of the numbers lies among them, where
    the median of numbers at two places may lie between.
    """
    half = (len(values) + 1) // 2
    ordered = values.sort().values
    low, high = ordered[: len(values) - half + 1], ordered[half - 1 :]
    least = (high - low).argmin()
    centre, spread = 0.5 * (low[least] + high[least]), 0.5 * (high[least] - low[least])
    return ((values - centre).abs() <= _ASIDE * spread) | (spread == 0.0)
