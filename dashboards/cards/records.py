"""What the pictures of bandits and agents share: columns of records, and their axis."""

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from apps.curves import X_LABELS
from dashboards.cards import marks
from dashboards.cards.card import NotYet
from dashboards.data import RunData

Along = Literal["step", "cpu_seconds"]


def recorded(data: RunData, columns: Sequence[str]) -> pd.DataFrame:
    """Columns as floats, in order of steps; what was not recorded is NaN.

    Raises:
        NotYet: nothing is recorded yet.
    """
    steps = data.steps
    if len(steps) == 0:
        raise NotYet("Nothing is recorded yet.")
    frame = pd.DataFrame(
        {
            name: marks.numbers(steps[name]) if name in steps else np.nan
            for name in dict.fromkeys(columns)
        },
        index=steps.index,
    )
    return frame.reset_index(drop=True)


def step_axis(data: RunData, x: Along = "step") -> alt.X:
    """Rounds, environment steps or CPU seconds along x."""
    title = "CPU seconds" if x == "cpu_seconds" else X_LABELS[data.run["kind"]]
    return alt.X(f"{x}:Q", title=title, scale=alt.Scale(nice=False))


def per_arm(data: RunData, name: str, *, most: int = 1) -> pd.DataFrame:
    """A metric that is a list with one number per arm: columns step, arm, and the metric.

    Args:
        data: the run.
        name: of the metric.
        most: how many records, evenly spaced, the latest always among them.

    Raises:
        NotYet: nothing of the kind is recorded.
    """
    rows: list[dict[str, Any]] = []
    if name in data.steps:
        listed = data.steps[[isinstance(values, list) for values in data.steps[name]]]
        if len(listed) > most:
            spread = np.linspace(len(listed) - 1, 0, most).round().astype(int)
            listed = listed.iloc[np.unique(spread)]
        for step, values in zip(listed["step"], listed[name], strict=True):
            rows += [{"step": step, "arm": a, name: value} for a, value in enumerate(values)]
    if not rows:
        raise NotYet(f"The policy has reported no {name.replace('_', ' ')} per arm yet.")
    frame = pd.DataFrame(rows)
    frame[name] = marks.numbers(frame[name])
    return frame
