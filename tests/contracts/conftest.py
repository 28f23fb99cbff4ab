"""Every test here runs once for each row of its module's `KIND`, and for each device."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from surrogates.registry import Row
from tests.contracts.rows import CAPABILITIES, SLOW, catalog, example, given


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--row",
        action="append",
        default=[],
        metavar="'KIND NAME MODULE:FACTORY [CAPABILITIES] [OPTION=VALUE ...]'",
        help="check a method or problem that is in no catalog; repeatable",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row" in metafunc.fixturenames:
        kind: str = vars(metafunc.module)["KIND"]
        more = [given(text) for text in metafunc.config.getoption("row", default=None) or []]
        found = catalog(kind) + [row for given_kind, row in more if given_kind == kind]
        marked = [_marked(row) for row in found]
        metafunc.parametrize("row", marked, ids=[row.name for row in found])
    if "device" in metafunc.fixturenames:
        devices: list[Any] = [torch.device("cpu")]
        devices.append(pytest.param(torch.device("cuda"), marks=pytest.mark.gpu))
        metafunc.parametrize("device", devices, ids=["cpu", "cuda"], indirect=True)


def _marked(row: Row) -> Any:
    return pytest.param(row, marks=pytest.mark.slow) if row.name in SLOW else row


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, or a CUDA device with `-m gpu`."""
    if request.param.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


@pytest.fixture
def name(row: Row, tmp_path: Path) -> str:
    """What a user would type to get the row: placeholders filled in, files written."""
    folder = os.environ.get("WALD_DATA", "")
    if "data" in row.capabilities and not Path(folder, "blackbox").is_dir():
        pytest.skip("needs the data sets; set WALD_DATA to their folder")
    return example(row, tmp_path)


@pytest.fixture
def words(request: pytest.FixtureRequest) -> set[str]:
    """The capabilities that a row of the module's kind may declare."""
    return CAPABILITIES[request.module.KIND]
