"""Several goals against each other: the trials, and those that no other is better than."""

import itertools
from typing import Any

import altair as alt
import pandas as pd

from apps.curves import better, feasible, front, told
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import beside, layer
from dashboards.data import RunData
from dashboards.theme import BEST, DATA, FAILED

PAIRS = 6
PLACES = {"on the front": BEST, "beaten": DATA, "breaks a constraint": FAILED}


def card(data: RunData, *, of: RunData | None = None) -> Card:
    """A panel for each pair of goals.

    Args:
        data: of a bo run; its trials are drawn.
        of: the same run with all of its trials, where `data` has only some: what is drawn may be
            beaten by what is not.

    Raises:
        NotYet: one goal alone, or no trial with an outcome.
    """
    if data.goals is None:
        raise NotYet("The goals are not known yet: the run has not begun.")
    said = told(data.goals)
    if len(said.goals) < 2:
        raise NotYet("A front needs several goals; this run has one.")
    frame = placed(data if of is None else of)
    frame = frame[frame["trial"].isin(data.trials["number"])].reset_index(drop=True)
    if len(frame) == 0:
        raise NotYet("None of these trials has an outcome yet.")
    names = [name for name, _ in said.goals]
    pairs = list(itertools.combinations(said.goals, 2))
    panels = [
        _panel(frame, *pair, place, alone=len(pairs) == 1)
        for place, pair in enumerate(pairs[:PAIRS])
    ]
    best = int((frame["place"] == "on the front").sum())
    counts = f"{best} of {marks.counted(len(frame), 'trial')} are on the front"
    more = f" {PAIRS} of {len(pairs)} pairs of goals are drawn." if len(pairs) > PAIRS else ""
    line = " Line: what the front reaches." if len(said.goals) == 2 else ""
    return Card(
        title=f"Front: {marks.name_of(data)}",
        reading="Dots: trials. Green: no other trial is better in every goal; "
        f"{counts}.{line}{more}",
        alt=f"{' against '.join(names[:2])}: {counts}.",
        data=frame,
        chart=panels[0] if len(panels) == 1 else beside(*panels),
    )


def placed(data: RunData) -> pd.DataFrame:
    """Trials with outcomes: trial, place and the value of each goal. Raises `NotYet`: none."""
    assert data.goals is not None
    said = told(data.goals)
    rows = [
        {"number": int(number), "state": "complete"}
        | {f"value.{name}": value for name, value in outcomes.items()}
        for number, state, outcomes in zip(
            data.trials["number"], data.trials["state"], data.trials["outcomes"], strict=True
        )
        if state == "complete" and set(said.outcomes) <= set(outcomes)
    ]
    if not rows:
        raise NotYet("No trial has an outcome yet.")
    best = set(front(data.goals, rows))

    def place(row: dict[str, Any]) -> str:
        if row["number"] in best:
            return "on the front"
        values = {name: row[f"value.{name}"] for name in said.outcomes}
        return "beaten" if feasible(str(data.goals), values) else "breaks a constraint"

    return pd.DataFrame(
        {
            "trial": [row["number"] for row in rows],
            "place": [place(row) for row in rows],
            **{_column(name): [row[f"value.{name}"] for row in rows] for name, _ in said.goals},
        }
    )


def _column(goal: str) -> str:
    """A column of its own for every goal, whatever it is named."""
    return f"value.{goal}" if goal in ("trial", "place") else goal


def _panel(
    frame: pd.DataFrame,
    first: tuple[str, str],
    second: tuple[str, str],
    place: int,
    *,
    alone: bool,
) -> Any:
    (x, x_direction), (y, y_direction) = first, second
    own = frame[["trial", "place"]].assign(x=frame[_column(x)], y=frame[_column(y)])
    present = [name for name in PLACES if (own["place"] == name).any()]
    axes: dict[str, Any] = {
        "x": alt.X(
            "x:Q",
            title=f"{marks.shorten(x, 30)} ({better(x_direction)})",
            scale=alt.Scale(zero=False, padding=8),
        ),
        "y": alt.Y(
            "y:Q",
            title=f"{marks.shorten(y, 30)} ({better(y_direction)})",
            scale=alt.Scale(zero=False, padding=8),
        ),
    }
    dots = (
        alt.Chart(own)
        .mark_circle(size=60, opacity=0.85)
        .encode(
            **axes,
            color=alt.Color(
                "place:N",
                title=None,
                scale=alt.Scale(domain=present, range=[PLACES[name] for name in present]),
                legend=alt.Legend(orient="top", columns=0 if alone else 2),
            ),
            tooltip=[
                marks.tip("trial", "trial"),
                marks.tip("x", x),
                marks.tip("y", y),
                marks.tip("place", "place", "nominal"),
            ],
        )
        .add_params(marks.zoom("x", "y", panel=place))
    )
    if not alone:
        return dots.properties(height=marks.HEIGHT)
    # The best y that a trial reached with an x as good: that of the point before, or of the next.
    steps = "step-after" if x_direction == "minimize" else "step-before"
    best = own[own["place"] == "on the front"].sort_values("x")
    line = (
        alt.Chart(best)
        .mark_line(interpolate=steps, color=BEST, strokeWidth=2)
        .encode(x=axes["x"], y=axes["y"], order="x:Q")
    )
    return layer(line, dots, height=marks.HEIGHT)
