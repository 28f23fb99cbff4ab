"""What can be asked of a run: stop, resume, download, note. Each has its command beside it."""

import functools
import json
import time
from collections.abc import Mapping
from typing import Any

import streamlit as st

from apps.events import Event
from apps.export import export
from apps.store import Store
from dashboards import commands
from dashboards.parts import calm, commanded
from dashboards.words import ago, plain

CAN_RESUME = ("failed", "stopped", "interrupted", "lost")
CAN_STOP = ("queued", "running")
LONGEST_NOTE = 2000


def buttons(store: Store, run: Mapping[str, Any]) -> None:
    """Stop, or resume, as the state allows."""
    run_id, state = run["run_id"], run["state"]
    if state not in (*CAN_STOP, *CAN_RESUME):
        return
    button, line = st.columns([1, 4], vertical_alignment="center")
    if state in CAN_STOP:
        asked = run_id in store.open_requests("stop")
        with button:
            st.button(
                "Stopping…" if asked else "Stop",
                icon=":material/stop:",
                key="stop",
                disabled=asked,
                on_click=functools.partial(_ask, store, run_id, "stop"),
                help="Ends the run after its step; it can be resumed later",
                width="stretch",
            )
        with line:
            commanded(commands.stop(run_id, store.url))
    else:
        with button:
            st.button(
                "Resume",
                icon=":material/play_arrow:",
                key="resume",
                on_click=functools.partial(_ask, store, run_id, "resume"),
                help="Queues the run; a supervisor goes on with its next step",
                width="stretch",
            )
        with line:
            commanded(commands.resume(run_id, store.url))


@calm
def _ask(store: Store, run_id: str, what: str) -> None:
    store.request(run_id, what)


def downloads(store: Store, run_id: str, *, by_hand: bool) -> None:
    """The run as files, made when they are asked for."""
    with st.popover("Download", icon=":material/download:"):
        for label, kind, mime in (
            ("CSV: one row per trial or step", "csv", "text/csv"),
            ("JSON: all of it", "json", "application/json"),
        ):
            st.download_button(
                label,
                functools.partial(export, store, run_id, kind),
                file_name=f"{run_id}.{kind}",
                mime=mime,
                key=f"as-{kind}",
                on_click="ignore",
                icon=":material/download:",
            )
            commanded(commands.export(run_id, store.url, kind))
        if not by_hand:
            spec = json.dumps(json.loads(store.run(run_id).spec.to_json()), indent=1)
            st.download_button(
                "Spec: what was asked, as JSON",
                spec,
                file_name=f"{run_id}.spec.json",
                mime="application/json",
                key="as-spec",
                on_click="ignore",
                icon=":material/download:",
            )
        commanded(commands.show(run_id, store.url), "The numbers of this page, as JSON:")


def notes(store: Store, run_id: str | None) -> None:
    """What people wrote beside the run; None for a study by hand, which keeps none."""
    if run_id is None:
        st.caption("Notes belong to runs; this is a study by hand.")
        return
    logged = store.events(run_id, kind="log")
    written = [e for e in logged if isinstance(e.payload.get("note"), str)]
    now = time.time()
    for event in written:
        st.markdown(f":material/sticky_note_2: {plain(event.payload['note'], LONGEST_NOTE)}")
        st.caption(ago(event.time, now))
    if not written:
        st.caption("No note yet.")


@calm
def new_note(store: Store, run_id: str) -> None:
    """Whoever looks can add to them; the head of the page shows it a second later."""
    with st.form("note", clear_on_submit=True, border=False):
        st.text_area(
            "Add a note",
            key="note-text",
            max_chars=LONGEST_NOTE,
            height=80,
            placeholder="What you see, what you plan",
        )
        st.form_submit_button(
            "Save note",
            icon=":material/save:",
            key="save-note",
            on_click=functools.partial(_note, store, run_id),
        )
    commanded(commands.note(run_id, "TEXT", store.url))


@calm
def _note(store: Store, run_id: str) -> None:
    text = str(st.session_state.get("note-text") or "").strip()[:LONGEST_NOTE]
    if text:
        store.record(run_id, [Event("log", None, {"note": text})])


@calm
def log(store: Store, run_id: str) -> None:
    """States the run went through, and where it failed."""
    told = store.events(run_id, kind=("state", "log"))
    traces = [e.payload["traceback"] for e in told if "traceback" in e.payload]
    if traces:
        st.caption("Where it failed, last first:")
        for trace in reversed(traces[-3:]):
            st.code(str(trace)[-8000:], language=None, wrap_lines=True)
    states = [e for e in told if e.kind == "state"]
    if states:
        last = states[-1].time
        for event in states:
            resumed = " (resumed)" if event.payload.get("resumed") else ""
            before = ago(event.time, last)
            when = "last change" if event is states[-1] else f"{before.removesuffix(' ago')} before"
            error = event.payload.get("error")
            why = f": {plain(error)}" if error else ""
            st.markdown(f"- {event.payload['state']}{resumed}, {when}{why}")
