"""A trust region: a Gaussian process and its search within a box around the best point.

Eriksson, Pearce, Gardner, Turner & Poloczek (2019), "Scalable Global Optimization via Local
Bayesian Optimization": sections 2-3, with one region at a time (TuRBO-1). The box is centred at the
best point of the region; its side in parameter j is the side length L times the length-scale of j
over the geometric mean of all. L is doubled (up to 1.6) after 3 batches in a row that improved on
the best, halved after as many points in a row that did not as there are parameters, from 0.8 on;
below 2^-7 the region is given up, and another one begins from a Sobol design of its own.

Candidates perturb each coordinate of the centre with probability min(1, 20 / d), as in the paper.
Departs from it: the next point is that of the greatest log expected improvement, climbed from the
best candidates within the box, instead of a Thompson sample's maximum over them; the model is
`gp-map`. The side of an integer or ordinal parameter reaches the next level at least; a choice or
boolean takes another value with probability L. The best point is that of the greatest posterior
mean. In a pool the candidates are the unseen rows in the box, or the nearest to its centre.

Only points that were chosen within a region tell it whether to grow or shrink; all others of the
log are data. Failed trials are failures of the region, and `gp-map` learns where evaluations fail.
What a region is follows from the log, apart from its first trial, which the state
tells. The model is fitted to all points of the region, of very many to those nearest to the best
one; by the options `nearest` and `best`, to few of them that are near or good.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Generator

from bo.acquisition.fused import FusedLogEI
from bo.acquisition.maximise import _pulled_back
from bo.belief import Belief
from bo.contract import Trial
from bo.goals import Goal, Goals
from bo.outliers import as_failed
from bo.space import Array, Parameters, Space
from bo.strategies.model_based import ModelBased, Options as ModelOptions, _Asked
from bo.strategies.random import random_points
from bo.strategies.sobol import DESIGNS, first_points, sobol_uniforms
from bo.strategies.unseen import unseen_indices
from surrogates.gp.map import MapGP
from surrogates.options import option, options
from surrogates.threads import one_thread

LONGEST = 1.6
SHORTEST = 2.0**-7
SUCCESSES = 3
PERTURBED = 20
CANDIDATES = 1024
STARTS = 4
ITERATIONS = 60
NEAREST = 32
MOST_ROWS = 500
_WIDEST_RATIO = 10.0
_HALVINGS = 10
_ENUMERABLE = 64
_FEWEST_OUTCOMES = 2
FIRST = {"start": 0, "restarts": 0}


@options
class FewPoints:
    """What the model of a region sees."""

    nearest: int = option(
        default=0,
        help="the model sees so many points per parameter, nearest to the best one; 0 for this and "
        "for best: all",
        low=0,
        high=1000,
    )
    best: int = option(
        default=0, help="and so many per parameter with the best outcomes", low=0, high=1000
    )


@options
class Options(FewPoints):
    """That, and how the region begins."""

    initial: int = option(
        default=0,
        help="points of a region's initial design; 0: 2 per parameter, from 4 to 40",
        low=0,
        high=1000,
    )
    design: str = option(default="sobol", help="how that design fills the space", choices=DESIGNS)
    length: float = option(
        default=0.8, help="first side length, in units of the range", low=0.01, high=LONGEST
    )


@dataclasses.dataclass(frozen=True)
class Region:
    """A trust region at an ask.

    Attributes:
        start: number of its first trial.
        length: side length L.
        successes: batches in a row that improved.
        failures: points in a row that did not.
        restarts: regions before it.
    """

    start: int
    length: float
    successes: int
    failures: int
    restarts: int


@dataclasses.dataclass(frozen=True)
class Box:
    """Where to search: uniforms (p,) of the centre and of both ends, p free parameters."""

    centre: Array
    low: Array
    high: Array


class TrustRegion:
    """Log expected improvement within a box that follows the best point."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = None
        self.space, self.goal, self.options, self.seed = space, goal, options, seed
        self.initial = options.initial or min(max(2 * len(space.free), 4), 40)
        self.model = ModelBased(
            "gp-map", space, Goals.of(goal), ModelOptions(stalled="refine"), seed
        )

    @one_thread()
    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """Choose n points (see `bo.contract.Strategy`); `state` tells the region's first trial."""
        region = self._region(trials, state)
        points = self._design(trials, region, n)
        kept: dict[str, Any] = {
            "region": dataclasses.asdict(region) | {"asked": len(trials), "designed": len(points)}
        }
        if len(points) == n or not self._can_fit(trials, region):
            return points, kept
        local = self._local(trials, region)
        belief = self.model._believe(local, points, state, generator)
        box = self._box(belief, region)
        function = belief.acquisition
        while True:
            assert isinstance(function, FusedLogEI)
            seen = [*(trial.parameters for trial in trials), *points]
            point = self._choose(function, box, region.length, seen, generator)
            if point is None:
                break
            points.append(point)
            if len(points) == n:
                break
            function = self.model._acquisition(
                belief.models, belief.observed, belief.outcomes, local, points, generator
            )
        told = dict(self.model._state(belief))
        numbers = {"length": region.length, "restarts": float(region.restarts)}
        return points, kept | told | {"diagnostics": {**told["diagnostics"], **numbers}}

    @one_thread()
    def belief(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> Belief | None:
        """The models of the region; the next point is their acquisition function's best in its box.

        See `bo.contract.Believer`.
        """
        region = self._region(trials, state)
        points = self._design(trials, region, n)
        if len(points) == n or not self._can_fit(trials, region):
            return None
        local = self._local(trials, region)
        asked = _Asked(local, points, state, generator.get_state())
        latest = self.model._latest
        if latest is None or not latest[0].same(asked):
            return self.model._believe(local, points, state, generator)
        return latest[1]

    def _region(self, trials: Sequence[Trial], state: Mapping[str, Any] | None) -> Region:
        """The region after these trials: the latest ask's, or a new one where that collapsed."""
        known = (state or {}).get("region", FIRST)
        length, successes, failures = self.options.length, 0, 0
        best = -np.inf
        for batch in self._batches(trials, known["start"]):
            values = [self._value(trial) for trial in batch if trial.state == "complete"]
            top = max(values, default=-np.inf)
            if _chosen(batch[0]):
                better = top > best
                successes = successes + 1 if better else 0
                failures = 0 if better else failures + len(batch)
                if successes == SUCCESSES:
                    length, successes = min(2 * length, LONGEST), 0
                elif failures >= len(self.space.free):
                    length, failures = length / 2, 0
                if length < SHORTEST:
                    return Region(len(trials), self.options.length, 0, 0, known["restarts"] + 1)
            best = max(best, top)
        return Region(known["start"], length, successes, failures, known["restarts"])

    def _batches(self, trials: Sequence[Trial], start: int) -> list[list[Trial]]:
        """The region's finished trials: those chosen at one ask together, once all are finished."""
        own = [trial for trial in trials if trial.number >= start]
        batches: dict[Any, list[Trial]] = {}
        for trial in own:
            told = trial.method_state or {}
            key = told["region"]["asked"] if _chosen(trial) else (trial.number,)
            batches.setdefault(key, []).append(trial)
        done = [batch for batch in batches.values() if all(trial.done for trial in batch)]
        return sorted(done, key=lambda batch: max((t.revision, t.number) for t in batch))

    def _value(self, trial: Trial) -> float:
        return self.goal.sign * trial.values[self.goal.name]

    def _design(self, trials: Sequence[Trial], region: Region, n: int) -> list[Parameters]:
        """The points of the region's initial design among the next n; failed ones do not count."""
        used = sum(t.number >= region.start and t.state != "failed" for t in trials)
        count = min(n, self.initial - used) if self._can_fit(trials, region) else n
        if count <= 0:
            return []
        design = self.options.design
        return first_points(
            self.space, self.goal, self.seed, trials, count, design=design, size=self.initial
        )

    def _can_fit(self, trials: Sequence[Trial], region: Region) -> bool:
        complete = sum(t.number >= region.start and t.state == "complete" for t in trials)
        return complete >= _FEWEST_OUTCOMES

    def _local(self, trials: Sequence[Trial], region: Region) -> list[Trial]:
        """The region's trials that the model sees, and all that are running.

        Outliers as failed ones (`bo/outliers.py`).
        """
        trials = as_failed(trials, Goals.of(self.goal))
        done = [t for t in trials if t.done and t.number >= region.start]
        running = [t for t in trials if not t.done]
        complete = [t for t in done if t.state == "complete"]
        near, good = self._seen()
        if len(done) > near:
            best = max(complete, key=self._value)
            columns = self.space.encode([t.parameters for t in [best, *done]])
            distance = np.square(columns[1:] - columns[0]).sum(axis=1)
            kept = set(np.argsort(distance, kind="stable")[:near].tolist())
            value = [self._value(t) if t.state == "complete" else -np.inf for t in done]
            kept |= set(np.argsort(-np.array(value), kind="stable")[:good].tolist())
            done = [done[i] for i in sorted(kept)]
        return [*done, *running]

    def _seen(self) -> tuple[int, int]:
        """How many trials the model sees for being nearest to the best, and for being best."""
        parameters = len(self.space.free)
        near, good = self.options.nearest * parameters, self.options.best * parameters
        return (near, good) if near or good else (MOST_ROWS, 0)

    def _box(self, belief: Belief, region: Region) -> Box:
        """Around the point of the greatest posterior mean, wider where length-scales are long."""
        columns = belief.observed.numpy()
        model = belief.model
        assert isinstance(model, MapGP)
        mean, _ = model.marginals(columns, noise=False)
        centre, lengthscale = columns[int(np.argmax(mean))], np.array(model.state["lengthscale"])
        free = list(self.space.free.values())
        log = np.log(lengthscale[: len(free)])
        log = np.clip(log - np.median(log), -np.log(_WIDEST_RATIO), np.log(_WIDEST_RATIO))
        half = 0.5 * region.length * np.exp(log - log.mean())
        (point,) = self.space.decode(centre[None])
        at = self.space.to_uniforms([point])[0]
        for j, parameter in enumerate(free):
            if parameter.type in ("choice", "boolean"):
                half[j] = 1.0
            elif parameter.levels:
                half[j] = max(half[j], 1.0 / parameter.levels)
        return Box(at, np.maximum(at - half, 0.0), np.minimum(at + half, 1.0))

    def _sides(self, box: Box) -> tuple[Array, Array]:
        """Both ends of the box (d,) in columns; what has no order may be anything."""
        low, high = np.zeros(self.space.d), np.ones(self.space.d)
        start = 0
        for j, parameter in enumerate(self.space.free.values()):
            if parameter.type not in ("choice", "boolean"):
                low[start], high[start] = box.low[j], box.high[j]
            start += parameter.width
        return low, high

    def _choose(
        self,
        function: FusedLogEI,
        box: Box,
        length: float,
        seen: Sequence[Parameters],
        generator: Generator,
    ) -> Parameters | None:
        """The best unseen point that is found in the box; None where a pool is used up."""
        known = {self.space.key(point) for point in seen}
        if self.space.pool is not None:
            left = self._rows(box, seen)
            if not len(left):
                return None
            scores = function.values(self.space.pool.columns[left])
            return self.space.pool.rows[left[int(np.argmax(scores))]]
        columns = self._candidates(box, length, generator)
        scores = function.values(columns)
        order = np.argsort(-scores, kind="stable")
        climbed = self._climbed(function, box, columns[order[:STARTS]])
        for point in self._best_first(function, np.concatenate([climbed, columns[order]])):
            if self.space.key(point) not in known:
                return point
        for point in random_points(self.space, 4096, generator=generator):
            if self.space.key(point) not in known:
                return point
        return self.space.decode(columns[order[:1]])[0]  # a finite space, all of it seen

    def _best_first(self, function: FusedLogEI, columns: Array) -> list[Parameters]:
        """The points at some columns, scored as they will be evaluated."""
        points = self.space.decode(columns)
        scores = function.values(self.space.encode(points))
        return [points[i] for i in np.argsort(-scores, kind="stable").tolist()]

    def _candidates(self, box: Box, length: float, generator: Generator) -> Array:
        """(m, d) columns of allowed points in the box, the centre with some coordinates moved."""
        free = list(self.space.free.values())
        p = len(free)
        within = box.low + sobol_uniforms(p, CANDIDATES, generator=generator) * (box.high - box.low)
        moved = _uniform(CANDIDATES, p, generator) < min(1.0, PERTURBED / p)
        moved[np.arange(CANDIDATES), np.arange(CANDIDATES) % p] = True
        swapped = _uniform(CANDIDATES, p, generator) < length
        for j, parameter in enumerate(free):
            if parameter.type in ("choice", "boolean"):
                moved[:, j] &= swapped[:, j]
        uniforms = np.where(moved, within, box.centre)
        if self.space.region is None:
            return self.space.encode_table(self.space.from_uniforms_table(uniforms))
        columns = np.zeros((CANDIDATES, self.space.d))
        left = np.arange(CANDIDATES)
        for _ in range(_HALVINGS):  # towards the centre until it is allowed
            table, ok = self.space.region.accept(uniforms[left])
            columns[left[ok]] = self.space.encode_table(table.part(ok))
            left = left[~ok]
            if not len(left):
                break
            uniforms[left] = 0.5 * (uniforms[left] + box.centre)
        allowed = np.delete(columns, left, axis=0)
        if len(allowed):
            return allowed
        return self.space.encode(random_points(self.space, STARTS, generator=generator))

    def _climbed(self, function: FusedLogEI, box: Box, starts: Array) -> Array:
        """Where L-BFGS-B ends from some starts within the box; what has levels stays as it is."""
        low, high = self._sides(box)
        active = self.space.decode_table(starts).active
        free = np.zeros(starts.shape, dtype=np.bool_)
        column = 0
        for name, parameter in self.space.free.items():
            if not 0 < parameter.levels <= _ENUMERABLE:
                free[:, column] = active.get(name, True)
            column += parameter.width
        ends = starts.copy()
        for row, start in enumerate(starts):
            if free[row].any():
                ends[row] = _climb(function, start, np.flatnonzero(free[row]), low, high)
        return _pulled_back(self.space, starts, ends) if self.space.constraints else ends

    def _rows(self, box: Box, seen: Sequence[Parameters]) -> NDArray[np.int64]:
        """Unseen rows of the pool in the box, at least some that are nearest to its centre."""
        assert self.space.pool is not None
        left = unseen_indices(self.space, seen)
        uniforms = self.space.to_uniforms([self.space.pool.rows[i] for i in left])
        half = np.maximum(box.high - box.centre, box.centre - box.low)
        distance = np.abs(uniforms - box.centre) / np.maximum(half, 1e-12)
        inside = (distance <= 1.0).all(axis=1)
        if inside.sum() >= NEAREST:
            return left[inside]
        return left[np.argsort(distance.max(axis=1), kind="stable")[:NEAREST]]


def _climb(
    function: FusedLogEI, start: Array, free: NDArray[np.int64], low: Array, high: Array
) -> Array:
    x = start.copy()

    def objective(part: Array) -> tuple[float, Array]:
        x[free] = part
        value, gradient = function.value_and_gradient(x)
        return -value, -gradient[free]

    found = minimize(
        objective,
        start[free],
        jac=True,
        method="L-BFGS-B",
        bounds=np.column_stack([low, high])[free],
        options={"maxiter": ITERATIONS},
    )
    x[free] = found.x
    return x


def _chosen(trial: Trial) -> bool:
    """Whether a trial was chosen within a region, not by its initial design or anybody else."""
    told = (trial.method_state or {}).get("region")
    return told is not None and trial.number >= told["asked"] + told["designed"]


def _uniform(n: int, d: int, generator: Generator) -> Array:
    return torch.rand(n, d, generator=generator, dtype=torch.float64, device="cpu").numpy()
