"""How an agent learns: the loss of its network, and how much it explores."""

import altair as alt
import pandas as pd

from apps.curves import style
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import below
from dashboards.cards.records import Along, recorded, step_axis
from dashboards.data import RunData
from dashboards.theme import DATA
from dashboards.thin import thin
from dashboards.words import number


def card(data: RunData, *, x: Along = "step") -> Card:
    """Loss, and the share of random actions beneath.

    Args:
        data: of an rl run.
        x: over environment steps or over CPU seconds.

    Raises:
        NotYet: no update of the network is recorded yet.
    """
    frame = recorded(data, ["step", "cpu_seconds", "loss", "epsilon"])
    frame = frame[frame[x].notna()][[x, "loss", "epsilon"]]
    if frame["loss"].isna().all():
        raise NotYet("The network has not been updated yet: it learns once enough is stored.")
    last = number(float(frame["loss"].dropna().iloc[-1]))
    frame = thin(frame, x, ["loss", "epsilon"])
    colour = style("rl", data.run.get("method")).colour
    at = step_axis(data, x)
    upper = (
        alt.Chart(frame[frame["loss"].notna()])
        .mark_line(color=colour, strokeWidth=1.5, point=len(frame) < 3)
        .encode(
            x=at.title(None),
            y=alt.Y("loss:Q", title="loss (lower is better)", scale=alt.Scale(zero=False)),
            tooltip=[marks.tip(x, x.replace("_", " ")), marks.tip("loss", "loss")],
        )
        .add_params(marks.zoom("x"))
        .properties(height=marks.HEIGHT - 90)
    )
    reading = f"Loss of the network's last update of each block: now {last}."
    told = frame.rename(columns={x: x.replace("_", " ")})
    alternative = f"Loss: now {last}."
    if frame["epsilon"].isna().all():
        alone = upper.encode(x=at)
        return Card(f"Loss: {marks.name_of(data)}", reading, alternative, told, alone)
    random = number(float(frame["epsilon"].dropna().iloc[-1]))
    lower = (
        alt.Chart(pd.DataFrame(frame[frame["epsilon"].notna()]))
        .mark_line(color=DATA, strokeWidth=2, point=len(frame) < 3)
        .encode(
            x=at,
            y=alt.Y(
                "epsilon:Q",
                title=["random", "actions"],
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(tickCount=2, format="%", titlePadding=24),
            ),
            tooltip=[marks.tip(x, x.replace("_", " ")), marks.tip("epsilon", "random actions")],
        )
        .properties(height=70)
    )
    return Card(
        title=f"Loss and exploration: {marks.name_of(data)}",
        reading=f"{reading} Below: the share of random actions, now {random}.",
        alt=f"{alternative} Share of random actions: now {random}.",
        data=told,
        chart=below(upper, lower),
    )
