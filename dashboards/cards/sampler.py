"""Whether the draws of the hyperparameters can be trusted: what the sampler says of itself."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dashboards.cards import marks
from dashboards.cards.beliefs import belief_of, light_of
from dashboards.cards.card import Card, NotYet
from dashboards.cards.draws import named, record_of
from dashboards.data import RunData
from dashboards.words import number

KNOWN = {
    "rhat_max": ("R-hat, the largest", "at most 1.05"),
    "ess_min": ("independent draws they are worth, at least", "at least 100"),
    "mcse_sd_max": ("error of a standard deviation, as a share of it, the largest", "at most 0.2"),
    "divergences": ("divergences", "none"),
    "ebfmi_min": ("E-BFMI, the smallest of a chain", "at least 0.3"),
    "khat": ("k-hat", "at most 0.7"),
    "ess": ("independent draws they are worth", ""),
    "ancestors": ("particles that have descendants", ""),
    "drift": ("drift of the moments, in standard errors", "at most 5"),
    "correlation": ("correlation with the start of a stage", "about 0.1 or less"),
    "accept": ("acceptance, mean", ""),
    "stages": ("stages", ""),
    "moved": ("stages that moved the particles", ""),
    "log_normaliser": ("log evidence", ""),
    "elbo": ("evidence lower bound", ""),
    "iterations": ("iterations", ""),
    "draws": ("draws per chain", ""),
    "kept": ("draws that predict", ""),
    "converged": ("has reached what it wanted", "yes"),
}


def card(data: RunData) -> Card:
    """The diagnostics of the latest fit as a table, with what is good.

    Raises:
        NotYet: no belief yet, one without draws, or a fit that told nothing.
    """
    told = record_of(data)
    numbers: Mapping[str, Any] = (data.diagnostic or {}).get("numbers") or {}
    rows = [
        {"quantity": words, "value": _told(numbers[name]), "good": good}
        for name, (words, good) in KNOWN.items()
        if numbers.get(name) is not None
    ]
    for row in rows:
        if row["good"] == "yes":
            row["value"] = "yes" if row["value"] == "1" else "no"
    for name, each in zip(named(told["draws"]), told["draws"], strict=True):
        if each.get("rhat") is not None:
            row = {"quantity": f"R-hat of {name}", "value": number(each["rhat"])}
            rows.append(row | {"good": f"worth {_told(each.get('ess'))} draws"})
    if not rows:
        raise NotYet("The fit of this belief told nothing about its draws.")
    return Card(
        title=f"Trust in the draws: {marks.name_of(data)}",
        reading=_reading(told, numbers),
        alt=f"{len(rows)} diagnostics: "
        + "; ".join(f"{row['quantity']} {row['value']}" for row in rows[:4])
        + ".",
        data=pd.DataFrame(rows),
        chart=None,
        light=light_of(belief_of(data)),
    )


def _told(value: Any) -> str:
    """A number; one of many digits, or a count, as a whole."""
    whole = isinstance(value, float) and (abs(value) >= 100 or value.is_integer())
    return number(round(value) if whole else value)


def _reading(told: Mapping[str, Any], numbers: Mapping[str, Any]) -> str:
    if told.get("traces"):
        return (
            f"{told['chains']} chains walk from different places. R-hat near 1: all have found the"
            " same; draws of a chain resemble each other, so they count for fewer."
        )
    if "stages" in numbers:
        return (
            "Particles are carried from one belief to the next: each new outcome changes their"
            " weights, and where few are left that count, they are drawn anew and move."
        )
    return (
        "An approximation, so there are no chains. k-hat compares it with the exact density: up to"
        " 0.7 its draws can stand for exact ones, above it they miss a part of what is plausible."
    )
