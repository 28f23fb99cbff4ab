"""The part of the run store that holds runs: queued, driven, recorded, ended, found."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from apps.events import Event
from apps.schema import RunRow, requests, runs
from apps.spec import RunSpec
from apps.store_base import (
    Connected,
    append_events,
    change_run,
    close_requests,
    current_state,
    queue_run,
    run_of,
)
from bo.trial_log import owner
from surrogates.errors import UsageError
from surrogates.options import unknown


class Runs(Connected):
    """Reading and writing runs."""

    def create_run(self, run_id: str, spec: RunSpec, versions: Mapping[str, str]) -> None:
        """Insert a run that this process is about to drive."""
        now = time.time()
        mine = {"owner": owner(), "heartbeat": now, "versions": json.dumps(dict(versions))}
        with self._writing() as connection:
            _insert_run(connection, run_id, spec, "running", now, mine)

    def submit(self, run_id: str, spec: RunSpec) -> bool:
        """Queue a run for the supervisor.

        Returns:
            False, and nothing changes, where the id is taken: a form sent twice makes one run.
        """
        now = time.time()
        with self._writing() as connection:
            if connection.execute(sa.select(runs.c.run_id).where(runs.c.run_id == run_id)).first():
                return False
            _insert_run(connection, run_id, spec, "queued", now, {"queued": now, "versions": "{}"})
        return True

    def requeue(self, run_id: str, spec: RunSpec) -> None:
        """Queue a run that has ended or is lost once more, perhaps with another budget."""
        now = time.time()
        with self._writing() as connection:
            close_requests(connection, run_id, now)
            queue_run(connection, run_id, now, spec=spec.to_json())

    def take_queued(self, run_id: str) -> bool:
        """Make this process the one that drives a queued run; False where another was faster."""
        now = time.time()
        with self._writing() as connection:
            taken = connection.execute(
                runs.update()
                .where(runs.c.run_id == run_id, runs.c.state == "queued")
                .values(state="running", owner=owner(), heartbeat=now, finished=None, error=None)
            ).rowcount
            if taken != 1:
                return False
            close_requests(connection, run_id, now)
            append_events(connection, run_id, [Event("state", None, {"state": "running"})], now)
        return True

    def claim_run(self, run_id: str, spec: RunSpec, versions: Mapping[str, str]) -> None:
        """Take over a run whose process is gone, to go on with it.

        Raises:
            UsageError: it is running.
        """
        now = time.time()
        with self._writing() as connection:
            row = run_of(connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one())
            if current_state(row, now=now) == "running":
                raise UsageError(f"expected a run that has ended, got {run_id}, which is running")
            connection.execute(
                runs.update()
                .where(runs.c.run_id == run_id)
                .values(
                    spec=spec.to_json(),
                    state="running",
                    owner=owner(),
                    heartbeat=now,
                    finished=None,
                    error=None,
                    versions=json.dumps(dict(versions)),
                )
            )
            close_requests(connection, run_id, now)
            resumed = Event("state", None, {"state": "running", "resumed": True})
            append_events(connection, run_id, [resumed], now)

    def record(
        self,
        run_id: str,
        new: Sequence[Event],
        *,
        summary: Mapping[str, Any] | None = None,
        progress: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        driving: bool = False,
    ) -> None:
        """Append events and update the run's row, in one transaction.

        Args:
            run_id: the run.
            new: events; the store gives `seq` and `time`.
            summary: replaces the run's summary where given.
            progress: replaces what the overview shows of the run, where given.
            columns: other columns of the row, such as `state` or `seconds`.
            driving: only as the process that drives the run.

        Raises:
            TakenOver: `driving`, and another process does by now; nothing was written.
        """
        now = time.time()
        changed = dict(columns or {})
        if summary is not None:
            changed["summary"] = json.dumps(dict(summary))
        if progress is not None:
            changed["progress"] = json.dumps(dict(progress))
        with self._writing() as connection:
            if changed or driving:
                changed["heartbeat"] = now
                change_run(connection, run_id, changed, driving=driving)
            append_events(connection, run_id, new, now)

    def end_run(
        self, run_id: str, state: str, error: str | None, *, only_from: Sequence[str] = ("queued",)
    ) -> None:
        """End a run whose process is not there to do it; what is asked of it is done with.

        Args:
            run_id: the run.
            state: how it ended.
            error: why, where it failed.
            only_from: it stays as it is, unless it has one of these states.
        """
        now = time.time()
        with self._writing() as connection:
            close_requests(connection, run_id, now)
            changed = connection.execute(
                runs.update()
                .where(runs.c.run_id == run_id, runs.c.state.in_(only_from))
                .values(state=state, error=error, finished=now)
            ).rowcount
            if changed == 1:
                told = {"state": state} | ({"error": error} if error else {})
                append_events(connection, run_id, [Event("state", None, told)], now)

    def beat(self, run_id: str) -> bool:
        """Say that the run is alive; returns whether somebody asked it to stop.

        Raises:
            TakenOver: another process drives it by now.
        """
        with self._writing() as connection:
            change_run(connection, run_id, {"heartbeat": time.time()}, driving=True)
            asked = sa.select(requests.c.id).where(
                requests.c.run_id == run_id,
                requests.c.kind == "stop",
                requests.c.handled.is_(None),
            )
            return connection.execute(asked).first() is not None

    def run(self, run_id: str) -> RunRow:
        """One run. Raises `UsageError` with the nearest known name."""
        found = self._runs(runs.c.run_id == run_id) or self._runs(runs.c.name == run_id)
        if not found:
            known = [row.run_id for row in self.runs()]
            raise UsageError(unknown("run", run_id, known))
        return found[0]

    def runs(self) -> list[RunRow]:
        """All runs, newest first."""
        return self._runs(sa.true())

    def runs_in(self, states: Sequence[str]) -> list[RunRow]:
        """Runs whose row has one of some states (a lost one is still `running` there)."""
        return self._runs(runs.c.state.in_(states))

    def runs_named(self, name: str) -> list[RunRow]:
        """Runs of a name, newest first."""
        return self._runs(runs.c.name == name)

    def _runs(self, condition: Any) -> list[RunRow]:
        with self._reading() as connection:
            if not sa.inspect(connection).has_table(runs.name):
                return []
            statement = sa.select(runs).where(condition).order_by(sa.desc(runs.c.created))
            return [run_of(row) for row in connection.execute(statement)]


def _insert_run(
    connection: sa.Connection,
    run_id: str,
    spec: RunSpec,
    state: str,
    now: float,
    columns: Mapping[str, Any],
) -> None:
    connection.execute(
        runs.insert().values(
            run_id=run_id,
            created=now,
            kind=spec.kind,
            name=spec.name or run_id,
            spec=spec.to_json(),
            state=state,
            study=(spec.name or run_id) if spec.kind == "bo" else None,
            seconds=0.0,
            cpu_seconds=0.0,
            summary="{}",
            **columns,
        )
    )
    append_events(connection, run_id, [Event("state", None, {"state": state})], now)
