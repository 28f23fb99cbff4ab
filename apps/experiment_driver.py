"""An experiment in a process of its own: `python -m apps.experiment_driver --store URL NAME`.

It takes the experiment before it imports anything heavy, does what `wald experiment` does, and says
in the store that it is alive and what it has found so far. Its runs are driven by processes of its
own, so the supervisor counts it as so many workers.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from apps.schema import ExperimentRow
from apps.store import Store, TakenOver
from surrogates.errors import StoreError, WaldError

NOT_TAKEN = 3
"""Exit code where another process was faster."""
BEAT_SECONDS = 1.0
LEAST_SECONDS = 3.0
SHARE = 0.05
"""Of the time, that reading what was found so far may take."""


class Driver:
    """Says of one experiment what its process does: alive, found so far, ended.

    Where another process drives it already, this one says nothing, and both do its runs.

    Args:
        store: opened for writing.
        name: of the experiment.
        mine: whether this process is the one that drives it.
    """

    def __init__(self, store: Store, name: str, *, mine: bool) -> None:
        self.store = store
        self.name = name
        self.mine = mine
        self.stop = threading.Event()
        self.over = threading.Event()
        self.due = time.monotonic() + LEAST_SECONDS
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Driver":
        if self.mine:
            self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        """Where an exception ends it, that is how the experiment ended."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.end("interrupted")
        elif kind is not None:
            told = " ".join(str(error).split())[:500]
            self.end("failed", told if isinstance(error, WaldError) else f"{kind.__name__}: {told}")
        self._leave()

    def look(self) -> None:
        """Raise `KeyboardInterrupt` where somebody asked it to stop."""
        if self.stop.is_set():
            raise KeyboardInterrupt

    def found(self, read: Callable[[], Mapping[str, Any]]) -> None:
        """Write what was found so far, if the last time is long enough ago for what it cost."""
        if not self.mine or time.monotonic() < self.due:
            return
        began = time.monotonic()
        self.write(read())
        ended = time.monotonic()
        self.due = ended + max(LEAST_SECONDS, (ended - began) / SHARE)

    def write(self, results: Mapping[str, Any]) -> None:
        """Write what was found."""
        self._change(results=results)

    def end(self, state: str, error: str | None = None) -> None:
        """Say how it ended; one that was asked to stop has stopped."""
        self._leave()
        if state == "interrupted" and self.stop.is_set():
            state = "stopped"
        self._change(state=state, error=error, finished=time.time())
        self.mine = False

    def _change(self, **columns: Any) -> None:
        if self.mine:
            try:
                self.store.change_experiment(self.name, **columns)
            except TakenOver:
                self.mine = False

    def _beat(self) -> None:
        while not self.over.wait(BEAT_SECONDS):
            try:
                if self.store.change_experiment(self.name):
                    self.stop.set()
            except TakenOver:
                return
            except StoreError:  # the main thread meets the same
                continue

    def _leave(self) -> None:
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()


def main() -> int:
    """Drive the experiment to its end; 0 where it finished or was stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("experiment")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: save, then leave
    store = Store.open(arguments.store, create=True)
    row = store.take_experiment(arguments.experiment)
    if row is None:
        return NOT_TAKEN
    try:
        state = _drive(store, row)
    except KeyboardInterrupt:
        return 130
    except WaldError as error:
        sys.stderr.write(f"wald: {error}\n")
        return 1
    return 0 if state == "finished" else 1


def _drive(store: Store, row: ExperimentRow) -> str:
    with Driver(store, row.name, mine=True) as driver:
        from apps.experiment import go_on

        return go_on(driver, row)["state"]


if __name__ == "__main__":
    sys.exit(main())
