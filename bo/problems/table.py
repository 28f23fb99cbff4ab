"""`table:<file>`: a table of measurements as a problem.

The TOML file names the table (csv, csv.gz or parquet; a path relative to the TOML file, in which
environment variables such as `$WALD_DATA` count), its inputs and its goal:

    table = "suzuki.csv.gz"
    repeats = "mean"                # or "draw": each evaluation draws one of the repeats
    [inputs.ligand]                 # columns that are not named are ignored
    type = "categorical"            # default: from the column
    descriptors = "ligand.csv.gz"   # optional numeric features of the levels, joined on `key`
    key = "ligand_SMILES"
    [goals.yield]
    direction = "maximize"
    scale = "linear"                # or "log"

Several goals are traded off. Two more keys, both optional: `subject_to = ["cost <= 30"]`,
constraints on outcomes, goals or other columns; `reference = { yield = 50, cost = 30 }`, of several
goals, the worst values of interest.

Types of inputs: real, integer (both with optional `low`, `high`, `log = true`), ordinal, choice or
categorical (both with optional `values`, in order), boolean, fixed (with `value`, only the rows
that have it count). `bo/problems/columns.py` tells what a column is without a type,
`bo/problems/measurements.py` what holds for repeats, failures and log scales. A column named
`status`, where there is one, says why a row failed.
"""

import dataclasses
import os
import tomllib
import warnings
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bo import descriptors
from bo.contract import Problem
from bo.goals import Goal, Goals
from bo.problems.columns import Input
from bo.problems.measurements import Outcome, Repeats, problem_of
from surrogates.errors import NotInstalledError, UsageError
from surrogates.options import option, options, unknown

_FIELDS: dict[str, tuple[str, ...]] = {
    "": ("log",),
    "real": ("low", "high", "log"),
    "integer": ("low", "high", "log"),
    "ordinal": ("values",),
    "choice": ("values",),
    "categorical": ("values",),
    "boolean": (),
    "fixed": ("value",),
}
_EMPTY = ["", "nan", "NaN", "NAN", "NA", "N/A", "null", "NULL", "None", "none"]
_STATUS = "status"


@options
class Options:
    """How the table is used."""

    repeats: str = option(
        default="file",
        help="rows with equal inputs: their mean, a draw by the seed, or as the file says",
        choices=("file", "mean", "draw"),
    )


def problem(name: str, options: Options) -> Problem:
    """The problem of `table:FILE.toml`. Raises `UsageError` where a file is absent or malformed."""
    path = Path(name.removeprefix("table:"))
    told = _read_toml(path)
    known = ("table", "repeats", "inputs", "goals", "subject_to", "reference")
    _only_known(told, known, f"key of {path.name}")
    if not isinstance(told.get("table"), str):
        raise UsageError(f'{path.name} expected table = "FILE.csv", got {told.get("table")!r}')
    inputs = _tables(told, "inputs", path)
    goals, logs = _goals(_tables(told, "goals", path), told, path)
    limited = [name for limit in goals.constraints for name in limit.names]
    shown = {f"log10_{name}": name for name in logs}
    outcomes = list(dict.fromkeys(shown.get(name, name) for name in [*_names(goals), *limited]))
    for column in outcomes:
        if column in inputs:
            raise UsageError(f"{path.name} expected {column} as input or goal, got both; drop one")
    given = {key: _input(key, table, path) for key, table in inputs.items()}

    frame = read_frame(_found(path, told["table"]), inputs=list(given), goals=outcomes)
    for key, table in inputs.items():
        if "descriptors" in table or "key" in table:
            found = _descriptors(key, table, column_of(frame, key), path)
            given[key] = dataclasses.replace(given[key], descriptors=found)
    return problem_of(
        name,
        {key: column_of(frame, key) for key in given},
        given,
        [
            Outcome(column, numbers(column_of(frame, column), column, told["table"])[:, None], log)
            for column, log in ((column, column in logs) for column in outcomes)
        ],
        goals,
        repeats=_repeats(told, options, path),
        statuses=None if _STATUS in given else statuses_of(frame),
    )


def read_frame(path: Path, *, inputs: list[str], goals: list[str]) -> pd.DataFrame:
    """The named columns, and `status` where there is one, of a csv, csv.gz or parquet file.

    Raises:
        UsageError: the file is missing or malformed, or a column is absent.
        NotInstalledError: a parquet file without pyarrow.
    """
    if path.suffix == ".parquet":
        frame = _read(path, lambda: pd.read_parquet(path))
        wanted = _wanted(frame.columns, [*inputs, *goals], path)
        return frame.loc[:, wanted].reset_index(drop=True)
    if not path.name.endswith((".csv", ".csv.gz")):
        raise UsageError(f"expected a csv, csv.gz or parquet file, got {path.name}; convert it")
    wanted = _wanted(read_header(path), [*inputs, *goals], path)
    missing = {name: _EMPTY if name in goals else [""] for name in wanted}
    # All columns are read: told which to use, pandas would pass over rows that are too long.
    frame = _read(
        path,
        lambda: pd.read_csv(
            path,
            index_col=False,
            encoding="utf-8-sig",  # tables saved by spreadsheets start with a mark
            low_memory=False,
            skipinitialspace=True,
            keep_default_na=False,  # "NA" and "None" are levels, not empty cells
            na_values=missing,
        ),
    )
    return frame.loc[:, wanted]


def read_header(path: Path) -> list[str]:
    """The column names of a csv or csv.gz file."""
    row = _read(
        path,
        lambda: pd.read_csv(
            path,
            header=None,
            nrows=1,
            dtype=str,
            encoding="utf-8-sig",
            skipinitialspace=True,
            keep_default_na=False,
        ),
    )
    return [str(cell) for cell in row.iloc[0]]


def column_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """One column."""
    return frame[name]


def statuses_of(frame: pd.DataFrame) -> pd.Series | None:
    """The column `status`, where there is one."""
    return column_of(frame, _STATUS) if _STATUS in frame else None


def numbers(column: pd.Series, name: str, file: str) -> NDArray[np.float64]:
    """A goal column as numbers, NaN where it is empty."""
    cells = column.to_numpy(dtype=object, na_value=np.nan)
    found = np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=np.float64)
    bad = np.isnan(found) & column.notna().to_numpy(dtype=np.bool_)
    if bad.any():
        row = int(np.argmax(bad))
        raise UsageError(
            f"goal {name} of {file} expected numbers, got {column.iloc[row]!r} in row {row + 1}; "
            "leave the cell of a failed measurement empty"
        )
    return found


def _read(path: Path, reader: Any) -> pd.DataFrame:
    if not path.is_file():
        raise UsageError(f"expected a table at {path}, got no file; correct the path")
    try:
        with warnings.catch_warnings():
            # Where all rows are longer than the header, pandas only warns and drops cells.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return reader()
    except ImportError:
        raise NotInstalledError(
            f"expected pyarrow to read {path.name}, got none; do: pip install pyarrow"
        ) from None
    except (OSError, EOFError, zlib.error, ValueError, pd.errors.ParserWarning) as error:
        told = (str(error).splitlines() or [""])[0]
        raise UsageError(f"expected a readable table at {path}: {told}") from None


def _wanted(header: Iterable[Any], names: list[str], path: Path) -> list[str]:
    known = [str(column) for column in header]
    for name in names:
        if name not in known:
            raise UsageError(unknown(f"column of {path.name}", name, known))
        if known.count(name) > 1:
            raise UsageError(
                f"expected one column {name} in {path.name}, got {known.count(name)}; rename them"
            )
    return names + [_STATUS] * (known.count(_STATUS) == 1 and _STATUS not in names)


def _found(toml: Path, file: str) -> Path:
    """The file that a TOML names, beside it or below `$WALD_DATA`."""
    expanded = os.path.expandvars(file)
    if "$" in expanded:
        raise UsageError(f"{toml.name} expected {file} to be found, got no such variable; set it")
    return toml.parent / expanded


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        told = (str(error).splitlines() or [""])[0]
        raise UsageError(f"expected a readable TOML file of a table at {path}: {told}") from None


def _only_known(table: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            raise UsageError(unknown(what, key, known))


def _tables(told: Mapping[str, Any], key: str, path: Path) -> dict[str, dict[str, Any]]:
    found = told.get(key)
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path.name} expected at least one table [{key}.NAME], got none; add it")
    for name, table in found.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path.name} expected a table [{key}.{name}], got {table!r}")
    return found


def _goals(
    tables: Mapping[str, dict[str, Any]], told: Mapping[str, Any], path: Path
) -> tuple[Goals, list[str]]:
    """All that is optimised, and the goals on a log scale."""
    goals: list[Goal] = []
    logs: list[str] = []
    for name, table in tables.items():
        _only_known(table, ("direction", "scale"), f"key of [goals.{name}]")
        direction, scale = table.get("direction"), table.get("scale", "linear")
        if direction not in ("minimize", "maximize"):
            raise UsageError(
                f'goal {name} expected direction "minimize" or "maximize", got {direction!r}'
            )
        if scale not in ("linear", "log"):
            raise UsageError(f'goal {name} expected scale "linear" or "log", got {scale!r}')
        logs += [name] if scale == "log" else []
        goals.append(Goal(f"log10_{name}" if scale == "log" else name, direction))
    limits, reference = told.get("subject_to", []), told.get("reference")
    if not isinstance(limits, list) or not all(isinstance(text, str) for text in limits):
        raise UsageError(f'{path.name} expected subject_to = ["NAME <= NUMBER"], got {limits!r}')
    if reference is not None and not isinstance(reference, dict):
        raise UsageError(
            f"{path.name} expected reference = {{ NAME = NUMBER, ... }}, got {reference!r}"
        )
    return Goals.of(goals, limits, reference), logs


def _names(goals: Goals) -> list[str]:
    return [goal.name for goal in goals.goals]


def _input(name: str, table: Mapping[str, Any], path: Path) -> Input:
    kind = table.get("type", "")
    if not isinstance(kind, str) or kind not in _FIELDS or (not kind and "type" in table):
        raise UsageError(unknown(f"type of input {name}", str(kind), [k for k in _FIELDS if k]))
    known = ("type", *_FIELDS[kind], "descriptors", "key")
    _only_known(table, known, f"key of [inputs.{name}]" + (f" of type {kind}" if kind else ""))
    for key in ("low", "high"):
        if not isinstance(table.get(key, 0), (int, float)) or isinstance(table.get(key), bool):
            raise UsageError(f"{key} of input {name} expected a number, got {table[key]!r}")
    if not isinstance(table.get("log", False), bool):
        raise UsageError(f"log of input {name} expected true or false, got {table['log']!r}")
    values = table.get("values", [])
    if not isinstance(values, list):
        raise UsageError(f"values of input {name} expected a list, got {values!r}")
    return Input(
        type="choice" if kind == "categorical" else kind,  # pyright: ignore[reportArgumentType]
        low=table.get("low"),
        high=table.get("high"),
        log=table.get("log", False),
        values=(table["value"],) if "value" in table else tuple(values),
    )


def _repeats(told: Mapping[str, Any], options: Options, path: Path) -> Repeats:
    repeats = told.get("repeats", "mean")
    if repeats not in ("mean", "draw"):
        raise UsageError(f'repeats of {path.name} expected "mean" or "draw", got {repeats!r}')
    if options.repeats != "file":
        repeats = options.repeats
    return "draw" if repeats == "draw" else "mean"


def _descriptors(
    name: str, table: Mapping[str, Any], column: pd.Series, path: Path
) -> dict[str, list[float]]:
    """The features of every level in the column, by its text."""
    file, key = table.get("descriptors"), table.get("key")
    if not isinstance(file, str) or not isinstance(key, str):
        raise UsageError(
            f"input {name} expected descriptors = FILE and key = COLUMN, got {file!r} and {key!r}; "
            "give both or neither"
        )
    levels = [str(level) for level in dict.fromkeys(column.dropna())]
    try:
        return dict(zip(levels, descriptors.read(_found(path, file), key, levels), strict=True))
    except UsageError as error:
        raise UsageError(f"descriptors of input {name}: {error}") from None
