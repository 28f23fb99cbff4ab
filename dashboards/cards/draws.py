"""What the pictures of drawn hyperparameters share: their names, values and spread."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.beliefs import belief_of
from dashboards.cards.card import NotYet
from dashboards.data import RunData
from dashboards.words import number

KINDS = {
    "lengthscale": "length-scale",
    "signal_var": "signal variance",
    "noise_var": "noise variance",
    "log_density": "log density",
}


class Drawn(NamedTuple):
    """One hyperparameter.

    Attributes:
        name: in words.
        values: above 0, one a draw.
        prior_at: places, on the same scale as `values`.
        prior: density there, per decade.
        told: all that is kept of it.
    """

    name: str
    values: np.ndarray
    prior_at: np.ndarray
    prior: np.ndarray
    told: Mapping[str, Any]


def record_of(data: RunData) -> Mapping[str, Any]:
    """What a belief keeps of its hyperparameters. Raises `NotYet`: it has no draws of them."""
    told = belief_of(data).get("hyperparameters")
    if not told:
        raise NotYet("This belief holds no draws of hyperparameters: its model has one value each.")
    return told


def drawn_of(data: RunData) -> list[Drawn]:
    """The hyperparameters that are kept. Raises `NotYet`."""
    found: list[Drawn] = []
    told = record_of(data)["draws"]
    for name, each in zip(named(told), told, strict=True):
        values = marks.numbers(pd.Series(each["values"], dtype=object)).to_numpy()
        prior = each["prior"]
        at = np.linspace(prior["from"], prior["to"], len(prior["density"]))
        density = marks.numbers(pd.Series(prior["density"], dtype=object)).fillna(0.0).to_numpy()
        found.append(Drawn(name, np.where(values > 0, values, np.nan), 10.0**at, density, each))
    found = [each for each in found if np.isfinite(each.values).any()]
    if not found:
        raise NotYet("None of the draws of the hyperparameters is a number.")
    return found


def named(told: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names that fit beside a picture, each another."""
    return marks.distinct((name_of(each) for each in told), 36)


def name_of(told: Mapping[str, Any]) -> str:
    """What a hyperparameter is, in words."""
    kind = KINDS.get(str(told["what"]), str(told["what"]).replace("_", " "))
    return kind if told.get("parameter") is None else f"{kind} of {told['parameter']}"


def spread_of(values: np.ndarray) -> tuple[float, float, float, float, float]:
    """Quantiles at 5, 25, 50, 75 and 95 %."""
    low, quarter, middle, three, high = np.nanquantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    return float(low), float(quarter), float(middle), float(three), float(high)


def in_words(each: Drawn) -> str:
    """Name, median and middle 90 %."""
    low, _, middle, _, high = spread_of(each.values)
    return f"{each.name} {number(middle)} ({number(low)} to {number(high)})"
