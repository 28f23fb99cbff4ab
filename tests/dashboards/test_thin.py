"""Thinning: few points, none of them the one that mattered left out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dashboards.thin import POINTS, thin

NUMBERS = st.one_of(
    st.floats(-1e6, 1e6), st.just(float("nan")), st.just(float("inf")), st.just(float("-inf"))
)


@st.composite
def frames(draw: st.DrawFn) -> tuple[pd.DataFrame, int]:
    """A frame of columns x, y, z and a number of points that is often far below its length."""
    rows = draw(st.integers(0, 120))
    x = draw(st.lists(NUMBERS, min_size=rows, max_size=rows))
    y = draw(st.lists(NUMBERS, min_size=rows, max_size=rows))
    z = draw(st.lists(NUMBERS, min_size=rows, max_size=rows))
    return pd.DataFrame({"x": x, "y": y, "z": z}), draw(st.integers(8, 60))


@given(frames())
def test_extremes_ends_and_order_survive(made: tuple[pd.DataFrame, int]) -> None:
    frame, points = made
    thinned = thin(frame, "x", ["y", "z"], points)
    drawable = frame[np.isfinite(frame["x"])].sort_values("x", kind="stable")
    assert len(thinned) <= points
    assert thinned["x"].is_monotonic_increasing
    assert set(thinned.index) <= set(drawable.index)
    if len(drawable):
        assert thinned.index[0] == drawable.index[0]
        assert thinned.index[-1] == drawable.index[-1]
    for name in ("y", "z"):
        whole = drawable[name][np.isfinite(drawable[name])]
        left = thinned[name][np.isfinite(thinned[name])]
        if len(whole):
            assert left.min() == whole.min()
            assert left.max() == whole.max()
            assert left.iloc[-1] == whole.iloc[-1]


@given(st.integers(0, 2**32 - 1), st.integers(20, 200))
def test_each_bucket_keeps_its_lowest_highest_and_last(seed: int, points: int) -> None:
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": np.arange(1000.0), "y": generator.normal(size=1000)})
    thinned = thin(frame, "x", "y", points)
    buckets = (points - 2) // 3
    bucket = np.minimum((frame["x"] / 999 * buckets).astype(int), buckets - 1)
    for _, rows in frame.groupby(bucket):
        assert rows["y"].idxmin() in thinned.index
        assert rows["y"].idxmax() in thinned.index
        assert rows.index[-1] in thinned.index


def test_a_short_line_is_left_as_it_is() -> None:
    frame = pd.DataFrame({"x": range(POINTS), "y": range(POINTS)})
    assert thin(frame, "x", "y").equals(frame)


def test_one_spike_among_a_hundred_thousand_is_kept() -> None:
    frame = pd.DataFrame({"x": range(100_000), "y": 0.0})
    frame.loc[54_321, "y"] = 9.0
    thinned = thin(frame, "x", "y")
    assert len(thinned) <= POINTS
    assert 54_321 in thinned.index


def test_a_constant_x_and_a_column_of_nothing() -> None:
    frame = pd.DataFrame({"x": [1.0] * 50, "y": [np.nan] * 50})
    assert list(thin(frame, "x", "y", 8).index) == [0, 49]


def test_values_of_none_are_no_values() -> None:
    frame = pd.DataFrame({"x": range(50), "y": pd.Series([None] * 49 + [3.0], dtype=object)})
    assert 49 in thin(frame, "x", "y", 8).index


def test_too_few_points_for_one_bucket() -> None:
    with pytest.raises(ValueError, match="expected points of at least 8, got 7"):
        thin(pd.DataFrame({"x": [], "y": [], "z": []}), "x", ["y", "z"], 7)
