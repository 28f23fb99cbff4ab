"""What the parts of the run store share: its connection, rows as objects, states and events."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from apps.events import Event
from apps.schema import RunRow, events, requests, runs
from apps.spec import RunSpec
from bo.database import store_errors, writing
from bo.trial_log import is_gone, owner
from surrogates.errors import StoreError

LOST_AFTER_SECONDS = 10.0


class TakenOver(StoreError):
    """Another process drives the run by now."""


class Connected:
    """A database to read from and to write to.

    Args:
        engine: of SQLAlchemy.
        url: where it is, for messages.
    """

    def __init__(self, engine: sa.Engine, url: str) -> None:
        self.engine = engine
        self.url = url

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with store_errors(self.url), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with store_errors(self.url), writing(self.engine) as connection:
            yield connection


class _Driven(Protocol):
    """What a process drives: a run or an experiment."""

    @property
    def state(self) -> str: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def heartbeat(self) -> float | None: ...


def current_state(row: _Driven, *, now: float | None = None) -> str:
    """The state, as far as one can know: a running run whose process is gone is `lost`."""
    if row.state == "running" and is_gone(
        row.owner, row.heartbeat, now=now or time.time(), patience=LOST_AFTER_SECONDS
    ):
        return "lost"
    return row.state


def set_state(
    connection: sa.Connection, run_id: str, state: str, now: float, **columns: Any
) -> None:
    """Change a run's state, and append the event that says so."""
    connection.execute(runs.update().where(runs.c.run_id == run_id).values(state=state, **columns))
    append_events(connection, run_id, [Event("state", None, {"state": state})], now)


def queue_run(connection: sa.Connection, run_id: str, now: float, **columns: Any) -> None:
    """Queue a run that has ended, or is new, as if nobody had driven it."""
    fresh: dict[str, Any] = {"queued": now, "owner": None, "finished": None, "error": None}
    set_state(connection, run_id, "queued", now, **fresh, **columns)


def change_run(
    connection: sa.Connection, run_id: str, columns: Mapping[str, Any], *, driving: bool
) -> None:
    """Change a run's row. Raises `TakenOver` where `driving` and another process does."""
    statement = runs.update().where(runs.c.run_id == run_id)
    if driving:
        statement = statement.where(runs.c.owner == owner())
    if connection.execute(statement.values(**columns)).rowcount != 1 and driving:
        raise TakenOver(
            f"expected to drive {run_id}, got another process that does: this one was silent for "
            f"more than {LOST_AFTER_SECONDS:g} s; nothing more is written here"
        )


def close_requests(connection: sa.Connection, run_id: str, now: float) -> None:
    """What is asked of a run's process is done with: that one is gone, or not there yet."""
    connection.execute(
        requests.update()
        .where(
            requests.c.run_id == run_id,
            requests.c.kind != "snapshot",
            requests.c.handled.is_(None),
        )
        .values(handled=now)
    )


def event_of(row: Any) -> Event:
    """An event from its row."""
    return Event(row.kind, row.step, json.loads(row.payload), row.seq, row.time)


def append_events(connection: sa.Connection, run_id: str, new: Sequence[Event], now: float) -> None:
    """Append events after the last one of the run."""
    if not new:
        return
    last = connection.execute(
        sa.select(sa.func.max(events.c.seq)).where(events.c.run_id == run_id)
    ).scalar_one_or_none()
    rows = [
        {
            "run_id": run_id,
            "seq": (last or 0) + 1 + index,
            "kind": event.kind,
            "step": event.step,
            "time": now,
            "payload": json.dumps(dict(event.payload)),
        }
        for index, event in enumerate(new)
    ]
    connection.execute(events.insert(), rows)


def run_of(row: Any) -> RunRow:
    """A run from its row."""
    values = dict(row._mapping)
    for name in ("summary", "versions", "progress"):
        values[name] = json.loads(values[name])
    values["spec"] = RunSpec.from_json(values["spec"])
    return RunRow(**values)
