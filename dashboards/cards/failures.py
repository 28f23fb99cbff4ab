"""Why trials failed: how often each reason came up."""

import altair as alt

from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.data import RunData
from dashboards.theme import FAILED

MOST = 12


def card(data: RunData) -> Card:
    """Reasons of failed trials, counted.

    Raises:
        NotYet: no trial has failed.
    """
    frame = marks.done(data)
    failed = frame[frame["state"] == "failed"]
    if len(failed) == 0:
        raise NotYet(f"No trial has failed so far, of {len(frame)}.")
    reasons = failed["reason"].map(lambda reason: str(reason or "no reason was given"))
    counts = failed.groupby(reasons, sort=False)["trial"].agg(["size", list]).reset_index()
    counts.columns = ["reason", "count", "trials"]
    counts = counts.sort_values("count", ascending=False, kind="stable")
    counts["trials"] = [_listed(trials) for trials in counts["trials"]]
    top = counts.head(MOST).reset_index(drop=True)
    top["bar"] = marks.distinct(top["reason"], 42)
    chart = (
        alt.Chart(top)
        .mark_bar(color=FAILED, height=alt.RelativeBandSize(0.6))
        .encode(
            y=alt.Y(
                "bar:N",
                title=None,
                sort=top["bar"].to_list(),
                axis=alt.Axis(labelLimit=280, labelOverlap=False),
            ),
            x=alt.X("count:Q", title="failed trials", axis=alt.Axis(format="d", tickMinStep=1)),
            tooltip=[
                marks.tip("reason", "reason", "nominal"),
                marks.tip("count", "trials"),
                marks.tip("trials", "numbers", "nominal"),
            ],
        )
        .properties(height=max(30 * len(top), 60))
    )
    share = f"{len(failed)} of {marks.counted(len(frame), 'trial')} failed"
    others = len(counts) - len(top)
    more = f" The {len(top)} most frequent of {len(counts)} reasons are drawn." if others else ""
    first = counts.iloc[0]
    return Card(
        title=f"Failed trials: {marks.name_of(data)}",
        reading=f"{share}; one bar a reason. Numbers of the trials are in the data.{more}",
        alt=f"{share}; most often ({first['count']}): {first['reason']}",
        data=counts,
        chart=chart,
    )


def _listed(trials: "list[float]") -> str:
    told = ", ".join(f"{trial:.0f}" for trial in trials[:50])
    return told if len(trials) <= 50 else f"{told}, …"
