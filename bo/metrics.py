"""What a study has reached: incumbent, best so far, regret, digest. No paper.

Command line, exports and pages all call these functions, so that they show the same numbers.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bo.contract import Trial
from bo.csv_cells import OWN, free
from bo.goals import Goal, Goals


def incumbent(trials: Sequence[Trial], goals: Goals | Goal) -> Trial | None:
    """The best complete trial that satisfies all outcome constraints; the earliest of equals.

    None where there is none. Raises `UsageError` where there are several goals.
    """
    goals = Goals.of(goals)
    best: Trial | None = None
    for trial in trials:
        best = better(best, trial, goals)
    return best


def better(best: Trial | None, trial: Trial, goals: Goals) -> Trial | None:
    """The incumbent after one more trial."""
    goal = goals.only
    if trial.state != "complete" or not goals.feasible(trial.values):
        return best
    if best is None or goal.sign * (trial.values[goal.name] - best.values[goal.name]) > 0:
        return trial
    return best


def front(trials: Sequence[Trial], goals: Goals) -> list[Trial]:
    """The complete trials, constraints satisfied, that no other is better than in every goal.

    In the order of numbers; of equals the earliest. With one goal: the incumbent alone.
    """
    if not goals.several:
        best = incumbent(trials, goals)
        return [] if best is None else [best]
    kept: _Kept = []
    for trial in trials:
        kept = _with(kept, trial, goals)
    return [trial for trial, _ in kept]


def reference(trials: Sequence[Trial], goals: Goals) -> tuple[float, ...] | None:
    """The reference point of several goals, in their units: given, or inferred from the front.

    Inferred as the front's worst value of each goal and a tenth of its range beyond, Ishibuchi et
    al. (2011), "Many-Objective Test Problems to Visually Examine the Behavior of Multiobjective
    Evolution in a Decision Space"; where the front has no range in a goal, a tenth of the value.
    None before anything was found.
    """
    if goals.reference is not None:
        return goals.reference
    found = [_oriented(trial, goals) for trial in front(trials, goals)]
    if not found:
        return None
    told: list[float] = []
    for goal, column in zip(goals.goals, zip(*found, strict=True), strict=True):
        low, high = min(column), max(column)
        reach = high - low if high > low else max(abs(low), 1e-3)
        told.append(goal.sign * (low - 0.1 * reach))
    return tuple(told)


def hypervolume(trials: Sequence[Trial], goals: Goals) -> float | None:
    """The volume between reference point and front, in the product of the goals' units.

    None before anything was found.
    """
    kept = [(trial, _oriented(trial, goals)) for trial in front(trials, goals)]
    return _volume(kept, reference(trials, goals), goals)


def hypervolumes(trials: Sequence[Trial], goals: Goals) -> list[float | None]:
    """Per finished trial, the hypervolume up to it, all measured from the last reference point."""
    corner = reference(trials, goals)
    curve: list[float | None] = []
    kept: _Kept = []
    value: float | None = None
    for trial in (t for t in trials if t.done):
        now = _with(kept, trial, goals)
        if now is not kept:
            kept, value = now, _volume(now, corner, goals)
        curve.append(value)
    return curve


def best_so_far(trials: Sequence[Trial], goals: Goals) -> list[float | None]:
    """Per finished trial, in order of numbers, the best value up to it (None before the first).

    With several goals the hypervolume, see `Goals.measure`.
    """
    if goals.several:
        return hypervolumes(trials, goals)
    best: Trial | None = None
    curve: list[float | None] = []
    for trial in trials:
        if trial.done:
            best = better(best, trial, goals)
            curve.append(None if best is None else best.values[goals.only.name])
    return curve


def best_value(trials: Sequence[Trial], goals: Goals) -> float | None:
    """The incumbent's value, or the hypervolume of several goals; None where there is none."""
    if goals.several:
        return hypervolume(trials, goals)
    best = incumbent(trials, goals)
    return None if best is None else best.values[goals.only.name]


def simple_regret(value: float | None, optimum: float | None, goals: Goals) -> float | None:
    """How far a value is from the optimum, in the goal's units, at least 0; None where unknown."""
    if value is None or optimum is None:
        return None
    return max(0.0, goals.measure.sign * (optimum - value))


def regret(front: Sequence[Trial], optimum: float | None, goals: Goals) -> float | None:
    """The simple regret of a front, without the noise of the problem's option."""
    found = [without_noise(trial, goals) for trial in front]
    return simple_regret(best_value(found, goals), optimum, goals)


def without_noise(trial: Trial, goals: Goals) -> Trial:
    """With the values of goals as they were before the problem's option `noise` was added."""
    names = [goal.name for goal in goals.goals if f"{goal.name}_noiseless" in trial.values]
    if not names:
        return trial
    exact = {name: trial.values[f"{name}_noiseless"] for name in names}
    return dataclasses.replace(trial, values={**trial.values, **exact})


def digest(trials: Sequence[Trial]) -> str:
    """SHA-256 over numbers, parameters, states and values of the finished trials, without times."""
    summary = [
        [t.number, t.parameters, t.state, dict(sorted(told(t).items()))] for t in trials if t.done
    ]
    return hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()


def told(trial: Trial) -> dict[str, Any]:
    """The values of a trial as they were told: a number, or (value, sem) where it has one."""
    return {
        name: (value, trial.sems[name]) if name in trial.sems else value
        for name, value in trial.values.items()
    }


def trial_rows(
    trials: Sequence[Trial], parameters: Iterable[str] = (), outcomes: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Number, state, parameters, values, then how it went. None for what a trial does not have.

    Parameters and values have their own names, an outcome named as a parameter is `value.NAME`.
    What is ours has `trial.` before it where one of them is named so (`bo/csv_cells.py`).

    Args:
        trials: one row each.
        parameters: of the space, for those that no trial has.
        outcomes: of the goals, for those that no trial has.
    """
    names = dict.fromkeys([*parameters, *(name for trial in trials for name in trial.parameters)])
    told = dict.fromkeys([*outcomes, *(name for trial in trials for name in trial.values)])
    taken = {*names, *told}
    values = {name: free(f"value.{name}", taken) if name in names else name for name in told}
    sems = {name: free(f"sem.{name}", taken) for name in told}
    measured = {name for trial in trials for name in trial.sems}
    sems = {n: c for n, c in sems.items() if n in measured or c != f"sem.{n}"}
    ours = {name: free(name, taken) for name in OWN}

    def row(trial: Trial) -> dict[str, Any]:
        ended, began = trial.finished, trial.started
        how = {
            "reason": trial.reason,
            "attempt": trial.attempt,
            "method": trial.method,
            "ask_cpu_seconds": trial.ask_seconds,
            "seconds": ended - began if ended and began else None,
        }
        return {
            ours["number"]: trial.number,
            ours["state"]: trial.state,
            **{name: trial.parameters.get(name) for name in names},
            **{column: trial.values.get(name) for name, column in values.items()},
            **{column: trial.sems.get(name) for name, column in sems.items()},
            **{ours[name]: value for name, value in how.items()},
        }

    return [row(trial) for trial in trials]


_Kept = list[tuple[Trial, tuple[float, ...]]]
"""The trials of a front, with their values oriented."""


def _with(kept: _Kept, trial: Trial, goals: Goals) -> _Kept:
    """The front after one more trial; the same list where it is not on it."""
    if trial.state != "complete" or not goals.feasible(trial.values):
        return kept
    new = _oriented(trial, goals)
    if any(all(a >= b for a, b in zip(old, new, strict=True)) for _, old in kept):
        return kept
    left = [(t, old) for t, old in kept if any(a > b for a, b in zip(old, new, strict=True))]
    return [*left, (trial, new)]


def _volume(kept: _Kept, corner: Sequence[float] | None, goals: Goals) -> float | None:
    from moocore import hypervolume as volume_of  # loads a compiled library

    if not kept or corner is None:
        return None
    costs = [[-value for value in oriented] for _, oriented in kept]
    ends = [-goal.sign * c for goal, c in zip(goals.goals, corner, strict=True)]
    return float(volume_of(costs, ref=ends))


def _oriented(trial: Trial, goals: Goals) -> tuple[float, ...]:
    return tuple(goal.sign * trial.values[goal.name] for goal in goals.goals)


def reasons(trials: Sequence[Trial]) -> dict[str, int]:
    """How many trials failed for which kind of reason, told by a reason of each; at most six.

    Two reasons are of a kind where they are equal up to the first colon ("exit status 1: ...").
    """
    told = [trial.reason or "unknown" for trial in trials if trial.state == "failed"]
    kinds = Counter(reason.partition(":")[0] for reason in told)
    return {
        Counter(r for r in told if r.partition(":")[0] == kind).most_common(1)[0][0]: count
        for kind, count in kinds.most_common(6)
    }
