"""What all tests share: one thread, types checked as the code runs, the data, explicit tensors."""

import os
from collections.abc import Generator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch loads, so it stands before imports

import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent
EXPLICIT = ("surrogates", "rl", "contracts")
"""Folders of tests during which `surrogates` and `rl` must name the device and dtype of tensors."""

# Where a module annotates shapes, they and its types are checked at every call; types elsewhere are
# the type checker's business, since a check costs more than most of those calls. Here, since the
# command-line option of jaxtyping cannot say that an int is also a float, as annotations mean it.
install_import_hook(
    [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for package in ("surrogates", "bo", "rl")
        for file in sorted((ROOT / package).rglob("*.py"))
        if "from jaxtyping import" in file.read_text(encoding="utf-8")
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

if "WALD_DATA" not in os.environ and (ROOT.parent / "shared" / "data").is_dir():
    os.environ["WALD_DATA"] = str(ROOT.parent / "shared" / "data")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Watch tensor factories during the whole test, the fixtures of every scope included."""
    if not any(item.path.is_relative_to(ROOT / "tests" / folder) for folder in EXPLICIT):
        return (yield)
    from tests.repo.factories import ExplicitFactories

    with ExplicitFactories():
        return (yield)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of data sets, `WALD_DATA`."""
    folder = Path(os.environ.get("WALD_DATA", ""))
    if "WALD_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("needs the data sets; set WALD_DATA to their folder")
    return folder
