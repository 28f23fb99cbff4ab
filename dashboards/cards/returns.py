"""Returns of an agent: while it explores, and when it acts greedily."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.curves import style
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.cards.records import Along, recorded, step_axis
from dashboards.data import RunData
from dashboards.theme import BEST, DATA
from dashboards.thin import thin
from dashboards.words import number

TRAINING, GREEDY = "while training", "greedy, 20 episodes"


def card(data: RunData, *, x: Along = "step") -> Card:
    """Mean return of recent episodes and greedy evaluations.

    Args:
        data: of an rl run.
        x: over environment steps or over CPU seconds.

    Raises:
        NotYet: no episode has ended yet.
    """
    columns = ["step", "cpu_seconds", "return", "evaluation", "kept_step", "kept_evaluation"]
    frame = recorded(data, columns)
    frame = frame[frame[x].notna()]
    if frame[["return", "evaluation"]].isna().all(axis=None):
        raise NotYet("No episode has ended yet.")
    lines: list[pd.DataFrame] = []
    for name, what in (("return", TRAINING), ("evaluation", GREEDY)):
        own = frame[["step", "cpu_seconds", name]].rename(columns={name: "value"})
        if name == "evaluation":  # it is repeated until the next one, which may be as good
            told = frame[["evaluation", "kept_step"]].fillna(-np.inf)
            own = own[told.ne(told.shift()).any(axis=1)]
        own = thin(own[own["value"].notna()], x, "value")
        lines.append(own.assign(what=what))
    long = pd.concat(lines)[[x, "what", "value"]]
    colours = [DATA, style("rl", data.run.get("method")).colour]
    title = "return (higher is better)"
    base = alt.Chart(long).encode(
        x=step_axis(data, x),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
        color=alt.Color(
            "what:N",
            title=None,
            scale=alt.Scale(domain=[TRAINING, GREEDY], range=colours),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            marks.tip("what", "return", "nominal"),
            marks.tip(x, x.replace("_", " ")),
            marks.tip("value", "value"),
        ],
    )
    training = base.transform_filter(f"datum.what == '{TRAINING}'").mark_line(strokeWidth=1.5)
    greedy = base.transform_filter(f"datum.what == '{GREEDY}'").mark_line(
        strokeWidth=2.5, point=alt.OverlayMarkDef(size=45)
    )
    layers: list[Any] = [training.add_params(marks.zoom("x", "y")), greedy]
    reading = "Mean return of the last 20 episodes while training, and of greedy evaluations."
    kept = frame.iloc[-1]
    told = ""
    if pd.notna(kept["kept_evaluation"]):
        told = f" The best weights so far, {number(float(kept['kept_evaluation']))}, are kept"
        if kept["kept_step"] >= frame["step"].iloc[0]:
            at = frame.loc[frame["step"] >= kept["kept_step"], x]
            spot = pd.DataFrame({x: [at.iloc[0]], "value": [kept["kept_evaluation"]]})
            layers.append(
                alt.Chart(spot)
                .mark_point(shape="diamond", size=170, filled=True, color=BEST, opacity=1)
                .encode(
                    x=step_axis(data, x),
                    y=alt.Y("value:Q"),
                    tooltip=[marks.tip("value", "weights kept: greedy return")],
                )
            )
            reading += f"{told} (diamond)."
        else:
            reading += f"{told}; they are from before what is drawn."
    score = _score(data)
    if score is not None:
        reading += f" Final score {score}, over 20 episodes of its own."
    shown = frame["return"].dropna()
    last = number(float(shown.iloc[-1])) if len(shown) else "none yet"
    return Card(
        title=f"Returns: {marks.name_of(data)}",
        reading=reading,
        alt=f"Return while training: last {last}.{told}{'.' if told else ''}",
        data=long.rename(columns={"what": "return", x: x.replace("_", " ")}),
        chart=layer(*layers, height=marks.HEIGHT),
    )


def _score(data: RunData) -> str | None:
    """The final score and twice its standard error, in words."""
    found = data.run.get("metrics") or {}
    score, error = found.get("score"), found.get("score_standard_error")
    if score is None:
        return None
    return number(float(score)) + ("" if error is None else f" ± {number(2 * float(error))}")
