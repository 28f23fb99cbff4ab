"""From a command to a run: prepares, opens the store, executes, shows progress."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from threadpoolctl import threadpool_limits

from apps import runner
from apps.progress import Bar
from apps.spec import RunSpec
from apps.store import RunRow, Store
from apps.summary import find_object, run_object
from bo.contract import Problem
from bo.trial_log import is_missing, store_url
from surrogates.errors import UsageError


def run(spec: RunSpec, store: str) -> dict[str, Any]:
    """Run a spec; returns the run's object.

    Raises:
        WaldError: what is wrong with the spec or the store; nothing was created.
    """
    spec, problem = prepare(spec)
    opened = Store.open(store, create=True)
    run_id = runner.start(spec, opened, problem=problem)
    return runner.execute(run_id, opened, problem=problem, watcher=_bar(opened))


def submit(specs: Sequence[RunSpec], store: str) -> list[dict[str, Any]]:
    """Queue specs for `wald up`; returns the id and the state of each.

    Raises:
        WaldError: what is wrong with a spec or the store; where it is a spec, nothing was created.
    """
    ready: list[tuple[RunSpec, Problem | None]] = []
    for spec in specs:
        folder = os.getcwd() if ":" in spec.problem else None
        settled, problem = prepare(dataclasses.replace(spec, folder=folder))
        ready.append((settled, problem))
    opened = Store.open(store, create=True)
    ids = [runner.start(spec, opened, problem=problem, queue=True) for spec, problem in ready]
    return [{"run_id": run_id, "state": "queued"} for run_id in ids]


def prepare(spec: RunSpec) -> tuple[RunSpec, Problem | None]:
    """The spec with its device chosen, and its problem (bo), after all checks.

    Raises:
        WaldError: what is wrong with the spec.
    """
    spec = runner.settle(spec)
    _limit_threads(spec.threads)
    return spec, runner.prepare(spec)


def with_its_seed(spec: RunSpec, store: str) -> RunSpec:
    """The spec where no seed was asked for: what has that name already keeps its own."""
    if spec.name is not None and not is_missing(store_url(store)):
        opened = Store.open(store, create=False)
        same = [row.spec.seed for row in opened.runs_named(spec.name) if row.kind == spec.kind]
        same += [study[3] for study in opened.studies() if study[0] == spec.name]
        if same:
            return dataclasses.replace(spec, seed=same[0])
    return spec


def resume(name: str, store: str) -> dict[str, Any]:
    """Go on with a run; a finished one is returned as it is.

    Raises:
        WaldError: no such run or store, or it is running.
    """
    row = find_run(Store.open(store, create=False), name)
    if row.state == "finished":
        return run_object(Store.open(store, create=False), row)
    _, problem = prepare(row.spec)
    opened = Store.open(store, create=True)
    runner.resume(row, opened)
    return runner.execute(row.run_id, opened, problem=problem, watcher=_bar(opened))


def find_run(store: Store, name: str) -> RunRow:
    """A run by id or name. Raises `UsageError` where there is none, or only a study by hand."""
    found = find_object(store, name)
    if found["problem"] is None:
        raise UsageError(
            f"expected a run, got {name!r}, a study that is asked and told by hand; "
            f"go on in Python: bo.Study.resume({name!r}, store=...)"
        )
    return store.run(found["run_id"])


def quietly(spec: RunSpec, store: str) -> dict[str, Any]:
    """As `run`, for many at once: no progress, and a finished run of that name is returned."""
    _limit_threads(spec.threads)
    opened = Store.open(store, create=True)
    for row in opened.runs_named(spec.name or ""):
        if row.state == "finished" and row.spec == spec:
            return run_object(opened, row)
    problem = runner.prepare(spec)
    run_id = runner.start(spec, opened, problem=problem)
    return runner.execute(run_id, opened, problem=problem)


def _bar(store: Store) -> Bar:
    return Bar(Console(stderr=True), store.url)


def _limit_threads(threads: int) -> None:
    """Same threads, same digest: what is loaded already, and what comes later."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    threadpool_limits(threads)
