"""What figures of the command line and pages share: curves of runs, their bands, fixed styles.

Imports no drawing library and no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from apps import catalog
from bo import metrics
from bo.contract import Trial
from bo.goals import Goals

# Okabe & Ito's colours, told apart by the colour-blind too; without black and yellow, which one of
# the two themes would swallow.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (12, 4), (4, 2, 1, 2))
X_LABELS = {"bo": "trials", "bandit": "rounds", "rl": "environment steps"}
POINTS = 500

Curve = tuple[Sequence[float], Sequence[float]]


class Style(NamedTuple):
    """How a method is drawn, on every page and figure.

    Attributes:
        colour: as #RRGGBB.
        dash: lengths of line and gap; (1, 0) is an unbroken line.
    """

    colour: str
    dash: tuple[int, ...]


def style(kind: str, method: str | None) -> Style:
    """Colour and dash of a method, from its place in the catalog alone.

    A method that the catalog does not know is grey and dotted.
    """
    for place, row in enumerate(catalog.listed(kind, "method")):
        if method is not None and row.matches(method):
            cycle, colour = divmod(place, len(PALETTE))
            return Style(PALETTE[colour], DASHES[cycle % len(DASHES)])
    return Style("#999999", (1, 3))


def better(direction: str) -> str:
    """Which way is better, in words, of `minimize` or `maximize`."""
    return "lower is better" if direction == "minimize" else "higher is better"


def measure(goals: str) -> tuple[str, str]:
    """Name and direction of what progress is measured by, of a study's goals."""
    found = Goals.parse(goals).measure
    return found.name, found.direction


class Told(NamedTuple):
    """What a study's goals say of a trial's outcomes.

    Attributes:
        goals: name and direction of each.
        outcomes: names of all that is told of a trial.
        constraints: on outcomes, as texts.
    """

    goals: tuple[tuple[str, str], ...]
    outcomes: tuple[str, ...]
    constraints: tuple[str, ...]


def told(goals: str) -> Told:
    """What is in the text of a study's goals."""
    found = Goals.parse(goals)
    return Told(
        tuple((goal.name, goal.direction) for goal in found.goals),
        found.outcomes,
        tuple(map(str, found.constraints)),
    )


def slacks(goals: str, values: Mapping[str, float]) -> list[float]:
    """How far within each constraint the outcomes of a trial are: at least 0 where it holds."""
    return [constraint.slack(values) for constraint in Goals.parse(goals).constraints]


def feasible(goals: str, values: Mapping[str, float]) -> bool:
    """Whether the outcomes of a trial satisfy all constraints."""
    return Goals.parse(goals).feasible(values)


def front(goals: str, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Numbers of the trials that no other is better than in every goal, of rows as in an export."""
    found = Goals.parse(goals)
    done = [_trial(row, found) for row in rows if row["state"] == "complete"]
    return [trial.number for trial in metrics.front(done, found)]


def y_label(run: Mapping[str, Any]) -> str:
    """What a run's curve shows, and which way is better."""
    if run["kind"] == "bandit":
        return "cumulative regret (lower is better)"
    if run["kind"] == "rl":
        return "greedy return (higher is better)"
    goals = Goals.parse(run["metrics"]["goal"])
    name = goals.measure.name if goals.several else f"best {goals.measure.name} so far"
    return f"{name} ({better(goals.measure.direction)})"


def run_curve(
    run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[float], list[float]]:
    """Steps and values of a run: best so far, regret (else reward), or evaluation return."""
    if run["kind"] == "bo":
        goals = Goals.parse(run["metrics"]["goal"])
        done = [_trial(row, goals) for row in rows if row["state"] == "complete"]
        best = metrics.best_so_far(done, goals)
        reached = [
            (trial.number + 1, value)
            for trial, value in zip(done, best, strict=True)
            if value is not None
        ]
        return [step for step, _ in reached], [value for _, value in reached]
    names = ("regret", "reward") if run["kind"] == "bandit" else ("evaluation", "return")
    for name in names:
        shown = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        if shown:
            return [step for step, _ in shown], [value for _, value in shown]
    return [], []


def _trial(row: Mapping[str, Any], goals: Goals) -> Trial:
    values = {name: row.get(f"value.{name}", row.get(name)) for name in goals.outcomes}
    return Trial(row["number"], {}, "complete", {n: v for n, v in values.items() if v is not None})


def quartiles(
    method: str, runs: Sequence[Curve], *, points: int = POINTS, held: bool = True
) -> pd.DataFrame:
    """Median and quartiles over runs, from the step on that every run has reached.

    Args:
        method: fills the column of that name.
        runs: steps and values, at least one each.
        points: most rows of the result; the last step is always kept.
        held: whether a run that has ended keeps its last value, as the best so far does. A sum of
            regrets would have grown: then the result ends where the shortest run does.

    Returns:
        Columns method, step, low, median, high, runs.
    """
    grid = np.unique(np.concatenate([np.asarray(steps, dtype=float) for steps, _ in runs]))
    first = max(steps[0] for steps, _ in runs)
    last = max(grid[-1] if held else min(steps[-1] for steps, _ in runs), first)
    grid = grid[(grid >= first) & (grid <= last)]
    if len(grid) > points:
        grid = grid[np.linspace(0, len(grid) - 1, points).astype(int)]
    found = []
    for steps, values in runs:  # a run keeps its last value until its next step
        position = np.searchsorted(np.asarray(steps, dtype=float), grid, side="right") - 1
        found.append(np.asarray(values, dtype=float)[position])
    low, median, high = np.quantile(np.array(found), [0.25, 0.5, 0.75], axis=0)
    return pd.DataFrame(
        {
            "method": method,
            "step": grid,
            "low": low,
            "median": median,
            "high": high,
            "runs": len(runs),
        }
    )
