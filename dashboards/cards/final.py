"""Final scores: every run as a point, the mean of each method with its 95 % interval."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from apps.curves import style
from apps.summary import compare
from dashboards.cards import marks
from dashboards.cards.bands import one_problem
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.data import RunData
from dashboards.words import number


def card(runs: Sequence[RunData]) -> Card:
    """Scores by method, from the same table as `wald compare`.

    Raises:
        NotYet: runs of several kinds or problems, or none with a score.
    """
    kind, problem = one_problem(runs)
    rows = [row for row in compare([data.run for data in runs]) if row["mean"] is not None]
    if not rows:
        raise NotYet("None of these runs has a score yet.")
    methods = [str(row["method"]) for row in rows]
    scores = [
        {"method": str(d.run["method"]), "seed": d.run.get("seed"), "score": float(d.run["score"])}
        for d in runs
        if d.run.get("score") is not None
    ]
    points = pd.DataFrame(scores)
    columns = ["method", "runs", "mean", "low", "high", "median"]
    means = pd.DataFrame(rows)[columns].astype({"method": str})
    for name in ("low", "high"):
        means[name] = marks.numbers(means[name])
    styles = [style(kind, method) for method in methods]
    colour = alt.Color(
        "method:N",
        legend=None,
        scale=alt.Scale(domain=methods, range=[each.colour for each in styles]),
    )
    y = alt.Y("method:N", title=None, sort=methods, scale=alt.Scale(domain=methods))
    title = "score (higher is better)"
    told = [
        marks.tip("method", "method", "nominal"),
        marks.tip("mean", "mean"),
        marks.tip("low", "interval from"),
        marks.tip("high", "interval to"),
        marks.tip("runs", "runs"),
    ]
    x: dict[str, Any] = {"title": title, "scale": alt.Scale(zero=False, padding=12)}
    single = (
        alt.Chart(points)
        .mark_circle(size=55, opacity=0.55)
        .encode(
            y=y,
            x=alt.X("score:Q", **x),
            color=colour,
            yOffset=alt.YOffsetValue(9),
            tooltip=[
                marks.tip("method", "method", "nominal"),
                marks.tip("seed", "seed", "nominal"),
                marks.tip("score", "score"),
            ],
        )
    )
    base = alt.Chart(means).encode(y=y, color=colour, tooltip=told)
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=3, opacity=0.7)
    middle = base.mark_point(shape="diamond", filled=True, size=140, opacity=1)
    best: dict[str, Any] = rows[0]
    return Card(
        title=f"Final scores on {problem}",
        reading="Circles: runs. Diamond and bar: their mean and its 95 % interval (Student's t),"
        f" for two runs or more. {_sign(runs)}",
        alt="Mean score by method, best first: "
        + "; ".join(_told(row) for row in rows)
        + f". Best: {best['method']}.",
        data=means.merge(points, on="method", how="left"),
        chart=layer(
            single,
            bars.encode(x=alt.X("low:Q", **x), x2=alt.X2("high:Q")),
            middle.encode(x=alt.X("mean:Q", **x)),
            height=max(56 * len(rows), 90),
        ),
    )


def _sign(runs: Sequence[RunData]) -> str:
    goal = next((data.goal for data in runs if data.goal is not None), None)
    if goal is None or goal[1] != "minimize":
        return "Score: higher is better."
    return f"The score is {goal[0]} with its sign turned, so that higher is better."


def _told(row: dict[str, Any]) -> str:
    half = None if row["high"] is None else row["high"] - row["mean"]
    spread = "" if half is None else f" ± {number(float(half))}"
    return f"{row['method']} {number(float(row['mean']))}{spread}"
