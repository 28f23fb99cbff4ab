"""What the store costs: an ask, a tell, an event; many processes on one study; beside Optuna.

Ask and tell are the store's share alone: the lease, the number, the row of the trial, the outcome,
by the calls of `bo.study.Study`, with a point of 6 real parameters that is known already. Optuna
does the same through its RDB storage: `study.ask()`, `suggest_float` six times, `study.tell`, with
its random sampler, which never reads the history. Both use an SQLite file in the same temporary
folder (TMPDIR chooses the disk), each with its own defaults; Optuna syncs the disk at every commit
and we leave that to WAL checkpoints, so it is measured once more with our two settings.

Ours and the peer take turns in short blocks. Optuna's histories are written ahead, once, by
`add_trial`; ours grow by ask and tell. Flatness is the median over the turns of the ratio of two
blocks that follow each other, so that a machine whose speed drifts does not decide it.
"""

import json
import logging
import multiprocessing
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from apps.events import Event
from apps.spec import RunSpec
from apps.store import Store
from benchmarks.harness import Claim, Peer, Report, milliseconds, say, version_of
from bo.contract import Trial
from bo.goals import Goals
from bo.space import Space, real
from bo.trial_log import Log, StudyRow

PARAMETERS = [f"x{i}" for i in range(6)]
SPACE = Space({name: real(0, 1) for name in PARAMETERS})
GOAL = Goals.parse("minimize value")
BLOCK = 11  # trials 10 to 20
PEER_BLOCK = 5
EARLY = 10
FEW_EVENTS, MANY_EVENTS = 100, 100_000
WRITERS, WRITES = 4, 250

Step = Callable[[], tuple[float, float]]
"""One ask and one tell; returns the milliseconds of each."""


def run(*, quick: bool) -> Report:
    """Measure everything (see `benchmarks.harness`)."""
    version = version_of("optuna", extra="peers")
    _quieten()
    turns, peer_turns = (9, 2) if quick else (25, 6)
    with tempfile.TemporaryDirectory(prefix="wald-benchmark-") as name:
        folder = Path(name)
        say("histories")
        histories = _Histories(folder)
        samples = _ask_and_tell(histories, turns, peer_turns)
        samples += _events(folder, turns)
        samples += _with_strategy(folder, 2 if quick else 5)
        samples += _many_writers(folder, histories, 1 if quick else 3, 10 if quick else 25)
        settings = {
            "peer_storage": "RDBStorage on SQLite, its defaults; RandomSampler",
            "peer_pragmas": _peer_pragmas(histories.peer(EARLY)),
            "our_pragmas": _pragmas(histories.ours("pragmas").engine),
        }
        claims = [*_claims(samples), *_size_claims(histories)]
    return Report("store", Peer("optuna", version, settings), claims, samples)


# Ours


def _new_log(file: Path) -> Log:
    row = StudyRow("study", SPACE, GOAL, "random", {}, seed=1, created=time.time())
    return Log.create(f"sqlite:///{file}", row)


def _point() -> dict[str, float]:
    return {name: random.random() for name in PARAMETERS}


def _ask(log: Log, point: Mapping[str, float]) -> Trial:
    """As `Study._ask`, but for the strategy and the check of its point."""
    with log.asking() as lease:
        assert not lease.start_waiting(1, owner=None)
        lease.trials()
        now = time.time()
        row = {
            "parameters": json.dumps(point),
            "started": now,
            "owner": None,
            "heartbeat": now,
            "method": "random",
            "method_state": None,
            "ask_seconds": 0.0,
        }
        return lease.write([row])[0]


def _our_step(log: Log) -> Step:
    def step() -> tuple[float, float]:
        point = _point()
        began = time.perf_counter()
        trial = _ask(log, point)
        asked = time.perf_counter()
        log.finish(trial.number, "complete", values={"value": 1.0})
        return 1e3 * (asked - began), 1e3 * (time.perf_counter() - asked)

    return step


# The peer


def _quieten() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _peer_study(file: Path, *, synchronous: str | None = None) -> Any:
    """Optuna's study in a file, made where it is absent. `synchronous`: None for its default."""
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    if synchronous is not None:

        @event.listens_for(storage.engine, "connect")
        def _on_connect(connection: Any, _record: Any) -> None:
            connection.execute(f"PRAGMA synchronous={synchronous}")

        storage.engine.dispose()
    return optuna.create_study(
        storage=storage,
        sampler=optuna.samplers.RandomSampler(seed=1),
        study_name="study",
        load_if_exists=True,
    )


def _fill_peer(study: Any, count: int) -> None:
    import optuna

    uniform = optuna.distributions.FloatDistribution(0, 1)
    ranges: dict[str, Any] = dict.fromkeys(PARAMETERS, uniform)
    for _ in range(count):
        study.add_trial(optuna.trial.create_trial(params=_point(), distributions=ranges, value=1.0))


def _peer_step(study: Any) -> Step:
    def step() -> tuple[float, float]:
        began = time.perf_counter()
        trial = study.ask()
        for name in PARAMETERS:
            trial.suggest_float(name, 0, 1)
        asked = time.perf_counter()
        study.tell(trial, 1.0)
        return 1e3 * (asked - began), 1e3 * (time.perf_counter() - asked)

    return step


class _Histories:
    """Files with so many trials: the peer's are copies, since it takes long to make them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0
        study = _peer_study(self._origin(0), synchronous="OFF")
        done = 0
        for count in (EARLY, 1000):
            shutil.copy(self._origin(done), self._origin(count))
            study = _peer_study(self._origin(count), synchronous="OFF")
            _fill_peer(study, count - done)
            _close_peer(study)
            done = count

    def _origin(self, count: int) -> Path:
        return self.folder / f"peer-{count}.db"

    def size_of_peer(self, count: int) -> int:
        """Bytes."""
        return self._origin(count).stat().st_size

    def peer_file(self, count: int, *, wal: bool = False) -> Path:
        """A new file of the peer."""
        self.made += 1
        file = self.folder / f"copy-{self.made}.db"
        shutil.copy(self._origin(count), file)
        if wal:
            connection = sqlite3.connect(file)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.close()
        return file

    def peer(self, count: int, *, wal: bool = False) -> Any:
        """A new study of the peer; `wal`: with our settings instead of its own."""
        file = self.peer_file(count, wal=wal)
        return _peer_study(file, synchronous="NORMAL" if wal else None)

    def ours(self, name: str) -> Log:
        """A new study of ours, without trials."""
        return _new_log(self.folder / f"{name}.db")


def _close_peer(study: Any) -> None:
    study._storage.remove_session()
    study._storage._backend.engine.dispose()


def _pragmas(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        names = ("journal_mode", "synchronous", "busy_timeout")
        found = {n: connection.exec_driver_sql(f"PRAGMA {n}").scalar_one() for n in names}
    levels = ("OFF", "NORMAL", "FULL", "EXTRA")
    found["synchronous"] = levels[found["synchronous"]]
    return ", ".join(f"{name}={value}" for name, value in found.items())


def _peer_pragmas(study: Any) -> str:
    return _pragmas(study._storage._backend.engine)


# What is measured


def _block(step: Step, count: int) -> list[float]:
    """Milliseconds of so many asks and tells: `[ask, tell, ask, tell, ...]`."""
    return [ms for _ in range(count) for ms in step()]


def _ask_and_tell(histories: _Histories, turns: int, peer_turns: int) -> list[dict[str, Any]]:
    late = _our_step(histories.ours("late"))
    _block(late, 1000 - turns * (EARLY + BLOCK) // 2)
    samples: list[dict[str, Any]] = []
    for turn in range(turns):
        early = _our_step(histories.ours(f"early-{turn}"))
        _block(early, EARLY)
        _block(late, EARLY)  # as warm as the other
        sample: dict[str, Any] = {"what": "ask, tell (ms)", "repeat": turn}
        for key, step in [("ours_10", early), ("ours_1000", late)][:: 1 if turn % 2 else -1]:
            sample[key] = _block(step, BLOCK)
        if turn * peer_turns // turns != (turn - 1) * peer_turns // turns:
            say(f"ask and tell, turn {turn + 1} of {turns}")
            for wal in (False, True):
                for count in (EARLY, 1000):
                    study = histories.peer(count, wal=wal)
                    step = _peer_step(study)
                    step()  # the first one reads the history
                    key = f"peer_{'wal_' if wal else ''}{count}"
                    sample[key] = _block(step, PEER_BLOCK)
                    _close_peer(study)
        samples.append(sample)
    return samples


def _events(folder: Path, turns: int) -> list[dict[str, Any]]:
    say("events")
    appends = [_append(_new_run(folder / f"events-{n}.db", n)) for n in (FEW_EVENTS, MANY_EVENTS)]
    return [
        {
            "what": "append of an event (ms)",
            "repeat": turn,
            "ours_100": [milliseconds(appends[0]) for _ in range(BLOCK)],
            "ours_100000": [milliseconds(appends[1]) for _ in range(BLOCK)],
        }
        for turn in range(turns)
    ]


def _observation(step: int) -> Event:
    return Event("observation", step, {"parameters": _point(), "values": {"value": 1.0}})


def _new_run(file: Path, count: int) -> Store:
    store = Store.open(str(file), create=True)
    store.create_run("run", RunSpec("bo", "branin", "random", seed=1, budget=count), {})
    for start in range(1, count, 10_000):  # the first event says that the run began
        stop = min(start + 10_000, count)
        store.record("run", [_observation(step) for step in range(start, stop)])
    return store


def _append(store: Store) -> Callable[[], None]:
    return lambda: store.record("run", [_observation(0)])


def _with_strategy(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """The whole of ask and tell with a cheap strategy."""
    say("ask and tell with sobol")
    from bo.study import Study

    samples: list[dict[str, Any]] = []
    for repeat in range(repeats):
        study = Study(
            SPACE,
            GOAL,
            name="study",
            store=folder / f"sobol-{repeat}.db",
            method="sobol",
            seed=repeat,
        )

        def step(study: Study = study) -> None:
            study.tell(study.ask()[0], 1.0)

        times = [milliseconds(step) for _ in range(1000 + BLOCK)]
        samples.append(
            {
                "what": "Study.ask + Study.tell with sobol (ms)",
                "repeat": repeat,
                "ours_10": times[EARLY : EARLY + BLOCK],
                "ours_1000": times[1000:],
            }
        )
    return samples


# Many processes


def _many_writers(
    folder: Path, histories: _Histories, repeats: int, peer_writes: int
) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    for repeat in range(repeats):
        say(f"{WRITERS} processes, repeat {repeat + 1} of {repeats}")
        ours = folder / f"writers-{repeat}.db"
        _new_log(ours).engine.dispose()
        sample: dict[str, Any] = {"what": f"{WRITERS} processes on one study", "repeat": repeat}
        sample["ours"] = _race(_write_ours, _read_ours, ours, WRITES)
        numbers = [trial.number for trial in Log.load(f"sqlite:///{ours}", "study").trials()]
        sample["ours"] |= {"rows": len(numbers), "distinct": len(set(numbers))}
        sample["peer"] = _race(_write_peer, None, histories.peer_file(EARLY), peer_writes)
        samples.append(sample)
    return samples


def _race(write: Any, read: Any, file: Path, count: int) -> dict[str, Any]:
    """Writers in processes of their own, all at once, and a process that reads meanwhile."""
    spawn = multiprocessing.get_context("spawn")
    start, over = spawn.Barrier(WRITERS), spawn.Event()
    ends = [spawn.Pipe(duplex=False) for _ in range(WRITERS + (read is not None))]
    writers = [
        spawn.Process(target=write, args=(str(file), count, start, send), daemon=True)
        for _, send in ends[:WRITERS]
    ]
    readers = [
        spawn.Process(target=read, args=(str(file), over, send), daemon=True)
        for _, send in ends[WRITERS:]
    ]
    for process in writers + readers:
        process.start()
    for _, send in ends:
        send.close()  # so that a process which dies is seen
    with ThreadPoolExecutor(len(ends)) as pool:
        pending = [pool.submit(_receive, receive) for receive, _ in ends]
        written = [answer.result() for answer in pending[:WRITERS]]
        over.set()
        seen = [answer.result() for answer in pending[WRITERS:]]
    for process in writers + readers:
        process.join()
    seconds = max(w["ended"] for w in written) - min(w["began"] for w in written)
    return {
        "writes": count,
        "errors": [error for answer in written for error in answer["errors"]],
        "worst_s": max(max(answer["ms"], default=0.0) for answer in written) / 1e3,
        "trials_per_s": WRITERS * count / seconds if seconds else 0.0,
        "reader_errors": [error for answer in seen for error in answer["errors"]],
        "reads": sum(answer["reads"] for answer in seen),
    }


def _receive(connection: Any) -> dict[str, Any]:
    try:
        return connection.recv()
    except EOFError:
        died = ["the process died"]
        return {"errors": died, "ms": [], "began": 0.0, "ended": 0.0, "reads": 0}


def _write_ours(file: str, count: int, start: Any, answer: Any) -> None:
    _write(_our_step(Log.load(f"sqlite:///{file}", "study")), count, start, answer)


def _write_peer(file: str, count: int, start: Any, answer: Any) -> None:
    _quieten()
    _write(_peer_step(_peer_study(Path(file))), count, start, answer)


def _write(step: Step, count: int, start: Any, answer: Any) -> None:
    start.wait(timeout=120)
    began, times, errors = time.time(), [], []
    for _ in range(count):
        try:
            times += step()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            errors.append(f"{type(error).__name__}: {error}"[:300])
    answer.send({"ms": times, "errors": errors, "began": began, "ended": time.time()})


def _read_ours(file: str, over: Any, answer: Any) -> None:
    """As a page reads: the whole study, and what is new in it."""
    store = Store.open(file, create=False)
    log = Log.load(f"sqlite:///{file}", "study")
    reads, errors = 0, []
    while not over.wait(0.01):
        try:
            least = len(log.trials())
            numbers = [trial.number for trial in store.trials("study")[1]]
            if numbers != list(range(max(least, len(numbers)))):
                errors.append(f"expected at least {least} trials in order, got {numbers}"[:300])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            errors.append(f"{type(error).__name__}: {error}"[:300])
        reads += 1
    answer.send({"reads": reads, "errors": errors})


# What follows from it


def _claims(samples: Sequence[Mapping[str, Any]]) -> list[Claim]:
    turns = [s for s in samples if s["what"] == "ask, tell (ms)"]
    events = [s for s in samples if s["what"].startswith("append")]
    sobol = [s for s in samples if s["what"].startswith("Study.ask")]
    races = [s for s in samples if s["what"].endswith("on one study")]
    both = {key: _median_of(turns, key, _sums) for key in _keys(turns)}
    return [
        Claim("ask+tell at trial 10..20 (ms)", both["ours_10"], both["peer_10"], 1, "ms"),
        Claim("ask+tell at trial 1000 (ms)", both["ours_1000"], both["peer_1000"], 1, "ms"),
        Claim(
            "flatness: median at ~1000 / median at ~10",
            _flatness(turns, "ours_1000", "ours_10", _sums),
            _flatness(turns, "peer_1000", "peer_10", _sums),
            1.5,
            "times",
        ),
        _beside("ask at trial 1000 (ms)", turns, lambda block: block[::2]),
        _beside("tell at trial 1000 (ms)", turns, lambda block: block[1::2]),
        Claim(
            "ask+tell at trial 1000, the peer with our WAL and synchronous=NORMAL (ms)",
            both["ours_1000"],
            both["peer_wal_1000"],
            None,
            "ms",
        ),
        _alone("append of an event at 100 events (ms)", events, "ours_100", bound=1),
        _alone("append of an event at 100,000 events (ms)", events, "ours_100000", bound=1),
        Claim(
            "flatness: append at 100,000 events / at 100",
            _flatness(events, "ours_100000", "ours_100"),
            None,
            1.5,
            "times",
        ),
        _alone("Study.ask+tell with sobol at trial 10..20 (ms)", sobol, "ours_10"),
        _alone("Study.ask+tell with sobol at trial 1000 (ms)", sobol, "ours_1000"),
        *_race_claims([s["ours"] for s in races], [s["peer"] for s in races]),
    ]


def _race_claims(ours: Sequence[Any], peer: Sequence[Any]) -> list[Claim]:
    what = f"{WRITERS} processes x {WRITES} ask+tell on one study"
    total = WRITERS * WRITES
    few = peer[0]["writes"]
    return [
        Claim(f"{what}: rows", _furthest(ours, "rows", total), None, total, "rows", "exactly"),
        Claim(
            f"{what}: distinct numbers",
            _furthest(ours, "distinct", total),
            None,
            total,
            "numbers",
            "exactly",
        ),
        Claim(
            f"{what}: exceptions",
            sum(len(race["errors"]) for race in ours),
            sum(len(race["errors"]) for race in peer),
            0,
            "errors",
            "exactly",
        ),
        Claim(
            f"{what}: worst single operation (s; the peer at {WRITERS} x {few})",
            max(race["worst_s"] for race in ours),
            max(race["worst_s"] for race in peer),
            1,
            "s",
        ),
        Claim(
            f"{what}: errors of a polling reader",
            sum(len(race["reader_errors"]) + (not race["reads"]) for race in ours),
            None,
            0,
            "errors",
            "exactly",
        ),
        Claim(
            f"{what}: together (trials/s; the peer at {WRITERS} x {few})",
            statistics.median(race["trials_per_s"] for race in ours),
            statistics.median(race["trials_per_s"] for race in peer),
            None,
            "trials/s",
            "at least",
        ),
    ]


def _furthest(races: Sequence[Any], key: str, wanted: int) -> int:
    return max((race[key] for race in races), key=lambda found: abs(found - wanted))


def _size_claims(histories: _Histories) -> list[Claim]:
    log = histories.ours("size")
    file = histories.folder / "size.db"
    before = _size(log, file)
    _block(_our_step(log), 1000)
    ours = (_size(log, file) - before) / 1000
    peer = (histories.size_of_peer(1000) - histories.size_of_peer(EARLY)) / (1000 - EARLY)
    return [Claim("size of a trial in the store (bytes)", ours, peer, 1000, "bytes")]


def _size(log: Log, file: Path) -> int:
    with log.engine.connect() as connection:  # what is in the log moves into the file
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.rollback()
    return file.stat().st_size


def _sums(block: Sequence[float]) -> list[float]:
    return [ask + tell for ask, tell in zip(block[::2], block[1::2], strict=True)]


Part = Callable[[Sequence[float]], Sequence[float]]


def _median_of(samples: Sequence[Mapping[str, Any]], key: str, part: Part = list) -> float:
    """Over all repeats."""
    return statistics.median(ms for s in samples if key in s for ms in part(s[key]))


def _flatness(
    samples: Sequence[Mapping[str, Any]], late: str, early: str, part: Part = list
) -> float:
    """Median over the repeats of the ratio of their medians."""
    return statistics.median(
        statistics.median(part(s[late])) / statistics.median(part(s[early]))
        for s in samples
        if late in s
    )


def _alone(
    name: str, samples: Sequence[Mapping[str, Any]], key: str, bound: float | None = None
) -> Claim:
    return Claim(name, _median_of(samples, key), None, bound, "ms")


def _beside(name: str, samples: Sequence[Mapping[str, Any]], part: Part) -> Claim:
    ours, peer = (_median_of(samples, key, part) for key in ("ours_1000", "peer_1000"))
    return Claim(name, ours, peer, None, "ms")


def _keys(samples: Sequence[Mapping[str, Any]]) -> set[str]:
    return {key for s in samples for key in s if key.startswith(("ours", "peer"))}
