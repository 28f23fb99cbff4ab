"""From columns of measurements to a problem over a finite pool; shared by every table.

The distinct rows of the input columns are the pool (`space.candidates`, in the order of the
table). Rows with equal inputs are repeats: their mean is returned, or one of them is drawn by the
seed of the evaluation. A row in which an outcome is empty is a failed evaluation.

The optimum is the best mean in the table that satisfies the constraints, also where repeats are
drawn (a lucky draw may beat it); with several goals the hypervolume of the table's front, from the
reference point, which is that front's own where none is given.

A goal on a log scale is optimised as `log10_NAME`, so that the outcome, the optimum and the regret
are all in decades; each evaluation also returns NAME itself, in the units of the table.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bo import metrics
from bo.contract import Problem, Trial
from bo.goals import Goals
from bo.problems.columns import Input, parameter_of
from bo.space import Parameter, Parameters, Space, Value
from surrogates.errors import DataError, UsageError

Repeats = Literal["mean", "draw"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was measured of one goal, or of what a constraint speaks of.

    Attributes:
        name: of the column, in the units of the table.
        values: (rows, repeats of a row); what is not finite was not measured.
        log: optimise log10 of it.
    """

    name: str
    values: NDArray[np.float64]
    log: bool = False

    @property
    def shown(self) -> str:
        """The name under which it is told."""
        return f"log10_{self.name}" if self.log else self.name


class Measurements:
    """The objective: looks a point up in the table.

    Attributes:
        space: the space with the pool.
        means: of the repeats, in the units of the table, by name of outcome: one per candidate, NaN
            where the measurement failed.
    """

    def __init__(
        self,
        space: Space,
        outcomes: Sequence[Outcome],
        groups: NDArray[np.int64],
        values: NDArray[np.float64],
        *,
        statuses: Sequence[str] | None,
        repeats: Repeats,
    ) -> None:
        pool = space.candidates or []
        self.space = space
        self._outcomes = outcomes
        self._statuses = statuses
        self._repeats = repeats
        self._names = list(space.free)
        self._rows = {self._key(row): number for number, row in enumerate(pool)}
        counts = np.bincount(groups, minlength=len(pool))
        sums = [np.bincount(groups, weights=column, minlength=len(pool)) for column in values.T]
        held = [np.where(counts > 0, each / np.maximum(counts, 1), np.nan) for each in sums]
        self.means = {outcome.name: mean for outcome, mean in zip(outcomes, held, strict=True)}
        # The repeats of candidate i are _values[_starts[i]:_starts[i + 1]].
        self._values = values[np.argsort(groups, kind="stable")]
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def __call__(self, parameters: Parameters, *, seed: int) -> float | Mapping[str, float]:
        """The outcome at a row of the table; of several, all by name.

        Raises:
            UsageError: the point is not in the table.
            DataError: the measurement failed.
        """
        row = self._rows.get(self._key(self.space.check(parameters)))
        if row is None:
            raise UsageError(
                f"expected one of the {len(self._rows)} rows of the table, got {parameters}; "
                "choose among space.candidates"
            )
        start, stop = int(self._starts[row]), int(self._starts[row + 1])
        if start == stop:
            told = f"status {self._statuses[row]}" if self._statuses else "the table has no value"
            raise DataError(f"the measurement failed: {told}; choose another row")
        values = [float(mean[row]) for mean in self.means.values()]
        if self._repeats == "draw":
            generator = np.random.default_rng([seed, row])
            values = self._values[start + int(generator.integers(stop - start))].tolist()
        found = self.told(values)
        return values[0] if len(found) == 1 else found

    def told(self, values: Sequence[float]) -> dict[str, float]:
        """Values in the units of the table by name, and their logarithms where those count."""
        found: dict[str, float] = {}
        for outcome, value in zip(self._outcomes, values, strict=True):
            if outcome.log:
                found[outcome.shown] = math.log10(value)
            found[outcome.name] = value
        return found

    def _key(self, point: Mapping[str, Any]) -> tuple[Any, ...]:
        # Checked points have canonical types, so equal tuples mean equal `space.key`s; a tuple
        # takes a tenth of the time.
        return tuple([point[name] for name in self._names])


def problem_of(
    name: str,
    columns: Mapping[str, pd.Series],
    inputs: Mapping[str, Input],
    outcomes: Sequence[Outcome],
    goals: Goals,
    *,
    repeats: Repeats = "mean",
    statuses: pd.Series | None = None,
    notes: Sequence[str] = (),
) -> Problem:
    """A problem over the rows of a table.

    Args:
        name: of the problem.
        columns: the input columns by name, equally long.
        inputs: what each input is, by name.
        outcomes: of the goals and constraints, with equally many repeats.
        goals: what is optimised, by the names under which outcomes are told.
        repeats: return the mean of equal rows, or draw one.
        statuses: why a row failed, where the table says so.
        notes: sentences for the user.

    Raises:
        UsageError: the columns do not fit their types, or nothing was measured.
    """
    measured_names = " and ".join(outcome.name for outcome in outcomes)
    table_rows = len(outcomes[0].values)
    try:
        kept = _kept(columns, inputs, table_rows)
        parameters: dict[str, Parameter] = {}
        levels: dict[str, list[Value]] = {}
        for column, given in inputs.items():
            found = columns[column].loc[kept].reset_index(drop=True)
            parameters[column], levels[column] = parameter_of(found, column, given)
        groups, firsts = _groups(levels)
        table = list(zip(*levels.values(), strict=True))
        pool = [dict(zip(levels, table[first], strict=True)) for first in firsts.tolist()]
        space = Space(parameters, candidates=pool)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None

    cube = np.stack([outcome.values[kept] for outcome in outcomes], axis=-1)
    measured = np.isfinite(cube).all(axis=-1)
    values = cube[measured].astype(np.float64)
    if not len(values):
        raise UsageError(f"{name}: expected measurements of {measured_names}, got none in any row")
    for outcome, column in zip(outcomes, values.T, strict=True):
        if outcome.log and float(column.min()) <= 0:
            raise UsageError(
                f"{name}: a log scale expected {outcome.name} > 0, got {float(column.min()):g}; "
                'use scale = "linear"'
            )
    told_statuses = None
    if statuses is not None:
        told_statuses = [str(status) for status in statuses.to_numpy()[kept][firsts]]
    objective = Measurements(
        space,
        outcomes,
        np.broadcast_to(groups[:, None], measured.shape)[measured],
        values,
        statuses=told_statuses,
        repeats=repeats,
    )
    means = np.stack(list(objective.means.values()), axis=1)
    goals, optimum = _optimum(objective, means[np.isfinite(means).all(axis=1)], goals)
    told = _told(parameters, int(measured.sum()), means[:, 0], repeats)
    plain = goals.several or goals.constraints
    return Problem(
        name=name,
        space=space,
        goal=goals if plain else goals.only,
        evaluate=objective,
        optimum=optimum,
        note="; ".join([*told, *notes]) or None,
    )


def _optimum(
    objective: Measurements, means: NDArray[np.float64], goals: Goals
) -> tuple[Goals, float | None]:
    """Of all rows measured; and the goals with a reference point, where there are several."""
    if not goals.several and not goals.constraints:
        best = means.max() if goals.only.sign > 0 else means.min()
        return goals, objective.told([float(best)])[goals.only.name]
    rows = [
        Trial(number, {}, "complete", values=objective.told(row))
        for number, row in enumerate(means.tolist())
    ]
    if goals.several:
        goals = dataclasses.replace(goals, reference=metrics.reference(rows, goals))
    return goals, metrics.best_value(rows, goals)


def _kept(
    columns: Mapping[str, pd.Series], inputs: Mapping[str, Input], rows: int
) -> NDArray[np.bool_]:
    """Which rows have the values that the user fixed."""
    kept = np.ones(rows, dtype=np.bool_)
    for name, given in inputs.items():
        if given.type == "fixed" and given.values:
            matching = np.asarray((columns[name] == given.values[0]).fillna(False), dtype=np.bool_)
            if not matching.any():
                raise UsageError(
                    f"expected rows with {name} = {given.values[0]!r}, got none; "
                    "fix it to a value of the table"
                )
            kept &= matching
    if not kept.any():
        raise UsageError(
            "expected at least one row, got none; "
            + ("give the table rows" if not rows else "no row has all the fixed values")
        )
    return kept


def _groups(levels: Mapping[str, list[Value]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The candidate of each row, and the first row of each candidate."""
    frame = pd.DataFrame({i: pd.factorize(np.array(v))[0] for i, v in enumerate(levels.values())})
    groups = frame.groupby(list(frame.columns), sort=False).ngroup().to_numpy(dtype=np.int64)
    # Groups are numbered in the order of their first rows.
    firsts = np.asarray(np.unique(groups, return_index=True)[1], dtype=np.int64)
    return np.asarray(groups, dtype=np.int64), firsts


def _told(
    parameters: Mapping[str, Parameter],
    measurements: int,
    means: NDArray[np.float64],
    repeats: Repeats,
) -> list[str]:
    told: list[str] = []
    measured = int(np.isfinite(means).sum())
    if measurements > measured:
        how = "averaged" if repeats == "mean" else "drawn"
        told.append(f"{measurements} measurements of {measured} distinct rows, repeats are {how}")
    if measured < len(means):
        told.append(f"{len(means) - measured} of {len(means)} rows are failed measurements")
    constant = [name for name, parameter in parameters.items() if parameter.type == "fixed"]
    if constant:
        told.append(f"constant: {', '.join(constant)}")
    return told
