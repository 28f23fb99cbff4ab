"""The trial log: the durable truth of ask and tell, for one process or many.

Who asks a study holds its lease: the number is taken under it, the row is written when the point is
known, in the transaction that gives the lease back. A process that dies in between leaves nothing
behind.

Every operation costs the same whatever the length of the history; a `Log` keeps the trials that it
has seen and reads only what changed. The tables are those of `bo/database.py`.
"""

import atexit
import contextlib
import dataclasses
import json
import os
import random
import secrets
import socket
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from bo.contract import Measured, Trial, TrialState
from bo.database import (
    Statement,
    leases,
    open_database,
    store_errors,
    studies,
    trials,
    writing,
)
from bo.goals import Goals
from bo.space import Parameters, Space
from surrogates.errors import StoreError, UsageError
from surrogates.options import unknown
from surrogates.seeds import derive_seed

LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 10.0
REAPED = "its process died"
"""How the reason begins of a trial that was given up because nobody seemed to run it any more."""
_HOST = socket.gethostname()
_jitter = random.Random()  # not the global one, whose numbers belong to the user


def owner() -> str:
    """This process, as written beside the trials that it evaluates."""
    return f"{_HOST}:{os.getpid()}"


def local_process(owner: str | None) -> int | None:
    """The process number of an owner on this machine; None for one elsewhere, and for none."""
    host, _, process = (owner or "").rpartition(":")
    return int(process) if host == _HOST else None


def is_gone(owner: str | None, heartbeat: float | None, *, now: float, patience: float) -> bool:
    """Whether an owner is dead: no such process on this host, or silent for too long.

    A trial without an owner was asked by hand and waits for its tell as long as it takes.
    """
    if owner is None:
        return False
    process = local_process(owner)
    if process is not None:
        try:
            os.kill(process, 0)
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
    goals: Goals
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
        self._waiting: set[int] = set()
        self._revision = -1
        self._asking: set[Lease] = set()
        self._renewing: threading.Thread | None = None
        self._lock = threading.Lock()

    @staticmethod
    def create(url: str | None, row: StudyRow, *, engine: sa.Engine | None = None) -> "Log":
        """Make a study, or join the one of that name.

        Raises:
            UsageError: the study exists with another space or goals; the difference is named.
            StoreError: the store cannot be used.
        """
        engine = engine or open_database(url)
        with store_errors(url):
            values = {
                "study": row.name,
                "space": json.dumps(row.space.to_dict()),
                "goal": str(row.goals),
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
        if found.goals != row.goals:
            difference = f"the goal is {str(found.goals)!r} there and {str(row.goals)!r} here"
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
            time.sleep(_jitter.uniform(0.5, 1.5) * pause)
            pause = min(2 * pause, 0.02)
        if self.url is not None:  # a database in memory has no other process to tell
            self._start_renewing(lease)
        try:
            yield lease
        finally:
            with self._lock:
                self._asking.discard(lease)
            lease.give_back()

    def _start_renewing(self, lease: "Lease") -> None:
        """One thread for all asks of this log: starting one takes as long as a transaction."""
        with self._lock:
            self._asking.add(lease)
            if self._renewing is None or not self._renewing.is_alive():  # no thread survives a fork
                self._renewing = threading.Thread(target=self._renew, daemon=True)
                self._renewing.start()
                _renewers.add(self._renewing)

    def _renew(self) -> None:
        """Ends at the first look at which nobody asks."""
        while not _leaving.wait(LEASE_SECONDS / 3):
            with self._lock:
                held = list(self._asking)
                if not held:
                    self._renewing = None
                    return
            for lease in held:
                # It is tried again at the next look; `write` refuses a lease that ran out.
                with contextlib.suppress(exc.DBAPIError, sqlite3.Error):
                    lease.renew()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> list[Trial]:
        """Write trials that were not asked: results known already, points to try first."""
        with self._writing() as connection:
            return self._insert(connection, rows)

    def finish(
        self,
        number: int,
        state: TrialState,
        *,
        values: Mapping[str, Measured] | None = None,
        reason: str | None = None,
        traceback: str | None = None,
        finished: float | None = None,
    ) -> Trial:
        """Record the outcome of a running trial, once; or of one given up as `REAPED`, if late.

        `finished` is when, in seconds since 1970; None is now.

        Raises:
            UsageError: no such trial, or it is finished already.
        """
        with self._writing() as connection:
            revision = self._bump(connection).revision
            changed = _FINISH.change(
                connection,
                {
                    "b_study": self.study.name,
                    "b_number": number,
                    "state": state,
                    "outcome": json.dumps(dict(values)) if values is not None else None,
                    "reason": reason,
                    "traceback": traceback,
                    "finished": time.time() if finished is None else finished,
                    "revision": revision,
                },
            )
            if changed != 1:
                self._refresh(connection)
                known = {t.number: t for t in self._trials}
                if number not in known:
                    raise UsageError(
                        f"expected a trial of study {self.study.name}, got number {number}; "
                        f"it has {len(known)}, counted from 0"
                    )
                state = known[number].state
                raise UsageError(
                    f"expected a running trial, got trial {number}, which is {state}; what was "
                    "told stays: to mend it, export the study and begin another from that file"
                )
            self._refresh(connection)
        return self._trials[number]

    def reclaim(self, numbers: Sequence[int] | None = None) -> list[Trial]:
        """Take over running trials whose process is dead, with one more attempt each.

        One that was released was interrupted, and its attempt goes on.

        Args:
            numbers: only these, whoever owns them; None for all that a dead process left.
        """
        now = time.time()
        with self._writing() as connection:
            running = connection.execute(
                sa.select(trials.c.number, trials.c.owner, trials.c.heartbeat)
                .where(trials.c.study == self.study.name, trials.c.state == "running")
                .order_by(trials.c.number)
            )
            taken = [
                row.number
                for row in running
                if (
                    row.number in numbers
                    if numbers is not None
                    else is_gone(row.owner, row.heartbeat, now=now, patience=HEARTBEAT_SECONDS * 3)
                )
            ]
            if taken:
                revision = self._bump(connection).revision
                connection.execute(
                    trials.update()
                    .where(trials.c.study == self.study.name, trials.c.number.in_(taken))
                    .values(
                        attempt=sa.case(
                            (trials.c.heartbeat.is_(None), trials.c.attempt),
                            else_=trials.c.attempt + 1,
                        ),
                        owner=owner(),
                        heartbeat=now,
                        revision=revision,
                    )
                )
                self._refresh(connection)
        return [self._trials[number] for number in taken]

    def release(self, numbers: Sequence[int]) -> None:
        """Give up running trials of this process, so that the next run takes them at once."""
        with self._writing() as connection:
            connection.execute(
                trials.update()
                .where(
                    trials.c.study == self.study.name,
                    trials.c.number.in_(numbers),
                    trials.c.state == "running",
                )
                .values(heartbeat=None, revision=self._bump(connection).revision)
            )

    def beat(self, numbers: Sequence[int]) -> None:
        """Say that the running trials of this process are alive. Bumps no revision."""
        with store_errors(self.url), writing(self.engine) as connection:
            connection.execute(
                trials.update()
                .where(trials.c.study == self.study.name, trials.c.number.in_(numbers))
                .values(heartbeat=time.time())
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction. One that fails takes with it what was read meanwhile."""
        try:
            with store_errors(self.url), writing(self.engine) as connection:
                yield connection
        except BaseException:
            self._trials, self._waiting, self._revision = [], set(), -1
            raise

    def _bump(self, connection: sa.Connection, numbers: int = 0) -> Any:
        """Count a change and take so many numbers; returns `revision` and `next_number` after."""
        _BUMP.change(connection, {"b_study": self.study.name, "b_numbers": numbers})
        return _COUNTS.rows(connection, {"b_study": self.study.name})[0]

    def _insert(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[Trial]:
        counts = self._bump(connection, len(rows))
        first = counts.next_number - len(rows)
        full = [
            _NEW_TRIAL
            | dict(row)
            | {
                "study": self.study.name,
                "number": number,
                "seed": derive_seed(self.study.seed, "trial", number),
                "revision": counts.revision,
            }
            for number, row in enumerate(rows, start=first)
        ]
        _ADD.change(connection, *full)
        self._refresh(connection)
        return self._trials[first:]

    def _refresh(self, connection: sa.Connection) -> None:
        since = {"b_study": self.study.name, "b_revision": self._revision}
        for row in _CHANGED.rows(connection, since):
            trial = _trial(row)
            if trial.number == len(self._trials):
                self._trials.append(trial)
            else:
                self._trials[trial.number] = trial
            if trial.state == "waiting":
                self._waiting.add(trial.number)
            else:
                self._waiting.discard(trial.number)
            self._revision = max(self._revision, trial.revision)


_leaving = threading.Event()
_renewers: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()


def _leave() -> None:
    """A thread that is alive at the interpreter's end may abort the process, so end them before."""
    _leaving.set()
    for thread in list(_renewers):
        thread.join(timeout=5.0)


atexit.register(_leave)


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
        with self.log._writing() as connection:
            for held in _LEASE.rows(connection, {"b_study": name}):
                beat = held.expires - LEASE_SECONDS
                if not is_gone(held.holder, beat, now=now, patience=LEASE_SECONDS):
                    return False
                connection.execute(leases.delete().where(leases.c.study == name))
            _TAKE.change(connection, mine)
            self.log._refresh(connection)
        return True

    def trials(self) -> list[Trial]:
        """The log as it is under the lease."""
        return list(self.log._trials)

    def start_waiting(self, n: int, *, owner: str | None) -> list[Trial]:
        """Turn up to n enqueued trials into running ones."""
        waiting = sorted(self.log._waiting)[:n]
        if not waiting:
            return []
        now = time.time()
        with self.log._writing() as connection:
            self._confirm(connection)
            revision = self.log._bump(connection).revision
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
        with self.log._writing() as connection:
            if not self._release(connection):
                raise _lost()
            written = self.log._insert(connection, rows)
        self.over.set()
        return written

    def renew(self) -> None:
        """Hold it for longer, while a long ask lasts. One that is no longer held stays so."""
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
        with self.log._writing() as connection:
            self._release(connection)

    def _confirm(self, connection: sa.Connection) -> None:
        held = _LEASE.rows(connection, {"b_study": self.log.study.name})
        if not held or held[0].token != self.token:
            raise _lost()

    def _release(self, connection: sa.Connection) -> bool:
        """Returns whether it was still held."""
        mine = {"b_study": self.log.study.name, "b_token": self.token}
        return _RELEASE.change(connection, mine) == 1


def _lost() -> StoreError:
    return StoreError("expected to hold the study's lease, got none: it ran out; ask again")


_bound = sa.bindparam
_own_study = studies.c.study == _bound("b_study")
_BUMP = Statement(
    studies.update()
    .where(_own_study)
    .values(
        revision=studies.c.revision + 1,
        next_number=studies.c.next_number + _bound("b_numbers"),
    )
)
_COUNTS = Statement(sa.select(studies.c.revision, studies.c.next_number).where(_own_study))
_LEASE = Statement(sa.select(leases).where(leases.c.study == _bound("b_study")))
_TAKE = Statement(leases.insert())
_RELEASE = Statement(
    leases.delete().where(leases.c.study == _bound("b_study"), leases.c.token == _bound("b_token"))
)
_ADD = Statement(trials.insert())
_FINISH = Statement(
    trials.update().where(
        trials.c.study == _bound("b_study"),
        trials.c.number == _bound("b_number"),
        sa.or_(
            trials.c.state == "running",
            sa.and_(trials.c.state == "failed", trials.c.reason.startswith(REAPED)),
        ),
    ),
    *("state", "outcome", "reason", "traceback", "finished", "revision"),
)
_CHANGED = Statement(
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


def read_trials(connection: sa.Connection, study: str, *, since: int = -1) -> list[Trial]:
    """The trials of a study that changed after revision `since`, in the order of their numbers."""
    statement = (
        sa.select(trials)
        .where(trials.c.study == study, trials.c.revision > since)
        .order_by(trials.c.number)
    )
    return [_trial(row) for row in connection.execute(statement)]


def _find(connection: sa.Connection, name: str) -> StudyRow | None:
    row = connection.execute(sa.select(studies).where(studies.c.study == name)).one_or_none()
    if row is None:
        return None
    return StudyRow(
        name=row.study,
        space=Space.from_dict(json.loads(row.space)),
        goals=Goals.parse(row.goal),
        method=row.method,
        options=json.loads(row.options),
        seed=row.seed,
        created=row.created,
    )


def _trial(row: Any) -> Trial:
    parameters: Parameters = json.loads(row.parameters)
    told: dict[str, Any] = json.loads(row.outcome) if row.outcome else {}
    pairs = {name: each for name, each in told.items() if isinstance(each, list)}
    return Trial(
        number=row.number,
        parameters=parameters,
        state=row.state,
        values=told | {name: value for name, (value, _) in pairs.items()},
        sems={name: sem for name, (_, sem) in pairs.items()},
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
