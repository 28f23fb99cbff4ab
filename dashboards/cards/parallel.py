"""All parameters of many trials at once: each trial a line, coloured by its value."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.curves import better
from dashboards.cards import marks
from dashboards.cards.bands import one_problem
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.data import RunData
from dashboards.theme import DATA, SEQUENTIAL_MARKS
from dashboards.words import number

MOST_LINES = 150  # with more of them nothing is seen
MOST_AXES = 12


def card(runs: Sequence[RunData]) -> Card:
    """Parallel coordinates of one run or of several runs of one problem.

    Raises:
        NotYet: runs that are not bo, of several problems or spaces; no trial with a value.
    """
    kind, problem = one_problem(runs)
    if kind != "bo":
        raise NotYet("Parallel coordinates show the parameters of bo runs.")
    tables = [
        {n: t for n, t in data.parameters.items() if t.get("type") != "fixed"}
        for data in runs
        if data.parameters
    ]
    if not tables or not tables[0]:
        raise NotYet("The parameters are not known yet.")
    if any(table != tables[0] for table in tables):
        raise NotYet("These runs search different spaces; choose runs with the same parameters.")
    space = dict(list(tables[0].items())[:MOST_AXES])
    trials = _trials(runs)
    goal, direction = marks.goal_of(next(data for data in runs if data.goal is not None))
    best_first = trials.sort_values("value", ascending=direction == "minimize", kind="stable")
    shown = best_first.head(MOST_LINES).reset_index(drop=True)
    long = _long(shown, space, goal)
    order = _axes(space, goal)
    x = alt.X("axis:N", title=None, sort=order, scale=alt.Scale(domain=order)).axis(
        labelAngle=0 if len(order) <= 7 else -30, labelLimit=110, labelOverlap=False
    )
    y = alt.Y("place:Q", title=None, scale=alt.Scale(domain=[-0.06, 1.06], nice=False)).axis(None)
    drawn = long[["run", "trial", "axis", "line", "place", "value"]]
    base = alt.Chart(drawn).encode(
        x=x,
        y=y,
        detail=alt.Detail("line:N"),
        color=alt.Color(
            "value:Q",
            title=f"{marks.shorten(goal, 24)} ({better(direction)})",
            scale=alt.Scale(range=list(SEQUENTIAL_MARKS), zero=False, nice=False),
            legend=alt.Legend(
                orient="top", direction="horizontal", gradientLength=220, titleLimit=300
            ),
        ),
        tooltip=[
            marks.tip("run", "run", "nominal"),
            marks.tip("trial", "trial"),
            marks.tip("value", "value"),
        ],
    )
    lines = base.mark_line(strokeWidth=1.3, opacity=0.7)
    best = base.properties(data=drawn[drawn["line"] == 0])
    first = best.mark_line(strokeWidth=4, opacity=1)
    halo = best.encode(color=alt.ColorValue(DATA)).mark_line(strokeWidth=6, opacity=0.8)
    top = number(float(shown["value"].iloc[0]))
    left = (
        f" The best {MOST_LINES} of {len(trials):,} are drawn." if len(trials) > len(shown) else ""
    )
    cut = f" The first {MOST_AXES} parameters." if len(tables[0]) > MOST_AXES else ""
    return Card(
        title=f"Parameters of {marks.counted(len(runs), 'run')} on {problem}",
        reading="Each line is a trial, from parameter to parameter; bright is high, the thick line"
        f" is the best ({top}). Each axis runs over its own range, log where the parameter is."
        f"{left}{cut}",
        alt=f"{marks.counted(len(shown), 'trial')} over {marks.counted(len(space), 'parameter')};"
        f" best {goal} {top}.",
        data=long[["run", "trial", "axis", "setting", "place", "value"]],
        chart=layer(*_rulers(shown, order, space, x), lines, halo, first, height=marks.HEIGHT + 40),
    )


def _axes(space: Mapping[str, Any], goal: str) -> list[str]:
    """Names of the axes, also of a parameter that no trial had; the last is the value itself."""
    return marks.distinct([*space, goal], 18)


def _rulers(
    shown: pd.DataFrame, axes: Sequence[str], space: Mapping[str, Mapping[str, Any]], x: alt.X
) -> list[alt.Chart]:
    """A line for each axis, with its ends in words."""
    ends = [_ends(table) for table in space.values()]
    ends.append((_end(shown["value"].min()), _end(shown["value"].max())))
    frame = pd.DataFrame(
        {
            "axis": axes,
            "bottom": 0.0,
            "top": 1.0,
            "low": [low for low, _ in ends],
            "high": [high for _, high in ends],
        }
    )
    base = alt.Chart(frame).encode(x=x)
    line = base.mark_rule(color=DATA, opacity=0.6).encode(
        y=alt.Y("bottom:Q").axis(None), y2=alt.Y2("top")
    )
    words: dict[str, Any] = {"color": DATA, "fontSize": 11, "limit": 90}
    return [
        line,
        base.mark_text(dy=9, **words).encode(
            y=alt.Y("bottom:Q").axis(None), text=alt.Text("low:N")
        ),
        base.mark_text(dy=-9, **words).encode(y=alt.Y("top:Q").axis(None), text=alt.Text("high:N")),
    ]


def _ends(table: Mapping[str, Any]) -> tuple[str, str]:
    """The ends of an axis in words."""
    if marks.scale_of(table) == "levels":
        known = marks.levels(table, []) or [""]
        return marks.shorten(known[0], 14), marks.shorten(known[-1], 14)
    return _end(table["low"]), _end(table["high"])


def _end(value: Any) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else number(float(value))


def _trials(runs: Sequence[RunData]) -> pd.DataFrame:
    found: list[pd.DataFrame] = []
    for data in runs:
        try:
            frame = marks.measured(data)[["trial", "value"]]
        except NotYet:
            continue
        settings = data.trials.filter(regex=r"^p\.").set_index(marks.numbers(data.trials["number"]))
        joined = frame.join(settings, on="trial")
        found.append(joined.assign(run=str(data.run.get("name") or data.run.get("run_id"))))
    if not found:
        raise NotYet("No trial of these runs has a value yet.")
    return pd.concat(found, ignore_index=True)


def _long(shown: pd.DataFrame, space: Mapping[str, Mapping[str, Any]], goal: str) -> pd.DataFrame:
    """One row a trial and axis."""
    axes = _axes(space, goal)
    parts: list[pd.DataFrame] = []
    for axis, (name, table) in zip(axes, space.items(), strict=False):
        column = shown.get(f"p.{name}", pd.Series([None] * len(shown), dtype=object))
        parts.append(_part(shown, axis, column, table))
    value: dict[str, Any] = {"low": shown["value"].min(), "high": shown["value"].max()}
    parts.append(_part(shown, axes[-1], shown["value"], value))
    return pd.concat(parts, ignore_index=True).dropna(subset="place")


def _part(
    shown: pd.DataFrame, axis: str, column: "pd.Series[Any]", table: Mapping[str, Any]
) -> pd.DataFrame:
    frame = shown[["run", "trial", "value"]].assign(axis=axis, line=range(len(shown)))
    kind = marks.scale_of(table)
    if kind == "levels":
        there = column.notna().to_numpy()  # absent while it was not active
        texts = [marks.level(each) if on else "" for each, on in zip(column, there, strict=True)]
        known = marks.levels(table, [text for text, on in zip(texts, there, strict=True) if on])
        spread = max(len(known) - 1, 1)
        place = [
            known.index(text) / spread if on else np.nan
            for text, on in zip(texts, there, strict=True)
        ]
        return frame.assign(setting=texts, place=place)
    values = marks.numbers(column)
    low, high = float(table["low"]), float(table["high"])
    if kind == "log":
        values, low, high = np.log(values.where(values > 0)), np.log(low), np.log(high)
    place = (values - low) / (high - low) if high > low else values * 0 + 0.5
    texts = [number(float(each)) if pd.notna(each) else "" for each in marks.numbers(column)]
    return frame.assign(setting=texts, place=place)
