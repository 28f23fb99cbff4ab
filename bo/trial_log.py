"""The trial log: the durable truth of ask and tell, for one process or many.

Tables of one database (SQLite in WAL mode by default, any SQLAlchemy URL):

- `wald_version`: one row, the schema version. `open_database` makes or refuses a file by it.
- `studies`: space, goal, seed, the next number, and a `revision` that every change of a trial bumps
  in the same transaction; readers tail `revision > r`.
- `trials`, keyed `(study, number)`.
- `leases`: who may ask a study now. The number is taken under the lease, the row is written when
  the point is known, in the transaction that gives the lease back: a process that dies in between
  leaves nothing behind.

Every operation costs the same whatever the length of the history; a `Log` keeps the trials that it
has seen and reads only what changed.
"""

import contextlib
import dataclasses
import json
import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import StaticPool

from bo.contract import Goal, Trial, TrialState
from bo.space import Parameters, Space
from surrogates.errors import StoreError, UsageError
from surrogates.options import unknown
from surrogates.seeds import derive_seed

SCHEMA_VERSION = 1
LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 10.0
_HOST = socket.gethostname()

metadata = sa.MetaData()
version_table = sa.Table("wald_version", metadata, sa.Column("version", sa.Integer, nullable=False))
studies = sa.Table(
    "studies",
    metadata,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("space", sa.Text, nullable=False),
    sa.Column("goal", sa.String(200), nullable=False),
    sa.Column("method", sa.String(200), nullable=False),
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("next_number", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
)
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("traceback", sa.Text),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("method", sa.String(200)),
    sa.Column("method_state", sa.Text),
    sa.Column("ask_seconds", sa.Float),
    sa.Column("started", sa.Float),
    sa.Column("finished", sa.Float),
    sa.Column("owner", sa.String(200)),
    sa.Column("heartbeat", sa.Float),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Index("trials_by_revision", "study", "revision"),
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("holder", sa.String(200), nullable=False),
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
)


def store_url(store: str | Path) -> str:
    """A URL from a URL or from the path of an SQLite file."""
    return store if isinstance(store, str) and "://" in store else f"sqlite:///{store}"


def is_missing(url: str) -> bool:
    """Whether a URL names an SQLite file that does not exist."""
    with contextlib.suppress(exc.ArgumentError):
        parsed = sa.make_url(url)
        return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists()
    return False


def open_database(url: str | None, *, create: bool = True) -> sa.Engine:
    """Connect to a store and make sure that it is one of this schema version.

    Args:
        url: SQLAlchemy URL, such as `sqlite:///wald.db`; None for a database in memory.
        create: make the file and the tables where they are absent.

    Raises:
        StoreError: absent (with `create=False`), unreadable, not a database, of another version.
    """
    found = None
    if url is not None and not (create and is_missing(url)):
        found = _known_version(
            url
        )  # looks without touching: a store of another kind stays as it is
        if found is None and not create:
            raise StoreError(f"expected a store at {url}, got a database without wald's tables")
    engine = _engine(url, create=create)
    if found is None:
        with store_errors(url):
            _create(engine)
    return engine


def _known_version(url: str) -> int | None:
    engine = _engine(url, create=False)
    with store_errors(url), engine.connect() as connection:
        found = _version(connection)
    engine.dispose()
    if found is not None and found > SCHEMA_VERSION:
        raise StoreError(
            f"expected a store of schema version {SCHEMA_VERSION} at {url}, got {found}: "
            "it was written by a newer wald; upgrade wald, or name another --store"
        )
    return found


def _engine(url: str | None, *, create: bool) -> sa.Engine:
    if url is None:
        memory = {"check_same_thread": False}
        engine = sa.create_engine("sqlite://", connect_args=memory, poolclass=StaticPool)
        _prepare_sqlite(engine, wal=False)
        return engine
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sa.create_engine(parsed)
    except (exc.ArgumentError, exc.NoSuchModuleError) as error:
        raise StoreError(
            f"expected a store URL such as sqlite:///wald.db, got {url!r} ({error})"
        ) from None
    except ModuleNotFoundError as error:
        raise StoreError(f"the store {url} needs the driver {error.name}; pip install it") from None
    path = Path(parsed.database or "")
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError(f"expected a file in the store URL, as in sqlite:///wald.db, got {url!r}")
    if not path.exists():
        if not create:
            raise StoreError(f"expected a store at {path}, got no such file; name one with --store")
        if not path.parent.is_dir():
            raise StoreError(f"expected a folder for the store at {path.parent}, got none; make it")
    engine = sa.create_engine(parsed, connect_args={"timeout": 60})
    _prepare_sqlite(engine, wal=create)
    return engine


def _prepare_sqlite(engine: sa.Engine, *, wal: bool) -> None:
    """WAL and explicit transactions: the driver's own begin is too late to serialise writers."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        if wal and connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _switch_to_wal(connection: Any) -> None:
    """The switch ignores SQLite's own busy time, so many processes at once need this loop."""
    for attempt in range(100):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == 99:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that holds the write lock from its first statement."""
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        yield connection


@contextlib.contextmanager
def store_errors(url: str | None) -> Iterator[None]:
    """Turn the database's errors into one clear line."""
    try:
        yield
    except (exc.DBAPIError, sqlite3.Error) as error:
        cause = str(getattr(error, "orig", error))
        advice = "check the path and its rights"
        if "full" in cause or "disk I/O" in cause:
            advice = (
                "the disk is full or failing; free space, then resume: what was recorded is kept"
            )
        elif "not a database" in cause or "malformed" in cause:
            advice = "the file is damaged or no wald store; restore a copy, or name another --store"
        elif "readonly" in cause:
            advice = "the file is read-only; change its rights, or name another --store"
        elif "locked" in cause:
            advice = "another program holds it; close that, or name another --store"
        raise StoreError(
            f"the store {url or 'in memory'} cannot be used: {cause}; {advice}"
        ) from error


def _version(connection: sa.Connection) -> int | None:
    if not sa.inspect(connection).has_table(version_table.name):
        return None
    return connection.execute(sa.select(version_table.c.version)).scalar_one()


def _create(engine: sa.Engine) -> int:
    with writing(engine) as connection:
        found = _version(connection)  # another process may have been faster
        if found is not None:
            return found
        metadata.create_all(connection)
        connection.execute(version_table.insert().values(version=SCHEMA_VERSION))
    return SCHEMA_VERSION


def owner() -> str:
    """This process, as written beside the trials that it evaluates."""
    return f"{_HOST}:{os.getpid()}"


def is_gone(owner: str | None, heartbeat: float | None, *, now: float, patience: float) -> bool:
    """Whether an owner is dead: no such process on this host, or silent for too long.

    A trial without an owner was asked by hand and waits for its tell as long as it takes.
    """
    if owner is None:
        return False
    host, _, process = owner.rpartition(":")
    if host == _HOST:
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    return heartbeat is None or now - heartbeat > patience


@dataclasses.dataclass(frozen=True)
class StudyRow:
    """What a study is, apart from its trials."""

    name: str
    space: Space
    goal: Goal
    method: str
    options: Mapping[str, Any]
    seed: int
    created: float


class Log:
    """The trials of one study in one database.

    Use `create` (make or join) or `load` (must exist); `trials()` is always up to date.
    """

    def __init__(self, engine: sa.Engine, row: StudyRow, url: str | None) -> None:
        self.engine = engine
        self.study = row
        self.url = url
        self._trials: list[Trial] = []
        self._owners: dict[int, tuple[str | None, float | None]] = {}
        self._revision = -1

    @staticmethod
    def create(url: str | None, row: StudyRow, *, engine: sa.Engine | None = None) -> "Log":
        """Make a study, or join the one of that name.

        Raises:
            UsageError: the study exists with another space or goal; the difference is named.
            StoreError: the store cannot be used.
        """
        engine = engine or open_database(url)
        with store_errors(url):
            values = {
                "study": row.name,
                "space": json.dumps(row.space.to_dict()),
                "goal": str(row.goal),
                "method": row.method,
                "options": json.dumps(dict(row.options)),
                "seed": row.seed,
                "created": row.created,
                "next_number": 0,
                "revision": 0,
            }
            with writing(engine) as connection:
                found = _find(connection, row.name)
                if found is None:
                    connection.execute(studies.insert().values(**values))
                    return Log(engine, row, url)
        difference = found.space.difference(row.space)
        if found.goal != row.goal:
            difference = f"the goal is {str(found.goal)!r} there and {str(row.goal)!r} here"
        if difference:
            raise UsageError(
                f"the study {row.name!r} exists and differs: {difference}; choose another name"
            )
        return Log(engine, found, url)

    @staticmethod
    def load(url: str, name: str, *, engine: sa.Engine | None = None) -> "Log":
        """An existing study. Raises `UsageError` (nearest name suggested) or `StoreError`."""
        engine = engine or open_database(url, create=False)
        with store_errors(url), engine.connect() as connection:
            found = _find(connection, name)
            if found is None:
                names = connection.execute(sa.select(studies.c.study)).scalars().all()
                raise UsageError(unknown("study", name, names))
        return Log(engine, found, url)

    def trials(self) -> list[Trial]:
        """All trials in the order of their numbers."""
        with store_errors(self.url), self.engine.connect() as connection:
            self._refresh(connection)
        return list(self._trials)

    @contextlib.contextmanager
    def asking(self) -> Iterator["Lease"]:
        """Hold the study's lease: nobody else asks meanwhile. Waits for its turn."""
        lease = Lease(self, secrets.token_hex(16))
        pause = 0.001
        while not lease.take():
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        if self.url is not None:  # a database in memory has no other process to tell
            threading.Thread(target=lease.renew, daemon=True).start()
        try:
            yield lease
        finally:
            lease.give_back()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> list[Trial]:
        """Write trials that were not asked: results known already, points to try first."""
        with store_errors(self.url), writing(self.engine) as connection:
            return self._insert(connection, rows)

    def finish(
        self,
        number: int,
        state: TrialState,
        *,
        values: Mapping[str, float] | None = None,
        reason: str | None = None,
        traceback: str | None = None,
    ) -> Trial:
        """Record the outcome of a running trial, once.

        Raises:
            UsageError: no such trial, or it is finished already.
        """
        with store_errors(self.url), writing(self.engine) as connection:
            revision = self._bump(connection)
            changed = connection.execute(
                _FINISH,
                {
                    "b_study": self.study.name,
                    "b_number": number,
                    "state": state,
                    "outcome": json.dumps(dict(values)) if values is not None else None,
                    "reason": reason,
                    "traceback": traceback,
                    "finished": time.time(),
                    "revision": revision,
                },
            )
            if changed.rowcount != 1:
                self._refresh(connection)
                known = {t.number: t for t in self._trials}
                if number not in known:
                    raise UsageError(
                        f"expected a trial of study {self.study.name}, got number {number}; "
                        f"it has {len(known)}, counted from 0"
                    )
                state = known[number].state
                raise UsageError(f"expected a running trial, got trial {number}, which is {state}")
            self._refresh(connection)
        return self._trials[number]

    def reclaim(self, numbers: Sequence[int] | None = None) -> list[Trial]:
        """Take over running trials whose process is dead, with one more attempt each.

        Args:
            numbers: only these, whoever owns them; None for all that a dead process left.
        """
        now = time.time()
        with store_errors(self.url), writing(self.engine) as connection:
            self._refresh(connection)
            taken: list[int] = []
            for trial in self._trials:
                if trial.state != "running":
                    continue
                who, heartbeat = self._owners[trial.number]
                gone = is_gone(who, heartbeat, now=now, patience=HEARTBEAT_SECONDS * 3)
                if trial.number in numbers if numbers is not None else gone:
                    taken.append(trial.number)
            if taken:
                revision = self._bump(connection)
                connection.execute(
                    trials.update()
                    .where(trials.c.study == self.study.name, trials.c.number.in_(taken))
                    .values(
                        attempt=trials.c.attempt + 1,
                        owner=owner(),
                        heartbeat=now,
                        revision=revision,
                    )
                )
                self._refresh(connection)
        return [self._trials[number] for number in taken]

    def release(self, numbers: Sequence[int]) -> None:
        """Give up running trials of this process, so that the next run takes them at once."""
        with store_errors(self.url), writing(self.engine) as connection:
            connection.execute(
                trials.update()
                .where(
                    trials.c.study == self.study.name,
                    trials.c.number.in_(numbers),
                    trials.c.state == "running",
                )
                .values(heartbeat=None, revision=self._bump(connection))
            )

    def beat(self, numbers: Sequence[int]) -> None:
        """Say that the running trials of this process are alive. Bumps no revision."""
        with store_errors(self.url), writing(self.engine) as connection:
            connection.execute(
                trials.update()
                .where(trials.c.study == self.study.name, trials.c.number.in_(numbers))
                .values(heartbeat=time.time())
            )

    def _bump(self, connection: sa.Connection) -> int:
        connection.execute(_BUMP, {"b_study": self.study.name})
        return connection.execute(_REVISION, {"b_study": self.study.name}).scalar_one()

    def _insert(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[Trial]:
        revision = self._bump(connection)
        first = connection.execute(_NEXT, {"b_study": self.study.name}).scalar_one()
        full = [
            _NEW_TRIAL
            | dict(row)
            | {
                "study": self.study.name,
                "number": number,
                "seed": derive_seed(self.study.seed, "trial", number),
                "revision": revision,
            }
            for number, row in enumerate(rows, start=first)
        ]
        connection.execute(trials.insert(), full)
        after = {"b_study": self.study.name, "next_number": first + len(rows)}
        connection.execute(_ADVANCE, after)
        self._refresh(connection)
        return self._trials[first:]

    def _refresh(self, connection: sa.Connection) -> None:
        since = {"b_study": self.study.name, "b_revision": self._revision}
        for row in connection.execute(_CHANGED, since):
            trial = _trial(row)
            if trial.number == len(self._trials):
                self._trials.append(trial)
            else:
                self._trials[trial.number] = trial
            self._owners[trial.number] = (row.owner, row.heartbeat)
            self._revision = max(self._revision, trial.revision)


class Lease:
    """The right to ask one study, held for the length of one ask."""

    def __init__(self, log: Log, token: str) -> None:
        self.log = log
        self.token = token
        self.over = threading.Event()

    def take(self) -> bool:
        """Try once; a dead or silent holder is passed over."""
        name = self.log.study.name
        now = time.time()
        mine = {
            "study": name,
            "holder": owner(),
            "token": self.token,
            "expires": now + LEASE_SECONDS,
        }
        with store_errors(self.log.url), writing(self.log.engine) as connection:
            held = connection.execute(_LEASE, {"b_study": name}).one_or_none()
            if held is not None:
                beat = held.expires - LEASE_SECONDS
                if not is_gone(held.holder, beat, now=now, patience=LEASE_SECONDS):
                    return False
                connection.execute(leases.delete().where(leases.c.study == name))
            connection.execute(leases.insert(), mine)
            self.log._refresh(connection)
        return True

    def trials(self) -> list[Trial]:
        """The log as it is under the lease."""
        return list(self.log._trials)

    def start_waiting(self, n: int, *, owner: str | None) -> list[Trial]:
        """Turn up to n enqueued trials into running ones."""
        waiting = [t.number for t in self.log._trials if t.state == "waiting"][:n]
        if not waiting:
            return []
        now = time.time()
        with store_errors(self.log.url), writing(self.log.engine) as connection:
            self._confirm(connection)
            revision = self.log._bump(connection)
            connection.execute(
                trials.update()
                .where(trials.c.study == self.log.study.name, trials.c.number.in_(waiting))
                .values(state="running", started=now, owner=owner, heartbeat=now, revision=revision)
            )
            self.log._refresh(connection)
        return [self.log._trials[number] for number in waiting]

    def write(self, rows: Sequence[Mapping[str, Any]]) -> list[Trial]:
        """Write the asked trials and give the lease back, in one transaction.

        Raises:
            StoreError: the lease was lost (this process slept longer than it lasts).
        """
        with store_errors(self.log.url), writing(self.log.engine) as connection:
            self._confirm(connection)
            written = self.log._insert(connection, rows)
            connection.execute(_RELEASE, {"b_study": self.log.study.name, "b_token": self.token})
        self.over.set()
        return written

    def renew(self) -> None:
        """Runs in a thread of its own while a long ask lasts."""
        while not self.over.wait(LEASE_SECONDS / 3):
            with writing(self.log.engine) as connection:
                connection.execute(
                    leases.update()
                    .where(leases.c.token == self.token)
                    .values(expires=time.time() + LEASE_SECONDS)
                )

    def give_back(self) -> None:
        """Release the lease where `write` did not."""
        if self.over.is_set():
            return
        self.over.set()
        with store_errors(self.log.url), writing(self.log.engine) as connection:
            connection.execute(_RELEASE, {"b_study": self.log.study.name, "b_token": self.token})

    def _confirm(self, connection: sa.Connection) -> None:
        held = connection.execute(_LEASE, {"b_study": self.log.study.name}).one_or_none()
        if held is None or held.token != self.token:
            raise StoreError("expected to hold the study's lease, got none: it ran out; ask again")


_bound = sa.bindparam
_BUMP = (
    studies.update()
    .where(studies.c.study == _bound("b_study"))
    .values(revision=studies.c.revision + 1)
)
_REVISION = sa.select(studies.c.revision).where(studies.c.study == _bound("b_study"))
_NEXT = sa.select(studies.c.next_number).where(studies.c.study == _bound("b_study"))
_ADVANCE = studies.update().where(studies.c.study == _bound("b_study"))
_LEASE = sa.select(leases).where(leases.c.study == _bound("b_study"))
_RELEASE = leases.delete().where(
    leases.c.study == _bound("b_study"), leases.c.token == _bound("b_token")
)
_FINISH = trials.update().where(
    trials.c.study == _bound("b_study"),
    trials.c.number == _bound("b_number"),
    trials.c.state == "running",
)
_CHANGED = (
    sa.select(trials)
    .where(trials.c.study == _bound("b_study"), trials.c.revision > _bound("b_revision"))
    .order_by(trials.c.number)
)
_NEW_TRIAL: dict[str, Any] = {
    "state": "running",
    "parameters": "{}",
    "outcome": None,
    "reason": None,
    "traceback": None,
    "attempt": 1,
    "seed": 0,
    "method": None,
    "method_state": None,
    "ask_seconds": None,
    "started": None,
    "finished": None,
    "owner": None,
    "heartbeat": None,
}


def read_trials(connection: sa.Connection, study: str) -> list[Trial]:
    """All trials of a study in the order of their numbers."""
    statement = sa.select(trials).where(trials.c.study == study).order_by(trials.c.number)
    return [_trial(row) for row in connection.execute(statement)]


def _find(connection: sa.Connection, name: str) -> StudyRow | None:
    row = connection.execute(sa.select(studies).where(studies.c.study == name)).one_or_none()
    if row is None:
        return None
    return StudyRow(
        name=row.study,
        space=Space.from_dict(json.loads(row.space)),
        goal=Goal.parse(row.goal),
        method=row.method,
        options=json.loads(row.options),
        seed=row.seed,
        created=row.created,
    )


def _trial(row: Any) -> Trial:
    parameters: Parameters = json.loads(row.parameters)
    return Trial(
        number=row.number,
        parameters=parameters,
        state=row.state,
        values=json.loads(row.outcome) if row.outcome else {},
        reason=row.reason,
        traceback=row.traceback,
        attempt=row.attempt,
        seed=row.seed,
        method=row.method,
        method_state=json.loads(row.method_state) if row.method_state else None,
        ask_seconds=row.ask_seconds,
        started=row.started,
        finished=row.finished,
        revision=row.revision,
    )
