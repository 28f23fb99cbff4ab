"""Results that are known before a study starts: from a CSV file, or from another study. No paper.

study.warm_start(read_csv("old.csv", study.space, study.goals))
old = bo.Study.resume("last-week", store="runs.db")
study.warm_start(read_study(old, study.space, study.goals))
"""

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bo import metrics
from bo.contract import Trial
from bo.csv_cells import OWN, named, number, own, read_cells, typed
from bo.goals import Goal, Goals
from bo.space import Parameters, Space
from surrogates.errors import UsageError

if TYPE_CHECKING:
    from bo.study import Study

Found = dict[str, Any] | str | None
"""An outcome as for `tell`; the reason of a failed evaluation, or None where there is none."""
Known = list[tuple[Parameters, Found]]
_Item = TypeVar("_Item")
_SHOWN = 5  # of what is invalid; the rest is counted
_WRITTEN_OVER = ("reason", "attempt", "method", "ask_cpu_seconds", "seconds")
_FAILED = ("", "nan", "na", "n/a", "null", "none", "failed")


def read_csv(
    path: str | os.PathLike[str],
    space: Space,
    goals: Goals | Goal,
    *,
    skip_invalid: bool = False,
) -> tuple[Known, str | None]:
    """The rows of a CSV file with a column per parameter and one per outcome of the goals.

    A row in which one of these is empty is a failed evaluation. Fixed parameters need no column.
    A column `sem.NAME` has the standard errors of an outcome, `reason` says why a row failed: what
    `wald export --format csv` writes can be read; rows of trials that are not finished are left
    out. An outcome named as a parameter stands in `value.NAME`; a column of trials named as one of
    them has `trial.` before it.

    Args:
        path: of the file.
        space: of the study.
        goals: of the study.
        skip_invalid: leave out rows that cannot be taken in, and say so.

    Returns:
        Parameters and outcome of each row, and a line about what was left out, or None.

    Raises:
        UsageError: no such file, a missing column, one that an older export wrote over, or rows
            that the space does not hold (the first of them by their lines); with `skip_invalid`
            only where no row is left.
    """
    path, goals = Path(path), Goals.of(goals)
    lines, columns = read_cells(path)
    taken = {*space.parameters, *goals.outcomes}

    def ours(name: str) -> str | None:
        return own(name, columns, taken)

    names = {n: n for n in goals.outcomes}
    names |= {n: ours(f"value.{n}") or f"value.{n}" for n in names if n in space.parameters}
    needed = [each for each, parameter in space.free.items() if not parameter.when]
    missing = [each for each in [*needed, *names.values()] if each not in columns]
    if missing:
        told = ", ".join(columns) or "none"
        if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
            raise UsageError(f"{path} expected commas between cells, got {told!r:.200}")
        raise UsageError(f"{path} expected a column {missing[0]}, got {told:.200}; add it")
    for column in [*space.parameters, *names.values()]:
        if columns.count(column) > 1:
            raise UsageError(f"{path} expected one column {column}, got several; rename them")
    for name in _WRITTEN_OVER if {*OWN} <= {*columns} else ():  # as in an export
        if name in taken and ours(name) is None:
            raise UsageError(
                f"{path} expected your {name} in the column {name}, got that of the trials, which "
                "older exports wrote over it; export the study again, or rename the column"
            )

    sems = {n: column for n in goals.outcomes if (column := ours(f"sem.{n}"))}
    reasons = [column for column in [ours("reason")] if column]
    number_of, state = ours("number"), ours("state")

    def read(cells: list[str]) -> tuple[Parameters, Found] | None:
        row = named(columns, cells)
        if number_of and state and row[state] in ("waiting", "running"):
            return None
        given = {n: row[n] for n in space.parameters if row.get(n, "") != ""}
        point = space.check({n: typed(space.parameters[n], text) for n, text in given.items()})
        found = _outcome({n: row[column] for n, column in names.items()})
        if found is None:
            return point, next((row[each] for each in reasons if row[each]), None)
        errors = _outcome({n: row[column] for n, column in sems.items() if row[column]}) or {}
        return point, found | {n: (found[n], sem) for n, sem in errors.items()}

    rows = [(f"line {line}", cells) for line, cells in lines]
    known, note = _read_all(f"{path}", rows, read, skip_invalid)
    used = [*space.parameters, *names.values(), *sems.values(), *reasons]
    ignored = [each for each in columns if each not in used]
    told = [*([f"ignored {', '.join(ignored)}"] if ignored else []), *note]
    return known, f"{path.name}: {'; '.join(told)}" if told else None


def read_study(
    source: "Study", space: Space, goals: Goals | Goal, *, skip_invalid: bool = False
) -> tuple[Known, str | None]:
    """The finished trials of another study.

    Parameters of it that the space does not have are left out; fixed ones need no value.

    Args:
        source: the other study.
        space: of the study.
        goals: of the study.
        skip_invalid: leave out trials that cannot be taken in, and say so.

    Returns:
        Parameters and outcome of each trial, and a line about what was left out, or None.

    Raises:
        UsageError: the study lacks a parameter, or trials lack the goal or are outside the space;
            with `skip_invalid` only where no trial is left.
    """
    goals = Goals.of(goals)
    for name in space.free:
        if name not in source.space.parameters:
            raise UsageError(
                f"a warm start expected parameter {name} in the study {source.name!r}, got none; "
                "name a study of the same parameters"
            )
    finished = [(f"trial {trial.number}", trial) for trial in source.trials if trial.done]
    read = functools.partial(_of_trial, space=space, goals=goals)
    known, note = _read_all(f"study {source.name!r}", finished, read, skip_invalid)
    ignored = [name for name in source.space.parameters if name not in space.parameters]
    told = [*([f"ignored {', '.join(ignored)}"] if ignored else []), *note]
    return known, f"{source.name}: {'; '.join(told)}" if told else None


def _of_trial(trial: Trial, space: Space, goals: Goals) -> tuple[Parameters, Found]:
    held = {name: v for name, v in trial.parameters.items() if name in space.parameters}
    point = space.check(held)
    if trial.state == "failed":
        return point, trial.reason
    for name in goals.outcomes:
        if name not in trial.values:
            raise UsageError(f"expected a goal {name!r}, got {', '.join(trial.values)}")
    return point, metrics.told(trial)


def _read_all(
    source: str,
    items: Sequence[tuple[str, _Item]],
    read: Callable[[_Item], tuple[Parameters, Found] | None],
    skip_invalid: bool,
) -> tuple[Known, list[str]]:
    """What each item holds, and a part of a line about those that were left out.

    Raises:
        UsageError: with the first of the items that hold nothing valid.
    """
    known: Known = []
    wrong: list[str] = []
    for where, item in items:
        try:
            made = read(item)
        except UsageError as error:
            wrong.append(f"{where}: {error}")
            continue
        if made is not None:
            known.append(made)
    if not wrong:
        return known, []
    more = len(wrong) - _SHOWN
    told = "; ".join(wrong[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    if known and skip_invalid:
        return known, [f"left out {len(wrong)} of {len(items)} ({told})"]
    if skip_invalid:
        raise UsageError(f"{source} has none that is valid: {told}")
    raise UsageError(
        f"{source}, {told}; mend {'it' if len(wrong) == 1 else 'them'}, or leave out what is "
        "invalid (--skip-invalid, in Python skip_invalid=True)"
    )


def _outcome(cells: Mapping[str, str]) -> dict[str, Any] | None:
    values: dict[str, Any] = {}
    for name, text in cells.items():
        if text.lower() in _FAILED:
            return None
        value = number(text)
        if not isinstance(value, float) or not math.isfinite(value):
            raise UsageError(
                f"goal {name} expected a number, got {text!r}; leave a failed one empty"
            )
        values[name] = value
    return values
