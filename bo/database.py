"""The database under every study and run: its tables of studies, how it is opened, what goes wrong.

Tables of one database (SQLite in WAL mode by default, any SQLAlchemy URL):

- `wald_version`: one row, the schema version. `open_database` makes or refuses a file by it.
- `studies`: space, goal, seed, the next number, and a `revision` that every change of a trial bumps
  in the same transaction; readers tail `revision > r`.
- `trials`, keyed `(study, number)`.
- `leases`: who may ask a study now (`bo/trial_log.py`).

`apps/schema.py` adds the tables of runs to the same metadata.
"""

import collections
import contextlib
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import StaticPool

from surrogates.errors import StoreError

SCHEMA_VERSION = 2
_jitter = random.Random()  # not the global one, whose numbers belong to the user

metadata = sa.MetaData()
version_table = sa.Table("wald_version", metadata, sa.Column("version", sa.Integer, nullable=False))
studies = sa.Table(
    "studies",
    metadata,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("space", sa.Text, nullable=False),
    sa.Column("goal", sa.Text, nullable=False),
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
        found = _known_version(url)  # looks without touching: another kind of file stays as it is
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
    def _on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        if wal and connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        record.info["busy_ms"] = connection.execute("PRAGMA busy_timeout").fetchone()[0]

    @event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        if connection.get_execution_options().get("writing", False):
            _begin_writing(driver, connection.info["busy_ms"])
        else:
            driver.execute("BEGIN")


def _begin_writing(driver: Any, busy_ms: int) -> None:
    """Take the write lock, trying every few milliseconds for as long as SQLite would.

    SQLite itself tries ever more rarely, down to ten times a second, so that among several busy
    writers whoever has waited long goes on waiting, for seconds in the end.
    """
    until = time.monotonic() + busy_ms / 1e3
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(_jitter.uniform(0.0, 0.004))
    finally:
        driver.execute(f"PRAGMA busy_timeout={busy_ms}")


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


class Statement:
    """A statement of every ask or tell: compiled once, then handed to the driver as text.

    SQLAlchemy takes ten times as long over one of these as SQLite does, and an ask and a tell need
    a dozen. Its errors are raised all the same. A connection that reads in this way begins no
    transaction, so it sees what is committed at each statement.

    Args:
        statement: of SQLAlchemy, with a bound parameter for each value.
        columns: those that an UPDATE sets from values of the same name.
    """

    def __init__(self, statement: Any, *columns: str) -> None:
        self._statement = statement
        self._columns = columns or None
        self._row: Callable[[Iterable[Any]], Any] | None = None
        if isinstance(statement, sa.Select):
            keys = [str(column.key) for column in statement.selected_columns]
            self._row = collections.namedtuple("Row", keys)._make  # pyright: ignore[reportUntypedNamedTuple]
        self._compiled: dict[str, tuple[str, Mapping[str, Any], Sequence[str] | None]] = {}

    def rows(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[Any]:
        """What a SELECT finds, columns as attributes."""
        return self._run(connection, [values])[1]

    def change(self, connection: sa.Connection, *values: Mapping[str, Any]) -> int:
        """Insert, update or delete, once for each of `values`; returns how many rows changed."""
        return self._run(connection, values)[0]

    def _run(
        self, connection: sa.Connection, values: Sequence[Mapping[str, Any]]
    ) -> tuple[int, list[Any]]:
        text, constants, order = self._text(connection.dialect)
        given: list[Any] = [{**constants, **each} for each in values]
        if order is not None:
            given = [tuple([each[name] for name in order]) for each in given]
        errors = connection.dialect.loaded_dbapi.Error
        cursor = connection.connection.cursor()
        try:
            if len(given) == 1:
                cursor.execute(text, given[0])
            else:
                cursor.executemany(text, given)
            found = [] if self._row is None else list(map(self._row, cursor.fetchall()))
            return cursor.rowcount, found
        except errors as error:
            raise exc.DBAPIError.instance(text, given, error, errors) from error
        finally:
            cursor.close()

    def _text(self, dialect: sa.Dialect) -> tuple[str, Mapping[str, Any], Sequence[str] | None]:
        """Statement, constants in it, and the order of the values where they have no names."""
        kind = f"{dialect.name}+{dialect.driver}"
        if kind not in self._compiled:
            made = self._statement.compile(dialect=dialect, column_keys=self._columns)
            self._compiled[kind] = (str(made), dict(made.params), made.positiontup)
        return self._compiled[kind]
