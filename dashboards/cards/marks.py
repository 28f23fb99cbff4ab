"""What the pictures share: zoom, tooltips, labelled axes, numbers out of frames."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.curves import better
from dashboards.cards.card import NotYet
from dashboards.data import RunData

HEIGHT = 260
SIGNIFICANT = ",.3~r"  # three significant digits


def name_of(data: RunData) -> str:
    """The run in words, for titles."""
    run = data.run
    seed = "" if run.get("seed") is None else f", seed {run['seed']}"
    return f"{run.get('method')} on {run.get('problem') or run.get('run_id')}{seed}"


def by_hand(data: RunData) -> bool:
    """Whether a person or a program asks and tells, and no run drives the study."""
    return data.run.get("problem") is None


def goal_of(data: RunData) -> tuple[str, str]:
    """Name and direction of the goal. Raises `NotYet` where the study has none yet."""
    if data.goal is None:
        raise NotYet("The goal is not known yet: the run has not begun.")
    return data.goal


def goal_title(data: RunData) -> str:
    """The title of an axis of values."""
    name, direction = goal_of(data)
    return f"{shorten(name, 40)} ({better(direction)})"


def done(data: RunData) -> pd.DataFrame:
    """Finished trials: trial, state, value, best, regret, reason. Raises `NotYet`: there are none.

    What has no finite number is NaN; what has no reason, "".
    """
    trials = data.trials
    if len(trials) == 0:
        raise NotYet("No trial is finished yet.")
    frame = pd.DataFrame({"trial": numbers(trials["number"]), "state": trials["state"].astype(str)})
    for name in ("value", "best", "regret"):
        frame[name] = numbers(trials[name]) if name in trials else np.nan
    reasons = trials["reason"].astype(object) if "reason" in trials else [""] * len(frame)
    frame["reason"] = [str(reason) if isinstance(reason, str) else "" for reason in reasons]
    frame = frame[frame["state"].isin(["complete", "failed"])]
    if len(frame) == 0:
        raise NotYet(f"No trial is finished yet; {len(trials)} under way.")
    return frame.sort_values("trial", kind="stable").reset_index(drop=True)


def measured(data: RunData) -> pd.DataFrame:
    """The finished trials with a value. Raises `NotYet`: there are none."""
    frame = done(data)
    found = frame[(frame["state"] == "complete") & frame["value"].notna()]
    if len(found) == 0:
        raise NotYet(f"No trial has a value yet: {len(frame)} ended without one.")
    return found


def numbers(column: "pd.Series[Any]") -> "pd.Series[float]":
    """A column as floats; what is no finite number is NaN."""
    found = pd.to_numeric(column, errors="coerce").astype("float64")
    return found.where(np.isfinite(found))


def zoom(*channels: str, panel: int = 0) -> alt.Parameter:
    """Moves and zooms the axes by hand; named, so that unchanged data keeps what was chosen.

    Panels beside each other have names of their own: in one picture Vega takes none twice.
    """
    return alt.selection_interval(
        name=f"zoom{panel or ''}",
        bind="scales",
        encodings=list(channels or ("x", "y")),  # pyright: ignore
        zoom="wheel![event.shiftKey]",
    )


def tip(field: str, title: str, kind: str = "quantitative") -> alt.Tooltip:
    """A line of a tooltip."""
    if kind == "quantitative":
        return alt.Tooltip(field=field, type="quantitative", title=title, format=SIGNIFICANT)
    return alt.Tooltip(field=field, type="nominal", title=title)


def trial_axis(title: str = "trial number") -> alt.X:
    """Trials along x."""
    return alt.X(
        "trial:Q",
        title=title,
        axis=alt.Axis(format="d", tickMinStep=1),
        scale=alt.Scale(nice=False, padding=8),
    )


def scale_of(parameter: Mapping[str, Any] | None) -> str:
    """Whether a parameter is drawn on a `linear` or a `log` scale, or by `levels`."""
    kind = None if parameter is None else parameter.get("type")
    if kind in ("choice", "ordinal", "boolean", "fixed"):
        return "levels"
    return "log" if parameter is not None and parameter.get("log") else "linear"


def level(value: Any) -> str:
    """A level of a discrete parameter as text."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def levels(parameter: Mapping[str, Any], shown: Sequence[Any]) -> list[str]:
    """The levels of a discrete parameter in their order; those that are shown, if it tells none."""
    values = parameter.get("values")
    known = list(values) if values else [False, True] if parameter.get("type") == "boolean" else []
    return list(dict.fromkeys(level(value) for value in [*known, *shown]))


def shorten(text: Any, most: int) -> str:
    """Text that fits beside a picture."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def distinct(texts: Iterable[Any], most: int) -> list[str]:
    """Texts that fit beside a picture, each another: where two would be alike they are numbered."""
    found: list[str] = []
    for text in texts:
        short, number_ = shorten(text, most), 1
        while short in found:
            number_ += 1
            short = f"{shorten(text, most - 5)} ({number_})"
        found.append(short)
    return found


def counted(count: int, what: str) -> str:
    """ "1 trial", "2 trials"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
