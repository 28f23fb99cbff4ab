"""The part of the run store that holds experiments.

Their runs are ordinary ones, named EXPERIMENT/PROBLEM/METHOD/SEED.
"""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from apps.schema import ExperimentRow, experiments, runs
from apps.store_base import Connected, TakenOver, current_state
from bo.trial_log import owner
from surrogates.errors import UsageError
from surrogates.options import unknown


class Experiments(Connected):
    """Reading and writing experiments."""

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


def _experiment_rows(connection: sa.Connection, condition: Any) -> list[ExperimentRow]:
    chosen = [experiments.c[field.name] for field in dataclasses.fields(ExperimentRow)]
    statement = sa.select(*chosen).where(condition).order_by(sa.desc(experiments.c.created))
    return [ExperimentRow(**row) for row in connection.execute(statement).mappings()]
