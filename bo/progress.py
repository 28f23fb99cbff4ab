"""One line of progress on standard error, in a terminal or a notebook. No paper."""

import sys
import time
from typing import Any

from bo.contract import Trial
from bo.goals import Goals
from bo.metrics import best_value, better, front


class ProgressLine:
    """A callback that redraws "12/40  best 0.31 (trial 9)  0.2 s a trial  ETA 6 s"."""

    def __init__(self, goals: Goals, budget: int) -> None:
        self.goals = goals
        self.budget = budget
        self.best: Trial | None = None
        self.front: list[Trial] = []
        self.done = 0
        self.began = time.monotonic()

    @staticmethod
    def wanted() -> bool:
        """Whether somebody is looking: a terminal, or a notebook's kernel."""
        return sys.stderr.isatty() or "ipykernel" in sys.modules

    def __call__(self, trial: Trial) -> None:
        """Take in one finished trial."""
        self.done += 1
        pace = (time.monotonic() - self.began) / self.done
        left = max(self.budget - trial.number - 1, 0)
        found = self._found(trial)
        times = f"{pace:.2g} s a trial  ETA {pace * left:.0f} s"
        told = f"{trial.number + 1}/{self.budget}  {found}  {times}"
        self._write(f"\r{told:<78}")

    def _found(self, trial: Trial) -> str:
        if self.goals.several:
            self.front = front([*self.front, trial], self.goals)
            volume = best_value(self.front, self.goals)
            if volume is None:
                return "no value yet"
            return f"front of {len(self.front)}, hypervolume {volume:.6g}"
        self.best = better(self.best, trial, self.goals)
        if self.best is None:
            return "no value yet"
        name = self.goals.only.name
        return f"best {name} {self.best.values[name]:.6g} (trial {self.best.number})"

    def close(self, *_: Any) -> None:
        """End the line."""
        if self.done:
            self._write("\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
