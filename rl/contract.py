"""What bandit problems, environments, policies and agents are."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor

StateDict = dict[str, Any]
"""Tensors, numbers, texts, None, lists and dicts of these: what `torch.load` reads as weights."""


@dataclasses.dataclass(frozen=True)
class Arms:
    """What a bandit policy may know of a problem before it plays.

    Attributes:
        count: number of arms K.
        d: length of a context vector (at least 1; 1 and constant where there is no context).
        shared: True where one parameter vector serves all arms and each arm has features of its
            own; False where every arm has a parameter vector and all see the same context.
        binary: rewards are 0 or 1.
    """

    count: int
    d: int
    shared: bool = False
    binary: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What b environments of a bandit problem gave back.

    Attributes:
        rewards: (b,) observed rewards, noise included.
        expected: (b,) expected reward of the arm that was played, or None where unknown.
        best: (b,) expected reward of the best arm, or None where unknown.
    """

    rewards: Float[Tensor, " b"]
    expected: Float[Tensor, " b"] | None = None
    best: Float[Tensor, " b"] | None = None


@runtime_checkable
class BanditProblem(Protocol):
    """Contexts and rewards. Its factory is called `factory(name, options, seed, device)`.

    All randomness comes from the generators passed in; the instance itself (arm parameters, data)
    is drawn once from `seed`.
    """

    name: str
    arms: Arms

    def contexts(self, b: int, *, generator: Generator) -> Float[Tensor, "b K d"]:
        """Draw one context for each of b environments; rows repeat where arms share the context."""
        ...

    def pull(
        self, contexts: Float[Tensor, "b K d"], arms: Int64[Tensor, " b"], *, generator: Generator
    ) -> Outcome:
        """Play one arm in each environment, in the contexts that were just drawn."""
        ...

    def state_dict(self) -> StateDict:
        """What changes as it is played (such as a position in a data set)."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from `state_dict()`."""
        ...


@dataclasses.dataclass(frozen=True)
class BanditBatch:
    """Rounds to learn from: contexts (b, K, d), arms (b,) and rewards (b,)."""

    contexts: Float[Tensor, "b K d"]
    arms: Int64[Tensor, " b"]
    rewards: Float[Tensor, " b"]


@runtime_checkable
class BanditPolicy(Protocol):
    """Chooses arms. Its factory is called `factory(arms, options, device, dtype)`."""

    def act(self, contexts: Float[Tensor, "b K d"], *, generator: Generator) -> Int64[Tensor, " b"]:
        """One arm for each of b environments; never changes the policy."""
        ...

    def update(self, batch: BanditBatch) -> Mapping[str, float]:
        """Learn from b rounds; returns metrics (may be empty)."""
        ...

    def summary(self) -> Mapping[str, Any]:
        """What it holds by now, for display: scalars and lists with one number per arm."""
        ...

    def state_dict(self) -> StateDict:
        """Everything that learning changed."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from `state_dict()`, bit for bit."""
        ...


@dataclasses.dataclass(frozen=True)
class Steps:
    """One step of n vectorised environments.

    Attributes:
        observations: (n, d) after the step; where an episode ended, the first of the next one.
        rewards: (n,).
        terminated: (n,) a true end: nothing follows.
        truncated: (n,) the time limit: the value of `final_observations` still counts.
        final_observations: (n, d) as `observations`, but the last of the episode where it ended.
    """

    observations: Float[Tensor, "n d"]
    rewards: Float[Tensor, " n"]
    terminated: Bool[Tensor, " n"]
    truncated: Bool[Tensor, " n"]
    final_observations: Float[Tensor, "n d"]


@runtime_checkable
class Environments(Protocol):
    """n copies of an environment, stepped together.

    Its factory is called `factory(name, options, n, seed, device)`.
    """

    n: int
    d: int
    actions: int

    def reset(self) -> Float[Tensor, "n d"]:
        """Begin n episodes."""
        ...

    def step(self, actions: Int64[Tensor, " n"]) -> Steps:
        """Act once in each; ended episodes begin anew at once."""
        ...

    def state_dict(self) -> StateDict:
        """State and random state of all copies, in mid-episode too."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """Continue bit for bit."""
        ...


@runtime_checkable
class AgentOptions(Protocol):
    """What the `Options` of every agent hold for the training loop, besides their own."""

    @property
    def environments(self) -> int:
        """Copies of the environment that are stepped together."""
        ...

    @property
    def evaluate_every(self) -> int:
        """Environment steps between two greedy evaluations."""
        ...


@runtime_checkable
class Agent(Protocol):
    """A reinforcement learner. Its factory is called

    `factory(d=, actions=, options=, device=, generator=)`; `generator` draws the initial weights.
    """

    def act(
        self, observations: Float[Tensor, "n d"], *, generator: Generator
    ) -> Int64[Tensor, " n"]:
        """Explore: one action for each environment; never changes the weights."""
        ...

    def greedy(self, observations: Float[Tensor, "n d"]) -> Int64[Tensor, " n"]:
        """The actions that it holds best."""
        ...

    def update(self, batch: "Transition", *, generator: Generator) -> Mapping[str, float]:
        """Take in one vectorised step and learn; returns metrics (may be empty)."""
        ...

    def weights(self) -> StateDict:
        """What `greedy` needs: small; kept for the best policy so far."""
        ...

    def load_weights(self, weights: StateDict) -> None:
        """Take over weights; `greedy` then acts by them."""
        ...

    def state_dict(self) -> StateDict:
        """Everything: weights, optimiser, replay, counters."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """Continue bit for bit."""
        ...


@dataclasses.dataclass(frozen=True)
class Transition:
    """n transitions (s, a, r, s'); `terminated` cuts the bootstrap, a time limit does not."""

    observations: Float[Tensor, "n d"]
    actions: Int64[Tensor, " n"]
    rewards: Float[Tensor, " n"]
    next_observations: Float[Tensor, "n d"]
    terminated: Bool[Tensor, " n"]


@dataclasses.dataclass(frozen=True)
class Record:
    """What a loop yields after each block of steps.

    Attributes:
        step: rounds or environment steps done so far.
        metrics: scalars and short lists, JSON-able, cumulative where the name says so.
        digest: hex SHA-256 over all that was decided and observed up to here, chained.
        state: call it to get everything needed to go on from here, or don't, at no cost. It reads
            the living objects: call it before the loop is advanced. What it returns is a copy.
    """

    step: int
    metrics: Mapping[str, Any]
    digest: str
    state: Callable[[], StateDict]
