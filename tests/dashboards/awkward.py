"""A store of runs that pages stumble over: each made by the runner or the store themselves.

Only what no living process can be in, such as a clock that is wrong, is written into the database
by hand.
"""

import dataclasses
import math
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bo
from apps import runner
from apps.events import Event
from apps.publish import offered
from apps.spec import RunSpec
from apps.store import Store
from bo.contract import Problem
from bo.goals import Goal
from bo.space import Space

UNICODE = "Größe 試行 <b>*x*</b> $1$ `y` 🙂"
AHEAD = 3600.0  # seconds by which one clock is wrong
AWKWARD = (
    "empty",
    "one-point",
    "all-nan",
    "constant",
    "failed-at-0",
    "running",
    "stopped",
    "lost",
    "two-metrics",
    "mixed",
    "unicode",
    "clock-skew",
)
ORDINARY = ("believing", "drawing", "arms", "agent", "by-hand")
LINE = {"x": bo.real(0.0, 1.0)}


def make(path: Path) -> Store:
    """The store at a path, with all of `AWKWARD` and `ORDINARY` in it."""
    store = Store.open(str(path), create=True)
    store.publish(offered(data=True))
    store.submit("empty", spec(budget=5))
    _bo(store, "one-point", LINE, _square, budget=1)
    _bo(store, "all-nan", LINE, lambda p, seed: math.nan)
    _bo(store, "constant", LINE, lambda p, seed: 7.0)
    _bo(store, "failed-at-0", LINE, _square, options={"initial": "no number"}, method="gp-map")
    _bo(store, "stopped", LINE, _square)
    store.record("stopped", [Event("state", None, {"state": "stopped"})], columns=_state("stopped"))
    _bo(store, "lost", LINE, _square)
    _bo(store, "two-metrics", LINE, lambda p, seed: {"value": p["x"] ** 2, "latency": 3.0})
    _bo(store, "mixed", MIXED, _mixed, budget=12)
    _bo(store, "unicode", {"größe 🙂": bo.real(0.0, 1.0), "a.b [c]": bo.integer(1, 3)}, _first)
    _bo(store, "clock-skew", LINE, _square)
    _bo(store, "running", LINE, _square)
    _bo(store, "believing", SQUARE | {"z": bo.real(0.0, 1.0)}, _bowl, method="gp-map", budget=30)
    _bo(store, "drawing", SQUARE, _bowl, method="gp-hmc", budget=9)
    _other(store, "arms", "bandit", "bernoulli", "ts-beta", 300)
    _other(store, "agent", "rl", "cartpole", "dqn", 600)
    study = bo.Study(SQUARE, "maximize value", name="by-hand", store=path, method="random", seed=0)
    for trial in study.ask(3):
        study.tell(trial, float(trial.parameters["x"]))
    study.ask(1)
    _by_hand(path)
    return store


def alive(store: Store) -> None:
    """Keep the running run alive: its process is this one."""
    store.record("running", [], columns={"state": "running"})


MIXED = {
    "lr": bo.real(1e-5, 1e-1, log=True),
    "depth": bo.integer(1, 12),
    "act": bo.choice("relu", "tanh", "gelu"),
    "bias": bo.boolean(),
    "width": bo.ordinal(16, 32, 64),
    "fixed": bo.fixed("same"),
}
SQUARE = {"x": bo.real(-2.0, 2.0), "y": bo.real(-2.0, 2.0)}


def _square(parameters: dict[str, Any], seed: int) -> float:
    return (parameters["x"] - 0.3) ** 2


def _bowl(parameters: dict[str, Any], seed: int) -> float:
    return parameters["x"] ** 2 + parameters["y"] ** 2


def _mixed(parameters: dict[str, Any], seed: int) -> float:
    if parameters["bias"] and parameters["depth"] > 6:
        raise MemoryError("out of memory, at least | in this *test*")
    return math.log10(parameters["lr"]) + parameters["depth"]


def _first(parameters: dict[str, Any], seed: int) -> float:
    return float(parameters["größe 🙂"])


def spec(**changes: Any) -> RunSpec:
    """Six random points on Branin, but for the changes."""
    made = RunSpec(kind="bo", problem="branin", method="random", seed=0, budget=6)
    return dataclasses.replace(made, **changes)


def _bo(
    store: Store,
    run_id: str,
    space: dict[str, Any],
    evaluate: Callable[..., Any],
    **changes: Any,
) -> None:
    asked = spec(**changes, name=UNICODE if run_id == "unicode" else None)
    problem = Problem(asked.problem, Space(space), Goal("value", "minimize"), evaluate, optimum=0.0)
    store.create_run(run_id, asked, runner.versions())
    runner.execute(run_id, store, problem=problem)


def _other(store: Store, run_id: str, kind: str, problem: str, method: str, budget: int) -> None:
    asked = spec(kind=kind, problem=problem, method=method, budget=budget)
    store.create_run(run_id, asked, runner.versions())
    runner.execute(run_id, store, problem=None)


def _state(state: str) -> dict[str, Any]:
    return {"state": state, "finished": time.time()}


def _by_hand(path: Path) -> None:
    """What only a dead process or a wrong clock could have written."""
    with sqlite3.connect(path) as database:
        database.execute(
            "UPDATE runs SET state = 'running', finished = NULL, owner = 'elsewhere:1', "
            "heartbeat = heartbeat - 500 WHERE run_id = 'lost'"
        )
        database.execute(
            "UPDATE runs SET state = 'running', finished = NULL WHERE run_id = 'running'"
        )
        for column in ("created", "heartbeat", "finished"):
            database.execute(
                f"UPDATE runs SET {column} = {column} + {AHEAD} WHERE run_id = 'clock-skew'"
            )
        database.execute(f"UPDATE events SET time = time + {AHEAD} WHERE run_id = 'clock-skew'")
    database.close()
