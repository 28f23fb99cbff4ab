"""The tour: one real problem of each kind, several methods and seeds, tables and figures.

Every run has a name, so a tour that was interrupted goes on and a finished one is shown at once.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from apps.export import steps
from apps.figures import bands, run_curve, save, y_label
from apps.launch import quietly
from apps.spec import RunSpec
from apps.store import Store
from apps.summary import compare

SEEDS = 3
TUNING = ("gbm-breast-cancer", ("ax", "gp-map", "sobol"), 25)
BANDIT = ("digits", ("ts-linear", "linucb", "random"), 5_000)
AGENT = ("cartpole", ("dqn",), 50_000)


def tour(store: str, out: str, seed: int) -> dict[str, Any]:
    """Run what is missing of the tour; returns tables by title, figures, the store.

    Args:
        store: URL or path.
        out: folder of the figures.
        seed: of the first repetition.
    """
    specs = _specs(seed)
    runs = _run_all(specs, store)
    opened = Store.open(store, create=False)
    tables: dict[str, Any] = {}
    figures: list[str] = []
    for title, name, kind, x in (
        ("Tuning gradient boosting on breast cancer", "tuning", "bo", "trial"),
        ("Digits as a bandit: ten arms, one right", "bandit", "bandit", "round"),
        ("Balancing a pole: 500 is perfect", "agent", "rl", "environment step"),
    ):
        own = [run for run in runs if run["kind"] == kind]
        tables[title] = compare(own)
        curves: dict[str, list[Any]] = {}
        for run in own:
            curves.setdefault(run["method"], []).append(run_curve(run, steps(opened, run)))
        y = y_label(own[0])
        chart = bands(curves, title=title, x=x, y=y, log=kind == "bo", kind=kind)
        figures += save(chart, Path(out) / name)
    return {"tables": tables, "figures": figures, "runs": len(runs), "store": opened.url}


def _specs(seed: int) -> list[RunSpec]:
    specs: list[RunSpec] = []
    for kind, (problem, methods, budget) in (("rl", AGENT), ("bo", TUNING), ("bandit", BANDIT)):
        for method in methods:
            for repetition in range(seed, seed + SEEDS):
                name = f"demo {problem} {method} {repetition}"
                specs.append(RunSpec(kind, problem, method, repetition, budget, name=name))
    return specs


def _run_all(specs: Sequence[RunSpec], store: str) -> list[dict[str, Any]]:
    """In as many processes as there are cores, at most four; a progress bar on standard error."""
    Store.open(store, create=True)  # refuse a bad store before any process starts
    workers = min(os.cpu_count() or 1, 4)
    spawn = multiprocessing.get_context("spawn")
    progress = Progress(
        TextColumn("tour"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, spawn, initializer=_begin_worker, initargs=(os.getpid(),)
    )
    with progress, pool:
        task = progress.add_task("tour", total=len(specs))
        futures = [pool.submit(quietly, spec, store) for spec in specs]
        try:
            for future in concurrent.futures.as_completed(futures):
                run = future.result()
                progress.advance(task)
                told = f"{run['method']} on {run['problem']}, seed {run['seed']}: {run['state']}"
                progress.console.print(f"{told}, {run['seconds']:.1f} s", highlight=False)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()  # a run under way saves its state first
            raise
    return [future.result() for future in futures]


def _begin_worker(parent: int) -> None:
    """Ctrl-C is for the runs, which save their state; a worker never outlives the tour."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
