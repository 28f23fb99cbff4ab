"""Adding a method or a problem is one file and one catalog row; docs/adding.md says how.

The toys of tests/repo/toys are added to a copy of the packages, each as one file and one row. The
command line lists and runs them there, and the contract suite checks them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOYS = Path(__file__).parent / "toys"
PACKAGES = ("surrogates", "bo", "rl", "apps", "dashboards")

PYTEST = ("pytest", "tests/contracts", "-q", "-p", "no:cacheprovider")


class Toy(NamedTuple):
    """What is added: its file, the catalog and the tuple in it, and the row."""

    file: str
    catalog: str
    tuple_name: str
    row: str

    @property
    def source(self) -> Path:
        """Where the toy is kept."""
        return TOYS / Path(self.file).name

    @property
    def name(self) -> str:
        """What one types."""
        return self.row.split('"')[1]


ADDED = [
    Toy(
        "surrogates/toy_linear.py",
        "surrogates/catalog.py",
        "SURROGATES",
        '("toy-linear", "surrogates.toy_linear:fit", "surrogate", "joint gradients",\n'
        ' "Bayesian linear regression on random cosines"),\n',
    ),
    Toy(
        "bo/strategies/toy_step.py",
        "bo/catalog.py",
        "METHODS",
        '("toy-step", "bo.strategies.toy_step:ToyStep", "bo", "pool",\n'
        ' "Gaussian steps from the best point"),\n',
    ),
    Toy(
        "rl/bandits/toy_greedy.py",
        "rl/catalog.py",
        "METHODS",
        '("toy-greedy", "rl.bandits.toy_greedy:policy", "bandit", "disjoint shared",\n'
        ' "epsilon-greedy on the mean rewards"),\n',
    ),
    Toy(
        "bo/problems/toy_quadratic.py",
        "bo/catalog.py",
        "PROBLEMS",
        '("toy-quadratic", "bo.problems.toy_quadratic:problem", "bo", "optimum",\n'
        ' "A bowl with its minimum at 0.3"),\n',
    ),
]


def insert(catalog: Path, tuple_name: str, row: str) -> None:
    """Add a row at the top of a catalog's tuple."""
    text = catalog.read_text(encoding="utf-8")
    start = re.search(rf"^{tuple_name}: .* = \($", text, re.MULTILINE)
    assert start is not None, f"no tuple {tuple_name} in {catalog}"
    catalog.write_text(f"{text[: start.end()]}\n{row}{text[start.end() :]}", encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and the contract suite, with the toys added."""
    folder = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__", "*.db*")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for toy in ADDED:
        shutil.copy(toy.source, folder / toy.file)
        insert(folder / toy.catalog, toy.tuple_name, toy.row)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python process that finds the packages of the folder before the installed ones."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def wald(folder: Path, *arguments: str) -> dict[str, object]:
    """What `wald ... --json` prints."""
    call = "from apps.cli import main; main()"
    result = run(folder, "-c", call, *arguments, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


def test_the_copy_wins_over_the_installed_packages(copy: Path) -> None:
    names = ", ".join(PACKAGES)
    result = run(copy, "-c", f"import {names}\nfor p in ({names}): print(p.__file__)")
    files = result.stdout.split()
    assert len(files) == len(PACKAGES), result.stderr
    assert all(Path(file).is_relative_to(copy) for file in files), files


@pytest.mark.parametrize("toy", ADDED, ids=lambda toy: toy.name)
def test_it_is_one_file_and_one_row(toy: Toy, copy: Path) -> None:
    before = (ROOT / toy.catalog).read_text(encoding="utf-8")
    after = (copy / toy.catalog).read_text(encoding="utf-8")
    for other in ADDED:
        after = after.replace(other.row, "", 1)
    assert after.replace("= (\n\n", "= (\n") == before
    assert (copy / toy.file).read_text(encoding="utf-8") == toy.source.read_text(encoding="utf-8")
    assert not (ROOT / toy.file).exists()


@pytest.mark.parametrize("toy", ADDED, ids=lambda toy: toy.name)
def test_catalog_lists_it_with_its_options(toy: Toy, copy: Path) -> None:
    rows = wald(copy, "catalog", toy.name)["rows"]
    assert isinstance(rows, list)
    assert {row["name"] for row in rows} == {toy.name}
    assert all(row["options"] for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        "bo --problem toy-quadratic --method toy-linear --budget 8",
        "bo --problem toy-quadratic --method toy-step --budget 8 --option step_std=0.2",
        "bandit --problem bernoulli --method toy-greedy --budget 200 --option epsilon=0.2",
    ],
)
def test_it_runs(arguments: str, copy: Path) -> None:
    found = wald(copy, "run", *arguments.split(), "--seed", "0")
    assert found["state"] == "finished"
    assert found["steps"] == int(arguments.split("--budget ")[1].split()[0])
    assert isinstance(found["regret"], float)


def test_contract_suite_checks_all_four(copy: Path) -> None:
    result = run(copy, "-m", *PYTEST, "-k", "toy", "-rA")
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr
    for test in ("test_surrogate", "test_strategy", "test_policy", "test_problem"):
        assert re.search(rf"^PASSED .*::{test}\[toy-", result.stdout, re.MULTILINE), test


def test_contract_suite_checks_a_method_of_somebody_else(tmp_path: Path) -> None:
    shutil.copy(TOYS / "toy_linear.py", tmp_path / "their_method.py")
    broken = (TOYS / "toy_linear.py").read_text(encoding="utf-8")
    broken = broken.replace("check_data(train_X", "0 and check_data(train_X")
    (tmp_path / "their_mistake.py").write_text(broken, encoding="utf-8")
    result = subprocess.run(
        [
            *(sys.executable, "-m", *PYTEST),
            *("--row", "surrogate theirs their_method:fit joint,gradients features=64"),
            *("--row", "surrogate mistaken their_mistake:fit joint,gradients"),
            *("-k", "(theirs or mistaken) and (bad_data or shape or same_seed)"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 5 passed" in result.stdout, result.stdout[-5000:] + result.stderr
    assert "mistaken-cpu-bad_data_is_refused_with_a_message" in result.stdout


@pytest.mark.parametrize("toy", ADDED, ids=lambda toy: toy.name)
def test_documentation_shows_the_very_file_and_row(toy: Toy) -> None:
    page = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    code = toy.source.read_text(encoding="utf-8")
    assert f"```python\n{code}```\n" in page, f"expected {toy.source} in docs/adding.md, verbatim"
    assert f"```python\n{toy.row}```\n" in page
    assert f"`{toy.file}`" in page
    assert f"pytest tests/contracts -k {toy.name}\n" in page
