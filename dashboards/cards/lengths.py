"""How long the episodes of an agent last."""

import altair as alt

from apps.curves import style
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.records import Along, recorded, step_axis
from dashboards.data import RunData
from dashboards.thin import thin
from dashboards.words import number


def card(data: RunData, *, x: Along = "step") -> Card:
    """Mean length of recent episodes.

    Args:
        data: of an rl run.
        x: over environment steps or over CPU seconds.

    Raises:
        NotYet: no length is recorded.
    """
    frame = recorded(data, ["step", "cpu_seconds", "length"])[[x, "length"]].dropna()
    if len(frame) == 0:
        raise NotYet("No length of an episode is recorded yet.")
    last = number(float(frame["length"].iloc[-1]))
    frame = thin(frame, x, "length")
    chart = (
        alt.Chart(frame)
        .mark_line(
            color=style("rl", data.run.get("method")).colour, strokeWidth=2, point=len(frame) < 3
        )
        .encode(
            x=step_axis(data, x),
            y=alt.Y("length:Q", title="steps per episode"),
            tooltip=[marks.tip(x, x.replace("_", " ")), marks.tip("length", "steps per episode")],
        )
        .add_params(marks.zoom("x", "y"))
        .properties(height=marks.HEIGHT)
    )
    return Card(
        title=f"Length of episodes: {marks.name_of(data)}",
        reading=f"Mean number of steps of the last 20 episodes: now {last}. Whether long is good"
        " depends on the problem: it is where each step pays.",
        alt=f"Mean length of recent episodes: now {last} steps.",
        data=frame.rename(columns={x: x.replace("_", " "), "length": "steps per episode"}),
        chart=chart,
    )
