"""What a bandit believes about its arms."""

import altair as alt
import pandas as pd

from apps.curves import style
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.cards.records import per_arm
from dashboards.data import RunData
from dashboards.words import number

MOST = 25


def card(data: RunData) -> Card:
    """Expected reward of each arm, with its 95 % interval or two standard deviations either way.

    Raises:
        NotYet: the policy reports no posterior.
    """
    if not {"posterior_mean", "posterior_std"} <= set(data.steps.columns):
        raise NotYet(f"The policy {data.run.get('method')} reports no belief about its arms.")
    frame = per_arm(data, "posterior_mean")
    step = frame["step"].max()
    frame = frame[frame["step"] == step].merge(per_arm(data, "posterior_std"), on=["step", "arm"])
    ends = [name for name in ("posterior_low", "posterior_high") if name in data.steps]
    for name in [*ends, *(["pulls"] if "pulls" in data.steps else [])]:
        frame = frame.merge(per_arm(data, name), on=["step", "arm"], how="left")
    frame = frame.dropna(subset=["posterior_mean", "posterior_std"])
    if len(frame) == 0:
        raise NotYet("The policy's belief about its arms has no numbers yet.")
    exact = len(ends) == 2
    if exact:
        frame = frame.rename(columns={"posterior_low": "low", "posterior_high": "high"})
    else:
        half = 2 * frame["posterior_std"]
        frame = frame.assign(
            low=frame["posterior_mean"] - half, high=frame["posterior_mean"] + half
        )
    frame = frame.assign(arm=[f"arm {arm}" for arm in frame["arm"]])
    frame = frame.rename(columns={"posterior_mean": "mean", "posterior_std": "std"})
    arms = len(frame)
    ranked = frame.sort_values("mean", ascending=False, kind="stable")
    shown = frame[frame["arm"].isin(ranked["arm"].head(MOST))]
    colour = style("bandit", data.run.get("method")).colour
    told = [marks.tip("arm", "arm", "nominal"), marks.tip("mean", "expected reward")]
    told += [
        marks.tip("low", "lower end" if exact else "2 sd below"),
        marks.tip("high", "upper end" if exact else "2 sd above"),
    ]
    if "pulls" in shown:
        told.append(marks.tip("pulls", "pulls"))
    base = alt.Chart(shown).encode(
        y=alt.Y("arm:N", title=None, sort=shown["arm"].to_list()), tooltip=told
    )
    x_title = "expected reward (higher is better)"
    bars = base.mark_rule(color=colour, strokeWidth=3, opacity=0.5).encode(
        x=alt.X("low:Q", title=x_title, scale=alt.Scale(zero=False, padding=10)),
        x2=alt.X2("high:Q"),
    )
    points = base.mark_point(color=colour, filled=True, size=80, opacity=1).encode(
        x=alt.X("mean:Q", title=x_title)
    )
    best = ranked.iloc[0]
    spread = f"{number(float(best['mean']))} ± {number(2 * float(best['std']))}"
    bars_are = "its 95 % interval" if exact else "two standard deviations either way"
    more = f" The {MOST} best of {arms} arms are drawn." if arms > MOST else ""
    return Card(
        title=f"Belief about the arms: {marks.name_of(data)}",
        reading=f"Expected reward of each arm after {step:,.0f} rounds, with {bars_are}."
        f" Bars that overlap are not told apart yet.{more}",
        alt=f"{best['arm']} is expected to pay most, {spread}, of {marks.counted(arms, 'arm')}.",
        data=pd.DataFrame(shown.drop(columns="step")),
        chart=layer(bars, points, height=max(24 * len(shown), 100)),
    )
