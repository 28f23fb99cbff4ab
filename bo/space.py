"""The search space: named parameters, and their exact encoding to the unit cube and back.

    Space({"lr": real(1e-5, 1e-1, log=True), "layers": integer(1, 5), "act": choice("a", "b")})

Three views of one point:

- *parameters*: the user's mapping, `{"lr": 0.01, "layers": 3, "act": "tanh"}`. A parameter with
  `when` is in it only where its parents have the values that `when` names.
- *uniforms*: one number in [0, 1] for every free parameter; equal lengths are equally likely
  values, so a Sobol sequence in uniforms is one in the space. Those of parameters that are not
  active count for nothing.
- *columns*: what surrogates see. A real, integer, ordinal or boolean parameter is one column, a
  choice among k > 2 is k one-hot columns (with descriptors: one for each of them, from 0 to 1), a
  fixed one has none. Behind all these stands one
  indicator column, 0 or 1, for every parameter with `when`: whether it is active. Where it is not,
  its own columns are those of its default.

Real values lie on a grid of 2**-40 of the (log) range, so that encoding a decoded point gives the
same column and decoding it the same value, bit for bit.

`subject_to` says which points are allowed (`bo/constraints.py`). Uniforms and columns do not know
of it: `decode` may give a point that is not allowed, `region` makes points that are.
"""

import functools
import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bo import pools
from bo.constraints import TOLERANCE, Constraint, parse
from bo.parameters import (
    Array,
    Parameter,
    Value,
    boolean,
    choice,
    fixed,
    from_table,
    integer,
    ordinal,
    real,
)
from surrogates.errors import UsageError
from surrogates.inputs import Column, Inputs
from surrogates.options import unknown

if TYPE_CHECKING:
    from bo.region import Region

__all__ = [
    "Array",
    "Mask",
    "Parameter",
    "Parameters",
    "Pool",
    "Space",
    "Table",
    "Value",
    "boolean",
    "choice",
    "fixed",
    "integer",
    "ordinal",
    "real",
]

Parameters = dict[str, Value]
Mask = NDArray[np.bool_]

_RESERVED = ("candidates", "constraints")
_ENUMERABLE = 2**16


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Table:
    """Many points, parameter by parameter.

    Attributes:
        n: how many points.
        values: n values by free parameter; where it is not active, anything of its own.
        active: (n,) by conditional parameter: where it is active.
    """

    n: int
    values: dict[str, list[Any]]
    active: dict[str, Mask]

    def part(self, rows: Any) -> "Table":
        """Some of the points, by position or mask."""
        index = np.arange(self.n)[rows].tolist()
        return Table(
            len(index),
            {name: [column[i] for i in index] for name, column in self.values.items()},
            {name: mask[rows] for name, mask in self.active.items()},
        )


class Space:
    """Named parameters, and optionally constraints or a finite pool of `candidates`.

    Args:
        parameters: parameter by name; the order is that of the columns.
        candidates: the only points that may be evaluated: mappings, a data frame, or the path of a
            CSV file with a column per parameter; None for all of the space.
        subject_to: constraints between the parameters, such as "a + b <= 1".

    Attributes:
        parameters: as given; `when` in the order of the space.
        free: those that are not fixed.
        conditional: the free ones with `when`, parents before children.
        candidates: the rows as given, in canonical types, or None.
        constraints: the parsed `subject_to`.

    Raises:
        UsageError: no free parameter, a name that is not text, a `when` that names no possible
            value of another parameter or goes in a circle, a malformed constraint, constraints
            that no point satisfies, a candidate outside the space.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        *,
        candidates: Any = None,
        subject_to: Sequence[str] = (),
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
            if name in _RESERVED:
                raise UsageError(
                    f"a parameter expected another name than {name!r}, which means the "
                    f"{name} of the space; rename it"
                )
        self.parameters: dict[str, Parameter] = _linked(parameters)
        self.free: dict[str, Parameter] = {
            n: p for n, p in self.parameters.items() if p.type != "fixed"
        }
        self._order = _ordered(self.parameters)
        if not any(not p.when for p in self.free.values()):
            raise UsageError(
                "a space expected at least one parameter that is not fixed and always active, "
                "got none"
            )
        self.conditional: list[str] = [
            n for n in self._order if n in self.free and self.free[n].when
        ]
        self._varying = [n for n in self._order if self.parameters[n].when]
        self.constraints: tuple[Constraint, ...] = tuple(
            parse(text, self.parameters) for text in _texts(subject_to)
        )
        self.candidates: list[Parameters] | None = None
        if candidates is not None:
            self.candidates = self._checked(pools.rows_of(candidates, self.parameters))
        elif self.constraints:
            _ = self.region  # refuses constraints that no point satisfies

    @staticmethod
    def from_dict(tables: Mapping[str, Any]) -> "Space":
        """A space from the tables of SPACE.toml, or from `to_dict`."""
        tables = dict(tables)
        candidates = tables.pop("candidates", None)
        subject_to = tables.pop("constraints", ())
        if isinstance(subject_to, Mapping):
            raise UsageError(
                "constraints expected a list of texts, got a table; a parameter can't have that "
                "name, rename it"
            )
        parameters = {name: from_table(name, table) for name, table in tables.items()}
        return Space(parameters, candidates=candidates, subject_to=subject_to)

    @staticmethod
    def from_toml(path: str | Path) -> "Space":
        """Read SPACE.toml. Raises `UsageError` where it is missing or malformed."""
        try:
            tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(
                f"expected a readable TOML file of parameters at {path}: {error}"
            ) from None
        folder = Path(path).parent
        tables = {name: _with_file(name, table, folder) for name, table in tables.items()}
        if isinstance(tables.get("candidates"), str):
            tables["candidates"] = str(folder / tables["candidates"])
        return Space.from_dict(tables)

    @functools.cached_property
    def d(self) -> int:
        """Number of columns."""
        return sum(parameter.width for parameter in self.free.values()) + len(self.conditional)

    @functools.cached_property
    def size(self) -> float:
        """Number of distinct points; infinite with a real parameter.

        Of a space with conditions or constraints and very many points, an upper bound.
        """
        if self.pool is not None:
            return len(self.pool.rows)
        whole = math.prod(float(p.levels) if p.levels else math.inf for p in self.free.values())
        special = self.conditional or self.constraints
        return whole if self.every is None or not special else len(self.every)

    @functools.cached_property
    def every(self) -> list[Parameters] | None:
        """All distinct points that are allowed, where there are at most 65,536 combinations."""
        if self.pool is not None:
            return self.pool.rows
        levels = [p.levels or math.inf for p in self.free.values()]
        if math.prod(levels) > _ENUMERABLE:
            return None
        each = [
            list(range(int(p.low), int(p.high) + 1)) if p.type == "integer" else list(p.values)
            for p in self.free.values()
        ]
        columns = [list(column) for column in zip(*itertools.product(*each), strict=True)]
        table = self.tabled(dict(zip(self.free, columns, strict=True)))
        points = self.rows(table.part(self.allowed_table(table)) if self.constraints else table)
        if self.conditional:
            points = list({self.key(point): point for point in points}.values())
        return points

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

    @functools.cached_property
    def region(self) -> "Region | None":
        """What makes points that the constraints allow; None without constraints. Made once."""
        if not self.constraints:
            return None
        from bo.region import Region

        return Region(self)

    @functools.cached_property
    def inputs(self) -> Inputs:
        """What each column means."""
        columns: list[Column] = []
        for group, parameter in enumerate(self.free.values()):
            kind = "real" if parameter.type == "real" else "ordinal"
            if parameter.width > 1 and not parameter.descriptors:
                kind = "category"
            columns += [Column(kind, group, parameter.levels)] * parameter.width
        for position in range(len(self.conditional)):
            columns.append(Column("ordinal", len(self.free) + position, 2))
        return Inputs(tuple(columns))

    def check(self, point: Mapping[str, Any]) -> Parameters:
        """A complete point in canonical types; fixed parameters may be left out.

        Raises:
            UsageError: a missing or unknown name, a value outside its parameter or of one that is
                not active, a constraint that does not hold.
        """
        checked = self.typed(point)
        for constraint in self.constraints:
            if not self._holds(constraint, [checked])[0]:
                raise UsageError(f"a point {constraint.broken(checked)}; choose another one")
        return checked

    def typed(self, point: Mapping[str, Any]) -> Parameters:
        """As `check`, without the constraints. Raises `UsageError`."""
        for name in point:
            if name not in self.parameters:
                raise UsageError(unknown("parameter", str(name), self.parameters))
        checked: Parameters = {}
        for name in self._order:
            parameter = self.parameters[name]
            for parent, values in parameter.when:
                if checked.get(parent) not in values:
                    if name in point:
                        raise UsageError(self._inactive(name, parent, checked))
                    break
            else:
                if name not in point and parameter.type != "fixed":
                    raise UsageError(f"expected a value for every parameter, got none for {name}")
                value = point.get(name, parameter.values[0] if parameter.values else None)
                checked[name] = parameter.check(value, name)
        return {name: checked[name] for name in self.parameters if name in checked}

    def satisfies(self, point: Mapping[str, Any]) -> bool:
        """Whether all constraints hold at a checked point; inequalities up to rounding errors."""
        return all(self._holds(constraint, [point])[0] for constraint in self.constraints)

    def allowed(self, points: Sequence[Mapping[str, Any]]) -> Mask:
        """Whether all constraints hold at checked points, (n,); inequalities to the last bit."""
        return self.allowed_table(self.table(points))

    def allowed_table(self, table: Table) -> Mask:
        """As `allowed`, parameter by parameter."""
        found = np.ones(table.n, dtype=np.bool_)
        for constraint in self.constraints:
            found &= self._holds_table(constraint, table)
        return found

    def active(self, constraint: Constraint, table: Table) -> Mask:
        """Where all parameters of a constraint are active, (n,)."""
        found = np.ones(table.n, dtype=np.bool_)
        for name in constraint.names:
            parameter = self.parameters[name]
            if parameter.when:
                own = table.active.get(name)
                if own is None:
                    own = self._activity(parameter, table.values, table.active, table.n)
                found &= own
        return found

    def from_uniforms(self, uniforms: Array) -> list[Parameters]:
        """Points from uniform numbers of shape (n, number of free parameters)."""
        return self.rows(self.from_uniforms_table(uniforms))

    def to_uniforms(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """Uniform numbers of shape (n, number of free parameters) of checked points."""
        table = self.table(points)
        columns = [p.to_uniforms(table.values[n]) for n, p in self.free.items()]
        return np.stack(columns, axis=1)

    def encode(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """Columns of shape (n, d) in [0, 1] of checked points."""
        return self.encode_table(self.table(points))

    def decode(self, columns: Array) -> list[Parameters]:
        """The nearest points to columns of shape (n, d); the inverse of `encode`."""
        return self.rows(self.decode_table(columns))

    def table(self, points: Sequence[Mapping[str, Any]]) -> Table:
        """Checked points, parameter by parameter."""
        active: dict[str, Mask] = {}
        values: dict[str, list[Any]] = {}
        for name, parameter in self.free.items():
            if parameter.when:
                active[name] = np.array([name in point for point in points], dtype=np.bool_)
                values[name] = [point.get(name, parameter.default) for point in points]
            else:
                values[name] = [point[name] for point in points]
        return Table(len(points), values, active)

    def from_uniforms_table(self, uniforms: Array) -> Table:
        """As `from_uniforms`, parameter by parameter."""
        columns = zip(self.free.items(), np.asarray(uniforms).T, strict=True)
        return self.tabled({name: p.from_uniforms(column) for (name, p), column in columns})

    def encode_table(self, table: Table) -> Array:
        """As `encode`, parameter by parameter."""
        columns = np.zeros((table.n, self.d))
        start = 0
        for name, parameter in self.free.items():
            stop = start + parameter.width
            columns[:, start:stop] = parameter.encode(table.values[name])
            if parameter.when:
                default = parameter.encode([parameter.default])
                columns[~table.active[name], start:stop] = default
            start = stop
        for name in self.conditional:
            columns[:, start] = table.active[name]
            start += 1
        return columns

    def decode_table(self, columns: Array) -> Table:
        """As `decode`, parameter by parameter. Indicators follow from the parents."""
        columns = np.asarray(columns)
        if np.isnan(columns).any():
            raise ValueError("expected columns of numbers, got NaN")
        values: dict[str, list[Any]] = {}
        start = 0
        for name, parameter in self.free.items():
            stop = start + parameter.width
            values[name] = parameter.decode(columns[:, start:stop])
            start = stop
        return self.tabled(values)

    def rows(self, table: Table) -> list[Parameters]:
        """The points of a table."""
        columns = table.values
        if len(self.free) < len(self.parameters):
            columns = {
                name: table.values[name] if name in self.free else [p.values[0]] * table.n
                for name, p in self.parameters.items()
            }
        names = list(columns)
        points: list[Parameters] = [
            dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        for name in self._varying:
            active = table.active.get(name)
            if active is None:
                active = self._activity(self.parameters[name], table.values, table.active, table.n)
            for row in np.flatnonzero(~active).tolist():
                del points[row][name]
        return points

    def levels(self, name: str) -> Array:
        """Every value of a discrete parameter as columns of shape (levels, width)."""
        parameter = self.free[name]
        if parameter.type == "integer":
            values: Sequence[Value] = range(int(parameter.low), int(parameter.high) + 1)
        else:
            values = parameter.values
        return parameter.encode(values)

    def key(self, point: Mapping[str, Any]) -> str:
        """A text that two points share only if they are equal."""
        if self.conditional:
            return json.dumps([point.get(name) for name in self.free])
        return json.dumps([point[name] for name in self.free])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` gives an equal space."""
        tables: dict[str, Any] = {name: p.to_dict() for name, p in self.parameters.items()}
        if self.constraints:
            tables["constraints"] = [constraint.text for constraint in self.constraints]
        if self.candidates is not None:
            tables["candidates"] = {n: [row.get(n) for row in self.candidates] for n in self.free}
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
        texts = [[constraint.text for constraint in s.constraints] for s in (self, other)]
        if texts[0] != texts[1]:
            told = [json.dumps(each) if each else "absent" for each in texts]
            return f"the constraints are {told[0]} there and {told[1]} here"
        return None if self.signature() == other.signature() else "the candidates differ"

    def __repr__(self) -> str:
        more = f", {len(self.constraints)} constraints" if self.constraints else ""
        more += f", {len(self.candidates)} candidates" if self.candidates is not None else ""
        return f"Space({', '.join(self.parameters)}{more})"

    def _inactive(self, name: str, parent: str, checked: Parameters) -> str:
        values = next(v for n, v in self.parameters[name].when if n == parent)
        wanted = " or ".join(map(repr, values))
        has = f"is {checked[parent]!r}" if parent in checked else "is not active itself"
        return (
            f"parameter {name} expected no value: it is active only when {parent} is {wanted}, and "
            f"{parent} {has}; leave {name} out"
        )

    def _checked(self, candidates: Sequence[Mapping[str, Any]]) -> list[Parameters]:
        rows: list[Parameters] = []
        for place, row in enumerate(candidates, 1):
            try:
                rows.append(self.typed(row))
            except UsageError as error:
                raise UsageError(f"candidates, row {place}: {error}") from None
        if not rows:
            raise UsageError("candidates expected at least one row, got none")
        for constraint in self.constraints:
            broken = np.flatnonzero(~self._holds(constraint, rows))
            if len(broken):
                first = int(broken[0])
                raise UsageError(
                    f"candidates expected rows that satisfy {constraint.text!r}, got {len(broken)} "
                    f"of {len(rows)} that do not, the first is row {first + 1}: {rows[first]}; "
                    "leave them out"
                )
        return rows

    def tabled(self, values: dict[str, list[Any]]) -> Table:
        """These values of the free parameters, with what is active among them."""
        n = len(next(iter(values.values())))
        active: dict[str, Mask] = {}
        for name in self.conditional:
            active[name] = self._activity(self.free[name], values, active, n)
        return Table(n, values, active)

    def _activity(
        self, parameter: Parameter, values: Mapping[str, list[Any]], active: dict[str, Mask], n: int
    ) -> Mask:
        """Where a parameter is active, (n,); its parents have been looked at before."""
        found = np.ones(n, dtype=np.bool_)
        for parent, wanted in parameter.when:
            if parent in active:
                found &= active[parent]
            known = set(wanted)
            found &= np.array([value in known for value in values[parent]], dtype=np.bool_)
        return found

    def _holds(self, constraint: Constraint, points: Sequence[Mapping[str, Any]]) -> Mask:
        return self._holds_table(constraint, self.table(points), slack=TOLERANCE)

    def _holds_table(self, constraint: Constraint, table: Table, *, slack: float = 0.0) -> Mask:
        """Where a constraint holds, (n,): also wherever a parameter in it is not active."""
        values: dict[str, Any] = {}
        for name in constraint.names:
            parameter = self.parameters[name]
            column = table.values[name] if name in self.free else [parameter.values[0]] * table.n
            truths = all(isinstance(value, bool) for value in parameter.values) and parameter.values
            kind: Any = np.bool_ if truths else np.float64 if parameter.numeric else np.object_
            values[name] = np.array(column, dtype=kind)
        return constraint.holds(values, slack=slack) | ~self.active(constraint, table)


def _linked(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters with `when` in canonical types and order."""
    found: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        when: dict[str, tuple[Value, ...]] = {}
        for parent, values in parameter.when:
            others = [other for other in parameters if other != name]
            if parent == name or not others:
                none = "" if others else ", and the space has no other parameter"
                raise UsageError(
                    f"when of parameter {name} expected another one, got {parent!r}{none}"
                )
            if parent not in parameters:
                raise UsageError(
                    f"when of parameter {name}: {unknown('parameter', parent, others)}"
                )
            owner = parameters[parent]
            if owner.type in ("real", "fixed"):
                raise UsageError(
                    f"when of parameter {name} expected a choice, ordinal, boolean or integer "
                    f"parameter, got {parent}, which is {owner.type}"
                )
            try:
                checked = [owner.check(value, parent) for value in values]
            except UsageError as error:
                raise UsageError(f"when of parameter {name}: {error}") from None
            when[parent] = (
                tuple(sorted(set(checked), key=float))
                if owner.type == "integer"
                else tuple(value for value in owner.values if value in checked)
            )
        canonical = tuple((parent, when[parent]) for parent in parameters if parent in when)
        found[name] = replace(parameter, when=canonical) if canonical else parameter
    return found


def _ordered(parameters: Mapping[str, Parameter]) -> list[str]:
    """The names, parents before children."""
    order: list[str] = []
    left = list(parameters)
    while left:
        ready = [n for n in left if all(p in order for p, _ in parameters[n].when)]
        if not ready:
            raise UsageError(
                f"when expected no circle, got one among {', '.join(left)}: each of these waits "
                "for another one"
            )
        order += ready
        left = [name for name in left if name not in ready]
    return order


def _with_file(name: str, table: Any, folder: Path) -> Any:
    """The table of a parameter, descriptors that are the path of a file read from there."""
    if not isinstance(table, Mapping) or not isinstance(table.get("descriptors"), str):
        return table
    from bo import descriptors

    told = dict(table)
    file, key, values = told["descriptors"], told.pop("key", None), told.get("values")
    if not isinstance(values, list) or not isinstance(key, (str, type(None))):
        raise UsageError(
            f"parameter {name} with descriptors = {file!r} expected values = [...] and a text as "
            f"key, got {values!r:.100} and {key!r}"
        )
    try:
        return told | {"descriptors": descriptors.read(folder / file, key, values)}
    except UsageError as error:
        raise UsageError(f"parameter {name}: {error}") from None


def _texts(subject_to: Any) -> Sequence[Any]:
    if isinstance(subject_to, str) or not isinstance(subject_to, Sequence):
        raise UsageError(f"constraints expected a list of texts, got {subject_to!r:.100}")
    return subject_to
