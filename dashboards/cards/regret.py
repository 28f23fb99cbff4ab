"""What a bandit has lost so far against the best arm; the reward where that is unknown."""

import altair as alt

from apps.curves import style
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.records import recorded, step_axis
from dashboards.data import RunData
from dashboards.thin import thin
from dashboards.words import number


def card(data: RunData) -> Card:
    """Cumulative regret over rounds, else cumulative reward.

    Raises:
        NotYet: nothing is recorded yet.
    """
    known = "regret" in data.steps and marks.numbers(data.steps["regret"]).notna().any()
    what, better = ("regret", "lower") if known else ("reward", "higher")
    frame = recorded(data, ["step", what]).dropna()
    if len(frame) == 0:
        raise NotYet("No rounds are recorded yet.")
    last, rounds = float(frame[what].iloc[-1]), int(frame["step"].iloc[-1])
    frame = thin(frame, "step", what)
    chart = (
        alt.Chart(frame)
        .mark_line(
            color=style("bandit", data.run.get("method")).colour,
            strokeWidth=2.5,
            point=len(frame) < 3,
        )
        .encode(
            x=step_axis(data),
            y=alt.Y(f"{what}:Q", title=f"cumulative {what} ({better} is better)"),
            tooltip=[marks.tip("step", "round"), marks.tip(what, f"cumulative {what}")],
        )
        .add_params(marks.zoom("x", "y"))
        .properties(height=marks.HEIGHT)
    )
    told = f"{number(last)} after {rounds:,} rounds, {number(last / max(rounds, 1))} a round"
    reading = (
        f"Expected reward lost against the best arm: {told}. A flat line has found it."
        if known
        else f"Reward so far: {told}. The regret is unknown for this problem."
    )
    return Card(
        title=f"Cumulative {what}: {marks.name_of(data)}",
        reading=reading,
        alt=f"Cumulative {what}: {told}.",
        data=frame.rename(columns={"step": "round"}),
        chart=chart,
    )
