"""Experiments: how far they are, and for one of them ranks, tests, tables and curves."""

import functools
from collections.abc import Iterable, Sequence

import pandas as pd
import streamlit as st

from apps.experiment_file import slug
from apps.store import Store
from dashboards import commands
from dashboards.arrange import grid
from dashboards.cards import experiment_curves, experiment_table, ranks, standing
from dashboards.cards.card import draw
from dashboards.cards.marks import counted
from dashboards.data import open_store
from dashboards.experimenting import Experiment, listed, load
from dashboards.parts import VIEWS, badge, calm, commanded, facts, move, refreshed, url_value
from dashboards.words import NOTHING, plain

GOING_ON = ("queued", "running")
MAY_GO_ON = ("lost", "failed", "stopped", "interrupted")
EVERY_SECONDS = 3
MOST_LISTED = 200


@calm
def show() -> None:
    """The list, then the one that is chosen."""
    store = open_store()
    st.header("Experiments", anchor=False)
    names = [row.name for row in store.experiments()]
    if not names:
        st.info(
            "No experiment yet. Start one on the Start page, or from a file in a terminal:",
            icon=":material/science:",
        )
        line = commands.command("experiment", "experiments/quick.toml", store=store.url)
        commanded(line, "Problems x methods x seeds, from the same initial points:")
        return
    live = any(each.state in GOING_ON for each in listed(store)[:MOST_LISTED])
    st.fragment(_listed, run_every=EVERY_SECONDS if live else 10)(store, live)
    name = _choose(names)
    every = EVERY_SECONDS if load(store, name).state in GOING_ON else 10
    st.fragment(_one, run_every=every)(store, name, every)


@calm
def _listed(store: Store, live: bool) -> None:
    items = listed(store)[:MOST_LISTED]
    if any(each.state in GOING_ON for each in items) != live:
        st.rerun()  # another pace
    st.dataframe(
        _table(items),
        hide_index=True,
        height="content" if len(items) <= 6 else 250,
        key="experiments",
        column_config={
            "finished": st.column_config.ProgressColumn(
                "Runs finished", format="percent", help="Of all runs that the file asks for"
            ),
        },
        alt="All experiments: state, runs, problems, methods, seeds and budgets",
    )


def _table(items: Sequence[Experiment]) -> pd.DataFrame:
    rows = []
    for each in items:
        plan, counts = each.plan, each.counts
        rows.append(
            {
                "Experiment": each.row.name,
                "State": each.state,
                "finished": counts["finished"] / each.wanted if each.wanted else None,
                "Finished": f"{counts['finished']:,} of {each.wanted:,}",
                "Failed": counts["failed"],
                "Kind": NOTHING if plan is None else plan.kind,
                "Problems": 0 if plan is None else len(plan.problems),
                "Methods": 0 if plan is None else len(plan.methods),
                "Seeds": 0 if plan is None else len(plan.seeds),
                "Budgets": NOTHING if plan is None else ", ".join(f"{b:,}" for b in plan.budgets),
            }
        )
    return pd.DataFrame(rows)


def _choose(names: Sequence[str]) -> str:
    """The experiment of the URL, else the newest."""
    asked = url_value("experiment")
    if asked not in names:
        if asked is not None:
            told = f"No experiment is called {plain(asked, 100)}; this is the newest one."
            st.session_state["told"] = told
        move("experiments.py", experiment=[names[0]])
    if "told" in st.session_state:
        st.warning(st.session_state.pop("told"), icon=":material/warning:")
    chosen = st.selectbox(
        "Experiment",
        names,
        index=None,
        required=True,
        key="experiment",
        bind="query-params",
        width=420,
    )
    return str(chosen or names[0])


@calm
def _one(store: Store, name: str, every: int) -> None:
    found = load(store, name)
    if (found.state in GOING_ON) != (every == EVERY_SECONDS):
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(plain(name, 100), anchor=False, width="content")
        badge(found.state)
    facts(_facts(found))
    for told in (found.row.error, found.broken):
        if told:
            st.error(plain(told, 600), icon=":material/error:")
    _buttons(store, found)
    _file(store, found)
    if found.plan is not None:
        _ranked(found)
        _problem(found)
        _runs(found)
    pace = every if found.state in GOING_ON else None
    refreshed(pace, found.row.told)


def _facts(found: Experiment) -> dict[str, tuple[str, str | None]]:
    counts, plan = found.counts, found.plan
    told: dict[str, tuple[str, str | None]] = {
        "Runs finished": (
            f"{counts['finished']:,} of {found.wanted:,}",
            "One run a problem, method and seed; each is a run of the Overview",
        ),
        "Failed": (f"{counts['failed']:,}", "They count as worse than all values in ranks"),
        "Under way": (f"{counts['running']:,}", f"At most {found.row.workers} at once"),
    }
    if plan is not None:
        told |= {
            "Problems": (f"{len(plan.problems)}", _listing(e.label for e in plan.problems)),
            "Methods": (f"{len(plan.methods)}", _listing(e.label for e in plan.methods)),
            "Seeds": (f"{len(plan.seeds)}", "The same initial points for every method"),
        }
    return told


def _listing(labels: Iterable[str]) -> str:
    return plain(", ".join(labels), 500)


def _buttons(store: Store, found: Experiment) -> None:
    """Stop, or go on, as the state allows."""
    name = found.row.name
    button, line = st.columns([1, 4], vertical_alignment="center")
    if found.state in GOING_ON:
        asked = found.row.stop is not None
        with button:
            st.button(
                "Stopping…" if asked else "Stop",
                icon=":material/stop:",
                key="stop-experiment",
                disabled=asked,
                on_click=functools.partial(_ask, store, name, "stop"),
                help="Ends it and its runs after their step; it can go on later",
                width="stretch",
            )
        with line:
            st.caption("In the terminal where it runs: Ctrl-C does the same.")
        return
    complete = found.state == "finished" and found.counts["finished"] == found.wanted
    if not complete:
        with button:
            st.button(
                "Resume",
                icon=":material/play_arrow:",
                key="resume-experiment",
                on_click=functools.partial(_ask, store, name, "resume"),
                help="Queues it; a supervisor goes on at the last finished trial",
                width="stretch",
            )
    with line if not complete else st.container():
        commanded(commands.experiment(name, found.row.workers, store.url))


@calm
def _ask(store: Store, name: str, what: str) -> None:
    store.ask_experiment(name, what)


def _file(store: Store, found: Experiment) -> None:
    with st.expander("The file", icon=":material/description:"):
        st.code(found.row.source, language="toml")
        st.download_button(
            "Download",
            found.row.source,
            f"{slug(found.row.name)}.toml",
            "application/toml",
            key="file",
            on_click="ignore",
            icon=":material/download:",
        )
        out = (found.results or {}).get("out")
        if out:
            st.caption(f"Its tables and figures, once it has ended: {plain(out, 500)}")


def _ranked(found: Experiment) -> None:
    assert found.plan is not None
    bound = functools.partial
    draw(bound(ranks.card, found), key="ranks", title="Ranks", version=(*found.version, "ranks"))
    budgets = list(found.plan.budgets)
    budget = budgets[-1]
    if len(budgets) > 1:
        picked = st.segmented_control(
            "After",
            budgets,
            default=budgets[-1],
            required=True,
            key="budget",
            help="The budget at which runs are compared",
        )
        budget = budgets[-1] if picked is None else int(picked)
    draw(
        bound(standing.card, found, budget),
        key="standing",
        title="Best, close, worse",
        version=(*found.version, budget),
    )


def _problem(found: Experiment) -> None:
    """One problem: its curves, table and tests."""
    assert found.plan is not None
    labels = [entry.label for entry in found.plan.problems]
    problem = str(
        st.selectbox("Problem", labels, key="on", bind="query-params", width=420) or labels[0]
    )
    bound = functools.partial
    version = (*found.version, problem)
    draw(
        bound(experiment_curves.card, found, problem),
        key="curves",
        title=f"Course on {problem}",
        version=version,
    )
    grid(
        [
            ("medians", f"Medians on {problem}", bound(experiment_table.card, found, problem)),
            ("tests", f"Tests on {problem}", bound(experiment_table.tests, found, problem)),
        ],
        version,
    )
    everything = bound(experiment_table.card, found)
    draw(everything, key="all-medians", title="All medians", version=(*found.version, "all"))


def _runs(found: Experiment) -> None:
    """What failed, and the way to the runs."""
    told = (found.results or {}).get("incomplete") or []
    failed = [row for row in told if row["state"] == "failed"]
    skipped = (found.results or {}).get("skipped") or []
    if failed:
        st.warning(f"{counted(len(failed), 'run')} failed:", icon=":material/warning:")
        for row in failed[:10]:
            st.markdown(f"- {plain(row['run'], 200)}: {plain(row['error'] or NOTHING, 300)}")
    for row in skipped[:10]:
        st.caption(f"Left out {plain(row['name'], 100)}: {plain(row['why'], 300)}")
    st.page_link(
        VIEWS / "overview.py",
        label="Its runs on the Overview",
        icon=":material/list:",
        query_params={"find": f"{found.row.name}/"},
    )


show()
