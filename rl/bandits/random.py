"""Uniform play: every arm with probability 1/K. The baseline of regret. No paper.

Contexts (b, K, d) are ignored; arms (b,).
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from rl.contract import Arms, BanditBatch, StateDict
from surrogates.options import options


@options
class Options:
    """Uniform play has no options."""


class Random:
    """Uniform play."""

    def __init__(self, arms: Arms) -> None:
        """Remember the number of arms."""
        self._count = arms.count

    def act(self, contexts: Float[Tensor, "b K d"], *, generator: Generator) -> Int64[Tensor, " b"]:
        """A uniform arm for each of b environments."""
        return torch.randint(
            self._count,
            (len(contexts),),
            generator=generator,
            device=contexts.device,
            dtype=torch.int64,
        )

    def update(self, batch: BanditBatch) -> Mapping[str, float]:
        """Learns nothing."""
        del batch
        return {}

    def summary(self) -> Mapping[str, Any]:
        """Holds nothing."""
        return {}

    def state_dict(self) -> StateDict:
        """Nothing changes."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """Nothing to restore."""


def policy(arms: Arms, options: Options, device: torch.device, dtype: torch.dtype) -> Random:
    """The factory of the catalog."""
    del options, device, dtype
    return Random(arms)
