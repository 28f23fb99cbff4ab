"""What every BO problem promises (`bo/contract.py`, `Problem`): functions of a row and a name.

The name is what a user would type: the row's own, or its placeholder filled in.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Mapping

import cloudpickle
import numpy as np
import pytest
import torch

from bo import metrics
from bo.contract import Problem, Trial
from bo.goals import Goals
from bo.space import Parameters, Space
from surrogates.errors import WaldError
from surrogates.registry import Row
from tests.contracts.common import SEED, kept
from tests.contracts.rows import options_of


@functools.lru_cache(maxsize=1)
def problem(row: Row, name: str) -> Problem:
    """The problem of a name, made once for all checks."""
    return row.load()(name, options_of(row))


def some_points(space: Space, n: int) -> list[Parameters]:
    """n random points: rows of the pool where there is one."""
    random = np.random.default_rng(SEED)
    if space.candidates is not None:
        return [space.candidates[i] for i in random.integers(len(space.candidates), size=n)]
    return space.from_uniforms(random.random((n, len(space.free))))


def outcome(made: Problem, point: Parameters, seed: int = 0) -> dict[str, float] | str:
    """The values by name, or the message of a failed evaluation."""
    try:
        found = made.evaluate(point, seed=seed)
    except WaldError as error:
        return str(error)
    values = found if isinstance(found, Mapping) else {made.goals.only.name: found}
    return {
        name: float(value[0] if isinstance(value, tuple) else value)
        for name, value in values.items()
    }


def check_it_says_what_it_is(row: Row, name: str) -> None:
    made = problem(row, name)
    assert made.name == name
    assert Goals.parse(str(made.goals)) == made.goals
    assert ("goals" in row.capabilities) == made.goals.several
    assert ("constraints" in row.capabilities) == bool(made.goals.constraints)
    assert made.note is None or (made.note and "\n" not in made.note)
    assert ("pool" in row.capabilities) == (made.space.candidates is not None)
    if "optimum" in row.capabilities:
        assert made.optimum is not None
    assert made.optimum is None or math.isfinite(made.optimum)


def check_space_survives_a_json_file(row: Row, name: str) -> None:
    space = problem(row, name).space
    tables = json.loads(json.dumps(space.to_dict(), allow_nan=False))
    if "candidates" in tables:  # a large pool takes long, and its first rows say as much
        tables["candidates"] = {n: column[:500] for n, column in tables["candidates"].items()}
        space = Space(space.parameters, candidates=(space.candidates or [])[:500])
    assert Space.from_dict(tables).difference(space) is None


def check_points_survive_their_encoding(row: Row, name: str) -> None:
    space = problem(row, name).space
    points = some_points(space, 20)
    columns = space.encode(points)
    assert columns.shape == (20, space.d)
    assert space.inputs.d == space.d
    assert ((columns >= 0) & (columns <= 1)).all()
    assert [space.check(point) for point in points] == points
    assert space.decode(columns) == space.decode(space.encode(space.decode(columns)))
    if space.candidates is None:
        assert space.decode(columns) == points


def check_evaluations_are_finite_or_named_failures(row: Row, name: str) -> None:
    made = problem(row, name)
    for point in some_points(made.space, 3):
        before = kept(point)
        found = outcome(made, point)
        assert point == before, "an evaluation must not change its parameters"
        if isinstance(found, str):
            assert found
            continue
        assert set(made.goals.outcomes) <= set(found)
        assert all(math.isfinite(value) for value in found.values()), found


def check_same_seed_gives_the_same_value(row: Row, name: str) -> None:
    made = problem(row, name)
    (point,) = some_points(made.space, 1)
    one = outcome(made, point, seed=7)
    torch.rand(1)  # scikit-learn draws from global generators too, which must not show
    np.random.random(1)  # noqa: NPY002
    assert one == outcome(made, point, seed=7)


def check_it_travels_to_a_worker_process(row: Row, name: str) -> None:
    made = problem(row, name)
    (point,) = some_points(made.space, 1)
    there = dataclasses.replace(made, evaluate=cloudpickle.loads(cloudpickle.dumps(made.evaluate)))
    assert outcome(there, point, seed=7) == outcome(made, point, seed=7)


def check_optimum_is_not_beaten(row: Row, name: str) -> None:
    made = problem(row, name)
    if made.optimum is None:
        pytest.skip("no optimum is known")
    points = some_points(made.space, 50)
    found = [outcome(made, point) for point in points]
    trials = [
        Trial(number, point, "complete", values)
        for number, (point, values) in enumerate(zip(points, found, strict=True))
        if not isinstance(values, str)
    ]
    assert trials
    value = metrics.best_value(trials, made.goals)
    if value is None:
        assert made.goals.constraints, "no value, though every point counts"
        return
    best = made.goals.measure.sign * made.optimum
    assert made.goals.measure.sign * value <= best + 1e-9 * max(1.0, abs(best))
    told = metrics.simple_regret(value, made.optimum, made.goals)
    assert told is not None
    assert told >= 0


def check_points_count_where_all_constraints_hold(row: Row, name: str) -> None:
    made = problem(row, name)
    if not made.goals.constraints:
        pytest.skip("no outcome constraints")
    for point in some_points(made.space, 20):
        values = outcome(made, point)
        if isinstance(values, str):
            continue
        slacks = [limit.slack(values) for limit in made.goals.constraints]
        counts = metrics.front([Trial(0, point, "complete", values)], made.goals)
        assert bool(counts) == all(slack >= 0 for slack in slacks)
