"""Ax's own default strategy, as a peer to measure ours against. No paper: github.com/facebook/Ax.

The first points are our scrambled Sobol sequence, as many as Ax's default design has; the others
come from Ax's model, a BoTorch Gaussian process with log noisy expected improvement, through
`bo/ax_bridge.py`. Departures from Ax: no centre point first; a pool is served by the nearest
unseen row; a point that was tried before gives way to a new one near it. Linear inequalities of
reals without a log scale are Ax's own; a point that breaks another constraint gives way to the
nearest of many random points that are allowed. Conditional parameters are refused.

Stateless: each ask rebuilds Ax's experiment from the log, seeded from the ask's generator, so that
a study goes on bit for bit in another process.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator

from bo.contract import Trial
from bo.goals import Goal
from bo.space import Parameters, Space
from bo.strategies.random import random_points
from bo.strategies.sobol import first_points
from bo.strategies.unseen import nearest_unseen, unseen_indices
from surrogates.errors import CapabilityError, NotInstalledError
from surrogates.options import option, options

_FEWEST_OUTCOMES = 2
_DRAWS = 2048


@options
class Options:
    """How Ax's default begins."""

    initial: int = option(
        default=5, help="points of the initial Sobol design (5 is Ax's default)", low=1, high=1000
    )


class AxDefault:
    """Sobol points at first, then Ax's default model."""

    def __init__(
        self, space: Space, goal: Goal, options: Options, seed: int, model: Any = None
    ) -> None:
        if space.conditional:
            raise CapabilityError(
                "method ax expected a space whose parameters are always active, got `when` of "
                f"{space.conditional[0]}; use gp-map, sobol or random"
            )
        self.note: str | None = None
        self.space = space
        self.goal = goal
        self.options = options
        self.seed = seed
        self.bridge = bridge()
        self.model = model

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """The next n points (see `bo.contract.Strategy`); the state names Ax's generator."""
        drawn = torch.randint(2**31, (1,), generator=generator, dtype=torch.int64, device="cpu")
        seen = [trial.parameters for trial in trials]
        if self.space.candidates is not None:
            n = min(n, len(unseen_indices(self.space, seen)))
        n_initial = min(n, self._missing(trials, n))
        points: list[Parameters] = []
        if n_initial:
            points = first_points(self.space, self.goal, self.seed, trials, n_initial)
        if n_initial == n:
            return points, {"diagnostics": {"model": "Sobol"}}
        known = {self.space.key(point) for point in [*seen, *points]}
        if len(known) + n - n_initial > self.space.size:  # Ax refuses a space that is used up
            proposed = first_points(self.space, self.goal, self.seed, trials, n)[n_initial:]
            model = "Sobol"
        else:
            proposed, model = self.bridge.suggest(
                self.space,
                self.goal,
                trials,
                n - n_initial,
                pending=points,
                seed=int(drawn),
                deduplicate=math.isinf(self.space.size),
                model=self.model,
            )
        for point in proposed:
            points += _unseen(self.space, [*seen, *points], point, generator)
        return points, {"diagnostics": {"model": model}}

    def _missing(self, trials: Sequence[Trial], n: int) -> int:
        """How many Sobol points are still to be asked; failed ones do not count, others come."""
        if sum(trial.state == "complete" for trial in trials) < _FEWEST_OUTCOMES:
            return n
        return max(self.options.initial - sum(trial.state != "failed" for trial in trials), 0)


def bridge() -> Any:
    """The module `bo.ax_bridge`, which loads Ax. Raises `NotInstalledError` where there is none."""
    try:
        return importlib.import_module("bo.ax_bridge")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ax":
            raise
        raise NotInstalledError(
            "method ax expected the package ax-platform, got none; do pip install ax-platform"
        ) from None


def _unseen(
    space: Space, seen: Sequence[Parameters], point: Parameters, generator: Generator
) -> list[Parameters]:
    """The point if it is new and allowed, else such a one near it (an old one if there is none).

    A pool always gives its nearest unseen row.
    """
    if space.candidates is not None:
        return nearest_unseen(space, seen, space.encode([point]))
    allowed = bool(space.allowed([point])[0])
    if allowed and space.key(point) not in {space.key(other) for other in seen}:
        return [point]
    if space.every is not None and space.size <= _DRAWS:
        others = space.every
    else:
        others = random_points(space, _DRAWS, generator=generator)
    pool = Space(space.parameters, candidates=others)
    columns = space.encode([point])
    return nearest_unseen(pool, seen, columns) or nearest_unseen(pool, [], columns)
