"""Pools of candidates as users have them: mappings, columns, a data frame, a CSV file. No paper."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from bo.csv_cells import read_rows, typed
from bo.parameters import Parameter
from surrogates.errors import UsageError


def rows_of(given: Any, parameters: Mapping[str, Parameter]) -> list[Mapping[str, Any]]:
    """One mapping per candidate, not checked yet.

    Args:
        given: a sequence of mappings; a mapping of columns, in which None stands for a parameter
            that is not active; a data frame, in which None and NaN do; or the path of a CSV file,
            whose further columns are not read and whose empty cells are parameters that are not
            active.
        parameters: of the space.

    Raises:
        UsageError: another thing, columns of different lengths, or a file that cannot be read.
    """
    if isinstance(given, (str, os.PathLike)):
        return _of_file(given, parameters)
    if hasattr(given, "columns") and hasattr(given, "to_dict"):
        records = given.to_dict("records")
        return [{name: cell for name, cell in row.items() if not _empty(cell)} for row in records]
    if isinstance(given, Mapping):
        columns = {name: _listed(column) for name, column in given.items() if _is_list(column)}
        if len(columns) < len(given) or len({len(column) for column in columns.values()}) > 1:
            raise UsageError(
                f"candidates expected columns of one length, such as {{x = [1, 2], y = [3, 4]}}, "
                f"got {given!r:.100}"
            )
        return [
            {name: value for name, value in zip(columns, row, strict=True) if value is not None}
            for row in zip(*columns.values(), strict=True)
        ]
    if _is_list(given) and all(isinstance(row, Mapping) for row in given):
        return list(given)
    raise UsageError(
        "candidates expected rows such as [{x = 1, y = 3}], columns, a data frame or the path of a "
        f"CSV file, got {given!r:.100}"
    )


def _of_file(path: "str | os.PathLike[str]", parameters: Mapping[str, Parameter]) -> Any:
    rows, columns = read_rows(path)
    for name, parameter in parameters.items():
        if name not in columns and parameter.type != "fixed" and not parameter.when:
            told = ", ".join(columns) or "none"
            raise UsageError(f"{path} expected a column {name}, got {told:.200}; add it")
    return [
        {
            name: typed(parameter, row[name])
            for name, parameter in parameters.items()
            if row.get(name, "") != ""
        }
        for row in rows
    ]


def _is_list(given: Any) -> bool:
    """A sequence, or an array or a series, whose cells become Python's own."""
    if isinstance(given, (str, bytes)):
        return False
    return isinstance(given, Sequence) or (hasattr(given, "tolist") and hasattr(given, "__len__"))


def _listed(column: Any) -> list[Any]:
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _empty(cell: Any) -> bool:
    return cell is None or cell != cell
