"""What the Experiments page reads: the file, how far its runs are, what was found so far.

Tables, ranks, tests and curves are those that `wald experiment` made and left in the store; nothing
is computed here.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from apps.curves import PALETTE, Style, style
from apps.experiment_file import Plan, parse_plan
from apps.schema import ExperimentRow
from apps.store import Store, UsageError, current_state
from dashboards.data import _identity


@dataclass(frozen=True)
class Experiment:
    """One experiment as a card sees it; nothing in it changes.

    Attributes:
        row: as the store has it.
        state: as far as one can know.
        plan: what its file asks for; None where that cannot be read.
        broken: why it cannot be.
        runs: id and state by name, of those that exist.
        wanted: how many runs there are to be.
        results: the object of `wald experiment --json` and the curves, as of `row.told`.
    """

    row: ExperimentRow
    state: str
    plan: Plan | None
    broken: str | None
    runs: Mapping[str, tuple[str, str]]
    wanted: int
    results: Mapping[str, Any] | None = None

    @property
    def counts(self) -> Counter[str]:
        """Its runs by state."""
        return Counter(state for _, state in self.runs.values())

    @property
    def version(self) -> tuple[Any, ...]:
        """What changes with the results."""
        return ("experiment", self.row.name, self.row.told)


def listed(store: Store) -> list[Experiment]:
    """All experiments, newest first, without results."""
    return [_read(store, row) for row in store.experiments()]


def load(store: Store, name: str) -> Experiment:
    """One experiment with its results. Raises `UsageError` where there is none."""
    found = _read(store, store.experiment(name))
    told = found.row.told
    if told is None:
        return found
    results = _results(store.url, _identity(store.url), name, told, store)
    return replace(found, results=results)


def styles(plan: Plan) -> dict[str, Style]:
    """Colour and dash of each method by its label: those of every page, where names differ."""
    names = [method.name for method in plan.methods]
    if len(set(names)) == len(names):
        return {method.label: style(plan.kind, method.name) for method in plan.methods}
    cycle = len(PALETTE)
    return {
        method.label: Style(PALETTE[place % cycle], (1, 0) if place < cycle else (6, 3))
        for place, method in enumerate(plan.methods)
    }


def _read(store: Store, row: ExperimentRow) -> Experiment:
    plan, names, broken = _planned(row.source, row.name, row.folder)
    found = store.experiment_runs(row.name)
    runs = {name: each for name, each in found.items() if name in names}
    return Experiment(row, current_state(row), plan, broken, runs, len(names))


@st.cache_resource(max_entries=64, show_spinner=False)
def _planned(source: str, name: str, folder: str) -> tuple[Plan | None, frozenset[str], str | None]:
    """The plan and the names of its runs, or why it cannot be read."""
    try:
        plan = parse_plan(source, name, folder)
    except UsageError as error:
        return None, frozenset(), str(error)
    return plan, frozenset(str(spec.name) for *_, spec in plan.cells()), None


@st.cache_resource(max_entries=16, show_spinner=False)
def _results(
    url: str, identity: tuple[int, int], name: str, told: float, _store: Store
) -> Mapping[str, Any] | None:
    del url, identity, told
    return _store.experiment_results(name)
