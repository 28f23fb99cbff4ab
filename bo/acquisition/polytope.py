"""Climbing within linear constraints, all starts at once.

Birgin, Martinez & Raydan (2000), "Nonmonotone Spectral Projected Gradient Methods on Convex Sets":
every step goes along the projection of a gradient step, of a length that two gradients tell, and
may lose a little as long as it gains over the last few. The projection onto box and half-spaces is
Hildreth's: one multiplier at a time, each of them exact, since along one of them the clipped point
is piecewise linear.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bo.constraints import Linear
from bo.parameters import Array
from bo.region import unit_rows
from bo.space import Mask, Space, Table

Ascend = Callable[[Array], tuple[Array, Array]]
"""Values (s,) and gradients (s, d) at columns (s, d)."""

_MEMORY = 8
_SUFFICIENT = 1e-4
_SETTLED = 1e-6
_HALVINGS = 6
_SWEEPS = 50
_FEASIBLE = 1e-12
_LEAST, _MOST = 1e-8, 1e8


@dataclass(frozen=True)
class Polytope:
    """For each of s starts: box, inequalities and equalities over the columns of all d.

    Attributes:
        sides: (s, m, d), 0 in columns that are held.
        limits: (s, m), with sides @ x <= limits.
        equal: (m,) which of these are equalities.
        free: (s, d) which columns may move.
    """

    sides: Array
    limits: Array
    equal: Mask
    free: Mask

    def project(self, points: Array) -> Array:
        """The nearest points (s, d) within; columns that are held stay as they are."""
        held = np.where(self.free, 0.0, points)
        moved = np.clip(np.where(self.free, points, 0.0), 0.0, 1.0)
        s, m, _ = self.sides.shape
        if m == 0:
            return moved + held
        weights = np.zeros((s, m))
        plain = np.where(self.free, points, 0.0)
        for _ in range(_SWEEPS if m > 1 else 1):
            for row in range(m):
                others = plain - np.einsum("sm,smd->sd", weights, self.sides)
                others += weights[:, [row]] * self.sides[:, row]
                weight = _multiplier(others, self.sides[:, row], self.limits[:, row])
                if not self.equal[row]:
                    weight = np.maximum(weight, 0.0)
                weights[:, row] = weight
            moved = np.clip(plain - np.einsum("sm,smd->sd", weights, self.sides), 0.0, 1.0)
            over = np.einsum("smd,sd->sm", self.sides, moved) - self.limits
            over = np.where(self.equal, np.abs(over), over)
            if over.max() <= _FEASIBLE:
                break
        return moved + held


def polytope(space: Space, table: Table, held: Sequence[str], free: Mask) -> Polytope:
    """The linear constraints at some starts, as far as they are linear in the columns.

    Args:
        space: with constraints.
        table: the starts.
        held: parameters that stay as they are.
        free: (d,) which columns may move.
    """
    movable = [n for n, p in space.free.items() if p.type == "real" and n not in held]
    columns = _columns(space)
    sides: list[Array] = []
    limits: list[Array] = []
    equal: list[bool] = []
    for constraint in space.constraints:
        active = space.active(constraint, table)
        for row in constraint.linear:
            names = [name for name in row.coefficients if name in movable]
            if not names or any(space.free[n].log for n in names) or _rounds(space, row, held):
                continue
            side, limit = _row(space, table, row, names, columns)
            sides.append(np.where(active[:, None], side, 0.0))
            limits.append(np.where(active, limit, 1.0 - row.equality))
            equal.append(row.equality)
    s, d = table.n, space.d
    return Polytope(
        np.stack(sides, axis=1) if sides else np.zeros((s, 0, d)),
        np.stack(limits, axis=1) if limits else np.zeros((s, 0)),
        np.array(equal, dtype=np.bool_),
        np.broadcast_to(free, (s, d)),
    )


def ascend(function: Ascend, starts: Array, within: Polytope, *, evaluations: int) -> Array:
    """The best points (s, d) that the climbs from the starts meet.

    Args:
        function: values and gradients.
        starts: (s, d) columns within the polytope.
        within: where to stay.
        evaluations: how often the function may be evaluated at all starts, at most.
    """
    x = within.project(starts)
    value, gradient = function(x)
    best, best_value = x.copy(), value.copy()
    recent = np.tile(value[:, None], (1, _MEMORY))
    first = np.abs(within.project(x + gradient) - x).max(axis=1)
    step = 1.0 / np.maximum(first, 1e-3)
    going = np.ones(len(x), dtype=np.bool_)
    spent = 1
    while spent < evaluations and going.any():
        along = within.project(x + step[:, None] * gradient) - x
        going &= np.isfinite(value) & (np.abs(along).max(axis=1) > _SETTLED)
        gain = (along * gradient).sum(axis=1)
        length = np.ones(len(x))
        waiting = going.copy()
        new, new_value, new_gradient = x.copy(), value.copy(), gradient.copy()
        for _ in range(_HALVINGS):
            index = np.flatnonzero(waiting)
            if not len(index):
                break
            there = x[index] + length[index, None] * along[index]
            found, slope = function(there)
            spent += 1
            enough = recent[index].min(axis=1) + _SUFFICIENT * length[index] * gain[index]
            good = np.isfinite(found) & (found >= enough)
            new[index[good]], new_value[index[good]] = there[good], found[good]
            new_gradient[index[good]] = slope[good]
            waiting[index[good]] = False
            length[index[~good]] *= 0.3
        going &= ~waiting
        moved, turned = new - x, gradient - new_gradient
        curvature = (moved * turned).sum(axis=1)
        with np.errstate(all="ignore"):
            spectral = (moved * moved).sum(axis=1) / curvature
        step = np.where(curvature > 0, np.clip(spectral, _LEAST, _MOST), step * 4.0)
        x, value, gradient = new, new_value, new_gradient
        recent = np.concatenate([recent[:, 1:], value[:, None]], axis=1)
        better = value > best_value
        best[better], best_value[better] = x[better], value[better]
    return best


def _multiplier(points: Array, sides: Array, limits: Array) -> Array:
    """w (s,) with sides . clip(points - w sides, 0, 1) = limits; where none is, the nearest."""
    with np.errstate(all="ignore"):
        breaks = np.concatenate([points / sides, (points - 1.0) / sides], axis=1)
    breaks = np.sort(np.where(np.isfinite(breaks), breaks, 0.0), axis=1)
    clipped = np.clip(points[:, None, :] - breaks[:, :, None] * sides[:, None, :], 0.0, 1.0)
    sums = (clipped * sides[:, None, :]).sum(axis=2)  # falls from left to right
    right = (sums > limits[:, None]).sum(axis=1).clip(1, breaks.shape[1] - 1)
    rows = np.arange(len(points))
    w0, w1, g0, g1 = (
        breaks[rows, right - 1],
        breaks[rows, right],
        sums[rows, right - 1],
        sums[rows, right],
    )
    with np.errstate(all="ignore"):
        share = np.where(g0 > g1, (g0 - limits) / (g0 - g1), 0.0)
    return w0 + np.clip(share, 0.0, 1.0) * (w1 - w0)


def _row(
    space: Space, table: Table, row: Linear, names: list[str], columns: dict[str, int]
) -> tuple[Array, Array]:
    """One linear row over the columns: its side (d,) and its limit at every start (s,)."""
    rest = np.zeros(table.n)
    for name, coefficient in row.coefficients.items():
        if name not in names:
            rest += coefficient * np.array(table.values[name], dtype=np.float64)
    part = Linear({n: row.coefficients[n] for n in names}, 0.0, row.equality, row.strict)
    sides, limits, equal, targets = unit_rows(space, names, [part])
    own, limit = (equal[0], targets[0]) if row.equality else (sides[0], limits[0])
    coefficient = row.coefficients[names[0]]
    scale = own[0] / (coefficient * (space.free[names[0]].high - space.free[names[0]].low))
    side = np.zeros(space.d)
    side[[columns[name] for name in names]] = own
    reach = 1e-15 * (np.abs(rest) + abs(row.bound)) * (not row.equality)
    return side, limit + scale * (row.bound - rest - 8 * reach)


def _rounds(space: Space, row: Linear, held: Sequence[str]) -> bool:
    """Whether a whole number in it is searched as a real and rounded."""
    return any(space.free[n].type != "real" and n not in held for n in row.coefficients)


def _columns(space: Space) -> dict[str, int]:
    """The first column of every parameter."""
    found: dict[str, int] = {}
    start = 0
    for name, parameter in space.free.items():
        found[name] = start
        start += parameter.width
    return found
