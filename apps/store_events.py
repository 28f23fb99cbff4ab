"""The part of the run store that holds what belongs to a run: events, files and requests."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from apps.events import Event
from apps.schema import events, requests, runs
from apps.store_base import (
    Connected,
    append_events,
    close_requests,
    current_state,
    event_of,
    queue_run,
    run_of,
    set_state,
)


class Events(Connected):
    """Reading and writing events, and requests to runs."""

    def artifacts(self, run_id: str) -> Path:
        """The folder of a run's files: `artifacts/RUN` beside the store's own file."""
        database = self.engine.url.database
        file = self.engine.url.get_backend_name() == "sqlite" and database
        return (Path(file).parent if file else Path()) / "artifacts" / run_id

    def events(
        self,
        run_id: str,
        *,
        since: int = 0,
        kind: str | tuple[str, ...] | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """Events with `seq` above `since`, in order; of some kinds, and so many, where given."""
        statement = sa.select(events).where(events.c.run_id == run_id, events.c.seq > since)
        if kind is not None:
            kinds = (kind,) if isinstance(kind, str) else kind
            statement = statement.where(events.c.kind.in_(kinds))
        with self._reading() as connection:
            if not sa.inspect(connection).has_table(events.name):
                return []
            ordered = statement.order_by(events.c.seq).limit(limit)
            return [event_of(row) for row in connection.execute(ordered)]

    def events_at(self, run_id: str, kind: str, step: int) -> list[Event]:
        """The events of a kind at a step, in order."""
        statement = sa.select(events).where(
            events.c.run_id == run_id, events.c.kind == kind, events.c.step == step
        )
        with self._reading() as connection:
            return [event_of(row) for row in connection.execute(statement.order_by(events.c.seq))]

    def steps_of(self, run_id: str, kind: str) -> list[int]:
        """The distinct steps at which a run has events of a kind, in order."""
        statement = (
            sa.select(events.c.step)
            .where(events.c.run_id == run_id, events.c.kind == kind, events.c.step.is_not(None))
            .distinct()
            .order_by(events.c.step)
        )
        with self._reading() as connection:
            return list(connection.execute(statement).scalars())

    def last_step(self, run_id: str, kind: str) -> int:
        """The highest step among the events of a kind; -1 where there is none."""
        statement = sa.select(sa.func.max(events.c.step)).where(
            events.c.run_id == run_id, events.c.kind == kind
        )
        with self._reading() as connection:
            found = connection.execute(statement).scalar_one_or_none()
        return -1 if found is None else found

    def request(self, run_id: str, kind: str, payload: Mapping[str, Any] | None = None) -> int:
        """Ask something of a run; returns the request's id.

        `stop` ends a queued run here and now. `resume` queues a run that has ended or is lost.
        `snapshot` wants the belief of an ask drawn: its `step`, and the map's two `axes`.
        """
        now = time.time()
        with self._writing() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).first()
            state = None if row is None else current_state(run_of(row), now=now)
            handled = None
            if kind == "stop" and state == "queued":
                set_state(connection, run_id, "stopped", now, finished=now)
                handled = now
            elif kind == "resume" and state not in ("queued", "running", "finished", None):
                close_requests(connection, run_id, now)
                queue_run(connection, run_id, now)
                handled = now
            inserted = connection.execute(
                requests.insert().values(
                    run_id=run_id,
                    kind=kind,
                    payload=json.dumps(dict(payload or {})),
                    created=now,
                    handled=handled,
                )
            )
            return int(inserted.inserted_primary_key[0])  # pyright: ignore[reportOptionalSubscript]

    def open_requests(self, kind: str) -> dict[str, float]:
        """Per run, when what is still asked of it was first asked."""
        statement = (
            sa.select(requests.c.run_id, sa.func.min(requests.c.created).label("first"))
            .where(requests.c.kind == kind, requests.c.handled.is_(None))
            .group_by(requests.c.run_id)
        )
        with self._reading() as connection:
            return {row.run_id: row.first for row in connection.execute(statement)}

    def asked(self, run_id: str, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """What is still asked of a run: id and payload of each request, the oldest first."""
        statement = (
            sa.select(requests.c.id, requests.c.payload)
            .where(
                requests.c.run_id == run_id,
                requests.c.kind == kind,
                requests.c.handled.is_(None),
            )
            .order_by(requests.c.id)
        )
        with self._reading() as connection:
            found = connection.execute(statement).all()
        return [(row.id, json.loads(row.payload)) for row in found]

    def answer(self, request: int, run_id: str, new: Sequence[Event]) -> None:
        """Append what a request led to, and be done with it."""
        now = time.time()
        with self._writing() as connection:
            append_events(connection, run_id, new, now)
            connection.execute(
                requests.update().where(requests.c.id == request).values(handled=now)
            )
