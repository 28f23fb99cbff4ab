"""Mean ranks of the methods of an experiment with their intervals, a panel per budget."""

import altair as alt
import pandas as pd

from apps.spec import BUDGET_UNITS
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import Part, beside, layer
from dashboards.experimenting import Experiment, styles
from dashboards.words import number


def card(experiment: Experiment) -> Card:
    """Dots and bars, the best at the largest budget on top.

    Raises:
        NotYet: no seed is through with all methods.
    """
    rows = list((experiment.results or {}).get("ranks") or [])
    if experiment.plan is None or not rows:
        raise NotYet("Ranks need a problem and a seed whose runs have ended for every method.")
    frame = pd.DataFrame(rows)
    budgets = sorted(frame["budget"].unique())
    last = frame[frame["budget"] == budgets[-1]].sort_values("mean_rank", kind="stable")
    order = last["method"].to_list()
    known = styles(experiment.plan)
    short = dict(zip(order, marks.distinct(order, 26), strict=True))
    frame["row"] = [short[method] for method in frame["method"]]
    colours = [known[method].colour for method in order if method in known]
    unit = BUDGET_UNITS[experiment.plan.kind]
    ends = [min(float(frame["low"].min()), 1.0), max(float(frame["high"].max()), 2.0)]
    parts: list[Part] = []
    for budget in budgets:
        own = frame[frame["budget"] == budget]
        base = alt.Chart(own).encode(
            y=alt.Y("row:N", title=None, sort=list(short.values())).axis(labelLimit=190),
            color=alt.Color(
                "row:N",
                legend=None,
                scale=alt.Scale(domain=list(short.values()), range=colours),
            ),
            tooltip=[
                marks.tip("method", "method", "nominal"),
                marks.tip("mean_rank", "mean rank"),
                marks.tip("low", "interval from"),
                marks.tip("high", "interval to"),
                marks.tip("problems", "problems"),
            ],
        )
        title = f"mean rank after {budget:,} {unit} (lower is better)"
        x = alt.X("low:Q", title=title, scale=alt.Scale(domain=ends, nice=True, zero=False))
        bars = base.mark_rule(strokeWidth=4, opacity=0.5).encode(x=x, x2="high:Q")
        dots = base.mark_circle(size=110, opacity=1).encode(x=alt.X("mean_rank:Q"))
        parts.append(layer(bars, dots, height=max(26 * len(order), 80)))
    first = last.iloc[0]
    return Card(
        title=f"Mean ranks in {experiment.row.name}",
        reading="Dot and bar: mean rank over problems (1 is best) and its 95 % interval, by a"
        " bootstrap over problems, then seeds. Bars that overlap do not tell methods apart.",
        alt=f"After {budgets[-1]:,} {unit}, {first['method']} has the best mean rank,"
        f" {number(float(first['mean_rank']))}, interval {number(float(first['low']))} to"
        f" {number(float(first['high']))}, of {len(order)} methods.",
        data=frame.drop(columns="row"),
        chart=parts[0] if len(parts) == 1 else beside(*parts),
    )
