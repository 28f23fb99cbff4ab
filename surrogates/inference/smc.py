"""Sequential Monte Carlo: weighted particles carried from one density to the next.

Del Moral, Doucet & Jasra (2006), "Sequential Monte Carlo Samplers": particles of one density are
weighted by what the next one is there, resampled, and moved by a kernel that keeps the next one.
Neal (2001), "Annealed Importance Sampling": between the two lie the geometric means
log p_b = (1 - b) log p_0 + b log p_1. Zhou, Johansen & Aston (2016), "Toward Automatic Model
Comparison: An Adaptive Sequential Monte Carlo Approach": the next b is where the conditional
effective sample size has fallen to a share of the particles. Chopin (2002), "A
Sequential Particle Filter Method for Static Models": with one more row of data the next density is
near, so that mostly b goes from 0 to 1 at once, and most often no particle need move.

The moves are trajectories of Hamiltonian Monte Carlo whitened by the particles' own covariance, as
in Buchholz, Chopin & Jacob (2021), "Adaptive Tuning of Hamiltonian Monte Carlo Within Sequential
Monte Carlo". They go on until no coordinate remembers where it was.

Departs from them: a step towards the next density also stays short enough for the weights' k-hat;
weights are of the ratio of the whole densities, so that p_1 may differ in more than a row; and the
moves must keep the particles' moments within their error, else they go on, and say so at the limit.
The error of the normaliser is that of particles which are independent but for the siblings of the
last resampling (a lag of one in Olsson & Douc 2019, "Numerically Stable Online Estimation of
Variance in Particle Filters"). Adapting to the particles themselves biases it a little, by 1 / N.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from surrogates.errors import DataError
from surrogates.inference import diagnostics, hmc
from surrogates.inference.contract import (
    Counted,
    Density,
    Draws,
    check_run,
    check_start,
    check_told,
)
from surrogates.inference.resampling import systematic
from surrogates.options import option, options

_FEWEST = 64  # particles with which it can be told whether they are enough
_LEAST_ESS = 0.1  # of the particles, for their weights to be trusted
_SMALLEST, _LARGEST = 1e-3, 2.0  # step size
_HALVINGS = 100


@options
class Options:
    """How far a stage goes and how long the particles move."""

    cess: float = option(
        default=0.5,
        help="conditional effective size that a stage keeps, a share",
        low=0.01,
        high=0.99,
    )
    khat: float = option(default=0.7, help="greatest of a stage's weights", low=0.1, high=10.0)
    resample: float = option(
        default=0.5,
        help="share of the particles below whose effective size they move",
        low=0.0,
        high=1.0,
    )
    moves: int = option(default=3, help="trajectories before a look", low=1, high=1000)
    most_moves: int = option(default=9, help="of a stage", low=1, high=100_000)
    trajectory: float = option(
        default=2.0, help="mean length, in standard deviations", low=1e-3, high=1e3
    )
    target_accept: float = option(
        default=0.75, help="mean probability of acceptance", low=0.1, high=0.99
    )
    correlation: float = option(
        default=0.1, help="with the start of a stage, for moves to end; its error apart", low=0.0
    )
    drift: float = option(
        default=5.0, help="of the moments in the moves, at most so many standard errors", low=0.0
    )
    most_stages: int = option(
        default=200, help="between two densities; the last one jumps", low=1, high=100_000
    )


@dataclasses.dataclass(frozen=True)
class State:
    """Where the particles are and how they move; enough to go on.

    Attributes:
        x: (particles, dim) positions.
        value: (particles,) log densities there.
        log_weights: (particles,) whose exponentials sum to 1.
        parents: (particles,) at the last resampling; those of one parent are siblings.
        factor: (dim, dim) lower triangular, times its transpose the inverse metric.
        step_size: of the leapfrog, in units of `factor`.
        count: trajectories so far, which the jitter goes by.
        log_normaliser: logarithm of the density's integral over that of the first density.
        log_normaliser_var: variance of its error until the last resampling.
    """

    x: Tensor
    value: Tensor
    log_weights: Tensor
    parents: Tensor
    factor: Tensor
    step_size: float
    count: int = 0
    log_normaliser: float = 0.0
    log_normaliser_var: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Without values, which belong to a density; a weight of 0 has the logarithm None."""
        return {
            "x": self.x.tolist(),
            "log_weights": [w if math.isfinite(w) else None for w in self.log_weights.tolist()],
            "parents": self.parents.tolist(),
            "factor": self.factor.tolist(),
            "step_size": self.step_size,
            "count": self.count,
            "log_normaliser": self.log_normaliser,
            "log_normaliser_var": self.log_normaliser_var,
        }

    @staticmethod
    def from_json(told: Mapping[str, Any], density: Density, like: Tensor) -> "State":
        """Raises `DataError` where the density is 0 at all positions."""
        check_told(told, "x", "log_weights", "parents", "factor", "step_size")
        where: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        x = torch.tensor(told["x"], **where)
        value, _ = check_start(x, density)
        log_weights = [-math.inf if w is None else w for w in told["log_weights"]]
        return State(
            x,
            value,
            torch.tensor(log_weights, **where),
            torch.tensor(told["parents"], dtype=torch.int64, device=like.device),
            torch.tensor(told["factor"], **where),
            told["step_size"],
            told["count"],
            told["log_normaliser"],
            told["log_normaliser_var"],
        )


@dataclasses.dataclass(frozen=True)
class Between:
    """The density between two: the geometric mean of which `share` is the second's."""

    before: Density
    after: Density
    share: float

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Density`."""
        if self.share == 1.0:
            return self.after.value_and_grad(x)
        value, gradient = self.before.value_and_grad(x)
        other, slope = self.after.value_and_grad(x)
        return torch.lerp(value, other, self.share), torch.lerp(gradient, slope, self.share)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Particles on their way from one density to another.

    Attributes:
        state: of the density between them.
        share: of the second in it.
        before: (particles,) log densities of the first, and (particles, dim) gradients, or None.
        after: the same of the second.
    """

    state: State
    share: float
    before: tuple[Tensor, Tensor | None]
    after: tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Moved:
    """How a stage went.

    Attributes:
        ess: effective size of the weights.
        khat: of the weights, infinite where it tells nothing.
        places: (particles,) whose place each has taken; None where none was resampled or moved.
        moves: trajectories.
        accept: mean probability of acceptance.
        correlation: the greatest of a coordinate or of the log density with those at the start.
        drift: of the moments at the last look, in standard errors.
    """

    ess: float
    khat: float
    places: Tensor | None = None
    moves: int = 0
    accept: float = 0.0
    correlation: float = 0.0
    drift: float = 0.0


def init(density: Density, draws: Tensor) -> State:
    """Particles that are draws of a density, such as a prior.

    Args:
        density: that of the draws. Where its integral is 1, `log_normaliser` is the evidence.
        draws: (particles, dim), independent and of equal weight.

    Raises:
        DataError: draws that are not finite, or a density of 0 at all of them.
    """
    value, _ = check_start(draws, density)
    n, dim = draws.shape
    weights = torch.full((n,), -math.log(n), dtype=draws.dtype, device=draws.device)
    parents = torch.arange(n, dtype=torch.int64, device=draws.device)
    unit = torch.eye(dim, dtype=draws.dtype, device=draws.device)
    factor = _factor(draws, weights.exp(), unit)
    return State(draws, value, weights, parents, factor, 0.5 * dim**-0.25)


def step(
    before: Density,
    after: Density,
    stage: Stage,
    options: Options,
    generator: Generator,
    *,
    last: bool = False,
) -> tuple[Stage, Moved]:
    """One stage: weigh, and where the weights have become unequal resample and move.

    Args:
        before: the density where the stages began.
        after: where they end.
        stage: where they are.
        options: see `Options`.
        generator: of resampling and moves.
        last: whether to go all the way, however unequal the weights become.

    Raises:
        DataError: the second density is 0 at all particles.
    """
    state = stage.state
    old, ratio = _cpu(state.log_weights), _cpu(stage.after[0]) - _cpu(stage.before[0])
    ratio = torch.where(torch.isfinite(ratio), ratio, -torch.inf)  # no density, no weight
    if not bool(torch.isfinite(old + ratio).any()):
        raise DataError(
            f"expected a density above 0 at one of {len(ratio)} particles, got none; start with "
            "more particles, or with others"
        )
    left = 1.0 - stage.share
    taken = left if last else _length(old, ratio, left, options)
    log_weights = old + taken * ratio
    share = 1.0 if taken == left else stage.share + taken
    risen = float(torch.logsumexp(log_weights, 0))
    log_weights = log_weights - risen
    weights = log_weights.exp()
    ess, khat = float(1.0 / weights.square().sum()), diagnostics.khat(log_weights)
    state = dataclasses.replace(
        state,
        value=stage.after[0]
        if share == 1.0
        else torch.lerp(stage.before[0], stage.after[0], share),
        log_weights=log_weights.to(state.x),
        log_normaliser=state.log_normaliser + risen,
    )
    if share == 1.0 and stage.share == 0.0 and ess >= options.resample * len(weights):
        return Stage(state, share, stage.before, stage.after), Moved(ess, khat)
    places = systematic(weights, len(weights), generator).to(state.x.device)
    gradient = stage.after[1]
    if share < 1.0:
        slope = stage.before[1]
        slope = before.value_and_grad(state.x)[1] if slope is None else slope
        gradient = torch.lerp(slope, gradient, share)
    chains = hmc.State(
        state.x[places],
        state.value[places],
        gradient[places],
        _factor(state.x, state.log_weights.exp(), state.factor),
        state.step_size,
        state.count,
    )
    density = Between(before, after, share)
    chains, moved = _move(density, chains, places, Moved(ess, khat, places), options, generator)
    state = State(
        chains.x,
        chains.value,
        torch.full_like(state.log_weights, -math.log(len(weights))),
        places,
        chains.factor,
        chains.step_size,
        chains.count,
        state.log_normaliser,
        state.log_normaliser_var + _variance(weights, state.parents),
    )
    if share == 1.0:
        return Stage(state, share, stage.before, (chains.value, chains.gradient)), moved
    both = before.value_and_grad(state.x), after.value_and_grad(state.x)
    return Stage(state, share, *both), moved


def run(
    before: Density,
    after: Density,
    state: State,
    *,
    options: Options,
    generator: Generator,
) -> tuple[Draws, State]:
    """Carry the particles of one density to another, in as many stages as that takes.

    From a prior to the posterior of all rows, or from a posterior to that with one more row.

    Args:
        before: the density that the state is of.
        after: that to be drawn from.
        state: of `init`, or of an earlier run.
        options: see `Options`.
        generator: of every random number.

    Returns:
        The particles, as one chain, and their state. Diagnostics: `ess` of the weights and their
        `khat`, the worst of all stages; `ancestors` (particles of the state that have descendants),
        `stages`, `moved` (how many of these), `moves` (trajectories), `accept` (mean; 0 without
        moves), `correlation` and `drift` (see `Moved`; the worst), `step_size`, `gradients` (calls
        of `after` for all particles), `log_normaliser` (over that of the first density of all),
        `log_normaliser_sd` (its error), `log_ratio` (over that of `before`), `converged`.

    Raises:
        DataError: the density is 0 at all particles.
    """
    check_run(options, Options, generator, state, State)
    counted = Counted(after)
    stage = Stage(state, 0.0, (state.value, None), counted.value_and_grad(state.x))
    lineage = torch.arange(len(state.x), dtype=torch.int64, device=state.x.device)
    past: list[Moved] = []
    while stage.share < 1.0:
        last = len(past) + 1 >= options.most_stages
        stage, moved = step(before, counted, stage, options, generator, last=last)
        lineage = lineage if moved.places is None else lineage[moved.places]
        past.append(moved)
    told = _judge(past, len(lineage), options)
    now = stage.state
    variance = now.log_normaliser_var + _variance(_cpu(now.log_weights).exp(), now.parents)
    told |= {
        "ancestors": float(len(lineage.unique())),
        "step_size": now.step_size,
        "gradients": float(counted.calls),
        "log_normaliser": now.log_normaliser,
        "log_normaliser_sd": math.sqrt(variance),
        "log_ratio": now.log_normaliser - state.log_normaliser,
    }
    equal = bool((now.log_weights == now.log_weights[0]).all())
    weights = None if equal else now.log_weights.unsqueeze(0)
    return Draws(now.x.unsqueeze(0), now.value.unsqueeze(0), weights, told), now


def _judge(past: list[Moved], particles: int, options: Options) -> dict[str, float]:
    """The worst of all stages, and whether that is good enough."""
    moves = sum(moved.moves for moved in past)
    drift = max(moved.drift for moved in past)
    least = min(moved.ess for moved in past)
    khats = [moved.khat for moved in past if math.isfinite(moved.khat)]
    accept = sum(moved.accept * moved.moves for moved in past) / max(moves, 1)
    good = drift <= options.drift and least >= _LEAST_ESS * particles
    good = good and particles >= _FEWEST  # of fewer, no weights can be judged
    good = good and (moves == 0 or accept >= 0.5 * options.target_accept)
    return {
        "ess": least,
        "khat": max(khats, default=0.0),
        "stages": float(len(past)),
        "moved": float(sum(moved.places is not None for moved in past)),
        "moves": float(moves),
        "accept": accept,
        "correlation": max(moved.correlation for moved in past),
        "drift": drift,
        "converged": float(good),
    }


def _length(log_weights: Tensor, ratio: Tensor, left: float, options: Options) -> float:
    """How far the next stage goes: the weights of particles that live stay equal enough."""
    weights = log_weights.exp()
    least = options.cess * float(weights[torch.isfinite(ratio)].sum())

    def keeps(length: float) -> bool:
        factor = torch.exp(length * (ratio - ratio.max()))
        mean, square = float(weights @ factor), float(weights @ factor.square())
        return mean * mean >= least * square

    taken = left
    if not keeps(left):
        low, high = 0.0, left
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if keeps(middle) else (low, middle)
            if high - low < 1e-3 * low:
                break
        taken = low or high
    khat = diagnostics.khat(taken * ratio)
    # The power of a number with a Pareto tail has that tail's shape times the power.
    return taken * options.khat / khat if options.khat < khat < math.inf else taken


def _move(
    density: Density,
    chains: hmc.State,
    parents: Tensor,
    moved: Moved,
    options: Options,
    generator: Generator,
) -> tuple[hmc.State, Moved]:
    """Trajectories until the particles have forgotten where they began and the moments hold."""
    how = hmc.Options(trajectory=options.trajectory, target_accept=options.target_accept)
    centre, group = chains.x.mean(dim=0), parents.cpu()
    first = last = _quantities(chains, centre)
    moves, accepted = 0, 0.0
    while True:
        for _ in range(min(options.moves, options.most_moves - moves)):
            chains, went = hmc.step(density, chains, how, generator)
            accept = float(went.accept.mean())
            size = chains.step_size * math.exp(accept - options.target_accept)
            chains = dataclasses.replace(chains, step_size=min(max(size, _SMALLEST), _LARGEST))
            accepted += accept
            moves += 1
        now = _quantities(chains, centre)
        dim = chains.x.shape[1] + 1
        correlation = _correlation(first[:, :dim], now[:, :dim])
        drift = _drift(now - last, group)
        enough = correlation <= options.correlation + 2.0 / math.sqrt(len(now))
        enough = enough and drift <= options.drift
        if enough or moves >= options.most_moves:
            break
        if drift > options.drift:
            last = now
    return chains, dataclasses.replace(
        moved, moves=moves, accept=accepted / moves, correlation=correlation, drift=drift
    )


def _quantities(chains: hmc.State, centre: Tensor) -> Tensor:
    """(particles, 2 dim + 1) that shall hold: whitened positions, log density, and squares."""
    z = torch.linalg.solve_triangular(chains.factor, (chains.x - centre).T, upper=False).T
    return _cpu(torch.cat([z, chains.value.unsqueeze(1), z.square()], dim=1))


def _correlation(first: Tensor, now: Tensor) -> float:
    """The greatest over columns; 1 where a column does not vary."""
    first, now = first - first.mean(dim=0), now - now.mean(dim=0)
    size = (first.square().sum(dim=0) * now.square().sum(dim=0)).sqrt()
    told = (first * now).sum(dim=0) / size
    return float(torch.nan_to_num(told, nan=1.0).max())


def _drift(change: Tensor, group: Tensor) -> float:
    """The greatest mean change of a column in standard errors, those of a group being as one."""
    mean = change.mean(dim=0)
    sums = torch.zeros_like(change).index_add_(0, group, change - mean)
    error = sums.square().sum(dim=0).sqrt() / len(change)
    return float(torch.nan_to_num(mean.abs() / error, nan=0.0).max())


def _variance(weights: Tensor, parents: Tensor) -> float:
    """Relative variance of the mean weight; siblings are not independent."""
    off = torch.zeros_like(weights).index_add_(0, parents.cpu(), weights - 1.0 / len(weights))
    return float(off.square().sum())


def _factor(x: Tensor, weights: Tensor, before: Tensor) -> Tensor:
    """Lower Cholesky factor of the covariance of weighted points, shrunk to the one before."""
    dim = x.shape[1]
    size = 1.0 / weights.square().sum()
    offset = x - weights @ x
    covariance = size * (offset.T * weights) @ offset + dim * (before @ before.T)
    factor, failed = torch.linalg.cholesky_ex(covariance / (size + dim))
    return before if bool(failed) or not bool(torch.isfinite(factor).all()) else factor


def _cpu(told: Tensor) -> Tensor:
    """What decides is computed there, since sums on a GPU may differ from run to run."""
    return told.to(device="cpu", dtype=torch.float64)
