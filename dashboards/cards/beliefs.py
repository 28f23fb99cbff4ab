"""What the pictures of a belief share: the payload, the trials it knew, how near they are."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.card import NotYet
from dashboards.data import RunData

_LOG_RANGE = 12.0
_REACH = 0.25  # of the range of a parameter: at this distance a dot has lost most of its weight


def belief_of(data: RunData) -> Mapping[str, Any]:
    """The payload at the chosen step. Raises `NotYet` with what is missing."""
    if data.posterior is not None:
        return data.posterior
    finished = (
        int(data.trials["state"].isin(["complete", "failed"]).sum()) if len(data.trials) else 0
    )
    if data.posterior_steps:
        raise NotYet("No belief is kept at this step; choose another one.")
    if marks.by_hand(data):
        raise NotYet(
            "A study that is asked and told by hand keeps no belief; wald run and wald optimize"
            " keep theirs."
        )
    ended = data.run.get("state") in ("finished", "failed", "stopped", "interrupted")
    kept = "was kept" if ended else "is kept yet"
    raise NotYet(
        f"No belief {kept}: {marks.counted(finished, 'trial')} done. A model-based method"
        " draws its initial design first and believes something after that; random, sobol and ax"
        " keep no belief."
    )


def light_of(belief: Mapping[str, Any]) -> tuple[str, str] | None:
    """Whether the draws behind a belief can be trusted, and why; None where it has no draws."""
    told = belief.get("hyperparameters")
    if not told:
        return None
    return str(told.get("light")), " ".join(str(word) for word in told.get("words") or [])


def known_trials(data: RunData, belief: Mapping[str, Any]) -> pd.DataFrame:
    """The trials with a value from before the point that this belief chose."""
    if len(data.trials) == 0:
        return pd.DataFrame({"trial": [], "value": []})
    frame = data.trials.assign(
        trial=marks.numbers(data.trials["number"]), value=marks.numbers(data.trials["value"])
    )
    frame = frame[(frame["state"] == "complete") & frame["value"].notna()]
    before = belief["next"].get("number")
    if before is not None:
        return frame[frame["trial"] < before]
    return frame.head(int(belief.get("data") or len(frame)))


def nearness(
    data: RunData, trials: pd.DataFrame, point: Mapping[str, Any], free: Collection[str]
) -> np.ndarray:
    """How near each trial is to the slice through a point, in (0, 1]; 1 lies on it.

    Distances are Euclidean over the parameters that the slice holds fixed, each over its range
    (log where it is so); another level of a choice is one range away.
    """
    squared = np.zeros(len(trials))
    for name, value in point.items():
        table = data.parameters.get(name)
        if name in free or table is None or f"p.{name}" not in trials:
            continue
        own = trials[f"p.{name}"]
        if marks.scale_of(table) == "levels":
            squared += np.array([marks.level(each) != marks.level(value) for each in own])
            continue
        unit = np.array([_unit(each, table) for each in own]) - _unit(value, table)
        squared += np.nan_to_num(unit, nan=1.0) ** 2
    return np.exp(-squared / (2 * _REACH**2))


def _unit(value: Any, table: Mapping[str, Any]) -> float:
    """Where in its range a number lies."""
    try:
        ends = [float(table["low"]), float(table["high"]), float(value)]
        low, high, at = [math.log(end) for end in ends] if table.get("log") else ends
        return (at - low) / (high - low)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return math.nan


def wanted_ends(belief: Mapping[str, Any], values: "pd.Series[float]") -> tuple[list[float], bool]:
    """From where to where the acquisition is drawn, and whether its lowest values are cut off.

    The logarithm of an expected improvement falls without bound where nothing is to be gained;
    12 below the top is a millionth of it, and all that lies lower is drawn there.
    """
    found = values.dropna()
    if len(found) == 0:
        return [0.0, 1.0], False
    low, high = float(found.min()), float(found.max())
    floor = high - _LOG_RANGE if str(belief.get("acquisition", "")).startswith("log") else low
    return ([floor, high], True) if low < floor else (spread(low, high), False)


def spread(low: float, high: float) -> list[float]:
    """The ends of a scale, which must differ."""
    if high > low:
        return [low, high]
    margin = abs(low) * 0.05 or 0.5
    return [low - margin, high + margin]
