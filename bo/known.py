"""Results that are known before a study starts: from a CSV file, or from another study. No paper.

study.warm_start(read_csv("old.csv", study.space, study.goals))
old = bo.Study.resume("last-week", store="runs.db")
study.warm_start(read_study(old, study.space, study.goals))
"""

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bo import metrics
from bo.contract import Trial
from bo.goals import Goal, Goals
from bo.space import Parameter, Parameters, Space, Value
from surrogates.errors import UsageError

if TYPE_CHECKING:
    from bo.study import Study

Known = list[tuple[Parameters, dict[str, Any] | None]]
_FAILED = ("", "nan", "na", "n/a", "null", "none", "failed")


def read_csv(
    path: str | os.PathLike[str], space: Space, goals: Goals | Goal
) -> tuple[Known, str | None]:
    """The rows of a CSV file with a column per parameter and one per outcome of the goals.

    A row in which one of these is empty is a failed evaluation. Fixed parameters need no column.
    What `wald export --format csv` writes can be read; rows of trials that are not finished are
    left out.

    Returns:
        Parameters and outcome of each row, and a line about what was left out, or None.

    Raises:
        UsageError: no such file, a missing column, or a row that the space does not hold (by its
            line).
    """
    path, goals = Path(path), Goals.of(goals)
    rows, columns = read_rows(path)
    names = {n: f"value.{n}" if n in space.parameters else n for n in goals.outcomes}
    needed = [each for each, parameter in space.free.items() if not parameter.when]
    missing = [each for each in [*needed, *names.values()] if each not in columns]
    if missing:
        told = ", ".join(columns) or "none"
        raise UsageError(f"{path} expected a column {missing[0]}, got {told:.200}; add it")
    for column in [*space.parameters, *names.values()]:
        if columns.count(column) > 1:
            raise UsageError(f"{path} expected one column {column}, got several; rename them")
    known: Known = []
    for line, row in rows:
        if row.get("state") in ("waiting", "running") and "number" in columns:
            continue
        try:
            given = {n: row[n] for n in space.parameters if row.get(n, "") != ""}
            point = space.check({n: typed(space.parameters[n], text) for n, text in given.items()})
            known.append((point, _outcome({n: row[column] for n, column in names.items()})))
        except UsageError as error:
            raise UsageError(f"{path}, line {line}: {error}") from None
    ignored = [each for each in columns if each not in [*space.parameters, *names.values()]]
    return known, f"{path.name}: ignored {', '.join(ignored)}" if ignored else None


def read_study(source: "Study", space: Space, goals: Goals | Goal) -> tuple[Known, str | None]:
    """The finished trials of another study.

    Parameters of it that the space does not have are left out; fixed ones need no value.

    Returns:
        Parameters and outcome of each trial, and a line about what was left out, or None.

    Raises:
        UsageError: the study lacks a parameter or the goal, or a point is outside the space.
    """
    goals = Goals.of(goals)
    for name in space.free:
        if name not in source.space.parameters:
            raise UsageError(
                f"a warm start expected parameter {name} in the study {source.name!r}, got none; "
                "name a study of the same parameters"
            )
    finished = [trial for trial in source.trials if trial.done]
    known = [_of_trial(trial, source.name, space, goals) for trial in finished]
    ignored = [name for name in source.space.parameters if name not in space.parameters]
    return known, f"{source.name}: ignored {', '.join(ignored)}" if ignored else None


def _of_trial(
    trial: Trial, study: str, space: Space, goals: Goals
) -> tuple[Parameters, dict[str, Any] | None]:
    held = {name: v for name, v in trial.parameters.items() if name in space.parameters}
    try:
        point = space.check(held)
    except UsageError as error:
        raise UsageError(f"trial {trial.number} of study {study!r}: {error}") from None
    if trial.state == "failed":
        return point, None
    for name in goals.outcomes:
        if name not in trial.values:
            told = ", ".join(trial.values)
            raise UsageError(f"the study {study!r} expected a goal {name!r}, got {told}")
    return point, metrics.told(trial)


def read_rows(
    path: str | os.PathLike[str],
) -> tuple[list[tuple[int, Mapping[str, str]]], list[str]]:
    """Rows with their line numbers, and the names of the columns."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            columns = [cell.strip() for cell in next(reader, [])]
            rows: list[tuple[int, Mapping[str, str]]] = []
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    raise UsageError(
                        f"{path}, line {reader.line_num}: expected {len(columns)} cells, "
                        f"got {len(cells)}"
                    )
                held = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
                rows.append((reader.line_num, held))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"expected a readable CSV file at {path}: {error}") from None
    return rows, columns


def typed(parameter: Parameter, text: str) -> Value:
    """A cell in the type of its parameter; a text that is none stays, and is refused by name."""
    if parameter.type in ("real", "integer"):
        return _number(text)
    for level in parameter.values:
        if _is_level(level, text):
            return level
    return text


def _is_level(level: Value, text: str) -> bool:
    if isinstance(level, bool):
        return text.lower() in (("true", "1") if level else ("false", "0"))
    if isinstance(level, str):
        return text == level
    return _number(text) == level


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _outcome(cells: Mapping[str, str]) -> dict[str, Any] | None:
    values: dict[str, Any] = {}
    for name, text in cells.items():
        if text.lower() in _FAILED:
            return None
        value = _number(text)
        if not isinstance(value, float) or not math.isfinite(value):
            raise UsageError(
                f"goal {name} expected a number, got {text!r}; leave a failed one empty"
            )
        values[name] = value
    return values
