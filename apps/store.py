"""The run store: runs, their append-only events, and requests (tables: `apps/schema.py`).

Opening for writing makes the tables or migrates an older schema; readers never create anything.
The cost of an append does not depend on the length of the history.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from apps.events import Event
from apps.schema import (
    ExperimentRow,
    RunRow,
    events,
    experiments,
    migrate,
    published,
    requests,
    runs,
    supervisor,
)
from apps.spec import RunSpec
from bo import database
from bo.contract import Trial
from bo.database import metadata, open_database, store_errors, store_url, writing
from bo.goals import Goals
from bo.trial_log import is_gone, owner, read_trials
from surrogates.errors import StoreError, UsageError
from surrogates.options import unknown

LOST_AFTER_SECONDS = 10.0
ENDED = ("finished", "failed", "stopped", "interrupted")


class TakenOver(StoreError):
    """Another process drives the run by now."""


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
                    migrate(connection, url)
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
        version = connection.execute(sa.select(database.version_table.c.version)).scalar_one()
        if version < database.SCHEMA_VERSION:
            raise StoreError(
                f"expected a store of schema version {database.SCHEMA_VERSION} at {self.url}, "
                f"got {version}; `wald doctor --migrate` brings it up to date"
            )

    # Runs

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
            _handle_requests(connection, run_id, now)
            _queue(connection, run_id, now, spec=spec.to_json())

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
            _handle_requests(connection, run_id, now)
            _append(connection, run_id, [Event("state", None, {"state": "running"})], now)
        return True

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
            _handle_requests(connection, run_id, now)
            resumed = Event("state", None, {"state": "running", "resumed": True})
            _append(connection, run_id, [resumed], now)

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
                _change_run(connection, run_id, changed, driving=driving)
            _append(connection, run_id, new, now)

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
            _handle_requests(connection, run_id, now)
            changed = connection.execute(
                runs.update()
                .where(runs.c.run_id == run_id, runs.c.state.in_(only_from))
                .values(state=state, error=error, finished=now)
            ).rowcount
            if changed == 1:
                told = {"state": state} | ({"error": error} if error else {})
                _append(connection, run_id, [Event("state", None, told)], now)

    def beat(self, run_id: str) -> bool:
        """Say that the run is alive; returns whether somebody asked it to stop.

        Raises:
            TakenOver: another process drives it by now.
        """
        with self._writing() as connection:
            _change_run(connection, run_id, {"heartbeat": time.time()}, driving=True)
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
            return [_run_row(row) for row in connection.execute(statement)]

    # Studies, for runs and for those who ask and tell by hand

    def studies(self) -> list[tuple[str, Goals, str, int, float]]:
        """Name, goals, method, seed and time of creation of every study, newest first."""
        table = database.studies.c
        with self._reading() as connection:
            statement = sa.select(
                table.study, table.goal, table.method, table.seed, table.created
            ).order_by(sa.desc(table.created))
            found = connection.execute(statement).all()
        return [(r.study, Goals.parse(r.goal), r.method, r.seed, r.created) for r in found]

    def trials(self, study: str) -> tuple[Goals | None, list[Trial]]:
        """Goals and trials of a study; None and none where it does not exist."""
        table = database.studies.c
        with self._reading() as connection:
            goals = connection.execute(
                sa.select(table.goal).where(table.study == study)
            ).scalar_one_or_none()
            if goals is None:
                return None, []
            return Goals.parse(goals), read_trials(connection, study)

    def trials_since(self, study: str, revision: int) -> list[Trial]:
        """The trials of a study that changed after a revision."""
        with self._reading() as connection:
            return read_trials(connection, study, since=revision)

    def study(self, name: str) -> dict[str, Any] | None:
        """Space (as in SPACE.toml), goal, method, seed, time and revision of a study, or None."""
        table = database.studies.c
        chosen = (table.space, table.goal, table.method, table.seed, table.created, table.revision)
        with self._reading() as connection:
            row = connection.execute(sa.select(*chosen).where(table.study == name)).mappings()
            found = row.first()
        return None if found is None else {**found, "space": json.loads(found["space"])}

    # Events, files and requests

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
            return [_event(row) for row in connection.execute(ordered)]

    def events_at(self, run_id: str, kind: str, step: int) -> list[Event]:
        """The events of a kind at a step, in order."""
        statement = sa.select(events).where(
            events.c.run_id == run_id, events.c.kind == kind, events.c.step == step
        )
        with self._reading() as connection:
            return [_event(row) for row in connection.execute(statement.order_by(events.c.seq))]

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
            state = None if row is None else current_state(_run_row(row), now=now)
            handled = None
            if kind == "stop" and state == "queued":
                _set_state(connection, run_id, "stopped", now, finished=now)
                handled = now
            elif kind == "resume" and state not in ("queued", "running", "finished", None):
                _handle_requests(connection, run_id, now)
                _queue(connection, run_id, now)
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
            _append(connection, run_id, new, now)
            connection.execute(
                requests.update().where(requests.c.id == request).values(handled=now)
            )

    # Experiments; their runs are ordinary ones, named EXPERIMENT/PROBLEM/METHOD/SEED

    def submit_experiment(self, name: str, source: str, folder: str, *, workers: int) -> bool:
        """Queue an experiment for the supervisor.

        Returns:
            False, and nothing changes, where the name is taken.
        """
        now = time.time()
        asked = {"source": source, "folder": folder, "workers": workers}
        with self._writing() as connection:
            experiments.create(connection, checkfirst=True)  # the store may be older than it
            if _experiment_rows(connection, experiments.c.name == name):
                return False
            connection.execute(
                experiments.insert().values(
                    name=name, created=now, state="queued", queued=now, **asked
                )
            )
        return True

    def begin_experiment(self, name: str, source: str, folder: str, *, workers: int) -> bool:
        """Make this process, in a terminal, the one that drives an experiment.

        Returns:
            False, and nothing changes, where a living process drives it.
        """
        now = time.time()
        asked = {"source": source, "folder": folder, "workers": workers}
        mine: dict[str, Any] = {"owner": owner(), "heartbeat": now, "state": "running"}
        mine |= dict.fromkeys(("queued", "finished", "stop", "error"))
        with self._writing() as connection:
            found = _experiment_rows(connection, experiments.c.name == name)
            if not found:
                connection.execute(
                    experiments.insert().values(name=name, created=now, **asked, **mine)
                )
                return True
            if current_state(found[0], now=now) == "running":
                return False
            connection.execute(
                experiments.update().where(experiments.c.name == name).values(**asked, **mine)
            )
        return True

    def take_experiment(self, name: str) -> ExperimentRow | None:
        """Make this process the one that drives a queued experiment; None: another was faster."""
        with self._writing() as connection:
            taken = connection.execute(
                experiments.update()
                .where(experiments.c.name == name, experiments.c.state == "queued")
                .values(state="running", owner=owner(), heartbeat=time.time())
            ).rowcount
            found = _experiment_rows(connection, experiments.c.name == name)
        return found[0] if taken == 1 else None

    def change_experiment(
        self, name: str, *, results: Mapping[str, Any] | None = None, **columns: Any
    ) -> bool:
        """Say, as the process that drives it, that an experiment is alive, and what changed.

        Args:
            name: the experiment.
            results: what it has found so far, where given.
            columns: other columns, such as `state`.

        Returns:
            Whether somebody asked it to stop.

        Raises:
            TakenOver: another process drives it by now.
        """
        now = time.time()
        if results is not None:
            columns |= {"results": json.dumps(dict(results)), "told": now}
        mine = (experiments.c.name == name, experiments.c.owner == owner())
        with self._writing() as connection:
            changed = connection.execute(
                experiments.update().where(*mine).values(heartbeat=now, **columns)
            ).rowcount
            if changed != 1:
                raise TakenOver(f"expected to drive the experiment {name}, got another process")
            asked = sa.select(experiments.c.stop).where(*mine)
            return connection.execute(asked).scalar_one() is not None

    def ask_experiment(self, name: str, what: str) -> None:
        """Ask an experiment to `stop` (a queued one ends here and now) or to `resume`."""
        now = time.time()
        with self._writing() as connection:
            found = _experiment_rows(connection, experiments.c.name == name)
            state = current_state(found[0], now=now) if found else None
            changed: dict[str, Any] = {}
            if what == "stop" and state in ("queued", "lost"):
                changed = {"state": "stopped", "finished": now}
            elif what == "stop" and state == "running":
                changed = {"stop": now}
            elif what == "resume" and state not in ("queued", "running", None):
                changed = {"state": "queued", "queued": now, "owner": None}
                changed |= dict.fromkeys(("finished", "stop", "error"))
            if changed:
                connection.execute(
                    experiments.update().where(experiments.c.name == name).values(**changed)
                )

    def end_experiment(self, name: str, state: str, error: str | None) -> None:
        """End a queued or lost experiment, whose process is not there to do it."""
        with self._writing() as connection:
            connection.execute(
                experiments.update()
                .where(experiments.c.name == name, experiments.c.state.in_(("queued", "running")))
                .values(state=state, error=error, finished=time.time())
            )

    def experiments(self) -> list[ExperimentRow]:
        """All experiments, newest first."""
        return self._experiments(sa.true())

    def experiments_in(self, states: Sequence[str]) -> list[ExperimentRow]:
        """Experiments whose row has one of some states (a lost one is `running` there)."""
        return self._experiments(experiments.c.state.in_(states))

    def experiment(self, name: str) -> ExperimentRow:
        """One experiment. Raises `UsageError` with the nearest known name."""
        found = self._experiments(experiments.c.name == name)
        if not found:
            raise UsageError(unknown("experiment", name, [row.name for row in self.experiments()]))
        return found[0]

    def experiment_results(self, name: str) -> dict[str, Any] | None:
        """What an experiment has found, as of its row's `told`; None where nothing yet."""
        statement = sa.select(experiments.c.results).where(experiments.c.name == name)
        with self._reading() as connection:
            found = connection.execute(statement).scalar_one_or_none()
        return None if found is None else json.loads(found)

    def experiment_runs(self, name: str) -> dict[str, tuple[str, str]]:
        """Id and state by name of the runs of an experiment; of equal names, as results take it."""
        chosen = (
            runs.c.run_id,
            runs.c.name,
            runs.c.state,
            runs.c.owner,
            runs.c.heartbeat,
        )
        first, last = f"{name}/", f"{name}0"  # 0 follows / in every order of texts
        statement = (
            sa.select(*chosen)
            .where(runs.c.name >= first, runs.c.name < last)
            .order_by(runs.c.state == "finished", runs.c.created)
        )
        with self._reading() as connection:
            found: Sequence[Any] = connection.execute(statement).all()
        now = time.time()
        return {row.name: (row.run_id, current_state(row, now=now)) for row in found}

    def _experiments(self, condition: Any) -> list[ExperimentRow]:
        with self._reading() as connection:
            if not sa.inspect(connection).has_table(experiments.name):
                return []
            return _experiment_rows(connection, condition)

    # The supervisor, the catalog for the pages, and facts about the store

    def become_supervisor(self, url: str, *, workers: int) -> "dict[str, Any] | None":
        """Write down that this process supervises, unless a living one does.

        Returns:
            The row of the living one, or None: it is this process now.
        """
        now = time.time()
        with self._writing() as connection:
            row = connection.execute(sa.select(supervisor)).mappings().first()
            if row is not None and _alive(row, now):
                return _supervisor(row, now)
            connection.execute(supervisor.delete())
            connection.execute(
                supervisor.insert().values(
                    id=1,
                    owner=owner(),
                    heartbeat=now,
                    started=now,
                    url=url,
                    workers=workers,
                    cuda=False,
                )
            )
        return None

    def beat_supervisor(self, **columns: Any) -> None:
        """Say that this supervisor is alive, and what changed about it.

        Raises:
            TakenOver: another process supervises by now.
        """
        with self._writing() as connection:
            changed = connection.execute(
                supervisor.update()
                .where(supervisor.c.owner == owner())
                .values(heartbeat=time.time(), **columns)
            ).rowcount
        if changed != 1:
            raise TakenOver("expected to supervise this store, got another `wald up` that does")

    def leave_supervisor(self) -> None:
        """Take this process's row away."""
        with self._writing() as connection:
            connection.execute(supervisor.delete().where(supervisor.c.owner == owner()))

    def supervisor(self) -> dict[str, Any] | None:
        """The supervisor's row with `alive`, or None where there was none."""
        with self._reading() as connection:
            if not sa.inspect(connection).has_table(supervisor.name):
                return None
            row = connection.execute(sa.select(supervisor)).mappings().first()
        return None if row is None else _supervisor(row, time.time())

    def publish(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the published catalog by rows of `apps.catalog.describe`."""
        written = [
            {name: row[name] for name in ("kind", "role", "name")}
            | {"position": position, "row": json.dumps(row)}
            for position, row in enumerate(rows)
        ]
        with self._writing() as connection:
            connection.execute(published.delete())
            connection.execute(published.insert(), written)

    def published(self) -> list[dict[str, Any]]:
        """The published catalog in its own order; empty before `wald up` was ever called."""
        with self._reading() as connection:
            if not sa.inspect(connection).has_table(published.name):
                return []
            found = connection.execute(sa.select(published.c.row).order_by(published.c.position))
            return [json.loads(text) for text in found.scalars()]

    def file_id(self) -> tuple[int, int] | None:
        """What tells the store's file from another one in its place; None where there is none."""
        database = self.engine.url.database
        if self.engine.url.get_backend_name() != "sqlite" or not database:
            return None
        with contextlib.suppress(OSError):
            found = Path(database).stat()
            return found.st_dev, found.st_ino
        return None

    def facts(self) -> dict[str, Any]:
        """Size of the store, and counts of runs and events."""
        database = self.engine.url.database
        size = 0
        if self.engine.url.get_backend_name() == "sqlite" and database:
            for end in ("", "-wal"):
                with contextlib.suppress(OSError):
                    size += Path(database + end).stat().st_size
        recent = sa.select(sa.func.count()).where(events.c.time > time.time() - 60)
        per_state = sa.select(runs.c.state, sa.func.count().label("n")).group_by(runs.c.state)
        with self._reading() as connection:
            states: dict[str, int] = {row.state: row.n for row in connection.execute(per_state)}
            return {
                "url": self.url,
                "bytes": size,
                "runs": sum(states.values()),
                "queued": states.get("queued", 0),
                "running": states.get("running", 0),
                "events": connection.execute(
                    sa.select(sa.func.count()).select_from(events)
                ).scalar_one(),
                "events_last_minute": connection.execute(recent).scalar_one(),
            }


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
    _append(connection, run_id, [Event("state", None, {"state": state})], now)


def _set_state(
    connection: sa.Connection, run_id: str, state: str, now: float, **columns: Any
) -> None:
    connection.execute(runs.update().where(runs.c.run_id == run_id).values(state=state, **columns))
    _append(connection, run_id, [Event("state", None, {"state": state})], now)


def _queue(connection: sa.Connection, run_id: str, now: float, **columns: Any) -> None:
    fresh: dict[str, Any] = {"queued": now, "owner": None, "finished": None, "error": None}
    _set_state(connection, run_id, "queued", now, **fresh, **columns)


def _change_run(
    connection: sa.Connection, run_id: str, columns: Mapping[str, Any], *, driving: bool
) -> None:
    statement = runs.update().where(runs.c.run_id == run_id)
    if driving:
        statement = statement.where(runs.c.owner == owner())
    if connection.execute(statement.values(**columns)).rowcount != 1 and driving:
        raise TakenOver(
            f"expected to drive {run_id}, got another process that does: this one was silent for "
            f"more than {LOST_AFTER_SECONDS:g} s; nothing more is written here"
        )


def _handle_requests(connection: sa.Connection, run_id: str, now: float) -> None:
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


def _alive(row: Any, now: float) -> bool:
    return not is_gone(row["owner"], row["heartbeat"], now=now, patience=LOST_AFTER_SECONDS)


def _supervisor(row: Any, now: float) -> dict[str, Any]:
    return {**row, "alive": _alive(row, now)}


def _event(row: Any) -> Event:
    return Event(row.kind, row.step, json.loads(row.payload), row.seq, row.time)


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
    for name in ("summary", "versions", "progress"):
        values[name] = json.loads(values[name])
    values["spec"] = RunSpec.from_json(values["spec"])
    return RunRow(**values)


def _experiment_rows(connection: sa.Connection, condition: Any) -> list[ExperimentRow]:
    chosen = [experiments.c[field.name] for field in dataclasses.fields(ExperimentRow)]
    statement = sa.select(*chosen).where(condition).order_by(sa.desc(experiments.c.created))
    return [ExperimentRow(**row) for row in connection.execute(statement).mappings()]
