"""Pools of candidates in all the forms that users have them in."""

import numpy as np
import pandas as pd
import pytest

import bo
from surrogates.errors import UsageError

PARAMETERS = {
    "solvent": bo.choice("water", "ethanol"),
    "count": bo.integer(1, 9),
    "temp": bo.real(0.0, 90.0, when={"solvent": "water"}),
}
ROWS = [
    {"solvent": "water", "count": 3, "temp": 25.0},
    {"solvent": "ethanol", "count": 1},
    {"solvent": "water", "count": 9, "temp": 0.5},
]
CSV = "count,price,temp,solvent\n3,7.5,25,water\n1,,,ethanol\n9,2,0.5,water\n"
TOML = """
solvent = { type = "choice", values = ["water", "ethanol"] }
count = { type = "integer", low = 1, high = 9 }
temp = { type = "real", low = 0, high = 90, when = { solvent = "water" } }
"""


def test_every_form_is_the_same_pool(tmp_path):
    file = tmp_path / "shelf.csv"
    file.write_text(CSV)
    columns = {
        "solvent": ["water", "ethanol", "water"],
        "count": [3, 1, 9],
        "temp": [25.0, None, 0.5],
    }
    (tmp_path / "space.toml").write_text('candidates = "shelf.csv"\n' + TOML)
    rows = ", ".join(
        "{" + ", ".join(f"{name} = {value!r}" for name, value in row.items()) + "}" for row in ROWS
    )
    (tmp_path / "rows.toml").write_text(f"candidates = [{rows}]\n{TOML}")
    for space in (
        bo.Space(PARAMETERS, candidates=ROWS),
        bo.Space(PARAMETERS, candidates=columns),
        bo.Space(PARAMETERS, candidates=file),
        bo.Space(PARAMETERS, candidates=str(file)),
        bo.Space.from_toml(tmp_path / "space.toml"),
        bo.Space.from_toml(tmp_path / "rows.toml"),
    ):
        assert space.candidates == ROWS
        assert bo.Space.from_dict(space.to_dict()).candidates == ROWS


def test_a_data_frame():
    told = pd.DataFrame({"solvent": ["water", "ethanol"], "count": [3, 1]})
    space = bo.Space({n: PARAMETERS[n] for n in ("solvent", "count")}, candidates=told)
    assert space.candidates == [
        {"solvent": "water", "count": 3},
        {"solvent": "ethanol", "count": 1},
    ]


def test_a_data_frame_with_cells_that_are_empty():
    parameters = {"a": bo.choice("u", "v"), "b": bo.real(0, 1, when={"a": "u"})}
    told = pd.DataFrame({"a": ["u", "v"], "b": [0.5, float("nan")]})
    assert bo.Space(parameters, candidates=told).candidates == [{"a": "u", "b": 0.5}, {"a": "v"}]


def test_columns_may_be_arrays():
    told = {"solvent": pd.Series(["water", "wine"]), "count": np.array([3, 1])}
    parameters = {"solvent": bo.choice("water", "wine"), "count": bo.integer(1, 3)}
    rows = [{"solvent": "water", "count": 3}, {"solvent": "wine", "count": 1}]
    assert bo.Space(parameters, candidates=told).candidates == rows


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "candidates expected rows such as"),
        (["water", "ethanol"], "candidates expected rows such as"),
        ({"solvent": ["water"], "count": [1, 2]}, "columns of one length"),
        ({"solvent": "water"}, "columns of one length"),
        ([*ROWS, {"solvent": "wine", "count": 1}], "candidates, row 4: "),
        ("nowhere.csv", r"expected a readable CSV file at nowhere\.csv"),
        ([], "at least one row"),
    ],
)
def test_what_is_no_pool_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        bo.Space(PARAMETERS, candidates=given)


def test_a_file_without_a_column(tmp_path):
    (tmp_path / "shelf.csv").write_text("solvent,price\nwater,3\n")
    with pytest.raises(UsageError, match="expected a column count, got solvent, price; add it"):
        bo.Space(PARAMETERS, candidates=tmp_path / "shelf.csv")
