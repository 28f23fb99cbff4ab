"""Descriptors: numeric features of the levels of a choice, from a file. No paper.

A file (csv, csv.gz or parquet) has one row for each level, found by the text in its key column. Of
the other columns, those count that hold a finite number for every level; names, texts and columns
with gaps are passed over. `bo.choice` scales them and refuses levels that they can't tell apart.
"""

import csv
import gzip
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from surrogates.errors import NotInstalledError, UsageError
from surrogates.options import unknown


def read(path: Path, key: str | None, levels: Iterable[Any]) -> list[list[float]]:
    """The features of every level, in the order of the levels.

    Args:
        path: of the file.
        key: the column that names the levels; None: the first one.
        levels: whose features are wanted; as texts they are looked up.

    Raises:
        UsageError: the file can't be read, or lacks the column, a level or numbers.
        NotInstalledError: a parquet file without pyarrow.
    """
    header, rows = _table(path)
    key = header[0] if key is None else key
    if header.count(key) != 1:
        raise UsageError(unknown(f"column of {path.name}", key, header))
    at = header.index(key)
    cells: dict[str, Sequence[Any]] = {}
    for row in rows:
        level = str(row[at])
        if cells.setdefault(level, row) != row:
            raise UsageError(
                f"{path.name} expected one row for each {key}, got two different ones for "
                f"{level!r}; drop one"
            )
    wanted = [str(level) for level in levels]
    absent = [level for level in wanted if level not in cells]
    if absent:
        raise UsageError(
            f"{path.name} expected a row for every level, got none for {absent[0]!r}; add it or "
            "correct key"
        )
    columns = [
        [_number(cells[level][i]) for level in wanted] for i in range(len(header)) if i != at
    ]
    kept = [column for column in columns if all(map(math.isfinite, column))]
    if not kept:
        raise UsageError(
            f"{path.name} expected a column of numbers beside {key}, got none without gaps; add one"
        )
    return [list(features) for features in zip(*kept, strict=True)]


def _table(path: Path) -> tuple[list[str], Sequence[Sequence[Any]]]:
    """Header and rows of a file."""
    if not path.is_file():
        raise UsageError(f"expected a table of descriptors at {path}, got no file; correct it")
    if path.suffix == ".parquet":
        return _parquet(path)
    if not path.name.endswith((".csv", ".csv.gz")):
        raise UsageError(f"expected a csv, csv.gz or parquet file, got {path.name}; convert it")
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, skipinitialspace=True) if row]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"expected a readable table of descriptors at {path}: {error}") from None
    if not rows:
        raise UsageError(f"expected a header in {path.name}, got an empty file; add it")
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(rows[0])), None)
    if wrong is not None:
        raise UsageError(
            f"{path.name} expected {len(rows[0])} cells in every row, got {len(rows[wrong])} in "
            f"row {wrong}; correct it"
        )
    return rows[0], rows[1:]


def _parquet(path: Path) -> tuple[list[str], Sequence[Sequence[Any]]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise NotInstalledError(
            f"expected pyarrow to read {path.name}, got none; do: pip install pyarrow"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"expected a readable table of descriptors at {path}: {error}") from None
    return [str(name) for name in frame.columns], frame.to_numpy(dtype=object).tolist()


def _number(cell: Any) -> float:
    """A cell as a number; NaN where it is none."""
    try:
        return math.nan if isinstance(cell, bool) or cell is None else float(cell)
    except (TypeError, ValueError):
        return math.nan
