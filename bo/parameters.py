"""Parameters: one dimension of a space each, with its own way to the unit cube and back. No paper.

    real(1e-5, 1e-1, log=True)    integer(1, 5)    ordinal(16, 32, 64)    choice("relu", "tanh")
    boolean()    fixed(3)    real(0, 0.3, when={"act": "relu"})

Every method works on many values at once, column by column. Logarithms and exponentials are those
of `math`, one by one: NumPy's differ in their last bit from one processor to another.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import UsageError
from surrogates.options import unknown

Value = float | int | str | bool
Array = NDArray[np.float64]
When = tuple[tuple[str, tuple[Value, ...]], ...]
Descriptors = Mapping[Any, Sequence[float]] | Sequence[Sequence[float]]
"""Numeric features of the levels of a choice, by level or in the order of the levels."""

_GRID = 2.0**40
_WIDEST_INTEGER = 2**50
_NARROWEST = 1e-12
_NEAREST = 1e-6


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One dimension of a space; made by `real`, `integer`, `ordinal`, `choice`, `boolean`, `fixed`.

    Attributes:
        type: the kind of parameter.
        low: least value (real, integer).
        high: greatest value (real, integer).
        log: whether equal ratios are equal distances (real, integer; needs low > 0).
        values: the values in order (ordinal, choice, boolean, fixed).
        when: parents and the values of theirs at which this parameter is active: all must hold.
        descriptors: features of every value, as given (choice); empty: none are known.
    """

    type: Literal["real", "integer", "ordinal", "choice", "boolean", "fixed"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    values: tuple[Value, ...] = ()
    when: When = ()
    descriptors: tuple[tuple[float, ...], ...] = ()

    @property
    def levels(self) -> int:
        """Number of values; 0 for a real parameter."""
        if self.type == "real":
            return 0
        return int(self.high) - int(self.low) + 1 if self.type == "integer" else len(self.values)

    @property
    def width(self) -> int:
        """Number of columns."""
        if self.type == "fixed":
            return 0
        if self.descriptors:
            return self._features.shape[1]
        return self.levels if self.type == "choice" and self.levels > 2 else 1

    @property
    def numeric(self) -> bool:
        """Whether every value is a number, so that one can calculate with it."""
        return not any(isinstance(value, (bool, str)) for value in self.values)

    @property
    def default(self) -> Value:
        """The value in the middle; of what has no order, the first. Stands in while inactive."""
        if self.type in ("choice", "boolean", "fixed"):
            return self.values[0]
        return self.from_uniform(0.5)

    def from_uniform(self, uniform: float) -> Value:
        """The value at a uniform number in [0, 1]."""
        return self.from_uniforms(np.array([uniform]))[0]

    def to_uniform(self, value: Value) -> float:
        """The uniform number (for a level: the middle of its cell) of a checked value."""
        return float(self.to_uniforms([value])[0])

    def from_uniforms(self, uniforms: Array) -> list[Any]:
        """The values at uniform numbers in [0, 1] of shape (n,)."""
        if self.type == "real":
            return self._scaled(np.floor(uniforms * _GRID + 0.5) / _GRID)
        if self.type == "integer":
            low, high = self._ends
            numbers = low + uniforms * (high - low)
            numbers = _exp(numbers) if self.log else numbers
            whole = np.clip(np.floor(numbers + 0.5), self.low, self.high)
            return whole.astype(np.int64).tolist()
        index = np.minimum((uniforms * self.levels).astype(np.int64), self.levels - 1)
        return [self.values[i] for i in index.tolist()]

    def to_uniforms(self, values: Sequence[Any]) -> Array:
        """Uniform numbers of shape (n,) of checked values."""
        if self.type not in ("real", "integer"):
            return (self._positions(values) + 0.5) / self.levels
        low, high = self._ends
        numbers = np.array([math.log(v) for v in values] if self.log else values, dtype=np.float64)
        uniforms = (numbers - low) / (high - low)
        return np.floor(uniforms * _GRID + 0.5) / _GRID if self.type == "real" else uniforms

    def encode(self, values: Sequence[Any]) -> Array:
        """Columns of shape (n, width) of checked values."""
        if self.descriptors:
            return self._features[self._positions(values)]
        if self.width > 1:
            return np.eye(self.levels)[self._positions(values)]
        if self.type in ("choice", "boolean"):
            return (self._positions(values) / max(self.levels - 1, 1))[:, None]
        return self.to_uniforms(values)[:, None]

    def decode(self, columns: Array) -> list[Any]:
        """The values nearest to columns of shape (n, width)."""
        if self.descriptors:
            gaps = [np.square(columns - row).sum(axis=1) for row in self._features]
            index = np.argmin(gaps, axis=0)
        elif self.width > 1:
            index = np.argmax(columns, axis=1)
        elif self.type in ("choice", "boolean"):
            index = (columns[:, 0] >= 0.5) & (self.levels > 1)
        else:
            return self.from_uniforms(np.clip(columns[:, 0], 0.0, 1.0))
        return [self.values[i] for i in index.tolist()]

    def check(self, value: Any, name: str) -> Value:
        """The value in its own type; raises `UsageError` where it is not one of this parameter."""
        if self.type in ("real", "integer"):
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                raise UsageError(f"parameter {name} expected a number, got {value!r}")
            number = _real(value)
            if not self.low <= number <= self.high:
                raise UsageError(
                    f"parameter {name} expected {self.low:g} to {self.high:g}, got {value!r:.100}"
                )
            if self.type == "real":
                return number
            if not number.is_integer():
                raise UsageError(f"parameter {name} expected an integer, got {value!r}")
            return int(number)
        for known in self.values:
            if known == value and isinstance(known, bool) == isinstance(value, (bool, np.bool_)):
                return known
        raise UsageError(unknown(f"value of parameter {name}", str(value), map(str, self.values)))

    def to_dict(self) -> dict[str, Any]:
        """The same as in SPACE.toml."""
        if self.type in ("real", "integer"):
            told: dict[str, Any] = {
                "type": self.type,
                "low": self.low,
                "high": self.high,
                "log": self.log,
            }
        elif self.type == "fixed":
            told = {"type": "fixed", "value": self.values[0]}
        else:
            told = {"type": self.type, "values": list(self.values)}
        if self.descriptors:
            told["descriptors"] = [list(features) for features in self.descriptors]
        if self.when:
            told["when"] = {n: v[0] if len(v) == 1 else list(v) for n, v in self.when}
        return told

    def _scaled(self, steps: Array) -> list[Any]:
        low, high = self._ends
        top = steps >= 1.0
        numbers = low + np.where(top, 0.0, steps) * (high - low)
        numbers = np.clip(_exp(numbers) if self.log else numbers, self.low, self.high)
        numbers[steps <= 0.0] = self.low
        numbers[top] = self.high
        return numbers.tolist()

    @functools.cached_property
    def _ends(self) -> tuple[float, float]:
        """The ends on the scale that is searched; of an integer, half a step beyond its bounds."""
        half = 0.5 if self.type == "integer" else 0.0
        low, high = self.low - half, self.high + half
        return (math.log(low), math.log(high)) if self.log else (low, high)

    @functools.cached_property
    def _index(self) -> dict[Value, int]:
        return {value: position for position, value in enumerate(self.values)}

    @functools.cached_property
    def _features(self) -> Array:
        """(levels, width): the descriptors from 0 to 1, without those that are all equal.

        Their principal coordinates, where there are as many descriptors as levels, or more.
        """
        features = _unit_features(self.descriptors)
        return features if features.shape[1] < self.levels else _principal(features)

    def _positions(self, values: Sequence[Any]) -> NDArray[np.int64]:
        return np.array([self._index[value] for value in values], dtype=np.int64)


def real(
    low: float, high: float, *, log: bool = False, when: Mapping[str, Any] | None = None
) -> Parameter:
    """A real parameter in [low, high]; `log=True` searches it on a log scale (low > 0)."""
    low, high = _bounds(low, high, log=log)
    return Parameter("real", low, high, log, when=_conditions(when))


def integer(
    low: int, high: int, *, log: bool = False, when: Mapping[str, Any] | None = None
) -> Parameter:
    """A whole number from low to high, both included."""
    lowest, highest = _bounds(low, high, log=log)
    if not (lowest.is_integer() and highest.is_integer()):
        raise UsageError(f"integer expected whole bounds, got low={low!r}, high={high!r}")
    if highest - lowest > _WIDEST_INTEGER or max(abs(lowest), abs(highest)) > _WIDEST_INTEGER:
        raise UsageError("integer expected bounds within 2**50, got more; use a log-scaled real")
    return Parameter("integer", int(lowest), int(highest), log, when=_conditions(when))


def ordinal(*values: Value, when: Mapping[str, Any] | None = None) -> Parameter:
    """One of some ordered values, such as 16, 32, 64."""
    return Parameter("ordinal", values=_distinct("ordinal", values), when=_conditions(when))


def choice(
    *values: Value,
    when: Mapping[str, Any] | None = None,
    descriptors: Descriptors | None = None,
) -> Parameter:
    """One of some unordered values.

    Args:
        values: the levels.
        when: values of parents at which the parameter is active.
        descriptors: numeric features of every level, such as `{"a": [1.0, 0.2], "b": [3.0, 0.1]}`:
            levels with similar features are taken to give similar outcomes.
    """
    levels = _distinct("choice", values)
    features = () if descriptors is None else _described(levels, descriptors)
    return Parameter("choice", values=levels, when=_conditions(when), descriptors=features)


def boolean(*, when: Mapping[str, Any] | None = None) -> Parameter:
    """False or True."""
    return Parameter("boolean", values=(False, True), when=_conditions(when))


def fixed(value: Value, *, when: Mapping[str, Any] | None = None) -> Parameter:
    """A constant that is passed on to the objective and never searched."""
    if isinstance(value, (list, tuple)):
        raise UsageError(
            f"fixed expected one number, text or boolean, got {value!r:.100}; "
            "write what is longer into the objective"
        )
    return Parameter("fixed", values=_distinct("fixed", (value,), least=1), when=_conditions(when))


def from_table(name: str, table: Any) -> Parameter:
    """A parameter from its table in SPACE.toml. Raises `UsageError`."""
    if not isinstance(table, Mapping) or "type" not in table:
        raise UsageError(
            f"parameter {name} expected a table such as "
            f'{{ type = "real", low = 0, high = 1 }}, got {table!r}'
        )
    kind = table["type"]
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise UsageError(unknown(f"type of parameter {name}", str(kind), _FIELDS))
    given = {key: value for key, value in table.items() if key != "type"}
    known = (*_FIELDS[kind], "when")
    for key in given:
        if key not in known:
            raise UsageError(unknown(f"field of {kind} parameter {name}", key, known))
    when = given.pop("when", None)
    if isinstance(given.get("values"), str):
        raise UsageError(
            f"parameter {name} expected a list of values, got {given['values']!r:.100}"
        )
    if not isinstance(given.get("log", False), bool):
        raise UsageError(
            f"parameter {name} expected log = true or false, got {given['log']!r:.100}"
        )
    try:
        if kind == "real":
            return real(**given, when=when)
        if kind == "integer":
            return integer(**given, when=when)
        if kind == "boolean":
            if list(given.get("values", _TRUTHS)) not in (_TRUTHS, _TRUTHS[::-1]):
                told = f'{given["values"]!r:.100}; for others type = "choice"'
                raise UsageError(f"expected no values, since they are true and false, got {told}")
            return boolean(when=when)
        if kind == "fixed":
            return fixed(given["value"], when=when)
        if kind == "ordinal":
            return ordinal(*given["values"], when=when)
        made = choice(*given["values"], when=when)
        if given.get("descriptors") is None:
            return made
        return dataclasses.replace(made, descriptors=_described(made.values, given["descriptors"]))
    except (TypeError, KeyError):
        needed = ", ".join(f for f in _FIELDS[kind] if f not in ("log", "descriptors"))
        raise UsageError(
            f"parameter {name} of type {kind} expected {needed}, got {given!r}"
        ) from None
    except UsageError as error:
        raise UsageError(f"parameter {name}: {error}") from None


_TRUTHS = [False, True]
_FIELDS: dict[str, tuple[str, ...]] = {
    "real": ("low", "high", "log"),
    "integer": ("low", "high", "log"),
    "ordinal": ("values",),
    "choice": ("values", "descriptors"),
    "categorical": ("values", "descriptors"),
    "boolean": ("values",),
    "fixed": ("value",),
}


def _exp(numbers: Array) -> Array:
    return np.array([math.exp(number) for number in numbers.tolist()], dtype=np.float64)


def _real(number: Any) -> float:
    """As a float; infinite where it is too large for one."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _bounds(low: float, high: float, *, log: bool) -> tuple[float, float]:
    for bound in (low, high):
        number = isinstance(bound, (int, float, np.number)) and not isinstance(bound, bool)
        if not number or not math.isfinite(_real(bound)):
            raise UsageError(f"expected finite bounds, got low={low!r:.100}, high={high!r:.100}")
    if not low < high:
        raise UsageError(
            f"expected low < high, got low={low!r}, high={high!r}; swap them or use fixed()"
        )
    if log and low <= 0:
        raise UsageError(f"a log scale expected low > 0, got low={low!r}; raise it or drop log")
    if not math.isfinite(float(high) - float(low)):
        raise UsageError(f"expected a finite range, got low={low!r}, high={high!r}")
    ends = (math.log(low), math.log(high)) if log else (low, high)
    if ends[1] - ends[0] <= _NARROWEST * max(abs(ends[0]), abs(ends[1])):
        raise UsageError(
            f"expected bounds that floating point tells apart, got low={low!r}, high={high!r}; "
            "search the offset from low instead"
        )
    return float(low), float(high)


def _distinct(what: str, values: tuple[Any, ...], *, least: int = 2) -> tuple[Value, ...]:
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        values = tuple(values[0])
    for value in values:
        if not isinstance(value, (bool, int, float, str)):
            raise UsageError(f"{what} expected numbers, texts or booleans, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{what} expected finite values, got {value!r}")
    if len(values) < least:
        raise UsageError(f"{what} expected at least {least} values, got {len(values)}; use fixed()")
    if len(set(values)) < len(values):
        raise UsageError(f"{what} expected distinct values, got {values!r}")
    return values


def _described(levels: tuple[Value, ...], given: Any) -> tuple[tuple[float, ...], ...]:
    """The descriptors in the order of the levels. Raises `UsageError`."""
    if isinstance(given, Mapping):
        given = _by_level(levels, given)
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != len(levels):
        raise UsageError(
            f"descriptors expected the features of each of {len(levels)} levels, got {given!r:.100}"
        )
    rows: list[tuple[float, ...]] = []
    for level, row in zip(levels, given, strict=True):
        listed = isinstance(row, (Sequence, np.ndarray)) and not isinstance(row, str)
        cells: list[Any] = list(row) if listed else [row]
        if not cells or not all(_finite(cell) for cell in cells):
            raise UsageError(f"descriptors of {level!r} expected finite numbers, got {row!r:.100}")
        rows.append(tuple(float(cell) for cell in cells))
    if len({len(row) for row in rows}) > 1:
        raise UsageError(
            "descriptors expected as many features of every level, got "
            f"{sorted({len(row) for row in rows})}; give each the same"
        )
    _check_apart(levels, _unit_features(tuple(rows)))
    return tuple(rows)


def _by_level(levels: tuple[Value, ...], given: Mapping[Any, Any]) -> list[Any]:
    """Values of a mapping in the order of the levels; in a file, its keys are texts."""
    texts = [str(level) for level in levels]
    found: list[Any] = []
    for level, text in zip(levels, texts, strict=True):
        key = level if level in given else text
        if key not in given or (key is not level and key != level and texts.count(text) > 1):
            raise UsageError(f"descriptors expected those of every level, got none for {level!r}")
        found.append(given[key])
    for key in given:
        if key not in levels and key not in texts:
            raise UsageError(unknown("level of descriptors", str(key), texts))
    return found


def _unit_features(rows: tuple[tuple[float, ...], ...]) -> Array:
    """(levels, width): features from 0 to 1, without those that are equal at all levels."""
    features = np.array(rows, dtype=np.float64)
    # Divided first: the difference of two huge numbers may be infinite.
    features = features / np.maximum(np.abs(features).max(axis=0), 1e-300)
    low, high = features.min(axis=0), features.max(axis=0)
    varied = high - low > _NARROWEST
    return (features[:, varied] - low[varied]) / (high[varied] - low[varied])


def _principal(features: Array) -> Array:
    """The same distances between the rows, but for a common factor, in the fewest columns.

    Each from 0 on, the longest to 1: levels then lie about as far apart as the ends of any other
    parameter, however many descriptors they have.
    """
    centred = features - features.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    kept = lengths > 1e-9 * lengths[0]
    axes = left[:, kept] * lengths[kept]
    farthest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[farthest, np.arange(axes.shape[1])])  # a sign of its own each time
    axes = axes - axes.min(axis=0)
    return axes / axes.max()


def _check_apart(levels: tuple[Value, ...], features: Array) -> None:
    """Refuse levels that no descriptor tells apart: they could not be decoded."""
    for i, row in enumerate(features):
        same = np.flatnonzero((np.abs(features[:i] - row) <= _NEAREST).all(axis=1))
        if len(same):
            raise UsageError(
                f"descriptors expected different features of every level, got equal ones for "
                f"{levels[int(same[0])]!r} and {levels[i]!r}; add a feature that tells them apart, "
                "or leave descriptors out"
            )


def _finite(cell: Any) -> bool:
    number = isinstance(cell, (int, float, np.number)) and not isinstance(cell, bool)
    return number and math.isfinite(cell)


def _conditions(when: Any) -> When:
    if when is None:
        return ()
    if not isinstance(when, Mapping) or not when:
        raise UsageError(f'when expected values by parent such as {{"act": "relu"}}, got {when!r}')
    found: list[tuple[str, tuple[Value, ...]]] = []
    for parent, given in when.items():
        values = tuple(given) if isinstance(given, (list, tuple)) else (given,)
        plain = all(isinstance(value, (bool, int, float, str)) for value in values)
        if not isinstance(parent, str) or not values or not plain:
            raise UsageError(
                f"when expected a value of {parent} or a list of its values, got {given!r}"
            )
        found.append((parent, values))
    return tuple(found)
