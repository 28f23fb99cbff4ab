"""Two hyperparameters against each other: which values go together."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.beliefs import belief_of, light_of
from dashboards.cards.card import Card, NotYet
from dashboards.cards.draws import Drawn, drawn_of, spread_of
from dashboards.data import RunData
from dashboards.theme import BELIEF
from dashboards.words import number

CLOSE = 0.4


def card(data: RunData, *, pair: Sequence[str] = ()) -> Card:
    """The draws of two hyperparameters.

    Args:
        data: of a bo run, with draws of hyperparameters.
        pair: two names; none takes the two whose ranks are correlated most.

    Raises:
        NotYet: no belief yet, one without draws, or fewer than two that vary.
    """
    drawn = drawn_of(data)
    found = [each for each in drawn if each.name in pair]
    first, second = found if len(found) == 2 else _closest(drawn)
    told = correlation(first.values, second.values)
    frame = pd.DataFrame({"first": first.values, "second": second.values}).dropna()
    if len(frame) == 0:
        raise NotYet(f"No draw has a number of both {first.name} and {second.name}.")
    axis = alt.Axis(tickCount=4, format="~g")
    scale = alt.Scale(type="log", nice=False, padding=10)
    tips = [marks.tip("first", first.name), marks.tip("second", second.name)]
    chart = (
        alt.Chart(frame)
        .mark_circle(size=55, color=BELIEF, opacity=0.6)
        .encode(
            x=alt.X("first:Q", title=first.name, scale=scale, axis=axis),
            y=alt.Y("second:Q", title=second.name, scale=scale, axis=axis),
            tooltip=tips,
        )
        .add_params(marks.zoom("x", "y"))
        .properties(height=marks.HEIGHT)
    )
    return Card(
        title=f"{first.name} against {second.name}: {marks.name_of(data)}",
        reading=f"Dots: draws, on log scales. Rank correlation {number(told)}: {_word(told)}.",
        alt=f"{len(frame)} draws of {first.name} (median {number(spread_of(first.values)[2])})"
        f" against {second.name} (median {number(spread_of(second.values)[2])}); rank correlation"
        f" {number(told)}.",
        data=frame.rename(columns={"first": first.name, "second": second.name}),
        chart=chart,
        light=light_of(belief_of(data)),
    )


def names(data: RunData) -> list[str]:
    """Those that a pair can be chosen of. Raises `NotYet`."""
    return [each.name for each in drawn_of(data)]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of the ranks, from -1 to 1; 0 where one does not vary."""
    both = pd.DataFrame({"a": a, "b": b}).dropna().rank()
    if len(both) < 3 or both["a"].nunique() < 2 or both["b"].nunique() < 2:
        return 0.0
    return float(np.corrcoef(both["a"], both["b"])[0, 1])


def _closest(drawn: Sequence[Drawn]) -> tuple[Drawn, Drawn]:
    pairs = [(a, b) for place, a in enumerate(drawn) for b in drawn[place + 1 :]]
    if not pairs:
        raise NotYet("A pair needs two hyperparameters; this model has one.")
    return max(pairs, key=lambda two: abs(correlation(two[0].values, two[1].values)))


def _word(told: float) -> str:
    if abs(told) < CLOSE:
        return "each varies by itself"
    if told > 0:
        return "the data say more of their ratio than of each; both may be large, or both small"
    return "the data say more of their product than of each; one may stand in for the other"
