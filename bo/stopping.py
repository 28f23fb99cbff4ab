"""When a study ends before its budget: a target reached, a time spent, a stall. No paper."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bo.contract import Trial
from bo.goals import Goals
from bo.metrics import best_value, front, incumbent
from surrogates.errors import UsageError

if TYPE_CHECKING:
    from bo.study import Study


@dataclasses.dataclass
class Stopping:
    """Looked at before each ask and after each trial; evaluations in flight are waited for.

    The target and the stall are read off the log, so a study that goes on later, or elsewhere,
    ends at the same trial. The seconds are those of this run.

    Attributes:
        at: end once the incumbent (of several goals: the hypervolume) is as good as this, in the
            goal's units.
        after: end once so many seconds have passed since this object was made.
        stall: end once so many trials in a row, failed ones included, brought no improvement.
        reason: why it ended, once `due` has said so.
    """

    at: float | None = None
    after: float | None = None
    stall: int | None = None
    reason: str | None = None
    began: float = dataclasses.field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        check(self.at, self.after, self.stall)

    def due(self, study: "Study") -> bool:
        """Whether the study should end now."""
        self.reason = self.reason or self._reason(study)
        return self.reason is not None

    def _reason(self, study: "Study") -> str | None:
        if self.after is not None and time.monotonic() - self.began >= self.after:
            return f"stopped after {self.after:g} s"
        if self.at is None and self.stall is None:
            return None
        trials, goals = study.trials, study.goals
        if self.at is not None:
            value = best_value(trials, goals)
            if value is not None and goals.measure.sign * (value - self.at) >= 0:
                return f"reached the target {self.at:g} with {value:g}" + _where(trials, goals)
        if self.stall is not None:
            last = max((trial.number for trial in front(trials, goals)), default=-1)
            since = sum(t.done and t.counted and t.number > last for t in trials)
            if since >= self.stall:
                return f"no improvement in {self.stall} trials"
        return None


def _where(trials: Sequence[Trial], goals: Goals) -> str:
    if goals.several:
        return " of hypervolume"
    best = incumbent(trials, goals)
    assert best is not None
    return f" at trial {best.number}"


def check(at: Any, after: Any, stall: Any) -> None:
    """Raise `UsageError` where one of the three makes no sense."""
    if at is not None and not _finite(at):
        raise UsageError(f"stop at expected a finite value of the goal, got {at!r}")
    if after is not None and not (_finite(after) and after > 0):
        raise UsageError(f"stop after expected seconds above 0, got {after!r}")
    if stall is not None and (isinstance(stall, bool) or not isinstance(stall, int) or stall < 1):
        raise UsageError(f"stall expected a number of trials of at least 1, got {stall!r}")


def _finite(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)
