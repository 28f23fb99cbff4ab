"""Several runs side by side: methods over seeds with their spread, and how the runs differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from apps.store import Store
from apps.summary import all_objects, compare
from dashboards import commands, links
from dashboards.arrange import comparing
from dashboards.data import busy, load, open_store, overview
from dashboards.parts import calm, commanded, move, refreshed, url_value
from dashboards.words import plain

Item = Mapping[str, Any]


@calm
def show() -> None:
    """Which runs, then what they show."""
    store = open_store()
    st.header("Compare", anchor=False)
    items = overview(store)
    if not items:
        st.info("No run yet; start some on the Start page.", icon=":material/info:")
        line = commands.command("run", "bo", store=store.url, flags=["--problem", "branin"])
        commanded(line)
        return
    picked = _pick(items)
    if not picked:
        st.info(
            "Choose a problem to compare all its methods and seeds, or tick runs on the Overview.",
            icon=":material/compare_arrows:",
        )
        return
    shown = [item for item in items if item["run_id"] in picked]
    live = busy(shown)
    every = 5 if live else None
    st.fragment(_compared, run_every=every)(store, [i["run_id"] for i in shown], every)


def _pick(items: Sequence[Item]) -> list[str]:
    """The runs of the URL, else those of the chosen problem."""
    ids = [item["run_id"] for item in items]
    groups: dict[tuple[str, str], list[str]] = {}
    for item in items:
        if not item["by_hand"]:
            groups.setdefault((item["kind"], item["problem"]), []).append(item["run_id"])
    names = [links.group_name(*key) for key in groups]
    state = st.session_state
    asked = st.query_params.get_all("runs")
    found, missing = links.runs(asked, ids)
    if missing:
        told = ", ".join(plain(name, 40) for name in missing[:5])
        state["told"] = f"Not in this store, so left out: {told}"
    if asked and asked != found:
        move("compare.py", runs=found)  # one spelling, `runs=a&runs=b`, of what exists
    if "told" in state:
        st.warning(state.pop("told"), icon=":material/warning:")
    labels = {i["run_id"]: _label(i) for i in items}
    wanted = url_value("group")
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    with left:
        text = st.selectbox(
            "Problem",
            names,
            index=None,
            key="group",
            bind="query-params",
            placeholder="all methods and seeds of",
            on_change=lambda: state.update(runs=[]),
        )
    with right:
        runs = st.multiselect(
            "or these runs",
            ids,
            key="runs",
            bind="query-params",
            max_selections=links.MOST_COMPARED,
            placeholder="choose runs one by one",
        )
    if runs:
        st.caption("; ".join(labels[name] for name in runs[:8]) + (" …" if len(runs) > 8 else ""))
        return list(runs)
    key = links.group(text, groups)
    if key is None and wanted is not None:
        told = f"No run here is of {plain(wanted, 100)}; choose another problem."
        st.warning(told, icon=":material/warning:")
    return [] if key is None else groups[key][: links.MOST_COMPARED]


def _label(item: Item) -> str:
    name = "" if item["name"] == item["run_id"] else f"{plain(item['name'], 40)}: "
    return f"{name}{plain(item['method'], 40)}, seed {item['seed']}"


@calm
def _compared(store: Store, ids: Sequence[str], every: int | None) -> None:
    wanted = set(ids)
    objects = [run for run in all_objects(store) if run["run_id"] in wanted]
    if every is not None and not busy(objects):
        st.rerun()
    runs = [load(store, run["run_id"], beliefs=False) for run in objects]
    methods = {(run["kind"], run["method"]) for run in objects}
    problems = {(run["kind"], run["problem"]) for run in objects}
    seeds = {run["seed"] for run in objects}
    counted = ((len(objects), "run"), (len(seeds), "seed"))
    counted += ((len(methods), "method"), (len(problems), "problem"))
    told = ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counted)
    rows = _with_seeds(objects)
    again = sum(row["runs"] - row["seeds"] for row in rows)
    if again:
        told += f"; {again} of the runs repeat a seed of their method and tell nothing new"
    st.caption(told)
    _table(rows)
    commanded(commands.compare(ids, store.url))
    comparing(runs, {row.run_id: row.spec for row in store.runs() if row.run_id in wanted})
    refreshed(every, None)


def _with_seeds(objects: Sequence[Item]) -> list[dict[str, Any]]:
    """The rows of `wald compare`, and how many different seeds stand behind each."""
    seeds = {run["run_id"]: run["seed"] for run in objects}
    rows = compare(objects)
    return [row | {"seeds": len({seeds[name] for name in row["run_ids"]})} for row in rows]


def _table(rows: Sequence[Item]) -> None:
    st.subheader("Final scores", anchor=False)
    st.caption(
        "Mean over runs with its 95 % interval. Score: higher is better on every kind; "
        "for a goal that is minimised it is minus the best value."
    )
    frame = pd.DataFrame(rows).drop(columns="run_ids")
    frame.insert(list(frame.columns).index("runs") + 1, "seeds", frame.pop("seeds"))
    number = st.column_config.NumberColumn
    digits = {
        name: number(label, format="%.4g", help=told)
        for name, label, told in (
            ("mean", "Mean score", "Higher is better"),
            ("low", "Low", "Lower end of the 95 % interval of the mean; needs two runs"),
            ("high", "High", "Upper end of the 95 % interval of the mean; needs two runs"),
            ("median", "Median", "Half of the runs score more"),
            ("q25", "Lower quartile", "A quarter of the runs score less"),
            ("q75", "Upper quartile", "A quarter of the runs score more"),
            ("regret", "Median regret", "Lower is better; empty where no optimum is known"),
            ("cpu_seconds", "CPU s", "Mean over runs"),
        )
    }
    st.dataframe(
        frame,
        hide_index=True,
        column_config={
            "kind": "Kind",
            "problem": "Problem",
            "method": "Method",
            "runs": "Runs",
            "seeds": number("Seeds", help="Different ones among the runs"),
            "steps": "Steps",
            **digits,
        },
        key="compared",
        placeholder="",
        alt="Final scores per method, with intervals",
    )


show()
