"""One queued run in a process of its own: `python -m apps.worker --store URL RUN`.

It takes the run before it imports anything heavy, so that two workers never drive one run, and
says that it is alive from then on. Ctrl-C in the terminal of `wald up` does not reach it.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from apps.events import Event
from apps.store import Store, TakenOver
from surrogates.errors import StoreError, WaldError

NOT_TAKEN = 3
"""Exit code where another process was faster."""


def main() -> int:
    """Drive the run to its end; 0 where it finished or was stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("run")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: save, then leave
    store = Store.open(arguments.store, create=True)
    if not store.take_queued(arguments.run):
        return NOT_TAKEN
    try:
        state = _drive(store, arguments.run)
    except KeyboardInterrupt:  # while it was still loading
        _end(store, arguments.run, "interrupted", None)
        return 130
    return 0 if state in ("finished", "stopped") else 1


def _drive(store: Store, run_id: str) -> str:
    row = store.run(run_id)
    if row.spec.folder is not None and os.path.isdir(row.spec.folder):
        os.chdir(row.spec.folder)  # a problem in a file is named as seen from there
    with _beating(store, run_id):
        from apps import launch, runner

        try:
            spec, problem = launch.prepare(row.spec)
        except (WaldError, OSError, ImportError) as error:
            return _end(store, run_id, "failed", " ".join(str(error).split()))
        found: dict[str, Any] = {
            "spec": spec.to_json(),
            "versions": json.dumps(runner.versions()),
        }
        store.record(run_id, [], columns=found, driving=True)
    return runner.execute(run_id, store, problem=problem)["state"]


def _end(store: Store, run_id: str, state: str, error: str | None) -> str:
    told = {"state": state} | ({"error": error} if error else {})
    store.record(run_id, [Event("state", None, told)], columns=told, driving=True)
    return state


@contextlib.contextmanager
def _beating(store: Store, run_id: str) -> Iterator[None]:
    """Say every second that the run is alive, until the runner does."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(1.0):
            with contextlib.suppress(StoreError, TakenOver):  # the main thread meets the same
                store.beat(run_id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
