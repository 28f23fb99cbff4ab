"""The study: ask, tell, fail, run, resume. What a user of Python holds in hand. No paper.

    study = Study({"lr": real(1e-5, 1e-1, log=True)}, "minimize loss", name="mlp", store="runs.db")
    for trial in study.ask(4):
        study.tell(trial, {"loss": 0.31})

The same name in the same store goes on with the same study, in this process or in many at once.
"""

import collections
import contextlib
import importlib
import json
import logging
import math
import operator
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bo import metrics
from bo.contract import WARM_START, Measured, Outcome, Strategy, Trial, TrialState
from bo.database import store_url
from bo.goals import Goal, Goals
from bo.loop import optimise
from bo.methods import make_strategy
from bo.progress import ProgressLine
from bo.space import Parameter, Parameters, Space
from bo.stopping import Stopping
from bo.trial_log import Log, StudyRow
from bo.workers import Executor, InProcess, Workers
from surrogates.errors import UsageError
from surrogates.seeds import derive_seed

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from ax.api.client import Client

_logger = logging.getLogger(__name__)

Callback = Callable[[Trial], Any]
AfterAsk = Callable[[Sequence[Trial], list[Trial], Mapping[str, Any] | None], Any]


class Study:
    """A black box being optimised.

    Args:
        space: a `Space`, or parameters by name.
        goal: "minimize NAME" or "maximize NAME"; several with commas between them.
        subject_to: constraints on outcomes, such as "latency <= 20"; what an objective returns
            must then hold these outcomes too.
        reference: with several goals, the worst value of each that is of interest, by name;
            hypervolume is measured from there. None: inferred from what was found.
        name: with a store: joins or resumes the study of that name. None: a new one.
        store: path of an SQLite file or an SQLAlchemy URL; None keeps the study in memory.
        method: a name of `wald catalog bo`.
        options: of the method, by name.
        seed: of everything random; None draws one. Recorded either way.

    Attributes:
        after_ask: called after each ask of the method with the log as the method saw it, the
            new trials and the state that the method left with them; None calls nothing. The
            trials are written and the lease is given back by then, so it may take its time.
            What it raises ends `ask` or `run`, as with a callback; the new trials stay in the
            log, where `run` takes them first when it goes on. Not kept with the study.

    Raises:
        UsageError: an unknown method or option, or a study of that name with another space or goal.
        StoreError: the store cannot be used.
    """

    def __init__(
        self,
        space: Space | Mapping[str, Parameter],
        goal: str | Goal | Goals = "minimize value",
        *,
        subject_to: str | Sequence[str] = (),
        reference: Mapping[str, float] | None = None,
        name: str | None = None,
        store: str | Path | None = None,
        method: str = "auto",
        options: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        space = space if isinstance(space, Space) else Space(space)
        goals = Goals.of(goal, subject_to, reference)
        named = {each.name for each in goals.goals}
        for each in goals.constraints:
            if all(word in space.parameters and word not in named for word in each.names):
                raise UsageError(
                    f"subject_to of a study expected outcomes, got parameters in {str(each)!r}; "
                    "give it to bo.Space(..., subject_to=[...])"
                )
        if not isinstance(options, (Mapping, type(None))):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f'options expected a mapping such as {{"depth": 3}}, got {options!r}')
        asked_seed, seed = seed, _seed(seed)
        made = make_strategy(method, space, goals, options or {}, seed)  # refuse before writing
        row = StudyRow(
            name=_name(name),
            space=space,
            goals=goals,
            method=method,
            options=dict(options or {}),
            seed=seed,
            created=time.time(),
        )
        log = Log.create(None if store is None else store_url(store), row)
        if asked_seed is not None and log.study.seed != asked_seed:
            raise UsageError(
                f"the study {row.name!r} exists and has seed {log.study.seed}, got {asked_seed}; "
                "leave the seed out, or choose another name"
            )
        self._set(log, method, made if log.study.seed == seed else None, options or {})

    @classmethod
    def resume(cls, name: str, *, store: str | Path) -> "Study":
        """An existing study, with the space, goal, method and seed that it was made with.

        Raises:
            UsageError: no study of that name; the nearest one is suggested.
            StoreError: no such store.
        """
        study = cls.__new__(cls)
        log = Log.load(store_url(store), name)
        study._set(log, log.study.method, None, log.study.options)
        return study

    def _set(
        self, log: Log, method: str, strategy: Strategy | None, options: Mapping[str, Any]
    ) -> None:
        self.log = log
        self.name = log.study.name
        self.space = log.study.space
        self.goals = log.study.goals
        self.seed = log.study.seed
        self.method = method
        self.after_ask: AfterAsk | None = None
        self.strategy = strategy or make_strategy(
            method, self.space, self.goals, options, self.seed
        )

    @property
    def trials(self) -> list[Trial]:
        """All trials in the order of their numbers."""
        return self.log.trials()

    @property
    def goal(self) -> Goal:
        """The goal, where there is one. Raises `UsageError` where there are several."""
        return self.goals.only

    @property
    def best(self) -> Trial | None:
        """The best complete trial that satisfies all outcome constraints, or None.

        Raises `UsageError` where there are several goals: see `front`.
        """
        return metrics.incumbent(self.trials, self.goals)

    def front(self) -> list[Trial]:
        """The trials that no other is better than in every goal (Pareto front)."""
        return metrics.front(self.trials, self.goals)

    def ask(self, n: int = 1) -> list[Trial]:
        """Suggest n points to evaluate.

        They stay pending until they are told or failed, by number if need be, however long that
        takes. Enqueued points come first. Fewer than n come back only where a pool is used up.
        """
        _check_count("ask", n)
        return self._ask(n, owner=None)

    def tell(self, trial: Trial | int, outcome: Outcome) -> Trial:
        """Record an outcome: a number, or a mapping that holds all names of the goals.

        In place of a number, `(mean, sem)` tells its standard error too. A value of a goal or a
        constraint that is not finite makes the trial failed.

        Raises:
            UsageError: not a number, no value for a goal, or the trial is not running.
        """
        number = _trial_number(trial)
        values, reason = self.read_outcome(outcome)
        return self.log.finish(
            number, "failed" if reason else "complete", values=values, reason=reason
        )

    def fail(self, trial: Trial | int, reason: str = "failed") -> Trial:
        """Record that a trial has no outcome, and why."""
        return self.log.finish(_trial_number(trial), "failed", reason=reason)

    def add(self, parameters: Mapping[str, Any], outcome: Outcome) -> Trial:
        """Record a result that is known already."""
        point = self.space.check(parameters)
        values, reason = self.read_outcome(outcome)
        now = time.time()
        state = "failed" if reason else "complete"
        row = self._row(point, owner=None) | {
            "state": state,
            "reason": reason,
            "outcome": _json(values),
            "started": now,
            "finished": now,
        }
        return self.log.add([row])[0]

    def warm_start(
        self, known: Iterable[tuple[Mapping[str, Any], Outcome | str | None]]
    ) -> list[Trial]:
        """Take in results from before the study, all or none: `bo.read_csv`, `bo.read_study`.

        They are trials that no budget counts. Those that the study took in before are left out, so
        that doing it again changes nothing.

        Args:
            known: parameters, and the outcome as for `tell`; of a failed evaluation the reason, or
                None.

        Returns:
            The trials that are new.

        Raises:
            UsageError: a point that the space does not hold, or no value for the goal.
        """
        made: list[dict[str, Any]] = []
        for parameters, outcome in known:
            point = self.space.check(parameters)
            if outcome is None or isinstance(outcome, str):
                values, reason = {}, outcome or "failed"
            else:
                values, reason = self.read_outcome(outcome)
            now = time.time()
            made.append(
                self._row(point, owner=None)
                | {
                    "state": "failed" if reason else "complete",
                    "reason": reason,
                    "outcome": _json(values),
                    "started": now,
                    "finished": now,
                    "method": WARM_START,
                }
            )
        with self.log.asking() as lease:  # nobody else takes in the same meanwhile
            held = collections.Counter(
                _json([trial.parameters, metrics.told(trial)])
                for trial in self.trials
                if not trial.counted
            )
            new: list[dict[str, Any]] = []
            for row in made:
                key = _json([json.loads(row["parameters"]), json.loads(row["outcome"])])
                held[key] -= 1
                if held[key] < 0:
                    new.append(row)
            return lease.write(new) if new else []

    def enqueue(self, parameters: Mapping[str, Any]) -> Trial:
        """Put a point first in the queue of those to try."""
        row = self._row(self.space.check(parameters), owner=None)
        return self.log.add([row | {"state": "waiting"}])[0]

    def run(
        self,
        objective: Callable[..., Any],
        budget: int = 50,
        *,
        parallel: int = 1,
        batch: int = 1,
        timeout: float | None = None,
        retries: int = 1,
        executor: Executor | None = None,
        callback: Callback | None = None,
        stop_at: float | None = None,
        stop_after: float | None = None,
        stall: int | None = None,
    ) -> "Result":
        """Evaluate until the study has `budget` trials, failed ones included.

        Args:
            objective: `f(parameters)` or `f(parameters, trial)`; returns a number or a mapping.
                What it raises, and values that are not finite, make failed trials.
            budget: total of the study, so running again goes on where it stopped.
            parallel: evaluations at once, in worker processes where above 1.
            batch: points per ask.
            timeout: seconds that one evaluation may take (in a worker process), or None.
            retries: how often a trial whose process died runs again, be it a worker or the whole
                run (a crash, a kill, no power); then it is failed. Ctrl-C and SIGTERM use up none.
            executor: evaluates instead, `parallel` at once: anything with
                `submit() -> done(), result()`.
            callback: called with each finished trial; None draws a progress line in a terminal or
                a notebook.
            stop_at: end before the budget, once the best value is as good as this.
            stop_after: end once so many seconds have passed; what is in flight is waited for.
            stall: end once so many trials in a row brought no improvement.
        """
        for what, count in (("budget", budget), ("parallel", parallel), ("batch", batch)):
            _check_count(what, count)
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"retries expected a whole number of at least 0, got {retries!r}")
        if executor is not None and not hasattr(executor, "submit"):
            raise UsageError(f"executor expected submit(f, *args), got {executor!r:.100}")
        if not callable(objective):
            raise UsageError(f"expected an objective f(parameters), got {objective!r:.100}")
        stop = Stopping(stop_at, stop_after, stall)
        line = ProgressLine(self.goals, budget)
        shown = callback or (line if line.wanted() else None)
        for trial in self.steps(
            objective,
            budget=budget,
            parallel=parallel,
            batch=batch,
            timeout=timeout,
            retries=retries,
            executor=executor,
            stop=stop,
        ):
            if shown is not None:
                shown(trial)
        line.close()
        self._tell_of_failures()
        return Result(self, stop.reason)

    def _tell_of_failures(self) -> None:
        """A warning on standard error, where no trial is complete."""
        trials = self.trials
        reasons = metrics.reasons(trials)
        if reasons and not any(trial.state == "complete" for trial in trials):
            (reason, count), *_ = reasons.items()
            _logger.warning(
                "no trial of %s is complete; %d failed like this: %s", self.name, count, reason
            )

    def steps(
        self,
        objective: Callable[..., Any],
        *,
        budget: int,
        parallel: int = 1,
        batch: int = 1,
        timeout: float | None = None,
        retries: int = 1,
        executor: Executor | None = None,
        stop: Stopping | None = None,
    ) -> Generator[Trial, None, None]:
        """As `run`, but as an iterator of finished trials."""
        with contextlib.ExitStack() as stack:
            if executor is None and (parallel > 1 or timeout is not None):
                executor = stack.enter_context(Workers(parallel, timeout=timeout))
            yield from optimise(
                self,
                objective,
                budget=budget,
                executor=executor or InProcess(),
                slots=parallel,
                batch=batch,
                retries=retries,
                stop=stop,
            )

    def to_optuna(self, storage: Any = None, name: str | None = None) -> "optuna.study.Study":
        """A new Optuna study with all trials (`bo/interop.py`); `bo.from_optuna` is the way back.

        Args:
            storage: a storage or URL of Optuna; None for memory.
            name: of the new study; by default that of this one.
        """
        from bo.interop import to_optuna

        return to_optuna(self, storage, name)

    def to_ax(self) -> "Client":
        """An Ax `Client` that holds all trials, with Ax's default strategy from here on.

        `bo.from_ax` is the way back.

        Raises:
            CapabilityError: Ax cannot say the space or the goals.
        """
        return importlib.import_module("bo.ax_bridge").filled_client(
            self.space, self.goals, self.trials
        )

    def result(self) -> "Result":
        """Best point and all trials so far."""
        return Result(self)

    def read_outcome(
        self, outcome: Any, *, strict: bool = True
    ) -> tuple[dict[str, Measured], str | None]:
        """Finite values by name, and why the trial is failed (None where it is not).

        Args:
            outcome: a number, or a mapping of numbers.
            strict: whether something else beside the goals is an error, or is left out.

        Raises:
            UsageError: not a number or a mapping of numbers, or a goal is not in it.
        """
        needed = self.goals.outcomes
        given = outcome if isinstance(outcome, Mapping) else {needed[0]: outcome}
        for name in needed:
            if name not in given:
                told = ", ".join(map(str, given)) or "nothing"
                raise UsageError(f"expected a value for {name!r}, got one for {told}")
        values: dict[str, Measured] = {}
        for name, value in given.items():
            try:
                values[str(name)] = _measured(name, value)
            except UsageError:
                if strict or name in needed:
                    raise
        finite = {n: v for n, v in values.items() if math.isfinite(_mean(v))}
        for name in needed:
            if name not in finite:
                return finite, f"{name} is not finite: {_mean(values[name])}"
        return finite, None

    def _ask(self, n: int, *, owner: str | None, limit: int | None = None) -> list[Trial]:
        with self.log.asking() as lease:
            trials = lease.trials()
            started = sum(trial.state != "waiting" and trial.counted for trial in trials)
            n = n if limit is None else min(n, limit - started)
            asked = lease.start_waiting(n, owner=owner) if n > 0 else []
            n -= len(asked)
            if n <= 0:
                return asked
            trials = lease.trials()
            began = time.process_time()
            points, state = self._suggest(trials, n)
            seconds = time.process_time() - began
            if not points:
                return asked
            rows = [
                self._row(point, owner=owner)
                | {
                    "method": self.method,
                    "method_state": _json(state) if state is not None else None,
                    "ask_seconds": seconds / len(points),
                }
                for point in points
            ]
            new = lease.write(rows)
        if self.after_ask is not None:
            try:
                self.after_ask(trials, list(new), state)
            except BaseException:
                if owner is not None:  # nobody holds them yet: the next run takes them at once
                    self.log.release([trial.number for trial in [*asked, *new]])
                raise
        return asked + new

    def _suggest(
        self, trials: Sequence[Trial], n: int
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        before, generator = self._ask_inputs(trials)
        points, state = self.strategy.ask(trials, n, state=before, generator=generator)
        return [self.space.check(point) for point in points[:n]], state

    def _ask_inputs(
        self, trials: Sequence[Trial]
    ) -> tuple[Mapping[str, Any] | None, torch.Generator]:
        """State and generator of the ask after these trials."""
        states = [t.method_state for t in trials if t.method == self.method and t.method_state]
        generator = torch.Generator(device="cpu")
        generator.manual_seed(derive_seed(self.seed, "ask", len(trials)))
        return states[-1] if states else None, generator

    def _row(self, point: Parameters, *, owner: str | None) -> dict[str, Any]:
        now = time.time()
        return {"parameters": _json(point), "started": now, "owner": owner, "heartbeat": now}

    def _finish(
        self,
        number: int,
        state: TrialState,
        *,
        values: Mapping[str, Measured] | None = None,
        reason: str | None = None,
        traceback: str | None = None,
        finished: float | None = None,
    ) -> Trial:
        """As the loop tells: where another process was faster, its outcome stands."""
        try:
            return self.log.finish(
                number, state, values=values, reason=reason, traceback=traceback, finished=finished
            )
        except UsageError:
            return self.trials[number]

    def __repr__(self) -> str:
        return (
            f"Study({self.name!r}, {str(self.goals)!r}, {len(self.trials)} trials, {self.method})"
        )


class Result:
    """What a study has found.

    Attributes:
        study: the study itself.
        stopped: why the run ended before its budget (a target, a time, a stall), or None.
    """

    def __init__(self, study: Study, stopped: str | None = None) -> None:
        self.study = study
        self.stopped = stopped

    @property
    def best_parameters(self) -> Parameters | None:
        """The point of the best complete trial, or None."""
        best = self.study.best
        return None if best is None else dict(best.parameters)

    @property
    def best_value(self) -> float | None:
        """The goal's value at the best complete trial, or None."""
        best = self.study.best
        return None if best is None else best.values[self.study.goals.only.name]

    @property
    def front(self) -> list[Trial]:
        """The trials that no other is better than in every goal (Pareto front)."""
        return self.study.front()

    @property
    def trials(self) -> "pd.DataFrame":
        """One row per trial: number, state, parameters, values, reason, seconds."""
        import pandas as pd

        names = self.study.space.parameters, self.study.goals.outcomes
        return pd.DataFrame(metrics.trial_rows(self.study.trials, *names))

    def __repr__(self) -> str:
        if self.study.goals.several:
            return f"Result(front of {len(self.front)} among {len(self.study.trials)} trials)"
        return f"Result(best_value={self.best_value!r}, best_parameters={self.best_parameters!r})"


def minimize(
    f: Callable[..., Any],
    space: Space | Mapping[str, Parameter],
    budget: int = 50,
    *,
    goal: str = "value",
    subject_to: str | Sequence[str] = (),
    method: str = "auto",
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
    name: str | None = None,
    store: str | Path | None = None,
    parallel: int = 1,
    callback: Callback | None = None,
) -> Result:
    """Find parameters at which `f` is small.

    Args:
        f: `f(parameters)` or `f(parameters, trial)`; returns a number, or a mapping that holds
            `goal`.
        space: parameters by name, or a `Space`.
        budget: evaluations in all.
        goal: name of the outcome.
        subject_to: constraints on outcomes, such as "latency <= 20".
        method: a name of `wald catalog bo`.
        options: of the method.
        seed: of everything random.
        name: with `store`: goes on with the study of that name.
        store: path of an SQLite file or a URL; None keeps the study in memory.
        parallel: evaluations at once.
        callback: called with each finished trial; None draws a progress line.
    """
    study = Study(
        space,
        f"minimize {_outcome(goal)}",
        subject_to=subject_to,
        name=name,
        store=store,
        method=method,
        options=options,
        seed=seed,
    )
    return study.run(f, budget, parallel=parallel, callback=callback)


def maximize(
    f: Callable[..., Any],
    space: Space | Mapping[str, Parameter],
    budget: int = 50,
    *,
    goal: str = "value",
    subject_to: str | Sequence[str] = (),
    method: str = "auto",
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
    name: str | None = None,
    store: str | Path | None = None,
    parallel: int = 1,
    callback: Callback | None = None,
) -> Result:
    """Find parameters at which `f` is large; as `minimize` otherwise."""
    study = Study(
        space,
        f"maximize {_outcome(goal)}",
        subject_to=subject_to,
        name=name,
        store=store,
        method=method,
        options=options,
        seed=seed,
    )
    return study.run(f, budget, parallel=parallel, callback=callback)


def _outcome(goal: Any) -> str:
    if not isinstance(goal, str) or len(goal.split()) != 1 or "," in goal:
        raise UsageError(
            f"goal expected the name of one outcome, got {goal!r:.100}; several goals are for "
            'bo.Study(space, "minimize a, maximize b")'
        )
    return goal.strip()


def _seed(seed: int | None) -> int:
    if seed is None:
        return secrets.randbits(31)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"a seed expected a whole number from 0 to 2**63 - 1, got {seed!r}")
    return seed


def _check_count(what: str, count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UsageError(f"{what} expected a whole number of at least 1, got {count!r}")


def _name(name: str | None) -> str:
    if name is None:
        return f"study-{secrets.token_hex(4)}"
    if not isinstance(name, str) or not name.strip() or len(name) > 200:
        raise UsageError(f"a study expected a name of 1 to 200 characters, got {name!r:.100}")
    return name


def _trial_number(trial: Any) -> int:
    if isinstance(trial, Trial):
        return trial.number
    if not isinstance(trial, bool):
        with contextlib.suppress(TypeError):
            return operator.index(trial)
    raise UsageError(f"expected a trial or its number, such as study.tell(0, 1.5), got {trial!r}")


def _number(name: object, value: Any) -> float:
    if not isinstance(value, (str, bytes, bool)) and value is not None:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
        except (TypeError, ValueError, RuntimeError):
            pass
    raise UsageError(f"expected a number for {name!r}, got {value!r:.100}")


def _measured(name: object, value: Any) -> Measured:
    if not isinstance(value, tuple):
        return _number(name, value)
    if len(value) != 2:
        raise UsageError(f"expected a number or (mean, sem) for {name!r}, got {value!r:.100}")
    mean, sem = (_number(name, each) for each in value)
    if not (math.isfinite(sem) and sem >= 0):
        raise UsageError(f"expected a finite standard error of at least 0 for {name!r}, got {sem}")
    return mean, sem


def _mean(value: Measured) -> float:
    return value[0] if isinstance(value, tuple) else value


def _json(value: Any) -> str:
    return json.dumps(value)
