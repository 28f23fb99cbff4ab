"""Names: the five packages are ours alone, and every method says where it comes from."""

import ast
import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
METHODS = sorted(
    file.relative_to(ROOT).as_posix()
    for folder in ("surrogates/gp", "bo/strategies", "rl/bandits", "rl/agents")
    for file in (ROOT / folder).glob("*.py")
    if not file.name.startswith("_")
)
SOURCE = re.compile(r"\b(?:19|20)\d\d\b|arXiv|doi|https?://|Departs from|No paper", re.IGNORECASE)


@pytest.mark.parametrize("name", ["surrogates", "bo", "rl", "apps", "dashboards"])
def test_package_belongs_to_this_distribution_alone(name: str) -> None:
    owners = set(packages_distributions().get(name, []))
    assert owners == {"wald"}, (
        f"expected {name} to come from wald alone, got {sorted(owners)}; "
        "install wald in an environment of its own"
    )


@pytest.mark.parametrize("file", METHODS)
def test_method_names_its_source(file: str) -> None:
    header = ast.get_docstring(ast.parse((ROOT / file).read_text(encoding="utf-8"))) or ""
    assert SOURCE.search(header), (
        f"expected the header of {file} to name a paper (with its year), 'Departs from ...' "
        "or 'No paper'"
    )
