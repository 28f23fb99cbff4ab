"""Hamiltonian Monte Carlo: many chains, jittered trajectories, run until the diagnostics hold.

Neal (2011), "MCMC Using Hamiltonian Dynamics". The length of the trajectories is drawn anew for
each (his section 3.2, against periodicity), the same for all chains. So is, now and then, the step
size: one trajectory in eight has as many steps of a quarter (his section 4.2), for chains that are
where the density bends more than elsewhere and rejects all others. Trajectory, warm-up and what departs
from the paper in them are in `chains`.
"""

import dataclasses
import math

from torch import Generator, Tensor

from surrogates.inference.chains import (
    MOST_STEPS,
    Adaptation,
    Moved,
    State,
    collect,
    init,
    jitter,
    pooled_factor,
    travel,
)
from surrogates.inference.contract import Counted, Density, Draws
from surrogates.options import option, options

__all__ = ["Moved", "Options", "State", "init", "run", "step", "warm_up"]

_SHORTEST, _LONGEST = 0.4, 1.6  # share of the mean trajectory
_AGAIN = 15  # trajectories that find the step size for a metric that was learned from draws
_CAREFUL, _SLOWER = 8, 0.25  # one trajectory in so many, and its steps beside the others'


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
    share = _SHORTEST + (_LONGEST - _SHORTEST) * jitter(state)
    steps = min(max(math.ceil(options.trajectory * share / state.step_size), 1), MOST_STEPS)
    size = state.step_size * (_SLOWER if _careful(state) else 1.0)
    travelled = travel(density, dataclasses.replace(state, step_size=size), steps, generator)
    return dataclasses.replace(travelled.state, step_size=state.step_size), travelled.moved


def _careful(state: State) -> bool:
    """Whether the next trajectory has small steps."""
    return (state.count + 1) % _CAREFUL == 0


def warm_up(density: Density, state: State, options: Options, generator: Generator) -> State:
    """Trajectories that find step size and metric; their positions are no draws."""
    if not options.warmup:
        return state
    adaptation = Adaptation(state, options.warmup, options.target_accept)
    for _ in range(options.warmup):
        careful = _careful(state)
        state, moved = step(density, state, options, generator)
        state = adaptation.update(state, None if careful else moved.accept)
    return adaptation.best(state)


def run(
    density: Density,
    state: State,
    *,
    options: Options,
    generator: Generator,
) -> tuple[Draws, State]:
    """Warm up, then draw until the diagnostics hold, or until there are `most_draws`.

    Draws that are far from convergence are warm-up, too: the metric is learned again from them.

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
    counted = Counted(density)
    state = warm_up(counted, state, options, generator)

    def relearn(state: State, x: Tensor) -> State:
        late = x[:, x.shape[1] // 2 :].flatten(0, 1)
        state = dataclasses.replace(state, factor=pooled_factor(late, state.factor))
        return warm_up(counted, state, again, generator)

    again = dataclasses.replace(options, warmup=min(options.warmup, _AGAIN))
    return collect(
        lambda state: step(counted, state, options, generator),
        state,
        counted,
        options,
        relearn if options.warmup else None,
    )
