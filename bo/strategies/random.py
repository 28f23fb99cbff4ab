"""Independent uniform points (on the log scale where a parameter has one): the baseline.

Bergstra & Bengio (2012), "Random Search for Hyper-Parameter Optimization". In a pool: unseen rows,
drawn without replacement.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator

from bo.contract import Goal, Trial
from bo.space import Parameters, Space
from bo.strategies.unseen import unseen_indices
from surrogates.options import options


@options
class Options:
    """Random search has nothing to choose."""


class Random:
    """Uniform draws from the generator of each ask."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = None
        self.space = space

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """Draw n points (see `bo.contract.Strategy`)."""
        if self.space.pool is not None:
            left = unseen_indices(self.space, [t.parameters for t in trials])
            order = torch.randperm(len(left), generator=generator, device="cpu").numpy()
            return [self.space.pool.rows[index] for index in left[order[:n]]], None
        shape = (n, len(self.space.free))
        uniforms = torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu")
        return self.space.from_uniforms(uniforms.numpy()), None
