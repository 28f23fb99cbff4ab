"""From a column of a table to a parameter of the space.

What an input is where its type is not given:

- text: a choice (levels in alphabetical order); where half of them are numbers, an error;
- true and false, or only 0 and 1: a boolean;
- whole numbers with at most 20 levels: an ordinal;
- other numbers: a real from the least to the greatest value;
- a single value, whatever the type: fixed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from bo.space import Parameter, Value, boolean, choice, fixed, integer, ordinal, real
from surrogates.errors import UsageError

MOST_LEVELS = 20
"""Whole numbers with more levels are taken as a real."""


@dataclasses.dataclass(frozen=True)
class Input:
    """What the user said about an input column; what is absent comes from the data.

    Attributes:
        type: `real`, `integer`, `ordinal`, `choice`, `boolean`, `fixed`, or "" (from the column).
        low: least value (real, integer).
        high: greatest value (real, integer).
        log: search on a log scale (real, integer).
        values: the levels in order (ordinal, choice); the value that rows must have (fixed).
        descriptors: numeric features by level, as a text (choice); None: there are none.
    """

    type: Literal["real", "integer", "ordinal", "choice", "boolean", "fixed", ""] = ""
    low: float | None = None
    high: float | None = None
    log: bool = False
    values: tuple[Value, ...] = ()
    descriptors: Mapping[str, Sequence[float]] | None = None


def parameter_of(column: pd.Series, name: str, given: Input) -> tuple[Parameter, list[Value]]:
    """The parameter of an input column, and the value of every row in its type.

    Raises:
        UsageError: an empty cell, or a column that does not fit what was given.
    """
    values = _values(column, name)
    levels = sorted(set(values))
    if not given.type:
        _check_texts(levels, column, name)
    kind = given.type or _kind(levels, given)
    try:
        if len(levels) == 1:
            return fixed(levels[0]), values
        if given.descriptors is not None and kind != "choice":
            raise UsageError(
                f'descriptors expected a choice, got {kind}; give type = "choice", or leave them '
                "out"
            )
        if kind == "fixed":
            raise UsageError(f"fixed expected one value, got {len(levels)}; give value = ...")
        if kind in ("real", "integer"):
            if isinstance(levels[0], (str, bool)):
                raise UsageError(f"{kind} expected numbers, got {levels[0]!r}; use choice")
            low = float(levels[0]) if given.low is None else given.low
            high = float(levels[-1]) if given.high is None else given.high
            if kind == "real":
                return real(low, high, log=given.log), values
            if not isinstance(levels[0], int):
                raise UsageError("integer expected whole numbers, got fractions; use real")
            return integer(int(low), int(high), log=given.log), values
        if kind == "boolean":
            if not all(level in (0, 1) for level in levels):
                raise UsageError(f"boolean expected 0 and 1, got {levels[:3]}; use choice")
            return boolean(), [bool(value) for value in values]
        if kind == "ordinal" and not given.values and isinstance(levels[0], str):
            raise UsageError("ordinal expected the texts in order, got none; give values = [...]")
        if kind == "ordinal":
            return ordinal(*(given.values or levels)), values
        return _choice(given.values or tuple(levels), given), values
    except UsageError as error:
        raise UsageError(f"input {name}: {error}") from None


def _choice(levels: tuple[Value, ...], given: Input) -> Parameter:
    """A choice with the descriptors of its levels, where there are any."""
    if given.descriptors is None:
        return choice(*levels)
    absent = [level for level in levels if str(level) not in given.descriptors]
    if absent:
        raise UsageError(f"descriptors expected a row for every level, got none for {absent[0]!r}")
    return choice(*levels, descriptors=[given.descriptors[str(level)] for level in levels])


def _kind(levels: list[Value], given: Input) -> Literal["real", "ordinal", "choice", "boolean"]:
    if isinstance(levels[0], str):
        return "choice"
    if given.log:
        return "real"
    if all(level in (0, 1) for level in levels):
        return "boolean"
    whole = isinstance(levels[0], int)
    return "ordinal" if whole and len(levels) <= MOST_LEVELS else "real"


def _values(column: pd.Series, name: str) -> list[Value]:
    """The cells as texts, booleans, whole numbers or numbers: all of one type."""
    empty = column.isna().to_numpy(dtype=np.bool_)
    if empty.any():
        row = int(np.argmax(empty)) + 1
        raise UsageError(f"input {name} expected a value in every row, got none in row {row}")
    if pd.api.types.is_bool_dtype(column.dtype):
        return [bool(cell) for cell in column]
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = column.to_numpy(dtype=np.float64)
        if not np.isfinite(numbers).all():
            raise UsageError(f"input {name} expected finite numbers, got infinite ones")
        if (numbers == np.floor(numbers)).all() and np.abs(numbers).max() <= 2.0**53:
            return numbers.astype(np.int64).tolist()
        return numbers.tolist()
    cells = column.tolist()
    if not all(isinstance(cell, str) for cell in cells):
        raise UsageError(f"input {name} expected texts, numbers or booleans, got {column.dtype}")
    return cells


def _check_texts(levels: list[Value], column: pd.Series, name: str) -> None:
    """Refuse a column of numbers with a few texts: a slip would make it a choice of hundreds."""
    if not isinstance(levels[0], str):
        return
    texts = np.isnan(np.asarray(pd.to_numeric(np.array(levels), errors="coerce")))
    if texts.sum() * 2 <= len(levels):
        bad = levels[int(np.argmax(texts))]
        row = int(np.argmax((column == bad).to_numpy(dtype=np.bool_))) + 1
        raise UsageError(
            f"input {name} expected numbers as in most rows, got {bad!r} in row {row}; correct it, "
            'or give type = "choice"'
        )
