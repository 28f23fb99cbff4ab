"""Ranks, intervals and tests, against closed forms, hand-worked examples and scipy."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from apps.statistics import (
    Quartiles,
    against_best,
    holm,
    mean_ranks,
    quartiles,
    ranks,
    signed_rank,
)

NAN = math.nan


def scipys(differences) -> float:
    """The p-value by scipy."""
    tested: Any = scipy.stats.wilcoxon(differences)
    return float(tested.pvalue)


def test_quartiles_leave_out_what_is_no_number():
    assert quartiles([1.0, None, 3.0, NAN, 2.0, math.inf]) == Quartiles(1.5, 2.0, 2.5, 3)
    assert quartiles([None, NAN]) == Quartiles(None, None, None, 0)
    assert quartiles([4.0]) == Quartiles(4.0, 4.0, 4.0, 1)


def test_ranks_share_ties_and_put_missing_values_last():
    losses = np.array([[0.1, 0.3, 0.2], [1.0, 1.0, 0.5], [NAN, 2.0, NAN], [7.0, 7.0, 7.0]])
    expected = [[1, 3, 2], [2.5, 2.5, 1], [2.5, 1, 2.5], [2, 2, 2]]
    assert ranks(losses).tolist() == expected
    assert (ranks(losses).sum(axis=1) == 6).all()


def test_holm_of_the_worked_example():
    # sorted: .005 * 4 = .02, .01 * 3 = .03, .03 * 2 = .06, .04 * 1 -> at least .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6, 1.0]) == [1.0, 1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_holm_lies_between_no_correction_and_bonferroni():
    p = np.random.default_rng(0).random(30) ** 3
    adjusted = np.array(holm(p.tolist()))
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(30 * p, 1)).all()
    assert adjusted.min() == pytest.approx(30 * p.min())
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_signed_rank_is_exact_for_few_pairs():
    assert signed_rank(np.arange(1.0, 6.0)) == pytest.approx(2 / 2**5)  # all of one sign
    differences = np.array([0.3, -0.1, 0.5, 0.7, -0.2, 0.9])
    size = scipy.stats.rankdata(np.abs(differences))
    sums = [float(size @ signs) for signs in itertools.product((0, 1), repeat=6)]
    observed = float(size[differences > 0].sum())
    extreme = max(observed, size.sum() - observed)
    expected = 2 * np.mean([s >= extreme for s in sums])
    assert signed_rank(differences) == pytest.approx(expected)
    assert signed_rank(-differences) == pytest.approx(expected)


def test_signed_rank_of_many_pairs_is_scipys():
    differences = np.random.default_rng(1).normal(0.3, 1, 40)
    assert signed_rank(differences) == scipys(differences)
    with_zeros = np.concatenate([differences, np.zeros(5)])
    assert signed_rank(with_zeros) == signed_rank(differences)


@pytest.mark.parametrize("n", [1, 3, 20, 60])
def test_all_ties_give_one(n):
    assert signed_rank(np.zeros(n)) == 1.0
    found = against_best(np.ones((n, 3)))
    assert [each.p for each in found] == [None, 1.0, 1.0]
    assert all((each.wins, each.ties, each.losses) == (0, n, 0) for each in found)


@pytest.mark.parametrize("n", [3, 10, 20, 60])
def test_many_ties_neither_fail_nor_warn(n):
    losses = np.random.default_rng(n).integers(0, 3, (n, 4)).astype(float)
    for each in against_best(losses):
        assert each.p is None or 0 < each.p <= (each.p_holm or 0) <= 1


def test_the_best_has_the_lowest_median_and_the_others_are_corrected():
    generator = np.random.default_rng(0)
    losses = generator.random((20, 3)) + [1.0, 0.0, 0.2]
    found = against_best(losses)
    assert [each.best for each in found] == [1, 1, 1]
    assert found[1].p is None
    raw = [scipys(losses[:, m] - losses[:, 1]) for m in (0, 2)]
    assert [found[0].p, found[2].p] == raw
    assert [found[0].p_holm, found[2].p_holm] == holm(raw)
    assert (found[0].p_holm or 1) < 0.001 < 0.05 < (found[2].p_holm or 0)
    assert found[0].wins + found[0].ties + found[0].losses == 20
    assert found[0].losses > 15


def test_a_run_that_failed_counts_as_the_greatest_loss():
    losses = np.array([[1.0, 1.1]] * 9 + [[NAN, 5.0]])
    worse, better = against_best(losses)
    assert worse.best == better.best == 0
    assert (better.wins, better.losses) == (1, 9)
    assert better.p == signed_rank(np.array([0.1] * 9 + [-1.2]))
    both = against_best(np.array([[NAN, NAN], [1.0, 2.0], [1.0, 3.0]]))[1]
    assert (both.wins, both.ties, both.losses) == (0, 1, 2)
    never = against_best(np.array([[NAN, 1.0]] * 6))
    assert never[0].best == 1
    assert never[0].p == pytest.approx(2 / 2**6)


def test_mean_ranks_weigh_problems_alike():
    first = np.array([[1.0, 2.0]] * 10)
    second = np.array([[2.0, 1.0]] * 2)
    found = mean_ranks([first, second], seed=0)
    assert found.mean.tolist() == [1.5, 1.5]
    assert found.low.tolist() == [1.0, 1.0]  # both problems drawn alike in a quarter of the draws
    assert found.high.tolist() == [2.0, 2.0]
    alone = mean_ranks([first], seed=0)
    assert alone.low.tolist() == alone.mean.tolist() == alone.high.tolist() == [1.0, 2.0]


def test_intervals_are_a_function_of_the_seed():
    ranked = [ranks(np.random.default_rng(i).random((5, 3))) for i in range(4)]

    def ends(seed: int) -> list[float]:
        found = mean_ranks(ranked, seed=seed, draws=50)
        return [*found.low.tolist(), *found.high.tolist()]

    assert ends(3) == ends(3)
    assert len({tuple(ends(seed)) for seed in range(5)}) > 1


def test_the_interval_covers_the_true_mean_rank():
    """Methods that are alike have a mean rank of 2; a 95 % interval covers it about that often."""
    generator = np.random.default_rng(0)
    covered = 0
    for repetition in range(60):
        ranked = [ranks(generator.random((6, 3))) for _ in range(10)]
        found = mean_ranks(ranked, seed=repetition, draws=200)
        covered += int(found.low[0] <= 2 <= found.high[0])
    assert 52 <= covered <= 60
