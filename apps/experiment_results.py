"""What an experiment has found: its runs read at each budget, then tables, ranks and tests.

A run is read at each budget. bo: the simple regret after so many finished trials where the optimum
is known, else the best value, in the goal's units, without the noise that the problem's option
added; a run that ended early because its pool was used up keeps its last value. Of several goals
it is the hypervolume; where they have no reference point, all runs on the problem have the one that
is inferred from their common front. bandit: the run's score (minus the cumulative regret, else the
mean reward) at the last record that is not beyond the budget. rl: at the largest budget the score
of the kept weights, at smaller ones the greedy evaluation by which they were kept.

A run that failed before a budget has no value there. It counts as worse than every value in ranks
and tests, and is left out of the quartiles.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from apps import statistics
from apps.curves import quartiles
from apps.experiment_file import Entry, Plan
from apps.experiment_worker import choose_row
from apps.schema import RunRow
from apps.store import Store, current_state
from bo import metrics
from bo.contract import Trial
from bo.goals import Goals
from surrogates.seeds import derive_seed

CURVE_POINTS = 120
"""Most points of a curve, for the pages."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One run, read.

    Attributes:
        seed: its seed.
        name: its name in the store.
        state: as the store tells it, or `missing`: also where it finished with a smaller budget.
        error: why it did not finish, or None.
        values: per budget, in the units of the measure; None where there is none.
        asks: per budget, CPU seconds of a mean ask beyond the initial design (bo), or None.
        curve: steps and values, for the figure.
    """

    seed: int
    name: str
    state: str
    error: str | None
    values: tuple[float | None, ...]
    asks: tuple[float | None, ...]
    curve: tuple[list[float], list[float]]

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come of it in this call."""
        return self.state in ("finished", "failed")


@dataclasses.dataclass(frozen=True)
class Measure:
    """What the values of a problem are, such as `regret`, and which way is better."""

    name: str
    direction: str

    @property
    def sign(self) -> int:
        """Times a value, lower is better."""
        return 1 if self.direction == "minimize" else -1


@dataclasses.dataclass(frozen=True)
class Results:
    """All runs of an experiment, by the labels of problem and method, in the order of the seeds."""

    plan: Plan
    outcomes: Mapping[tuple[str, str], Sequence[Outcome]]
    measures: Mapping[str, Measure]

    def losses(self, problem: Entry, place: int) -> statistics.Array:
        """Lower is better, (seeds, methods), of the seeds at which every method's run has ended."""
        columns = [self.outcomes[problem.label, m.label] for m in self.plan.methods]
        sign = self.measures[problem.label].sign
        rows = [
            [math.nan if (v := run.values[place]) is None else sign * v for run in runs]
            for runs in zip(*columns, strict=True)
            if all(run.ended for run in runs)
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(columns))


Known = dict[str, tuple[Outcome, Measure | None]]
"""Runs that are finished, read before, by name: nothing about them changes."""


def collect(
    plan: Plan, store: Store, failures: Mapping[str, str], known: Known | None = None
) -> Results:
    """Read all runs of an experiment.

    Args:
        plan: the experiment.
        store: where they are.
        failures: why runs did not finish, by name, as far as this process knows.
        known: runs that need not be read again; those that are finished are added.
    """
    known = {} if known is None else known
    named: dict[str, list[RunRow]] = {}
    for row in store.runs():
        if row.kind == plan.kind:
            named.setdefault(row.name, []).append(row)
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    measures: dict[str, Measure] = {}
    read = _read_bo if plan.kind == "bo" else _read_records
    corners = _corners(plan, store, named) if plan.kind == "bo" else {}
    for problem, method, seed, spec in plan.cells():
        name = str(spec.name)
        row = choose_row(named.get(name, []))
        nothing = (None,) * len(plan.budgets)
        state, error = "missing", None
        values, asks, curve, measure = nothing, nothing, ([], []), None
        corner = corners.get(problem.label)
        if name in known and corner is None:
            outcome, measure = known[name]
        else:
            if row is not None:
                state, error = current_state(row), row.error
                values, asks, curve, measure = read(plan, store, row, corner)
                if state == "finished" and row.spec.budget < plan.budgets[-1]:
                    told = f"so far it went to {row.spec.budget} of {plan.budgets[-1]}"
                    state, error = "missing", told
            if name in failures:
                state, error = "failed", failures[name]
            outcome = Outcome(seed, name, state, error, values, asks, curve)
            if state == "finished":
                known[name] = outcome, measure
        if measure is not None:
            measures[problem.label] = measure
        outcomes.setdefault((problem.label, method.label), []).append(outcome)
    for problem in plan.problems:
        measures.setdefault(problem.label, Measure("score", "maximize"))
    return Results(plan, outcomes, measures)


_Corner = tuple[float, ...]


def _corners(plan: Plan, store: Store, named: Mapping[str, Sequence[RunRow]]) -> dict[str, _Corner]:
    """Where hypervolumes are measured from, by problems whose goals do not say it.

    It is inferred from the front of all runs on the problem. Inferred from each run's own, the
    volumes could not be compared.
    """
    goals: dict[str, Goals | None] = {}  # None: no point is to be inferred
    trials: dict[str, list[Trial]] = {}
    for problem, _, _, spec in plan.cells():
        row = choose_row(named.get(str(spec.name), []))
        if row is None or goals.get(problem.label, row) is None:
            continue
        told, found = store.trials(row.study or row.name)
        if told is None:
            continue
        open_ended = told.several and told.reference is None
        goals[problem.label] = told if open_ended else None
        if open_ended:
            held = trials.setdefault(problem.label, [])
            held += [metrics.without_noise(trial, told) for trial in found if trial.counted]
    corners = {
        label: metrics.reference(trials[label], each)
        for label, each in goals.items()
        if each is not None
    }
    return {label: corner for label, corner in corners.items() if corner is not None}


_Numbers = tuple[float | None, ...]
_Read = tuple[_Numbers, _Numbers, tuple[list[float], list[float]], Measure | None]


def _read_bo(plan: Plan, store: Store, row: RunRow, corner: _Corner | None) -> _Read:
    goals, trials = store.trials(row.study or row.name)
    nothing = (None,) * len(plan.budgets)
    if goals is None:
        return nothing, nothing, ([], []), None
    if corner is not None:
        goals = dataclasses.replace(goals, reference=corner)
    trials = [metrics.without_noise(trial, goals) for trial in trials if trial.counted]
    best = metrics.best_so_far(trials, goals)
    known = row.optimum is not None
    curve = [metrics.simple_regret(v, row.optimum, goals) if known else v for v in best]
    measure = (
        Measure("regret", "minimize")
        if known
        else Measure(f"best {goals.measure.name}", goals.measure.direction)
    )
    ended = row.spec.budget if row.state == "finished" else 0
    values = [
        curve[min(budget, len(curve)) - 1] if curve and budget <= max(len(curve), ended) else None
        for budget in plan.budgets
    ]
    shown = [(float(step), value) for step, value in enumerate(curve, 1) if value is not None]
    return (
        tuple(values),
        tuple(_mean_ask(trials, budget) for budget in plan.budgets),
        ([step for step, _ in shown], [value for _, value in shown]),
        measure,
    )


def _mean_ask(trials: Sequence[Trial], budget: int) -> float | None:
    asked = [t.ask_seconds for t in trials[:budget] if t.done and t.ask_seconds is not None]
    return sum(asked) / len(asked) if asked else None


def _read_records(plan: Plan, store: Store, row: RunRow, _: _Corner | None) -> _Read:
    records = [
        (event.step, event.payload)
        for event in store.events(row.run_id, kind="metric")
        if event.step is not None
    ]
    last = len(records) - 1 if row.state == "finished" else -1
    scores = [
        (step, _score(step, told, ended=place == last))
        for place, (step, told) in enumerate(records)
    ]
    points = [(step, value) for step, value in scores if value is not None]
    values: list[float | None] = []
    for budget in plan.budgets:
        if budget > row.spec.budget:
            found = []
        elif budget == row.spec.budget:  # the last record may lie a step of all copies beyond it
            found = [value for _, value in points] if row.state == "finished" else []
        else:
            reached = bool(records) and records[-1][0] >= budget
            found = [value for step, value in points if step <= budget] if reached else []
        values.append(found[-1] if found else None)
    curve = ([float(step) for step, _ in points], [value for _, value in points])
    return tuple(values), (None,) * len(plan.budgets), curve, Measure("score", "maximize")


def _score(step: int, told: Mapping[str, Any], *, ended: bool) -> float | None:
    """Higher is better. An agent's score counts at its end alone, not that before it went on."""
    if "pulls" in told:
        regret = told.get("regret")
        return told["reward"] / max(step, 1) if regret is None else -regret
    return told["score"] if ended and "score" in told else told.get("kept_evaluation")


def tell(results: Results) -> dict[str, Any]:
    """The object that `wald experiment --json` prints."""
    plan = results.plan
    runs = [outcome for outcomes in results.outcomes.values() for outcome in outcomes]
    failed = [run for run in runs if run.state != "finished"]
    return {
        "experiment": plan.name,
        "state": "failed" if failed else "finished",
        "runs": len(runs),
        "failed": sum(run.state == "failed" for run in runs),
        "table": _table(results),
        "ranks": _ranks(results),
        "tests": _tests(results),
        "incomplete": [{"run": run.name, "state": run.state, "error": run.error} for run in failed],
        "skipped": [{"name": name, "why": why} for name, why in plan.skipped.items()],
    }


def curves(results: Results, points: int = CURVE_POINTS) -> dict[str, list[dict[str, Any]]]:
    """Per problem, for each method with something to draw: median and quartiles over its seeds."""
    drawn: dict[str, list[dict[str, Any]]] = {}
    for problem in results.plan.problems:
        for method in results.plan.methods:
            outcomes = results.outcomes[problem.label, method.label]
            runs = [run.curve for run in outcomes if run.curve[0]]
            if not runs:
                continue
            frame = quartiles(method.label, runs, points=points, held=results.plan.kind == "bo")
            told = {name: frame[name].tolist() for name in ("step", "low", "median", "high")}
            method_curve = {"method": method.label, "runs": len(runs), **told}
            drawn.setdefault(problem.label, []).append(method_curve)
    return drawn


def _table(results: Results) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for problem in results.plan.problems:
        measure = results.measures[problem.label]
        for place, budget in enumerate(results.plan.budgets):
            for method in results.plan.methods:
                runs = results.outcomes[problem.label, method.label]
                asks = statistics.quartiles([run.asks[place] for run in runs])
                found = statistics.quartiles([run.values[place] for run in runs])
                rows.append(
                    {
                        "problem": problem.label,
                        "method": method.label,
                        "budget": budget,
                        "seeds": found.seeds,
                        "median": found.median,
                        "q25": found.q25,
                        "q75": found.q75,
                        "ask_cpu_seconds": asks.median,
                        "measure": measure.name,
                        "direction": measure.direction,
                    }
                )
    return rows


def _ranks(results: Results) -> list[dict[str, Any]]:
    plan = results.plan
    rows: list[dict[str, Any]] = []
    for place, budget in enumerate(plan.budgets):
        losses = [results.losses(problem, place) for problem in plan.problems]
        ranked = [statistics.ranks(each) for each in losses if len(each)]
        if not ranked:
            continue
        found = statistics.mean_ranks(ranked, seed=derive_seed(0, plan.name, budget))
        for column in np.argsort(found.mean, kind="stable").tolist():
            rows.append(
                {
                    "method": plan.methods[column].label,
                    "budget": budget,
                    "mean_rank": float(found.mean[column]),
                    "low": float(found.low[column]),
                    "high": float(found.high[column]),
                    "problems": len(ranked),
                }
            )
    return rows


def _tests(results: Results) -> list[dict[str, Any]]:
    plan = results.plan
    rows: list[dict[str, Any]] = []
    for problem in plan.problems:
        for place, budget in enumerate(plan.budgets):
            losses = results.losses(problem, place)
            if not len(losses):
                continue
            for method, found in zip(plan.methods, statistics.against_best(losses), strict=True):
                rows.append(
                    {
                        "problem": problem.label,
                        "budget": budget,
                        "method": method.label,
                        "best": plan.methods[found.best].label,
                        "seeds": len(losses),
                        "wins": found.wins,
                        "ties": found.ties,
                        "losses": found.losses,
                        "p": found.p,
                        "p_holm": found.p_holm,
                        "worse": found.p_holm is not None and found.p_holm < statistics.SIGNIFICANT,
                    }
                )
    return rows
