"""Every BO problem of the catalog keeps its contract."""

from typing import Any

import pytest

from surrogates.registry import Row
from tests.contracts import checks_bo_problem, checks_row
from tests.contracts.rows import checks_of, title

KIND = "bo-problem"


@pytest.mark.parametrize("check", checks_of(checks_row), ids=title)
def test_row(row: Row, check: Any, words: set[str]) -> None:
    check(row, words)


@pytest.mark.parametrize("check", checks_of(checks_bo_problem), ids=title)
def test_problem(row: Row, name: str, check: Any) -> None:
    check(row, name)
