"""Every trial as a point, and the best value so far as a line."""

from typing import Any, Literal

import altair as alt
import pandas as pd

from apps.curves import style
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.data import RunData
from dashboards.theme import BEST, DATA, FAILED
from dashboards.thin import thin
from dashboards.words import number


def card(data: RunData, *, show: Literal["value", "regret"] = "value", log: bool = False) -> Card:
    """Values over trials, or the regret of the best so far.

    Args:
        data: of a bo run.
        show: the values, or how far the best so far is from the known optimum.
        log: a log scale for what is shown; only what is above 0 can be drawn on it.

    Raises:
        NotYet: no finished trial, or no known optimum, or nothing above 0 for a log scale.
    """
    return _values(data, log) if show == "value" else _regret(data, log)


def _values(data: RunData, log: bool) -> Card:
    goal, direction = marks.goal_of(data)
    frame = marks.done(data)
    ended, failed = len(frame), int((frame["state"] == "failed").sum())
    if log:
        frame["value"] = frame["value"].where(frame["value"] > 0)
        frame["best"] = frame["best"].where(frame["best"] > 0)
        if frame["value"].isna().all():
            raise NotYet("A log scale needs values above 0; there are none yet.")
    frame = thin(frame, "trial", ["value", "best"])
    optimum = data.run.get("metrics", {}).get("optimum")
    limit = None if log else _limit(frame["value"].dropna(), direction)
    frame["where"] = _where(frame, limit, direction)
    scale = _scale(frame, optimum, limit, direction) if not log else alt.Scale(type="log")
    y: dict[str, Any] = {"title": marks.goal_title(data), "scale": scale}
    at_edge: dict[str, Any] = {"y": alt.YValue(8 if direction == "minimize" else marks.HEIGHT - 8)}
    told = [
        marks.tip("trial", "trial"),
        marks.tip("value", "value"),
        marks.tip("best", "best so far"),
    ]
    why = [marks.tip("trial", "failed trial"), marks.tip("reason", "reason", "nominal")]
    base = alt.Chart(frame).encode(x=marks.trial_axis())
    seen = {name: base.properties(data=_at(frame, name)) for name in _PLACES}
    points = seen["inside"].mark_circle(size=46, color=DATA, opacity=0.9)
    arrows = seen["beyond"].mark_point(
        shape="triangle-up" if direction == "minimize" else "triangle-down", size=55, color=DATA
    )
    crosses = seen["failed"].mark_point(
        shape="cross", angle=45, size=60, filled=True, color=FAILED, opacity=1
    )
    line = base.properties(data=_corners(frame[["trial", "best"]].dropna())).mark_line(
        interpolate="step-after",
        strokeWidth=2.5,
        color=style("bo", data.run.get("method")).colour,
        clip=True,
    )
    layers: list[Any] = [
        points.encode(y=alt.Y("value:Q", **y), tooltip=told).add_params(marks.zoom("x", "y")),
        line.encode(y=alt.Y("best:Q", **y)),
    ]
    if len(arrows.data):
        layers.append(arrows.encode(tooltip=told, **at_edge))
    if len(crosses.data):
        layers.append(crosses.encode(tooltip=why, **at_edge))
    if optimum is not None and (optimum > 0 or not log):
        layers.append(_rule(optimum))
    left_out = int((frame["where"] == "beyond").sum())
    values = frame["best"].dropna()
    best = "none yet" if len(values) == 0 else number(float(values.iloc[-1]))
    return Card(
        title=f"Best so far: {marks.name_of(data)}",
        reading=f"Dots: trials. Line: the best {goal} so far, now {best}."
        + _more(direction, optimum, failed, left_out, log),
        alt=f"{marks.counted(ended, 'trial')} of {goal}, {failed} failed; best so far {best}.",
        data=frame[["trial", "state", "value", "best", "reason"]].rename(
            columns={"best": "best so far"}
        ),
        chart=layer(*layers, height=marks.HEIGHT),
    )


_PLACES = ("inside", "beyond", "failed")


def _at(frame: pd.DataFrame, place: str) -> pd.DataFrame:
    """What is drawn at one of the places."""
    return frame.loc[frame["where"] == place, ["trial", "value", "best", "reason"]]


def _corners(line: pd.DataFrame) -> pd.DataFrame:
    """The rows at which a line of steps turns, and its last."""
    turns = line["best"] != line["best"].shift()
    turns.iloc[-1:] = True
    return line[turns]


def _limit(values: "pd.Series[float]", direction: str) -> float | None:
    """Where the picture ends on its worse side; None where it can hold all values.

    A few very bad trials must not press all others onto the axis.
    """
    if len(values) < 8:
        return None
    sign = 1.0 if direction == "minimize" else -1.0
    cost = values * sign
    usual = float(cost.quantile(0.75))
    limit = usual + 3 * (usual - float(cost.min()))
    return sign * limit if float(cost.max()) > limit > usual else None


def _where(frame: pd.DataFrame, limit: float | None, direction: str) -> list[str | None]:
    """Where each trial is drawn: inside the axes, at their edge, or not at all."""
    sign = 1.0 if direction == "minimize" else -1.0
    found: list[str | None] = []
    for state, value in zip(frame["state"], frame["value"], strict=True):
        if state == "failed":
            found.append("failed")
        elif pd.isna(value):
            found.append(None)
        else:
            found.append(
                "beyond" if limit is not None and value * sign > limit * sign else "inside"
            )
    return found


def _scale(
    frame: pd.DataFrame, optimum: float | None, limit: float | None, direction: str
) -> alt.Scale:
    if limit is None:
        return alt.Scale(zero=False, padding=8)
    kept = frame.loc[frame["where"] == "inside", "value"]
    good = [float(kept.min() if direction == "minimize" else kept.max())]
    good += [] if optimum is None else [float(optimum)]
    best = min(good) if direction == "minimize" else max(good)
    return alt.Scale(domain=sorted([best, limit]), padding=8, nice=False)


def _rule(optimum: float) -> alt.Chart:
    return (
        alt.Chart(pd.DataFrame({"optimum": [optimum]}))
        .mark_rule(strokeDash=[6, 4], color=BEST, strokeWidth=1.5)
        .encode(y=alt.Y("optimum:Q"), tooltip=[marks.tip("optimum", "known optimum")])
    )


def _more(direction: str, optimum: float | None, failed: int, beyond: int, log: bool) -> str:
    """The rest of the reading line: only what is there."""
    edge = "top" if direction == "minimize" else "bottom"
    text = "" if optimum is None else f" Dashed: the known optimum, {number(float(optimum))}."
    if failed:
        text += f" Crosses at the {edge}: failed trials ({failed})."
    if beyond:
        text += f" Triangles at the {edge}: far worse trials ({beyond})."
    return text + (" Log scale: what is not above 0 is left out." if log else "")


def _regret(data: RunData, log: bool) -> Card:
    if data.run.get("metrics", {}).get("optimum") is None:
        raise NotYet("The regret needs a known optimum, and this problem has none.")
    marks.goal_of(data)
    frame = marks.done(data)
    frame = frame[frame["regret"].notna() & ((frame["regret"] > 0) | (not log))]
    if len(frame) == 0:
        raise NotYet("No trial has a regret that can be drawn yet.")
    frame = thin(frame, "trial", "regret")[["trial", "regret", "best"]]
    scale = alt.Scale(type="log", nice=False, padding=8) if log else alt.Scale(zero=True)
    colour = style("bo", data.run.get("method")).colour
    dots = alt.OverlayMarkDef(color=colour, size=30)
    chart = (
        alt.Chart(frame)
        .mark_line(interpolate="step-after", strokeWidth=2.5, color=colour, point=dots)
        .encode(
            x=marks.trial_axis(),
            y=alt.Y("regret:Q", title="regret of the best so far (lower is better)", scale=scale),
            tooltip=[
                marks.tip("trial", "trial"),
                marks.tip("regret", "regret"),
                marks.tip("best", "best so far"),
            ],
        )
        .add_params(marks.zoom("x", "y"))
        .properties(height=marks.HEIGHT)
    )
    last = number(float(frame["regret"].iloc[-1]))
    note = " Log scale: a regret of 0 is left out." if log else ""
    return Card(
        title=f"Regret: {marks.name_of(data)}",
        reading=f"How far the best so far is from the known optimum: now {last}.{note}",
        alt=f"Regret of the best so far over {marks.counted(len(frame), 'trial')}: now {last}.",
        data=frame.rename(columns={"best": "best so far"}),
        chart=chart,
    )
