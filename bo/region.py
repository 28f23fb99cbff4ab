"""Points that the constraints of a space allow: how they are found, and drawn. No paper.

Equalities first: of each, one parameter (a pivot) is solved from the others, so that points satisfy
it to the last digits, reals on their grid where that is fine enough. Then, by how rare allowed
points are among uniform ones:

- *common* (1 in 100 or more; 1 in 20 where the next way is open): those of the uniform sequence
  that are allowed, in its order. So a Sobol sequence stays one, without the points outside.
- *rare, and all constraints linear in reals without a log scale*: hit-and-run through the polytope,
  Smith (1984), "Efficient Monte Carlo Procedures for Generating Points Uniformly Distributed over
  Bounded Regions", in its own affine subspace.
- *rare otherwise*: all allowed points listed where they are few; else walks through the uniforms
  from allowed points, along random lines whose ends close in until the step is allowed, Neal
  (2003), "Slice Sampling".

Whether there is an allowed point at all: linear constraints are asked of a linear program,
the others of samples. So a region that is there but tiny may be refused, with what was tried.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bo.constraints import Linear
from bo.parameters import Array, Parameter
from surrogates.errors import UsageError

if TYPE_CHECKING:
    from bo.space import Parameters, Space, Table

Mask = NDArray[np.bool_]
Draw = Callable[[int], Array]
"""The next rows (n, free parameters) of a sequence of uniform numbers."""

_PROBE = 2048
_LONG_PROBE = 2**15
_COMMON, _COMMON_FLAT = 0.01, 0.05
_KEPT = 256
_BLOCK = 128
_SHRINKS = 12
_WALK = 30
_STRIDE = 4
_ATTEMPTS = 40
_REPEATS = 32
_THIN = 1e-9
_SNAP = 1e-9
_SOLVED = 3
_MARGIN = 2e-12


class Region:
    """The allowed part of a space; a pure function of it.

    Args:
        space: with constraints.

    Attributes:
        acceptance: share of the allowed among uniform points, as far as a probe can tell.

    Raises:
        UsageError: no allowed point was found.
    """

    def __init__(self, space: "Space") -> None:
        self.space = space
        self._equal = [
            (constraint, row)
            for constraint in space.constraints
            for row in constraint.linear
            if row.equality
        ]
        self._solvers: dict[bytes, _Solver | None] = {}
        uniforms = np.random.default_rng(0).random((_PROBE, len(space.free)))
        _, ok = self.accept(uniforms)
        self.acceptance = float(ok.mean())
        self._seeds = uniforms[ok]
        if not ok.any():
            self._seeds = self._search()

    @property
    def equalities(self) -> bool:
        """Whether the allowed points have no volume."""
        return bool(self._equal)

    def draw(self, draw: Draw, n: int, *, skip: int = 0, seed: int = 0) -> "list[Parameters]":
        """n allowed points.

        Args:
            draw: the next rows of a uniform sequence, from its beginning.
            n: how many points.
            skip: leave out this many before them.
            seed: of the walks where allowed points are rare.
        """
        from_sequence = self._from_sequence(draw, skip + n)
        if from_sequence is not None:
            return from_sequence[skip:]
        return self._rare(skip + n, seed)[skip:]

    def accept(self, uniforms: Array) -> "tuple[Table, Mask]":
        """Points at uniform numbers, equalities solved, and which of them are allowed."""
        return self.settle(self.space.from_uniforms_table(uniforms))

    def settle(self, table: "Table") -> "tuple[Table, Mask]":
        """The same points with equalities solved, and which of them are allowed.

        A point that satisfies the equalities as it is stays as it is.
        """
        if not self._equal:
            return table, self.space.allowed_table(table)
        ok = self.space.allowed_table(table)
        if ok.all():
            return table, ok
        changed = self.space.tabled({n: list(column) for n, column in table.values.items()})
        for _ in range(_SOLVED):  # a solved value may switch parameters of others on and off
            pattern = np.stack([self.space.active(c, changed) for c, _ in self._equal], axis=1)
            within = np.ones(table.n, dtype=np.bool_)
            for case in np.unique(pattern[~ok], axis=0):
                rows = np.flatnonzero((pattern == case).all(axis=1) & ~ok)
                solver = self._solver(case)
                if solver is not None:
                    within[rows] = solver.solve(self.space, changed, rows)
            changed = self.space.tabled(changed.values)
            ok = within & self.space.allowed_table(changed)
            if ok.all() or not self.space.conditional:
                break
        return changed, ok

    def _solver(self, case: Mask) -> "_Solver | None":
        key = case.tobytes()
        if key not in self._solvers:
            rows = [row for (_, row), on in zip(self._equal, case, strict=True) if on]
            self._solvers[key] = _Solver(self.space.parameters, rows) if rows else None
        return self._solvers[key]

    def _from_sequence(self, draw: Draw, n: int) -> "list[Parameters] | None":
        """The first n allowed points of a sequence; None where they are rare."""
        if self.acceptance < _COMMON or (self.acceptance < _COMMON_FLAT and self._flat is not None):
            return None
        points: list[Parameters] = []
        for _ in range(_ATTEMPTS):
            wanted = int(1.2 * (n - len(points)) / self.acceptance) + 16
            table, ok = self.accept(draw(min(wanted, _LONG_PROBE)))
            points += self.space.rows(table.part(ok))
            if len(points) >= n:
                return points[:n]
        return None

    def _rare(self, n: int, seed: int) -> "list[Parameters]":
        """n allowed points in a random order, point i the same whatever n is."""
        every = self.space.every
        if every is not None:
            order = np.random.default_rng(seed).permutation(len(every))
            return [every[i] for i in np.resize(order, n).tolist()]
        points: list[Parameters] = []
        for block in range(_ATTEMPTS + n // _BLOCK):
            table, ok = self.accept(self._block(np.random.default_rng([seed, block])))
            points += self.space.rows(table.part(ok))
            if len(points) >= n:
                return points[:n]
        if not points:
            table, ok = self.accept(self._seeds)
            points = self.space.rows(table.part(ok))
        return [points[i % len(points)] for i in range(n)]

    def _block(self, random: np.random.Generator) -> Array:
        """Uniforms of points of which most are allowed."""
        if self._flat is not None:
            return self._flat.draw(_BLOCK, random, len(self.space.free))
        starts = self._spread[random.integers(len(self._spread), size=_BLOCK)]
        return self._walk(starts, _STRIDE, random)

    @functools.cached_property
    def _flat(self) -> "_Polytope | None":
        """The polytope of the constraints where there is nothing else to them."""
        space = self.space
        rows = [row for constraint in space.constraints for row in constraint.linear]
        names = list(dict.fromkeys(name for row in rows for name in row.coefficients))
        own = [space.free.get(name) for name in names]
        plain = all(p is not None and p.type == "real" and not p.log and not p.when for p in own)
        if not plain or not all(c.linear for c in space.constraints):
            return None
        if any(space.parameters[n].when for c in space.constraints for n in c.names):
            return None
        return _Polytope.of(space, names, rows)

    @functools.cached_property
    def _spread(self) -> Array:
        """Uniforms of allowed points all over the region, from a long walk."""
        random = np.random.default_rng(1)
        starts = self._seeds[np.arange(_KEPT) % len(self._seeds)]
        return self._walk(starts, _WALK, random)

    def _walk(self, starts: Array, steps: int, random: np.random.Generator) -> Array:
        """Allowed uniforms some random steps away from allowed ones, all walks at once."""
        here = starts.copy()
        n, d = here.shape
        for _ in range(steps):
            along = random.standard_normal((n, d))
            one = random.random(n) < 0.5  # single coordinates reach what has levels
            along[one] = np.eye(d)[random.integers(d, size=int(one.sum()))]
            low, high = _chord(here, along)
            going = np.arange(n)
            for _ in range(_SHRINKS):
                step = low[going] + random.random(len(going)) * (high[going] - low[going])
                there = np.clip(here[going] + step[:, None] * along[going], 0.0, 1.0)
                _, ok = self.accept(there)
                here[going[ok]] = there[ok]
                low[going] = np.where(step < 0, step, low[going])
                high[going] = np.where(step >= 0, step, high[going])
                going = going[~ok]
                if not len(going):
                    break
        return here

    def _search(self) -> Array:
        """Uniforms of allowed points where a first probe found none."""
        space = self.space
        every = space.every
        if every is not None:
            if every:
                return space.to_uniforms(every[:_PROBE])
            raise self._impossible()
        random = np.random.default_rng(2)
        programs = np.tile(self._programs(), (_REPEATS, 1))
        uniforms = np.where(np.isnan(programs), random.random(programs.shape), programs)
        for attempt in (uniforms, random.random((_LONG_PROBE, len(space.free)))):
            if len(attempt):
                _, ok = self.accept(attempt)
                if ok.any():
                    return attempt[ok]
        raise self._impossible()

    def _programs(self) -> Array:
        """Uniforms of points that satisfy the linear constraints, NaN for the other parameters."""
        space = self.space
        rows = self._always()
        if not rows:
            return np.zeros((0, len(space.free)))
        program = _Program(space, rows)
        random = np.random.default_rng(3)
        found = [program.solve(random.standard_normal(len(program.names))) for _ in range(8)]
        if any(each is None for each in found):
            raise self._impossible()
        points = np.array([each for each in found if each is not None])
        if not program.whole.any():
            weights = random.dirichlet(np.ones(len(points)), size=len(points))
            points = np.concatenate([weights @ points, points])
        order = list(space.free)
        uniforms = np.full((len(points), len(order)), np.nan)
        for position, name in enumerate(program.names):
            parameter = space.free[name]
            near = _nearest(parameter, points[:, position])
            uniforms[:, order.index(name)] = parameter.to_uniforms(near)
        return uniforms

    def _always(self, only: Any = None) -> list[Linear]:
        """The linear rows whose parameters are always active."""
        return [
            row
            for constraint in self.space.constraints
            if only is None or constraint is only
            for row in constraint.linear
            if not any(self.space.parameters[name].when for name in constraint.names)
        ]

    def _impossible(self) -> UsageError:
        """Which constraint can't be satisfied."""
        space = self.space
        for constraint in space.constraints:
            rows = self._always(constraint)
            if rows and _Program(space, rows).solve(None) is None:
                return UsageError(
                    f"expected a constraint that some point satisfies, got {constraint.text!r}, "
                    "which none does within the bounds of its parameters; correct it or widen them"
                )
        texts = ", ".join(repr(constraint.text) for constraint in space.constraints)
        rows = self._always()
        sure = space.every is not None or (rows and _Program(space, rows).solve(None) is None)
        if sure and len(space.constraints) > 1:
            return UsageError(
                f"expected constraints that some point satisfies together, got {texts}, which none "
                "does; drop or loosen one of them"
            )
        if sure:
            return UsageError(
                f"expected a constraint that some point satisfies, got {texts}, which none does; "
                "correct it or widen the bounds"
            )
        return UsageError(
            f"expected constraints that some point satisfies, got {texts}, and found none among "
            f"{_LONG_PROBE:,} points; correct them, or narrow the bounds to where they hold"
        )


class _Solver:
    """Some equalities at once, solved for as many parameters."""

    def __init__(self, parameters: dict[str, Parameter], rows: Sequence[Linear]) -> None:
        names = list(dict.fromkeys(name for row in rows for name in row.coefficients))
        matrix = np.array([[row.coefficients.get(name, 0.0) for name in names] for row in rows])
        bounds = np.array([row.bound for row in rows])
        # Reals first, for they can take any value; among equals, the one that moves least.
        rank = {"real": 0, "integer": 1, "ordinal": 2}
        weight = np.array([abs(_range(parameters[name])) for name in names])
        scale = np.array([10.0 ** (-20 * rank[parameters[name].type]) for name in names])
        left, self.pivots = matrix.copy(), []
        order: list[int] = []
        for row in range(len(rows)):
            strength = np.abs(left[row]) * weight * scale
            strength[order] = 0.0
            column = int(np.argmax(strength))
            if abs(left[row, column]) <= 1e-12 * np.abs(matrix[row]).max():
                continue  # the same as those before it, or against them: then nothing is allowed
            others = np.arange(len(rows)) != row
            factor = left[others, column] / left[row, column]
            left[others] -= factor[:, None] * left[row]
            bounds[others] -= factor * bounds[row]
            order.append(column)
            self.pivots.append((row, names[column]))
        self.names = names
        self.left = left
        self.bounds = bounds

    def solve(self, space: "Space", table: "Table", rows: NDArray[np.int64]) -> Mask:
        """Put the solved values into some rows of a table; which of them are within bounds."""
        values = np.array(
            [[table.values[name][i] for i in rows.tolist()] for name in self.names],
            dtype=np.float64,
        )
        ok = np.ones(len(rows), dtype=np.bool_)
        solved = {name for _, name in self.pivots}
        rest = [i for i, name in enumerate(self.names) if name not in solved]
        for row, name in self.pivots:
            column = self.names.index(name)
            found = self.bounds[row] - self.left[row, rest] @ values[rest]
            found = found / self.left[row, column]
            parameter = space.parameters[name]
            low, high = _bounds(parameter)
            reach = _SNAP * (high - low) if parameter.type != "real" else 1e-12 * (high - low)
            ok &= (found >= low - reach) & (found <= high + reach)
            near = _nearest(parameter, np.clip(found, low, high))
            for position, value in zip(rows.tolist(), near, strict=True):
                table.values[name][position] = value
        self._snap(space, table, rows, ok)
        return ok

    def _snap(self, space: "Space", table: "Table", rows: Any, ok: Mask) -> None:
        """Move solved reals onto their grid where the equalities hold there too."""
        reals = [n for _, n in self.pivots if space.parameters[n].type == "real"]
        if not reals:
            return
        part = table.part(rows)
        for name in reals:
            parameter = space.parameters[name]
            part.values[name][:] = parameter.from_uniforms(parameter.to_uniforms(part.values[name]))
        fine = space.allowed_table(part) & ok
        for index in np.flatnonzero(fine).tolist():
            for name in reals:
                table.values[name][int(rows[index])] = part.values[name][index]


class _Polytope:
    """Linear constraints on some reals, in the unit cube of these; in its own affine subspace."""

    def __init__(
        self,
        positions: NDArray[np.int64],
        start: Array,
        basis: Array,
        sides: Array,
        limits: Array,
    ) -> None:
        self.positions = positions
        self.start = start
        self.basis = basis
        self.sides = sides
        self.limits = limits

    @staticmethod
    def of(space: "Space", names: list[str], rows: Sequence[Linear]) -> "_Polytope | None":
        """The polytope of linear rows; None where it has no inside that floating point sees."""
        from scipy.optimize import linprog

        sides, limits, equal, targets = unit_rows(space, names, rows)
        k = len(names)
        box = np.concatenate([np.eye(k), -np.eye(k)])
        sides = np.concatenate([sides, box])
        limits = np.concatenate([limits, np.ones(k), np.zeros(k)])
        for _ in range(3):
            basis = null_space(equal, k)
            if basis.shape[1] == 0:
                return None
            lengths = np.linalg.norm(sides @ basis, axis=1)
            cost = np.zeros(k + 1)
            cost[-1] = -1.0
            found = linprog(
                cost,
                A_ub=np.column_stack([sides, lengths]),
                b_ub=limits,
                A_eq=np.column_stack([equal, np.zeros(len(equal))]) if len(equal) else None,
                b_eq=targets if len(equal) else None,
                bounds=[(None, None)] * k + [(0.0, 1.0)],
            )
            if found.status != 0:
                return None
            if found.x[-1] > _THIN:
                keep = lengths > 1e-12
                order = list(space.free)
                positions = np.array([order.index(name) for name in names])
                return _Polytope(positions, found.x[:-1], basis, sides[keep], limits[keep])
            tight = np.array([_slack(side, sides, limits, equal, targets, limit) <= _THIN
                              for side, limit in zip(sides, limits, strict=True)])  # fmt: skip
            if not tight.any():
                return None
            equal = np.concatenate([equal, sides[tight]])
            targets = np.concatenate([targets, limits[tight]])
            sides, limits = sides[~tight], limits[~tight]
        return None

    def draw(self, n: int, random: np.random.Generator, d: int) -> Array:
        """n uniforms of all d parameters, those of the polytope uniform in it."""
        uniforms = random.random((n, d))
        here = np.tile(self.start, (n, 1))
        for _ in range(20 + 5 * self.basis.shape[1]):
            along = random.standard_normal((n, self.basis.shape[1])) @ self.basis.T
            along /= np.linalg.norm(along, axis=1, keepdims=True)
            speed = along @ self.sides.T
            room = np.maximum(self.limits - here @ self.sides.T, 0.0)
            with np.errstate(all="ignore"):
                reach = room / speed
            high = np.where(speed > 1e-14, reach, np.inf).min(axis=1)
            low = np.where(speed < -1e-14, reach, -np.inf).max(axis=1)
            here += (low + random.random(n) * (high - low))[:, None] * along
        uniforms[:, self.positions] = np.clip(here, 0.0, 1.0)
        return uniforms


class _Program:
    """Linear rows over numeric parameters as a mixed-integer program, in the user's units."""

    def __init__(self, space: "Space", rows: Sequence[Linear]) -> None:
        self.names = list(dict.fromkeys(name for row in rows for name in row.coefficients))
        own = [space.parameters[name] for name in self.names]
        self.whole = np.array([p.type == "integer" for p in own])
        self.bounds = np.array([_bounds(p) for p in own]).T
        self.matrix = np.array([[r.coefficients.get(n, 0.0) for n in self.names] for r in rows])
        self.high = np.array([row.bound for row in rows])
        self.low = np.array([row.bound if row.equality else -np.inf for row in rows])

    def solve(self, cost: Array | None) -> Array | None:
        """A point with the least cost, or None."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        width = self.bounds[1] - self.bounds[0]
        low, high = self.bounds
        sides: Any = (self.low, self.high)  # typed as numbers, taken as arrays too
        found = milp(
            np.zeros(len(self.names)) if cost is None else cost / width,
            constraints=LinearConstraint(self.matrix, *sides),
            bounds=Bounds(low, high),
            integrality=self.whole.astype(int),
            options={"time_limit": 5.0},
        )
        return None if found.x is None else np.clip(found.x, *self.bounds)


def unit_rows(
    space: "Space", names: Sequence[str], rows: Sequence[Linear]
) -> tuple[Array, Array, Array, Array]:
    """Linear rows over reals without log scale, in their unit cube.

    Inequalities are drawn in by as much as the grid of 2**-40 can be off, so that a point on one
    is allowed after it was decoded.

    Returns:
        Sides (m, k) and limits (m,) with sides @ x <= limits, and the same of the equalities.
    """
    low, high = np.array([_bounds(space.parameters[name]) for name in names]).T
    matrix = np.array([[row.coefficients.get(name, 0.0) for name in names] for row in rows])
    matrix = matrix.reshape(len(rows), len(names))
    bounds = np.array([row.bound for row in rows])
    unit = matrix * (high - low)
    limits = bounds - matrix @ low
    size = np.abs(matrix) @ np.maximum(np.abs(low), np.abs(high)) + np.abs(bounds)
    margin = _MARGIN * np.abs(unit).sum(axis=1) + 1e-15 * (len(names) + 2) * size
    equal = np.array([row.equality for row in rows], dtype=np.bool_)
    scale = np.abs(unit).max(axis=1, initial=0.0)
    scale[scale == 0.0] = 1.0
    sides = unit / scale[:, None]
    return sides[~equal], ((limits - margin) / scale)[~equal], sides[equal], (limits / scale)[equal]


def null_space(matrix: Array, k: int) -> Array:
    """(k, free) orthonormal directions along which the rows of a matrix (m, k) do not change."""
    if len(matrix) == 0:
        return np.eye(k)
    _, sizes, directions = np.linalg.svd(matrix)
    rank = int((sizes > 1e-10 * max(float(sizes[0]), 1e-300)).sum())
    return directions[rank:].T


def _slack(
    side: Array, sides: Array, limits: Array, equal: Array, targets: Array, limit: float
) -> float:
    """How far inside of one side a point of a polytope can lie."""
    from scipy.optimize import linprog

    found = linprog(
        side,
        A_ub=sides,
        b_ub=limits,
        A_eq=equal if len(equal) else None,
        b_eq=targets if len(equal) else None,
        bounds=(None, None),
    )
    return float(limit - found.fun) if found.status == 0 else 0.0


def _chord(here: Array, along: Array) -> tuple[Array, Array]:
    """How far one can go either way within the unit cube, (n,) each."""
    with np.errstate(all="ignore"):
        first, second = -here / along, (1.0 - here) / along
    low = np.where(along == 0, -np.inf, np.minimum(first, second)).max(axis=1)
    high = np.where(along == 0, np.inf, np.maximum(first, second)).min(axis=1)
    return np.minimum(low, 0.0), np.maximum(high, 0.0)


def _bounds(parameter: Parameter) -> tuple[float, float]:
    """The least and the greatest number."""
    if parameter.type in ("real", "integer"):
        return float(parameter.low), float(parameter.high)
    values = [float(value) for value in parameter.values]
    return min(values), max(values)


def _range(parameter: Parameter) -> float:
    low, high = _bounds(parameter)
    return high - low


def _nearest(parameter: Parameter, numbers: Array) -> list[Any]:
    """The nearest values to numbers within the bounds."""
    if parameter.type == "real":
        return numbers.tolist()
    if parameter.type == "integer":
        return np.floor(numbers + 0.5).astype(np.int64).tolist()
    values = np.array(parameter.values, dtype=np.float64)
    index = np.abs(numbers[:, None] - values).argmin(axis=1)
    return [parameter.values[i] for i in index.tolist()]
