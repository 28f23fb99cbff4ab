"""The run store: runs, their append-only events, and requests (tables: `apps/schema.py`).

Opening for writing makes the tables or migrates an older schema; readers never create anything.
The cost of an append does not depend on the length of the history. Its parts are in
`apps/store_*.py`; here are the whole, studies, and facts about the store.
"""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from apps.schema import events, migrate, runs
from apps.store_base import LOST_AFTER_SECONDS, TakenOver, current_state
from apps.store_events import Events
from apps.store_experiments import Experiments
from apps.store_runs import Runs
from apps.store_supervisor import Supervision
from bo import database
from bo.contract import Trial
from bo.database import metadata, open_database, store_errors, store_url, writing
from bo.goals import Goals
from bo.trial_log import read_trials
from surrogates.errors import StoreError, UsageError

__all__ = [
    "ENDED",
    "LOST_AFTER_SECONDS",
    "Store",
    "StoreError",
    "TakenOver",
    "UsageError",
    "current_state",
]

ENDED = ("finished", "failed", "stopped", "interrupted")


class Store(Runs, Events, Experiments, Supervision):
    """Reading and writing runs, events and requests. No part overrides another."""

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

    def _check_readable(self, connection: sa.Connection) -> None:
        version = connection.execute(sa.select(database.version_table.c.version)).scalar_one()
        if version < database.SCHEMA_VERSION:
            raise StoreError(
                f"expected a store of schema version {database.SCHEMA_VERSION} at {self.url}, "
                f"got {version}; `wald doctor --migrate` brings it up to date"
            )

    # Studies, for runs and for those who ask and tell by hand

    def studies(self) -> list[tuple[str, str, str, int, float]]:
        """Name, text of the goals, method, seed and time of every study, newest first."""
        table = database.studies.c
        with self._reading() as connection:
            statement = sa.select(
                table.study, table.goal, table.method, table.seed, table.created
            ).order_by(sa.desc(table.created))
            found = connection.execute(statement).all()
        return [(r.study, r.goal, r.method, r.seed, r.created) for r in found]

    def trials(self, study: str) -> tuple[Goals | None, list[Trial]]:
        """Goals and trials of a study; None and none where it does not exist.

        Raises:
            UsageError: its goals cannot be read.
        """
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

    # Facts about the store

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
