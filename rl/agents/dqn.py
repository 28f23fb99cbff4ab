"""Double DQN: Q-learning with a neural network, a replay memory and a slow copy of the network.

Mnih et al. 2015, "Human-level control through deep reinforcement learning"; van Hasselt, Guez and
Silver 2016, "Deep reinforcement learning with double Q-learning".

    y = r + gamma (1 - terminated) Q_slow(s', argmax_a Q(s', a))        the target, B of them
    loss = mean Huber(Q(s, a) - y)                                      one Adam step
    Q_slow <- Q_slow + rate (Q - Q_slow)                                every `slow_every` steps

Q is a ReLU network d -> width -> width -> actions. Exploration is epsilon-greedy with an epsilon
that falls linearly. A time limit is no true end: its y keeps the value of s'.

Shapes: observations (n, d) of n environments, minibatches (B, d), values (B, actions).

Departs from the papers: the slow copy moves a little after each step (Polyak averaging; rate = 1
and a large `slow_every` give the periodic copy); Adam with a learning rate that falls linearly
instead of RMSProp, its epsilon large (with the usual 1e-8, policies that had been learnt were lost
again more often); n environments feed one memory; and `greedy` acts by the network itself, while
the training loop keeps the weights that did best, since the last ones may be on a bad swing.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor
from torch.nn import functional as F

from rl.contract import StateDict, Transition
from surrogates.errors import DataError
from surrogates.options import option, options

_BETA1, _BETA2 = 0.9, 0.999  # Adam's usual constants


@options
class Options:
    """Options of DQN."""

    environments: int = option(default=8, help="copies stepped together", low=1, high=1024)
    evaluate_every: int = option(
        default=1000, help="environment steps between greedy evaluations", low=1
    )
    width: int = option(
        default=128, help="units of each of the two hidden layers", low=4, high=2048
    )
    learning_rate: float = option(
        default=1e-3, help="Adam's step size at the start", low=1e-7, high=1.0
    )
    learning_rate_end: float = option(
        default=1e-4, help="Adam's step size at the end", low=0.0, high=1.0
    )
    learning_rate_steps: int = option(default=50_000, help="environment steps until then", low=1)
    adam_epsilon: float = option(
        default=1e-4, help="Adam's constant under the fraction", low=1e-12, high=1.0
    )
    discount: float = option(default=0.99, help="gamma", low=0.0, high=1.0)
    batch: int = option(default=128, help="transitions in a gradient step", low=1, high=4096)
    replay: int = option(default=50_000, help="transitions remembered", low=1, high=5_000_000)
    start: int = option(
        default=1000, help="environment steps before the first gradient step", low=1
    )
    updates_per_step: float = option(
        default=0.25, help="gradient steps per step taken", low=0.0, high=64.0
    )
    slow_rate: float = option(
        default=0.02, help="how far the slow copy moves; 1: copied", low=0.0, high=1.0
    )
    slow_every: int = option(default=1, help="gradient steps between moves of the slow copy", low=1)
    explore_start: float = option(default=1.0, help="epsilon at the start", low=0.0, high=1.0)
    explore_end: float = option(default=0.05, help="epsilon at the end", low=0.0, high=1.0)
    explore_steps: int = option(default=5000, help="environment steps until then", low=1)


class DQN:
    """Double DQN."""

    def __init__(
        self, *, d: int, actions: int, options: Options, device: torch.device, generator: Generator
    ) -> None:
        """Draw the initial weights.

        Args:
            d: length of an observation.
            actions: number of actions.
            options: see `Options`.
            device: where the network and the memory live.
            generator: draws the weights: U(-1/sqrt(inputs), 1/sqrt(inputs)).
        """
        self._options, self._d, self._actions, self._device = options, d, actions, device
        width = options.width
        shapes = [(width, d), (width,), (width, width), (width,), (actions, width), (actions,)]
        # All weights lie in one vector, which makes Adam and the slow copy a few operations each.
        size = sum(math.prod(shape) for shape in shapes)
        kind: dict[str, Any] = {"device": device, "dtype": torch.float32}
        self._weights = torch.empty(size, **kind)
        self._network = _views(self._weights, shapes)
        for part, inputs in zip(self._network, (d, d, width, width, width, width), strict=True):
            part.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
        self._slow_weights = self._weights.clone()
        self._slow = _views(self._slow_weights, shapes)
        self._mean = torch.zeros(size, **kind)  # Adam's averages of the gradient and its square
        self._square = torch.zeros(size, **kind)
        # One row per transition: observation, next observation, action, reward, terminated.
        self._memory = torch.zeros(options.replay, 2 * d + 3, **kind)
        self._seen = 0
        self._updates = 0

    def act(
        self, observations: Float[Tensor, "n d"], *, generator: Generator
    ) -> Int64[Tensor, " n"]:
        """Epsilon-greedy actions."""
        n = len(observations)
        kind: dict[str, Any] = {"device": self._device, "generator": generator}
        uniform = torch.rand(n, dtype=torch.float32, **kind)
        random = torch.randint(self._actions, (n,), dtype=torch.int64, **kind)
        return torch.where(uniform < self._exploration(), random, self.greedy(observations))

    def greedy(self, observations: Float[Tensor, "n d"]) -> Int64[Tensor, " n"]:
        """The actions of greatest value."""
        return _values(self._network, observations).argmax(1)

    def update(self, batch: Transition, *, generator: Generator) -> Mapping[str, float]:
        """Remember n transitions, then take the gradient steps that are due."""
        self._remember(batch)
        exploration = self._exploration()
        due = int((self._seen - self._options.start) * self._options.updates_per_step)
        steps = due - self._updates
        if steps <= 0:
            return {"epsilon": exploration}
        filled, size = min(self._seen, self._options.replay), self._options.batch
        rows = torch.randint(
            filled, (steps * size,), generator=generator, device=self._device, dtype=torch.int64
        )
        loss = torch.zeros((), device=self._device, dtype=torch.float32)
        for minibatch in self._memory[rows].split(size):
            loss = self._descend(minibatch)
        return {"epsilon": exploration, "loss": float(loss)}

    def weights(self) -> StateDict:
        """The network."""
        return {"network": self._weights.clone()}

    def load_weights(self, weights: StateDict) -> None:
        """Act by another network of the same shape; learning would go on from it."""
        self._weights.copy_(weights["network"])

    def state_dict(self) -> StateDict:
        """Networks, Adam's averages, the filled part of the memory, counters."""
        filled = min(self._seen, self._options.replay)
        return {
            "network": self._weights.clone(),
            "slow": self._slow_weights.clone(),
            "adam_mean": self._mean.clone(),
            "adam_square": self._square.clone(),
            "memory": self._memory[:filled].clone(),
            "seen": self._seen,
            "updates": self._updates,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Continue bit for bit."""
        if state["network"].shape != self._weights.shape:
            raise DataError(
                f"expected a network of {self._weights.numel()} weights, got "
                f"{state['network'].numel()}; continue with the options of the first part"
            )
        self._weights.copy_(state["network"])
        self._slow_weights.copy_(state["slow"])
        self._mean.copy_(state["adam_mean"])
        self._square.copy_(state["adam_square"])
        self._memory[: len(state["memory"])] = state["memory"].to(self._device)
        self._seen, self._updates = state["seen"], state["updates"]

    def _exploration(self) -> float:
        start, end = self._options.explore_start, self._options.explore_end
        return start + (end - start) * min(self._seen / self._options.explore_steps, 1.0)

    def _remember(self, batch: Transition) -> None:
        """Write n rows, over the oldest ones once the memory is full."""
        n = len(batch.actions)
        rows = torch.cat(
            [
                batch.observations,
                batch.next_observations,
                batch.actions.unsqueeze(1),
                batch.rewards.unsqueeze(1),
                batch.terminated.unsqueeze(1),
            ],
            dim=1,
        )
        at = torch.arange(self._seen, self._seen + n, device=self._device, dtype=torch.int64)
        self._memory[at % self._options.replay] = rows
        self._seen += n

    def _descend(self, minibatch: Float[Tensor, "B row"]) -> Tensor:
        """One Adam step on one minibatch; moves the slow copy when it is due."""
        loss, gradient = self._loss(minibatch)
        self._updates += 1
        t = self._updates
        passed = min(self._seen / self._options.learning_rate_steps, 1.0)
        first, last = self._options.learning_rate, self._options.learning_rate_end
        step = (first + (last - first) * passed) / (1 - _BETA1**t)
        self._mean.lerp_(gradient, 1 - _BETA1)
        self._square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        scale = (self._square / (1 - _BETA2**t)).sqrt_().add_(self._options.adam_epsilon)
        self._weights.addcdiv_(self._mean, scale, value=-step)
        if t % self._options.slow_every == 0:
            self._slow_weights.lerp_(self._weights, self._options.slow_rate)
        return loss

    def _loss(self, minibatch: Float[Tensor, "B row"]) -> tuple[Tensor, Float[Tensor, " w"]]:
        """Mean Huber loss and its gradient in the order of the weights' vector.

        Written out rather than left to autograd, which costs more than the arithmetic at this
        size; the derivative of the Huber loss is the error clipped to +-1.
        """
        d, size = self._d, len(minibatch)
        observations, following = minibatch[:, :d], minibatch[:, d : 2 * d]
        action, reward, terminated = minibatch[:, 2 * d :].split(1, dim=1)
        action = action.long()

        # Both states through the network at once; only the first half is learnt from.
        hidden1, hidden2, values = _forward(self._network, minibatch[:, : 2 * d].reshape(-1, d))
        hidden1, hidden2, values, next_values = (
            hidden1[::2], hidden2[::2], values[::2], values[1::2]
        )  # fmt: skip
        best = next_values.argmax(1, keepdim=True)
        value = _values(self._slow, following).gather(1, best)
        target = reward + self._options.discount * (1 - terminated) * value
        error = values.gather(1, action) - target
        loss = F.huber_loss(error, torch.zeros_like(error))

        _, _, w2, _, w3, _ = self._network
        slope = torch.zeros_like(values).scatter_(1, action, error.clamp(-1, 1) / size)
        slope2 = (slope @ w3) * (hidden2 > 0)
        slope1 = (slope2 @ w2) * (hidden1 > 0)
        parts = (
            slope1.T @ observations, slope1.sum(0),
            slope2.T @ hidden1, slope2.sum(0),
            slope.T @ hidden2, slope.sum(0),
        )  # fmt: skip
        return loss, torch.cat([part.flatten() for part in parts])


def _views(vector: Tensor, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """Weight matrices and biases as windows on one vector."""
    sizes = [math.prod(shape) for shape in shapes]
    return [part.view(s) for part, s in zip(vector.split(sizes), shapes, strict=True)]


def _forward(
    network: list[Tensor], observations: Float[Tensor, "B d"]
) -> tuple[Float[Tensor, "B width"], Float[Tensor, "B width"], Float[Tensor, "B a"]]:
    """Both hidden layers and Q(s, a) of all actions."""
    w1, b1, w2, b2, w3, b3 = network
    hidden1 = torch.addmm(b1, observations, w1.T).relu_()
    hidden2 = torch.addmm(b2, hidden1, w2.T).relu_()
    return hidden1, hidden2, torch.addmm(b3, hidden2, w3.T)


def _values(network: list[Tensor], observations: Float[Tensor, "B d"]) -> Float[Tensor, "B a"]:
    """Q(s, a) of all actions."""
    return _forward(network, observations)[2]


def agent(
    *, d: int, actions: int, options: Options, device: torch.device, generator: Generator
) -> DQN:
    """The factory of the catalog."""
    return DQN(d=d, actions=actions, options=options, device=device, generator=generator)
