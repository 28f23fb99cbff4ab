"""One run, live: its numbers, what it believes and will try next, how it went, notes."""

from collections.abc import Sequence

import streamlit as st

from apps.store import Store
from dashboards import actions, commands, links
from dashboards.arrange import history
from dashboards.believing import believing, chosen_step
from dashboards.data import Mark, buffer_of, load, mark_of, open_store, overview, pace
from dashboards.headline import headline
from dashboards.parts import calm, commanded, move, url_value
from dashboards.words import plain

GOING_ON = ("queued", "running")
SLOW = 5
MAY_GO_ON = ("lost", "failed", "stopped", "interrupted")
PICTURE_SECONDS = 3  # at least: numbers follow each second, and buttons are not to wait
BELIEVED_SECONDS = 4  # of the history below a belief: a dozen pictures are too many for each time
RANGES = ("all", "last 200", "last 50", "last 20")


@calm
def show() -> None:
    """Which run, then its head and its cards, each at its own pace."""
    store = open_store()
    items = overview(store)
    ids = [item["run_id"] for item in items]
    if not ids:
        st.header("Run", anchor=False)
        st.info("No run yet; start one on the Start page.", icon=":material/info:")
        line = commands.command("run", "bo", store=store.url, flags=["--problem", "branin"])
        commanded(line)
        return
    bar = st.container(horizontal=True, vertical_alignment="center")
    with bar:
        run_id = _choose(ids, {item["name"]: item["run_id"] for item in reversed(items)})
    item = next(item for item in items if item["run_id"] == run_id)
    state = item["state"]
    going_on = state in GOING_ON
    head, body, foot = st.container(), st.container(), st.container(border=True)
    with foot:
        st.markdown("**Notes**")
        noted = st.empty()
    often_read = SLOW if item["by_hand"] else 1  # one row, whatever the length of the run
    every = often_read if going_on else SLOW if state in MAY_GO_ON else None
    with head:  # first of all: what a viewer waits for
        st.fragment(headline, run_every=every)(store, run_id, every, state, noted)
    with bar:
        live, shown = _controls(store, run_id, going_on=going_on)
        actions.downloads(store, run_id, by_hand=item["by_hand"])
    size = buffer_of(store, run_id).size()
    often = SLOW if item["by_hand"] else pace(size)  # by hand, somebody is to come back
    every = often if live and going_on else None
    every = every and max(every, PICTURE_SECONDS)
    with body:
        if item["kind"] == "bo":  # two parts, so that each is drawn quickly
            waits = run_id in store.open_requests("snapshot")  # a map that somebody asked for
            beliefs = st.fragment(_beliefs, run_every=PICTURE_SECONDS if waits else every)
            beliefs(store, run_id, live, waits)
            every = every and max(every, BELIEVED_SECONDS)
        st.fragment(_history, run_every=every)(store, run_id, live, shown)
    if item["by_hand"]:
        return
    with foot:
        form = st.fragment(actions.new_note) if going_on else actions.new_note
        form(store, run_id)  # where the head is not read again by itself, saving draws the page
    log = st.expander(
        "Log",
        expanded=state == "failed",
        icon=":material/receipt_long:",
        key=f"log-{run_id}",
        on_change="rerun",
    )
    if log.open:
        with log:
            actions.log(store, run_id)


def _choose(ids: Sequence[str], names: dict[str, str]) -> str:
    """The run of the URL, by id or name; else the one seen last, else the newest."""
    state = st.session_state
    asked = url_value("run")
    if asked not in ids and state.get("run") not in ids:
        seen = state.get("seen")
        known = names.get(asked or "") or (str(seen) if seen in ids else ids[0])
        if asked is not None and asked not in names:
            state["told"] = f"No run is called {plain(asked, 100)}; this is another one."
        move("run.py", run=[known])
    if "told" in state:
        st.warning(state.pop("told"), icon=":material/warning:")
    chosen = st.selectbox(
        "Run",
        ids,
        index=None,
        required=True,
        key="run",
        bind="query-params",
        label_visibility="collapsed",
        on_change=_forget,
        width=300,
    )
    state["seen"] = chosen or ids[0]
    return str(state["seen"])


def _forget() -> None:
    """Another run begins with its own controls."""
    for key in ("live", "along", "mark"):
        st.session_state.pop(key, None)
    st.query_params.pop("step", None)


def _controls(store: Store, run_id: str, *, going_on: bool) -> tuple[bool, str | None]:
    """Live or paused, and the range; outside the charts, so that both survive a refresh."""
    state = st.session_state
    if state.get("opened", ("", False))[0] != run_id:
        state["opened"] = (run_id, going_on)  # a run that has ended opens paused
    live = st.toggle(
        "Live",
        value=state["opened"][1],
        key="live",
        bind="query-params",
        help="Off: the pictures stand still, so that zoom and hover stay; the numbers go on",
    )
    shown = st.segmented_control(
        "Range",
        RANGES,
        default="all",
        required=True,
        key="range",
        bind="query-params",
        label_visibility="collapsed",
        help="How many of the newest records the pictures show",
    )
    if live:
        state.pop("mark", None)
    elif going_on and "mark" not in state:
        state["mark"] = mark_of(store, run_id)
    return live, shown


@calm
def _beliefs(store: Store, run_id: str, live: bool, waited: bool) -> None:
    if waited != (run_id in store.open_requests("snapshot")):
        st.rerun()  # another pace
    mark: Mark | None = None if live else st.session_state.get("mark")
    believing(store, load(store, run_id, mark=mark, step=chosen_step()))


@calm
def _history(store: Store, run_id: str, live: bool, shown: str | None) -> None:
    mark: Mark | None = None if live else st.session_state.get("mark")
    data = load(store, run_id, mark=mark, step=chosen_step())
    history(data, last=links.last(shown), live=live)


show()
