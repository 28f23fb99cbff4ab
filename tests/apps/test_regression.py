"""An experiment of regression runs by its command and goes on where it ended."""

import csv
from pathlib import Path

import numpy as np
import pytest

from apps.experiment_file import Entry
from apps.regression import Job, fit

FILE = """
kind = "regression"
problems = ["waves", { name = "waves", options = { split = "half", most = 12 }, label = "half" }]
methods = [{ name = "gp-mode", options = { prior = "flat" }, label = "ML-II" }, "gp-map"]
splits = 2
"""


@pytest.fixture
def data(tmp_path_factory, wald):
    rng = np.random.default_rng(3)
    rows = rng.uniform(-2.0, 5.0, (40, 3))
    rows[:, 2] = np.sin(rows[:, 0]) + 0.1 * rng.standard_normal(40)
    there = tmp_path_factory.mktemp("data")
    (there / "uci" / "waves").mkdir(parents=True)
    np.savetxt(there / "uci" / "waves" / "data.txt", rows)
    masks = np.zeros((40, 2), dtype=bool)
    masks[:8, 0] = masks[8:16, 1] = True
    np.savez(there / "uci" / "waves" / "splits.npz", test_mask=masks, features=[0, 1], target=2)
    wald.env["WALD_DATA"] = str(there)


def _rows(text):
    return list(csv.DictReader(text.splitlines()))


def _write(wald, text):
    (wald.folder / "sets.toml").write_text(text)


def test_tables_and_going_on(wald, data):
    _write(wald, FILE)
    told = wald.json("experiment", "sets.toml", "--workers", "2")
    assert (told["state"], told["runs"], told["failed"]) == ("finished", 8, 0)
    assert {(row["problem"], row["method"]) for row in told["table"]} == {
        (problem, method) for problem in ("waves", "half") for method in ("ML-II", "gp-map")
    }
    page = (wald.folder / "results/sets/RESULTS.md").read_text()
    assert "## half" in page
    assert "12 rows to learn from" in page
    runs = wald.folder / "results/sets/runs.csv"
    whole = runs.read_text()
    assert all(float(row["rmse"]) < 1.0 for row in csv.DictReader(whole.splitlines()))

    # A row cut off by a kill is made again, the others are kept as they are.
    runs.write_text(whole[:-30])
    again = wald("experiment", "sets.toml", "--workers", "1")
    assert "1 of 8 fits to do" in again.stderr
    kept = whole.splitlines()[:-1]
    assert runs.read_text().splitlines()[:-1] == kept
    last, before = (text.splitlines()[-1].split(",") for text in (runs.read_text(), whole))
    assert last[:12] == before[:12]


def test_other_options_under_the_same_label_are_refused(wald, data):
    _write(wald, FILE)
    wald.json("experiment", "sets.toml")
    _write(wald, FILE.replace('prior = "flat"', 'prior = "saas"'))
    ended = wald("experiment", "sets.toml")
    assert ended.returncode == 2
    assert "with other options, on other data or on another device" in ended.stderr
    assert "name another folder with --out" in ended.stderr


def test_other_data_are_refused_and_rows_from_before_they_were_told_go_on(wald, data):
    _write(wald, FILE)
    wald.json("experiment", "sets.toml")
    runs = wald.folder / "results/sets/runs.csv"
    whole = runs.read_text()
    assert all(row["made_with"].endswith("-cpu") for row in _rows(whole))
    assert len({row["made_with"].split("-")[1] for row in _rows(whole)}) == 4  # sets times splits
    file = Path(wald.env["WALD_DATA"]) / "uci" / "waves" / "data.txt"
    rows = np.loadtxt(file)
    rows[3, 2] += 1e-3
    np.savetxt(file, rows)
    ended = wald("experiment", "sets.toml")
    assert ended.returncode == 2
    assert "on other data" in ended.stderr
    assert runs.read_text() == whole

    for row in _rows(whole):
        whole = whole.replace(row["made_with"], row["made_with"][:8])
    runs.write_text(whole)
    again = wald("experiment", "sets.toml")
    assert "0 of 8 fits to do" in again.stderr


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"waves", {', '"wave", {', "did you mean 'waves'"),
        ('"gp-map"', '"gp-mop"', "did you mean 'gp-map'"),
        ('prior = "flat"', 'prior = "flet"', "did you mean 'flat'"),
        ("most = 12", "much = 12", "choose from: split, most"),
        ("splits = 2", "splits = 3", "split from 0 to 1 (2 splits), got 2"),
        ("splits = 2", "seeds = 2", "expected splits, got seeds"),
        ("splits = 2", "splits = [1, 1]", "splits expected distinct numbers"),
    ],
)
def test_what_is_wrong_with_the_file(wald, data, before, after, message):
    _write(wald, FILE.replace(before, after))
    ended = wald("experiment", "sets.toml")
    assert ended.returncode == 2
    assert message in ended.stderr


def test_a_fit_that_fails_is_told_and_made_again(wald, data):
    file = Path(wald.env["WALD_DATA"]) / "uci" / "waves" / "data.txt"
    rows = np.loadtxt(file)
    broken = rows.copy()
    broken[20, 2] = np.nan
    np.savetxt(file, broken)
    _write(wald, FILE)
    ended = wald("experiment", "sets.toml")
    assert ended.returncode == 1
    assert "train_Y expected finite values" in ended.stdout
    assert "Fits that failed" in (wald.folder / "results/sets/RESULTS.md").read_text()
    np.savetxt(file, rows)
    assert wald.json("experiment", "sets.toml")["failed"] == 0


def test_an_error_of_several_lines_is_told_in_one(monkeypatch):
    """Else it would end the row of the table that it stands in."""

    def load(*_: object, **__: object) -> None:
        raise ValueError("not positive definite:\n\n  row 3 |\n  row 4")

    monkeypatch.setattr("surrogates.regression.load", load)
    row = fit(Job(Entry("waves", {}, "waves"), Entry("gp-map", {}, "gp-map"), 0, "", "cpu", 1))
    assert row["error"] == "ValueError: not positive definite: row 3 | row 4"
