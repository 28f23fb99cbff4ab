"""The head of the Run page: what it is, how it stands, and what can be done about it."""

import time
from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from apps.curves import measure
from apps.spec import BUDGET_UNITS
from apps.store import Store
from dashboards import actions
from dashboards.cards.marks import counted
from dashboards.data import buffer_of, row_of, the_object
from dashboards.parts import badge, calm, facts, refreshed
from dashboards.words import ago, duration, exact, number, plain


@calm
def headline(
    store: Store, run_id: str, every: int | None, drawn_state: str, noted: DeltaGenerator
) -> None:
    """State, numbers and buttons; and the notes, which are to be seen as soon as the state.

    Args:
        store: the open store.
        run_id: of the run or study by hand.
        every: seconds between refreshes of this part.
        drawn_state: the state that the rest of the page was drawn for.
        noted: the place of the notes, at the foot of the page.
    """
    run = the_object(store, run_id)
    row = row_of(store, run_id)
    now = time.time()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(_title(run), anchor=False, width="content")
        badge(run["state"], by_hand=run["problem"] is None)
    facts(_facts(run) | _clocks(run, None if row is None else row.heartbeat, now))
    if run.get("error"):
        st.error(plain(run["error"], 600), icon=":material/error:")
    if run["state"] == "queued":
        st.info("Waits for a free worker of the supervisor.", icon=":material/hourglass_empty:")
    if row is not None:
        actions.buttons(store, run)
    note = run["diagnostics"].get("note")
    news = None if row is None else buffer_of(store, run_id).newest
    refreshed(every, news, f"{plain(note, 600)}. " if note else "")
    with noted.container():
        actions.notes(store, None if row is None else run_id)
    if run["state"] != drawn_state:
        st.rerun()  # the rest of the page has another pace then


def _title(run: Mapping[str, Any]) -> str:
    if run["problem"] is None:
        return f"{plain(run['name'], 100)}: by hand with {plain(run['method'], 60)}"
    name = "" if run["name"] == run["run_id"] else f"{plain(run['name'], 100)}: "
    problem = plain(run["problem"], 100)
    return f"{name}{plain(run['method'], 60)} on {problem}, seed {run['seed']}"


def _facts(run: Mapping[str, Any]) -> dict[str, tuple[str, str | None]]:
    told: dict[str, tuple[str, str | None]] = {}
    metrics = run["metrics"]
    if run["kind"] == "bo":
        best = run["best"]
        goal = metrics.get("measure") or metrics.get("goal")
        name, direction = ("", "") if goal is None else measure(str(goal))
        if isinstance(best, list):
            told["Front"] = (counted(len(best), "trial"), "No other is better in every goal")
            best = None
            value = run["score"]
        else:
            value = None if best is None else best["values"].get(name)
        better = "lower" if direction == "minimize" else "higher"
        about = "No trial is complete yet, or none satisfies the constraints"
        if value is not None:
            about = f"Exactly {exact(value)}; {better} is better"
        where = "" if best is None else f", in trial {best['number']}"
        told[f"Best {plain(name, 40)}" if name else "Best"] = (number(value), about + where)
        failed = run["trials"]["failed"]
        if failed:
            told["Failed"] = (counted(failed, "trial"), "Reasons are in the card of failures")
    elif run["kind"] == "bandit":
        reward = metrics.get("reward")
        told["Reward"] = (number(reward), "Sum over the rounds so far; higher is better")
    else:
        kept = metrics.get("kept_evaluation")
        told["Best evaluation"] = (
            number(kept),
            "Mean return of 20 greedy episodes of the kept weights; higher is better",
        )
        told["Score"] = (
            number(run["score"]),
            "Of the kept weights on 20 episodes never seen, at the end of the run",
        )
    if run["regret"] is not None:
        cumulative = "sum over rounds" if run["kind"] == "bandit" else "distance from the optimum"
        about = f"Exactly {exact(run['regret'])}; {cumulative}; lower is better"
        told["Regret"] = (number(run["regret"]), about)
    return told


def _clocks(
    run: Mapping[str, Any], heartbeat: float | None, now: float
) -> dict[str, tuple[str, str | None]]:
    unit = BUDGET_UNITS[run["kind"]]
    budget = "" if run["budget"] is None else f" of {run['budget']:,}"
    told: dict[str, tuple[str, str | None]] = {
        unit.capitalize(): (f"{run['steps']:,}{budget}", "Done so far, of what was asked for"),
        "Time": (
            duration(run["seconds"]),
            f"While it ran, resumes included; {duration(run['cpu_seconds'])} of CPU",
        ),
    }
    if heartbeat is not None and run["state"] in ("running", "lost"):
        about = "A living run beats once a second; older than 10 s, it is lost"
        told["Heartbeat"] = (ago(heartbeat, now), about)
    return told
