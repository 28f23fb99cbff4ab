"""What pages read: the store, and one shared, bounded buffer per run, tailed by sequence number.

A buffer belongs to the server and not to a session, so memory grows with the runs that are shown
and not with their viewers. The big payloads (beliefs, diagnostics) are fetched by step, only when
they are shown. No score is computed here: best and regret come with the events.
"""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pandas as pd
import streamlit as st

from apps.curves import run_curve, told
from apps.schema import RunRow
from apps.spec import DEFAULT_STORE
from apps.store import Store, UsageError, current_state
from apps.summary import find_object, run_object, study_object
from dashboards.buffer import Buffer

MOST_BUFFERS = 128


@dataclass(frozen=True)
class RunData:
    """One run as a card sees it; nothing in it changes.

    Attributes:
        run: the object of `wald show --json`.
        goal: name and direction (`minimize`, `maximize`) of what is optimised, of several goals
            the hypervolume; None but for bo.
        goals: all goals, outcome constraints and the reference point, as a text.
        parameters: bo: per parameter its `type`, and `low`, `high`, `log` or `values`.
        trials: bo: one row a trial: number, state, value, outcomes (a mapping), best, regret,
            predicted_mean, predicted_std, predicted_quantiles (a list, of a mixture), reason,
            ask_cpu_seconds, seconds, started (a time), and `p.NAME` per parameter.
        steps: bandit, rl: one row a record: step, time, cpu_seconds and the metrics (a metric per
            arm is a list).
        posterior_steps: numbers of the trials whose belief is kept.
        posterior: the belief at the chosen step.
        diagnostic: the model's health at the chosen step.
        records: bandit, rl: how many there are; of very many, `steps` holds only some.
        version: equal for equal content, so that a picture is made once for all who look.
    """

    run: Mapping[str, Any]
    goal: tuple[str, str] | None
    parameters: Mapping[str, Mapping[str, Any]]
    trials: pd.DataFrame
    steps: pd.DataFrame
    posterior_steps: list[int]
    posterior: Mapping[str, Any] | None
    diagnostic: Mapping[str, Any] | None
    version: tuple[Any, ...] | None = None
    records: int = 0
    goals: str | None = None


class Mark(NamedTuple):
    """Where a paused page stands: the latest event and the latest belief that it shows."""

    seq: int
    belief: int


def store_url() -> str:
    """The store of this server, from the environment."""
    return os.environ.get("WALD_STORE") or DEFAULT_STORE


def open_store() -> Store:
    """The store, opened once per file. Raises `StoreError`: absent, damaged, another version."""
    url = store_url()
    return _opened(url, _identity(url))


@st.cache_resource(max_entries=4, show_spinner=False)
def _opened(url: str, identity: tuple[int, int]) -> Store:
    del identity  # another file under the same name is another store
    return Store.open(url, create=False)


def _identity(url: str) -> tuple[int, int]:
    """What tells a file from the one that took its place; nothing where the store is no file."""
    parts = urlsplit(url)
    try:
        found = os.stat(parts.path[1:] if parts.scheme.startswith("sqlite") else url)
    except (OSError, ValueError):
        return 0, 0
    return found.st_dev, found.st_ino


def the_object(store: Store, run_id: str) -> dict[str, Any]:
    """The object of a run or of a study by hand. Raises `UsageError` where there is none."""
    try:
        return run_object(store, store.run(run_id))
    except UsageError:
        return find_object(store, run_id)


# The buffers, one a run


@st.cache_resource(max_entries=MOST_BUFFERS, ttl="12h", show_spinner=False)
def _buffer(
    url: str, identity: tuple[int, int], run_id: str, study: str | None, by_hand: bool
) -> Buffer:
    del url, identity
    return Buffer(open_store(), run_id, study, by_hand=by_hand)


def buffer_of(store: Store, run_id: str) -> Buffer:
    """The shared buffer of a run or of a study by hand, up to date.

    Raises:
        UsageError: there is neither.
    """
    row = row_of(store, run_id)
    if row is None:
        found = find_object(store, run_id)["run_id"]
        study, by_hand = found, True
    else:
        found, study, by_hand = row.run_id, row.study, False
    buffer = _buffer(store.url, _identity(store.url), found, study, by_hand)
    buffer.refresh()
    return buffer


def row_of(store: Store, run_id: str) -> RunRow | None:
    """The row of a run, or None for a study by hand and for a name that nobody has."""
    try:
        return store.run(run_id)
    except UsageError:
        return None


def mark_of(store: Store, run_id: str) -> Mark:
    """Where the run stands now."""
    buffer = buffer_of(store, run_id)
    beliefs = [] if buffer.by_hand else store.steps_of(buffer.run_id, "posterior")
    return Mark(buffer.seq, beliefs[-1] if beliefs else -1)


def load(
    store: Store,
    run_id: str,
    *,
    mark: Mark | None = None,
    step: int | None = None,
    beliefs: bool = True,
) -> RunData:
    """One run for the cards.

    Args:
        store: the open store.
        run_id: id or name of a run, or of a study by hand.
        mark: as of then; None for now.
        step: whose belief to show; the newest where None or not kept.
        beliefs: whether to read beliefs and diagnostics at all.

    Raises:
        UsageError: no such run.
    """
    buffer = buffer_of(store, run_id)
    run = the_object(store, run_id)
    upto = None if mark is None else mark.seq
    kept: list[int] = []
    posterior = diagnostic = at = None
    if beliefs and run["kind"] == "bo" and not buffer.by_hand:
        kept = store.steps_of(buffer.run_id, "posterior")
        if mark is not None:
            kept = [number for number in kept if number <= mark.belief]
        if kept:
            at = step if step in kept else kept[-1]
            posterior = _payload(store, buffer.run_id, "posterior", at)
            diagnostic = _payload(store, buffer.run_id, "diagnostic", at)
    return RunData(
        run=run,
        goal=buffer.goal,
        goals=buffer.goals,
        parameters=buffer.parameters,
        trials=buffer.trials(upto),
        steps=buffer.steps(upto),
        posterior_steps=kept,
        posterior=posterior,
        diagnostic=diagnostic,
        records=buffer.records,
        version=(run_id, upto, *buffer.version, at, run["state"], run["steps"]),
    )


def _payload(store: Store, run_id: str, kind: str, step: int) -> Mapping[str, Any] | None:
    """The first of that step: those of other axes are drawn later."""
    found = store.events_at(run_id, kind, step)
    return found[0].payload if found else None


def over(store: Store, data: RunData, axes: Collection[str]) -> RunData | None:
    """The same belief with a map of other axes; None where none is drawn yet."""
    assert data.posterior is not None
    run_id, step = data.run["run_id"], data.posterior["next"]["number"]
    for event in store.events_at(run_id, "posterior", step):
        found = event.payload.get("map") or {}
        if {found.get("x"), found.get("y")} == set(axes):
            version = None if data.version is None else (*data.version, *axes)
            return replace(data, posterior=event.payload, version=version)
    return None


# Lists of runs


def overview(store: Store) -> list[dict[str, Any]]:
    """Every run and every study by hand, newest first, from one query and one per study by hand."""
    now = time.time()
    rows = store.runs()
    found = [_listed(row, now) for row in rows]
    driven = {row.study for row in rows}
    for name, *_ in store.studies():
        if name not in driven:
            study = store.study(name)
            revision = 0 if study is None else study["revision"]
            found.append(_by_hand(store.url, _identity(store.url), name, revision))
    return sorted(found, key=lambda item: -item["created"])


def _listed(row: RunRow, now: float) -> dict[str, Any]:
    progress = row.progress or row.summary
    best = progress.get("best")
    if isinstance(best, Mapping):  # a summary holds the whole incumbent
        values = list(best["values"].values())
        best = values[0] if values else None
    state = current_state(row, now=now)
    alive = state == "running"
    last = row.heartbeat if alive else row.finished or row.heartbeat
    return {
        "run_id": row.run_id,
        "name": row.name,
        "kind": row.kind,
        "problem": row.spec.problem,
        "method": row.spec.method,
        "seed": row.spec.seed,
        "state": state,
        "steps": progress.get("steps", 0),
        "budget": row.spec.budget,
        "score": progress.get("score"),
        "best": best,
        "regret": progress.get("regret"),
        "spark": progress.get("spark") or [],
        "seconds": row.seconds,
        "last": row.queued if state == "queued" else last,
        "created": row.created,
        "by_hand": False,
    }


@st.cache_data(max_entries=256, show_spinner=False)
def _by_hand(url: str, identity: tuple[int, int], name: str, revision: int) -> dict[str, Any]:
    del url, identity, revision
    store = open_store()
    item = study_object(store, name)
    trials = store.trials_since(name, -1)
    told = [
        {"number": t.number, "state": t.state} | {f"value.{n}": v for n, v in t.values.items()}
        for t in trials
    ]
    readable = "goal" in item["metrics"]  # the overview goes on with the others
    curve = run_curve(item, told)[1] if readable else []
    moments = [m for t in trials for m in (t.started, t.finished) if m is not None]
    return {
        **{key: item[key] for key in ("run_id", "name", "kind", "problem", "method", "seed")},
        "state": item["state"],
        "steps": item["steps"],
        "budget": None,
        "score": item["score"],
        "best": curve[-1] if curve else None,
        "regret": item["regret"],
        "spark": curve[-40:],
        "seconds": item["seconds"],
        "last": max(moments, default=item["created"]),
        "created": item["created"],
        "by_hand": True,
    }


def busy(items: Sequence[Mapping[str, Any]]) -> bool:
    """Whether anything of this list can still change by itself."""
    return any(item["state"] in ("running", "queued") for item in items)


def pace(size: int) -> int:
    """Seconds between refreshes of a run that goes on, by the number of its events."""
    return 1 if size < 500 else 2 if size < 5000 else 5


def of_the_first_goal(data: RunData) -> RunData:
    """With the values of the first of several goals, which beliefs are of, for the hypervolume."""
    if data.goals is None or len(goals := told(data.goals).goals) == 1:
        return data
    name = goals[0][0]
    values = pd.Series(
        [(each or {}).get(name) for each in data.trials["outcomes"]], index=data.trials.index
    )
    return replace(data, goal=goals[0], trials=data.trials.assign(value=values))
