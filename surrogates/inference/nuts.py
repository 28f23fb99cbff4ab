"""The No-U-Turn sampler: trajectories that go on until they turn back, for many chains at once.

Hoffman & Gelman (2014), "The No-U-Turn Sampler: Adaptively Setting Path Lengths in Hamiltonian
Monte Carlo": the trajectory is doubled, forward or backward by chance, until its ends, or those of
a subtree, approach each other; a subtree that turns or diverges is left out. Betancourt (2017), "A
Conceptual Introduction to Hamiltonian Monte Carlo", appendix A: points are drawn by their
weights, with a preference for the later half.

Departs from them: no recursion. All chains double at the same time, so that every leapfrog step is
one call for those still on their way, and a node is compared with the starts of the subtrees that
end there (as Phan, Pradhan & Jankowiak 2019, "Composable Effects for Flexible and Accelerated
Probabilistic Programming in NumPyro"). Turning is told by the distance of the ends, as in the first
paper, in whitened coordinates. Metric and step size are those of `hmc`, with the harmonic mean of
the chains' acceptance, so that one in a narrow place is not left behind.
"""

import dataclasses
import math

import torch
from torch import Generator, Tensor

from surrogates.inference.chains import DIVERGED, Adaptation, Moved, State, collect, init
from surrogates.inference.contract import Counted, Density, Draws, check_run, normals, uniforms
from surrogates.options import option, options

__all__ = ["Options", "State", "init", "run", "step", "warm_up"]

_BLOCK = 32  # nodes that are kept before one of them is drawn


@options
class Options:
    """How long the chains are and when they are long enough."""

    warmup: int = option(default=50, help="trajectories of the warm-up", low=0, high=100_000)
    draws: int = option(
        default=64, help="per chain, before the first look at the diagnostics", low=4, high=10**6
    )
    most_draws: int = option(
        default=1024, help="per chain; stops there, converged or not", low=4, high=10**7
    )
    max_depth: int = option(
        default=7,
        help="doublings of a trajectory; the longest has 2^max_depth - 1 steps",
        low=1,
        high=15,
    )
    target_accept: float = option(
        default=0.8, help="harmonic mean probability of acceptance on the way", low=0.1, high=0.99
    )
    rhat: float = option(default=1.02, help="goes on until the greatest is below", low=1.0)
    ess: float = option(default=200.0, help="and the smallest effective size above", low=0.0)
    sd_error: float = option(
        default=0.1, help="and the relative error of every standard deviation below", low=0.0
    )


def step(
    density: Density, state: State, options: Options, generator: Generator
) -> tuple[State, Moved]:
    """One trajectory of every chain.

    Args:
        density: that of the state.
        state: where the chains are.
        options: see `Options`.
        generator: of the momenta, the directions and the draws among the nodes.
    """
    x, gradient = state.x, state.gradient
    chains, dim = x.shape
    momentum = normals((chains, dim), generator, x)
    coins = uniforms((options.max_depth, 2, chains), generator, x)
    weight = total = state.value - 0.5 * momentum.square().sum(dim=1)
    alive = torch.ones_like(total, dtype=torch.bool)
    diverged = torch.zeros_like(alive)
    accept, nodes, steps = torch.zeros_like(total), torch.zeros_like(total), 0
    grower = _Grower(density, state, weight, generator)
    # Both ends of the trajectory: displacement (whitened), momentum away from it, gradient.
    front = torch.cat([torch.zeros_like(x), momentum, gradient], dim=1)
    back = torch.cat([torch.zeros_like(x), -momentum, gradient], dim=1)
    drawn = _Node(x, state.value, gradient, weight)
    for depth in range(options.max_depth):
        swap = coins[depth, 0, :, None] < 0.5
        front, back = torch.where(swap, back, front), torch.where(swap, front, back)
        tree = grower.grow(front, alive, 2**depth)
        steps += tree.steps
        accept, nodes, diverged = accept + tree.accept, nodes + tree.nodes, diverged | tree.diverged
        later = tree.complete & (coins[depth, 1].log() < tree.total - total)
        drawn = drawn.replaced(later, tree.drawn)
        total = torch.logaddexp(total, tree.total)
        front = tree.end
        span = front[:, :dim] - back[:, :dim]
        outward = (span * front[:, dim : 2 * dim]).sum(dim=1)
        inward = (span * back[:, dim : 2 * dim]).sum(dim=1)
        alive = tree.complete & (outward > 0.0) & (inward < 0.0)
        if not bool(alive.any()):
            break
    moved = dataclasses.replace(
        state, x=drawn.x, value=drawn.value, gradient=drawn.gradient, count=state.count + 1
    )
    return moved, Moved(accept / nodes, -drawn.weight, diverged, steps)


def warm_up(density: Density, state: State, options: Options, generator: Generator) -> State:
    """Trajectories that find step size and metric; their positions are no draws."""
    if not options.warmup:
        return state
    adaptation = Adaptation(state, options.warmup, options.target_accept)
    for _ in range(options.warmup):
        state, moved = step(density, state, options, generator)
        state = adaptation.update(state, moved.accept)
    return adaptation.best(state)


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
        The draws and where the chains ended. Diagnostics: those of `hmc.run`; `accept` is the mean
        over all nodes, and chains that have ended their trajectory take no part in the calls that
        `gradients` counts.
    """
    check_run(options, Options, generator, state, State)
    counted = Counted(density)
    # Some gradients are of calls for a part of the chains, which may round differently.
    value, gradient = counted.value_and_grad(state.x)
    state = dataclasses.replace(state, value=value, gradient=gradient)
    state = warm_up(counted, state, options, generator)
    return collect(lambda state: step(counted, state, options, generator), state, counted, options)


@dataclasses.dataclass(frozen=True)
class _Node:
    """A point of every chain's trajectory; `weight` is minus its energy."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    weight: Tensor

    def replaced(self, where: Tensor, other: "_Node") -> "_Node":
        return _Node(
            torch.where(where[:, None], other.x, self.x),
            torch.where(where, other.value, self.value),
            torch.where(where[:, None], other.gradient, self.gradient),
            torch.where(where, other.weight, self.weight),
        )


@dataclasses.dataclass(frozen=True)
class _Tree:
    """What was added to every chain's trajectory.

    Attributes:
        end: (chains, 3 dim) displacement, momentum and gradient of the last node.
        drawn: one of the nodes, by their weights.
        total: (chains,) logarithm of the sum of the weights.
        complete: (chains,) neither turned nor diverged; the rest counts only where this holds.
        diverged: (chains,).
        accept: (chains,) sum of the acceptance probabilities of the nodes.
        nodes: (chains,) how many there are.
        steps: of the leapfrog, for all.
    """

    end: Tensor
    drawn: _Node
    total: Tensor
    complete: Tensor
    diverged: Tensor
    accept: Tensor
    nodes: Tensor
    steps: int


class _Grower:
    """Adds subtrees to the trajectories that begin at a state.

    Args:
        density: that of the state.
        state: where the chains are.
        weight: (chains,) minus the energies there.
        generator: of the draws among the nodes.
    """

    def __init__(
        self, density: Density, state: State, weight: Tensor, generator: Generator
    ) -> None:
        self.density, self.state, self.weight = density, state, weight
        self.generator = generator
        self.factor = state.factor.contiguous()  # the layout decides how products round
        self.across = state.factor.T.contiguous()
        self.floor = weight - DIVERGED

    def grow(self, end: Tensor, alive: Tensor, count: int) -> _Tree:
        """Go on from (chains, 3 dim) ends by `count` nodes, a power of 2, where `alive`."""
        state, size = self.state, self.state.step_size
        z, momentum, gradient = end.chunk(3, dim=1)
        value = state.value
        rows = _rows(alive)
        lived = count * alive.to(torch.int64)
        diverged = torch.zeros_like(alive)
        chosen = _Chosen(uniforms((count, len(alive)), self.generator, z))
        starts: list[tuple[Tensor, Tensor]] = []  # of the subtrees that have not ended
        weight = self.weight
        at = 0
        for at in range(count):
            momentum = torch.addmm(momentum, gradient, self.factor, alpha=0.5 * size)
            z = torch.add(z, momentum, alpha=size)
            x = torch.addmm(state.x, z, self.across)
            if rows is None:
                value, gradient = self.density.value_and_grad(x)
            else:
                told, slope = self.density.value_and_grad(x[rows])
                value, gradient = (
                    value.index_copy(0, rows, told),
                    gradient.index_copy(0, rows, slope),
                )
            momentum = torch.addmm(momentum, gradient, self.factor, alpha=0.5 * size)
            before, weight = weight, value - 0.5 * momentum.square().sum(dim=1)
            chosen.add(_Node(x, value, gradient, weight))
            if at % 2 == 0:
                starts.append((z, momentum))
                if count > 1:
                    continue  # looked at with the next
                before = weight
            kept = torch.minimum(before, weight) - self.floor
            going = kept
            ended = ((at + 1) & -(at + 1)).bit_length() - 1  # subtrees of 2, 4, ... nodes
            for first, push in starts[len(starts) - ended :]:
                span = z - first
                going = torch.minimum(going, (span * push).sum(dim=1))
                going = torch.minimum(going, (span * momentum).sum(dim=1))
            del starts[len(starts) - max(ended - 1, 0) :]
            still = alive & (going > 0.0)  # a chain that has met NaN is not
            if torch.equal(still, alive):
                continue
            lost = alive & ~still
            lived = torch.where(lost, at + 1, lived)
            diverged |= lost & ~(kept > 0.0)
            alive, rows = still, _rows(still)
            if rows is not None and not len(rows):
                break
        drawn, weights = chosen.drawn()
        place = torch.arange(len(weights), dtype=torch.int64, device=z.device)
        accept = torch.exp(weights - self.weight).clamp_max(1.0)
        return _Tree(
            end=torch.cat([z, momentum, gradient], dim=1),
            drawn=drawn,
            total=torch.logsumexp(weights, dim=0),
            complete=alive,
            diverged=diverged,
            accept=torch.where(place[:, None] < lived, accept, 0.0).sum(dim=0),
            nodes=lived,
            steps=at + 1,
        )


class _Chosen:
    """One of many nodes, by their weights: the greatest weight plus Gumbel noise.

    Args:
        uniform: (nodes, chains).
    """

    def __init__(self, uniform: Tensor) -> None:
        self.noise = -(-uniform.log()).log()
        self.block: list[_Node] = []
        self.weights: list[Tensor] = []
        self.best: _Node | None = None
        self.score: Tensor

    def add(self, node: _Node) -> None:
        self.block.append(node)
        if len(self.block) == _BLOCK:
            self._draw()

    def drawn(self) -> tuple[_Node, Tensor]:
        """The node, and all weights (nodes, chains): those that are not finite are 0."""
        if self.block:
            self._draw()
        assert self.best is not None
        return self.best, torch.cat(self.weights)

    def _draw(self) -> None:
        weights = torch.stack([node.weight for node in self.block])
        weights = torch.where(weights < math.inf, weights, -math.inf)
        done = sum(map(len, self.weights))
        score, place = (weights + self.noise[done : done + len(weights)]).max(dim=0)
        column = torch.arange(len(place), dtype=torch.int64, device=place.device)
        node = _Node(
            torch.stack([node.x for node in self.block])[place, column],
            torch.stack([node.value for node in self.block])[place, column],
            torch.stack([node.gradient for node in self.block])[place, column],
            weights[place, column],
        )
        if self.best is None:
            self.best, self.score = node, score
        else:
            self.best = self.best.replaced(score > self.score, node)
            self.score = torch.maximum(score, self.score)
        self.weights.append(weights)
        self.block = []


def _rows(alive: Tensor) -> Tensor | None:
    """Which chains are alive; None: all."""
    rows = alive.nonzero().flatten()
    return None if len(rows) == len(alive) else rows
