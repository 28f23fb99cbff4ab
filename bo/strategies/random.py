"""Independent uniform points (on the log scale where a parameter has one): the baseline.

Bergstra & Bengio (2012), "Random Search for Hyper-Parameter Optimization". In a pool: unseen rows,
drawn without replacement. Under constraints: uniform over the allowed points (`bo/region.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator

from bo.contract import Trial
from bo.goals import Goal, Goals
from bo.space import Array, Parameters, Space
from bo.strategies.unseen import unseen_indices
from surrogates.options import options


@options
class Options:
    """Random search has nothing to choose."""


class Random:
    """Uniform draws from the generator of each ask."""

    def __init__(self, space: Space, goal: Goal | Goals, options: Options, seed: int) -> None:
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
        return random_points(self.space, n, generator=generator), None


def random_points(space: Space, n: int, *, generator: Generator) -> list[Parameters]:
    """n independent allowed points of a space without candidates."""

    def draw(count: int) -> Array:
        shape = (count, len(space.free))
        return torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu").numpy()

    if space.region is None:
        return space.from_uniforms(draw(n))
    seed = int(torch.randint(2**31, (1,), generator=generator, dtype=torch.int64, device="cpu"))
    return space.region.draw(draw, n, seed=seed)
