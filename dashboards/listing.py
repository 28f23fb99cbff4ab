"""The overview's table: which runs are kept, and what stands in its cells."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboards.words import NOTHING, ago, duration

GOING_ON = ("running", "queued")
Item = Mapping[str, Any]
NAME, PROBLEM, METHOD = 22, 13, 12  # characters that the columns of the overview hold


def keep(
    items: Sequence[Item], *, kinds: Sequence[str], states: Sequence[str], text: str, top: int
) -> list[Item]:
    """The runs that pass all filters; runs that go on are never lost to `top`.

    Args:
        items: rows of `data.overview`.
        kinds: kinds to keep; none keeps all.
        states: states to keep; none keeps all.
        text: words that must all occur in id, name, problem or method.
        top: how many of the best scores of each problem to keep; 0 keeps all.
    """
    words = text.casefold().split()
    found = [
        item
        for item in items
        if (not kinds or item["kind"] in kinds)
        and (not states or item["state"] in states)
        and all(word in _words(item) for word in words)
    ]
    if top < 1:
        return found
    best: set[str] = set()
    for group in {(item["kind"], item["problem"]) for item in found}:
        scored = [
            item
            for item in found
            if (item["kind"], item["problem"]) == group and item["score"] is not None
        ]
        scored.sort(key=lambda item: -item["score"])
        best |= {item["run_id"] for item in scored[:top]}
    return [item for item in found if item["run_id"] in best or item["state"] in GOING_ON]


def table(items: Sequence[Item], now: float) -> pd.DataFrame:
    """One row a run, ready to be shown."""
    return pd.DataFrame(
        {
            "open": ["Open"] * len(items),
            "state": [[item["state"]] for item in items],
            "name": [fit(item["name"], NAME) for item in items],
            "kind": [item["kind"] for item in items],
            "problem": [fit(item["problem"] or "by hand", PROBLEM) for item in items],
            "method": [fit(item["method"], METHOD) for item in items],
            "seed": [str(item["seed"]) for item in items],
            "best": pd.Series([_best(item) for item in items], dtype="float64"),
            "regret": pd.Series([item["regret"] for item in items], dtype="float64"),
            "steps": [_steps(item) for item in items],
            "spark": [[v for v in item["spark"] if v is not None] for item in items],
            "last": [_last(item, now) for item in items],
            "seconds": [duration(item["seconds"]) for item in items],
        }
    )


def fit(text: str, most: int) -> str:
    """Text without its middle where it is too long: names of runs differ at their ends."""
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def _best(item: Item) -> float | None:
    """Of an agent its score; of a bandit nothing, as the regret says it."""
    return item["best"] if item["kind"] != "rl" else item["score"]


def _steps(item: Item) -> str:
    done = _count(item["steps"])
    return done if item["budget"] is None else f"{done} / {_count(item['budget'])}"


def _count(steps: int) -> str:
    return f"{steps:,}" if steps < 10_000 else f"{steps / 1000:,.0f}k"


def _last(item: Item, now: float) -> str:
    return NOTHING if item["last"] is None else ago(item["last"], now)


def _words(item: Item) -> str:
    told = (item["run_id"], item["name"], item["problem"], item["method"])
    return " ".join(str(word) for word in told if word).casefold()
