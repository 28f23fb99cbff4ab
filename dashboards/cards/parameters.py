"""The value against each parameter: one panel a parameter, late trials bright."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import beside
from dashboards.data import RunData
from dashboards.theme import DATA, SEQUENTIAL_MARKS
from dashboards.thin import POINTS, thin

MOST = 12
HEIGHT = 150


def card(data: RunData) -> Card:
    """Small multiples of the value against the parameters.

    Raises:
        NotYet: no trial has a value, or there is no free parameter.
    """
    goal, _ = marks.goal_of(data)
    frame = marks.measured(data)
    free = [
        name
        for name, table in data.parameters.items()
        if table.get("type") != "fixed" and f"p.{name}" in data.trials
    ]
    if not free:
        raise NotYet("There is no free parameter to draw.")
    shown, rest = _most_important(data, free)
    few = thin(frame, "trial", "value", max(POINTS // len(shown), 100))
    settings = data.trials.set_index(marks.numbers(data.trials["number"]))
    span = [float(few["trial"].min()), float(few["trial"].max())]
    long: list[pd.DataFrame] = []
    panels: list[alt.Chart] = []
    for name in shown:
        values = settings.loc[few["trial"], f"p.{name}"].to_list()
        own = few[["trial", "value"]].assign(setting=values).reset_index(drop=True)
        panel, own = _panel(name, data.parameters[name], own, marks.goal_title(data), span)
        panels.append(panel)
        long.append(own.assign(parameter=name, setting=own["setting"].astype(str)))
    reading = "Each dot is a trial: dark blue ones are early, bright green ones late."
    if rest:
        reading += f" The {len(shown)} of {len(free)} parameters that matter most are shown."
    told = pd.concat(long)[["parameter", "setting", "value", "trial"]]
    return Card(
        title=f"Parameters: {marks.name_of(data)}",
        reading=reading,
        alt=f"{goal} against {marks.counted(len(shown), 'parameter')}"
        f" over {marks.counted(len(few), 'trial')}.",
        data=told,
        chart=beside(*panels),
    )


def _most_important(data: RunData, free: list[str]) -> tuple[list[str], int]:
    """The parameters to draw, in the order of the space, and how many are left out."""
    if len(free) <= MOST:
        return free, 0
    importance = (data.posterior or {}).get("importance") or {}
    ranked = sorted(free, key=lambda name: -(importance.get(name) or 0.0))[:MOST]
    return [name for name in free if name in ranked], len(free) - MOST


def _panel(
    name: str, parameter: Mapping[str, Any], own: pd.DataFrame, y: str, span: list[float]
) -> tuple[alt.Chart, pd.DataFrame]:
    kind = marks.scale_of(parameter)
    title = marks.shorten(name, 30)
    if kind == "levels":
        own = own[own["setting"].notna()].copy()  # absent while it was not active
        own["setting"] = [marks.level(value) for value in own["setting"]]
        order = marks.levels(parameter, own["setting"].to_list())
        x = alt.X("setting:N", title=title, sort=order, scale=alt.Scale(domain=order))
        x = x.axis(labelAngle=0 if len(order) <= 4 else -40, labelLimit=70, labelOverlap=True)
    else:
        own["setting"] = marks.numbers(own["setting"])
        own = own[own["setting"].notna() & ((own["setting"] > 0) | (kind != "log"))]
        ends = [parameter.get("low"), parameter.get("high")]
        known: dict[str, Any] = {"domain": ends} if None not in ends and ends[0] != ends[1] else {}
        scale = alt.Scale(type="log" if kind == "log" else "linear", nice=False, padding=6, **known)
        x = alt.X("setting:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4))
    setting = "nominal" if kind == "levels" else "quantitative"
    chart = (
        alt.Chart(own)
        .mark_circle(size=34, opacity=0.9, stroke=DATA, strokeWidth=0.6)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=y, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
            color=alt.Color(
                "trial:Q", scale=alt.Scale(range=list(SEQUENTIAL_MARKS), domain=span), legend=None
            ),
            tooltip=[
                marks.tip("trial", "trial"),
                marks.tip("setting", "setting", setting),
                marks.tip("value", "value"),
            ],
        )
        .properties(height=HEIGHT)
    )
    return chart, own
