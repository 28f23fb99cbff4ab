"""Is everything well: supervisor, workers, queue and store, each with a line of explanation."""

import time
from typing import Any

import pandas as pd
import streamlit as st

from apps.store import Store, current_state
from dashboards import commands
from dashboards.data import open_store
from dashboards.parts import calm, commanded, facts, refreshed
from dashboards.words import NOTHING, ago, duration, plain, size


def show() -> None:
    """All of it in one fragment."""
    st.header("Health", anchor=False)
    st.fragment(_health, run_every=2)()


@calm
def _health() -> None:
    store = open_store()
    now = time.time()
    _supervisor(store, now)
    _workers(store, now)
    _store(store)
    refreshed(2, None)


def _supervisor(store: Store, now: float) -> None:
    st.subheader("Supervisor", anchor=False)
    st.caption("Starts queued runs, one process each, and watches their heartbeats.")
    row = store.supervisor()
    if row is None or not row["alive"]:
        gone = "" if row is None else f" The last one was heard {ago(row['heartbeat'], now)}."
        st.warning(f"None is alive, so queued runs wait.{gone}", icon=":material/warning:")
        commanded(commands.up(store.url), "Start one:")
        return
    facts(
        {
            "State": ("alive", "Its heartbeat is younger than 10 s"),
            "Heartbeat": (ago(row["heartbeat"], now), "Beats about once a second"),
            "Running since": (ago(row["started"], now), "When this supervisor started"),
            "Workers": (str(row["workers"]), "How many runs may go on at once"),
            "GPU": ("yes" if row["cuda"] else "no", "Whether the supervisor sees a CUDA device"),
            "Process": (str(row["owner"]), "Host and process number"),
        }
    )
    st.caption(f"Page: {plain(row['url'])}")


def _workers(store: Store, now: float) -> None:
    st.subheader("Workers and queue", anchor=False)
    st.caption(
        "A run whose heartbeat is older than 10 s, or whose process is gone, is lost: "
        "resume it on its page."
    )
    rows = store.runs()
    stops = store.open_requests("stop")
    busy: list[dict[str, Any]] = []
    for row in rows:
        state = current_state(row, now=now)
        if state not in ("running", "queued", "lost"):
            continue
        busy.append(
            {
                "state": state,
                "run": row.name,
                "what": f"{row.spec.method} on {row.spec.problem}",
                "heartbeat": ago(row.heartbeat, now) if row.heartbeat else NOTHING,
                "queued": ago(row.queued, now) if state == "queued" else NOTHING,
                "seconds": duration(row.seconds),
                "stop": "asked" if row.run_id in stops else "",
                "process": row.owner or NOTHING,
            }
        )
    if not busy:
        st.info("Nothing runs and nothing waits.", icon=":material/check:")
        return
    st.dataframe(
        pd.DataFrame(busy),
        hide_index=True,
        column_config={
            "state": "State",
            "run": "Run",
            "what": "What",
            "heartbeat": "Heartbeat",
            "queued": "Waits since",
            "seconds": "Time",
            "stop": "Stop",
            "process": "Process",
        },
        alt="Runs that go on, wait or are lost",
    )


def _store(store: Store) -> None:
    st.subheader("Store", anchor=False)
    st.caption(f"Where all of it is written: {plain(store.url)}")
    told = store.facts()
    facts(
        {
            "Size": (size(told["bytes"]), "Of the database file with its write-ahead log"),
            "Runs": (f"{told['runs']:,}", "All there ever were in this store"),
            "Queued": (f"{told['queued']:,}", "Wait for a free worker"),
            "Running": (f"{told['running']:,}", "Said to be running; lost ones included"),
            "Events": (f"{told['events']:,}", "Observations, metrics, beliefs, notes, states"),
            "Event rate": (f"{told['events_last_minute'] / 60:.2g} /s", "Over the last minute"),
        }
    )
    versions = next((row.versions for row in store.runs() if row.versions), {})
    if versions:
        st.caption("Versions that the newest run was made with:")
        st.table(dict(versions), border="horizontal", width="content")


show()
