"""The part of the run store that holds the supervisor, and the catalog that it publishes."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from apps.schema import published, supervisor
from apps.store_base import LOST_AFTER_SECONDS, Connected, TakenOver
from bo.trial_log import is_gone, owner


class Supervision(Connected):
    """Reading and writing the row of the supervisor and the catalog for the pages."""

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


def _alive(row: Any, now: float) -> bool:
    return not is_gone(row["owner"], row["heartbeat"], now=now, patience=LOST_AFTER_SECONDS)


def _supervisor(row: Any, now: float) -> dict[str, Any]:
    return {**row, "alive": _alive(row, now)}
