"""The course of the methods of an experiment on one problem: medians and quartiles over seeds."""

from typing import Any

import altair as alt
import pandas as pd

from apps.curves import X_LABELS, better
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.experimenting import Experiment, styles
from dashboards.words import number

SMALLEST = 1e-12  # a regret of 0 has no place on a log scale


def card(experiment: Experiment, problem: str) -> Card:
    """Curves of one problem, on a log scale where they are regrets.

    Raises:
        NotYet: no run on it has a result.
    """
    results = experiment.results or {}
    curves: list[dict[str, Any]] = (results.get("curves") or {}).get(problem) or []
    told = [row for row in results.get("table") or [] if row["problem"] == problem]
    if experiment.plan is None or not curves or not told:
        raise NotYet(f"No run on {problem} has a result yet.")
    measure, direction = told[0]["measure"], told[0]["direction"]
    log = measure == "regret"
    frame = pd.concat(
        pd.DataFrame({"method": c["method"], **{n: c[n] for n in _COLUMNS}, "runs": c["runs"]})
        for c in curves
    ).reset_index(drop=True)
    for name in ("low", "median", "high"):
        frame[name] = marks.numbers(frame[name])
        frame[name] = frame[name].clip(lower=SMALLEST) if log else frame[name]
    methods = [curve["method"] for curve in curves]
    known = styles(experiment.plan)
    short = dict(zip(methods, marks.distinct(methods, 30), strict=True))
    frame["line"] = [short[method] for method in frame["method"]]
    names = list(short.values())
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    title = f"{marks.shorten(measure, 40)} ({better(direction)})"
    colours = [known[method].colour for method in methods]
    dashes = [list(known[method].dash) for method in methods]
    how: Any = "step-after" if experiment.plan.kind == "bo" else "linear"
    base = alt.Chart(frame).encode(
        x=alt.X(
            "step:Q",
            title=X_LABELS[experiment.plan.kind],
            axis=alt.Axis(format=",d", tickMinStep=1),
            scale=alt.Scale(nice=False),
        ),
        color=alt.Color(
            "line:N",
            title=None,
            scale=alt.Scale(domain=names, range=colours),
            legend=alt.Legend(
                orient="top",
                columns=4,
                labelLimit=190,
                symbolType="stroke",
                symbolStrokeWidth=3,
                symbolOpacity=1,
            ),
        ),
        tooltip=[
            marks.tip("method", "method", "nominal"),
            marks.tip("step", X_LABELS[experiment.plan.kind]),
            marks.tip("median", "median"),
            marks.tip("low", "lower quartile"),
            marks.tip("high", "upper quartile"),
            marks.tip("runs", "runs"),
        ],
    )
    band = base.mark_area(opacity=0.15, interpolate=how).encode(
        y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q"
    )
    line = base.mark_line(strokeWidth=2.5, interpolate=how).encode(
        y=alt.Y("median:Q", title=title, scale=scale),
        strokeDash=alt.StrokeDash(
            "line:N", legend=None, scale=alt.Scale(domain=names, range=dashes)
        ),
    )
    ends = [f"{c['method']} {number(c['median'][-1])}" for c in curves]
    counts = sorted({curve["runs"] for curve in curves})
    runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return Card(
        title=f"{experiment.row.name}: course on {problem}",
        reading=f"Line: median over seeds. Band: lower to upper quartile. Runs a method: {runs}.",
        alt=f"Median {measure} at the end, by method: {'; '.join(ends)}.",
        data=frame.drop(columns="line"),
        chart=layer(band.add_params(marks.zoom("x", "y")), line, height=320),
    )


_COLUMNS = ("step", "low", "median", "high")
