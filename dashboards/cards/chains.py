"""What the draws look like before they are mixed: traces and ranks of chains, or weights."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.beliefs import belief_of, light_of
from dashboards.cards.card import Card, NotYet
from dashboards.cards.draws import named, record_of
from dashboards.cards.picture import Part, Picture, beside, layer
from dashboards.data import RunData
from dashboards.theme import BELIEF, CATEGORICAL, DATA, SEQUENTIAL
from dashboards.words import number

TENTHS = 10
TRACE_HEIGHT, ROW_HEIGHT = 150, 13
MOST_SHARE = 3.0  # times an even share: the end of the colours


def card(data: RunData) -> Card:
    """Traces and ranks of the quantities on which chains agree least; of particles, their weights.

    Raises:
        NotYet: no belief yet, or draws that are all independent and of equal weight.
    """
    told = record_of(data)
    if told.get("traces"):
        return _of_chains(data, told)
    if told.get("weights"):
        return _of_weights(data, told["weights"])
    raise NotYet("These draws are independent and count the same: there are no chains to look at.")


def _of_chains(data: RunData, told: Mapping[str, Any]) -> Card:
    names = named(told["traces"])
    frames = [_frame(each) for each in told["traces"]]
    shown, every = frames[0]["chain"].nunique(), int(told.get("every") or 1)
    frames = [frame.assign(draw=frame["draw"] * every) for frame in frames]
    worst = max((each.get("rhat") or 0.0 for each in told["traces"]), default=0.0)
    panels = [
        _panel(frame, name, each)
        for frame, name, each in zip(frames, names, told["traces"], strict=True)
    ]
    some = f"{shown} of {told['chains']} chains" if told["chains"] > shown else f"{shown} chains"
    apart = "" if every == 1 else f", one draw in {every}"
    both = pd.concat(
        [frame.assign(quantity=name) for frame, name in zip(frames, names, strict=True)],
        ignore_index=True,
    )
    return Card(
        title=f"Chains: {marks.name_of(data)}",
        reading=f"{some}{apart}: the log density and the two hyperparameters on which they agree"
        " least. Lines that lie over each other and never stay aside are good. Below: how often"
        " each chain is in each tenth of all ranks; a chain that is bright at one end and dark at"
        " the other has seen another part than the rest.",
        alt=f"{some} of {marks.counted(int(frames[0]['draw'].nunique()), 'draw')} each; largest"
        f" R-hat shown {number(worst)}.",
        data=both[["quantity", "chain", "draw", "value"]],
        chart=beside(*panels),
        light=light_of(belief_of(data)),
    )


def _frame(each: Mapping[str, Any]) -> pd.DataFrame:
    rows = [
        (chain + 1, draw + 1, value)
        for chain, values in enumerate(each["values"])
        for draw, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows, columns=["chain", "draw", "value"])
    return frame.assign(value=marks.numbers(frame["value"]))


def _panel(frame: pd.DataFrame, name: str, each: Mapping[str, Any]) -> Part:
    log = each["what"] != "log_density"
    scale = alt.Scale(type="log" if log else "linear", zero=False, nice=False, padding=4)
    chains = sorted(frame["chain"].unique().tolist())
    colours = [CATEGORICAL[i % len(CATEGORICAL)] for i in range(len(chains))]
    trace = (
        alt.Chart(frame)
        .mark_line(strokeWidth=1, opacity=0.75)
        .encode(
            x=alt.X(
                "draw:Q", title="draw", axis=alt.Axis(tickCount=4), scale=alt.Scale(nice=False)
            ),
            y=alt.Y("value:Q", title=name, scale=scale, axis=alt.Axis(tickCount=4, format="~g")),
            color=alt.Color("chain:N", legend=None, scale=alt.Scale(domain=chains, range=colours)),
            tooltip=[
                marks.tip("chain", "chain"),
                marks.tip("draw", "draw"),
                marks.tip("value", name),
            ],
        )
        .properties(height=TRACE_HEIGHT)
    )
    ranks = _ranks(frame)
    tiles = (
        alt.Chart(ranks)
        .mark_rect()
        .encode(
            x=alt.X("tenth:O", title="tenth of the ranks, low to high").axis(labelAngle=0),
            y=alt.Y("chain:O", title="chain", axis=alt.Axis(labels=False, ticks=False)),
            color=alt.Color(
                "share:Q",
                scale=alt.Scale(range=list(SEQUENTIAL), domain=[0, MOST_SHARE], clamp=True),
                legend=alt.Legend(
                    title="times an even share",
                    orient="bottom",
                    direction="horizontal",
                    gradientLength=140,
                    tickCount=3,
                ),
            ),
            tooltip=[
                marks.tip("chain", "chain"),
                marks.tip("tenth", "tenth"),
                marks.tip("share", "times an even share"),
            ],
        )
        .properties(height=ROW_HEIGHT * len(chains))
    )
    rhat = "" if each.get("rhat") is None else f", R-hat {number(each['rhat'])}"
    heading = {"text": f"{name}{rhat}", "fontSize": 13, "fontWeight": "normal", "offset": 8}
    resolve = {"scale": {"x": "independent", "y": "independent", "color": "independent"}}
    return Picture("vconcat", [trace, tiles], spacing=10, resolve=resolve, title=heading)


def _ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """By chain and tenth of the ranks of all chains together, the share in evenly many."""
    known = frame.dropna()
    rank = known["value"].rank(method="average", pct=True)
    tenth = np.clip(np.ceil(rank * TENTHS - 1e-9), 1, TENTHS).astype(int)
    counts = known.assign(tenth=tenth).groupby(["chain", "tenth"]).size()
    every = pd.MultiIndex.from_product(
        [sorted(frame["chain"].unique()), range(1, TENTHS + 1)], names=["chain", "tenth"]
    )
    found = counts.reindex(every, fill_value=0).rename("count").reset_index()
    size = known.groupby("chain").size().reindex(found["chain"]).to_numpy()
    return found.assign(share=found["count"] * TENTHS / np.maximum(size, 1))


def _of_weights(data: RunData, weights: list[float | None]) -> Card:
    frame = pd.DataFrame({"share": np.linspace(0, 1, len(weights)), "weight": weights})
    frame["weight"] = marks.numbers(frame["weight"])
    half = float(np.interp(0.5, frame["weight"].ffill(), frame["share"]))
    tips = [
        alt.Tooltip("share:Q", title="share of the draws", format=".0%"),
        alt.Tooltip("weight:Q", title="their share of the weight", format=".0%"),
    ]
    x = alt.X("share:Q", title="share of the draws, the weightiest first").axis(format="%")
    y = alt.Y("weight:Q", title="their share of the weight").axis(format="%")
    base = alt.Chart(frame)
    curve = base.mark_line(color=BELIEF, strokeWidth=2.5).encode(x=x, y=y, tooltip=tips)
    even = pd.DataFrame({"share": [0.0, 1.0], "weight": [0.0, 1.0]})
    line = alt.Chart(even).mark_line(color=DATA, strokeDash=[5, 4]).encode(x=x, y=y)
    return Card(
        title=f"Weights of the draws: {marks.name_of(data)}",
        reading=f"Half of all weight lies on {half:.0%} of the draws. On the dashed line all count"
        " the same; the nearer to the upper left corner, the fewer draws speak for all.",
        alt=f"Half of all weight lies on {half:.0%} of the draws.",
        data=frame,
        chart=layer(line, curve, height=marks.HEIGHT),
        light=light_of(belief_of(data)),
    )
