"""ChEES-HMC: Hamiltonian Monte Carlo whose chains learn one trajectory length together.

Hoffman, Radul & Sountsov (2021), "An Adaptive-MCMC Scheme for Setting Trajectory Lengths in
Hamiltonian Monte Carlo": the length maximises ChEES, the expected squared change of the squared
distance to the mean, by stochastic gradient ascent (Adam) of its logarithm in
the warm-up. Every trajectory has a share of the length, between 0 and 1, the same for all chains.
Chains whose proposal is likely to be accepted count for more in the gradient. Step size by dual
averaging of the harmonic mean of the acceptance, with their target 0.651.

Departs from the paper: distances are those of whitened coordinates, since a metric is learned too
(as in `hmc`; with the unit metric they are the paper's); the shares are multiples of the golden
ratio, not a Halton sequence; the first length is that of a chain which crosses the density, not one
step, and the rate of Adam is higher, for warm-ups of a hundred trajectories instead of a thousand.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from surrogates.inference import chains as shared
from surrogates.inference.chains import (
    MOST_STEPS,
    Adaptation,
    Moved,
    Travelled,
    collect,
    jitter,
    travel,
)
from surrogates.inference.contract import Counted, Density, Draws, check_run, check_told
from surrogates.options import option, options

_FIRST = 1.5  # trajectory, in standard deviations
_LOOKS = (0.125, 0.25, 0.5)  # at the chains for the metric; then the length is learned
_SHORTEST, _LONGEST = 1e-3, 1e3
_DECAY = 0.95  # of Adam's mean square; it has no momentum, as in the paper
_OUTLIER = 3.0  # root mean squares: the most that a slope counts for
_LEAST_ACCEPT = 0.1
_FORGET = 0.5  # the n-th length has the weight n^-0.5 in the mean


@options
class Options:
    """How long the chains are and when they are long enough."""

    warmup: int = option(default=100, help="trajectories of the warm-up", low=0, high=100_000)
    draws: int = option(
        default=64, help="per chain, before the first look at the diagnostics", low=4, high=10**6
    )
    most_draws: int = option(
        default=1024, help="per chain; stops there, converged or not", low=4, high=10**7
    )
    target_accept: float = option(
        default=0.651, help="harmonic mean probability of acceptance", low=0.1, high=0.99
    )
    rate: float = option(
        default=0.05, help="of Adam on the logarithm of the trajectory length", low=0.0, high=1.0
    )
    metric: bool = option(default=True, help="learn a metric in the warm-up")
    rhat: float = option(default=1.02, help="goes on until the greatest is below", low=1.0)
    ess: float = option(default=200.0, help="and the smallest effective size above", low=0.0)
    sd_error: float = option(
        default=0.1, help="and the relative error of every standard deviation below", low=0.0
    )


@dataclasses.dataclass(frozen=True)
class State:
    """Where the chains are and how they move; enough to go on.

    Attributes:
        chains: positions, metric and step size.
        trajectory: greatest length, in units of the metric.
    """

    chains: shared.State
    trajectory: float

    def to_json(self) -> dict[str, Any]:
        """Without value and gradient, which belong to a density."""
        return self.chains.to_json() | {"trajectory": self.trajectory}

    @staticmethod
    def from_json(told: Mapping[str, Any], density: Density, like: Tensor) -> "State":
        """Raises `DataError` where the density is 0 at all positions."""
        check_told(told, "trajectory")
        return State(shared.State.from_json(told, density, like), told["trajectory"])


def init(density: Density, start: Tensor, factor: Tensor | None = None) -> State:
    """Chains at given points (see `hmc.init`)."""
    return State(shared.init(density, start, factor), _FIRST)


def step(density: Density, state: State, generator: Generator) -> tuple[State, Moved]:
    """One trajectory of every chain.

    Args:
        density: that of the state.
        state: where the chains are.
        generator: of the momenta and of the test.
    """
    travelled = travel(density, state.chains, _steps(state), generator)
    return dataclasses.replace(state, chains=travelled.state), travelled.moved


def warm_up(density: Density, state: State, options: Options, generator: Generator) -> State:
    """Trajectories that find length, step size and metric; their positions are no draws."""
    if not options.warmup:
        return state
    length = Length(state.trajectory, options.rate)
    looks = _LOOKS if options.metric else ()
    adaptation = Adaptation(state.chains, options.warmup, options.target_accept, looks)
    for _ in range(options.warmup):
        before, trajectory = state.chains, state.trajectory
        travelled = travel(density, before, _steps(state), generator)
        accept = travelled.moved.accept
        if not adaptation.looks:  # a new metric would be another unit of the length
            trajectory = length.update(chees_slope(before, travelled), accept)
        state = State(adaptation.update(travelled.state, accept), trajectory)
    return State(adaptation.best(state.chains), length.best)


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
        The draws and where the chains ended. Diagnostics: those of `hmc.run`, and `trajectory`, the
        greatest length.
    """
    check_run(options, Options, generator, state, State)
    counted = Counted(density)
    state = warm_up(counted, state, options, generator)
    trajectory = state.trajectory

    def advance(chains: shared.State) -> tuple[shared.State, Moved]:
        travelled = travel(counted, chains, _steps(State(chains, trajectory)), generator)
        return travelled.state, travelled.moved

    draws, chains = collect(advance, state.chains, counted, options)
    told = {**draws.diagnostics, "trajectory": trajectory}
    return dataclasses.replace(draws, diagnostics=told), State(chains, trajectory)


class Length:
    """Adam's ascent of the logarithm of the trajectory length."""

    def __init__(self, trajectory: float, rate: float) -> None:
        self.rate = rate
        self.now = self.average = math.log(trajectory)
        self.square = 0.0
        self.count = 0

    def update(self, slopes: Tensor, accept: Tensor) -> float:
        """The next length, from the chains' slopes and acceptance probabilities at the last."""
        slope = float((accept * torch.where(accept > 0.0, slopes, 0.0)).sum() / accept.sum())
        if not (float(accept.mean()) >= _LEAST_ACCEPT and math.isfinite(slope)):
            return math.exp(self.now)  # the step is too long for the slope to mean anything
        if self.count and self.square > 0.0:
            most = _OUTLIER * math.sqrt(self.square / (1.0 - _DECAY**self.count))
            slope = min(max(slope, -most), most)
        self.count += 1
        self.square += (1.0 - _DECAY) * (slope * slope - self.square)
        size = math.sqrt(self.square / (1.0 - _DECAY**self.count))
        self.now += self.rate * slope / size if size > 0.0 else 0.0
        self.now = min(max(self.now, math.log(_SHORTEST)), math.log(_LONGEST))
        self.average += self.count**-_FORGET * (self.now - self.average)
        return math.exp(self.now)

    @property
    def best(self) -> float:
        """The length to go on with after the warm-up."""
        return math.exp(self.average)


def chees_slope(before: shared.State, travelled: Travelled) -> Tensor:
    """Every chain's derivative of ChEES in the logarithm of the length, up to a constant factor."""
    taken = torch.where(torch.isfinite(travelled.end), travelled.end, before.x)
    weights = travelled.moved.accept / travelled.moved.accept.sum().clamp_min(1e-9)
    offsets = torch.cat([taken - weights @ taken, before.x - before.x.mean(dim=0)])
    white = torch.linalg.solve_triangular(before.factor, offsets.T, upper=False).T
    end, start = white.chunk(2)
    gained = end.square().sum(dim=1) - start.square().sum(dim=1)
    return travelled.length * gained * (end * travelled.momentum).sum(dim=1)


def _steps(state: State) -> int:
    share = jitter(state.chains)
    steps = math.ceil(state.trajectory * share / state.chains.step_size)
    return min(max(steps, 1), MOST_STEPS)
