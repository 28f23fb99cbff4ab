"""The run store: runs, their append-only events, and requests, in the database of the trial log.

    runs      one row per run: what was asked, its state, its latest summary
    events    keyed (run_id, seq), never changed
    requests  rows that ask something of a run, such as to stop; the runner marks them handled

Opening for writing makes the tables or migrates an older schema; readers never create anything.
The cost of an append does not depend on the length of the history.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from apps.events import Event
from apps.spec import RunSpec
from bo import trial_log
from bo.contract import Goal, Trial
from bo.trial_log import is_gone, metadata, open_database, owner, store_errors, store_url, writing
from surrogates.errors import StoreError, UsageError
from surrogates.options import unknown

LOST_AFTER_SECONDS = 10.0
ENDED = ("finished", "failed", "stopped", "interrupted")

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", sa.String(200)),
    sa.Column("heartbeat", sa.Float),
    sa.Column("finished", sa.Float),
    sa.Column("study", sa.String(200)),
    sa.Column("optimum", sa.Float),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("cpu_seconds", sa.Float, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("versions", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Index("runs_by_name", "name"),
)
events = sa.Table(
    "events",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("step", sa.Integer),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String(200), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("handled", sa.Float),
)

MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {}
"""What turns a store of schema version v into v + 1; `Store.open` runs them in one transaction."""


@dataclasses.dataclass(frozen=True)
class RunRow:
    """One row of `runs`, read."""

    run_id: str
    created: float
    kind: str
    name: str
    spec: RunSpec
    state: str
    owner: str | None
    heartbeat: float | None
    finished: float | None
    study: str | None
    optimum: float | None
    seconds: float
    cpu_seconds: float
    summary: Mapping[str, Any]
    versions: Mapping[str, str]
    error: str | None


class Store:
    """Reading and writing runs, events and requests."""

    def __init__(self, engine: sa.Engine, url: str) -> None:
        self.engine = engine
        self.url = url

    @staticmethod
    def open(store: str, *, create: bool) -> "Store":
        """Open a store by URL or path.

        Args:
            store: URL or path.
            create: open for writing: make the file, the tables, or the current schema version.

        Raises:
            StoreError: absent (with `create=False`), unwritable, damaged, of another version.
        """
        url = store_url(store)
        engine = open_database(url, create=create)
        opened = Store(engine, url)
        with store_errors(url):
            if create:
                with writing(engine) as connection:
                    _migrate(connection, url)
                    metadata.create_all(connection)
            else:
                with engine.connect() as connection:
                    opened._check_readable(connection)
        return opened

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with store_errors(self.url), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with store_errors(self.url), writing(self.engine) as connection:
            yield connection

    def _check_readable(self, connection: sa.Connection) -> None:
        version = connection.execute(sa.select(trial_log.version_table.c.version)).scalar_one()
        if version < trial_log.SCHEMA_VERSION:
            raise StoreError(
                f"expected a store of schema version {trial_log.SCHEMA_VERSION} at {self.url}, "
                f"got {version}; `wald doctor --migrate` brings it up to date"
            )

    # Runs

    def create_run(self, run_id: str, spec: RunSpec, versions: Mapping[str, str]) -> None:
        """Insert a run that this process is about to drive."""
        now = time.time()
        with self._writing() as connection:
            connection.execute(
                runs.insert().values(
                    run_id=run_id,
                    created=now,
                    kind=spec.kind,
                    name=spec.name or run_id,
                    spec=spec.to_json(),
                    state="running",
                    owner=owner(),
                    heartbeat=now,
                    study=(spec.name or run_id) if spec.kind == "bo" else None,
                    seconds=0.0,
                    cpu_seconds=0.0,
                    summary="{}",
                    versions=json.dumps(dict(versions)),
                )
            )
            started = Event("state", None, {"state": "running"})
            _append(connection, run_id, [started], now)

    def claim_run(self, run_id: str, spec: RunSpec, versions: Mapping[str, str]) -> None:
        """Take over a run whose process is gone, to go on with it.

        Raises:
            UsageError: it is running.
        """
        now = time.time()
        with self._writing() as connection:
            row = _run_row(connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one())
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
            connection.execute(
                requests.update()
                .where(requests.c.run_id == run_id, requests.c.handled.is_(None))
                .values(handled=now)
            )
            resumed = Event("state", None, {"state": "running", "resumed": True})
            _append(connection, run_id, [resumed], now)

    def record(
        self,
        run_id: str,
        new: Sequence[Event],
        *,
        summary: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        """Append events and update the run's row, in one transaction.

        Args:
            run_id: the run.
            new: events; the store gives `seq` and `time`.
            summary: replaces the run's summary where given.
            columns: other columns of the row, such as `state` or `seconds`.
        """
        now = time.time()
        changed = dict(columns or {})
        if summary is not None:
            changed["summary"] = json.dumps(dict(summary))
        with self._writing() as connection:
            _append(connection, run_id, new, now)
            if changed:
                changed["heartbeat"] = now
                connection.execute(runs.update().where(runs.c.run_id == run_id).values(**changed))

    def beat(self, run_id: str) -> bool:
        """Say that the run is alive; returns whether somebody asked it to stop."""
        with self._writing() as connection:
            connection.execute(
                runs.update().where(runs.c.run_id == run_id).values(heartbeat=time.time())
            )
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

    def runs_named(self, name: str) -> list[RunRow]:
        """Runs of a name, newest first."""
        return self._runs(runs.c.name == name)

    def _runs(self, condition: Any) -> list[RunRow]:
        with self._reading() as connection:
            if not sa.inspect(connection).has_table(runs.name):
                return []
            statement = sa.select(runs).where(condition).order_by(sa.desc(runs.c.created))
            return [_run_row(row) for row in connection.execute(statement)]

    # Studies, for runs and for those who ask and tell by hand

    def studies(self) -> list[tuple[str, Goal, str, int, float]]:
        """Name, goal, method, seed and time of creation of every study, newest first."""
        table = trial_log.studies.c
        with self._reading() as connection:
            statement = sa.select(
                table.study, table.goal, table.method, table.seed, table.created
            ).order_by(sa.desc(table.created))
            found = connection.execute(statement).all()
        return [(r.study, Goal.parse(r.goal), r.method, r.seed, r.created) for r in found]

    def trials(self, study: str) -> tuple[Goal | None, list[Trial]]:
        """Goal and trials of a study; None and none where it does not exist."""
        table = trial_log.studies.c
        with self._reading() as connection:
            goal = connection.execute(
                sa.select(table.goal).where(table.study == study)
            ).scalar_one_or_none()
            if goal is None:
                return None, []
            return Goal.parse(goal), trial_log.read_trials(connection, study)

    # Events, files and requests

    def artifacts(self, run_id: str) -> Path:
        """The folder of a run's files: `artifacts/RUN` beside the store's own file."""
        database = self.engine.url.database
        file = self.engine.url.get_backend_name() == "sqlite" and database
        return (Path(file).parent if file else Path()) / "artifacts" / run_id

    def events(self, run_id: str, *, since: int = 0, kind: str | None = None) -> list[Event]:
        """Events with `seq` above `since`, in order."""
        statement = sa.select(events).where(events.c.run_id == run_id, events.c.seq > since)
        if kind is not None:
            statement = statement.where(events.c.kind == kind)
        with self._reading() as connection:
            if not sa.inspect(connection).has_table(events.name):
                return []
            return [
                Event(row.kind, row.step, json.loads(row.payload), row.seq, row.time)
                for row in connection.execute(statement.order_by(events.c.seq))
            ]

    def last_step(self, run_id: str, kind: str) -> int:
        """The highest step among the events of a kind; -1 where there is none."""
        statement = sa.select(sa.func.max(events.c.step)).where(
            events.c.run_id == run_id, events.c.kind == kind
        )
        with self._reading() as connection:
            found = connection.execute(statement).scalar_one_or_none()
        return -1 if found is None else found

    def request(self, run_id: str, kind: str, payload: Mapping[str, Any] | None = None) -> int:
        """Ask something of a run; returns the request's id."""
        with self._writing() as connection:
            inserted = connection.execute(
                requests.insert().values(
                    run_id=run_id,
                    kind=kind,
                    payload=json.dumps(dict(payload or {})),
                    created=time.time(),
                )
            )
            return int(inserted.inserted_primary_key[0])  # pyright: ignore[reportOptionalSubscript]


def current_state(row: RunRow, *, now: float | None = None) -> str:
    """The state, as far as one can know: a running run whose process is gone is `lost`."""
    if row.state == "running" and is_gone(
        row.owner, row.heartbeat, now=now or time.time(), patience=LOST_AFTER_SECONDS
    ):
        return "lost"
    return row.state


def _append(connection: sa.Connection, run_id: str, new: Sequence[Event], now: float) -> None:
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


def _run_row(row: Any) -> RunRow:
    values = dict(row._mapping)
    for name in ("summary", "versions"):
        values[name] = json.loads(values[name])
    values["spec"] = RunSpec.from_json(values["spec"])
    return RunRow(**values)


def _migrate(connection: sa.Connection, url: str) -> None:
    version = connection.execute(sa.select(trial_log.version_table.c.version)).scalar_one()
    while version < trial_log.SCHEMA_VERSION:
        if version not in MIGRATIONS:
            raise StoreError(
                f"expected a store of schema version {trial_log.SCHEMA_VERSION} at {url}, "
                f"got {version}, which this wald cannot migrate; open it with an older wald"
            )
        MIGRATIONS[version](connection)
        version += 1
        connection.execute(trial_log.version_table.update().values(version=version))
