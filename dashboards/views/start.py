"""Start runs or an experiment: fields from the published catalog, the exact command, one button."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from apps.schema import RunRow
from apps.spec import BUDGET_UNITS, DEFAULT_BUDGETS, DEVICES, KINDS, RunSpec, command
from apps.store import Store, UsageError, current_state
from dashboards import commands, orders
from dashboards.cards.marks import counted
from dashboards.data import open_store
from dashboards.ordering import experiment
from dashboards.parts import VIEWS, badge, calm, commanded, url_value
from dashboards.words import plain

WHAT = ("runs", "experiment")
EVERY_SECONDS = 3
KIND_NAMES = {"bo": "Bayesian optimisation", "bandit": "bandit", "rl": "reinforcement learning"}


@calm
def show() -> None:
    """Fields on the left, command and button on the right."""
    store = open_store()
    st.header("Start", anchor=False)
    published = store.published()
    if not published:
        st.info(
            "The catalog of problems and methods is not in this store yet: `wald up` writes it "
            "there. Run it once, then come back to this page.",
            icon=":material/menu_book:",
        )
        commanded(commands.up(store.url))
        return
    rows = store.runs()
    offered = orders.offer(published, rows)
    token = orders.token(url_value("form")) or orders.new_token()
    if url_value("form") != token:
        st.query_params["form"] = token
    what = st.segmented_control(
        "What",
        WHAT,
        default=WHAT[0],
        required=True,
        key="what",
        bind="query-params",
        label_visibility="collapsed",
        help="An experiment: several methods on several problems, from the same initial points",
    )
    if what == WHAT[1]:
        experiment(store, offered, token)
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        fields = _fields(offered)
    with right, st.container(border=True):
        _order(store, fields, offered, rows, token)


def _fields(offered: orders.Offer) -> dict[str, Any]:
    kind = st.segmented_control(
        "Kind",
        KINDS,
        default="bo",
        required=True,
        key="kind",
        bind="query-params",
        help="; ".join(f"{k}: {name}" for k, name in KIND_NAMES.items()),
    )
    kind = str(kind or "bo")
    problem, problem_row = _problem(kind, offered)
    problem_options = _options(problem_row, f"Options of the problem {problem}", problem_row)
    suiting = [row for row in offered.rows(kind, "method") if orders.suits(row, problem_row)]
    methods = {row["name"]: row for row in suiting}
    method = st.selectbox("Method", list(methods), key=f"{kind}.method", bind="query-params")
    method_row = methods.get(str(method), {})
    st.caption(plain(method_row.get("help", "")))
    options = _options(method_row, f"Options of the method {method}", problem_row)
    unit = BUDGET_UNITS[kind]
    first, second, third = st.columns(3)
    budget = first.number_input(
        f"Budget ({unit})",
        min_value=1,
        max_value=10**9,
        value=DEFAULT_BUDGETS[kind],
        step=1,
        key=f"{kind}.budget",
        bind="query-params",
    )
    seeds = second.number_input(
        "Number of seeds",
        min_value=1,
        max_value=orders.MOST_SEEDS,
        value=1,
        step=1,
        key="seeds",
        bind="query-params",
        help="One run each; a comparison of methods wants ten or more",
    )
    seed = third.number_input(
        "First seed",
        min_value=0,
        max_value=orders.LARGEST_SEED - orders.MOST_SEEDS,
        value=0,
        step=1,
        key="seed",
        bind="query-params",
        help="The same seed gives the same run",
    )
    device = first.selectbox(
        "Device",
        DEVICES,
        key="device",
        bind="query-params",
        help="auto: the GPU for agents where there is one, else the CPU",
    )
    threads = second.number_input(
        "Threads",
        min_value=1,
        max_value=256,
        value=1,
        step=1,
        key="threads",
        bind="query-params",
        help="CPU threads of a run; the same number gives the same result",
    )
    name = third.text_input(
        "Name",
        key="name",
        bind="query-params",
        placeholder="none",
        help="To find the run by; with several seeds, -SEED is added",
    )
    return {
        "kind": kind,
        "problem": problem,
        "method": method,
        "budget": budget,
        "seed": seed,
        "seeds": seeds,
        "device": device,
        "threads": threads,
        "name": name,
        "options": options,
        "problem_options": problem_options,
    }


def _problem(kind: str, offered: orders.Offer) -> tuple[str, Mapping[str, Any]]:
    """The problem's name, with its dimensions where it wants them."""
    choices = offered.choices(kind)
    picked, size = st.columns([3, 1])
    with picked:
        label = st.selectbox("Problem", list(choices), key=f"{kind}.problem", bind="query-params")
    row = choices.get(str(label), {})
    name = str(label)
    if orders.wants_number(row):
        with size:
            count = st.number_input(
                "Dimensions",
                min_value=1,
                max_value=orders.MOST_DIMENSIONS,
                value=6,
                step=1,
                key="d",
                bind="query-params",
            )
        name = orders.numbered(row, int(count))
    st.caption(plain(row.get("help", "")))
    return name, row


def _options(row: Mapping[str, Any], label: str, problem_row: Mapping[str, Any]) -> dict[str, Any]:
    """A field per option of the published schema; only what differs from the default counts."""
    described = [o for o in row.get("options", []) if o["name"] not in orders.HIDDEN_OPTIONS]
    if not described:
        return {}
    given: dict[str, Any] = {}
    with st.expander(plain(label), icon=":material/tune:"), st.grid(2):
        for option in described:
            offered = {**option, "choices": orders.choices_of(option, problem_row)}
            value = _option(offered, f"{row['name']}.{option['name']}")
            if value is not None and value != option["default"]:
                given[option["name"]] = value
    return given


def _option(option: Mapping[str, Any], key: str) -> Any:
    label, default, told = str(option["name"]), option["default"], plain(option["help"])
    low, high = option.get("low"), option.get("high")
    if low is not None or high is not None:
        told += (
            f" ({'' if low is None else f'from {low:g} '}{'' if high is None else f'to {high:g}'})"
        )
    if option["type"] == "boolean":
        return st.toggle(label, bool(default), key=key, bind="query-params", help=told)
    if option.get("choices"):
        names = list(option["choices"])
        index = names.index(default) if default in names else 0
        return st.selectbox(label, names, index, key=key, bind="query-params", help=told)
    if option["type"] == "text":
        return st.text_input(
            label, str(default), orders.LONGEST, key=key, bind="query-params", help=told
        )
    if option["type"] == "integer":
        return st.number_input(
            label,
            min_value=None if low is None else int(low),
            max_value=None if high is None else int(high),
            value=int(default),
            step=1,
            key=key,
            bind="query-params",
            help=told,
        )
    return st.number_input(
        label,
        min_value=None if low is None else float(low),
        max_value=None if high is None else float(high),
        value=float(default),
        step=None if default == 0 else abs(float(default)) / 10,
        format="%g",
        key=key,
        bind="query-params",
        help=told,
    )


def _order(
    store: Store,
    fields: Mapping[str, Any],
    offered: orders.Offer,
    rows: Sequence[RunRow],
    token: str,
) -> None:
    """The command, the button, and what has come of it."""
    try:
        specs = orders.read(fields, offered)
        ids = [orders.run_id(token, spec) for spec in specs]
        orders.refuse_taken(specs, ids, rows)
    except UsageError as error:
        st.button("Start", type="primary", disabled=True, key="start", icon=":material/play_arrow:")
        st.warning(plain(error, 500), icon=":material/warning:")
        return
    count = counted(len(specs), "run")
    if not set(ids) <= {row.run_id for row in rows}:
        st.button(
            f"Start {count}",
            type="primary",
            icon=":material/play_arrow:",
            key="start",
            on_click=functools.partial(_start, store, dict(fields), token),
            width="stretch",
        )
    else:
        st.fragment(_results, run_every=EVERY_SECONDS)(store, ids)
        st.button(
            "Prepare the same once more",
            icon=":material/refresh:",
            key="again",
            on_click=_renew,
            help="A form makes each run once, whoever presses; this makes it a new form",
        )
    commanded(
        "\n".join(command(spec, "submit", store=store.url) for spec in specs),
        "The same in a terminal:"
        if len(specs) == 1
        else "The same in a terminal, one line a seed:",
    )


@calm
def _results(store: Store, ids: Sequence[str]) -> None:
    """The runs of the form, each with its state as it goes on."""
    known = {row.run_id: row for row in store.runs()}
    states = {name: current_state(known[name]) for name in ids if name in known}
    waits = "queued" in states.values()
    told = f"{'In the queue' if waits else 'Made'}: {counted(len(states), 'run')} of this form."
    st.success(told, icon=":material/check:")
    for name, state in list(states.items())[:10]:
        with st.container(horizontal=True, vertical_alignment="center"):
            badge(state)
            st.page_link(
                VIEWS / "run.py", label=plain(known[name].name), query_params={"run": name}
            )
    if len(states) > 1:
        st.page_link(
            VIEWS / "compare.py",
            label="Compare them",
            icon=":material/compare_arrows:",
            query_params={"runs": list(states)},
        )


@calm
def _start(store: Store, fields: Mapping[str, Any], token: str) -> None:
    """Read everything again: what the page was drawn with may be old, or not of this page."""
    rows = store.runs()
    specs: list[RunSpec] = orders.read(fields, orders.offer(store.published(), rows))
    ids = [orders.run_id(token, spec) for spec in specs]
    orders.refuse_taken(specs, ids, rows)
    for name, spec in zip(ids, specs, strict=True):
        store.submit(name, spec)


def _renew() -> None:
    st.query_params["form"] = orders.new_token()


show()
