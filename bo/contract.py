"""What problems and strategies are. Imports no torch: readers of the trial log use it too."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from bo.goals import Goal, Goals
from bo.space import Parameters, Space

if TYPE_CHECKING:
    from torch import Generator

    from bo.belief import Belief

TrialState = Literal["waiting", "running", "complete", "failed"]
Measured = float | tuple[float, float]
"""A value, or a value and its standard error."""
Outcome = Measured | Mapping[str, Measured]
"""What an objective returns."""
WARM_START = "warm-start"
"""The method of trials that were measured before the study: they are known, not evaluated."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One evaluation: asked, perhaps finished.

    Attributes:
        number: 0, 1, ... within the study, without gaps.
        parameters: the point.
        state: `waiting` (enqueued), `running`, `complete` or `failed`.
        values: outcome by name; a complete trial has those of all goals and outcome constraints.
        sems: standard error of a value, by name, where it was told.
        reason: why it failed, one line.
        traceback: where the objective raised, or None.
        attempt: 1, and 1 more for each process that died during it; an interrupt adds none.
        seed: for the objective's own randomness, the same at every attempt.
        method: the method that suggested it.
        method_state: the small state that the method left with it (JSON).
        ask_seconds: CPU seconds that the suggestion took.
        started: time of the ask, seconds since 1970 (UTC).
        finished: time of tell or fail.
        revision: the study's revision when it last changed.
    """

    number: int
    parameters: Parameters
    state: TrialState
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    sems: Mapping[str, float] = dataclasses.field(default_factory=dict)
    reason: str | None = None
    traceback: str | None = None
    attempt: int = 1
    seed: int = 0
    method: str | None = None
    method_state: Mapping[str, Any] | None = None
    ask_seconds: float | None = None
    started: float | None = None
    finished: float | None = None
    revision: int = 0

    @property
    def done(self) -> bool:
        """Complete or failed."""
        return self.state in ("complete", "failed")

    @property
    def counted(self) -> bool:
        """Whether it is one of the budget's: all but those of a warm start."""
        return self.method != WARM_START


@runtime_checkable
class Strategy(Protocol):
    """A way to choose the next points: a pure function of the log and a small state.

    Its factory, named in the catalog, is called `factory(space, goal, options, seed)`; `seed` is
    the study's, for designs that span many asks. `goal` is a `Goal`; of a row with the word `goals`
    (several goals and outcome constraints) or `constraints` (the latter only) it is a `Goals`.

    Attributes:
        note: one line that every run shows, such as what was chosen and why, or None.
    """

    note: str | None

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: "Generator",
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """Choose n points.

        Args:
            trials: the whole log in the order of numbers, running ones (pending) included.
            n: how many points, at least 1.
            state: what the latest ask left, JSON-able, or None.
            generator: source of every random draw; derived from the study's seed and the number
                of the next trial.

        Returns:
            The points, valid in the space (fewer than n only where a pool has no more unseen
            rows), and the state to keep with them.
        """
        ...


@runtime_checkable
class Believer(Protocol):
    """A strategy with a model that can be looked at. Optional: few strategies have one."""

    def belief(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: "Generator",
    ) -> "Belief | None":
        """What `ask` with the same arguments believes when it chooses its first point by a model.

        A pure function too: an implementation may keep the belief of its latest ask, but the
        answer is the same without.

        Returns:
            None where that ask uses no model, such as during the initial design.
        """
        ...


@runtime_checkable
class Evaluate(Protocol):
    """The objective of a problem."""

    def __call__(self, parameters: Parameters, *, seed: int) -> "Outcome":
        """The outcome at a point: a number, or a mapping that holds all names of the goals.

        Args:
            parameters: a valid point.
            seed: for the objective's own randomness.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something to optimise. Its factory is called `factory(name, options)`.

    Attributes:
        name: as the user typed it.
        space: what can be varied; holds the pool of a table in `space.candidates`.
        goal: the outcome and its direction; a `Goals` where there are several, or constraints.
        evaluate: the objective; may raise, a trial then fails.
        optimum: the best possible value in the goal's units (of several goals: the hypervolume),
            or None where unknown (then no regret is shown).
        note: one line for the user, such as what was dropped from a table.
        objective: `f(parameters, trial)`, which runs evaluate instead of `evaluate` where it is
            given: of a user's own work, that may want the trial's number.
        isolated: evaluated in worker processes always, not only in parallel or with a time limit.
    """

    name: str
    space: Space
    goal: Goal | Goals
    evaluate: Evaluate
    optimum: float | None = None
    note: str | None = None
    objective: Callable[[Parameters, Any], Any] | None = None
    isolated: bool = False

    @property
    def goals(self) -> Goals:
        """`goal`, as all that is optimised."""
        return Goals.of(self.goal)
