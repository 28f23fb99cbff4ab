"""How much each parameter moves what the model expects."""

import altair as alt
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.beliefs import belief_of
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.data import RunData
from dashboards.theme import BELIEF, DATA

MOST = 15


def card(data: RunData) -> Card:
    """Shares of the variation of the mean along the slices.

    Raises:
        NotYet: no belief yet, a single parameter, or a mean that is flat along every slice.
    """
    belief = belief_of(data)
    shares = {name: float(share or 0.0) for name, share in (belief.get("importance") or {}).items()}
    if len(shares) < 2:
        raise NotYet("Importance compares parameters; this belief has fewer than two.")
    if max(shares.values()) <= 0:
        raise NotYet("The model expects the same everywhere: no parameter matters to it so far.")
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
        f" guess of the model, without an interval.{more}",
        alt=f"{first} matters most to the model: {share:.0%} of the variation of its mean.",
        data=frame,
        chart=layer(bars, texts, height=max(28 * len(top), 70)),
    )
