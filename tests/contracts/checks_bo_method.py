"""What every BO method promises (`bo/contract.py`, `Strategy`): functions of a row.

Each ask gets its generator as a study makes it: from the seed and the number of the next trial.
"""

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from bo.contract import Strategy, Trial, TrialState
from bo.goals import Goal, Goals
from bo.methods import WITH_SURROGATE, fitting, make_strategy, surrogate_of
from bo.space import Parameters, Space, boolean, choice, fixed, integer, ordinal, real
from bo.strategies.random import random_points
from surrogates.errors import CapabilityError, UsageError
from surrogates.registry import Row
from surrogates.seeds import derive_seed
from tests.contracts.common import SEED, kept, no_global_draws
from tests.contracts.rows import REDUCED, options_of

GOAL = Goal("loss", "minimize")
REAL = Space({"x": real(0.0, 1.0), "rate": real(1e-3, 1e3, log=True)})
MIXED = Space(
    {
        "rate": real(1e-5, 1e-1, log=True),
        "layers": integer(1, 5),
        "width": integer(8, 512, log=True),
        "batch": ordinal(16, 32, 64),
        "optimiser": choice("adam", "sgd"),
        "activation": choice("relu", "tanh", "gelu"),
        "bias": boolean(),
        "epochs": fixed(10),
    }
)
ONE = Space({"x": real(-1.0, 1.0)})
_TABLE = {"metal": choice("a", "b", "c"), "dose": ordinal(1, 2, 3, 4), "heat": real(0.0, 9.0)}
POOL = Space(
    _TABLE,
    candidates=[
        {"metal": metal, "dose": dose, "heat": 9.0 * heat}
        for metal in "abc"
        for dose in (1, 2, 3, 4)
        for heat in (0.0, 1.0)
    ],
)
CONSTRAINED = Space(
    {
        "a": real(0.0, 1.0),
        "b": real(0.0, 1.0),
        "lr": real(1e-4, 10.0, log=True),
        "depth": integer(1, 12),
    },
    subject_to=["a + b <= 1", "lr * depth <= 1"],
)
CONDITIONAL = Space(
    {
        "optimiser": choice("adam", "sgd", "lbfgs"),
        "layers": integer(1, 3),
        "rate": real(1e-4, 1e-1, log=True, when={"optimiser": ["adam", "sgd"]}),
        "momentum": real(0.0, 0.99, when={"optimiser": "sgd"}),
        "width": integer(8, 64, when={"layers": [2, 3]}),
        "decay": real(0.0, 1.0),
    }
)
SPACES = {
    "real": REAL,
    "mixed": MIXED,
    "one": ONE,
    "pool": POOL,
    "constrained": CONSTRAINED,
    "conditional": CONDITIONAL,
}
AIMS = {"constrained": 0.95}
"""Where the best columns lie; those of the constrained space are not allowed."""
DESIGN = 16
"""Complete trials after which the initial design of every method is over."""


def strategy(row: Row, space: Space, goal: Goal | Goals = GOAL, *, seed: int = SEED) -> Strategy:
    """The method in a space, with reduced options where it has some."""
    if row.factory in WITH_SURROGATE:
        held = REDUCED.get(surrogate_of(row.name).factory, {})
        reduced = {f"surrogate.{name}": value for name, value in held.items()}
        return make_strategy(row.name, space, goal, reduced, seed)
    return row.load()(space, fitting(row, Goals.of(goal)), options_of(row), seed)


def ask(
    made: Strategy,
    trials: Sequence[Trial],
    n: int = 1,
    *,
    state: Mapping[str, Any] | None = None,
    seed: int = SEED,
) -> tuple[list[Parameters], Mapping[str, Any] | None]:
    """Ask as a study does."""
    generator = torch.Generator(device="cpu")
    generator.manual_seed(derive_seed(seed, "ask", len(trials)))
    return made.ask(trials, n, state=state, generator=generator)


def points_of(space: Space, n: int) -> list[Parameters]:
    """n points of a space, distinct in a pool."""
    random = np.random.default_rng(SEED)
    if space.pool is not None:
        return [space.pool.rows[i] for i in random.permutation(len(space.pool.rows))[:n]]
    if space.constraints:
        source = torch.Generator(device="cpu").manual_seed(SEED)
        return random_points(space, n, generator=source)
    return space.from_uniforms(random.random((n, len(space.free))))


def log_of(
    space: Space,
    *,
    complete: int = DESIGN,
    failed: int = 0,
    running: int = 0,
    scale: float = 1.0,
    aim: float = 0.3,
) -> list[Trial]:
    """A trial log; the outcome is the squared distance of the columns from `aim`."""
    total = complete + failed + running
    points = points_of(space, total)
    losses = scale * ((space.encode(points) - aim) ** 2).sum(axis=1)
    states: list[TrialState] = [
        *itertools.repeat("complete", complete),
        *itertools.repeat("failed", failed),
        *itertools.repeat("running", running),
    ]
    return [
        Trial(
            number,
            point,
            state,
            values={GOAL.name: float(loss)} if state == "complete" else {},
            reason="out of memory" if state == "failed" else None,
        )
        for number, (point, loss, state) in enumerate(zip(points, losses, states, strict=True))
    ]


def running(trials: Sequence[Trial], points: Sequence[Parameters]) -> list[Trial]:
    """The log with more trials under evaluation."""
    more = enumerate(points, start=len(trials))
    return [*trials, *(Trial(number, point, "running") for number, point in more)]


def assert_new(space: Space, trials: Sequence[Trial], points: Sequence[Parameters], n: int) -> None:
    """n valid points, distinct among themselves and from all of the log."""
    assert len(points) == n
    for point in points:
        assert space.check(point) == point
        assert list(point) == [name for name in space.parameters if name in point]
        if not space.conditional:
            assert list(point) == list(space.parameters)
        if space.pool is not None:
            assert space.key(point) in space.pool.index
    keys = [space.key(point) for point in [*(t.parameters for t in trials), *points]]
    assert len(set(keys[len(trials) :]) - set(keys[: len(trials)])) == n


def check_first_points_are_valid_and_distinct(row: Row) -> None:
    for place, space in SPACES.items():
        if not refused(row, place):
            points, _ = ask(strategy(row, space), [], 3)
            assert_new(space, [], points, 3)
            assert_obedient(place, points)


def check_points_in_a_real_space_are_valid_and_new(row: Row) -> None:
    _asks(row, "real", 3)


def check_points_in_a_mixed_space_are_valid_and_new(row: Row) -> None:
    _asks(row, "mixed", 2)


def check_points_of_one_parameter_are_valid_and_new(row: Row) -> None:
    _asks(row, "one", 2)


def check_points_in_a_pool_are_unseen_rows(row: Row) -> None:
    _asks(row, "pool", 2)


def check_points_under_constraints_are_allowed(row: Row) -> None:
    _obeys(row, "constrained")


def check_points_hold_the_parameters_that_are_active(row: Row) -> None:
    _obeys(row, "conditional")


def _obeys(row: Row, place: str) -> None:
    if not refused(row, place):
        _asks(row, place, 1)
        assert_obedient(place, asked(row, place, 1))


def refused(row: Row, place: str) -> bool:
    """Whether the method says that it cannot search this space, and what to use instead."""
    try:
        strategy(row, SPACES[place])
    except CapabilityError as error:
        told = str(error)
    else:
        return False
    assert re.search("expected .* got .*; (use|do) ", told), told
    return True


def assert_obedient(place: str, points: Sequence[Parameters]) -> None:
    """What the two spaces say, in plain Python."""
    for p in points:
        if place == "constrained":
            assert float(p["a"]) + float(p["b"]) <= 1 + 1e-9, p
            assert float(p["lr"]) * int(p["depth"]) <= 1 + 1e-9, p
        if place == "conditional":
            assert ("rate" in p) == (p["optimiser"] != "lbfgs"), p
            assert ("momentum" in p) == (p["optimiser"] == "sgd"), p
            assert ("width" in p) == (p["layers"] != 1), p


def _asks(row: Row, place: str, n: int) -> None:
    assert_new(SPACES[place], _log(place), asked(row, place, n), n)


@functools.lru_cache
def asked(row: Row, place: str, n: int) -> list[Parameters]:
    """n points at once, with a failed and a pending trial in the log; for more than one check."""
    return ask(strategy(row, SPACES[place]), _log(place), n)[0]


def _log(place: str) -> list[Trial]:
    return log_of(SPACES[place], failed=1, running=1, aim=AIMS.get(place, 0.3))


def check_pending_points_are_not_asked_again(row: Row) -> None:
    for space in (REAL, POOL):
        trials = log_of(space)
        made = strategy(row, space)
        first, state = ask(made, trials)
        second, _ = ask(made, running(trials, first), state=state)
        assert_new(space, running(trials, first), second, 1)


def check_points_under_evaluation_move_the_next_one_away(row: Row) -> None:
    # Only where it is declared: others may come near again, if never to the same point.
    if "pending" not in row.capabilities:
        return
    trials = log_of(ONE)
    made = strategy(row, ONE)
    (first,), state = ask(made, trials)
    (second,), _ = ask(made, running(trials, [first]), state=state)
    assert abs(float(first["x"]) - float(second["x"])) > 1e-4


def check_failed_trials_are_no_end(row: Row) -> None:
    logs = {
        "all failed": log_of(REAL, complete=0, failed=3),
        "one complete": log_of(REAL, complete=1, failed=2),
        "half failed": log_of(REAL, failed=DESIGN),
    }
    for trials in logs.values():
        points, _ = ask(strategy(row, REAL), trials)
        assert_new(REAL, trials, points, 1)


def check_same_log_state_and_seed_give_the_same_points(row: Row) -> None:
    for place, n in (("mixed", 2), ("pool", 2)):
        again, _ = ask(strategy(row, SPACES[place]), _log(place), n)
        assert _text(again) == _text(asked(row, place, n))


def check_another_seed_gives_other_points(row: Row) -> None:
    points = [ask(strategy(row, REAL, seed=seed), [], 3, seed=seed)[0] for seed in (1, 2)]
    assert _text(points[0]) != _text(points[1])


def check_asking_changes_nothing(row: Row) -> None:
    made = strategy(row, REAL)
    trials = log_of(REAL, failed=1)
    before = kept(trials)
    first, state = ask(made, trials)
    copied = kept(state)
    ask(made, running(trials, first), state=state)
    assert trials == before, "an ask must not change the log"
    assert state == copied, "an ask must not change the state that it is given"
    assert _text(ask(made, trials)[0]) == _text(first), "an ask must not depend on earlier asks"


def check_state_is_json_and_means_the_same_after_a_restart(row: Row) -> None:
    trials = log_of(REAL)
    made = strategy(row, REAL)
    first, state = ask(made, trials)
    travelled = json.loads(json.dumps(state, allow_nan=False))
    later = running(trials, first)
    here, _ = ask(made, later, state=state)
    there, _ = ask(strategy(row, REAL), later, state=travelled)
    assert _text(here) == _text(there)


def check_a_pool_that_is_used_up_gives_fewer(row: Row) -> None:
    assert POOL.pool is not None
    size = len(POOL.pool.rows)
    trials = log_of(POOL, complete=size - 2, failed=1)
    assert_new(POOL, trials, ask(strategy(row, POOL), trials, 3)[0], 1)
    assert ask(strategy(row, POOL), log_of(POOL, complete=size), 1)[0] == []


def check_a_finite_space_that_is_used_up_still_gives_points(row: Row) -> None:
    space = Space({"level": integer(1, 4), "flag": boolean()})
    every = space.decode(np.array([[a, b] for a in (0.1, 0.4, 0.6, 0.9) for b in (0.0, 1.0)]))
    trials = [Trial(i, p, "complete", values={"loss": i / 7}) for i, p in enumerate(every * 2)]
    (point,), _ = ask(strategy(row, space), trials)
    assert space.check(point) == point


def check_several_goals_and_constraints_are_taken_or_refused(row: Row) -> None:
    goals = Goals.parse("minimize loss, maximize gain subject to heat <= 0.5")
    if "goals" not in row.capabilities:
        with pytest.raises(UsageError, match="expected one goal"):
            strategy(row, MIXED, goals)
        alone = Goals.parse("minimize loss subject to heat <= 0.5")
        if "constraints" not in row.capabilities:
            with pytest.raises(UsageError, match="no outcome constraints"):
                strategy(row, MIXED, alone)
            return
        goals = alone
    columns = MIXED.encode(points_of(MIXED, DESIGN + 1))
    trials = [
        dataclasses.replace(
            trial,
            values={
                **trial.values,
                "gain": float(1 - ((row_of - 0.6) ** 2).sum()),
                "heat": float(row_of.mean()),
            },
        )
        if trial.state == "complete"
        else trial
        for trial, row_of in zip(log_of(MIXED, failed=1), columns, strict=True)
    ]
    assert_new(MIXED, trials, ask(strategy(row, MIXED, goals), trials, 2)[0], 2)


def check_maximising_mirrors_minimising(row: Row) -> None:
    trials = log_of(REAL)
    mirrored = [dataclasses.replace(t, values={GOAL.name: -t.values[GOAL.name]}) for t in trials]
    down, _ = ask(strategy(row, REAL), trials)
    up, _ = ask(strategy(row, REAL, Goal(GOAL.name, "maximize")), mirrored)
    assert _text(down) == _text(up)


def check_equal_and_enormous_outcomes_are_no_end(row: Row) -> None:
    for scale in (0.0, 1e12):
        trials = log_of(REAL, scale=scale)
        points, _ = ask(strategy(row, REAL), trials)
        assert_new(REAL, trials, points, 1)


def check_nothing_is_drawn_from_global_generators(row: Row) -> None:
    trials = log_of(REAL, running=1)
    made = strategy(row, REAL)  # imports may draw
    with no_global_draws():
        ask(made, [])
        ask(made, trials)


def check_note_is_one_line_or_none(row: Row) -> None:
    note = strategy(row, REAL).note
    assert note is None or (note and "\n" not in note)


def _text(points: Sequence[Parameters]) -> str:
    """Bit for bit, types included."""
    return repr([list(point.items()) for point in points])
