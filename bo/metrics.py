"""What a study has reached: incumbent, best so far, regret, digest. No paper.

Command line, exports and pages all call these functions, so that they show the same numbers.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from bo.contract import Goal, Trial


def incumbent(trials: Sequence[Trial], goal: Goal) -> Trial | None:
    """The best complete trial; the earliest of equals; None where none is complete."""
    best: Trial | None = None
    for trial in trials:
        best = better(best, trial, goal)
    return best


def better(best: Trial | None, trial: Trial, goal: Goal) -> Trial | None:
    """The incumbent after one more trial."""
    if trial.state != "complete":
        return best
    if best is None or goal.sign * (trial.values[goal.name] - best.values[goal.name]) > 0:
        return trial
    return best


def best_so_far(trials: Sequence[Trial], goal: Goal) -> list[float | None]:
    """Per finished trial, in order of numbers, the best value up to it (None before the first)."""
    best: Trial | None = None
    curve: list[float | None] = []
    for trial in trials:
        if trial.done:
            best = better(best, trial, goal)
            curve.append(None if best is None else best.values[goal.name])
    return curve


def simple_regret(value: float | None, optimum: float | None, goal: Goal) -> float | None:
    """How far a value is from the optimum, in the goal's units, at least 0; None where unknown."""
    if value is None or optimum is None:
        return None
    return max(0.0, goal.sign * (optimum - value))


def digest(trials: Sequence[Trial]) -> str:
    """SHA-256 over numbers, parameters, states and values of the finished trials, without times."""
    summary = [
        [t.number, t.parameters, t.state, dict(sorted(t.values.items()))] for t in trials if t.done
    ]
    return hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Number, state, parameters, values, then how it went. None for parameters not active."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.parameters))
    return [
        {"number": t.number, "state": t.state}
        | {name: t.parameters.get(name) for name in names}
        | {(f"value.{n}" if n in names else n): v for n, v in t.values.items()}
        | {
            "reason": t.reason,
            "attempt": t.attempt,
            "method": t.method,
            "ask_cpu_seconds": t.ask_seconds,
            "seconds": t.finished - t.started if t.finished and t.started else None,
        }
        for t in trials
    ]
