"""Descriptors of the levels of a choice: columns, exact inverses, files, refusals."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import bo
from bo import descriptors
from bo.parameters import from_table
from bo.space import Space
from surrogates.errors import UsageError

SOLVENTS = {"water": [80.1, 100.0], "ethanol": [24.5, 78.4], "hexane": [1.9, 68.7]}


def test_columns_are_the_scaled_features():
    solvent = bo.choice(*SOLVENTS, descriptors=SOLVENTS)
    assert solvent.width == 2
    columns = solvent.encode(["water", "ethanol", "hexane"])
    assert columns[0].tolist() == [1.0, 1.0]
    assert columns[2].tolist() == [0.0, 0.0]
    assert columns[1] == pytest.approx([22.6 / 78.2, 9.7 / 31.3])
    assert solvent.decode(columns + 0.1) == ["water", "ethanol", "hexane"]


def test_features_that_are_equal_everywhere_are_left_out():
    assert bo.choice("a", "b", descriptors=[[1, 5], [2, 5]]).width == 1


features = st.lists(
    st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=2), min_size=2, max_size=6
)


@settings(max_examples=200, deadline=None)
@given(features)
def test_encode_and_decode_are_inverses_or_levels_are_refused(rows: list[list[float]]):
    levels = [f"l{i}" for i in range(len(rows))]
    try:
        parameter = bo.choice(*levels, descriptors=rows)
    except UsageError:
        unit = np.array(rows) / np.maximum(np.abs(rows).max(axis=0), 1e-300)
        pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
        assert any(np.allclose(unit[i], unit[j], rtol=0, atol=1e-5) for i, j in pairs)
        return
    columns = parameter.encode(levels)
    assert ((columns >= 0) & (columns <= 1)).all()
    assert parameter.decode(columns) == levels


def test_a_space_with_descriptors_survives_json_and_has_one_group():
    space = Space({"s": bo.choice(*SOLVENTS, descriptors=SOLVENTS), "x": bo.real(0, 1)})
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again.difference(space) is None
    assert again.signature() == space.signature()
    assert space.inputs.groups == (0, 0, 1)
    assert [column.kind for column in space.inputs.columns] == ["ordinal", "ordinal", "real"]
    points = space.from_uniforms(np.random.default_rng(0).random((20, 2)))
    assert space.decode(space.encode(points)) == points
    plain = Space({"s": bo.choice(*SOLVENTS), "x": bo.real(0, 1)})
    assert plain.difference(space) is not None
    assert "descriptors" not in plain.to_dict()["s"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"a": [1], "b": [1]}, "equal ones for 'a' and 'b'"),
        ({"a": [1]}, "got none for 'b'"),
        ({"a": [1], "b": [2], "c": [3]}, "level of descriptors"),
        ({"a": [1], "b": [2, 3]}, "as many features"),
        ({"a": [1], "b": [float("nan")]}, "finite numbers"),
        ({"a": [1], "b": ["x"]}, "finite numbers"),
        ([[1]], "each of 2 levels"),
        ("file.csv", "each of 2 levels"),
        (3, "each of 2 levels"),
    ],
)
def test_malformed_descriptors_are_refused(given: Any, says: str):
    with pytest.raises(UsageError, match=says):
        from_table("m", {"type": "choice", "values": ["a", "b"], "descriptors": given})


def test_a_file_of_descriptors(tmp_path: Path):
    text = "name,kind,mass,gap,note\nB,x,2.5,,7\nA,y,1,3,8\nC,z,9,9,9\n"
    with gzip.open(tmp_path / "d.csv.gz", "wt") as file:
        file.write(text)
    (tmp_path / "space.toml").write_text(
        'm = { type = "choice", values = ["A", "B"], descriptors = "d.csv.gz", key = "name" }\n'
    )
    space = Space.from_toml(tmp_path / "space.toml")
    assert space.parameters["m"].descriptors == ((1.0, 8.0), (2.5, 7.0))
    assert descriptors.read(tmp_path / "d.csv.gz", None, ["C"]) == [[9.0, 9.0, 9.0]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,m\nA,1\n", "got none for 'B'"),
        ("nam,m\nA,1\nB,2\n", "did you mean 'nam'"),
        ("name,m\nA,x\nB,y\n", "a column of numbers"),
        ("name,m\nA,1\nB,2,3\n", "2 cells in every row, got 3 in row 2"),
        ("name,m\nA,1\nA,2\nB,2\n", "one row for each name"),
        ("name,m\nA,1\nB,1\n", "equal ones for 'A' and 'B'"),
        ("", "got an empty file"),
        (None, "got no file"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str | None, says: str):
    if text is not None:
        (tmp_path / "d.csv").write_text(text)
    (tmp_path / "space.toml").write_text(
        'm = { type = "choice", values = ["A", "B"], descriptors = "d.csv", key = "name" }\n'
    )
    with pytest.raises(UsageError, match=says):
        Space.from_toml(tmp_path / "space.toml")


def test_a_search_uses_what_similar_levels_share():
    levels = [f"l{i}" for i in range(20)]
    described = bo.choice(*levels, descriptors=[[float(i)] for i in range(20)])

    study = bo.Study({"m": described}, "minimize loss", method="gp-map", seed=5)
    study.run(lambda p: (levels.index(p["m"]) - 13) ** 2 / 10.0, 9)
    assert study.best is not None
    assert study.best.parameters == {"m": "l13"}


def test_of_many_descriptors_the_distances_between_levels_are_kept_in_few_columns():
    random = np.random.default_rng(7)
    rows = random.normal(size=(6, 200)) @ np.diag(random.random(200))
    made = bo.choice(*"abcdef", descriptors=rows.tolist())
    assert made.width == 5
    columns = made.encode(list("abcdef"))
    assert columns.min() == 0.0
    assert columns.max() == 1.0
    unit = (rows - rows.min(axis=0)) / (rows.max(axis=0) - rows.min(axis=0))
    pairs = np.triu_indices(6, 1)
    far = [np.linalg.norm(x[:, None] - x[None], axis=-1)[pairs] for x in (unit, columns)]
    assert np.allclose(far[1] / far[0], far[1][0] / far[0][0])
    assert made.decode(columns) == list("abcdef")
    again = bo.choice(*"abcdef", descriptors=rows.tolist())
    assert np.array_equal(again.encode(list("abcdef")), columns)
