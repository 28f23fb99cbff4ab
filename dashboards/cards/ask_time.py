"""What it cost to choose each point."""

import altair as alt
import pandas as pd

from apps.curves import style
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.data import RunData
from dashboards.thin import thin
from dashboards.words import number

MOST_DOTS = 300  # more of them would be a band


def card(data: RunData) -> Card:
    """CPU seconds per ask.

    Raises:
        NotYet: no ask was timed.
    """
    if len(data.trials) == 0:
        raise NotYet("No trial was asked for yet.")
    frame = pd.DataFrame(
        {
            "trial": marks.numbers(data.trials["number"]),
            "seconds": marks.numbers(data.trials["ask_cpu_seconds"]),
        }
    ).dropna()
    if len(frame) == 0:
        raise NotYet("No ask was timed yet.")
    total, median = float(frame["seconds"].sum()), float(frame["seconds"].median())
    count = len(frame)
    frame = thin(frame, "trial", "seconds")
    colour = style("bo", data.run.get("method")).colour
    dots = alt.OverlayMarkDef(size=25, color=colour) if len(frame) <= MOST_DOTS else False
    chart = (
        alt.Chart(frame)
        .mark_line(color=colour, strokeWidth=1.5, point=dots)
        .encode(
            x=marks.trial_axis(),
            y=alt.Y("seconds:Q", title="CPU seconds per ask (lower is better)"),
            tooltip=[marks.tip("trial", "trial"), marks.tip("seconds", "CPU seconds")],
        )
        .add_params(marks.zoom("x", "y"))
        .properties(height=marks.HEIGHT)
    )
    told = f"median {number(median)} s, in all {number(total)} s"
    return Card(
        title=f"Cost of asking: {marks.name_of(data)}",
        reading=f"CPU seconds the method took to choose each point: {told}.",
        alt=f"CPU seconds per ask over {marks.counted(count, 'trial')}: {told}.",
        data=frame.rename(columns={"seconds": "CPU seconds"}),
        chart=chart,
    )
