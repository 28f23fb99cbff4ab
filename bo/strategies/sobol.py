"""Scrambled Sobol sequence: a space-filling design that never looks at the outcomes.

Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points"; Joe & Kuo (2008) direction numbers,
as PyTorch ships them. Point i depends on the study's seed and i alone, i being the number of trials
before it, so that many processes on one study still share one low-discrepancy sequence.

In a pool the sequence moves through the unit cube of the columns and takes the nearest unseen row.
Under constraints its points outside are left out; where allowed points are rare, the points are
drawn at random instead (`bo/region.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator
from torch.quasirandom import SobolEngine

from bo.contract import Trial
from bo.goals import Goal, Goals
from bo.region import Draw
from bo.space import Parameters, Space
from bo.strategies.unseen import nearest_unseen
from surrogates.options import options


@options
class Options:
    """A Sobol sequence has nothing to choose."""


class Sobol:
    """Points len(trials), len(trials) + 1, ... of one scrambled sequence."""

    def __init__(self, space: Space, goal: Goal | Goals, options: Options, seed: int) -> None:
        self.note: str | None = None
        self.space = space
        self.seed = seed

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """The next n points of the sequence (see `bo.contract.Strategy`)."""
        d = len(self.space.free) if self.space.candidates is None else self.space.d
        engine = SobolEngine(d, scramble=True, seed=self.seed % 2**63)
        if self.space.candidates is None and self.space.region is not None:
            draw = _drawing(engine)
            return self.space.region.draw(draw, n, skip=len(trials), seed=self.seed), None
        uniforms = engine.fast_forward(len(trials)).draw(n, dtype=torch.float64).numpy()
        if self.space.candidates is None:
            return self.space.from_uniforms(uniforms), None
        return nearest_unseen(self.space, [t.parameters for t in trials], uniforms), None


def first_points(
    space: Space, goal: Goal | Goals, seed: int, trials: Sequence[Trial], n: int
) -> list[Parameters]:
    """The part of the sequence that strategies with a model begin with."""
    unused = Generator(device="cpu")
    return Sobol(space, goal, Options(), seed).ask(trials, n, state=None, generator=unused)[0]


def sobol_points(space: Space, n: int, *, generator: Generator) -> list[Parameters]:
    """n allowed points, quasi-random where allowed points are common."""
    if space.region is None:
        return space.from_uniforms(sobol_uniforms(len(space.free), n, generator=generator))
    seed = int(torch.randint(2**31, (1,), generator=generator, dtype=torch.int64, device="cpu"))
    engine = SobolEngine(len(space.free), scramble=True, seed=seed)
    return space.region.draw(_drawing(engine), n, seed=seed)


def sobol_uniforms(
    d: int, n: int, *, generator: Generator
) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """(n, d) quasi-random numbers in [0, 1], scrambled anew from the generator."""
    seed = int(torch.randint(2**31, (1,), generator=generator, dtype=torch.int64, device="cpu"))
    return SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64).numpy()


def _drawing(engine: SobolEngine) -> Draw:
    return lambda n: engine.draw(n, dtype=torch.float64).numpy()
