"""Results that are known before a study starts: from a CSV file, or from another study. No paper.

study.warm_start(read_csv("old.csv", study.space, study.goal))
study.warm_start(read_study(bo.Study.resume("last-week", store="runs.db"), study.space))
"""

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bo.contract import Goal, Trial
from bo.space import Parameter, Parameters, Space, Value
from surrogates.errors import UsageError

if TYPE_CHECKING:
    from bo.study import Study

Known = list[tuple[Parameters, dict[str, float] | None]]
_FAILED = ("", "nan", "na", "n/a", "null", "none", "failed")


def read_csv(path: str | os.PathLike[str], space: Space, goal: Goal) -> tuple[Known, str | None]:
    """The rows of a CSV file with a column per parameter and one of the goal.

    A row whose goal is empty is a failed evaluation. Fixed parameters need no column. What
    `wald export --format csv` writes can be read; rows of trials that are not finished are left
    out.

    Returns:
        Parameters and outcome of each row, and a line about what was left out, or None.

    Raises:
        UsageError: no such file, a missing column, or a row that the space does not hold (by its
            line).
    """
    path = Path(path)
    rows, columns = _rows(path)
    name = f"value.{goal.name}" if goal.name in space.parameters else goal.name
    needed = [each for each, parameter in space.free.items() if not parameter.when]
    missing = [each for each in [*needed, name] if each not in columns]
    if missing:
        told = ", ".join(columns) or "none"
        raise UsageError(f"{path} expected a column {missing[0]}, got {told:.200}; add it")
    for column in [*space.parameters, name]:
        if columns.count(column) > 1:
            raise UsageError(f"{path} expected one column {column}, got several; rename them")
    known: Known = []
    for line, row in rows:
        if row.get("state") in ("waiting", "running") and "number" in columns:
            continue
        try:
            given = {n: row[n] for n in space.parameters if row.get(n, "") != ""}
            point = space.check({n: _value(space.parameters[n], text) for n, text in given.items()})
            known.append((point, _outcome(goal.name, row[name])))
        except UsageError as error:
            raise UsageError(f"{path}, line {line}: {error}") from None
    ignored = [each for each in columns if each not in space.parameters and each != name]
    return known, f"{path.name}: ignored {', '.join(ignored)}" if ignored else None


def read_study(source: "Study", space: Space, goal: Goal) -> tuple[Known, str | None]:
    """The finished trials of another study.

    Parameters of it that the space does not have are left out; fixed ones need no value.

    Returns:
        Parameters and outcome of each trial, and a line about what was left out, or None.

    Raises:
        UsageError: the study lacks a parameter or the goal, or a point is outside the space.
    """
    for name in space.free:
        if name not in source.space.parameters:
            raise UsageError(
                f"a warm start expected parameter {name} in the study {source.name!r}, got none; "
                "name a study of the same parameters"
            )
    finished = [trial for trial in source.trials if trial.done]
    known = [_of_trial(trial, source.name, space, goal) for trial in finished]
    ignored = [name for name in source.space.parameters if name not in space.parameters]
    return known, f"{source.name}: ignored {', '.join(ignored)}" if ignored else None


def _of_trial(
    trial: Trial, study: str, space: Space, goal: Goal
) -> tuple[Parameters, dict[str, float] | None]:
    held = {name: v for name, v in trial.parameters.items() if name in space.parameters}
    try:
        point = space.check(held)
    except UsageError as error:
        raise UsageError(f"trial {trial.number} of study {study!r}: {error}") from None
    if trial.state == "failed":
        return point, None
    if goal.name not in trial.values:
        told = ", ".join(trial.values)
        raise UsageError(f"the study {study!r} expected a goal {goal.name!r}, got {told}")
    return point, dict(trial.values)


def _rows(path: Path) -> tuple[list[tuple[int, Mapping[str, str]]], list[str]]:
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


def _value(parameter: Parameter, text: str) -> Value:
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


def _outcome(goal: str, text: str) -> dict[str, float] | None:
    if text.lower() in _FAILED:
        return None
    value = _number(text)
    if not isinstance(value, float) or not math.isfinite(value):
        raise UsageError(f"goal {goal} expected a number, got {text!r}; leave a failed one empty")
    return {goal: value}
