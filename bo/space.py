"""The search space: named parameters, and their exact encoding to the unit cube and back.

    Space({"lr": real(1e-5, 1e-1, log=True), "layers": integer(1, 5), "act": choice("a", "b")})

Three views of one point:

- *parameters*: the user's mapping, `{"lr": 0.01, "layers": 3, "act": "tanh"}`.
- *uniforms*: one number in [0, 1] for every free parameter; equal lengths are equally likely
  values, so a Sobol sequence in uniforms is one in the space.
- *columns*: what surrogates see. A real, integer, ordinal or boolean parameter is one column, a
  choice among k > 2 is k one-hot columns, a fixed one has none.

Real values lie on a grid of 2**-40 of the (log) range, so that encoding a decoded point gives the
same column and decoding it the same value, bit for bit.
"""

import dataclasses
import functools
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import UsageError
from surrogates.inputs import Column, Inputs
from surrogates.options import unknown

Value = float | int | str | bool
Parameters = dict[str, Value]
Array = NDArray[np.float64]

_GRID = 2.0**40
_WIDEST_INTEGER = 2**50
_NARROWEST = 1e-12


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One dimension of a space; made by `real`, `integer`, `ordinal`, `choice`, `boolean`, `fixed`.

    Attributes:
        type: the kind of parameter.
        low: least value (real, integer).
        high: greatest value (real, integer).
        log: whether equal ratios are equal distances (real, integer; needs low > 0).
        values: the values in order (ordinal, choice, boolean, fixed).
    """

    type: Literal["real", "integer", "ordinal", "choice", "boolean", "fixed"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    values: tuple[Value, ...] = ()

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
        return self.levels if self.type == "choice" and self.levels > 2 else 1

    def from_uniform(self, uniform: float) -> Value:
        """The value at a uniform number in [0, 1]."""
        if self.type == "real":
            return self._scaled(math.floor(uniform * _GRID + 0.5) / _GRID)
        if self.type == "integer":
            return self._integer(uniform)
        return self.values[min(int(uniform * self.levels), self.levels - 1)]

    def to_uniform(self, value: Value) -> float:
        """The uniform number (for a level: the middle of its cell) of a checked value."""
        if self.type == "real":
            low, high, number = self._ends(self.low, self.high, float(value))
            return math.floor((number - low) / (high - low) * _GRID + 0.5) / _GRID
        if self.type == "integer":
            low, high, number = self._ends(self.low - 0.5, self.high + 0.5, float(value))
            return (number - low) / (high - low)
        return (self.values.index(value) + 0.5) / self.levels

    def check(self, value: Any, name: str) -> Value:
        """The value in its own type; raises `UsageError` where it is not one of this parameter."""
        if self.type in ("real", "integer"):
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                raise UsageError(f"parameter {name} expected a number, got {value!r}")
            number = float(value)
            if not self.low <= number <= self.high:
                raise UsageError(
                    f"parameter {name} expected {self.low:g} to {self.high:g}, got {value!r}"
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
            return {"type": self.type, "low": self.low, "high": self.high, "log": self.log}
        if self.type == "fixed":
            return {"type": "fixed", "value": self.values[0]}
        return {"type": self.type, "values": list(self.values)}

    def _integer(self, uniform: float) -> int:
        low, high, _ = self._ends(self.low - 0.5, self.high + 0.5, self.low)
        number = low + uniform * (high - low)
        number = math.exp(number) if self.log else number
        return int(min(max(math.floor(number + 0.5), self.low), self.high))

    def _scaled(self, uniform: float) -> float:
        if uniform <= 0.0 or uniform >= 1.0:
            return self.low if uniform <= 0.0 else self.high
        low, high, _ = self._ends(self.low, self.high, self.low)
        number = low + uniform * (high - low)
        number = math.exp(number) if self.log else number
        return min(max(number, self.low), self.high)

    def _ends(self, low: float, high: float, number: float) -> tuple[float, float, float]:
        if not self.log:
            return low, high, number
        return math.log(low), math.log(high), math.log(number)


def real(low: float, high: float, *, log: bool = False) -> Parameter:
    """A real parameter in [low, high]; `log=True` searches it on a log scale (low > 0)."""
    low, high = _bounds(low, high, log=log)
    return Parameter("real", low, high, log)


def integer(low: int, high: int, *, log: bool = False) -> Parameter:
    """A whole number from low to high, both included."""
    lowest, highest = _bounds(low, high, log=log)
    if not (lowest.is_integer() and highest.is_integer()):
        raise UsageError(f"integer expected whole bounds, got low={low!r}, high={high!r}")
    if highest - lowest > _WIDEST_INTEGER or max(abs(lowest), abs(highest)) > _WIDEST_INTEGER:
        raise UsageError("integer expected bounds within 2**50, got more; use a log-scaled real")
    return Parameter("integer", int(lowest), int(highest), log)


def ordinal(*values: Value) -> Parameter:
    """One of some ordered values, such as 16, 32, 64."""
    return Parameter("ordinal", values=_distinct("ordinal", values))


def choice(*values: Value) -> Parameter:
    """One of some unordered values."""
    return Parameter("choice", values=_distinct("choice", values))


def boolean() -> Parameter:
    """False or True."""
    return Parameter("boolean", values=(False, True))


def fixed(value: Value) -> Parameter:
    """A constant that is passed on to the objective and never searched."""
    return Parameter("fixed", values=_distinct("fixed", (value,), least=1))


@dataclasses.dataclass(frozen=True)
class Pool:
    """The distinct candidates of a space.

    Attributes:
        rows: the points.
        columns: (n, d), the same encoded.
        index: position of a point by its `Space.key`.
    """

    rows: list[Parameters]
    columns: Array
    index: dict[str, int]


class Space:
    """Named parameters, and optionally a finite pool of `candidates`.

    Args:
        parameters: parameter by name; the order is that of the columns.
        candidates: the only points that may be evaluated, or None.

    Raises:
        UsageError: no free parameter, a name that is not text, a candidate outside the space.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        *,
        candidates: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        if not isinstance(parameters, Mapping):
            raise UsageError(f"a space expected parameters by name, got {parameters!r:.100}")
        for name, parameter in parameters.items():
            if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(f"a parameter expected a name, got {name!r}")
            if not isinstance(parameter, Parameter):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(
                    f"parameter {name} expected real(...), integer(...), ordinal(...), "
                    f"choice(...), boolean() or fixed(...), got {parameter!r}"
                )
        self.parameters: dict[str, Parameter] = dict(parameters)
        self.free: dict[str, Parameter] = {n: p for n, p in parameters.items() if p.type != "fixed"}
        if not self.free:
            raise UsageError("a space expected at least one parameter that is not fixed, got none")
        self.candidates: list[Parameters] | None = None
        if candidates is not None:
            self.candidates = [self.check(row) for row in candidates]
            if not self.candidates:
                raise UsageError("candidates expected at least one row, got none")

    @staticmethod
    def from_dict(tables: Mapping[str, Any]) -> "Space":
        """A space from the tables of SPACE.toml, or from `to_dict`."""
        tables = dict(tables)
        columns = tables.pop("candidates", None)
        parameters = {name: _from_table(name, table) for name, table in tables.items()}
        if columns is None:
            return Space(parameters)
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return Space(parameters, candidates=rows)

    @staticmethod
    def from_toml(path: str | Path) -> "Space":
        """Read SPACE.toml. Raises `UsageError` where it is missing or malformed."""
        try:
            tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(
                f"expected a readable TOML file of parameters at {path}: {error}"
            ) from None
        return Space.from_dict(tables)

    @property
    def d(self) -> int:
        """Number of columns."""
        return sum(parameter.width for parameter in self.free.values())

    @property
    def size(self) -> float:
        """Number of distinct points; infinite with a real parameter."""
        if self.pool is not None:
            return len(self.pool.rows)
        return math.prod(float(p.levels) if p.levels else math.inf for p in self.free.values())

    @functools.cached_property
    def pool(self) -> Pool | None:
        """The distinct candidates with their columns, or None. Made once."""
        if self.candidates is None:
            return None
        rows: dict[str, Parameters] = {}
        for row in self.candidates:
            rows.setdefault(self.key(row), row)
        distinct = list(rows.values())
        index = {key: position for position, key in enumerate(rows)}
        return Pool(distinct, self.encode(distinct), index)

    @property
    def inputs(self) -> Inputs:
        """What each column means."""
        columns: list[Column] = []
        for group, parameter in enumerate(self.free.values()):
            kind = "real" if parameter.type == "real" else "ordinal"
            if parameter.width > 1:
                kind = "category"
            columns += [Column(kind, group, parameter.levels)] * parameter.width
        return Inputs(tuple(columns))

    def check(self, point: Mapping[str, Any]) -> Parameters:
        """A complete point in canonical types; fixed parameters may be left out.

        Raises:
            UsageError: a missing or unknown name, or a value outside its parameter.
        """
        for name in point:
            if name not in self.parameters:
                raise UsageError(unknown("parameter", str(name), self.parameters))
        missing = [name for name in self.free if name not in point]
        if missing:
            raise UsageError(f"expected a value for every parameter, got none for {missing[0]}")
        return {
            name: parameter.check(
                point.get(name, parameter.values[0] if parameter.values else None), name
            )
            for name, parameter in self.parameters.items()
        }

    def from_uniforms(self, uniforms: Array) -> list[Parameters]:
        """Points from uniform numbers of shape (n, number of free parameters)."""
        points: list[Parameters] = []
        for row in uniforms.tolist():
            free = {n: p.from_uniform(u) for (n, p), u in zip(self.free.items(), row, strict=True)}
            points.append(self._complete(free))
        return points

    def encode(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """Columns of shape (n, d) in [0, 1] of checked points."""
        columns = np.zeros((len(points), self.d))
        for row, point in enumerate(points):
            start = 0
            for name, parameter in self.free.items():
                if parameter.width > 1:
                    columns[row, start + parameter.values.index(point[name])] = 1.0
                elif parameter.type in ("choice", "boolean"):
                    index = parameter.values.index(point[name])
                    columns[row, start] = index / max(parameter.levels - 1, 1)
                else:
                    columns[row, start] = parameter.to_uniform(point[name])
                start += parameter.width
        return columns

    def decode(self, columns: Array) -> list[Parameters]:
        """The nearest points to columns of shape (n, d); the inverse of `encode`."""
        points: list[Parameters] = []
        for row in columns:
            free: Parameters = {}
            start = 0
            for name, parameter in self.free.items():
                cell = row[start : start + parameter.width]
                if parameter.width > 1:
                    free[name] = parameter.values[int(np.argmax(cell))]
                elif parameter.type in ("choice", "boolean"):
                    free[name] = parameter.values[int(cell[0] >= 0.5 and parameter.levels > 1)]
                else:
                    free[name] = parameter.from_uniform(min(max(float(cell[0]), 0.0), 1.0))
                start += parameter.width
            points.append(self._complete(free))
        return points

    def levels(self, name: str) -> Array:
        """Every value of a discrete parameter as columns of shape (levels, width)."""
        parameter = self.free[name]
        if parameter.width > 1:
            return np.eye(parameter.levels)
        if parameter.type in ("choice", "boolean"):
            return (
                np.linspace(0.0, 1.0, parameter.levels)[:, None]
                if parameter.levels > 1
                else np.zeros((1, 1))
            )
        if parameter.type == "integer":
            values: Sequence[Value] = range(int(parameter.low), int(parameter.high) + 1)
        else:
            values = parameter.values
        return np.array([[parameter.to_uniform(value)] for value in values])

    def key(self, point: Mapping[str, Any]) -> str:
        """A text that two points share only if they are equal."""
        return json.dumps([point[name] for name in self.free])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` gives an equal space."""
        tables: dict[str, Any] = {name: p.to_dict() for name, p in self.parameters.items()}
        if self.candidates is not None:
            tables["candidates"] = {n: [row[n] for row in self.candidates] for n in self.free}
        return tables

    def signature(self) -> str:
        """SHA-256 of the space, equal for equal spaces."""
        return hashlib.sha256(json.dumps(self.to_dict()).encode()).hexdigest()

    def difference(self, other: "Space") -> str | None:
        """What differs between two spaces in words, or None where nothing does."""
        for name in [*self.parameters, *(n for n in other.parameters if n not in self.parameters)]:
            mine, theirs = self.parameters.get(name), other.parameters.get(name)
            if mine != theirs:
                told = ["absent" if p is None else json.dumps(p.to_dict()) for p in (mine, theirs)]
                return f"parameter {name} is {told[0]} there and {told[1]} here"
        if list(self.parameters) != list(other.parameters):
            return "the parameters stand in another order"
        return None if self.signature() == other.signature() else "the candidates differ"

    def __repr__(self) -> str:
        pool = f", {len(self.candidates)} candidates" if self.candidates is not None else ""
        return f"Space({', '.join(self.parameters)}{pool})"

    def _complete(self, free: Parameters) -> Parameters:
        if len(free) == len(self.parameters):
            return free
        return {n: free.get(n, p.values[0] if p.values else 0) for n, p in self.parameters.items()}


def _bounds(low: float, high: float, *, log: bool) -> tuple[float, float]:
    for bound in (low, high):
        number = isinstance(bound, (int, float, np.number)) and not isinstance(bound, bool)
        if not number or not math.isfinite(bound):
            raise UsageError(f"expected finite bounds, got low={low!r}, high={high!r}")
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


_FIELDS: dict[str, tuple[str, ...]] = {
    "real": ("low", "high", "log"),
    "integer": ("low", "high", "log"),
    "ordinal": ("values",),
    "choice": ("values",),
    "categorical": ("values",),
    "boolean": ("values",),
    "fixed": ("value",),
}


def _from_table(name: str, table: Any) -> Parameter:
    if not isinstance(table, Mapping) or "type" not in table:
        raise UsageError(
            f"parameter {name} expected a table such as "
            f'{{ type = "real", low = 0, high = 1 }}, got {table!r}'
        )
    kind = table["type"]
    if kind not in _FIELDS:
        raise UsageError(unknown(f"type of parameter {name}", str(kind), _FIELDS))
    given = {key: value for key, value in table.items() if key != "type"}
    for key in given:
        if key not in _FIELDS[kind]:
            raise UsageError(unknown(f"field of {kind} parameter {name}", key, _FIELDS[kind]))
    try:
        if kind == "real":
            return real(**given)
        if kind == "integer":
            return integer(**given)
        if kind == "boolean":
            return boolean()
        if kind == "fixed":
            return fixed(given["value"])
        return (ordinal if kind == "ordinal" else choice)(*given["values"])
    except (TypeError, KeyError):
        needed = ", ".join(f for f in _FIELDS[kind] if f != "log")
        raise UsageError(
            f"parameter {name} of type {kind} expected {needed}, got {given!r}"
        ) from None
    except UsageError as error:
        raise UsageError(f"parameter {name}: {error}") from None
