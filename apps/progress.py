"""A run on the terminal: a bar with the best so far, seconds a step and the time that is left."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from apps.spec import BUDGET_UNITS, RunSpec

_SHOWN = ("regret", "score", "evaluation", "return", "reward")
_FIRST_USE = logging.getLogger("surrogates.compiled")


class _Shown(logging.Handler):
    """Prints what is told of the first use of a method, such as that it is being compiled."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        self.console.print(record.getMessage(), highlight=False, markup=False, soft_wrap=True)


class Bar:
    """A watcher (`apps.runner.Watcher`) that draws on standard error."""

    def __init__(self, console: Console, store: str) -> None:
        self.console = console
        self.store = store
        self.progress: Progress | None = None
        self.task = TaskID(0)
        self.first = 0
        self.began = 0.0
        self.shown = _Shown(console)

    def started(self, spec: RunSpec, run_id: str, step: int) -> None:
        """Say what runs and where, and draw the bar."""
        going = f"goes on at {step}" if step else "starts"
        self.console.print(
            f"{run_id} {going}: {spec.method} on {spec.problem}, seed {spec.seed}, "
            f"{spec.budget} {BUDGET_UNITS[spec.kind]}; store {self.store}",
            highlight=False,
            soft_wrap=True,
        )
        _FIRST_USE.setLevel(logging.INFO)
        _FIRST_USE.addHandler(self.shown)
        self.first, self.began = step, time.monotonic()
        self.progress = Progress(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[told]}"),
            console=self.console,
            transient=True,
        )
        self.task = self.progress.add_task("", total=spec.budget, completed=step, told="")
        if self.console.is_terminal:
            self.progress.start()

    def noted(self, note: str) -> None:
        """One line."""
        self.console.print(note, highlight=False, markup=False, soft_wrap=True)

    def stepped(self, step: int, told: Mapping[str, Any]) -> None:
        """Move on."""
        if self.progress is None:
            return
        pace = (time.monotonic() - self.began) / max(step - self.first, 1)
        left = pace * max((self.progress.tasks[0].total or 0) - step, 0)
        shown = {name: told[name] for name in _SHOWN if told.get(name) is not None} or told
        text = "  ".join(
            f"{name} {value:.5g}" for name, value in list(shown.items())[:2] if value is not None
        )
        told_pace = f"{pace:.2g} s a step" if pace > 0.01 else f"{1 / max(pace, 1e-9):,.0f} steps/s"
        self.progress.update(
            self.task, completed=step, told=f"{text}  {told_pace}  ETA {duration(left)}"
        )

    def ended(self, run: Mapping[str, Any]) -> None:
        """Take the bar away; say how to go on where the run did not finish."""
        _FIRST_USE.removeHandler(self.shown)
        if self.progress is not None:
            self.progress.stop()
        trials, failures = run["trials"], run["failures"]
        if trials["failed"] and not trials["complete"]:
            often = max(failures, key=lambda reason: failures[reason], default="no reason told")
            self.console.print(
                f"no trial is complete: {trials['failed']} failed, most often like this: {often}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        if run["state"] != "finished":
            why = f": {run['error']}" if run.get("error") else ""
            self.console.print(
                f"{run['run_id']} {run['state']}{why}", highlight=False, soft_wrap=True
            )
            flag = "" if self.store == "sqlite:///wald.db" else f" --store {self.store}"
            advice = f"go on: wald resume {run['run_id']}{flag}"
            if why.startswith(": GoalMissing"):  # it would be missing again
                advice = "do: the same command with --goal, and with another --name if it had one"
            self.console.print(advice, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """As people read it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
