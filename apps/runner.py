"""The runner: drives one loop to its budget and turns its records into events. No paper.

`prepare` resolves names and options and refuses what is wrong before anything is written;
`execute` runs. A run can be killed at any moment:

- bo: the trial log holds every trial; going on repeats what was in flight and asks the next.
- bandit, rl: after each block of steps its event is written, and once a second a checkpoint (a file
  that replaces the former one whole). Going on repeats the steps since the checkpoint, which gives
  the same numbers, and writes no event twice.

A `stop` request ends a run after its step or block. So does Ctrl-C for bandit and rl; for bo it
gives up the evaluation in flight, which a resume repeats.
"""

import contextlib
import dataclasses
import importlib.metadata
import io
import os
import platform
import secrets
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from apps.catalog import check_names
from apps.events import Event
from apps.schema import RunRow
from apps.snapshots import Snapshots
from apps.spec import RunSpec
from apps.store import Store, TakenOver, current_state
from apps.summary import doubts, run_object, summarise_record, summarise_trials
from bo import metrics
from bo.contract import Problem, Trial
from bo.known import Known
from bo.methods import make_problem, make_strategy
from bo.space import Space
from bo.stopping import Stopping
from bo.study import Study
from bo.workers import Workers
from rl import loop as rl_loop
from rl.contract import Record
from surrogates.errors import StoreError, UsageError

CHECKPOINT_SECONDS = 1.0
BEAT_SECONDS = 0.5  # a stop is seen at the next beat
SPARK_POINTS = 40
_PACKAGES = ("wald", "torch", "botorch", "gpytorch", "ax-platform", "gymnasium", "scikit-learn")


class Watcher(Protocol):
    """What follows a run as it goes, such as a progress bar."""

    def started(self, spec: RunSpec, run_id: str, step: int) -> None:
        """The run begins, or goes on at `step`."""
        ...

    def noted(self, note: str) -> None:
        """What the method, or the problem, has to say of itself before it begins."""
        ...

    def stepped(self, step: int, told: Mapping[str, Any]) -> None:
        """`told` holds what there is to show, by name: the best value, the regret, ..."""
        ...

    def ended(self, run: Mapping[str, Any]) -> None:
        """The run's final object."""
        ...


class _Stopped(Exception):
    """Somebody asked for the run's end."""


def settle(spec: RunSpec) -> RunSpec:
    """The spec with its device chosen: `auto` is CUDA for an agent where there is one."""
    if spec.device != "auto":
        return spec
    serves = spec.kind == "rl" and torch.cuda.is_available()
    return dataclasses.replace(spec, device="cuda" if serves else "cpu")


def prepare(spec: RunSpec) -> "Problem | None":
    """Check everything that can be checked before a run exists.

    Returns:
        The problem of a bo run.

    Raises:
        WaldError: unknown names, options out of bounds, data that is missing.
    """
    check_names(spec.kind, spec.problem, spec.method)
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device expected one that is here, got cuda; use --device cpu")
    torch.set_num_threads(spec.threads)
    if spec.kind == "bo":
        with within(spec.folder):
            problem = make_problem(spec.problem, spec.problem_options)
        make_strategy(spec.method, problem.space, problem.goals, _options(spec), spec.seed)
        return problem
    _records(spec, None)
    return None


@contextlib.contextmanager
def within(folder: str | None) -> Iterator[None]:
    """Be in the folder that a run's paths start from. Raises `UsageError` where it is gone."""
    if folder is None:
        yield
        return
    if not os.path.isdir(folder):
        raise UsageError(f"expected the folder of the run, got none at {folder}; put it back")
    with contextlib.chdir(folder):
        yield


def start(
    spec: RunSpec,
    store: Store,
    *,
    problem: Problem | None,
    queue: bool = False,
    known: Known | None = None,
) -> str:
    """Create the run that `execute` is to drive, or take over the one of the same name.

    Args:
        spec: what is asked.
        store: where.
        problem: of a bo run.
        queue: leave it to a worker of the supervisor to drive it.
        known: results to take into the study first (bo).

    Raises:
        UsageError: the name belongs to a run of something else, or to one that is running.
    """
    if spec.name is not None:
        same = [row for row in store.runs_named(spec.name) if row.spec.kind == spec.kind]
        for row in same:
            alive = current_state(row) == "running"
            difference = spec.difference(row.spec)
            if difference is None and not alive:
                _take_in(known, spec, store, problem, row.study or row.run_id)
                if queue:
                    store.requeue(row.run_id, spec)
                else:
                    store.claim_run(row.run_id, spec, versions())
                return row.run_id
            if spec.kind != "bo":
                told = difference or f"{row.run_id} is running"
                raise UsageError(f"the name {spec.name!r} is taken: {told}; choose another --name")
    if problem is not None and spec.name is not None:
        open_study(spec, store, problem, spec.name)  # refuses another space or goal
    run_id = f"{spec.kind}-{secrets.token_hex(4)}"
    _take_in(known, spec, store, problem, spec.name or run_id)  # no run ever lacks them
    if queue:
        store.submit(run_id, spec)
    else:
        store.create_run(run_id, spec, versions())
    return run_id


def _take_in(
    known: Known | None, spec: RunSpec, store: Store, problem: Problem | None, name: str
) -> None:
    if known and problem is not None:
        open_study(spec, store, problem, name).warm_start(known)


def resume(row: RunRow, store: Store) -> None:
    """Take over a run that ended early. Raises `UsageError` where it is running."""
    store.claim_run(row.run_id, row.spec, versions())


def execute(
    run_id: str, store: Store, *, problem: Problem | None, watcher: Watcher | None = None
) -> dict[str, Any]:
    """Drive a run of this process to its end and return its object.

    The state in it says how it ended: `finished`, `failed`, `stopped` or `interrupted`.
    """
    row = store.run(run_id)
    drive = _drive_bo if row.kind == "bo" else _drive_records
    run = _Run(row, store, watcher)
    state, error, where = "finished", None, None
    with run.alive(finish_block=row.kind != "bo"):
        try:
            drive(run, problem)
        except _Stopped:
            state = "stopped"
        except KeyboardInterrupt:  # a supervisor that was asked to stop it grew tired of waiting
            state = "stopped" if run.stop_asked else "interrupted"
        except Exception as raised:  # noqa: BLE001 - whatever a method raises ends this run only
            where = traceback.format_exc()
            if run.interrupted:  # some libraries, as numba while it compiles, make it another error
                state = "stopped" if run.stop_asked else "interrupted"
            else:
                state = "failed"
                error = f"{type(raised).__name__}: {' '.join(str(raised).split())}"[:500]
        lost = run.end(state, error, where)
    described = run_object(store, store.run(run_id)) | lost
    if watcher is not None:
        watcher.ended(described)
    return described


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


class _Run:
    """A run under way: its clocks, its heartbeat, its last words."""

    def __init__(self, row: RunRow, store: Store, watcher: Watcher | None) -> None:
        self.row = row
        self.spec = row.spec
        self.store = store
        self.watcher = watcher
        self.began = time.monotonic()
        self.began_cpu = time.process_time()
        self.stop_asked = False
        self.interrupted = False
        self.taken_over = False
        self.store_gone = False
        self.file = store.file_id()
        self.over = threading.Event()
        self.progress = _Progress(row.progress)

    def clocks(self) -> dict[str, float]:
        """Seconds of this run so far, those before a resume included."""
        return {
            "seconds": self.row.seconds + time.monotonic() - self.began,
            "cpu_seconds": self.row.cpu_seconds + time.process_time() - self.began_cpu,
        }

    def check(self) -> None:
        """Raise where somebody wants the run to end; called between steps."""
        if self.interrupted:
            raise KeyboardInterrupt
        if self.store_gone:
            raise StoreError(f"the store {self.store.url} was deleted or replaced; the run ends")
        if self.taken_over:
            raise TakenOver("another process drives this run by now; nothing more is done here")
        if self.stop_asked:
            raise _Stopped

    def record(self, new: Sequence[Event], summary: Mapping[str, Any] | None = None) -> None:
        """Write events, the clocks and the progress, while this process drives the run."""
        self.store.record(
            self.row.run_id,
            new,
            summary=summary,
            progress=self.progress.told(),
            columns=self.clocks(),
            driving=True,
        )

    def end(self, state: str, error: str | None, where: str | None) -> dict[str, str]:
        """Write how it ended; returns what the store could not take (a full disk)."""
        last = [Event("state", None, {"state": state} | ({"error": error} if error else {}))]
        if where is not None:
            last.append(Event("log", None, {"traceback": where}))
        ended = {"state": state, "error": error, "finished": time.time()}
        try:
            columns = ended | self.clocks()
            self.store.record(self.row.run_id, last, columns=columns, driving=True)
        except StoreError as raised:
            return {"state": "failed", "error": str(raised)}
        return {}

    @contextlib.contextmanager
    def alive(self, *, finish_block: bool) -> Iterator[None]:
        """Beat twice a second, and make signals end the run in good order."""

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            again, self.interrupted = self.interrupted, True
            if again or not finish_block:
                raise KeyboardInterrupt

        handled = (signal.SIGINT, signal.SIGTERM)
        main = threading.current_thread() is threading.main_thread()
        former = {number: signal.signal(number, on_signal) for number in handled} if main else {}
        beating = threading.Thread(target=self._beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            self.over.set()
            beating.join()  # a thread that is alive at the interpreter's end may abort the process
            for number, handler in former.items():
                signal.signal(number, handler)

    def _beat(self) -> None:
        while not self.over.wait(BEAT_SECONDS):
            self.store_gone = self.store_gone or self.store.file_id() != self.file
            try:
                self.stop_asked = self.store.beat(self.row.run_id) or self.stop_asked
            except TakenOver:
                self.taken_over = True
            except StoreError:  # the main thread meets the same and reports it
                pass


class _Progress:
    """What the overview shows of a run: the last numbers, and a line of a few dozen points."""

    def __init__(self, before: Mapping[str, Any]) -> None:
        self.now: dict[str, Any] = dict(before)
        self.line: list[float] = list(before.get("spark", []))
        self.every: int = before.get("every", 1)  # steps between two points of the line
        self.skipped: int = before.get("skipped", 0)

    def add(self, point: float | None, **numbers: Any) -> None:
        """Take in one step: the numbers as they are now, and the next point of the line."""
        self.now = numbers
        self.skipped += 1
        if point is None or self.skipped < self.every:
            return
        self.skipped = 0
        self.line.append(float(f"{point:.5g}"))
        if len(self.line) > SPARK_POINTS:
            self.line, self.every = self.line[1::2], 2 * self.every

    def told(self) -> dict[str, Any]:
        """As the store keeps it."""
        kept = {"spark": self.line, "every": self.every, "skipped": self.skipped}
        return {**self.now, **kept}


# bo


def _drive_bo(run: _Run, problem: Problem | None) -> None:
    assert problem is not None
    spec, store, run_id = run.spec, run.store, run.row.run_id
    study = open_study(spec, store, problem, run.row.study or run_id)
    earlier = store.events(run_id, kind=("observation", "posterior"))
    told = {event.step for event in earlier if event.kind == "observation"}
    snapshots = Snapshots(study, earlier, every=spec.snapshots, write=run.record)
    done = [trial for trial in study.trials if trial.done]
    evaluated = sum(trial.counted for trial in done)
    stop = Stopping(spec.stop_at, spec.stop_after, spec.stall)
    stop.began -= run.row.seconds  # those before a resume count
    reached = _Reached(problem)
    if run.watcher is not None:
        run.watcher.started(spec, run_id, evaluated)
        for note in filter(None, (study.strategy.note, problem.note)):
            run.watcher.noted(note)

    def summary() -> dict[str, Any]:
        made = summarise_trials(study.goals, study.trials, problem.optimum)
        told = [
            study.strategy.note,
            problem.note,
            doubts(study.trials),
            _used_up(problem.space, study.trials, spec.budget),
            stop.reason,
        ]
        if any(told):
            made["diagnostics"]["note"] = "; ".join(filter(None, told))
        return made

    steps_done = 0
    run.progress = _Progress({})  # the log is the truth: it is read anew

    def observe(trial: Trial) -> list[Event]:
        nonlocal steps_done
        steps_done += trial.counted
        value = reached.after(trial)
        regret = metrics.regret(reached.front, problem.optimum, study.goals)
        event = _observation(trial, value, regret, problem, snapshots.prediction(trial))
        score = None if value is None else study.goals.measure.sign * value
        run.progress.add(value, steps=steps_done, best=value, regret=regret, score=score)
        return [] if trial.number in told else [event]

    missing = [event for trial in done for event in observe(trial)]
    store.record(run_id, [], columns={"optimum": problem.optimum}, driving=True)
    run.record(missing, summary())
    try:
        with contextlib.ExitStack() as stack:
            steps = study.steps(
                objective_of(problem),
                budget=spec.budget,
                parallel=spec.parallel,
                batch=spec.batch,
                timeout=spec.timeout,
                retries=1 if spec.retries is None else spec.retries,
                executor=stack.enter_context(_workers(spec)) if problem.isolated else None,
                stop=stop,
            )
            stack.enter_context(contextlib.closing(steps))
            for count, trial in enumerate(steps, start=evaluated + 1):
                run.record(observe(trial))
                if run.watcher is not None:
                    run.watcher.stepped(count, {study.goals.measure.name: reached.value})
                run.check()
    finally:
        run.record([], summary())


def _workers(spec: RunSpec) -> Workers:
    with within(spec.folder):
        return Workers(spec.parallel, timeout=spec.timeout)


def _used_up(space: Space, trials: Sequence[Trial], budget: int) -> str | None:
    """Why a run ends before its budget, where a pool has no more candidates."""
    counted = sum(trial.counted for trial in trials)
    if space.pool is None or counted >= budget or len(trials) < len(space.pool.rows):
        return None
    return f"all {len(trials)} candidates are tried: the budget of {budget} is not used up"


def objective_of(problem: Problem) -> Callable[[Any, Any], Any]:
    """The problem as an objective `f(parameters, trial)`."""
    if problem.objective is not None:
        return problem.objective
    evaluate = problem.evaluate

    def objective(parameters: Any, trial: Any) -> Any:
        return evaluate(parameters, seed=trial.seed)

    return objective


def open_study(spec: RunSpec, store: Store, problem: Problem, name: str) -> Study:
    """The study of a run. Raises `UsageError`: one of that name has another space or goal."""
    return Study(
        problem.space,
        problem.goals,
        name=name,
        store=store.url,
        method=spec.method,
        options=_options(spec),
        seed=spec.seed,
    )


def joined(spec: RunSpec, store: Store, problem: Problem) -> RunSpec:
    """The spec with the seed of the study of its name, made here if no other process was faster."""
    if spec.name is None:
        return spec
    study = Study(
        problem.space,
        problem.goals,
        name=spec.name,
        store=store.url,
        method=spec.method,
        options=_options(spec),
    )
    return dataclasses.replace(spec, seed=study.seed)


class _Reached:
    """The best value, or the hypervolume, after each trial of a run.

    The front alone is kept. Where the reference point is inferred, a hypervolume is measured from
    that of its moment: exports and pages measure all from the last one.
    """

    def __init__(self, problem: Problem) -> None:
        self.goals = problem.goals
        self.front: list[Trial] = []
        self.value: float | None = None

    def after(self, trial: Trial) -> float | None:
        """After one more trial; None before anything was found."""
        front = metrics.front([*self.front, trial], self.goals)
        if front != self.front:
            self.front, self.value = front, metrics.best_value(front, self.goals)
        return self.value


def _observation(
    trial: Trial,
    best: float | None,
    regret: float | None,
    problem: Problem,
    predicted: Mapping[str, Any],
) -> Event:
    goals = problem.goals
    several = goals.several or goals.constraints
    took = trial.finished - trial.started if trial.finished and trial.started else None
    payload = {
        "number": trial.number,
        "state": trial.state,
        "value": None if goals.several else trial.values.get(goals.only.name),
        "best": best,
        "regret": regret,
        "ask_cpu_seconds": trial.ask_seconds,
        "seconds": took,
        **predicted,
    }
    if several and trial.state == "complete":
        payload["values"] = {name: trial.values[name] for name in goals.outcomes}
        payload["feasible"] = goals.feasible(trial.values)
    if trial.reason is not None:
        payload["reason"] = trial.reason
    return Event("observation", trial.number, payload)


def _options(spec: RunSpec) -> dict[str, Any]:
    device = {"device": spec.device} if spec.device == "cuda" else {}
    return {**spec.options, **device}


# bandit, rl


def _records(spec: RunSpec, state: Mapping[str, Any] | None) -> Iterator[Record]:
    make = rl_loop.bandit_run if spec.kind == "bandit" else rl_loop.rl_run
    return make(
        spec.problem,
        spec.method,
        problem_options=dict(spec.problem_options),
        options=dict(spec.options),
        seed=spec.seed,
        budget=spec.budget,
        device=torch.device(spec.device),
        state=None if state is None else dict(state),
    )


def _drive_records(run: _Run, _: Problem | None) -> None:
    spec, store, run_id = run.spec, run.store, run.row.run_id
    file = store.artifacts(run_id) / "checkpoint.pt"
    saved = _load_checkpoint(file, run.row)
    written = store.last_step(run_id, "metric")
    if run.watcher is not None:
        run.watcher.started(spec, run_id, 0 if saved is None else saved["step"])
    last_save = time.monotonic()
    for record in _records(spec, None if saved is None else saved["state"]):
        summary = summarise_record(spec.kind, record.step, record.metrics, record.digest)
        if record.step > written:
            run.progress.add(
                _shown(record.metrics),
                steps=record.step,
                score=summary["score"],
                regret=summary["regret"],
            )
            cpu = {"cpu_seconds": run.clocks()["cpu_seconds"]}
            run.record([Event("metric", record.step, {**record.metrics, **cpu})], summary)
        leaving = run.interrupted or run.stop_asked or record.step >= spec.budget
        if leaving or time.monotonic() - last_save >= CHECKPOINT_SECONDS:
            own = {"created": run.row.created, "step": record.step, "state": record.state()}
            _save_checkpoint(file, own)
            last_save = time.monotonic()
        if run.watcher is not None:
            run.watcher.stepped(record.step, record.metrics)
        if record.step < spec.budget:
            run.check()


def _shown(values: Mapping[str, Any]) -> float | None:
    """The number that says most about how a bandit or an agent fares."""
    for name in ("regret", "reward", "return"):
        if values.get(name) is not None:
            return values[name]
    return None


def _save_checkpoint(file: Path, checkpoint: Mapping[str, Any]) -> None:
    """Replace the checkpoint whole: after a crash there is the old one or the new one."""
    buffer = io.BytesIO()
    torch.save(dict(checkpoint), buffer)
    fresh = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(fresh, "wb") as out:
            out.write(buffer.getbuffer())
            out.flush()
            os.fsync(out.fileno())
        os.replace(fresh, file)
    except OSError as error:
        raise StoreError(
            f"the checkpoint {file} cannot be written: {error.strerror}; "
            "free space or change its rights, then resume: the former one is kept"
        ) from None


def _load_checkpoint(file: Path, row: RunRow) -> dict[str, Any] | None:
    """None where there is none, or that of another run: ids of experiments repeat over stores."""
    if not file.exists():
        return None
    try:
        saved = torch.load(file, weights_only=True)
        return saved if saved.get("created", row.created) == row.created else None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise StoreError(
            f"expected a checkpoint at {file}, got a damaged file ({type(error).__name__}); "
            "delete it: the run then begins anew and repeats the same steps"
        ) from None
