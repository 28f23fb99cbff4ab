"""Epsilon-greedy: the arm with the best mean so far, or, now and then, any arm.

Watkins (1989), "Learning from Delayed Rewards". Arms never played come first.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from rl.contract import Arms, BanditBatch, StateDict
from surrogates.options import option, options


@options
class Options:
    """Choices of the policy."""

    epsilon: float = option(default=0.1, help="probability of any arm", low=0.0, high=1.0)


class ToyGreedy:
    """Sums and counts of the rewards of each arm, (K,)."""

    def __init__(self, arms: Arms, epsilon: float, kind: Mapping[str, Any]) -> None:
        self.epsilon = epsilon
        self.sums = torch.zeros(arms.count, **kind)
        self.counts = torch.zeros(arms.count, **kind)

    def means(self) -> Float[Tensor, " K"]:
        """Mean reward of each arm, infinite before its first round."""
        return torch.where(self.counts > 0, self.sums / self.counts.clamp_min(1), math.inf)

    def act(self, contexts: Float[Tensor, "b K d"], *, generator: Generator) -> Int64[Tensor, " b"]:
        """One arm for each of b environments."""
        b = len(contexts)
        kind: dict[str, Any] = {"generator": generator, "device": contexts.device}
        arms = torch.randint(len(self.counts), (b,), dtype=torch.int64, **kind)
        explore = torch.rand(b, dtype=torch.float64, **kind) < self.epsilon
        return torch.where(explore, arms, self.means().argmax())

    def update(self, batch: BanditBatch) -> Mapping[str, float]:
        """Learn b rounds."""
        self.sums.index_add_(0, batch.arms, batch.rewards.to(self.sums.dtype))
        self.counts.index_add_(0, batch.arms, torch.ones_like(batch.rewards).to(self.sums.dtype))
        return {}

    def summary(self) -> Mapping[str, Any]:
        """What is shown while it plays: the rounds of each arm."""
        return {"rounds": self.counts.tolist()}

    def state_dict(self) -> StateDict:
        """Everything that learning changed, copied."""
        return {"sums": self.sums.clone(), "counts": self.counts.clone()}

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from `state_dict()`."""
        self.sums.copy_(state["sums"])
        self.counts.copy_(state["counts"])


def policy(arms: Arms, options: Options, device: torch.device, dtype: torch.dtype) -> ToyGreedy:
    """The factory of the catalog."""
    return ToyGreedy(arms, options.epsilon, {"device": device, "dtype": dtype})
