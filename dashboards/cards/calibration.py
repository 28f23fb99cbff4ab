"""One step ahead: what the model said about each point before it was measured, and what came.

A model that tells quantiles, as a mixture over hyperparameters does, is judged by these; another
one by those of the normal with its mean and standard deviation.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.data import RunData
from dashboards.theme import BELIEF, DATA, NEXT
from dashboards.thin import thin

HELD = ["holds the outcome", "misses the outcome"]
LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
"""Those of the quantiles that a model tells: ends of the middle 95, 80 and 50 %, and the median."""
_SCORES = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


def card(data: RunData) -> Card:
    """Predictions with their 95 % intervals against outcomes.

    Raises:
        NotYet: no trial was predicted before it was measured.
    """
    goal, _ = marks.goal_of(data)
    frame = marks.measured(data)
    columns = {"expected": "predicted_mean", "std": "predicted_std"}
    trials = data.trials.set_index(marks.numbers(data.trials["number"]))
    for name, column in columns.items():
        found = trials[column] if column in trials else pd.Series(np.nan, index=trials.index)
        frame = frame.assign(**{name: marks.numbers(found).reindex(frame["trial"]).to_numpy()})
    frame = frame[frame["expected"].notna() & frame["std"].notna()]
    if len(frame) == 0 and marks.by_hand(data):
        raise NotYet(
            "A study that is asked and told by hand keeps no predictions; wald run and wald"
            " optimize keep theirs."
        )
    if len(frame) == 0:
        raise NotYet(
            f"No measured trial was predicted: {marks.counted(len(trials), 'trial')} so far are"
            " the initial design, or the method has no model."
        )
    told = _quantiles(frame, trials)
    frame["low"], frame["high"] = told[:, 0], told[:, -1]
    frame["place"] = _places(frame["value"].to_numpy(), told)
    frame["inside"] = frame["value"].between(frame["low"], frame["high"])
    middle = [float(frame["value"].between(told[:, at], told[:, -1 - at]).mean()) for at in (1, 2)]
    inside, count = int(frame["inside"].sum()), len(frame)
    frame["interval"] = np.where(frame["inside"], *HELD)
    frame = thin(frame, "trial", ["value", "expected"])
    frame = frame[["trial", "value", "expected", "low", "high", "interval", "place"]]
    ends = [float(frame["value"].min()), float(frame["value"].max())]
    title = f"measured {marks.goal_title(data)}"
    x = alt.X("value:Q", title=title, scale=alt.Scale(zero=False, padding=10))
    colour = alt.Color(
        "interval:N",
        title="95 % interval",
        scale=alt.Scale(domain=HELD, range=[BELIEF, NEXT]),
        legend=alt.Legend(orient="top"),
    )
    told = [
        marks.tip("trial", "trial"),
        marks.tip("value", "measured"),
        marks.tip("expected", "expected"),
        marks.tip("low", "interval from"),
        marks.tip("high", "interval to"),
        alt.Tooltip("place:Q", title="of the prediction below", format=".0%"),
    ]
    base = alt.Chart(frame).encode(x=x, tooltip=told, color=colour)
    y_title = "expected before measuring"
    bars = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(
        y=alt.Y("low:Q", title=y_title, scale=alt.Scale(zero=False)), y2=alt.Y2("high:Q")
    )
    points = base.mark_point(filled=True, size=45, opacity=1).encode(
        y=alt.Y("expected:Q", title=y_title),
        shape=alt.Shape("interval:N", scale=alt.Scale(domain=HELD, range=["circle", "triangle-up"]))
        .title("95 % interval")
        .legend(orient="top"),
    )
    same = (
        alt.Chart(pd.DataFrame({"value": ends, "expected": ends}))
        .mark_line(color=DATA, strokeDash=[5, 4], strokeWidth=1.5)
        .encode(x=x, y=alt.Y("expected:Q"))
    )
    coverage = f"{inside} of {count} outcomes ({inside / count:.0%}) lie in their 95 % interval"
    return Card(
        title=f"Calibration: {marks.name_of(data)}",
        reading=f"{coverage}. In their 80 % interval: {middle[0]:.0%}; in their 50 %:"
        f" {middle[1]:.0%}. Each trial was predicted before it was measured; on the dashed line"
        " both agree. Well calibrated is about 95, 80 and 50 %, after some dozens of trials.",
        alt=f"Predictions of {goal} against outcomes: {coverage}.",
        data=frame,
        chart=layer(same, bars, points, height=marks.HEIGHT),
    )


def _quantiles(frame: pd.DataFrame, trials: pd.DataFrame) -> np.ndarray:
    """(trials, levels): those that the model told, else those of a normal."""
    normal = frame["expected"].to_numpy()[:, None] + np.outer(frame["std"], _SCORES)
    if "predicted_quantiles" not in trials:
        return normal
    told: Sequence[Any] = trials["predicted_quantiles"].reindex(frame["trial"]).to_list()
    for row, own in enumerate(told):
        if isinstance(own, list) and len(own) == len(LEVELS):
            normal[row] = own
    return normal


def _places(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """The share of each prediction that lies below its outcome, between the kept quantiles.

    Outside of these it is half of what lies beyond.
    """
    ends = (LEVELS[0] / 2, 1 - LEVELS[0] / 2)
    return np.array(
        [
            np.interp(value, row, LEVELS, left=ends[0], right=ends[1])
            for value, row in zip(values, quantiles, strict=True)
        ]
    )
