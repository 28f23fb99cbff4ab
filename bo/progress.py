"""One line of progress on standard error, in a terminal or a notebook. No paper."""

import sys
import time
from typing import Any

from bo.contract import Goal, Trial
from bo.metrics import better


class ProgressLine:
    """A callback that redraws "12/40  best 0.31 (trial 9)  0.2 s a trial  ETA 6 s"."""

    def __init__(self, goal: Goal, budget: int) -> None:
        self.goal = goal
        self.budget = budget
        self.best: Trial | None = None
        self.done = 0
        self.began = time.monotonic()

    @staticmethod
    def wanted() -> bool:
        """Whether somebody is looking: a terminal, or a notebook's kernel."""
        return sys.stderr.isatty() or "ipykernel" in sys.modules

    def __call__(self, trial: Trial) -> None:
        """Take in one finished trial."""
        self.done += 1
        self.best = better(self.best, trial, self.goal)
        pace = (time.monotonic() - self.began) / self.done
        left = max(self.budget - trial.number - 1, 0)
        found = "no value yet"
        if self.best is not None:
            value = self.best.values[self.goal.name]
            found = f"best {self.goal.name} {value:.6g} (trial {self.best.number})"
        times = f"{pace:.2g} s a trial  ETA {pace * left:.0f} s"
        told = f"{trial.number + 1}/{self.budget}  {found}  {times}"
        self._write(f"\r{told:<78}")

    def close(self, *_: Any) -> None:
        """End the line."""
        if self.done:
            self._write("\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
