"""Which arms a bandit pulls: shares over time for a few arms, counts for many."""

import altair as alt
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.card import Card
from dashboards.cards.records import per_arm, step_axis
from dashboards.data import RunData
from dashboards.theme import BELIEF, CATEGORICAL

MOST_SHARES = 12
STRETCHES = 40  # more of them would be noise
MOST_BARS = 40
_TINTS = ("#7FB8D8", "#EAAE7F", "#7FCEB9", "#E5BBD3", "#F2CF7F")  # of the palette, for arms 8 to 12


def card(data: RunData) -> Card:
    """Pulls per arm.

    Raises:
        NotYet: no pulls are recorded yet.
    """
    frame = per_arm(data, "pulls", most=STRETCHES)
    last = frame[frame["step"] == frame["step"].max()]
    ranked = last.sort_values("pulls", ascending=False, kind="stable")
    total = float(ranked["pulls"].sum())
    most = ranked.iloc[0]
    share = float(most["pulls"]) / total if total > 0 else 0.0
    told = f"arm {most['arm']:.0f} most often: {share:.0%} of {total:,.0f} pulls"
    arms = len(last)
    if arms <= MOST_SHARES:
        shares = _stretches(data, frame)
        return Card(
            title=f"Pulls: {marks.name_of(data)}",
            reading=f"Share of each arm among the pulls of each stretch of rounds; {told}.",
            alt=f"Pulls of {arms} arms; {told}.",
            data=shares,
            chart=_areas(data, shares, [int(arm) for arm in ranked["arm"]]),
        )
    shown = ranked.head(MOST_BARS)[["arm", "pulls"]].assign(
        arm=[f"arm {arm:.0f}" for arm in ranked["arm"].head(MOST_BARS)]
    )
    more = f" The {MOST_BARS} most pulled of {arms} arms are drawn." if arms > MOST_BARS else ""
    bars = (
        alt.Chart(shown)
        .mark_bar(color=BELIEF)
        .encode(
            x=alt.X("arm:N", title=None, sort=shown["arm"].to_list()).axis(labelAngle=-60),
            y=alt.Y("pulls:Q", title="pulls", axis=alt.Axis(format="~s")),
            tooltip=[marks.tip("arm", "arm", "nominal"), marks.tip("pulls", "pulls")],
        )
        .properties(height=marks.HEIGHT)
    )
    return Card(
        title=f"Pulls: {marks.name_of(data)}",
        reading=f"How often each arm was pulled; {told}.{more}",
        alt=f"Pulls of {arms} arms; {told}.",
        data=shown,
        chart=bars,
    )


def _stretches(data: RunData, frame: pd.DataFrame) -> pd.DataFrame:
    """Shares among the pulls between one drawn step and the next.

    Where earlier records are left out, the first step is only where the first stretch begins.
    """
    table = frame.pivot_table(index="step", columns="arm", values="pulls", aggfunc="last")
    counts = table.diff().fillna(table)
    if data.records > len(data.steps) and len(table) > 1:
        counts, table = counts.iloc[1:], table.iloc[1:]
    shares = counts.div(counts.sum(axis=1).where(lambda total: total > 0), axis=0)
    long = shares.reset_index().melt(id_vars="step", var_name="arm", value_name="share")
    pulls = table.reset_index().melt(id_vars="step", var_name="arm", value_name="pulls")
    long["pulls so far"] = pulls["pulls"]
    return long.assign(arm=[f"arm {arm}" for arm in long["arm"]])


def _areas(data: RunData, frame: pd.DataFrame, ranked: list[int]) -> alt.Chart:
    """Stacked areas, the most pulled arm at the bottom."""
    names = [f"arm {arm}" for arm in ranked]
    in_order = [f"arm {arm}" for arm in sorted(ranked)]
    place = {name: position for position, name in enumerate(names)}
    colours = (*CATEGORICAL, *_TINTS)
    scale = alt.Scale(domain=in_order, range=list(colours[: len(in_order)]))
    return (
        alt.Chart(frame.assign(place=frame["arm"].map(place).astype("int8")))
        .mark_area(stroke="white", strokeWidth=0.6, strokeOpacity=0.7)
        .encode(
            x=step_axis(data),
            y=alt.Y(
                "share:Q", title="share of the pulls", stack="normalize", axis=alt.Axis(format="%")
            ),
            color=alt.Color(
                "arm:N",
                title=None,
                scale=scale,
                legend=alt.Legend(symbolType="square", symbolStrokeWidth=0),
            ),
            order=alt.Order("place:Q"),
            tooltip=[
                marks.tip("arm", "arm", "nominal"),
                marks.tip("step", "round"),
                alt.Tooltip("share:Q", title="share", format=".0%"),
                alt.Tooltip(field="pulls so far", type="quantitative", title="pulls", format=","),
            ],
        )
        .properties(height=marks.HEIGHT)
    )
