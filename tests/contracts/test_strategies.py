"""Every BO method of the catalog keeps its contract, surrogates under the default strategy too."""

import dataclasses
from typing import Any

import pytest
import torch

from surrogates.errors import NotInstalledError
from surrogates.options import schema
from surrogates.registry import Row
from tests.contracts import checks_bo_method, checks_row
from tests.contracts.checks_bo_method import (
    AIMS,
    GOAL,
    MIXED,
    SPACES,
    ask,
    assert_new,
    assert_obedient,
    log_of,
    refused,
    running,
    strategy,
)
from tests.contracts.rows import checks_of, title

KIND = "bo-method"


@pytest.mark.parametrize("check", checks_of(checks_row), ids=title)
def test_row(row: Row, check: Any, words: set[str]) -> None:
    check(row, words)


@pytest.mark.parametrize("check", checks_of(checks_bo_method), ids=title)
def test_strategy(row: Row, check: Any) -> None:
    try:
        check(row)
    except NotInstalledError as error:
        pytest.skip(str(error))


def test_ax_alone_refuses_conditional_parameters_and_nobody_constraints(row: Row) -> None:
    try:
        assert refused(row, "conditional") == (row.name.partition(":")[0] == "ax")
        assert not refused(row, "constrained")
    except NotInstalledError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["constrained", "conditional"])
def test_no_point_of_a_longer_search_is_out_of_place(row: Row, place: str) -> None:
    space, n = SPACES[place], 2
    try:
        if refused(row, place):
            return
    except NotInstalledError as error:
        pytest.skip(str(error))
    made, trials, state = strategy(row, space), log_of(space, aim=AIMS.get(place, 0.3)), None
    for _ in range(1 if row.name.startswith("ax:") else 10):
        points, new = ask(made, trials, n, state=state)
        assert [space.check(point) for point in points] == points  # old ones are no mistake here
        assert len(points) == n
        assert_obedient(place, points)
        state = new or state
        losses = ((space.encode(points) - AIMS.get(place, 0.3)) ** 2).sum(axis=1)
        trials += [
            dataclasses.replace(trial, state="complete", values={GOAL.name: float(loss)})
            for trial, loss in zip(running(trials, points)[len(trials) :], losses, strict=True)
        ]


@pytest.mark.gpu
def test_strategy_on_cuda_asks_for_valid_points(row: Row) -> None:
    from bo.methods import make_strategy

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if "device" not in [option["name"] for option in schema(row.options())]:
        pytest.skip(f"{row.name} has no option device")
    trials = log_of(MIXED, failed=1, running=1)
    made = make_strategy(row.name, MIXED, GOAL, {"device": "cuda"}, 0)
    assert_new(MIXED, trials, ask(made, trials, 2)[0], 2)
