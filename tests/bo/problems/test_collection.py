"""The ready tables agree with their index: rows, failures, best, median."""

import csv
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bo.contract import Problem
from bo.problems import collection
from bo.problems.collection import TABLES, Options, problem
from bo.problems.measurements import Measurements
from surrogates.errors import DataError, UsageError
from surrogates.options import build

PAIRS = [(name, text.split()[1]) for name, table in TABLES.items() for text in table.goals]
# Grids like hpobench-australian, on other data.
SLOW = ("hpobench-car", "hpobench-phoneme", "hpobench-segment")


def made_of(name: str, **given: str) -> Problem:
    return problem(name, build(Options, given, owner=name))


@functools.cache
def nasbench() -> Problem:
    return made_of("blackbox/nasbench201-cifar10", repeats="draw")


def index_row(folder: Path, file: str, column: str) -> dict[str, str]:
    with (folder / "blackbox" / "index.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["file"] == file]
    return next((row for row in rows if row["objective"] == column), rows[0])


def column_of(name: str, goal: str) -> str:
    for text in TABLES[name].goals:
        told, _, column = text.partition(" = ")
        if told.split()[1] == goal:
            return column or goal
    raise AssertionError(goal)


def first_means(objective: Any) -> Any:
    return next(iter(objective.means.values()))


@pytest.mark.parametrize(
    ("name", "goal"),
    [pytest.param(*p, marks=[pytest.mark.slow] * (p[0] in SLOW), id="-".join(p)) for p in PAIRS],
)
def test_agrees_with_the_index(data_folder: Path, name: str, goal: str) -> None:
    table = TABLES[name]
    expected = index_row(data_folder, table.file, column_of(name, goal))
    made = made_of(f"blackbox/{name}", goal=goal)
    log = goal in table.log
    objective = made.evaluate
    assert isinstance(objective, Measurements)
    measured = first_means(objective)[np.isfinite(first_means(objective))]

    assert made.space.candidates is not None
    assert (
        len(made.space.candidates)
        == len(first_means(objective))
        == int(expected["distinct_configs"])
    )
    assert len(first_means(objective)) - len(measured) == int(expected["failed"])
    assert made.goals.only.direction.startswith(expected["goal"])
    assert made.goals.only.name == (f"log10_{goal}" if log else goal)
    assert made.optimum is not None
    best = 10.0**made.optimum if log else made.optimum
    assert best == pytest.approx(float(expected["best"]), rel=1e-7)
    assert np.median(measured) == pytest.approx(float(expected["median"]), rel=1e-7)
    assert len(made.space.parameters) >= int(expected["dims"])

    for row in np.random.default_rng(0).integers(len(measured), size=20).tolist():
        if np.isnan(first_means(objective)[row]):
            continue
        found: Any = made.evaluate(made.space.candidates[row], seed=0)
        if log:
            assert isinstance(found, dict)
            assert found[f"log10_{goal}"] == math.log10(found[goal])
            found = found[goal]
        assert found == pytest.approx(first_means(objective)[row], rel=1e-12)


def test_every_table_of_the_index_is_ready(data_folder: Path) -> None:
    with (data_folder / "blackbox" / "index.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["file"] for row in rows} == {table.file for table in TABLES.values()}
    assert len(rows) == len(PAIRS)


def test_failed_kernel(data_folder: Path) -> None:
    made = made_of("blackbox/gpu-convolution")
    assert made.space.candidates is not None
    assert isinstance(made.evaluate, Measurements)
    failed = int(np.flatnonzero(np.isnan(first_means(made.evaluate)))[0])
    with pytest.raises(DataError, match="failed: status .*FailedConfig"):
        made.evaluate(made.space.candidates[failed], seed=0)
    assert made.note is not None
    assert "161 of 4362 rows are failed" in made.note


def test_grid_is_in_c_order(data_folder: Path) -> None:
    made = nasbench()
    assert made.space.candidates is not None
    assert made.space.candidates[11667] == {  # the best row, as told by meta.json
        "Op0": "nor_conv_3x3",
        "Op1": "nor_conv_3x3",
        "Op2": "nor_conv_3x3",
        "Op3": "skip_connect",
        "Op4": "nor_conv_3x3",
        "Op5": "nor_conv_1x1",
    }
    assert isinstance(made.evaluate, Measurements)
    assert np.nanargmax(first_means(made.evaluate)) == 11667


def test_draws_skip_seeds_that_were_not_run(data_folder: Path) -> None:
    made = nasbench()
    assert made.space.candidates is not None
    values = [made.evaluate(row, seed=3) for row in made.space.candidates[:300]]
    assert np.isfinite(np.array(values, dtype=np.float64)).all()
    row = made.space.candidates[11667]
    assert len({str(made.evaluate(row, seed=seed)) for seed in range(30)}) == 3
    assert made.evaluate(row, seed=7) == made.evaluate(row, seed=7)


def test_bad_names(data_folder: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'buchwald_b'"):
        made_of("blackbox/buchwald")
    with pytest.raises(UsageError, match=r"did you mean 'latency'"):
        made_of("blackbox/storm-a", goal="latencies")


def test_data_folder_must_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WALD_DATA", raising=False)
    with pytest.raises(UsageError, match="set WALD_DATA to the folder"):
        made_of("blackbox/snar")
    monkeypatch.setenv("WALD_DATA", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="no folder at"):
        collection.data_folder()
    monkeypatch.setenv("WALD_DATA", str(tmp_path))
    assert collection.data_folder() == tmp_path
    with pytest.raises(UsageError, match="got no file"):
        made_of("blackbox/snar")
