"""Outcomes that say that something went wrong: which ones count, and what methods make of them."""

import statistics
from typing import Any

import numpy as np
import pytest

import bo
from bo.contract import Trial
from bo.goals import Goals
from bo.outliers import GAP, as_failed, outliers


def optimized(method: str, enormous: tuple[int, ...], seed: int) -> float:
    """The least distance to an optimum in 25 evaluations, of which some give 1e30."""
    space = {"x": bo.real(-5.0, 5.0), "y": bo.real(-5.0, 5.0)}
    study = bo.Study(space, "minimize loss", method=method, seed=seed)
    found: list[float] = []
    for evaluation in range(1, 26):
        (trial,) = study.ask()
        point = {name: float(value) for name, value in trial.parameters.items()}
        loss = (point["x"] - 1.3) ** 2 + (point["y"] + 0.7) ** 2
        study.tell(trial, 1e30 if evaluation in enormous else loss)
        if evaluation not in enormous:
            found.append(loss)
    return min(found)


@pytest.mark.parametrize(
    ("method", "enormous"),
    [("gp-map", (2, 9)), ("auto", (4,)), ("gp-trust-region", (1,))],
    ids=["gp-map", "auto", "gp-trust-region"],
)
def test_enormous_outcomes_do_not_flatten_a_model(method: str, enormous: tuple[int, ...]) -> None:
    """Beside a median of 2 of random points, and of 4 and more where they count as numbers."""
    assert statistics.median(optimized(method, enormous, seed) for seed in range(3)) < 0.02


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_what_is_far_below_all_others_is_an_outlier_at_any_scale(scale: float) -> None:
    rest = np.linspace(3.0, 4.0, 12) * scale
    for far in (rest[0] - 1.01 * GAP * scale, -1e250, -np.inf):
        y = np.array([*rest[:5], far, *rest[5:]])
        assert np.flatnonzero(outliers(y)).tolist() == [5]
    assert not outliers(np.array([*rest, rest[0] - 0.99 * GAP * scale])).any()
    assert not outliers(np.array([*rest, 1e30])).any()  # the best one
    assert np.flatnonzero(outliers(np.array([*rest, -1e30, -1e9 * scale]))).tolist() == [12, 13]


def test_many_are_no_outliers() -> None:
    for n in range(3, 40):
        allowed = max(1, n // 5)
        for count in range(1, n - 1):
            y = np.append(np.arange(n - count, dtype=np.float64), np.full(count, -1e30))
            found = outliers(y).sum()
            assert found == (count if count <= allowed else 0)


@pytest.mark.parametrize(
    "y", [[], [1.0], [1.0, -1e30], [2.0, 2.0, 2.0], [2.0, 2.0, -1e30]], ids=str
)
def test_without_a_range_of_others_there_are_none(y: list[float]) -> None:
    assert not outliers(np.array(y, dtype=np.float64)).any()


def test_an_optimiser_that_has_converged_keeps_its_first_outcomes() -> None:
    """Distances that shrink by half an evaluation, or by a tenth after a design of three."""
    for rate in (0.5, 0.1):
        y = -50.0 * np.array([1.0, 0.4, 0.7, *(rate**step for step in range(1, 13))])
        for n in range(3, len(y) + 1):
            assert not outliers(y[:n]).any()


def told(number: int, **values: float) -> Trial:
    given: dict[str, Any] = {"parameters": {"x": number}, "values": values, "state": "complete"}
    return Trial(number=number, seed=0, **given)


def test_an_outlier_of_any_goal_fails_its_trial_and_no_other() -> None:
    goals = Goals.of("minimize cost, maximize yield")
    trials = [told(i, cost=float(i), **{"yield": 5.0 - i}) for i in range(6)]
    assert as_failed(trials, goals) is trials
    trials += [told(6, cost=1e30, **{"yield": 3.0}), told(7, cost=2.0, **{"yield": -1e30})]
    trials += [told(8, cost=-1e30, **{"yield": 3.0})]  # the best one
    seen = as_failed(trials[:8], goals)
    assert [trial.number for trial in seen if trial.state == "failed"] == [6, 7]
    assert all(trial.state == "complete" for trial in trials)
