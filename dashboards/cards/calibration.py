"""One step ahead: what the model said about each point before it was measured, and what came."""

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
INTERVAL = 1.96  # standard deviations either way: 95 % of a normal


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
    if len(frame) == 0:
        raise NotYet(
            f"No measured trial was predicted: {marks.counted(len(trials), 'trial')} so far are"
            " the initial design, or the method has no model."
        )
    frame["low"] = frame["expected"] - INTERVAL * frame["std"]
    frame["high"] = frame["expected"] + INTERVAL * frame["std"]
    frame["inside"] = frame["value"].between(frame["low"], frame["high"])
    inside, count = int(frame["inside"].sum()), len(frame)
    frame["interval"] = np.where(frame["inside"], *HELD)
    frame = thin(frame, "trial", ["value", "expected"])
    frame = frame[["trial", "value", "expected", "low", "high", "interval"]]
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
        reading=f"{coverage}. Each trial was predicted before it was measured; on the dashed line"
        " both agree. Well calibrated is about 95 %, after some dozens of trials.",
        alt=f"Predictions of {goal} against outcomes: {coverage}.",
        data=frame,
        chart=layer(same, bars, points, height=marks.HEIGHT),
    )
