"""From columns of measurements to a problem over a finite pool; shared by every table.

The distinct rows of the input columns are the pool (`space.candidates`, in the order of the
table). Rows with equal inputs are repeats: their mean is returned, or one of them is drawn by the
seed of the evaluation. A row whose goal is empty is a failed evaluation.

The optimum is the best mean in the table, also where repeats are drawn (a lucky draw may beat it).

A goal on a log scale is optimised as `log10_NAME`, so that the outcome, the optimum and the regret
are all in decades; each evaluation also returns NAME itself, in the units of the table.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bo.contract import Problem
from bo.goals import Goal
from bo.problems.columns import Input, parameter_of
from bo.space import Parameter, Parameters, Space, Value
from surrogates.errors import DataError, UsageError

Repeats = Literal["mean", "draw"]


class Measurements:
    """The objective: looks a point up in the table.

    Attributes:
        space: the space with the pool.
        goal: the goal; its name starts with `log10_` on a log scale.
        means: mean of the repeats in the units of the table, one per candidate; NaN where failed.
    """

    def __init__(
        self,
        space: Space,
        goal: Goal,
        groups: NDArray[np.int64],
        values: NDArray[np.float64],
        *,
        raw_name: str | None,
        statuses: Sequence[str] | None,
        repeats: Repeats,
    ) -> None:
        pool = space.candidates or []
        self.space = space
        self.goal = goal
        self._raw_name = raw_name
        self._statuses = statuses
        self._repeats = repeats
        self._names = list(space.free)
        self._rows = {self._key(row): number for number, row in enumerate(pool)}
        counts = np.bincount(groups, minlength=len(pool))
        sums = np.bincount(groups, weights=values, minlength=len(pool))
        self.means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        # The repeats of candidate i are _values[_starts[i]:_starts[i + 1]].
        self._values = values[np.argsort(groups, kind="stable")]
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def __call__(self, parameters: Parameters, *, seed: int) -> float | Mapping[str, float]:
        """The outcome at a row of the table.

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
        value = float(self.means[row])
        if self._repeats == "draw":
            generator = np.random.default_rng([seed, row])
            value = float(self._values[start + int(generator.integers(stop - start))])
        if self._raw_name is None:
            return value
        return {self.goal.name: math.log10(value), self._raw_name: value}

    def _key(self, point: Mapping[str, Any]) -> tuple[Any, ...]:
        # Checked points have canonical types, so equal tuples mean equal `space.key`s; a tuple
        # takes a tenth of the time.
        return tuple([point[name] for name in self._names])


def problem_of(
    name: str,
    columns: Mapping[str, pd.Series],
    inputs: Mapping[str, Input],
    outcomes: NDArray[np.float64],
    goal: Goal,
    *,
    log: bool = False,
    repeats: Repeats = "mean",
    statuses: pd.Series | None = None,
    notes: Sequence[str] = (),
) -> Problem:
    """A problem over the rows of a table.

    Args:
        name: of the problem.
        columns: the input columns by name, equally long.
        inputs: what each input is, by name.
        outcomes: the goal, of shape (rows, repeats of a row); what is not finite was not measured.
        goal: the outcome and its direction, in the units of the table.
        log: optimise log10 of the outcome.
        repeats: return the mean of equal rows, or draw one.
        statuses: why a row failed, where the table says so.
        notes: sentences for the user.

    Raises:
        UsageError: the columns do not fit their types, or nothing was measured.
    """
    try:
        kept = _kept(columns, inputs, len(outcomes))
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

    outcomes = outcomes[kept]
    measured = np.isfinite(outcomes)
    values = outcomes[measured].astype(np.float64)
    if not len(values):
        raise UsageError(f"{name}: expected measurements of {goal.name}, got none in any row")
    if log and float(values.min()) <= 0:
        raise UsageError(
            f"{name}: a log scale expected {goal.name} > 0, got {float(values.min()):g}; "
            'use scale = "linear"'
        )
    told_statuses = None
    if statuses is not None:
        told_statuses = [str(status) for status in statuses.to_numpy()[kept][firsts]]
    shown = Goal(f"log10_{goal.name}", goal.direction) if log else goal
    objective = Measurements(
        space,
        shown,
        np.broadcast_to(groups[:, None], outcomes.shape)[measured],
        values,
        raw_name=goal.name if log else None,
        statuses=told_statuses,
        repeats=repeats,
    )
    best = np.nanmax(objective.means) if goal.sign > 0 else np.nanmin(objective.means)
    told = _told(parameters, int(measured.sum()), objective.means, repeats)
    return Problem(
        name=name,
        space=space,
        goal=shown,
        evaluate=objective,
        optimum=math.log10(best) if log else float(best),
        note="; ".join([*told, *notes]) or None,
    )


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
