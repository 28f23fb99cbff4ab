"""A study of Optuna in memory, rebuilt from the trial log. No paper: github.com/optuna/optuna.

The parameters have Optuna's own distributions under the names p0, p1, ...: a float or an int with
its log scale, an int that counts the values of an ordinal, a categorical that counts those of a
choice or boolean. Integers of more than 10,000 values are floats that are rounded, since the
Gaussian process sampler lists every value.

Several goals are its directions. An outcome constraint is what Optuna wants to be at most 0: minus
the slack.

Running trials are `RUNNING` in Optuna, enqueued ones too. Failed ones are `FAIL`: Optuna learns
nothing from them, nor do they count among its start-up trials; those that were there before do.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Generator

from bo.contract import Trial
from bo.goals import Goals
from bo.space import Parameter, Parameters, Space, Value
from bo.strategies.peers._shared import LARGEST, active, most, quiet, settled, value_of, whole, wide


def suggest(
    optuna: Any,
    sampler: Any,
    space: Space,
    goals: Goals,
    trials: Sequence[Trial],
    n: int,
    generator: Generator,
) -> list[Parameters]:
    """The next n points of an Optuna study with this sampler, those before them running.

    Args:
        optuna: the package.
        sampler: an Optuna sampler, seeded.
        space: where to search.
        goals: the outcomes, their directions, and what is asked of them.
        trials: the log.
        n: how many points.
        generator: for points that replace a pending one.
    """
    with quiet("optuna"):
        kinds = {name: _distribution(optuna, p) for name, p in space.free.items()}
        distributions = {f"p{i}": kind for i, kind in enumerate(kinds.values())}
        storage = optuna.storages.InMemoryStorage()
        directions = [goal.direction for goal in goals.goals]
        study = optuna.create_study(storage=storage, sampler=sampler, directions=directions)
        add = _adder(optuna, study, space, distributions, goals)
        for trial in trials:
            add(trial.parameters, trial.state, trial)
        points: list[Parameters] = []
        while len(points) < most(space, trials, n):
            asked = study.ask(distributions)
            proposal = {
                name: _from_optuna(p, asked.params[f"p{i}"])
                for i, (name, p) in enumerate(space.free.items())
            }
            point = settled(space, trials, points, proposal, generator)
            if space.key(point) != space.key(
                active(space, proposal)
            ):  # what runs is told, not what was proposed
                study.tell(asked, state=optuna.trial.TrialState.FAIL)
                add(point, "running", None)
            points.append(point)
    return points


def _adder(
    optuna: Any, study: Any, space: Space, distributions: dict[str, Any], goals: Goals
) -> Callable[[Parameters, str, Trial | None], None]:
    states = optuna.trial.TrialState
    known = {"complete": states.COMPLETE, "failed": states.FAIL}

    def add(point: Parameters, state: str, trial: Trial | None) -> None:
        values = whole(space, point)
        measured = trial if state == "complete" else None
        made = optuna.trial.create_trial(
            state=known.get(state, states.RUNNING),
            params={
                f"p{i}": _to_optuna(p, values[name])
                for i, (name, p) in enumerate(space.free.items())
            },
            distributions=distributions,
            values=measured and [value_of(measured, goal) for goal in goals.goals],
            system_attrs={} if measured is None else _violations(measured, goals),
        )
        study.add_trial(made)

    return add


def _violations(trial: Trial, goals: Goals) -> dict[str, float]:
    slacks = [limit.slack(trial.values) for limit in goals.constraints]
    told = [1.0 if math.isnan(slack) else min(max(-slack, -LARGEST), LARGEST) for slack in slacks]
    return {f"constraints:{index}": value for index, value in enumerate(told)}


def _distribution(optuna: Any, parameter: Parameter) -> Any:
    kinds = optuna.distributions
    if parameter.type == "real":
        return kinds.FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if parameter.type == "integer":
        low, high = int(parameter.low), int(parameter.high)
        if wide(parameter):
            return kinds.FloatDistribution(low - 0.5, high + 0.5, log=parameter.log)
        return kinds.IntDistribution(low, high, log=parameter.log)
    if parameter.type == "ordinal":
        return kinds.IntDistribution(0, parameter.levels - 1)
    return kinds.CategoricalDistribution(range(parameter.levels))


def _to_optuna(parameter: Parameter, value: Value) -> float | int:
    if parameter.type in ("real", "integer"):
        assert isinstance(value, (int, float))
        return value
    return parameter.values.index(value)


def _from_optuna(parameter: Parameter, value: float | int) -> Value:
    if parameter.type == "real":
        return float(value)
    if parameter.type == "integer":
        return int(min(max(round(value), parameter.low), parameter.high))
    return parameter.values[int(value)]
