"""Ends before the budget: a target, a stall, a time; in one process, in many, and again later."""

import itertools
import time

import pytest

import bo
from surrogates.errors import UsageError

SPACE = {"x": bo.real(0, 1)}


def counting():
    """An objective whose values are 10, 9, 8, ..."""
    values = itertools.count(10, -1)
    return lambda p: float(next(values))


def quiet(_):
    """No progress line."""


def run(study, f, budget=30, **how):
    return study.run(f, budget, callback=quiet, **how)


def test_it_ends_at_the_target():
    study = bo.Study(SPACE, method="random", seed=0)
    result = run(study, counting(), stop_at=6.0)
    assert [t.values["value"] for t in study.trials] == [10, 9, 8, 7, 6]
    assert result.stopped == "reached the target 6 with 6 at trial 4"


def test_a_target_that_was_reached_before_needs_no_trial():
    study = bo.Study(SPACE, "maximize value", method="random", seed=0)
    study.add({"x": 0.5}, 3.0)
    assert run(study, counting(), stop_at=3.0).stopped is not None
    assert len(study.trials) == 1


def test_maximising_wants_more():
    study = bo.Study(SPACE, "maximize value", method="random", seed=0)
    run(study, lambda p: 1.0 + study.trials[-1].number, stop_at=4.0)
    assert len(study.trials) == 4


def test_a_stall_counts_trials_since_the_best_and_failed_ones_too():
    study = bo.Study(SPACE, method="random", seed=0)
    values = iter([5.0, 3.0, 3.0, float("nan"), 4.0, 1.0])
    assert run(study, lambda p: next(values), stall=3).stopped == "no improvement in 3 trials"
    assert len(study.trials) == 5
    run(study, lambda p: next(values), stall=3)
    assert len(study.trials) == 5  # it is stalled still
    run(study, lambda p: next(values), budget=6, stall=4)
    assert len(study.trials) == 6


def test_all_failed_is_a_stall():
    study = bo.Study(SPACE, method="random", seed=0)
    run(study, lambda p: float("nan"), stall=4)
    assert len(study.trials) == 4


def test_it_ends_after_a_time_with_what_was_begun():
    study = bo.Study(SPACE, method="random", seed=0)

    def slow(p):
        time.sleep(0.2)
        return p["x"]

    result = run(study, slow, budget=100, stop_after=0.5)
    assert result.stopped == "stopped after 0.5 s"
    assert 2 <= len(study.trials) <= 4
    assert {t.state for t in study.trials} == {"complete"}


def test_in_parallel_what_is_in_flight_is_waited_for():
    study = bo.Study(SPACE, method="random", seed=0)

    def slow(p, trial):
        if trial.number:
            time.sleep(0.5)
        return float(trial.number)

    run(study, slow, parallel=2, stop_at=0.0)
    assert len(study.trials) <= 3
    assert {t.state for t in study.trials} == {"complete"}


def test_without_conditions_nothing_ends_early():
    study = bo.Study(SPACE, method="random", seed=0)
    assert run(study, lambda p: 0.0, budget=7).stopped is None
    assert len(study.trials) == 7


@pytest.mark.parametrize(
    "how",
    [
        {"stop_at": float("nan")},
        {"stop_after": 0},
        {"stop_after": True},
        {"stall": 0},
        {"stall": True},
    ],
)
def test_what_makes_no_sense_is_refused(how):
    study = bo.Study(SPACE, method="random", seed=0)
    with pytest.raises(UsageError, match="expected"):
        run(study, lambda p: 0.0, **how)
    assert study.trials == []
