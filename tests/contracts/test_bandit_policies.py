"""Every bandit policy of the catalog keeps its contract."""

from typing import Any

import pytest
import torch

from surrogates.registry import Row
from tests.contracts import checks_bandit_method, checks_row
from tests.contracts.rows import checks_of, title

KIND = "bandit-method"


@pytest.mark.parametrize("check", checks_of(checks_row), ids=title)
def test_row(row: Row, check: Any, words: set[str]) -> None:
    check(row, words)


@pytest.mark.parametrize("check", checks_of(checks_bandit_method), ids=title)
def test_policy(row: Row, check: Any, device: torch.device) -> None:
    check(row, device)
