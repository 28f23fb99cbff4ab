"""How much each parameter moves what the model expects, and how sure the model is of that."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.beliefs import belief_of, light_of
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.data import RunData
from dashboards.theme import BELIEF, DATA

MOST = 15


def card(data: RunData) -> Card:
    """Shares of the variation along the slices: with intervals where the belief has them.

    Raises:
        NotYet: no belief yet, a single parameter, or a mean that is flat along every slice.
    """
    belief = belief_of(data)
    shares = {name: float(share or 0.0) for name, share in (belief.get("importance") or {}).items()}
    if len(shares) < 2:
        raise NotYet("Importance compares parameters; this belief has fewer than two.")
    if max(shares.values()) <= 0:
        raise NotYet("The model expects the same everywhere: no parameter matters to it so far.")
    told: Mapping[str, Sequence[float]] = belief.get("importance_intervals") or {}
    if set(told) == set(shares):
        return _with_intervals(data, shares, told)
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    frame = pd.DataFrame(ranked, columns=["parameter", "share"])
    top = frame.head(MOST).assign(bar=marks.distinct(frame["parameter"].head(MOST), 30))
    y = alt.Y("bar:N", title=None, sort=top["bar"].to_list()).axis(labelLimit=200)
    base = alt.Chart(top).encode(
        y=y,
        tooltip=[
            marks.tip("parameter", "parameter", "nominal"),
            alt.Tooltip("share:Q", title="share", format=".1%"),
        ],
    )
    title = "share of the variation of the mean (higher: matters more)"
    bars = base.mark_bar(color=BELIEF, height=alt.RelativeBandSize(0.6)).encode(
        x=alt.X("share:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    )
    texts = base.mark_text(align="left", dx=5, color=DATA).encode(
        x=alt.X("share:Q"), text=alt.Text("share:Q", format=".0%")
    )
    first, share = ranked[0]
    rest = len(frame) - len(top)
    more = f" The first {MOST} of {len(frame)} are drawn." if rest else ""
    return Card(
        title=f"Importance: {marks.name_of(data)}",
        reading="How much the expected value moves along each slice through the best point; a"
        f" guess of the model, which has no joint posterior to draw intervals from.{more}",
        alt=f"{first} matters most to the model: {share:.0%} of the variation of its mean.",
        data=frame,
        chart=layer(bars, texts, height=max(28 * len(top), 70)),
        light=light_of(belief),
    )


def _with_intervals(
    data: RunData, shares: Mapping[str, float], told: Mapping[str, Sequence[float]]
) -> Card:
    """Dots and bars: median and middle 95 % of the shares of drawn functions."""
    rows = [
        {"parameter": name, "low": low, "share": middle, "high": high, "of_mean": shares[name]}
        for name, (low, middle, high) in told.items()
    ]
    frame = pd.DataFrame(rows).sort_values("share", ascending=False, kind="stable")
    frame = frame.reset_index(drop=True)
    top = frame.head(MOST).assign(bar=marks.distinct(frame["parameter"].head(MOST), 30))
    base = alt.Chart(top).encode(
        y=alt.Y("bar:N", title=None, sort=top["bar"].to_list()).axis(labelLimit=200),
        tooltip=[
            marks.tip("parameter", "parameter", "nominal"),
            alt.Tooltip("share:Q", title="share, median", format=".1%"),
            alt.Tooltip("low:Q", title="interval from", format=".1%"),
            alt.Tooltip("high:Q", title="interval to", format=".1%"),
            alt.Tooltip("of_mean:Q", title="share of the mean", format=".1%"),
        ],
    )
    title = "share of the variation (higher: matters more)"
    x = alt.X("low:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    bars = base.mark_rule(color=BELIEF, strokeWidth=5, opacity=0.45).encode(x=x, x2="high:Q")
    dots = base.mark_circle(color=BELIEF, size=110, opacity=1).encode(x=alt.X("share:Q"))
    first = frame.iloc[0]
    rest = len(frame) - len(top)
    more = f" The first {MOST} of {len(frame)} are drawn." if rest else ""
    return Card(
        title=f"Importance: {marks.name_of(data)}",
        reading="Dot and bar: median and 95 % interval of each parameter's share of the variation"
        " along the slices through the best point, over functions that the model holds possible."
        f" Wide bars: more data would tell. It cannot tell how wrong the model may be.{more}",
        alt=f"{first['parameter']} matters most to the model: {first['share']:.0%} of the"
        f" variation, 95 % interval {first['low']:.0%} to {first['high']:.0%}.",
        data=frame,
        chart=layer(bars, dots, height=max(28 * len(top), 70)),
        light=light_of(belief_of(data)),
    )
