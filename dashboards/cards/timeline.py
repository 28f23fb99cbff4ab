"""When each trial ran: one bar from its ask to its end, a lane for every evaluation in flight."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.data import RunData
from dashboards.theme import BELIEF, BEST, DATA, FAILED
from dashboards.words import duration

MOST = 500  # with more of them a bar is hardly a pixel wide
MOST_HEIGHT = 420
COLOURS = {"complete": BELIEF, "failed": FAILED, "running": BEST, "left open": DATA}
PAUSE_SHARE = 0.25  # of the time in which anything ran: a longer pause is cut out
PAUSE_SECONDS = 5.0
UNITS = ((2 * 86400, 86400, "days"), (2 * 3600, 3600, "hours"), (120, 60, "minutes"))


def card(data: RunData, now: float | None = None) -> Card:
    """Bars of the trials that were asked for.

    Args:
        data: the run.
        now: where the bars of running trials end; None where nothing runs any more, or the page
            stands still: then at the latest time that is known.

    Raises:
        NotYet: no trial was asked for, or none tells when.
    """
    frame = _asked(data, now)
    count = len(frame)
    frame = frame.tail(MOST).reset_index(drop=True)
    frame["lane"] = lanes(frame["start"].to_list(), frame["end"].to_list())
    deepest = int(frame["lane"].max())
    frame, cuts = _without_pauses(frame)
    length = float(frame["to"].max())
    unit, word = next(((u, w) for least, u, w in UNITS if length >= least), (1, "seconds"))
    frame[["from", "to"]] /= unit
    height = min(max(24 * deepest, 70), MOST_HEIGHT)
    x: dict[str, Any] = {
        "title": f"{word} since the first trial that is drawn",
        "scale": alt.Scale(nice=False),
    }
    names = [name for name in COLOURS if (frame["state"] == name).any()]
    bars = (
        alt.Chart(frame[["trial", "state", "took", "value", "lane", "from", "to"]])
        .mark_bar(height=alt.RelativeBandSize(0.8), strokeWidth=0.5, opacity=0.85)
        .encode(
            x=alt.X("from:Q", **x),
            x2="to:Q",
            y=alt.Y("lane:O", title="lane", axis=_every(deepest)),
            color=alt.Color(
                "state:N",
                title=None,
                scale=alt.Scale(domain=names, range=[COLOURS[name] for name in names]),
                legend=alt.Legend(orient="top"),
            ),
            stroke=alt.Stroke(
                "state:N",
                legend=None,
                scale=alt.Scale(domain=names, range=[COLOURS[name] for name in names]),
            ),
            tooltip=[
                marks.tip("trial", "trial"),
                marks.tip("state", "state", "nominal"),
                marks.tip("took", "took", "nominal"),
                marks.tip("value", "value"),
            ],
        )
        .add_params(marks.zoom("x"))
    )
    parts = [bars]
    if len(cuts):
        cuts["at"] /= unit
        rules = alt.Chart(cuts).mark_rule(color=DATA, strokeDash=[3, 3], strokeWidth=1.5)
        tooltip = [marks.tip("pause", "nothing ran for", "nominal")]
        parts.append(rules.encode(x=alt.X("at:Q", **x), tooltip=tooltip))
    counts = frame["state"].value_counts()
    told = ", ".join(f"{counts[name]:,} {name}" for name in names)
    more = f" The last {MOST:,} of {count:,} trials are drawn." if count > len(frame) else ""
    pauses = " Dashed: a pause, cut out." if len(cuts) else ""
    return Card(
        title=f"Timeline: {marks.name_of(data)}",
        reading="One bar a trial, from its ask to its end; one lane for each that was under way at"
        f" once.{_open(names)}{pauses}{more}",
        alt=f"{marks.counted(len(frame), 'trial')} over {duration(length)}: {told}; at most"
        f" {deepest} at once.",
        data=frame[["trial", "state", "lane", "start", "end", "value"]],
        chart=layer(*parts, height=height),
    )


def lanes(starts: list[float], ends: list[float]) -> list[int]:
    """The lowest free lane of each bar, from 1, for bars in order of their starts."""
    free: list[float] = []
    found: list[int] = []
    for start, end in zip(starts, ends, strict=True):
        lane = next((i for i, until in enumerate(free) if until <= start), len(free))
        free[lane : lane + 1] = [end]
        found.append(lane + 1)
    return found


def _asked(data: RunData, now: float | None) -> pd.DataFrame:
    """Trials with a time: trial, state, value, start, end, took; in order of their starts."""
    if len(data.trials) == 0:
        raise NotYet("No trial was asked for yet.")
    given = data.trials
    frame = pd.DataFrame(
        {
            "trial": marks.numbers(given["number"]),
            "state": given["state"].astype(str),
            "value": marks.numbers(given["value"]),
            "start": marks.numbers(given["started"]) if "started" in given else np.nan,
            "seconds": marks.numbers(given["seconds"]),
        }
    )
    frame = frame[frame["start"].notna() & frame["state"].isin(["complete", "failed", "running"])]
    if len(frame) == 0:
        raise NotYet("No trial of this run tells when it was asked for.")
    ended = (frame["start"] + frame["seconds"].clip(lower=0.0)).where(frame["state"] != "running")
    latest = max(float(ended.max()), float(frame["start"].max())) if len(ended.dropna()) else None
    latest = latest if latest is not None else float(frame["start"].max())
    if now is None:
        frame["state"] = frame["state"].replace("running", "left open")
    until = latest if now is None else max(now, latest)
    frame["end"] = ended.fillna(until)
    frame["took"] = [
        duration(end - start) for start, end in zip(frame["start"], frame["end"], strict=True)
    ]
    return frame.drop(columns="seconds").sort_values(["start", "trial"], kind="stable")


def _without_pauses(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Seconds from the first start, `from` and `to`, long pauses cut out; and where they were."""
    starts, ends = frame["start"].to_numpy(), frame["end"].to_numpy()
    busy_until = np.maximum.accumulate(ends)
    gaps = np.maximum(starts[1:] - busy_until[:-1], 0.0)
    busy = float(busy_until[-1] - starts[0] - gaps.sum())
    usual = gaps[gaps <= PAUSE_SECONDS].sum()
    long = gaps > max(PAUSE_SHARE * (busy + usual), PAUSE_SECONDS)
    cut = np.concatenate([[0.0], np.cumsum(np.where(long, gaps, 0.0))])
    placed = frame.assign(**{"from": starts - starts[0] - cut, "to": ends - starts[0] - cut})
    at = np.flatnonzero(long) + 1
    cuts = pd.DataFrame(
        {"at": placed["from"].to_numpy()[at], "pause": [duration(gap) for gap in gaps[long]]}
    )
    return placed, cuts


def _every(deepest: int) -> alt.Axis:
    """Labels of the lanes, few enough to be read."""
    step = -(-deepest // 12)
    return alt.Axis(values=[*range(1, deepest + 1, step)], ticks=False)


def _open(names: list[str]) -> str:
    if "running" in names:
        return " Bars that run end at now."
    return " Grey: left open, nobody told how it ended." if "left open" in names else ""
