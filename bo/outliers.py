"""Outcomes far below all others, to be taken for those of failed evaluations. No paper.

A goal of 1e30 says that something went wrong; as a number beside others it would flatten a model.
An optimiser's outcomes crowd near the best, and then the first ones are far from most others, but
not by a thousand times the range of all of those: they stay what they are, and skewed goals are for
`surrogates/power.py`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bo.contract import Trial
from bo.goals import Goals

GAP = 1e3
_ONE_OF = 5


def as_failed(trials: Sequence[Trial], goals: Goals) -> Sequence[Trial]:
    """The trials, with those that have an outlier of any goal failed."""
    complete = [trial for trial in trials if trial.state == "complete"]
    out: set[int] = set()
    for goal in goals.goals:
        below = outliers(np.array([goal.sign * trial.values[goal.name] for trial in complete]))
        out |= {trial.number for trial, far in zip(complete, below, strict=True) if far}
    if not out:
        return trials
    return [dataclasses.replace(t, state="failed") if t.number in out else t for t in trials]


def outliers(y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the outcomes (n,), higher is better, are too far below the others.

    By more than `GAP` times the range of those; and they are a fifth of all at most, or one.
    """
    ordered = np.sort(np.clip(y, -1e300, 1e300))
    for count in range(max(1, len(y) // _ONE_OF), 0, -1):
        rest = ordered[count:]
        if len(rest) and 0.0 < GAP * (rest[-1] - rest[0]) < rest[0] - ordered[count - 1]:
            return y < rest[0]
    return np.zeros(len(y), dtype=np.bool_)
