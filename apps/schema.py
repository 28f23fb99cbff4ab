"""The tables of the run store, their rows as read, and what brings an older store up to date.

    runs        one row per run: what was asked, its state, its latest summary
    events      keyed (run_id, seq), never changed
    requests    rows that ask something of a run: to stop, to draw what it believed
    supervisor  one row: who starts queued runs, where the pages are
    published   the catalog with its options, for the pages, which import no method
    experiments one row per experiment: its file, its state, what it has found so far

They lie in the database of the trial log (`bo/database.py`), under one schema version.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from apps.spec import RunSpec
from bo import database
from bo.database import metadata
from surrogates.errors import StoreError

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
    sa.Column("queued", sa.Float),
    sa.Column("progress", sa.Text, nullable=False, server_default="{}"),
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
    sa.Index("events_by_kind", "run_id", "kind", "step"),
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
supervisor = sa.Table(
    "supervisor",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # always 1
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("heartbeat", sa.Float, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("url", sa.String(200), nullable=False),
    sa.Column("server_pid", sa.Integer),
    sa.Column("workers", sa.Integer, nullable=False),
    sa.Column("cuda", sa.Boolean, nullable=False),
)
published = sa.Table(
    "published",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("row", sa.Text, nullable=False),
)
experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("workers", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", sa.String(200)),
    sa.Column("heartbeat", sa.Float),
    sa.Column("queued", sa.Float),
    sa.Column("finished", sa.Float),
    sa.Column("stop", sa.Float),
    sa.Column("error", sa.Text),
    sa.Column("told", sa.Float),
    sa.Column("results", sa.Text),
)


def _to_2(connection: sa.Connection) -> None:
    """Version 2: runs can be queued and tell their progress; events are found by kind and step."""
    found = sa.inspect(connection)
    if found.has_table(runs.name):
        connection.execute(sa.text("ALTER TABLE runs ADD COLUMN queued FLOAT"))
        connection.execute(
            sa.text("ALTER TABLE runs ADD COLUMN progress TEXT NOT NULL DEFAULT '{}'")
        )
    if found.has_table(events.name):
        for index in events.indexes:
            index.create(connection, checkfirst=True)


MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {1: _to_2}
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
    queued: float | None = None
    progress: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ExperimentRow:
    """One row of `experiments`, read, without what it found.

    Attributes:
        name: the first part of the names of its runs.
        created: when it was first asked for.
        source: its file, as a text of TOML.
        folder: where paths in it start from.
        workers: runs at once.
        state: as of runs.
        owner: the process that drives it.
        heartbeat: its latest sign of life.
        queued: when a page asked the supervisor for it; None of one from a terminal.
        finished: when it ended.
        stop: when somebody asked it to stop.
        error: why it failed.
        told: when its results were last written.
    """

    name: str
    created: float
    source: str
    folder: str
    workers: int
    state: str
    owner: str | None
    heartbeat: float | None
    queued: float | None
    finished: float | None
    stop: float | None
    error: str | None
    told: float | None


def migrate(connection: sa.Connection, url: str) -> None:
    """Raises `StoreError`: a version that has no migration."""
    version = connection.execute(sa.select(database.version_table.c.version)).scalar_one()
    while version < database.SCHEMA_VERSION:
        if version not in MIGRATIONS:
            raise StoreError(
                f"expected a store of schema version {database.SCHEMA_VERSION} at {url}, "
                f"got {version}, which this wald cannot migrate; open it with an older wald"
            )
        MIGRATIONS[version](connection)
        version += 1
        connection.execute(database.version_table.update().values(version=version))
