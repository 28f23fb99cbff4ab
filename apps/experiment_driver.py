"""What the process that drives an experiment says in the store: that it is alive, what it found."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from apps.store import Store, TakenOver
from surrogates.errors import StoreError, WaldError

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
