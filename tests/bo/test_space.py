"""Spaces: exact encoding, checks, files."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jaxtyping import TypeCheckError

import bo
from surrogates.errors import UsageError

MIXED = {
    "lr": bo.real(1e-5, 1e-1, log=True),
    "shift": bo.real(-3.0, 7.5),
    "layers": bo.integer(1, 5),
    "width": bo.integer(1, 4096, log=True),
    "size": bo.ordinal(16, 32, 64),
    "act": bo.choice("relu", "tanh", "gelu"),
    "solver": bo.choice("a", "b"),
    "bias": bo.boolean(),
    "epochs": bo.fixed(3),
}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_decoding_and_encoding_are_exact_inverses(uniforms):
    space = bo.Space(MIXED)
    points = space.from_uniforms(np.array([uniforms]))
    columns = space.encode(points)
    assert space.decode(columns) == points
    assert (space.encode(space.decode(columns)) == columns).all()
    assert ((columns >= 0) & (columns <= 1)).all()
    assert space.check(points[0]) == points[0]


@settings(max_examples=300, deadline=None)
@given(
    low=st.floats(-1e12, 1e12),
    width=st.floats(1e-6, 1e12),
    log=st.booleans(),
    uniform=st.floats(0, 1),
)
def test_a_real_of_any_range_survives_the_round_trip(low, width, log, uniform):
    low = abs(low) + 1e-9 if log else low
    try:
        space = bo.Space({"x": bo.real(low, low + width, log=log)})
    except UsageError:  # refused where floating point cannot tell the bounds apart
        assert not math.log((low + width) / low) > 1e-10 if log else width < 1e-10 * abs(low)
        return
    point = space.from_uniforms(np.array([[uniform]]))
    assert low <= point[0]["x"] <= low + width
    once = space.decode(space.encode(point))
    assert space.decode(space.encode(once)) == once
    assert once[0]["x"] == pytest.approx(point[0]["x"], rel=1e-9, abs=1e-9 * width)


def test_equal_uniform_lengths_are_equally_likely_values():
    space = bo.Space({"n": bo.integer(1, 4), "o": bo.ordinal(1, 2, 4, 8), "c": bo.choice(*"abcd")})
    grid = (np.arange(4000) + 0.5) / 4000
    points = space.from_uniforms(np.stack([grid] * 3, axis=1))
    for name in ("n", "o", "c"):
        counts = [sum(p[name] == value for p in points) for value in {p[name] for p in points}]
        assert counts == [1000] * 4


def test_bounds_are_reached_exactly():
    space = bo.Space({"x": bo.real(0.1, 0.7), "y": bo.real(1e-3, 10, log=True)})
    low, high = space.from_uniforms(np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert (low["x"], high["x"], low["y"], high["y"]) == (0.1, 0.7, 1e-3, 10)


def test_columns_and_their_meaning():
    space = bo.Space(MIXED)
    kinds = [column.kind for column in space.inputs.columns]
    assert kinds == ["real"] * 2 + ["ordinal"] * 3 + ["category"] * 3 + ["ordinal"] * 2
    assert space.inputs.groups == (0, 1, 2, 3, 4, 5, 5, 5, 6, 7)
    assert space.d == 10
    assert space.size == math.inf
    assert bo.Space({"a": bo.integer(1, 3), "b": bo.boolean()}).size == 6


def test_dict_and_json_give_an_equal_space():
    space = bo.Space(MIXED)
    again = bo.Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert space.difference(again) is None
    assert again.signature() == space.signature()


def test_difference_names_the_parameter():
    here = bo.Space({"x": bo.real(0, 1)})
    there = bo.Space({"x": bo.real(0, 2)})
    assert "parameter x" in (here.difference(there) or "")
    assert "y" in (here.difference(bo.Space({"x": bo.real(0, 1), "y": bo.boolean()})) or "")


def test_toml(tmp_path):
    file = tmp_path / "space.toml"
    file.write_text(
        'lr = { type = "real", low = 1e-5, high = 1e-1, log = true }\n'
        'depth = { type = "integer", low = 1, high = 12 }\n'
        'act = { type = "choice", values = ["relu", "tanh"] }\n'
    )
    space = bo.Space.from_toml(file)
    assert space.parameters["lr"] == bo.real(1e-5, 1e-1, log=True)
    assert space.parameters["act"] == bo.choice("relu", "tanh")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 3", "parameter x expected a table"),
        ('x = { type = "rael", low = 0, high = 1 }', "did you mean 'real'"),
        ('x = { type = "real", low = 0, hihg = 1 }', "did you mean 'high'"),
        ('x = { type = "real", low = 0 }', "expected low, high"),
        ('x = { type = "real", low = 2, high = 1 }', "expected low < high"),
        ('x = { type = "choice", values = ["a"] }', "at least 2"),
        ("x = {", "readable TOML"),
        ("", "at least one parameter"),
    ],
)
def test_a_malformed_file_is_refused_with_the_reason(tmp_path, text, told):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(UsageError, match=told):
        bo.Space.from_toml(tmp_path / "s.toml")


@pytest.mark.parametrize(
    "make",
    [
        lambda: bo.real(1, 0),
        lambda: bo.real(0, 0),
        lambda: bo.real(0, math.inf),
        lambda: bo.real(math.nan, 1),
        lambda: bo.real(-1e308, 1e308),
        lambda: bo.real(0, 1, log=True),
        lambda: bo.integer(1, 2.5),  # pyright: ignore[reportArgumentType]
        lambda: bo.integer(0, 10**18),
        lambda: bo.choice("a"),
        lambda: bo.choice("a", "a"),
        lambda: bo.ordinal(1, math.nan),
        lambda: bo.choice("a", None),  # pyright: ignore[reportArgumentType]
        lambda: bo.Space({}),
        lambda: bo.Space({"x": bo.fixed(1)}),
        lambda: bo.Space({"x": bo.real(0, 1)}, candidates=[]),
        lambda: bo.Space({"x": bo.real(0, 1)}, candidates=[{"x": 2.0}]),
    ],
)
def test_what_is_no_space_is_refused(make):
    with pytest.raises((UsageError, TypeCheckError)):  # in tests, signatures are checked too
        make()


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ({"x": 1.5, "n": 1}, "parameter x expected 0 to 1"),
        ({"x": "0.5", "n": 1}, "parameter x expected a number"),
        ({"x": math.nan, "n": 1}, "parameter x expected 0 to 1"),
        ({"x": 0.5, "n": 1.5}, "parameter n expected an integer"),
        ({"x": 0.5, "n": True}, "parameter n expected a number"),
        ({"x": 0.5}, "none for n"),
        ({"x": 0.5, "n": 1, "nn": 1}, "did you mean 'n'"),
    ],
)
def test_a_point_outside_is_refused_with_the_reason(point, told):
    with pytest.raises(UsageError, match=told):
        bo.Space({"x": bo.real(0, 1), "n": bo.integer(0, 3)}).check(point)


def test_booleans_and_numbers_are_told_apart():
    space = bo.Space({"c": bo.ordinal(0, 1), "b": bo.boolean()})
    assert space.check({"c": 1, "b": True}) == {"c": 1, "b": True}
    with pytest.raises(UsageError):
        space.check({"c": True, "b": True})
    with pytest.raises(UsageError):
        space.check({"c": 1, "b": 1})


def test_a_pool_keeps_its_order_and_drops_doubles():
    rows = [{"x": 0.5}, {"x": 0.25}, {"x": 0.5}]
    space = bo.Space({"x": bo.real(0, 1)}, candidates=rows)
    assert space.pool is not None
    assert space.pool.rows == [{"x": 0.5}, {"x": 0.25}]
    assert [space.pool.index[space.key(r)] for r in rows] == [0, 1, 0]
    assert space.size == 2
