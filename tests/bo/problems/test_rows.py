"""The rows of the catalog lead to factories with options."""

import subprocess
import sys

import pytest

from bo.catalog import PROBLEMS
from bo.problems import (
    collection,
    constrained,
    estimators,
    fidelities,
    greed,
    several_goals,
    synthetic,
    tuning,
)
from surrogates.registry import Row, find, rows

ROWS = rows(PROBLEMS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_loads(row: Row) -> None:
    assert callable(row.load())
    row.options()()
    assert row.help
    known = {"optimum", "pool", "noisy", "data", "goals", "constraints", "fidelity"}
    assert row.capabilities <= known


def test_every_member_of_a_family_has_its_row() -> None:
    names = {row.name for row in ROWS}
    from_botorch = {
        **synthetic.FUNCTIONS,
        **constrained.FUNCTIONS,
        **several_goals.FUNCTIONS,
        **fidelities.FUNCTIONS,
    }
    functions = {n + ("<d>" if f.allowed else "") for n, f in from_botorch.items()}
    functions |= {n + ("<d>" if f.least else "") for n, f in greed.FUNCTIONS.items()}
    models = {*tuning.NAMES, *estimators.NAMES}
    tables = {f"blackbox/{name}" for name in collection.TABLES}
    assert names >= functions | models | tables | {"table:<file>"}


@pytest.mark.parametrize(
    ("typed", "row"),
    [
        ("hartmann6", "hartmann<d>"),
        ("ackleymixed53", "ackleymixed<d>"),
        ("cosine8", "cosine8"),
        ("logrosenbrock10", "logrosenbrock<d>"),
        ("dtlz2-12", "dtlz2-<d>"),
        ("constrainedhartmannsmooth6", "constrainedhartmannsmooth<d>"),
        ("coco/bbob-f8-d2-i1", "coco/bbob-f<k>-d<d>-i<i>"),
        ("coco/bbob-mixint-f8-d5-i10", "coco/bbob-mixint-f<k>-d<d>-i<i>"),
        ("mlp-sgd-wine", "mlp-sgd-wine"),
        ("table:some/file.toml", "table:<file>"),
        ("blackbox/suzuki_i", "blackbox/suzuki_i"),
    ],
)
def test_typed_name(typed: str, row: str) -> None:
    assert find(typed, ROWS, what="bo problem").name == row


def test_tables_need_no_torch() -> None:
    code = (
        "import sys, bo.problems.table, bo.problems.collection; "
        "assert not {'torch', 'sklearn', 'botorch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
