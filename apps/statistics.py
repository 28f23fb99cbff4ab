"""Comparing methods over problems and seeds: quartiles, ranks with intervals, paired tests.

Numpy and scipy alone. A loss is lower-is-better; NaN is a loss that was never reached (the run
failed before), worse than every number and equal to other NaNs.

Wilcoxon (1945), "Individual Comparisons by Ranking Methods"; Holm (1979), "A Simple Sequentially
Rejective Multiple Test Procedure". Intervals are percentiles of a bootstrap in two stages: problems
first, then seeds within each (Davison & Hinkley 1997, section 3.8).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVEL = 0.95
DRAWS = 2000
SIGNIFICANT = 0.05


class Quartiles(NamedTuple):
    """Of the finite values; None where there is none."""

    q25: float | None
    median: float | None
    q75: float | None
    seeds: int


class MeanRanks(NamedTuple):
    """Per method: the mean rank over problems, and a bootstrap interval of it; (methods,) each."""

    mean: Array
    low: Array
    high: Array


class Against(NamedTuple):
    """One method beside the best method of a problem, paired over seeds.

    Attributes:
        best: position of the method with the lowest median loss.
        wins: seeds at which this method has a lower loss than the best one.
        ties: seeds at which both have the same.
        losses: seeds at which it has a greater one.
        p: two-sided p-value of the signed-rank test; None for the best method itself.
        p_holm: the same, corrected for all comparisons of this problem.
    """

    best: int
    wins: int
    ties: int
    losses: int
    p: float | None
    p_holm: float | None


def quartiles(values: Sequence[float | None]) -> Quartiles:
    """Quartiles by linear interpolation, of the values that are numbers."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return Quartiles(None, None, None, 0)
    low, median, high = np.quantile(finite, [0.25, 0.5, 0.75]).tolist()
    return Quartiles(low, median, high, len(finite))


def ranks(losses: Array) -> Array:
    """Ranks within each row of (n, methods) losses: 1 is best, equal losses share their mean."""
    worst = np.where(np.isnan(losses), np.inf, losses)
    return np.asarray(scipy.stats.rankdata(worst, axis=1), dtype=np.float64)


def mean_ranks(ranked: Sequence[Array], *, seed: int, draws: int = DRAWS) -> MeanRanks:
    """Mean rank over problems, each problem with the same weight.

    Args:
        ranked: per problem the ranks (seeds, methods) of at least one seed.
        seed: of the bootstrap: problems are drawn with replacement, then seeds within each.
        draws: of the bootstrap.

    Returns:
        Means, and the ends of the interval of 95 %.
    """
    generator = np.random.default_rng(seed)
    mean = np.mean([problem.mean(axis=0) for problem in ranked], axis=0)
    chosen = generator.integers(len(ranked), size=(draws, len(ranked)))
    means = np.empty((*chosen.shape, len(mean)))
    for place, problem in enumerate(ranked):
        here = chosen == place
        seeds = generator.integers(len(problem), size=(int(here.sum()), len(problem)))
        means[here] = problem[seeds].mean(axis=1)
    drawn = means.mean(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return MeanRanks(mean, low, high)


def signed_rank(differences: Array) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test of paired differences; zeros are dropped.

    Exact for up to 50 pairs without ties and for up to 13 with them, else by the normal
    approximation. 1 where every pair is equal.
    """
    left = differences[differences != 0]
    if len(left) == 0:
        return 1.0
    tested: Any = scipy.stats.wilcoxon(left, zero_method="wilcox", correction=False, method="auto")
    return min(float(tested.pvalue), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's step-down procedure, in the order given."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def against_best(losses: Array) -> list[Against]:
    """Each method of (seeds, methods) losses beside the one with the lowest median loss.

    Of equal medians, the one with the better mean rank counts as best, then the first.
    """
    worst = np.where(np.isnan(losses), np.inf, losses)
    order = zip(np.median(worst, axis=0), ranks(losses).mean(axis=0), strict=True)
    best = min(enumerate(order), key=lambda each: (*each[1], each[0]))[0]
    others = [method for method in range(losses.shape[1]) if method != best]
    tested = {m: signed_rank(_differences(worst[:, m], worst[:, best])) for m in others}
    adjusted = dict(zip(others, holm(list(tested.values())), strict=True))
    return [
        Against(
            best,
            wins=int((worst[:, method] < worst[:, best]).sum()),
            ties=int((worst[:, method] == worst[:, best]).sum()),
            losses=int((worst[:, method] > worst[:, best]).sum()),
            p=tested.get(method),
            p_holm=adjusted.get(method),
        )
        for method in range(losses.shape[1])
    ]


def _differences(first: Array, second: Array) -> Array:
    """First minus second; a pair with one infinite loss differs by more than all other pairs."""
    both = np.isinf(first) & np.isinf(second)
    one = np.isinf(first) ^ np.isinf(second)
    sound = ~(both | one)
    differences = np.zeros(len(first))
    differences[sound] = first[sound] - second[sound]
    most = float(np.abs(differences).max(initial=0.0))
    return np.where(one, np.where(np.isinf(first), 2 * most + 1, -2 * most - 1), differences)
