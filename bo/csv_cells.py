"""CSV files of parameters and outcomes: their cells, by row and column. No paper."""

import csv
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from bo.parameters import Parameter, Value
from surrogates.errors import UsageError

OWN = ("number", "state", "reason", "attempt", "method", "ask_cpu_seconds", "seconds")
"""The columns of a trial beside its parameters and outcomes."""
_PREFIX = "trial."


def free(name: str, taken: Iterable[str]) -> str:
    """A column's name, with `trial.` before it where parameters or outcomes have taken it.

    Once more than any of them has, so that `own` finds it among the columns of a file.
    """
    times = [each for each in (_times(name, column) for column in taken) if each is not None]
    return _PREFIX * (max(times) + 1 if times else 0) + name


def own(name: str, columns: Iterable[str], taken: Collection[str]) -> str | None:
    """The column that `free` gave this name to, or None where there is none."""
    times = [(_times(name, each), each) for each in columns if each not in taken]
    found = [(count, column) for count, column in times if count is not None]
    return max(found)[1] if found else None


def _times(name: str, column: str) -> int | None:
    """How often `trial.` stands before a name in that of a column; None where it is another."""
    before = column.removesuffix(name)
    count = len(before) // len(_PREFIX)
    return count if column == _PREFIX * count + name else None


def read_rows(
    path: str | os.PathLike[str],
) -> tuple[list[Mapping[str, str]], list[str]]:
    """Rows by the names of the columns, and these names.

    Raises:
        UsageError: no CSV file, or a row with too few or too many cells.
    """
    lines, columns = read_cells(path)
    rows: list[Mapping[str, str]] = []
    for line, cells in lines:
        try:
            rows.append(named(columns, cells))
        except UsageError as error:
            raise UsageError(f"{path}, line {line}: {error}") from None
    return rows, columns


def read_cells(path: str | os.PathLike[str]) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """The cells of each row that has any, with its line number; and the names of the columns."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            columns = [cell.strip() for cell in next(reader, [])]
            read = ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader)
            return [(line, cells) for line, cells in read if any(cells)], columns
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"expected a readable CSV file at {path}: {error}") from None


def named(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """The cells of a row by their columns. Raises `UsageError` where there are more or fewer."""
    if len(cells) != len(columns):
        raise UsageError(f"expected {len(columns)} cells, got {len(cells)}")
    return dict(zip(columns, cells, strict=True))


def typed(parameter: Parameter, text: str) -> Value:
    """A cell in the type of its parameter; a text that is none stays, and is refused by name."""
    if parameter.type in ("real", "integer"):
        return number(text)
    for level in parameter.values:
        if _is_level(level, text):
            return level
    return text


def _is_level(level: Value, text: str) -> bool:
    if isinstance(level, bool):
        return text.lower() in (("true", "1") if level else ("false", "0"))
    if isinstance(level, str):
        return text == level
    return number(text) == level


def number(text: str) -> Any:
    """A number, or the text that is none."""
    try:
        return float(text)
    except ValueError:
        return text
