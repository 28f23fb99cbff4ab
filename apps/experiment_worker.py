"""Runs of an experiment, one after another, in a process of their own.

    python -m apps.experiment_worker --store URL --parent PID

Jobs come as lines of JSON on standard input, answers leave as lines of JSON. What objectives print
goes to the log on standard error. Ctrl-C in the terminal does not reach this process: the parent
ends it by SIGTERM, without a parent it ends itself; the run under way saves its state either way.
"""

import argparse
import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from apps import launch, runner
from apps.catalog import check_names
from apps.schema import RunRow
from apps.spec import RunSpec
from apps.store import Store, current_state
from bo.contract import Problem
from bo.methods import make_problem
from bo.space import Parameters, Space
from bo.strategies.unseen import nearest_unseen
from bo.study import Study
from surrogates.errors import UsageError, WaldError
from surrogates.seeds import derive_seed

LEAST_POINTS, MOST_POINTS = 4, 16
BUSY = "busy"
"""Answer where another process drives the run."""


def main() -> int:
    """Answer jobs until there are no more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--parent", required=True, type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: save, then leave
    answers = os.dup(1)
    os.dup2(2, 1)
    over = threading.Event()
    watching = threading.Thread(target=_watch, args=(arguments.parent, over), daemon=True)
    watching.start()
    try:
        store = Store.open(arguments.store, create=True)
        _answer(answers, {"ready": True})
        for line in sys.stdin.buffer:
            job = json.loads(line)
            _answer(answers, work(store, RunSpec.from_json(job["spec"]), job["initial"]))
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    finally:
        over.set()
        watching.join()
    return 0


def work(store: Store, spec: RunSpec, initial: int | None) -> dict[str, Any]:
    """Drive one run to its end.

    Args:
        store: where.
        spec: what to run; it has a name.
        initial: points of the initial design (bo); None for 2 per free parameter, 4 to 16.

    Returns:
        `state`: how it ended, or `busy` where another process drives it; `error` where it failed.
    """
    assert spec.name is not None
    try:
        row = find_row(store, spec)
        if row is not None and current_state(row) == "running":
            return {"state": BUSY}
        launch._limit_threads(spec.threads)
        check_names(spec.kind, spec.problem, spec.method)
        problem = None
        if spec.kind == "bo":
            options = json.dumps(dict(spec.problem_options))
            problem = _problem(spec.problem, options, spec.folder)
            study = runner.open_study(spec, store, problem, spec.name)
            enqueue_design(study, initial, spec)
        else:
            runner.prepare(spec)
        run_id = _take(store, spec, row)
        if run_id is None:
            return {"state": BUSY}
    except Exception as error:  # noqa: BLE001 - whatever a method raises ends this run only
        told = " ".join(str(error).split())[:500]
        return {
            "state": "failed",
            "error": told if isinstance(error, WaldError) else f"{type(error).__name__}: {told}",
        }
    ended = runner.execute(run_id, store, problem=problem)
    if ended["state"] == "interrupted":
        raise KeyboardInterrupt
    return {"state": ended["state"], "error": ended.get("error")}


def find_row(store: Store, spec: RunSpec) -> RunRow | None:
    """The run of that name and kind: a finished one before others, else the newest."""
    return choose_row([row for row in store.runs_named(spec.name or "") if row.kind == spec.kind])


def choose_row(rows: Sequence[RunRow]) -> RunRow | None:
    """Of runs of one name, newest first, the one that counts."""
    finished = [row for row in rows if row.state == "finished"]
    return next(iter([*finished, *rows]), None)


def design(space: Space, count: int | None, seed: int) -> list[Parameters]:
    """The points that every method starts from: a Latin hypercube, without repeated points.

    De Ath et al. (2021), "Greed is Good", begin with 2 points per parameter; here from 4 to 16.
    Discrete parameters take the level of their uniform number; in a pool, the nearest unseen row.
    Where parameters are constrained, uniform points that are allowed. A discrete space may thus
    have fewer points than asked for.
    """
    d = len(space.free) if space.pool is None else space.d
    if count is None:
        count = min(max(2 * len(space.free), LEAST_POINTS), MOST_POINTS)
    if count == 0:
        return []
    random = np.random.default_rng(seed)
    if space.pool is not None:
        return nearest_unseen(space, [], qmc.LatinHypercube(d, rng=random).random(count))
    if space.region is not None:
        drawn = space.region.draw(lambda n: random.random((n, d)), count, seed=seed)
    else:
        drawn = space.from_uniforms(qmc.LatinHypercube(d, rng=random).random(count))
    return list({space.key(point): point for point in drawn}.values())


def enqueue_design(study: Study, initial: int | None, spec: RunSpec) -> None:
    """Put the initial design first in a study, once; a part of it that is there is completed.

    Points depend on problem and seed alone, so that all methods start from the same ones.

    Raises:
        UsageError: the study began with other points.
    """
    use = ("design", spec.problem, json.dumps(dict(spec.problem_options), sort_keys=True))
    points = design(study.space, initial, derive_seed(spec.seed, *use))[: spec.budget]
    points = [study.space.check(point) for point in points]
    with study.log.asking() as lease:  # two processes may be here at once
        trials = lease.trials()
        given = [trial.parameters for trial in trials if trial.method is None]
        same = points[: len(given)] == given[: len(points)]
        late = len(given) < min(len(points), len(trials))
        if late or not same:
            raise UsageError(
                f"expected the study {study.name!r} to begin with the {len(points)} points of the "
                f"initial design, got one that began otherwise; rename the experiment, or set "
                "initial as it was"
            )
        for point in points[len(given) :]:
            study.enqueue(point)


def _take(store: Store, spec: RunSpec, row: RunRow | None) -> str | None:
    """Make this process the one that drives the run; None where another was faster."""
    if row is not None and row.state != "queued":
        try:
            store.claim_run(row.run_id, spec, runner.versions())
        except UsageError:
            return None
        return row.run_id
    run_id = f"{spec.kind}-{derive_seed(0, spec.name):016x}" if row is None else row.run_id
    if row is None:
        store.submit(run_id, spec)
    if not store.take_queued(run_id):
        return None
    told = {"spec": spec.to_json(), "versions": json.dumps(runner.versions())}
    store.record(run_id, [], columns=told, driving=True)
    return run_id


@functools.lru_cache(maxsize=1)
def _problem(name: str, options: str, folder: str | None) -> Problem:
    """Made once for all methods on it; tables are large, so only the latest is kept."""
    with runner.within(folder):
        return make_problem(name, json.loads(options))


def _answer(file: int, told: Mapping[str, Any]) -> None:
    os.write(file, json.dumps(told).encode() + b"\n")


def _watch(parent: int, over: threading.Event) -> None:
    """End in good order where the parent has gone; in any order after a while."""
    while os.getppid() == parent:
        if over.wait(1.0):
            return
    os.kill(os.getpid(), signal.SIGTERM)
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        if over.wait(1.0):
            return
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
