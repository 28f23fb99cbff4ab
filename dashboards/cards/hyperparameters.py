"""The hyperparameters that a fully Bayesian model holds possible, each above its prior."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.beliefs import belief_of, light_of
from dashboards.cards.card import Card
from dashboards.cards.draws import Drawn, drawn_of, in_words, record_of, spread_of
from dashboards.cards.picture import Part, beside, layer
from dashboards.data import RunData
from dashboards.theme import BELIEF, DATA

FEW = 6
"""So many have a panel each; of more, each has a row."""
HEIGHT = 130
_BEYOND = 1.0  # decades that a prior is shown beyond all draws
_PLACES = 61


def card(data: RunData) -> Card:
    """Marginal distributions of the draws, with the prior of each.

    Raises:
        NotYet: no belief yet, or one without draws of hyperparameters.
    """
    drawn = drawn_of(data)
    told = record_of(data)
    hidden = int(told.get("of") or len(drawn)) - len(drawn)
    more = f" {hidden} longer length-scales are left out." if hidden > 0 else ""
    shapes = "Blue: what the data leave possible; grey: what was held possible before, the prior."
    if len(drawn) > FEW:
        shapes = (
            "Dot and bars: median, middle 50 % and 90 % of what the data leave possible; grey:"
            " middle 90 % of the prior."
        )
    return Card(
        title=f"Hyperparameters: {marks.name_of(data)}",
        reading=f"{shapes} A length-scale counts in ranges of its parameter: short where the"
        " outcome changes fast, above about 3 where the parameter hardly matters. Variances are"
        f" shares of that of the outcomes. Scales are logarithmic.{more}",
        alt=f"Median and middle 90 % of {len(drawn)} hyperparameters: "
        + "; ".join(in_words(each) for each in drawn[:8])
        + ".",
        data=pd.DataFrame({each.name: each.values for each in drawn}),
        chart=_rows(drawn) if len(drawn) > FEW else beside(*[_panel(each) for each in drawn]),
        light=light_of(belief_of(data)),
    )


def _panel(each: Drawn) -> Part:
    """Densities per decade, and a stroke for every draw."""
    after, before = _densities(each)
    ends = [float(before["at"].min()), float(before["at"].max())]
    x = alt.X(
        "at:Q",
        title=each.name,
        scale=alt.Scale(type="log", domain=ends, nice=False),
        axis=alt.Axis(tickCount=4, format="~g", grid=False),
    )
    y = alt.Y("density:Q", title="density", axis=alt.Axis(labels=False, grid=False))
    told = [marks.tip("at", each.name), marks.tip("density", "density per decade")]
    base = alt.Chart(before).encode(x=x, y=y, tooltip=told)
    prior = base.mark_line(color=DATA, strokeDash=[5, 3], strokeWidth=2, clip=True)
    mass = alt.Chart(after).encode(x=x, y=y, tooltip=told)
    area = mass.mark_area(
        color=BELIEF, opacity=0.3, clip=True, line={"color": BELIEF, "strokeWidth": 2}
    )
    strokes = pd.DataFrame({"at": each.values[np.isfinite(each.values)]})
    rug = (
        alt.Chart(strokes)
        .mark_tick(color=BELIEF, thickness=1, size=7, opacity=0.7, clip=True)
        .encode(x=x, y=alt.YValue(HEIGHT - 4), tooltip=[marks.tip("at", "a draw")])
    )
    return layer(area, prior, rug, height=HEIGHT)


def _densities(each: Drawn) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of the draws and of the prior, along the same places."""
    x = np.log10(each.values[np.isfinite(each.values)])
    edges = np.log10(each.prior_at[[0, -1]])
    width = _width(x)
    # Never less than all draws; of a prior that is far wider, only what lies around them.
    low = min(x.min() - 3 * width, max(edges[0], x.min() - _BEYOND))
    high = max(x.max() + 3 * width, min(edges[1], x.max() + _BEYOND))
    at = np.linspace(low, high, _PLACES)
    density = np.exp(-0.5 * ((at[:, None] - x) / width) ** 2).mean(axis=1)
    after = density / (width * np.sqrt(2 * np.pi))
    before = np.interp(at, np.log10(each.prior_at), each.prior, left=0.0, right=0.0)
    return (
        pd.DataFrame({"at": 10.0**at, "density": after}),
        pd.DataFrame({"at": 10.0**at, "density": before}),
    )


def _width(x: np.ndarray) -> float:
    """Of a normal kernel, by Silverman's rule of thumb."""
    quarter, three = np.quantile(x, [0.25, 0.75])
    sizes = [size for size in (float(x.std()), (three - quarter) / 1.34) if size > 0]
    return max(0.9 * min(sizes) * len(x) ** -0.2, 1e-3) if sizes else 0.02


def _rows(drawn: Sequence[Drawn]) -> Part:
    """A row each, the smallest first: length-scales on one axis, variances on another."""
    scales = [each for each in drawn if each.told["what"] == "lengthscale"]
    rest = [each for each in drawn if each.told["what"] != "lengthscale"]
    parts = ((scales, "length-scale, in ranges"), (rest, "share of the outcomes' variance"))
    return beside(*[_intervals(part, title) for part, title in parts if part])


def _intervals(drawn: Sequence[Drawn], title: str) -> Part:
    rows: list[dict[str, Any]] = []
    for each in drawn:
        low, quarter, middle, three, high = spread_of(each.values)
        before, after = _middle(each)
        row = {"name": each.name, "low": low, "quarter": quarter, "middle": middle}
        rows.append(row | {"three": three, "high": high, "before": before, "after": after})
    frame = pd.DataFrame(rows).sort_values("middle", kind="stable")
    ends = [frame[["low", "before"]].min().min(), frame[["high", "after"]].max().max()]
    near = [frame["low"].min() / 10**_BEYOND, frame["high"].max() * 10**_BEYOND]
    domain = [float(max(ends[0], near[0])), float(min(ends[1], near[1]))]
    scale = alt.Scale(type="log", domain=domain, nice=False, clamp=True)
    base = alt.Chart(frame).encode(
        y=alt.Y("name:N", title=None, sort=list(frame["name"])).axis(labelLimit=230),
        tooltip=[
            marks.tip("name", "hyperparameter", "nominal"),
            marks.tip("middle", "median"),
            marks.tip("low", "middle 90 % from"),
            marks.tip("high", "middle 90 % to"),
            marks.tip("before", "of the prior from"),
            marks.tip("after", "of the prior to"),
        ],
    )
    axis = alt.Axis(tickCount=7, format="~g", grid=False)

    def bar(start: str, end: str, **how: Any) -> alt.Chart:
        x = alt.X(f"{start}:Q", title=title, scale=scale, axis=axis)
        return base.mark_rule(**how).encode(x=x, x2=alt.X2(f"{end}:Q"))

    return layer(
        bar("before", "after", color=DATA, strokeWidth=12, opacity=0.3),
        bar("low", "high", color=BELIEF, strokeWidth=2),
        bar("quarter", "three", color=BELIEF, strokeWidth=6),
        base.mark_circle(color=BELIEF, size=90, opacity=1).encode(x=alt.X("middle:Q", title=title)),
        height=24 * len(frame),
    )


def _middle(each: Drawn) -> tuple[float, float]:
    """The middle 90 % of the prior."""
    mass = np.cumsum(each.prior)
    if not mass[-1] > 0:
        return float(each.prior_at[0]), float(each.prior_at[-1])
    low, high = np.interp([0.05, 0.95], mass / mass[-1], np.log10(each.prior_at))
    return float(10.0**low), float(10.0**high)
