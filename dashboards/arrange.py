"""Which cards a page shows, in which order: for bo, what the model believes comes first."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st

from apps.curves import told
from apps.spec import RunSpec
from dashboards.buffer import MOST_RECORDS
from dashboards.cards import (
    arms,
    ask_time,
    bands,
    best_so_far,
    calibration,
    differences,
    failures,
    final,
    front,
    lengths,
    limits,
    losses,
    parallel,
    parameters,
    pulls,
    regret,
    returns,
    timeline,
)
from dashboards.cards.card import Card, NotYet, Version, draw, made
from dashboards.data import RunData, of_the_first_goal
from dashboards.words import plain

WIDE = ("parameters", "parallel")  # many small pictures side by side
TIMELINE_SECONDS = 4
Make = Callable[[], Card]
Piece = tuple[str, str, Make]
"""Key, title and maker of a card."""
Shown = Literal["value", "regret"]


def history(data: RunData, *, last: int | None, live: bool) -> None:
    """How a run went: all cards of its kind but those of beliefs.

    Args:
        data: the run.
        last: how many of the newest records the histories show; None for all.
        live: whether the pictures follow the run.
    """
    kind = data.run["kind"]
    st.subheader("How it goes", anchor=False)
    shown = _tail(data, last)
    pieces, options = {"bo": _bo, "bandit": _bandit, "rl": _rl}[kind](shown, data)
    version = None if shown.version is None else (*shown.version, last, *options)
    grid(pieces, version)
    if kind == "bo":
        _timeline(shown, live and data.run["state"] == "running", version)
    _records(shown)


def _timeline(data: RunData, live: bool, version: Version) -> None:
    """Bars of trials that run grow with the clock, so the clock is a part of the version."""
    now = time.time() // TIMELINE_SECONDS * TIMELINE_SECONDS if live else None
    draw(
        functools.partial(timeline.card, data, now),
        key="timeline",
        title="When each trial ran",
        version=None if version is None else (*version, now),
    )


def comparing(runs: Sequence[RunData], specs: Mapping[str, RunSpec]) -> None:
    """All cards of several runs."""
    show, log = _scale(any(run.run["regret"] is not None for run in runs))
    bound = functools.partial
    version = (tuple(run.version for run in runs), show, log)
    draw(
        bound(bands.card, runs, show=show, log=log),
        key="bands",
        title="Course over seeds",
        version=version,
    )
    grid(
        [
            ("final", "Scores and their intervals", bound(final.card, runs)),
            ("differences", "How the runs differ", bound(differences.card, runs, specs)),
        ],
        version,
    )
    if any(run.run["kind"] == "bo" for run in runs):
        draw(
            bound(parallel.card, runs),
            key="parallel",
            title="All trials, parameter by parameter",
            version=version,
        )


def grid(pieces: Sequence[Piece], version: Version) -> None:
    """Two cards a row, then those that want all of it; what cannot be drawn yet below."""
    ready: list[Piece] = []
    waiting: list[tuple[str, str]] = []
    for key, title, make in pieces:
        try:
            made(make, key, version)
            ready.append((key, title, make))
        except NotYet as missing:
            waiting.append((title, str(missing)))
        except Exception:  # noqa: BLE001 - `draw` meets it again and shows it in the card's frame
            ready.append((key, title, make))
    narrow = [piece for piece in ready if piece[0] not in WIDE]
    rows = [narrow[start : start + 2] for start in range(0, len(narrow), 2)]
    rows += [[piece] for piece in ready if piece[0] in WIDE]
    for row in rows:
        columns = st.columns(2) if len(row) == 2 else [st.container()]
        for column, (key, title, make) in zip(columns, row, strict=True):
            with column:
                draw(make, key=key, title=title, version=version)
    if waiting:
        with st.container(border=True, gap="xsmall"):
            for title, missing in waiting:
                st.caption(f":material/hourglass_empty: **{plain(title)}**: {plain(missing, 1000)}")


Choices = tuple[Any, ...]
"""What a reader has chosen of the pictures."""


def _bo(data: RunData, whole: RunData) -> tuple[list[Piece], Choices]:
    show, log = _scale(data.run["regret"] is not None)
    best = functools.partial(best_so_far.card, data, show=show, log=log)
    said = None if data.goals is None else told(data.goals)
    first = of_the_first_goal(data)
    pieces: list[Piece] = [
        ("best", "Best so far, and all trials" if show == "value" else "Regret", best),
        ("parameters", "Parameters against value", functools.partial(parameters.card, first)),
        ("calibration", "Predicted against measured", functools.partial(calibration.card, first)),
        ("ask", "Time to choose a point", functools.partial(ask_time.card, data)),
    ]
    if said is not None and len(said.goals) > 1:
        several = functools.partial(front.card, data, of=whole)
        pieces.insert(1, ("front", "Goals against each other", several))
    if said is not None and said.constraints:
        place = ("limits", "Constraints on outcomes", functools.partial(limits.card, data))
        pieces.insert(2, place)
    if (data.trials["state"] == "failed").any():
        pieces.append(("failures", "Failed trials", functools.partial(failures.card, data)))
    if len(data.parameters) > 2:
        all_trials = functools.partial(parallel.card, [data])
        pieces.append(("parallel", "All trials, parameter by parameter", all_trials))
    return pieces, (show, log)


def _bandit(data: RunData, _: RunData) -> tuple[list[Piece], Choices]:
    pieces: list[Piece] = [
        ("regret", "Regret", functools.partial(regret.card, data)),
        ("pulls", "Pulls per arm", functools.partial(pulls.card, data)),
        ("arms", "What it believes of the arms", functools.partial(arms.card, data)),
    ]
    return pieces, ()


def _rl(data: RunData, _: RunData) -> tuple[list[Piece], Choices]:
    over = st.segmented_control(
        "Over",
        ("environment steps", "CPU seconds"),
        default="environment steps",
        required=True,
        key="over",
        bind="query-params",
        label_visibility="collapsed",
    )
    x: Any = "cpu_seconds" if over == "CPU seconds" else "step"
    pieces: list[Piece] = [
        ("returns", "Returns", functools.partial(returns.card, data, x=x)),
        ("lengths", "Episode lengths", functools.partial(lengths.card, data, x=x)),
        ("losses", "Loss and exploration", functools.partial(losses.card, data, x=x)),
    ]
    return pieces, (x,)


def _scale(has_regret: bool) -> tuple[Shown, bool]:
    """Values or regret, and whether on a log scale."""
    with st.container(horizontal=True, vertical_alignment="center"):
        show: Shown = "value"
        if has_regret:
            picked = st.segmented_control(
                "Show",
                ("value", "regret"),
                default="value",
                required=True,
                key="show",
                bind="query-params",
                label_visibility="collapsed",
                help="Regret: the distance of the best so far from the known optimum",
            )
            show = "regret" if picked == "regret" else "value"
        log = st.toggle("Log scale", key="log-y", bind="query-params")
    return show, log


def _tail(data: RunData, last: int | None) -> RunData:
    if last is None:
        return data
    trials, steps = data.trials.tail(last), data.steps.tail(last)
    return dataclasses.replace(
        data, trials=trials.reset_index(drop=True), steps=steps.reset_index(drop=True)
    )


def listed(rows: pd.DataFrame, goals: str | None) -> pd.DataFrame:
    """The columns of the records, named as in an export.

    Parameters and outcomes have their own names, an outcome named as a parameter is `value.NAME`;
    what is ours has `trial.` before it where one of them is named so.
    """
    shown = rows.drop(columns=["started", "outcomes", "predicted_quantiles"], errors="ignore")
    own = [str(name) for name in shown if not str(name).startswith("p.")]
    names = [str(name).removeprefix("p.") for name in shown if str(name) not in own]
    outcomes = told(goals).outcomes if "outcomes" in rows and goals is not None else ()
    values: dict[str, pd.Series[Any]] = {}
    for name in outcomes if len(outcomes) > 1 else ():
        told_of = [(each or {}).get(name) for each in rows["outcomes"]]
        values[f"value.{name}" if name in names else name] = pd.Series(told_of, index=rows.index)
    taken = {*names, *values}
    shown = shown.rename(
        columns={name: f"trial.{name}" for name in own if name in taken}
        | {f"p.{name}": name for name in names}
    ).assign(**values)
    return shown.loc[:, ~shown.columns.duplicated()].dropna(axis="columns", how="all")


def _records(data: RunData) -> None:
    """The rows themselves, newest first; made only when somebody opens them."""
    opened = st.expander("All records", icon=":material/table_rows:", on_change="rerun", key="rows")
    if not opened.open:
        return
    rows = data.trials if data.run["kind"] == "bo" else data.steps
    with opened:
        if len(rows) == 0:
            st.caption("No record yet.")
            return
        shown = listed(rows, data.goals)
        if data.records > MOST_RECORDS:
            st.caption(f"Some of the {data.records:,} records; the CSV of Download has them all.")
        texts = {name: st.column_config.Column(name, width="small") for name in shown.columns}
        st.dataframe(
            shown.iloc[::-1],
            hide_index=True,
            column_config=texts,
            placeholder="",
            height=420,
            key="records",
            alt="All records of the run, newest first",
        )
