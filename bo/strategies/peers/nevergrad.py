"""Nevergrad's optimisers, as peers to measure ours against; by default its own choice, `NGOpt`.

Meunier et al. (2022), "Black-Box Optimization Revisited: Improving Algorithm Selection Wizards
through Massive Benchmarking"; the code is Nevergrad's (github.com/facebookresearch/nevergrad).
`NGOpt` picks an algorithm by dimension, kind of parameters, budget and evaluations at once. Departs
from Nevergrad: the number of evaluations at once is the greatest so far where none is given, so
that the choice can change at the first ask that overlaps another; a point that was evaluated
before is answered from the log and another one asked for, up to eight times; an algorithm that has
come to its end, as COBYLA does where the evaluations that it plans for are spent, begins anew from
the best point, where Nevergrad would go on with random ones.

Each ask replays the study: the state of a trial says how many outcomes had been told when it was
asked, so that asks and tells follow each other as they did, with the draws of the study's seed. The
best trial that was there before the first ask is the starting point, and such trials are told,
where the algorithm takes what it did not ask for. Failed trials get the worst loss so far. Running
ones are known to it by having been asked.

An algorithm that takes one evaluation at a time is told, in a pool, the outcome of the row that was
tried in place of its proposal; while another trial runs, it gives way to random points.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Generator

from bo.contract import Trial
from bo.goals import Goal
from bo.metrics import incumbent
from bo.space import Parameter, Parameters, Space, Value
from bo.strategies.peers._shared import (
    active,
    global_draws,
    loss_of,
    most,
    package,
    pool_note,
    quiet,
    settled,
    whole,
)
from bo.strategies.random import random_points
from surrogates.errors import UsageError
from surrogates.options import option, options, unknown
from surrogates.seeds import derive_seed

_REPEATS = 8


@options
class Options:
    """Which of Nevergrad's optimisers, and what it plans for."""

    optimizer: str = option(default="NGOpt", help="name in Nevergrad's registry of optimisers")
    budget: int = option(
        default=100, help="evaluations that it plans for", low=1, high=1_000_000_000
    )
    workers: int = option(
        default=0,
        help="evaluations at once that it plans for (num_workers); 0: the most so far",
        low=0,
        high=10_000,
    )


class Nevergrad:
    """An optimiser of Nevergrad, replayed from the log at each ask."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = pool_note(space, "nevergrad")
        self.space, self.goal, self.options, self.seed = space, goal, options, seed
        self.nevergrad = package("nevergrad", method="nevergrad")
        metamodel = package("nevergrad.optimization.metamodel", method="nevergrad")
        metamodel.float = _number  # its own float() of an array of one number fails since NumPy 2.4
        _let_go(package("nevergrad.optimization.recaster", method="nevergrad"))
        names = self.nevergrad.optimizers.registry
        if options.optimizer not in names:
            raise UsageError(unknown("optimizer of nevergrad", options.optimizer, sorted(names)))
        self._latest: _Play | None = None

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """The next n points (see `bo.contract.Strategy`); the state counts finished trials."""
        n = most(self.space, trials, n)
        points: list[Parameters] = []
        with quiet("nevergrad", "cma"), global_draws(self.seed):
            play = self._replay(trials, n)
            for number in range(len(trials), len(trials) + n):
                candidate = self._ask(play, number)
                if candidate is None:
                    (point,) = random_points(self.space, 1, generator=generator)
                    proposal = whole(self.space, point)
                else:
                    proposal = self._proposal(candidate)
                points.append(settled(self.space, trials, points, proposal, generator))
        self._latest = play
        return points, {"told": play.told}

    def _replay(self, trials: Sequence[Trial], n: int) -> "_Play":
        """The optimiser as it stands after the log, before n more asks.

        The latest one goes on where all that it was asked and told is in the log.
        """
        done = sorted((t for t in trials if t.done), key=lambda t: (t.revision, t.number))
        asked = [(t.number, int((t.method_state or {})["told"])) for t in trials if _is_own(t)]
        workers = max(
            [len(trials) + n - len(done), *(number + 1 - told for number, told in asked)], default=1
        )
        workers = self.options.workers or workers
        play, self._latest = self._latest, None
        if play is None or not play.leads_to(workers, asked, done):
            play = self._start(workers, done[: asked[0][1]] if asked else done)
        for number, told in asked[len(play.asked) :]:
            self._tell(play, done[play.told : told])
            self._ask(play, number)
        self._tell(play, done[play.told :])
        return play

    def _ask(self, play: "_Play", number: int) -> Any:
        """The candidate for a trial, or None where the optimiser would wait for an outcome."""
        play.asked.append((number, play.told))
        with global_draws(derive_seed(self.seed, "nevergrad ask", number)):
            candidate = self._next(play, number)
            for _ in range(_REPEATS):
                known = None if candidate is None else play.losses.get(self._key(candidate))
                if known is None:
                    break
                del play.running[number]
                play.optimizer.tell(candidate, known)
                candidate = self._next(play, number)
        return candidate

    def _next(self, play: "_Play", number: int) -> Any:
        """The next candidate; an optimiser at its end begins anew from the best point."""
        ended = self.nevergrad.errors.FinishedUnderlyingOptimizerWarning
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            candidate = play.ask(number)
        if any(issubclass(each.category, ended) for each in said):
            del play.running[number]
            play.optimizer = self._made(play.workers, play.trials)
            candidate = play.ask(number)
        return candidate

    def _key(self, candidate: Any) -> str:
        return self.space.key(active(self.space, self._proposal(candidate)))

    def _start(self, workers: int, before: Sequence[Trial]) -> "_Play":
        made = self._made(workers, before)
        return _Play(made, workers, serial=workers == 1 or made.no_parallelization)

    def _made(self, workers: int, before: Sequence[Trial]) -> Any:
        """An optimiser that begins at the best of the trials before it."""
        kinds = self.nevergrad.p
        parametrization = kinds.Dict(
            **{f"p{i}": _parameter(kinds, p) for i, p in enumerate(self.space.free.values())}
        )
        seed = derive_seed(self.seed, "nevergrad") % 2**32
        parametrization.random_state = np.random.RandomState(seed)  # noqa: NPY002 - its own kind
        best = incumbent(before, self.goal)
        if best is not None:
            parametrization.value = self._to_nevergrad(best.parameters)
        return self.nevergrad.optimizers.registry[self.options.optimizer](
            parametrization, budget=self.options.budget, num_workers=workers
        )

    def _tell(self, play: "_Play", trials: Sequence[Trial]) -> None:
        """Tell finished trials, in the order in which they finished."""
        for trial in trials:
            if trial.state == "complete":
                loss = loss_of(trial, self.goal)
                play.worst = loss if play.worst is None else max(play.worst, loss)
            else:
                loss = play.worst or 0.0
            play.done.append(_mark(trial))
            play.trials.append(trial)
            play.losses[self.space.key(trial.parameters)] = loss
            candidate = play.running.pop(trial.number, None)
            if candidate is None or not (
                play.serial or self._key(candidate) == self.space.key(trial.parameters)
            ):
                value = self._to_nevergrad(trial.parameters)
                candidate = play.optimizer.parametrization.spawn_child(new_value=value)
            try:
                with global_draws(derive_seed(self.seed, "nevergrad tell", trial.number)):
                    play.optimizer.tell(candidate, loss)
            except self.nevergrad.errors.TellNotAskedNotSupportedError:
                continue

    def _proposal(self, candidate: Any) -> Parameters:
        value = candidate.value
        return {
            name: _value(p, value[f"p{i}"]) for i, (name, p) in enumerate(self.space.free.items())
        }

    def _to_nevergrad(self, point: Parameters) -> dict[str, Any]:
        values = whole(self.space, point)
        return {
            f"p{i}": values[name] if p.type in ("real", "integer") else p.values.index(values[name])
            for i, (name, p) in enumerate(self.space.free.items())
        }


def _let_go(recaster: Any) -> None:
    """Make its background threads end with the process, which else waits for them for ever."""
    theirs = recaster._MessagingThread
    if not getattr(theirs, "_let_go", False):

        class Thread(theirs):
            _let_go = True

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.daemon = True

        recaster._MessagingThread = Thread


@dataclasses.dataclass
class _Play:
    """An optimiser under way.

    Attributes:
        optimizer: Nevergrad's.
        workers: evaluations at once that it was made for.
        serial: whether it takes one evaluation at a time.
        asked: number, and how many trials were told before, of every ask.
        done: what was told, in order.
        trials: the same, as trials.
        running: what was asked and not told yet, by number.
        worst: the greatest loss so far.
        losses: by the key of a finished point.
    """

    optimizer: Any
    workers: int
    serial: bool
    asked: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    done: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    trials: list[Trial] = dataclasses.field(default_factory=list)
    running: dict[int, Any] = dataclasses.field(default_factory=dict)
    worst: float | None = None
    losses: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def told(self) -> int:
        """How many trials were told."""
        return len(self.done)

    def ask(self, number: int) -> Any:
        """The candidate for a trial, or None where the optimiser would wait for an outcome."""
        if self.serial and self.running:
            return None
        self.running[number] = self.optimizer.ask()
        return self.running[number]

    def leads_to(
        self, workers: int, asked: Sequence[tuple[int, int]], done: Sequence[Trial]
    ) -> bool:
        """Whether a replay of these would come by here."""
        return (
            self.workers == workers
            and self.asked == list(asked[: len(self.asked)])
            and self.done == [_mark(trial) for trial in done[: self.told]]
        )


def _mark(trial: Trial) -> tuple[Any, ...]:
    return trial.number, trial.revision, trial.state, dict(trial.values), dict(trial.parameters)


def _number(value: Any) -> float:
    return np.asarray(value, dtype=float).item()


def _is_own(trial: Trial) -> bool:
    return trial.method_state is not None and "told" in trial.method_state


def _parameter(kinds: Any, parameter: Parameter) -> Any:
    if parameter.type in ("real", "integer"):
        kind = kinds.Log if parameter.log else kinds.Scalar
        made = kind(lower=parameter.low, upper=parameter.high)
        return made.set_integer_casting() if parameter.type == "integer" else made
    if parameter.type == "ordinal":
        return kinds.TransitionChoice(range(parameter.levels))
    return kinds.Choice(range(parameter.levels))


def _value(parameter: Parameter, value: Any) -> Value:
    if parameter.type == "real":
        return min(max(float(value), parameter.low), parameter.high)
    if parameter.type == "integer":
        return int(min(max(round(float(value)), parameter.low), parameter.high))
    return parameter.values[int(value)]
