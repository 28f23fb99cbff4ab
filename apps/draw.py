"""What a bo run believed at an ask, drawn when somebody asks for it: other axes, or long ago.

`python -m apps.draw --store URL RUN` answers what pages asked of a run. The model is fitted anew to
the log as that ask saw it, so the run may be going on, or have ended long ago.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from apps import launch, runner
from apps.events import Event
from apps.schema import RunRow
from apps.store import Store
from bo.contract import Believer
from bo.snapshot import log_before, snapshot
from bo.study import Study
from surrogates.errors import UsageError, WaldError


def draw(
    store: Store, name: str, *, axes: Sequence[str] | None = None, step: int | None = None
) -> dict[str, Any]:
    """Draw the belief of one ask into the store.

    Args:
        store: opened for writing.
        name: id or name of a bo run.
        axes: the two parameters of the map; None takes the most important ones.
        step: number of the trial that the ask made; None takes the newest.

    Returns:
        What was drawn: `{"run_id", "step", "axes"}`.

    Raises:
        UsageError: no such run or trial, axes that are no two free parameters, a method without a
            model, an ask of the initial design.
    """
    row = launch.find_run(store, name)
    event = _event(_study(store, row), axes, step)
    store.record(row.run_id, [event])
    return {"run_id": row.run_id} | _told(event)


def _study(store: Store, row: RunRow) -> Study:
    if row.kind != "bo":
        raise UsageError(f"a belief expected a bo run, got {row.run_id}, of kind {row.kind}")
    spec, problem = launch.prepare(row.spec)
    assert problem is not None
    return runner.open_study(spec, store, problem, row.study or row.run_id)


def _event(study: Study, axes: Sequence[str] | None, step: int | None) -> Event:
    trials = study.trials
    number = len(trials) - 1 if step is None else step
    if not 0 <= number < len(trials):
        raise UsageError(f"a step expected one of {len(trials)} trials from 0, got {number}")
    if not isinstance(study.strategy, Believer):
        raise UsageError(f"a belief expected a method with a model, got {study.method}")
    if axes is not None and len(axes) != 2:
        raise UsageError(f"axes expected two parameters, got {len(axes)}")
    wanted = None if axes is None else (axes[0], axes[1])
    picture = snapshot(study, log_before(trials, number), [trials[number]], axes=wanted)
    if picture is None:
        raise UsageError(f"trial {number} belongs to the initial design: nothing was believed yet")
    return Event("posterior", number, picture)


def _told(event: Event) -> dict[str, Any]:
    found = event.payload["map"]
    return {"step": event.step, "axes": None if found is None else [found["x"], found["y"]]}


def main() -> int:
    """Answer all that is asked of a run; what cannot be drawn is told in its log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("run")
    arguments = parser.parse_args()
    store = Store.open(arguments.store, create=True)
    row = store.run(arguments.run)
    if row.spec.folder is not None and os.path.isdir(row.spec.folder):
        os.chdir(row.spec.folder)
    study: Study | None = None
    for request, payload in store.asked(row.run_id, "snapshot"):
        try:
            study = study or _study(store, row)
            event = _event(study, payload.get("axes"), payload.get("step"))
        except (WaldError, OSError, ImportError, RuntimeError, ValueError) as error:
            told = " ".join(f"{error}".split())[:500] or type(error).__name__
            event = Event("log", None, {"not_drawn": told, **payload})
        store.answer(request, row.run_id, [event])
    return 0


if __name__ == "__main__":
    sys.exit(main())
