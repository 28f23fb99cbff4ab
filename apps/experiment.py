"""`wald experiment`: problems x methods x seeds from the same initial points, to tables and tests.

Every run is an ordinary run of the store, named EXPERIMENT/PROBLEM/METHOD/SEED: pages show it, and
`wald resume` goes on with it. The same command again goes on with what is missing, at the last
finished trial, and makes the tables anew. Of the experiment itself the store keeps the file, the
state and what it has found so far, for the pages.
"""

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from apps import regression
from apps.experiment_driver import Driver
from apps.experiment_file import Plan, parse_plan, read_plan, slug
from apps.experiment_plan import check_plan
from apps.experiment_pool import Pool
from apps.experiment_report import write
from apps.experiment_results import Known, collect, curves, tell
from apps.experiment_worker import choose_row
from apps.progress import duration
from apps.schema import ExperimentRow, RunRow
from apps.spec import LARGEST, RunSpec
from apps.store import Store
from bo.database import is_missing, store_url
from surrogates.errors import UsageError
from surrogates.options import unknown

ENGINES = ("local",)
FOLDER = "results"


def experiment(
    file: str,
    store: str,
    *,
    engine: str = "local",
    workers: int = 0,
    out: str | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Run what is missing of an experiment, then make its tables, tests and figures.

    Args:
        file: the TOML file.
        store: URL or path; not read by an experiment of regression, which keeps its fits in `out`.
        engine: `local`.
        workers: runs at once; 0 for as many as the CPU cores allow.
        out: folder of the results; None for what the file says, else `results/NAME`.
        command: the words that asked for it, for RESULTS.md.

    Returns:
        `experiment`, `state` (`finished`; `failed` where a run failed; `interrupted`), `runs`,
        `failed`, `table`, `ranks`, and more. Where interrupted, no file is written.

    Raises:
        WaldError: what is wrong with the file, the store or the folder; nothing was created.
    """
    if engine not in ENGINES:
        raise UsageError(unknown("engine", engine, ENGINES))
    if regression.is_regression(file):
        return regression.experiment(file, workers=workers, out=out, command=command)
    if not 0 <= workers <= LARGEST["parallel"]:
        raise UsageError(f"expected --workers 0 to {LARGEST['parallel']}, got {workers}")
    plan = check_plan(read_plan(file))
    source = Path(file).read_text(encoding="utf-8")
    folder = Path(out or plan.out or Path(FOLDER) / plan.name)
    _check_folder(folder)
    if not is_missing(store_url(store)):
        _check_store(plan, Store.open(store, create=False))
    opened = Store.open(store, create=True)
    workers = workers or max((os.cpu_count() or 1) // (plan.threads * plan.parallel), 1)
    mine = opened.begin_experiment(plan.name, source, str(plan.folder), workers=workers)
    with Driver(opened, plan.name, mine=mine) as driver:
        return _drive(plan, driver, workers, folder, command)


def go_on(driver: Driver, row: ExperimentRow) -> dict[str, Any]:
    """Drive an experiment as the store keeps it; what `experiment` returns.

    Raises:
        WaldError: what is wrong with it here.
    """
    plan = check_plan(parse_plan(row.source, row.name, row.folder))
    folder = Path(plan.out or Path(FOLDER) / slug(plan.name))
    _check_folder(folder)
    _check_store(plan, driver.store)
    command = ["wald", "experiment", f"{slug(plan.name)}.toml", "--workers", str(row.workers)]
    return _drive(plan, driver, row.workers, folder, command)


def _drive(
    plan: Plan, driver: Driver, workers: int, folder: Path, command: Sequence[str]
) -> dict[str, Any]:
    failures, interrupted = _run(plan, driver, workers)
    results = collect(plan, driver.store, failures)
    told = tell(results)
    if interrupted:
        told |= {"state": "interrupted"}
    driver.write(told | {"curves": curves(results), "out": str(folder.absolute())})
    files = [] if interrupted else write(results, told, folder, command)
    driver.end(told["state"])
    return told | {"out": str(folder), "files": files}


def _run(plan: Plan, driver: Driver, workers: int) -> tuple[dict[str, str], bool]:
    """Why runs did not finish, by name; and whether somebody pressed Ctrl-C."""
    store = driver.store
    known: Known = {}
    specs = [spec for *_, spec in plan.cells()]
    rows = _rows(store)
    missing = [spec for spec in specs if not _is_there(spec, rows)]
    failures: dict[str, str] = {}
    logs = store.artifacts(f"experiment-{slug(plan.name)}")
    pool = Pool(store.url, logs, workers=workers, threads=plan.threads, initial=plan.initial)
    with _Line(plan, done=len(specs) - len(missing), left=len(missing), workers=workers) as line:

        def on_end(spec: RunSpec, told: Mapping[str, Any]) -> None:
            if told["state"] != "finished":
                failures[str(spec.name)] = told.get("error") or told["state"]
            line.ended(spec, told)
            driver.found(so_far)

        def so_far() -> dict[str, Any]:
            results = collect(plan, store, failures, known)
            return tell(results) | {"state": "running", "curves": curves(results)}

        try:
            with _Interrupts() as interrupts:
                pool.run(missing, on_end, lambda: (driver.look(), interrupts.look()))
        except KeyboardInterrupt:
            line.say("interrupted: every trial so far is kept; the same command goes on")
            return failures, True
    return failures, False


class _Interrupts:
    """Ctrl-C, though another package may swallow the exception: many do where they are imported."""

    def __init__(self) -> None:
        self.pressed = False

    def __enter__(self) -> "_Interrupts":
        here = threading.current_thread() is threading.main_thread()
        self.ours = here and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self.ours:
            signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        if self.ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def look(self) -> None:
        """Raise what was swallowed."""
        if self.pressed:
            raise KeyboardInterrupt

    def _press(self, *_: object) -> None:
        self.pressed = True
        raise KeyboardInterrupt


def _is_there(spec: RunSpec, rows: Mapping[tuple[str, str], RunRow]) -> bool:
    row = rows.get((spec.kind, str(spec.name)))
    return row is not None and row.state == "finished" and row.spec.budget >= spec.budget


def _rows(store: Store) -> dict[tuple[str, str], RunRow]:
    """The run that counts of each kind and name."""
    named: dict[tuple[str, str], list[RunRow]] = {}
    for row in store.runs():
        named.setdefault((row.kind, row.name), []).append(row)
    chosen = {key: choose_row(rows) for key, rows in named.items()}
    return {key: row for key, row in chosen.items() if row is not None}


def _check_store(plan: Plan, store: Store) -> None:
    """Refuse an experiment whose name is that of a different one."""
    rows = _rows(store)
    for *_, spec in plan.cells():
        row = rows.get((spec.kind, str(spec.name)))
        difference = None if row is None else spec.difference(row.spec)
        if difference is not None:
            raise UsageError(
                f"the run {spec.name!r} exists and differs: {difference}; "
                "choose another name for the experiment, or another --store"
            )


def _check_folder(folder: Path) -> None:
    """Refuse a folder of results that cannot be made, before hours of computing."""
    above = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(
            f"expected a folder for the results at {folder}, got {above}, which is no folder that "
            "can be written; name another one with --out"
        )


class _Line:
    """How far it has come, on standard error: a bar in a terminal, and a line per finished run."""

    def __init__(self, plan: Plan, *, done: int, left: int, workers: int) -> None:
        self.plan = plan
        self.left = left
        self.workers = workers
        self.began = time.monotonic()
        self.ran = 0
        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn(plan.name, markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("runs"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=self.console,
            transient=True,
        )
        self.task = self.progress.add_task("", total=done + left, completed=done, told="")

    def __enter__(self) -> "_Line":
        for label, why in self.plan.skipped.items():
            self.say(f"left out {label}: {why}")
        total = self.left + self.progress.tasks[0].completed
        self.say(f"{self.plan.name}: {self.left} of {total:.0f} runs to do, {self.workers} at once")
        if self.console.is_terminal and self.left:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def ended(self, spec: RunSpec, told: Mapping[str, Any]) -> None:
        """One more run is over."""
        self.ran += 1
        pace = (time.monotonic() - self.began) / self.ran
        eta = f"ETA {duration(pace * (self.left - self.ran))}"
        self.progress.update(self.task, advance=1, told=eta)
        why = f": {told['error']}" if told.get("error") else ""
        self.say(f"{spec.name} {told['state']}{why}  ({self.ran}/{self.left}, {eta})")

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)
