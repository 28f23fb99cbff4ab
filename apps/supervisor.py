"""The supervisor: starts queued runs and experiments, and stops those that should end.

A run is one worker process; an experiment is one with workers of its own, and counts as so many.

It holds nothing that matters. What is queued, what runs and what was asked stands in the store: a
supervisor that was killed is replaced by the next `wald up`, which counts the workers that still
run by their heartbeats. Workers live in sessions of their own: no Ctrl-C reaches them, and they go
on when the supervisor ends.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.events import Event
from apps.experiment_file import slug
from apps.schema import ExperimentRow, RunRow
from apps.store import Store, current_state
from bo.trial_log import local_process
from surrogates.errors import StoreError

TICK_SECONDS = 0.2
BEAT_SECONDS = 1.0
TERM_AFTER_SECONDS = 10.0
KILL_AFTER_SECONDS = 20.0
EXPERIMENT_PATIENCE_SECONDS = 40.0
"""How much longer an experiment may take, whose own workers are to end before it."""
NICENESS = 5
"""Of workers, beside the page: it stays quick while runs take all cores."""
ATTEMPTS = 2
"""A run whose worker ends this often before it took it is failed."""


class Supervisor:
    """Watches one store.

    Args:
        store: opened for writing; this process must be its supervisor already.
        workers: runs at once.
    """

    def __init__(self, store: Store, *, workers: int) -> None:
        self.store = store
        self.workers = workers
        self.cuda = False
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.experimenting: dict[str, subprocess.Popen[bytes]] = {}
        self.attempts: dict[str, int] = {}
        self.signalled: dict[str, int] = {}
        self.publishing: subprocess.Popen[bytes] | None = None
        self.drawing: tuple[str, subprocess.Popen[bytes]] | None = None
        self.last_beat = 0.0
        self.file = store.file_id()

    def publish(self) -> None:
        """Begin to write the catalog into the store, in a process of its own."""
        self.publishing = python(
            "apps.publish",
            "--store",
            self.store.url,
            out=subprocess.PIPE,
            err=subprocess.DEVNULL,
            niceness=NICENESS,
        )

    def tick(self) -> None:
        """Look once, and do what is due.

        Raises:
            TakenOver: another one supervises.
            StoreError: the store's file is gone or another one.
        """
        now = time.time()
        if now - self.last_beat >= BEAT_SECONDS:
            if self.store.file_id() != self.file:
                raise StoreError(
                    f"expected the store {self.store.url}, got none, or another file in its place; "
                    "runs that were queued in it are gone; start `wald up` anew"
                )
            self.store.beat_supervisor(cuda=self.cuda)
            self.last_beat = now
        self._read_published()
        rows = {row.run_id: row for row in self.store.runs_in(("queued", "running"))}
        experiments = self.store.experiments_in(("queued", "running"))
        self._reap(rows)
        self._reap_experiments({row.name: row for row in experiments})
        for run_id, asked in self.store.open_requests("stop").items():
            self._stop(rows.get(run_id), run_id, now - asked)
        for experiment in experiments:
            if experiment.stop is not None:
                self._stop_experiment(experiment, now - experiment.stop)
        self._start(rows, experiments)
        self._draw()

    def close(self) -> None:
        """Leave; the workers go on."""
        if self.publishing is not None:
            self.publishing.kill()
            self.publishing.communicate()
        if self.drawing is not None:
            self.drawing[1].kill()
            self.drawing[1].wait()
        self.store.leave_supervisor()

    def _read_published(self) -> None:
        if self.publishing is None or self.publishing.poll() is None:
            return
        told, _ = self.publishing.communicate()
        failed = self.publishing.returncode != 0
        self.publishing = None
        if failed:
            sys.stderr.write("wald: the catalog was not published; `wald catalog` tells why\n")
        else:
            self.cuda = bool(json.loads(told)["cuda"])

    def _reap(self, rows: Mapping[str, RunRow]) -> None:
        for run_id, child in list(self.children.items()):
            if child.poll() is None:
                continue
            del self.children[run_id]
            self.signalled.pop(run_id, None)
            row = rows.get(run_id)
            if row is None or row.state != "queued":
                self.attempts.pop(run_id, None)
                continue
            self.attempts[run_id] = self.attempts.get(run_id, 0) + 1
            if self.attempts[run_id] >= ATTEMPTS:
                self.store.end_run(run_id, "failed", self._why_not_started(run_id))

    def _reap_experiments(self, rows: Mapping[str, ExperimentRow]) -> None:
        for name, child in list(self.experimenting.items()):
            if child.poll() is None:
                continue
            del self.experimenting[name]
            self.signalled.pop(_key(name), None)
            row = rows.get(name)
            if row is None or row.state != "queued":
                self.attempts.pop(_key(name), None)
                continue
            self.attempts[_key(name)] = self.attempts.get(_key(name), 0) + 1
            if self.attempts[_key(name)] >= ATTEMPTS:
                why = self._why_not_started(_key(name))
                self.store.end_experiment(name, "failed", why)

    def _start(self, rows: Mapping[str, RunRow], experiments: Sequence[ExperimentRow]) -> None:
        """Start what is queued, the oldest first, where there are free workers (and the one GPU).

        What is too large for the workers that are free waits, and what is younger with it.
        """
        driven = {
            row.name: row
            for row in experiments
            if row.name in self.experimenting
            or (row.queued is not None and current_state(row) == "running")
        }
        parts = tuple(f"{name}/" for name in driven)
        own = {run_id: row for run_id, row in rows.items() if not row.name.startswith(parts)}
        active = {
            run_id
            for run_id, row in own.items()
            if row.queued is not None and current_state(row) == "running"
        } | set(self.children)
        taken = len(active) + sum(self._size(row) for row in driven.values())
        gpu_taken = any(run_id in rows and self._on_gpu(rows[run_id]) for run_id in active)
        queued = [row for row in (*own.values(), *experiments) if row.state == "queued"]
        for row in sorted(queued, key=lambda row: row.queued or 0.0):
            if isinstance(row, ExperimentRow):
                if row.name in self.experimenting:
                    continue
                if taken + self._size(row) > self.workers:
                    return
                arguments = ("apps.experiment_process", row.name, _key(row.name))
                self.experimenting[row.name] = self._spawn(*arguments)
                taken += self._size(row)
                continue
            if taken >= self.workers:
                return
            if row.run_id in active or (gpu_taken and self._on_gpu(row)):
                continue
            self.children[row.run_id] = self._spawn("apps.worker", row.run_id, row.run_id)
            taken += 1
            gpu_taken = gpu_taken or self._on_gpu(row)

    def _size(self, row: ExperimentRow) -> int:
        """As how many workers an experiment counts."""
        return min(row.workers, self.workers)

    def _on_gpu(self, row: RunRow) -> bool:
        device = row.spec.device
        return self.cuda and (device == "cuda" or (device == "auto" and row.kind == "rl"))

    def _spawn(self, module: str, name: str, key: str) -> "subprocess.Popen[bytes]":
        log = self._log(key)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as out:
            given = ("--store", self.store.url, "--", name)
            return python(module, *given, out=out, err=out, niceness=NICENESS)

    def _why_not_started(self, key: str) -> str:
        log = self._log(key)
        told = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no word"]
        return f"its worker could not start: {told[0]:.300}; see {log}"

    def _draw(self) -> None:
        """Have beliefs drawn that pages ask for, one process at a time, whatever the run's state.

        A process that dies leaves its requests unanswered: they are given up, not tried for ever.
        """
        asked = self.store.open_requests("snapshot")
        if self.drawing is not None:
            run_id, child = self.drawing
            if child.poll() is None:
                return
            self.drawing = None
            left = self.store.asked(run_id, "snapshot") if child.returncode else []
            for request, payload in left:
                why = f"its process ended with {child.returncode}; see {self._log(run_id)}"
                event = Event("log", None, {"not_drawn": why, **payload})
                self.store.answer(request, run_id, [event])
        elif asked:
            run_id = min(asked, key=lambda each: asked[each])
            self.drawing = (run_id, self._spawn("apps.draw", run_id, run_id))

    def _log(self, key: str) -> Path:
        return self.store.artifacts(key) / "worker.log"

    def _stop(self, row: RunRow | None, run_id: str, asked_seconds_ago: float) -> None:
        """A run is asked first, then terminated, then killed."""
        state = None if row is None else current_state(row)
        if row is None or state == "queued":
            self.store.end_run(run_id, "stopped", None, only_from=("queued",))
        elif state == "lost":
            self.store.end_run(run_id, "stopped", None, only_from=("running",))
        else:
            self._signal(run_id, row.owner, asked_seconds_ago)

    def _stop_experiment(self, row: ExperimentRow, asked_seconds_ago: float) -> None:
        """Its process looks each second; one that does not end is terminated, then killed."""
        if current_state(row) == "lost":
            self.store.end_experiment(row.name, "stopped", None)
        else:
            late = asked_seconds_ago - EXPERIMENT_PATIENCE_SECONDS
            self._signal(_key(row.name), row.owner, late)

    def _signal(self, key: str, owner: str | None, asked_seconds_ago: float) -> None:
        if asked_seconds_ago < TERM_AFTER_SECONDS:
            return
        kill = asked_seconds_ago >= KILL_AFTER_SECONDS
        number = signal.SIGKILL if kill else signal.SIGTERM
        process = local_process(owner)  # its heart beats, so the number is still its own
        if process is not None and self.signalled.get(key) != number:
            self.signalled[key] = number
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)


def _key(experiment: str) -> str:
    """What stands for an experiment where runs have their ids: the name of its folder of files."""
    return f"experiment-{slug(experiment)}"


def python(
    module: str,
    *arguments: str,
    out: Any,
    err: Any,
    niceness: int = 0,
    environment: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a module of ours in a session of its own, with lower priority by `niceness`.

    `-P`: a file of the user's folder that is named like one of ours does not get in the way.
    """
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
        env=environment,
    )
    if niceness:
        with contextlib.suppress(OSError):  # it has ended already
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, child.pid, own + niceness)
    return child
