"""The part of the Start page that starts a whole experiment: fields, file, command, button."""

import functools
from collections.abc import Mapping
from typing import Any

import streamlit as st

from apps.spec import BUDGET_UNITS, KINDS
from apps.store import Store, UsageError, current_state
from dashboards import commands, experiment_orders, orders
from dashboards.cards.marks import counted
from dashboards.experiment_orders import Order
from dashboards.parts import VIEWS, badge, calm, commanded
from dashboards.words import plain

EVERY_SECONDS = 3
BUDGETS = {"bo": "10, 25, 50", "bandit": "1000, 5000", "rl": "10000, 20000"}


def experiment(store: Store, offered: orders.Offer, token: str) -> None:
    """Fields on the left, file, command and button on the right."""
    left, right = st.columns([3, 2], gap="large")
    with left:
        fields = _fields(offered, token)
    with right, st.container(border=True):
        _order(store, fields, offered)


def _fields(offered: orders.Offer, token: str) -> dict[str, Any]:
    kind = st.segmented_control(
        "Kind", KINDS, default="bo", required=True, key="kind", bind="query-params"
    )
    kind = str(kind or "bo")
    choices = offered.choices(kind)
    picked = st.multiselect(
        "Problems",
        list(choices),
        key=f"{kind}.problems",
        bind="query-params",
        max_selections=experiment_orders.MOST_PROBLEMS,
        placeholder="of the catalog",
        help="Each method solves all of them, from the same initial points",
    )
    rows = {label: choices[label] for label in picked if label in choices}
    size = 6
    if any(orders.wants_number(row) for row in rows.values()):
        size = st.number_input(
            "Dimensions",
            min_value=1,
            max_value=orders.MOST_DIMENSIONS,
            value=6,
            step=1,
            key="d",
            bind="query-params",
            width=200,
            help="Of the problems whose dimension is free: "
            + ", ".join(label for label, row in rows.items() if orders.wants_number(row)),
        )
    problems = [
        orders.numbered(row, int(size)) if orders.wants_number(row) else label
        for label, row in rows.items()
    ]
    methods = st.multiselect(
        "Methods",
        [row["name"] for row in offered.rows(kind, "method") if "<" not in row["name"]],
        key=f"{kind}.methods",
        bind="query-params",
        max_selections=experiment_orders.MOST_METHODS,
        placeholder="of the catalog",
        help="With their default options; others in a file by hand (docs/experiments.md)",
    )
    first, second, third = st.columns(3)
    budgets = first.text_input(
        f"Budgets ({BUDGET_UNITS[kind]})",
        BUDGETS[kind],
        orders.LONGEST,
        key=f"{kind}.budgets",
        bind="query-params",
        help="Runs go to the largest; tables read the smaller ones off the same runs",
    )
    seeds = second.number_input(
        "Seeds",
        min_value=1,
        max_value=experiment_orders.MOST_SEEDS,
        value=10,
        step=1,
        key="seeds",
        bind="query-params",
        help="Runs per problem and method; with fewer than 6, no test can find a difference",
    )
    seed = third.number_input(
        "First seed",
        min_value=0,
        max_value=orders.LARGEST_SEED - experiment_orders.MOST_SEEDS,
        value=0,
        step=1,
        key="seed",
        bind="query-params",
    )
    name = first.text_input(
        "Name",
        f"experiment-{token[:4]}",
        experiment_orders.LONGEST_NAME,
        key="experiment-name",
        bind="query-params",
        help="First part of the names of its runs",
    )
    workers = second.number_input(
        "Runs at once",
        min_value=1,
        max_value=experiment_orders.MOST_WORKERS,
        value=1,
        step=1,
        key="workers",
        bind="query-params",
        help="It counts as so many workers of the supervisor, which has no more than it was given",
    )
    threads = third.number_input(
        "Threads",
        min_value=1,
        max_value=256,
        value=1,
        step=1,
        key="threads",
        bind="query-params",
        help="CPU threads of each run",
    )
    return {
        "kind": kind,
        "name": name,
        "problems": problems,
        "methods": list(methods),
        "seeds": seeds,
        "first_seed": seed,
        "budgets": budgets,
        "workers": workers,
        "threads": threads,
    }


def _read(fields: Mapping[str, Any], offered: orders.Offer) -> Order:
    listed = experiment_orders.budgets_of(str(fields["budgets"]))
    return experiment_orders.read({**fields, "budgets": listed}, offered)


def _order(store: Store, fields: Mapping[str, Any], offered: orders.Offer) -> None:
    """The file, the command, the button, and what has come of it."""
    try:
        order = _read(fields, offered)
        _refuse_taken(store, order)
    except UsageError as error:
        _button("Start the experiment", disabled=True)
        if fields["problems"] and fields["methods"]:
            st.warning(plain(error, 500), icon=":material/warning:")
        else:
            st.info("Choose problems and methods.", icon=":material/science:")
        return
    if order.name in {row.name for row in store.experiments()}:
        st.success("In the queue, or already done: this experiment.", icon=":material/check:")
        st.fragment(_state, run_every=EVERY_SECONDS)(store, order.name)
    else:
        _button(
            f"Start {order.runs:,} {'run' if order.runs == 1 else 'runs'}",
            on_click=functools.partial(_start, store, dict(fields)),
        )
    st.caption(
        f"{counted(len(order.plan.problems), 'problem')} × "
        f"{counted(len(order.plan.methods), 'method')} × "
        f"{counted(len(order.plan.seeds), 'seed')}. Its file:"
    )
    st.code(order.source, language="toml")
    st.download_button(
        "Download",
        order.source,
        f"{order.name}.toml",
        "application/toml",
        key="experiment-file",
        on_click="ignore",
        icon=":material/download:",
    )
    line = commands.experiment(order.name, order.workers, store.url)
    commanded(line, "The same in a terminal, beside the file:")


@calm
def _state(store: Store, name: str) -> None:
    """The experiment with its state as it goes on."""
    with st.container(horizontal=True, vertical_alignment="center"):
        badge(current_state(store.experiment(name)))
        st.page_link(VIEWS / "experiments.py", label=plain(name), query_params={"experiment": name})


def _button(label: str, **more: Any) -> None:
    st.button(
        label,
        type="primary",
        icon=":material/play_arrow:",
        key="start-experiment",
        width="stretch",
        **more,
    )


def _refuse_taken(store: Store, order: Order) -> None:
    """Raise `UsageError` where another experiment, or its runs, have the name."""
    for row in store.experiments():
        if row.name == order.name and row.source != order.source:
            raise UsageError(
                f"expected a name that is free, got {order.name!r}, which another experiment has; "
                "choose another one"
            )


@calm
def _start(store: Store, fields: Mapping[str, Any]) -> None:
    """Read everything again: what the page was drawn with may be old, or not of this page."""
    order = _read(fields, orders.offer(store.published(), store.runs()))
    _refuse_taken(store, order)
    folder = experiment_orders.FOLDER
    store.submit_experiment(order.name, order.source, folder, workers=order.workers)
