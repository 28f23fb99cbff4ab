"""Studies from and to Optuna (github.com/optuna/optuna, MIT licence). No paper.

Parameters, values and states survive the way there and back exactly; so does the space, which
Optuna does not know: it travels as a user attribute. A study that Optuna made itself gets the space
that its trials' distributions tell; they do not tell what a conditional parameter depends on, so
such a space must be given. A pruned trial is a failed one here; one that ended before all of its
parameters were chosen is left out, for it was no point of the space.
"""

import contextlib
import datetime
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bo import metrics
from bo.contract import Trial
from bo.goals import Goal, Goals
from bo.space import Parameter, Space, boolean, choice, fixed, integer, ordinal, real
from surrogates.errors import NotInstalledError, UsageError

if TYPE_CHECKING:
    import optuna

    from bo.study import Study

_OURS = "wald"
_MOST_LEVELS = 1000
_ROUNDING = 1e-9  # of the range of an ordinal parameter
_STATES = {"waiting": "WAITING", "running": "RUNNING", "complete": "COMPLETE", "failed": "FAIL"}


def to_optuna(study: "Study", storage: Any = None, name: str | None = None) -> "optuna.study.Study":
    """A new Optuna study with all trials of ours.

    Args:
        study: ours.
        storage: a storage or URL of Optuna, such as `sqlite:///optuna.db`; None for memory.
        name: of the new study; by default that of ours.

    Raises:
        UsageError: the storage has a study of that name.
        NotInstalledError: no Optuna.
    """
    optuna = _optuna()
    with _quiet(optuna):
        try:
            made = optuna.create_study(
                storage=storage,
                study_name=name or study.name,
                directions=[goal.direction for goal in study.goals.goals],
            )
        except optuna.exceptions.DuplicatedStudyError:
            raise UsageError(
                f"expected a name that is free in {storage}, got {name or study.name!r}; "
                "choose another one"
            ) from None
        ours = {"space": study.space.to_dict(), "goal": str(study.goals)}
        made.set_user_attr(_OURS, json.dumps(ours))
        made.add_trials([_to_theirs(optuna, trial, study) for trial in study.trials])
    return made


def from_optuna(
    source: "optuna.study.Study | str",
    name: str | None = None,
    *,
    space: Space | Mapping[str, Parameter] | None = None,
    goal: str = "value",
    store: str | Path | None = None,
    method: str = "auto",
    seed: int | None = None,
) -> "Study":
    """A study of ours with all trials of an Optuna study.

    Args:
        source: the study, or the URL of its storage.
        name: of the study, there (where `source` is a URL) and here.
        space: where the trials lie; by default as their distributions tell. Needed where some
            parameters are conditional (`when=`).
        goal: what the value is called here; one that came from us keeps its name, several from
            elsewhere are numbered (value0, value1, ...).
        store: path of an SQLite file or a URL of ours; None keeps the study in memory.
        method: a name of `wald catalog bo`.
        seed: of everything random.

    Raises:
        UsageError: ranges that change, complete trials that lack a parameter, or a study of that
            name that holds trials already.
        NotInstalledError: no Optuna.
    """
    from bo.study import Study

    optuna = _optuna()
    with _quiet(optuna):
        theirs: Any = source
        if isinstance(source, str):
            try:
                theirs = optuna.load_study(study_name=name, storage=source)
            except KeyError:
                held = optuna.get_all_study_names(storage=source)
                told = ", ".join(held) or "none"
                raise UsageError(
                    f"expected a study {name!r} in {source}, got {told:.200}; name one of these"
                ) from None
        trials = sorted(theirs.get_trials(deepcopy=False), key=lambda trial: trial.number)
        ours = json.loads(theirs.user_attrs.get(_OURS, "{}"))
        if space is None:
            tables = ours.get("space")
            space = _space(trials) if tables is None else Space.from_dict(tables)
        told = Goals.parse(ours["goal"]) if "goal" in ours else _goals(theirs.directions, goal)
        made = Study(
            space,
            told,
            name=name or theirs.study_name,
            store=store,
            method=method,
            seed=seed,
        )
        if made.trials:
            raise UsageError(f"expected a new study, got {made.name!r}, which holds trials already")
        rows = {trial.number: _to_ours(trial, made) for trial in trials}
    left_out = [str(number) for number, row in rows.items() if row is None]
    if left_out:
        warnings.warn(
            "left out trials of the Optuna study that ended before all of their parameters were "
            f"chosen: {', '.join(left_out)}",
            stacklevel=2,
        )
    kept = [row for row in rows.values() if row is not None]
    if kept:
        made.log.add(kept)
    return made


def _goals(directions: list[Any], name: str) -> Goals:
    names = [name] if len(directions) == 1 else [f"{name}{at}" for at in range(len(directions))]
    return Goals(
        tuple(
            Goal(each, "maximize" if direction.name == "MAXIMIZE" else "minimize")
            for each, direction in zip(names, directions, strict=True)
        )
    )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise NotInstalledError("expected Optuna, got none; do: pip install optuna") from None
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """No lines about each study that is made."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _to_theirs(optuna: Any, trial: Trial, study: "Study") -> Any:
    told: dict[str, Any] = {
        "values": metrics.told(trial),
        "reason": trial.reason,
        "method": trial.method,
        "attempt": trial.attempt,
    }
    waiting = trial.state == "waiting"
    params = dict(trial.parameters)
    known = {n: p for n, p in study.space.parameters.items() if n in params}
    made = optuna.trial.create_trial(
        state=getattr(optuna.trial.TrialState, _STATES[trial.state]),
        values=[trial.values[goal.name] for goal in study.goals.goals]
        if trial.state == "complete"
        else None,
        params={} if waiting else params,
        distributions={} if waiting else {n: _distribution(optuna, p) for n, p in known.items()},
        user_attrs={_OURS: json.dumps(told)},
        system_attrs={"fixed_params": params} if waiting else {},
    )
    if trial.started is not None:
        made.datetime_start = datetime.datetime.fromtimestamp(trial.started)
    if trial.finished is not None:
        made.datetime_complete = datetime.datetime.fromtimestamp(trial.finished)
    return made


def _distribution(optuna: Any, parameter: Parameter) -> Any:
    if parameter.type == "real":
        return optuna.distributions.FloatDistribution(
            float(parameter.low), float(parameter.high), log=parameter.log
        )
    if parameter.type == "integer":
        return optuna.distributions.IntDistribution(
            int(parameter.low), int(parameter.high), log=parameter.log
        )
    return optuna.distributions.CategoricalDistribution(parameter.values)


def _to_ours(trial: Any, study: "Study") -> dict[str, Any] | None:
    """None of one that ended before all of its parameters were chosen."""
    ours = json.loads(trial.user_attrs.get(_OURS, "{}"))
    state = {theirs: mine for mine, theirs in _STATES.items()}.get(trial.state.name, "failed")
    given = trial.params or trial.system_attrs.get("fixed_params", {})
    if state != "complete" and _missing(study.space, given):
        return None
    given = {name: _level(study.space.parameters.get(name), each) for name, each in given.items()}
    try:
        point = study.space.check(given)
    except UsageError as error:
        raise UsageError(f"trial {trial.number} of the Optuna study: {error}") from None
    values = ours.get("values", {}) if state in ("complete", "failed") else None
    reason = ours.get("reason")
    if state == "complete":
        held: dict[str, Any] = values or {}
        names = [goal.name for goal in study.goals.goals]
        held = {n: tuple(v) if isinstance(v, list) else v for n, v in held.items()}
        values, reason = study.read_outcome(dict(zip(names, trial.values, strict=True)) | held)
        state = "failed" if reason else state
    return {
        "state": state,
        "parameters": json.dumps(point),
        "outcome": None if values is None else json.dumps(values),
        "reason": (reason or trial.state.name.lower()) if state == "failed" else None,
        "method": ours.get("method"),
        "attempt": ours.get("attempt", 1),
        "started": _seconds(trial.datetime_start),
        "finished": _seconds(trial.datetime_complete),
    }


def _level(parameter: Parameter | None, value: Any) -> Any:
    """The level of an ordinal parameter that a number is but for rounding; else the number."""
    if parameter is None or parameter.type != "ordinal" or isinstance(value, (bool, str)):
        return value
    levels: list[Any] = list(parameter.values)
    near = min(levels, key=lambda level: abs(level - value))
    return near if abs(near - value) <= _ROUNDING * (levels[-1] - levels[0]) else value


def _missing(space: Space, given: Mapping[str, Any]) -> bool:
    """Whether parameters that every point has were not given."""
    return any(not each.when and name not in given for name, each in space.free.items())


def _seconds(time: datetime.datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _space(trials: list[Any]) -> Space:
    """As the distributions of the trials tell."""
    found: dict[str, Any] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if found.setdefault(name, distribution) != distribution:
                raise UsageError(
                    f"parameter {name} expected one range in all trials, got {found[name]} and "
                    f"{distribution}; give space="
                )
    for trial in trials:
        missing = [n for n in found if n not in trial.params]
        if missing and trial.state.name == "COMPLETE":
            raise UsageError(
                f"expected every parameter in every trial, got no {missing[0]} in trial "
                f"{trial.number}; give space=, where it is conditional with its when="
            )
    if not found:
        raise UsageError("expected an Optuna study with trials, got none; give space=")
    return Space({name: _parameter(name, each) for name, each in found.items()})


def _parameter(name: str, distribution: Any) -> Parameter:
    kind = type(distribution).__name__
    if kind == "CategoricalDistribution":
        values: list[Any] = list(distribution.choices)
        if set(map(type, values)) == {bool} and len(values) == 2:
            return boolean()
        if any(not isinstance(value, (bool, int, float, str)) for value in values):
            raise UsageError(f"parameter {name} expected numbers, texts, booleans, got {values!r}")
        return choice(*values) if len(values) > 1 else fixed(values[0])
    low, high, step = distribution.low, distribution.high, distribution.step
    if low == high:
        return fixed(low)
    whole = kind == "IntDistribution"
    if step is None or (whole and step == 1):
        return (integer if whole else real)(low, high, log=distribution.log)
    levels = round((high - low) / step) + 1
    if levels > _MOST_LEVELS:
        raise UsageError(
            f"parameter {name} expected at most {_MOST_LEVELS} steps, got {levels}; give space="
        )
    return ordinal(*(min(low + index * step, high) for index in range(levels)))
