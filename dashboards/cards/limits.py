"""Outcome constraints: how far within or beyond each of them every trial was."""

import altair as alt
import pandas as pd

from apps.curves import slacks, told
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import Picture, beside, layer
from dashboards.data import RunData
from dashboards.theme import BELIEF, DATA, FAILED

MOST = 6


def card(data: RunData) -> Card:
    """A panel for each constraint.

    Raises:
        NotYet: no outcome constraint, or no trial with an outcome.
    """
    said = None if data.goals is None else told(data.goals)
    if said is None or not said.constraints:
        raise NotYet("This run has no constraint on outcomes.")
    rows = [
        {"trial": int(number)} | dict(zip(said.constraints, gaps, strict=True))
        for number, state, outcomes in zip(
            data.trials["number"], data.trials["state"], data.trials["outcomes"], strict=True
        )
        if state == "complete" and set(said.outcomes) <= set(outcomes)
        for gaps in [slacks(str(data.goals), outcomes)]
    ]
    if not rows:
        raise NotYet("No trial has an outcome yet.")
    frame = pd.DataFrame(rows)
    held = int((frame[list(said.constraints)] >= 0).all(axis=1).sum())
    shown = said.constraints[:MOST]
    panels = [_panel(frame, text, place) for place, text in enumerate(shown)]
    left = len(said.constraints) - len(shown)
    more = f" {left} more constraints are in the data." if left else ""
    counts = f"{held} of {marks.counted(len(frame), 'trial')} satisfy all of them"
    return Card(
        title=f"Constraints on outcomes: {marks.name_of(data)}",
        reading="Dots: how far within a constraint each trial was; below the line it breaks it."
        f" {counts}.{more}",
        alt=f"{marks.counted(len(said.constraints), 'constraint')}: {counts}.",
        data=frame,
        chart=panels[0] if len(panels) == 1 else beside(*panels),
    )


def _panel(frame: pd.DataFrame, text: str, place: int) -> Picture:
    own = pd.DataFrame({"trial": frame["trial"], "gap": marks.numbers(frame[text])})
    own["holds"] = ["holds" if gap >= 0 else "broken" for gap in own["gap"]]
    names = [name for name in ("holds", "broken") if (own["holds"] == name).any()]
    colours = {"holds": BELIEF, "broken": FAILED}
    dots = (
        alt.Chart(own)
        .mark_circle(size=50, opacity=0.9)
        .encode(
            x=marks.trial_axis(),
            y=alt.Y(
                "gap:Q",
                title=f"within {marks.shorten(text, 36)} (0 or more holds)",
                scale=alt.Scale(zero=False, padding=8),  # no dot is cut in two by the edge
            ),
            color=alt.Color(
                "holds:N",
                title=None,
                scale=alt.Scale(domain=names, range=[colours[name] for name in names]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=[
                marks.tip("trial", "trial"),
                marks.tip("gap", "within by"),
                marks.tip("holds", "constraint", "nominal"),
            ],
        )
        .add_params(marks.zoom("x", "y", panel=place))
    )
    rule = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=DATA, strokeDash=[4, 4])
    return layer(rule.encode(y="zero:Q"), dots, height=marks.HEIGHT)
