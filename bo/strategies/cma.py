"""CMA-ES: a normal distribution that learns its mean, its step and its covariance from ranks.

Hansen & Ostermeier (2001), "Completely Derandomized Self-Adaptation in Evolution Strategies"; the
code is that of the package `cma` (github.com/CMA-ES/pycma, version 4) with its defaults. Restarts
with twice the population, from a random point, when a run has converged: Auger & Hansen (2005), "A
Restart CMA Evolution Strategy with Increasing Population Size".

It moves in the uniforms of the space, [0, 1] per parameter. Departs from the papers: an integer, an
ordinal or a choice is a number of which the cells are its values (the values of a choice in their
order, which CMA-ES cannot know to mean nothing), with a standard deviation of at least half a cell;
failed trials have the worst loss of their generation; a pool is served by its nearest unseen row,
and a point that constraints do not allow gives way to one near it that they do. A single parameter
has a second one beside it that means nothing, since the package does not serve one dimension.

Each ask replays the generations: finished trials, in the order in which they finished, fill one
after the other, whoever asked for them. So a design that was there before is the first generation,
and a point that is asked while a whole generation is still running comes from the distribution as
it is.
"""

import dataclasses
import importlib
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator

from bo.contract import Trial
from bo.goals import Goal
from bo.space import Array, Parameters, Space
from bo.strategies.ax import _unseen
from bo.strategies.unseen import nearest_unseen, unseen_indices
from surrogates.errors import NotInstalledError
from surrogates.options import option, options
from surrogates.seeds import derive_seed

_LARGEST = 1e100  # its square is still finite


@options
class Options:
    """How wide CMA-ES starts."""

    step_std: float = option(
        default=0.3, help="first standard deviation, in units of the range", low=1e-3, high=1.0
    )
    population: int = option(
        default=0, help="points of a generation; 0: 4 + 3 log(d)", low=0, high=10_000
    )


class CMA:
    """CMA-ES on the uniforms, replayed from the log at each ask."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = None
        self.space, self.goal, self.options, self.seed = space, goal, options, seed
        self.cma = _load()
        self.width = max(len(space.free), 2)
        self._latest: _Search | None = None
        if space.candidates is not None:
            self.note = "cma moves through the box; the nearest unseen candidate is tried"

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """The next n points (see `bo.contract.Strategy`); there is no state to keep."""
        seen = [trial.parameters for trial in trials]
        if self.space.candidates is not None:
            n = min(n, len(unseen_indices(self.space, seen)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cma's own, about flat losses and the like
            made = self._replay(trials)
            offspring, told = made.offspring, len(made.told)
            missing = len(trials) + n - told - len(offspring)
            if missing > 0:
                draw = int(torch.randint(2**31, (1,), generator=generator, device="cpu"))
                _draw_from(made.search, np.random.default_rng(draw))
                offspring = [*offspring, *made.search.ask(missing)]
            else:
                self._latest = made
        points: list[Parameters] = []
        for vector in offspring[len(trials) - told :][:n]:
            points.append(self._point([*seen, *points], trials, points, vector, generator))
        return points, None

    def _point(
        self,
        seen: Sequence[Parameters],
        trials: Sequence[Trial],
        points: Sequence[Parameters],
        vector: Array,
        generator: Generator,
    ) -> Parameters:
        """The point at a vector; a new one near it where that is pending or not allowed."""
        point = self._decode(vector)
        if self.space.candidates is not None:
            return nearest_unseen(self.space, seen, self.space.encode([point]))[0]
        pending = [*(trial.parameters for trial in trials if not trial.done), *points]
        known = self.space.key(point) in {self.space.key(other) for other in pending}
        if known or not self.space.allowed([point])[0]:
            return _unseen(self.space, seen, point, generator)[0]
        return point

    def _replay(self, trials: Sequence[Trial]) -> "_Search":
        """The search after the last whole generation; the latest one goes on where it led here."""
        done = sorted((t for t in trials if t.done), key=lambda t: (t.revision, t.number))
        made, self._latest = self._latest, None
        if made is None or made.told != [_mark(trial) for trial in done[: len(made.told)]]:
            random = np.random.default_rng(derive_seed(self.seed, "cma"))
            search = self._start(np.full(self.width, 0.5), 1, random)
            made = _Search(search, random, 1, search.ask(), [])
        while len(done) - len(made.told) >= len(made.offspring):
            generation = done[len(made.told) :][: len(made.offspring)]
            made.told += [_mark(trial) for trial in generation]
            vectors = self._vectors(generation, made.offspring)
            made.search.tell(vectors, self._losses(generation))
            if made.search.stop():
                made.factor *= 2
                mean = made.random.random(self.width)
                made.search = self._start(mean, made.factor, made.random)
            made.offspring = made.search.ask()
        return made

    def _start(self, mean: Array, factor: int, random: np.random.Generator) -> Any:
        free = self.space.free.values()
        population = self.options.population or 4 + int(3 * math.log(len(free)))
        least_std = [0.5 / p.levels if p.levels else 0.0 for p in free]
        return self.cma.CMAEvolutionStrategy(
            mean,
            self.options.step_std,
            {
                "bounds": [0, 1],
                "popsize": max(population, 4) * factor,
                "minstd": least_std + [0.0] * (self.width - len(free)),
                "randn": lambda *shape: random.standard_normal(shape),
                "seed": math.nan,
                "verbose": -10,  # quiet; writes no file and reads none
            },
        )

    def _vectors(self, trials: Sequence[Trial], offspring: Sequence[Array]) -> list[Array]:
        """The offspring that the trials come from, else the vectors of their points."""
        known = {self.space.key(self._decode(vector)): vector for vector in offspring}
        return [known.get(self.space.key(t.parameters), self._vector(t.parameters)) for t in trials]

    def _vector(self, point: Parameters) -> Array:
        known = self.space.to_uniforms([point])[0]
        return np.append(known, np.full(self.width - len(known), 0.5))

    def _decode(self, vector: Array) -> Parameters:
        return self.space.from_uniforms(np.clip(vector, 0.0, 1.0)[None, : len(self.space.free)])[0]

    def _losses(self, trials: Sequence[Trial]) -> list[float]:
        """Lower is better; that of a failed trial is the worst of its generation."""
        sign, name = -self.goal.sign, self.goal.name
        losses = [
            min(max(sign * t.values[name], -_LARGEST), _LARGEST) if t.state == "complete" else None
            for t in trials
        ]
        worst = max((loss for loss in losses if loss is not None), default=0.0)
        return [worst if loss is None else loss for loss in losses]


@dataclasses.dataclass
class _Search:
    """CMA-ES under way: draws, factor of the population, offspring, and what it was told."""

    search: Any
    random: np.random.Generator
    factor: int
    offspring: list[Array]
    told: list[tuple[Any, ...]]


def _mark(trial: Trial) -> tuple[Any, ...]:
    return trial.number, trial.revision, trial.state, dict(trial.values), dict(trial.parameters)


def _load() -> Any:
    try:
        return importlib.import_module("cma")
    except ModuleNotFoundError as error:
        if error.name != "cma":
            raise
        raise NotInstalledError(
            'method cma expected the package cma, got none; do pip install "wald[peers]"'
        ) from None


def _draw_from(search: Any, random: np.random.Generator) -> None:
    """Let the next samples come from another generator: they are no part of the replay."""
    search.sm.randn = lambda *shape: random.standard_normal(shape)
