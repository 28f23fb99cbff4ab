"""Hamiltonian Monte Carlo: many chains, jittered trajectories, run until the diagnostics hold.

Neal (2011), "MCMC Using Hamiltonian Dynamics". The length of the trajectories is drawn anew for
each (his section 3.2, against periodicity), the same for all chains. So is, now and then, the step
size: one trajectory in eight has as many steps of a quarter (his section 4.2), for chains that are
where the density bends more than elsewhere and rejects all others. Trajectory, warm-up and what
departs from the paper in them are in `chains`.

Between trajectories chains jump. Samsonov et al. (2022), "Local-Global MCMC Kernels: The Best of
Both Worlds", algorithm 2 with a trajectory as the local kernel; the jump is iterated sampling
importance resampling: of some points that are proposed and the chain's own, one is taken with a
probability proportional to its density over that of the proposal. The proposal is a mixture fitted
to positions of the warm-up (`proposal`), and anew only where a look at the diagnostics asks for
more draws. Where it is no good (dimensions are many, positions few) chains stay where they are, and
it is dropped. So that it knows more than what is near the start, the warm-up begins with chains at
a higher temperature, on the density to a power below 1 (Marinari & Parisi 1992, "Simulated
Tempering"); what they see is a part of every proposal. Where chains differ from each other all the
same, the modes that they were at are sought and proposed to all, as in the burn-in of Pompe, Holmes
& Latuszynski (2020), "A Framework for Adaptive MCMC Targeting Multimodal Distributions".
"""

import dataclasses
import math

import torch
from torch import Generator, Tensor

from surrogates.inference import laplace, proposal as proposals
from surrogates.inference.chains import (
    MOST_STEPS,
    SHORT,
    Adaptation,
    Moved,
    State,
    StepSize,
    collect,
    init,
    jitter,
    pooled_factor,
    travel,
)
from surrogates.inference.contract import Counted, Density, Draws, check_run, leapfrog, uniforms
from surrogates.inference.proposal import Proposal
from surrogates.options import option, options

__all__ = ["Moved", "Options", "State", "init", "jump", "look_around", "run", "step", "warm_up"]

_SHORTEST, _LONGEST = 0.4, 1.6  # share of the mean trajectory
_AGAIN = 15  # trajectories that find the step size for a metric that was learned from draws
_USELESS = 0.02  # share of the chains that jump, below which they do not try any more
_HOT, _FAR = 20, 2.0  # trajectories at the higher temperature, and their length beside others
_FIRST = 0.2  # share of the first proposal, and of the hot chains', in those that are fitted
_APART = 0.5  # that of modes which chains were found at
_ENOUGH = 2048  # positions for a fit
_SEARCHES = 24  # for modes, at most
_CAREFUL, _SLOWER = 8, 0.25  # one trajectory in so many, and its steps beside the others'


@options
class Options:
    """How long the chains are and when they are long enough."""

    warmup: int = option(default=30, help="trajectories of the warm-up", low=0, high=100_000)
    draws: int = option(
        default=128, help="per chain, before the first look at the diagnostics", low=4, high=10**6
    )
    most_draws: int = option(
        default=1024, help="per chain; stops there, converged or not", low=4, high=10**7
    )
    trajectory: float = option(
        default=1.5, help="mean length, in standard deviations", low=1e-3, high=1e3
    )
    target_accept: float = option(
        default=0.75, help="mean probability of acceptance", low=0.1, high=0.99
    )
    jumps: int = option(
        default=4, help="points proposed to a chain before a trajectory", low=0, high=1000
    )
    heat: float = option(
        default=4.0,
        help="temperature at which chains look around before they warm up; 1: they do not",
        low=1.0,
        high=1e3,
    )
    rhat: float = option(default=1.02, help="goes on until the greatest is below", low=1.0)
    ess: float = option(default=200.0, help="and the smallest effective size above", low=0.0)
    sd_error: float = option(
        default=0.1, help="and the relative error of every standard deviation below", low=0.0
    )


def step(
    density: Density, state: State, options: Options, generator: Generator
) -> tuple[State, Moved]:
    """A jump and a trajectory of every chain.

    Args:
        density: that of the state.
        state: where the chains are.
        options: see `Options`.
        generator: of what is proposed, of the momenta and of the test.
    """
    jumped = math.nan
    if state.proposal is not None and options.jumps:
        state, jumped = jump(density, state, state.proposal, options.jumps, generator)
    share = _SHORTEST + (_LONGEST - _SHORTEST) * jitter(state)
    steps = min(max(math.ceil(options.trajectory * share / state.step_size), 1), MOST_STEPS)
    size = state.step_size * (_SLOWER if _careful(state) else 1.0)
    travelled = travel(density, dataclasses.replace(state, step_size=size), steps, generator)
    moved = dataclasses.replace(travelled.moved, jumped=jumped)
    return dataclasses.replace(travelled.state, step_size=state.step_size), moved


def jump(
    density: Density, state: State, proposal: Proposal, count: int, generator: Generator
) -> tuple[State, float]:
    """Every chain goes to one of some points proposed to it, or stays.

    Args:
        density: that of the state.
        state: where the chains are.
        proposal: of the points.
        count: points for every chain.
        generator: of the points, and of which is taken.

    Returns:
        Where the chains are, and the share of them that went.
    """
    chains, dim = state.x.shape
    told = proposal.sample(count * chains, generator)
    value, gradient = density.value_and_grad(told)
    points, values = torch.cat([state.x, told]), torch.cat([state.value, value])
    ratios = torch.nan_to_num(values - proposal.log_density(points), nan=-math.inf)
    ratios, values = ratios.view(count + 1, chains), values.view(count + 1, chains)
    gumbel = -torch.log(-torch.log(uniforms(ratios.shape, generator, ratios)))
    place = (ratios + gumbel).argmax(dim=0)
    points = points.view(count + 1, chains, dim)
    slopes = torch.cat([state.gradient, gradient]).view(count + 1, chains, dim)
    each = torch.arange(chains, dtype=torch.int64, device=place.device)
    after = dataclasses.replace(
        state,
        x=points[place, each],
        value=values[place, each],
        gradient=slopes[place, each],
    )
    return after, float((place > 0).double().mean())


def _careful(state: State) -> bool:
    """Whether the next trajectory has small steps."""
    return (state.count + 1) % _CAREFUL == 0


def warm_up(density: Density, state: State, options: Options, generator: Generator) -> State:
    """Trajectories that find step size and metric; their positions are no draws."""
    if not options.warmup:
        return state
    adaptation = Adaptation(state, options.warmup, options.target_accept)
    first = state.proposal
    seen: list[Tensor] = []
    jumped: list[float] = []
    for count in range(1, options.warmup + 1):
        careful = _careful(state)
        state, moved = step(density, state, options, generator)
        state = adaptation.update(state, None if careful else moved.accept)
        seen.append(state.x)
        jumped += [] if math.isnan(moved.jumped) else [moved.jumped]
        if options.warmup >= SHORT and count in (options.warmup // 2, options.warmup):
            state = _proposing(state, torch.cat(seen[len(seen) // 3 :]), first, _FIRST, generator)
    if jumped and sum(jumped) / len(jumped) < _USELESS:
        state = dataclasses.replace(state, proposal=None)
    return adaptation.best(state)


class Heated:
    """A density to the power of 1 over a temperature."""

    def __init__(self, density: Density, heat: float) -> None:
        self.density = density
        self.heat = heat

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Density`."""
        value, gradient = self.density.value_and_grad(x)
        return value / self.heat, gradient / self.heat

    def leapfrog(
        self, x: Tensor, momentum: Tensor, gradient: Tensor, factor: Tensor, size: float, steps: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the density itself, with a larger momentum for a shorter time."""
        more = math.sqrt(self.heat)
        x, momentum, value, gradient = leapfrog(
            self.density, x, more * momentum, self.heat * gradient, factor, size / more, steps
        )
        return x, momentum / more, value / self.heat, gradient / self.heat


def look_around(density: Density, state: State, options: Options, generator: Generator) -> State:
    """Trajectories of hot chains; where they have been is half of the first proposal.

    Args:
        density: that of the state, which stays as it is but for positions and proposal.
        state: where the chains are.
        options: see `Options`.
        generator: see `step`.
    """
    heat, first = options.heat, state.proposal
    longer = dataclasses.replace(options, trajectory=_FAR * options.trajectory)
    heated = Heated(density, heat)
    hot = init(heated, state.x, math.sqrt(heat) * state.factor, first)
    sizes = StepSize(hot.step_size, options.target_accept)
    seen: list[Tensor] = []
    for _ in range(_HOT):
        careful = _careful(hot)
        hot, moved = step(heated, hot, longer, generator)
        if not careful:
            hot = dataclasses.replace(hot, step_size=sizes.update(moved.accept))
        seen.append(hot.x)
    found = proposals.fit(torch.cat(seen[_HOT // 3 :]), generator)
    if found is not None and first is not None:
        found = first.beside(found, 0.5)
    value, gradient = heat * hot.value, heat * hot.gradient
    return dataclasses.replace(
        state, x=hot.x, value=value, gradient=gradient, proposal=found or first
    )


def _proposing(
    state: State, x: Tensor, first: Proposal | None, share: float, generator: Generator
) -> State:
    """With a proposal that is fitted to (n, dim) positions, and a share of the first one.

    That knows modes and tails, if any does; the positions may have missed some.
    """
    fitted = proposals.fit(x, generator)
    if fitted is not None and first is not None:
        fitted = fitted.beside(first, share)
    return dataclasses.replace(state, proposal=fitted or first)


def run(
    density: Density,
    state: State,
    *,
    options: Options,
    generator: Generator,
) -> tuple[Draws, State]:
    """Warm up, then draw until the diagnostics hold, or until there are `most_draws`.

    Draws that are far from convergence are warm-up, too: the metric is learned again from them, and
    modes are sought from some of them, to be proposed to all chains.

    Args:
        density: unnormalised.
        state: of `init`, or of an earlier run.
        options: see `Options`; `warmup=0` goes on as the state does.
        generator: of every random number.

    Returns:
        The draws and where the chains ended. Diagnostics: `rhat_max` (rank-normalised, split; of
        the log density too), `ess_min` (the smallest of bulk and tail), `mcse_sd_max` (as a share
        of the standard deviation), `ebfmi_min`, `divergences`, `accept` (mean), `jumped` (mean
        share of the chains), `step_size`, `gradients` (per chain, warm-up included), `draws` (per
        chain), `converged`.
    """
    check_run(options, Options, generator, state, State)
    counted = Counted(density)
    if not state.count and options.warmup >= SHORT and options.jumps and options.heat > 1.0:
        state = look_around(counted, state, options, generator)
    first = begun = state.proposal
    share = _FIRST
    state = warm_up(counted, state, options, generator)

    known: list[Tensor] = []

    def relearn(state: State, x: Tensor) -> State:
        nonlocal first, share, known
        late = x[:, x.shape[1] // 2 :].flatten(0, 1)
        state = dataclasses.replace(state, factor=pooled_factor(late, state.factor))
        if options.jumps and len(late) >= 2 * late.shape[1]:
            been = torch.stack([x[:, 0], x[:, x.shape[1] // 2], x[:, -1]], dim=1).flatten(0, 1)
            starts = torch.cat([been[:: -(-len(been) // _SEARCHES)], *known])
            modes = laplace.modes(counted, starts, laplace.Options(), near=laplace.NEAR)
            known = [mode.mode.unsqueeze(0) for mode in modes]
            if len(modes) > 1:
                around = laplace.around(modes)
                first = around if begun is None else around.beside(begun, 0.5)
                share = _APART
        state = _proposing(state, late, first, share, generator)
        return warm_up(counted, state, again, generator)

    def refine(state: State, x: Tensor) -> State:
        if state.proposal is None:
            return state
        late = x[:, x.shape[1] // 2 :].flatten(0, 1)
        return _proposing(state, late[:: -(-len(late) // _ENOUGH)], first, share, generator)

    again = dataclasses.replace(options, warmup=min(options.warmup, _AGAIN))
    return collect(
        lambda state: step(counted, state, options, generator),
        state,
        counted,
        options,
        relearn if options.warmup else None,
        refine if options.warmup else None,
    )
