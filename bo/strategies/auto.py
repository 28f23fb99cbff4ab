"""The default: chooses a method by what is to be optimised. No paper.

`note` says what was chosen and why, in one line that every run with `auto` shows. It looks at space
and goals alone, and, where one goal is modelled as a whole, at its outcomes: while they are few, or
noise is more than a fiftieth of their variance, hyperparameters are drawn (`gp-smc`), else taken at
their likeliest (`gp-map`). With noise draws found more, with few outcomes no less
(`docs/results/choices/NOISE.md`), over tables of candidates more (`docs/results/pools`). Draws see
noise first: the likeliest stays at its prior's mode, .7 %, until outcomes lie close together.

With eight parameters or more a model of all outcomes finds the way along a valley late: once there
are four outcomes per parameter, every second point is that of a model of few points near the best,
in a trust region around it (`docs/results/local-data`).
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Generator

from bo.belief import Belief
from bo.contract import Believer, Strategy, Trial
from bo.goals import Goals
from bo.space import Parameters, Space
from bo.strategies.global_local import GlobalLocal, Options as LocalOptions
from bo.strategies.model_based import ModelBased, Options

__all__ = ["Auto", "Options"]

MANY = 20
"""With more parameters than this a model of the whole space may know too little of it."""

SOME = 8
"""From so many parameters on, up to `MANY`, a region takes turns later, as `LATE` says."""

LATE = {"after": 4, "nearest": 3, "best": 3}
"""Options of `gp-global-local`, per parameter: from when on, and what the region's model sees."""

FEW = 15
"""Up to so many outcomes the likeliest hyperparameters are often far from the true ones."""

NOISY = 0.02
"""Noise counts from this share of the outcomes' variance."""

MOST = 200
"""With more outcomes than this draws of the hyperparameters cost too much, and say too little."""


class Auto:
    """`gp-map`, `gp-smc` or `gp-global-local`: what people get who name no method."""

    def __init__(self, space: Space, goals: Goals, options: Options, seed: int) -> None:
        name, why = _choice(space, goals)
        self.chosen = f"auto chose {name}: {why}"
        self.note: str | None = self.chosen
        self.goals = goals
        self.strategy: Strategy
        if name == "gp-global-local":
            told: dict[str, Any] = dataclasses.asdict(options)
            told |= LATE if len(space.free) <= MANY else {}
            self.strategy = GlobalLocal(space, goals.only, LocalOptions(**told), seed)
        else:
            self.strategy = ModelBased("gp-map", space, goals, options, seed)
        self.drawn: ModelBased | None = None
        modelled = name == "gp-map" or len(space.free) <= MANY
        if modelled and not (goals.several or goals.constraints):
            self.drawn = ModelBased("gp-smc", space, goals, options, seed)

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """As the chosen method does (see `bo.contract.Strategy`)."""
        turn, before = self._turn(trials, state)
        points, kept = turn.ask(trials, n, state=before, generator=generator)
        if kept is not None and turn is self.drawn:
            kept = {**kept, "drawn": True}
            if before is not None and "region" in before:  # these points are data to it
                region = {**before["region"], "asked": len(trials), "designed": len(points)}
                kept |= {"region": region}
        return points, kept

    def belief(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> Belief | None:
        """That of the chosen method (see `bo.contract.Believer`)."""
        turn, before = self._turn(trials, state)
        if not isinstance(turn, Believer):
            return None
        return turn.belief(trials, n, state=before, generator=generator)

    def _turn(
        self, trials: Sequence[Trial], state: Mapping[str, Any] | None
    ) -> tuple[Strategy, Mapping[str, Any] | None]:
        """The method whose turn it is, and the state for it: a model's own fit, or none."""
        if self.drawn is None:
            return self.strategy, state
        complete = [trial for trial in trials if trial.state == "complete"]
        noise = self._noise(complete, state)
        few, noisy, many = len(complete) <= FEW, noise >= NOISY, len(complete) > MOST
        now = few or (noisy and not many)
        told = f"noise {noise:.1%} of the variance" if noisy else f"noise below {NOISY:.0%}"
        told = "few outcomes" if few else f"more than {MOST} outcomes" if many else told
        self.note = f"{self.chosen}; {'gp-smc' if now else 'gp-map'} asks: {told}"
        if state is not None and now != bool(state.get("drawn")):
            # the fit of the other model says nothing to this one
            state = {name: value for name, value in state.items() if name != "surrogates"}
        return (self.drawn if now else self.strategy), state

    def _noise(self, complete: Sequence[Trial], state: Mapping[str, Any] | None) -> float:
        """Its share of the outcomes' variance: as told with them, or as last fitted."""
        name = self.goals.goals[0].name
        sems = [trial.sems[name] for trial in complete if name in trial.sems]
        if len(sems) == len(complete) > 1:
            spread = statistics.pvariance(trial.values[name] for trial in complete)
            return statistics.fmean(sem**2 for sem in sems) / spread if spread > 0.0 else 0.0
        return float((state or {}).get("diagnostics", {}).get("noise_var", 0.0))


def _choice(space: Space, goals: Goals) -> tuple[str, str]:
    """A method, and why."""
    count = len(space.free)
    told = f"{count} parameter" + "s" * (count != 1)
    if goals.several:
        return "gp-map", f"{told}, {len(goals.goals)} goals to trade off"
    if goals.constraints:
        return "gp-map", f"{told}, and outcome constraints to learn"
    drawn = "by gp-smc while outcomes are few or noisy"
    if space.pool is not None:
        why = "all scored at each ask, " + drawn
        return "gp-map", f"a pool of {len(space.pool.rows)} candidates, {why}"
    if count > MANY:
        why = "every second point near the best, in case the model of the whole is lost"
        return "gp-global-local", f"{told}, more than {MANY}: {why}"
    why = "one model of the whole space, " + drawn
    if count >= SOME:
        late = LATE["after"] * count
        why += f", from {late} outcomes on every second point near the best"
        return "gp-global-local", f"{told}, {SOME} to {MANY}: {why}"
    return "gp-map", f"{told}, fewer than {SOME}: {why}"
