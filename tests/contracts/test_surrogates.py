"""Every surrogate of the catalog keeps its contract."""

from typing import Any

import pytest
import torch

from surrogates.registry import Row
from tests.contracts import checks_row, checks_surrogate
from tests.contracts.rows import checks_of, title

KIND = "surrogate"


@pytest.mark.parametrize("check", checks_of(checks_row), ids=title)
def test_row(row: Row, check: Any, words: set[str]) -> None:
    check(row, words)


@pytest.mark.parametrize("check", checks_of(checks_surrogate), ids=title)
def test_surrogate(row: Row, check: Any, device: torch.device) -> None:
    check(row, device)
