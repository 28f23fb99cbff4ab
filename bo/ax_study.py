"""A study from an Ax `Client` or experiment; the way there is `bo/ax_bridge.py`. No paper.

It reads what it is given and imports nothing of Ax. Each arm is a trial. A trial that Ax abandoned
or that has no data is a failed one here; one that was stopped early counts where it has data.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bo.goals import Goal, Goals
from bo.space import Parameter, Space, boolean, choice, fixed, integer, ordinal, real
from surrogates.errors import UsageError

if TYPE_CHECKING:
    from bo.study import Study

_WAITING = ("CANDIDATE", "STAGED", "RUNNING")
_MEASURED = ("COMPLETED", "EARLY_STOPPED")


def from_ax(
    source: Any,
    name: str | None = None,
    *,
    store: str | Path | None = None,
    method: str = "auto",
    seed: int | None = None,
) -> "Study":
    """A study of ours with the space, goals, constraints and trials of an Ax client.

    Args:
        source: an `ax.Client`, or an Ax `Experiment`.
        name: of the study here; by default that of the experiment.
        store: path of an SQLite file or a URL of ours; None keeps the study in memory.
        method: a name of `wald catalog bo`.
        seed: of everything random.

    Raises:
        UsageError: no goal yet, a space or a goal that a study cannot have, or a study of that name
            that holds trials already.
    """
    from bo.study import Study

    experiment = getattr(source, "_experiment", source)
    held = experiment.search_space
    space = Space(
        {each: _parameter(each, parameter) for each, parameter in held.parameters.items()},
        subject_to=[_constraint(each) for each in held.parameter_constraints],
    )
    goals = _goals(experiment.optimization_config)
    if name is None and experiment._name is not None:
        name = experiment.name
    study = Study(space, goals, name=name, store=store, method=method, seed=seed)
    if study.trials:
        raise UsageError(f"expected a new study, got {study.name!r}, which holds trials already")
    data = _data(experiment)
    rows = [
        _row(trial, arm, data.get((index, arm.name), {}), study)
        for index, trial in sorted(experiment.trials.items())
        for arm in trial.arms
    ]
    if rows:
        study.log.add(rows)
    return study


def _parameter(name: str, theirs: Any) -> Parameter:
    kind = type(theirs).__name__
    if getattr(theirs, "is_hierarchical", False):
        raise UsageError(
            f"expected parameters without dependents, got {name}, on which others depend; "
            "write the space with `when` and add the trials with Study.add"
        )
    if kind == "FixedParameter":
        return fixed(theirs.value)
    if kind == "RangeParameter":
        make = integer if theirs.parameter_type.name == "INT" else real
        return make(theirs.lower, theirs.upper, log=bool(theirs.log_scale))
    if kind == "ChoiceParameter":
        values: list[Any] = list(theirs.values)
        if set(map(type, values)) == {bool} and len(values) == 2:
            return boolean()
        if len(values) == 1:
            return fixed(values[0])
        numeric = all(type(value) in (int, float) for value in values)
        return ordinal(*sorted(values)) if theirs.is_ordered and numeric else choice(*values)
    raise UsageError(f"expected range, choice and fixed parameters, got {name}, a {kind}")


def _constraint(theirs: Any) -> str:
    terms = " + ".join(f"{weight!r} * {name}" for name, weight in theirs.constraint_dict.items())
    sign = "==" if getattr(theirs, "is_equality", False) else "<="
    return f"{terms} {sign} {theirs.bound!r}"


def _goals(config: Any) -> Goals:
    if config is None:
        raise UsageError("expected an Ax client with a goal, got none; call configure_optimization")
    objective = config.objective
    weights = dict(objective.metric_weights)
    if objective.is_scalarized_objective or objective.expression.count(",") + 1 < len(weights):
        raise UsageError(
            f"expected one metric a goal, got {objective.expression!r}; tell the weighted sum as "
            "an outcome of its own"
        )
    goals = tuple(
        Goal(each, "maximize" if weight > 0 else "minimize") for each, weight in weights.items()
    )
    limits = [_limit(each) for each in config.outcome_constraints]
    thresholds = {
        each.metric_names[0]: float(each.bound)
        for each in getattr(config, "objective_thresholds", [])
    }
    whole = len(goals) > 1 and set(thresholds) == set(weights)
    return Goals.of(goals, limits, thresholds if whole else None)


def _limit(theirs: Any) -> str:
    if theirs.relative:
        raise UsageError(
            f"expected constraints in the units of the outcome, got {theirs.expression!r}, "
            "relative to a status quo"
        )
    terms = " + ".join(f"{weight!r} * {name}" for name, weight in theirs.metric_weights)
    return f"{terms} {'>=' if theirs.op.name == 'GEQ' else '<='} {theirs.bound!r}"


def _data(experiment: Any) -> dict[tuple[int, str], dict[str, tuple[float, float]]]:
    """Mean and sem by metric, per trial and arm."""
    frame = experiment.lookup_data().df
    found: dict[tuple[int, str], dict[str, tuple[float, float]]] = {}
    for row in frame.to_dict("records"):
        values = found.setdefault((int(row["trial_index"]), str(row["arm_name"])), {})
        values[str(row["metric_name"])] = (float(row["mean"]), float(row["sem"]))
    return found


def _row(
    trial: Any, arm: Any, data: Mapping[str, tuple[float, float]], study: "Study"
) -> dict[str, Any]:
    try:
        point = study.space.check(dict(arm.parameters))
    except UsageError as error:
        raise UsageError(f"trial {trial.index} of the Ax experiment: {error}") from None
    status = trial.status.name
    needed = study.goals.outcomes
    measured = all(math.isfinite(data[each][0]) if each in data else False for each in needed)
    state = "running"
    reason: str | None = None
    if status not in _WAITING:
        state = "complete" if status in _MEASURED and measured else "failed"
        told = trial.status_reason
        reason = None if state == "complete" else str(told or f"{status.lower()} in Ax")
    outcome = {
        each: mean if math.isnan(sem) else [mean, sem]
        for each, (mean, sem) in data.items()
        if math.isfinite(mean)
    }
    times = (trial.time_created, trial.time_completed)
    started, finished = (None if each is None else each.timestamp() for each in times)
    return {
        "state": state,
        "parameters": json.dumps(point),
        "outcome": None if state == "running" else json.dumps(outcome),
        "reason": reason,
        "method": "ax",
        "started": started,
        "finished": None if state == "running" else finished or started,
    }
