"""The optimisation loop: ask, evaluate, tell, until the budget is spent. No paper.

A generator of finished trials. It keeps nothing that matters: the trial log does, so that killing
it at any moment loses at most the evaluations in flight, and starting it again goes on from there.
"""

import contextlib
import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bo.commands import CommandFailed, GoalMissing
from bo.contract import Trial
from bo.stopping import Stopping
from bo.trial_log import HEARTBEAT_SECONDS, REAPED, owner
from bo.workers import Executor, Pending, WorkerDied, traceback_of, wait
from surrogates.errors import StoreError, UsageError

if TYPE_CHECKING:
    from bo.study import Study


def optimise(
    study: "Study",
    objective: Callable[..., Any],
    *,
    budget: int,
    executor: Executor,
    slots: int = 1,
    batch: int = 1,
    retries: int = 1,
    stop: Stopping | None = None,
) -> Iterator[Trial]:
    """Run a study until it has `budget` trials, and yield each as it finishes.

    Args:
        study: asks, tells and keeps.
        objective: `f(parameters)` or `f(parameters, trial)`.
        budget: trials of the study in all, those of other processes and earlier runs included.
        executor: evaluates; must be ready for `slots` evaluations at once.
        slots: evaluations at once.
        batch: points per ask.
        retries: how often a trial whose process died runs again, be it a worker or the whole run;
            an interrupt (Ctrl-C, SIGTERM) is no death.
        stop: says when to end before the budget; what is in flight then is waited for.
    """
    stop = stop or Stopping()
    log = study.log
    flying: dict[int, tuple[Trial, Pending]] = {}
    ended: dict[int, float] = {}  # an ask may take longer than what it waits for
    queue: list[Trial] = []
    with _Heartbeat(study, lambda: [*flying, *(trial.number for trial in queue)]):
        try:
            queue, given_up = _reclaimed(study, retries)
            yield from given_up
            while True:
                while len(flying) < slots and not stop.due(study):
                    queue = queue or study._ask(batch, owner=owner(), limit=budget)
                    if not queue and not flying:
                        queue, given_up = _reclaimed(study, retries)
                        yield from given_up
                    if not queue:
                        break
                    trial = queue[0]  # stays there until it flies: an interrupt may come now
                    future = executor.submit(*_call(objective, trial))
                    flying[trial.number] = (trial, future)
                    _note_end(future, trial.number, ended)
                    queue.pop(0)
                if not flying:
                    return
                wait([future for _, future in flying.values()])
                for number in [n for n, (_, future) in flying.items() if future.done()]:
                    trial, future = flying.pop(number)
                    finished = ended.pop(number, None)
                    try:
                        told = _tell(study, trial, future, finished)
                    except WorkerDied as error:
                        if trial.attempt <= retries:
                            queue += log.reclaim([number])
                            continue
                        told = study._finish(trial.number, "failed", reason=_line(error))
                    yield told
        finally:
            left = [*flying, *(trial.number for trial in queue)]
            if left:
                log.release(left)


def wants_trial(objective: Callable[..., Any]) -> bool:
    """Whether an objective takes `(parameters, trial)`."""
    try:
        parameters = inspect.signature(objective).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return len(needed) >= 2


def _call(objective: Callable[..., Any], trial: Trial) -> tuple[Any, ...]:
    parameters = dict(trial.parameters)
    if not wants_trial(objective):
        return objective, parameters
    # A worker cannot unpickle our own classes: it imports nothing of ours.
    told = SimpleNamespace(
        number=trial.number, parameters=parameters, attempt=trial.attempt, seed=trial.seed
    )
    return objective, parameters, told


def _reclaimed(study: "Study", retries: int) -> tuple[list[Trial], list[Trial]]:
    """Trials that a dead process left behind: those to run once more, and those failed for good.

    A trial may be what kills its process, and then it would kill every run of the study.
    """
    again: list[Trial] = []
    given_up: list[Trial] = []
    for trial in study.log.reclaim():
        deaths = trial.attempt - 1
        if deaths <= retries:
            again.append(trial)
            continue
        times = "once" if deaths == 1 else f"{deaths} times"
        reason = f"{REAPED} {times}, and retries is {retries}"
        given_up.append(study._finish(trial.number, "failed", reason=reason))
    return again, given_up


def _note_end(future: Pending, number: int, ended: dict[int, float]) -> None:
    """Where the future can say when it is done."""
    when_done = getattr(future, "add_done_callback", None)
    if when_done is not None:
        when_done(lambda _: ended.setdefault(number, time.time()))


def _tell(study: "Study", trial: Trial, future: Pending, finished: float | None) -> Trial:
    finish = functools.partial(study._finish, trial.number, finished=finished)
    try:
        outcome = future.result()
    except WorkerDied:
        raise
    except CommandFailed as error:
        told = finish("failed", reason=_cut(str(error)), traceback=error.log)
        if isinstance(error, GoalMissing):  # all others would fail in the same way
            raise
        return told
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the objective raises
        where = traceback_of(error)
        return finish("failed", reason=_line(error), traceback=where)
    try:
        values, reason = study.read_outcome(outcome, strict=False)
    except UsageError as error:
        return finish("failed", reason=str(error))
    state = "failed" if reason else "complete"
    return finish(state, values=values, reason=reason)


def _line(error: BaseException) -> str:
    return _cut(f"{type(error).__name__}: {error}").rstrip(": ")


def _cut(text: str) -> str:
    return " ".join(text.split())[:500]


class _Heartbeat:
    """A thread that says every few seconds that the trials in flight and queued are alive."""

    def __init__(self, study: "Study", numbers: Callable[[], list[int]]) -> None:
        self.study = study
        self.numbers = numbers
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        if self.study.log.url is not None:  # a database in memory has no other process to tell
            self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()

    def _beat(self) -> None:
        while not self.over.wait(HEARTBEAT_SECONDS):
            numbers = self.numbers()
            if numbers:
                with contextlib.suppress(StoreError):  # the main thread meets the same
                    self.study.log.beat(numbers)
