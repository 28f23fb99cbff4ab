"""Runs compared as they go: median and quartiles over seeds, one colour a method."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import altair as alt
import numpy as np
import pandas as pd

from apps.curves import X_LABELS, Curve, quartiles, run_curve, style, told, y_label
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.data import RunData
from dashboards.thin import thin
from dashboards.words import number


def card(
    runs: Sequence[RunData], *, show: Literal["value", "regret"] = "value", log: bool = False
) -> Card:
    """The course of several runs of one problem.

    Args:
        runs: of one kind and one problem.
        show: bo: the best so far, or its distance from the known optimum.
        log: a log scale; runs are then drawn from where they are above 0.

    Raises:
        NotYet: runs of several kinds, problems or goals; nothing to draw yet.
    """
    kind, problem = one_problem(runs)
    curves: dict[str, list[Curve]] = {}
    for data in runs:
        steps, values = _regrets(data) if show == "regret" else _curve(data)
        kept = [(s, v) for s, v in zip(steps, values, strict=True) if np.isfinite(v)]
        kept = [(s, v) for s, v in kept if v > 0] if log else kept
        if kept:
            curves.setdefault(str(data.run["method"]), []).append(
                ([s for s, _ in kept], [v for _, v in kept])
            )
    if not curves:
        raise NotYet(
            "None of these runs has a known optimum to draw the regret from."
            if show == "regret"
            else "None of these runs has a result to draw yet."
        )
    held = kind == "bo"
    frame = pd.concat(_thinned(method, several, held) for method, several in curves.items())
    methods = list(curves)
    styles = [style(kind, method) for method in methods]
    title = (
        "regret of the best so far (lower is better)"
        if show == "regret"
        else y_label(next(data for data in runs if str(data.run["method"]) == methods[0]).run)
    )
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    base = alt.Chart(frame).encode(
        x=alt.X("step:Q", title=X_LABELS[kind], scale=alt.Scale(nice=False)),
        color=alt.Color(
            "method:N",
            title=None,
            scale=alt.Scale(domain=methods, range=[each.colour for each in styles]),
            legend=alt.Legend(
                orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1
            ),
        ),
        tooltip=[
            marks.tip("method", "method", "nominal"),
            marks.tip("step", X_LABELS[kind]),
            marks.tip("median", "median"),
            marks.tip("low", "lower quartile"),
            marks.tip("high", "upper quartile"),
            marks.tip("runs", "runs"),
        ],
    )
    band = base.mark_area(opacity=0.2, interpolate="step-after" if kind == "bo" else "linear")
    line = base.mark_line(
        strokeWidth=2.5, interpolate="step-after" if kind == "bo" else "linear"
    ).encode(
        y=alt.Y("median:Q", title=title, scale=scale),
        strokeDash=alt.StrokeDash(
            "method:N",
            legend=None,
            scale=alt.Scale(domain=methods, range=[list(each.dash) for each in styles]),
        ),
    )
    band = band.encode(y=alt.Y("low:Q", title=title, scale=scale), y2=alt.Y2("high:Q"))
    ends = [
        f"{method} {number(float(own['median'].iloc[-1]))}"
        for method, own in frame.groupby("method", sort=False)
    ]
    return Card(
        title=f"{len(runs)} runs on {problem}",
        reading=_reading(curves, held),
        alt=f"Median at the end, by method: {'; '.join(ends)}.",
        data=frame,
        chart=layer(band.add_params(marks.zoom("x", "y")), line, height=marks.HEIGHT),
    )


def one_problem(runs: Sequence[RunData]) -> tuple[str, str]:
    """The kind and the problem that runs share. Raises `NotYet` where they do not."""
    if not runs:
        raise NotYet("Choose runs to compare.")
    for what in ("kind", "problem"):
        found = list(dict.fromkeys(_told(data, what) for data in runs))
        if len(found) > 1:
            raise NotYet(f"Only runs of one {what} can share a picture; here are {_and(found)}.")
    goals = list(dict.fromkeys(data.goal for data in runs if data.goal is not None))
    if len(goals) > 1:
        names = [f"{direction} {name}" for name, direction in goals]
        raise NotYet(f"Only runs with one goal can share a picture; here are {_and(names)}.")
    return _told(runs[0], "kind"), _told(runs[0], "problem")


def _told(data: RunData, what: str) -> str:
    return "a problem by hand" if what == "problem" and marks.by_hand(data) else str(data.run[what])


def _curve(data: RunData) -> tuple[list[float], list[float]]:
    if data.run["kind"] != "bo":
        records = data.steps.astype(object).where(data.steps.notna(), None)
        return run_curve(data.run, cast(list[dict[str, Any]], records.to_dict("records")))
    if data.goal is None:
        return [], []
    name, direction = data.goal
    said = None if data.goals is None else told(data.goals)
    if said is not None and (len(said.goals) > 1 or said.constraints):
        reached = data.trials.dropna(subset=["best"])
        return [n + 1 for n in reached["number"]], list(reached["best"])
    try:
        found = marks.measured(data)
    except NotYet:
        return [], []
    rows = [
        {"state": "complete", "number": int(trial), f"value.{name}": value}
        for trial, value in zip(found["trial"], found["value"], strict=True)
    ]
    goals = data.goals or f"{direction} {name}"
    return run_curve({**data.run, "metrics": {"goal": goals}}, rows)


def _regrets(data: RunData) -> tuple[list[float], list[float]]:
    try:
        found = marks.done(data)
    except NotYet:
        return [], []
    found = found[found["regret"].notna()]
    return [trial + 1 for trial in found["trial"]], found["regret"].to_list()


def _thinned(method: str, runs: list[Curve], held: bool) -> pd.DataFrame:
    whole = quartiles(method, runs, points=10_000, held=held)
    return thin(whole, "step", ["low", "median", "high"])


def _reading(curves: dict[str, list[Curve]], held: bool) -> str:
    counts = {method: len(runs) for method, runs in curves.items()}
    if max(counts.values()) == 1:
        return "One line a method. There is one run of each, so there are no bands yet: add seeds."
    told = ", ".join(f"{method} {count}" for method, count in counts.items())
    cut = not held and any(len({steps[-1] for steps, _ in runs}) > 1 for runs in curves.values())
    more = " A line ends where the shortest run of its method does." if cut else ""
    return f"Line: median over runs. Band: lower to upper quartile. Runs: {told}.{more}"


def _and(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"
