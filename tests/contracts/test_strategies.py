"""Every BO method of the catalog keeps its contract, surrogates under the default strategy too."""

from typing import Any

import pytest
import torch

from surrogates.errors import NotInstalledError
from surrogates.options import schema
from surrogates.registry import Row
from tests.contracts import checks_bo_method, checks_row
from tests.contracts.checks_bo_method import GOAL, MIXED, ask, assert_new, log_of
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
