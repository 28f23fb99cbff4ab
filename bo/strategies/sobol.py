"""Scrambled Sobol sequence: a space-filling design that never looks at the outcomes.

Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points"; Joe & Kuo (2008) direction numbers,
as PyTorch ships them. Point i depends on the study's seed and i alone, i being the number of trials
before it, so that many processes on one study still share one low-discrepancy sequence.

In a pool the sequence moves through the unit cube of the columns and takes the nearest unseen row.
Under constraints its points outside are left out; where allowed points are rare, the points are
drawn at random instead (`bo/region.py`).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc
from torch import Generator
from torch.quasirandom import SobolEngine

from bo.contract import Trial
from bo.goals import Goal, Goals
from bo.region import Draw
from bo.space import Array, Parameters, Space
from bo.strategies.unseen import nearest_unseen
from surrogates.options import options
from surrogates.seeds import derive_seed

DESIGNS = ("sobol", "latin", "random")


@options
class Options:
    """A Sobol sequence has nothing to choose."""


class Sobol:
    """Points len(trials), len(trials) + 1, ... of one scrambled sequence."""

    def __init__(self, space: Space, goal: Goal | Goals, options: Options, seed: int) -> None:
        self.note: str | None = None
        self.space, self.goal, self.seed = space, goal, seed

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """The next n points of the sequence (see `bo.contract.Strategy`)."""
        return first_points(self.space, self.goal, self.seed, trials, n), None


def first_points(
    space: Space,
    goal: Goal | Goals,
    seed: int,
    trials: Sequence[Trial],
    n: int,
    *,
    design: str = "sobol",
    size: int = 1,
) -> list[Parameters]:
    """Points len(trials), len(trials) + 1, ... of the sequence that a strategy begins with.

    Args:
        space: where.
        goal: not looked at.
        seed: the study's.
        trials: those before.
        n: how many points; fewer come back only where a pool is used up.
        design: `sobol`; `latin`, one Latin hypercube of `size` points after another; or `random`.
        size: of a Latin hypercube.
    """
    d = len(space.free) if space.candidates is None else space.d
    draw = _sequence(design, d, seed, size)
    if space.candidates is None and space.region is not None:
        return space.region.draw(draw, n, skip=len(trials), seed=seed)
    uniforms = draw(len(trials) + n)[len(trials) :]
    if space.candidates is None:
        return space.from_uniforms(uniforms)
    return nearest_unseen(space, [t.parameters for t in trials], uniforms)


def sobol_columns(space: Space, n: int, *, generator: Generator) -> Array:
    """Columns (n, d) of allowed points, quasi-random where allowed points are common."""
    if space.region is None:  # without a dictionary for each, which costs more than all else
        uniforms = sobol_uniforms(len(space.free), n, generator=generator)
        return space.encode_table(space.from_uniforms_table(uniforms))
    seed = int(torch.randint(2**31, (1,), generator=generator, dtype=torch.int64, device="cpu"))
    engine = SobolEngine(len(space.free), scramble=True, seed=seed)
    return space.encode(space.region.draw(_drawing(engine), n, seed=seed))


def sobol_uniforms(
    d: int, n: int, *, generator: Generator
) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """(n, d) quasi-random numbers in [0, 1], scrambled anew from the generator."""
    seed = int(torch.randint(2**31, (1,), generator=generator, dtype=torch.int64, device="cpu"))
    return SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64).numpy()


def _sequence(design: str, d: int, seed: int, size: int) -> Draw:
    """The next rows of a sequence in [0, 1]^d that depends on design, seed and size alone."""
    if design == "sobol":
        return _drawing(SobolEngine(d, scramble=True, seed=seed % 2**63))
    random = np.random.default_rng(derive_seed(seed, "design", design))
    if design == "random":
        return lambda n: random.random((n, d))
    cubes = itertools.repeat(qmc.LatinHypercube(d, rng=random))
    rows = (row for cube in cubes for row in cube.random(size))
    return lambda n: np.array(list(itertools.islice(rows, n))).reshape(n, d)


def _drawing(engine: SobolEngine) -> Draw:
    return lambda n: engine.draw(n, dtype=torch.float64).numpy()
