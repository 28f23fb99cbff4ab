"""The processes that drive the runs of an experiment: K at a time, each replaced when it dies.

They hold nothing that matters: what a run has come to stands in the store, so one whose process
died goes on in another, once; after that it counts as failed.
"""

import collections
import contextlib
import itertools
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from apps.experiment_worker import BUSY
from apps.spec import RunSpec
from surrogates.errors import StoreError

ATTEMPTS = 2
"""A run whose process died this often is failed."""
RUNS_PER_WORKER = 50
"""A worker is replaced after so many runs, so that what libraries never free does not add up."""
BUSY_SECONDS = 1.0
PATIENCE_SECONDS = 30.0

OnEnd = Callable[[RunSpec, Mapping[str, Any]], Any]


class _Worker:
    """One process: what it does now, and how much it has done."""

    def __init__(self, store: str, log: Path, threads: int) -> None:
        self.log = log
        self.job: RunSpec | None = None
        self.ready = False
        self.done = 0
        counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "apps.experiment_worker"),
                    *("--store", store, "--parent", str(os.getpid())),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the parent, which ends it in good order
                env={**os.environ, **dict.fromkeys(counts, str(threads))},
            )

    def give(self, spec: RunSpec, initial: int | None) -> None:
        """Hand it a run. One that has died is noticed at its output."""
        self.job = spec
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            line = json.dumps({"spec": spec.to_json(), "initial": initial})
            self.process.stdin.write(line.encode() + b"\n")

    def last_words(self) -> str:
        """Why it died, as far as its log tells."""
        code = self.process.wait()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        told = f": {lines[-1].strip():.300}" if lines and code >= 0 else ""
        return f"its process ended {how}{told}; see {self.log}"

    def close(self) -> None:
        """No more runs: it leaves after the one it has."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def free(self) -> None:
        """Close what leads to it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


class Pool:
    """Drives runs in worker processes.

    Args:
        store: URL.
        logs: folder of the workers' logs; made where it is absent.
        workers: processes at a time.
        threads: CPU threads of each.
        initial: points of the common initial design, or None for the default.
    """

    def __init__(
        self, store: str, logs: Path, *, workers: int, threads: int, initial: int | None
    ) -> None:
        self.store = store
        self.logs = logs
        self.workers = workers
        self.threads = threads
        self.initial = initial
        self.selector = selectors.DefaultSelector()
        self.alive: dict[int, _Worker] = {}
        self.attempts: collections.Counter[str | None] = collections.Counter()

    def run(
        self, specs: Iterable[RunSpec], on_end: OnEnd, look: Callable[[], object] | None = None
    ) -> None:
        """Drive all runs; `on_end` is called with each and how it ended, `look` about every second.

        Ctrl-C, and whatever else is raised, ends the workers first: their runs save their state.

        Raises:
            StoreError: no worker can start.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        waiting = collections.deque(specs)
        later: collections.deque[tuple[float, RunSpec]] = collections.deque()
        try:
            while waiting or later or any(worker.job for worker in self.alive.values()):
                if look is not None:
                    look()
                while later and later[0][0] <= time.monotonic():
                    waiting.append(later.popleft()[1])
                self._start(waiting)
                for worker, told in self._answers():
                    spec, worker.job = worker.job, None
                    if told is None:
                        self._died(worker, spec, waiting, on_end)
                    elif spec is not None and told["state"] == BUSY:
                        later.append((time.monotonic() + BUSY_SECONDS, spec))
                    elif spec is not None:
                        worker.done += 1
                        on_end(spec, told)
            self._leave()
        finally:
            self._end()

    def _start(self, waiting: "collections.deque[RunSpec]") -> None:
        """Give every free worker a run; start workers where there are too few."""
        for key, worker in list(self.alive.items()):
            if worker.job is None and worker.done >= RUNS_PER_WORKER and waiting:
                worker.close()
                self._forget(key)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(PATIENCE_SECONDS)
                worker.free()
        for worker in self.alive.values():
            if waiting and worker.job is None:
                worker.give(waiting.popleft(), self.initial)
        while waiting and len(self.alive) < self.workers:
            held = {worker.log for worker in self.alive.values()}
            logs = (self.logs / f"worker-{place}.log" for place in itertools.count())
            log = next(log for log in logs if log not in held)
            worker = _Worker(self.store, log, self.threads)
            assert worker.process.stdout is not None
            key = worker.process.stdout.fileno()
            self.alive[key] = worker
            self.selector.register(key, selectors.EVENT_READ)
            worker.give(waiting.popleft(), self.initial)

    def _answers(self) -> list[tuple[_Worker, dict[str, Any] | None]]:
        """What workers say within a second: None from one that died."""
        found: list[tuple[_Worker, dict[str, Any] | None]] = []
        for selected, _ in self.selector.select(timeout=BUSY_SECONDS):
            worker = self.alive[selected.fd]
            assert worker.process.stdout is not None
            line = worker.process.stdout.readline()
            if not line.endswith(b"\n"):
                self._forget(selected.fd)
                found.append((worker, None))
                continue
            told = json.loads(line)
            if "ready" in told:
                worker.ready = True
            else:
                found.append((worker, told))
        return found

    def _died(
        self,
        worker: _Worker,
        spec: RunSpec | None,
        waiting: "collections.deque[RunSpec]",
        on_end: OnEnd,
    ) -> None:
        why = worker.last_words()
        worker.free()
        if not worker.ready:
            raise StoreError(f"a worker of the experiment could not start: {why}")
        if spec is None:
            return
        self.attempts[spec.name] += 1
        if self.attempts[spec.name] < ATTEMPTS:
            waiting.appendleft(spec)
        else:
            on_end(spec, {"state": "failed", "error": why})

    def _forget(self, key: int) -> None:
        self.selector.unregister(key)
        del self.alive[key]

    def _leave(self) -> None:
        for worker in self.alive.values():
            worker.close()
        for worker in self.alive.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(PATIENCE_SECONDS)

    def _end(self) -> None:
        """End whoever is still there: asked first, then killed."""
        left = [w.process for w in self.alive.values() if w.process.poll() is None]
        for process in left:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE_SECONDS
        try:
            for process in left:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(until - time.monotonic(), 0.0))
        finally:  # also where somebody presses Ctrl-C once more
            for process in left:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            self.selector.close()
            for worker in self.alive.values():
                worker.free()
