"""From a command to a run: prepares, opens the store, executes, shows progress."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from threadpoolctl import threadpool_limits

from apps import runner
from apps.optimize import check_skip, known_results
from apps.progress import Bar
from apps.schema import RunRow
from apps.spec import RunSpec
from apps.store import Store
from apps.summary import find_object, run_object
from bo.contract import Problem
from bo.database import is_missing, store_url
from bo.known import Known
from surrogates.errors import StoreError, UsageError


def run(
    spec: RunSpec,
    store: str,
    known_from: str | None = None,
    *,
    skip_invalid: bool = False,
    drawn: bool = False,
) -> dict[str, Any]:
    """Run a spec; returns the run's object.

    Args:
        spec: what is asked.
        store: URL or path.
        known_from: a CSV file or a study, whose results are taken in first.
        skip_invalid: leave out those that cannot be taken in.
        drawn: nobody asked for the seed, so that of a study of the same name stands.

    Raises:
        WaldError: what is wrong with the spec or the store; nothing was created.
    """
    with _stdout_kept(spec):
        spec, problem = prepare(spec)
        known = _known(known_from, spec.name, problem, store, skip_invalid)
        if problem is not None and problem.objective is not None and problem.note is not None:
            sys.stderr.write(f"{problem.note}\n")
        opened = Store.open(store, create=True)
        if drawn and problem is not None:
            spec = runner.joined(spec, opened, problem)
        _tell_of_others(spec, opened)
        run_id = runner.start(spec, opened, problem=problem, known=known)
        return runner.execute(run_id, opened, problem=problem, watcher=_bar(opened))


def submit(
    specs: Sequence[RunSpec],
    store: str,
    known_from: str | None = None,
    *,
    skip_invalid: bool = False,
    drawn: bool = False,
) -> list[dict[str, Any]]:
    """Queue specs for `wald up`; returns the id and the state of each.

    Args:
        specs: what is asked.
        store: URL or path.
        known_from: a CSV file or a study, whose results are taken in at once.
        skip_invalid: leave out those that cannot be taken in.
        drawn: nobody asked for the seed, so that of a study of the same name stands.

    Raises:
        WaldError: what is wrong with a spec or the store; where it is a spec, nothing was created.
    """
    ready: list[tuple[RunSpec, Problem | None, Known | None]] = []
    for spec in specs:
        folder = os.getcwd() if ":" in spec.problem else None
        with _stdout_kept(spec):
            settled, problem = prepare(dataclasses.replace(spec, folder=folder))
        known = _known(known_from, spec.name, problem, store, skip_invalid)
        ready.append((settled, problem, known))
    opened = Store.open(store, create=True)
    ids: list[str] = []
    for spec, problem, known in ready:
        if drawn and problem is not None:
            spec = runner.joined(spec, opened, problem)
        _tell_of_others(spec, opened)
        ids.append(runner.start(spec, opened, problem=problem, queue=True, known=known))
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
        try:
            opened = Store.open(store, create=False)
        except StoreError:  # another process is making it; what else is wrong is told when it opens
            return spec
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
    with _stdout_kept(row.spec):
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
            "go on with wald ask and wald tell"
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


def _known(
    source: str | None, into: str | None, problem: Problem | None, store: str, skip_invalid: bool
) -> Known | None:
    """What `--from` names, read; what was left out of it is said."""
    check_skip(source, skip_invalid)
    if source is None:
        return None
    if problem is None:
        raise UsageError(f"--from expected a bo run, got one of another kind and {source!r}")
    return known_results(
        source, problem.space, problem.goals, store, into=into, skip_invalid=skip_invalid
    )


def _tell_of_others(spec: RunSpec, store: Store) -> None:
    """Say where runs of the same study evaluate something else: their values will be mixed.

    It is not refused: the same program may lie elsewhere now.
    """
    if spec.name is None or spec.kind != "bo":
        return
    same = [row.spec.problem for row in store.runs_named(spec.name) if row.kind == "bo"]
    others = [problem for problem in dict.fromkeys(same) if problem != spec.problem]
    if others:
        sys.stderr.write(
            f"the study {spec.name!r} has values of {', '.join(others)} too, and this run is of "
            f"{spec.problem}; if that is something else, choose another --name\n"
        )


@contextlib.contextmanager
def _stdout_kept(spec: RunSpec) -> Iterator[None]:
    """Send what a user's function prints to stderr, while it shares this process.

    Stdout is for our own result. Whatever writes to the descriptor is meant: a library in C, a
    program that the function starts.
    """
    if not spec.problem.startswith("python:"):
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _bar(store: Store) -> Bar:
    return Bar(Console(stderr=True), store.url)


def _limit_threads(threads: int) -> None:
    """Same threads, same digest: what is loaded already, and what comes later."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    threadpool_limits(threads)
