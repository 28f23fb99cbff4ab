"""Every run and every study by hand, in one table."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from apps.spec import KINDS
from apps.store import Store
from dashboards import commands
from dashboards.data import busy, open_store, overview
from dashboards.listing import keep, table
from dashboards.parts import VIEWS, calm, commanded, refreshed
from dashboards.words import BADGES


@calm
def show() -> None:
    """Filters, then the table in a fragment of its own."""
    store = open_store()
    st.header("Runs", anchor=False)
    items = overview(store)
    if not items:
        _empty(store)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.pills("Kind", KINDS, selection_mode="multi", key="kinds", bind="query-params")
        st.pills("State", list(BADGES), selection_mode="multi", key="states", bind="query-params")
        st.text_input(
            "Find",
            key="find",
            bind="query-params",
            type="search",
            max_chars=100,
            placeholder="name, problem, method",
            width=210,
        )
        st.number_input(
            "Best per problem",
            min_value=0,
            max_value=1000,
            value=0,
            step=1,
            key="top",
            bind="query-params",
            width=150,
            help="Show only this many best runs of each problem; 0 shows all. "
            "Runs that go on are always shown.",
        )
    live = busy(items)
    st.fragment(_table, run_every=2 if live else 10)(store, live)


@calm
def _table(store: Store, live: bool) -> None:
    items = overview(store)
    if busy(items) != live:
        st.rerun()  # another pace
    state = st.session_state
    shown = keep(
        items,
        kinds=state.get("kinds") or [],
        states=state.get("states") or [],
        text=state.get("find") or "",
        top=state.get("top") or 0,
    )
    if shown:
        _draw(store, shown)
    else:
        st.info("No run matches these filters; clear one of them.", icon=":material/filter_alt:")
    moments = [item["last"] for item in items if item["last"] is not None]
    refreshed(2 if live else 10, max(moments, default=None))


def _draw(store: Store, shown: Sequence[Mapping[str, Any]]) -> None:
    ids = [item["run_id"] for item in shown]
    ticked = [name for name in st.session_state.get("ticked", []) if name in ids]
    action, beside = st.columns([1, 3], vertical_alignment="center")
    # The table keeps its place and its ticks while only numbers change; other rows are another one.
    key = "runs-" + hashlib.sha256("\n".join(ids).encode()).hexdigest()[:12]
    chosen: Any = st.dataframe(
        table(shown, time.time()),
        key=key,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [ids.index(name) for name in ticked]}},
        hide_index=True,
        height="content" if len(ids) <= 15 else 580,
        row_height=36,
        placeholder="",
        column_config=_columns(ids),
        alt="All runs: state, problem, method, best value, regret, steps and age",
    )
    ticked = [ids[row] for row in chosen.selection.rows if row < len(ids)]
    st.session_state["ticked"] = ticked
    with action:
        label = f"Compare {len(ticked)} ticked" if ticked else "Compare ticked runs"
        if st.button(
            label, icon=":material/compare_arrows:", disabled=not ticked, key="to-compare"
        ):
            st.switch_page(VIEWS / "compare.py", query_params={"runs": ticked})
    with beside:
        if ticked:
            commanded(commands.compare(ticked, store.url))
        else:
            st.caption("Tick rows on the left to compare them; Open shows one run.")


def _open(ids: Sequence[str]) -> None:
    click = st.session_state["open"]
    if click is not None and 0 <= click["row"] < len(ids):
        st.switch_page(VIEWS / "run.py", query_params={"run": ids[click["row"]]})


def _columns(ids: Sequence[str]) -> dict[str, Any]:
    column = st.column_config
    return {
        "open": column.ButtonColumn(
            "", width=52, type="tertiary", on_click=_open, args=(ids,), key="open"
        ),
        "state": column.MultiselectColumn(
            "State", width=98, options=list(BADGES), color=list(BADGES.values())
        ),
        "name": column.TextColumn(
            "Run", width=164, help="Name, or id where it has none; long ones lack their middle"
        ),
        "kind": column.TextColumn("Kind", width=56),
        "problem": column.TextColumn("Problem", width=104),
        "method": column.TextColumn("Method", width=92),
        "seed": column.TextColumn("Seed", width=68, alignment="right"),
        "best": column.NumberColumn(
            "Best", width=74, format="%.3g", help="bo: best value, in the goal's units; rl: score"
        ),
        "regret": column.NumberColumn(
            "Regret", width=70, format="%.3g", help="Against the known optimum; lower is better"
        ),
        "steps": column.TextColumn(
            "Steps", width=78, help="Trials, rounds or environment steps, of the budget"
        ),
        "spark": column.LineChartColumn(
            "Course", width=74, help="bo: best so far; bandit: regret; rl: return while training"
        ),
        "last": column.TextColumn(
            "Last sign", width=94, help="Running: age of the heartbeat; ended: since the end"
        ),
        "seconds": column.TextColumn("Time", width=58, help="Of running, resumes included"),
    }


def _empty(store: Store) -> None:
    st.info(
        "No run yet. Start one on the Start page, or with one of these commands:",
        icon=":material/info:",
    )
    commanded(commands.command("demo", store=store.url), "The tour:")
    line = commands.command("run", "bo", store=store.url, flags=["--problem", "branin"])
    commanded(line, "One Bayesian optimisation:")


show()
