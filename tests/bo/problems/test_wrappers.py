"""What every problem takes: noise, shift, failures, delay, cost; alone and together."""

import itertools
import math
import pickle
import time
from typing import Any

import numpy as np
import pytest

import bo
from bo.contract import Problem
from bo.goals import Goal
from bo.methods import make_problem
from bo.problems.wrappers import COST, Axis, Options, wrap
from bo.space import Parameters, Space
from surrogates.errors import DataError, UsageError

MIXED = {
    "lr": bo.real(1e-4, 1.0, log=True),
    "x": bo.real(-3.0, 5.0),
    "trees": bo.integer(10, 100, log=True),
    "batch": bo.ordinal(16, 32, 64, 128),
    "act": bo.choice("relu", "tanh", "gelu"),
    "bias": bo.boolean(),
    "kept": bo.fixed(7),
}


def echo(parameters: Parameters, *, seed: int) -> dict[str, Any]:
    return {"loss": 1.0, **parameters}


def two(parameters: Parameters, *, seed: int) -> dict[str, float]:
    return {"loss": 1.0, "latency": 3.0}


def line(parameters: Parameters, *, seed: int) -> float:
    return float(parameters["x"])


def branin(**given: Any) -> Problem:
    return make_problem("branin", given)


def values(problem: Problem, seeds: range, x0: float = 1.0, x1: float = 2.0) -> list[Any]:
    return [problem.evaluate({"x0": x0, "x1": x1}, seed=seed) for seed in seeds]


def test_nothing_asked_nothing_changed() -> None:
    plain = branin()
    assert plain.note is None
    assert branin(noise="0", shift=0, cost=1.0).evaluate.__class__ is plain.evaluate.__class__
    assert isinstance(values(plain, range(1))[0], float)


def test_noise() -> None:
    exact = values(branin(), range(1))[0]
    made = branin(noise="0.5")
    assert made.optimum == branin().optimum
    assert made.note is not None
    assert "0.5" in made.note
    found = values(made, range(400))
    assert found[:9] == values(made, range(9))
    assert all(outcome["value_noiseless"] == exact for outcome in found)
    noise = np.array([outcome["value"] - exact for outcome in found])
    # Four standard errors of the mean and of the standard deviation.
    assert abs(noise.mean()) < 4 * 0.5 / math.sqrt(400)
    assert abs(noise.std() - 0.5) < 4 * 0.5 / math.sqrt(800)


def test_noise_goes_to_the_goal_alone() -> None:
    problem = Problem("two", Space({"x": bo.real(0, 1)}), Goal("loss", "minimize"), two)
    found = wrap(problem, Options(noise=1.0)).evaluate({"x": 0.5}, seed=0)
    assert isinstance(found, dict)
    assert found["latency"] == 3.0
    assert found["loss"] != found["loss_noiseless"] == 1.0


@pytest.mark.parametrize("number", [1, 2, 3])
def test_shift_is_a_bijection(number: int) -> None:
    space = Space(MIXED)
    made = wrap(Problem("echo", space, Goal("loss", "minimize"), echo), Options(shift=number))
    for name, parameter in space.free.items():
        levels: list[Any] = list(parameter.values)
        if parameter.type == "real":
            levels = [parameter.from_uniform(u) for u in np.linspace(0, 1, 101)]
        elif parameter.type == "integer":
            levels = list(range(10, 101))
        point = space.from_uniforms(np.full((1, len(space.free)), 0.5))[0]
        moved = [made.evaluate({**point, name: level}, seed=0) for level in levels]
        seen: list[Any] = [outcome[name] for outcome in moved if isinstance(outcome, dict)]
        if parameter.type == "real":
            steps = np.diff([parameter.to_uniform(value) for value in seen])
            assert (steps > 0).all() or (steps < 0).all()
            assert {seen[0], seen[-1]} == {parameter.low, parameter.high}
        else:
            assert sorted(map(str, seen)) == sorted(map(str, levels))
        assert all(outcome["kept"] == 7 for outcome in moved if isinstance(outcome, dict))


def test_shift_keeps_the_optimum_and_moves_it() -> None:
    plain = branin()
    places: list[tuple[float, float]] = []
    for number in range(1, 6):
        made = branin(shift=number)
        assert made.optimum == plain.optimum
        assert made.space.difference(plain.space) is None
        axes = [vars(made.evaluate)["_axes"][name] for name in ("x0", "x1")]
        best = [_inverse(axis, x) for axis, x in zip(axes, (math.pi, 2.275), strict=True)]
        found = made.evaluate({"x0": best[0], "x1": best[1]}, seed=0)
        assert found == pytest.approx(plain.optimum, abs=1e-6)
        places.append((round(best[0], 3), round(best[1], 3)))
    assert len(set(places)) == 5
    assert (3.142, 2.275) not in places


def _inverse(axis: Axis, value: float) -> float:
    moved = axis.parameter.to_uniform(value)
    uniform = moved / (axis.stretch - (axis.stretch - 1) * moved)
    return float(axis.parameter.from_uniform(1 - uniform if axis.mirrored else uniform))


def test_shift_stays_the_same_and_needs_no_seed() -> None:
    assert values(branin(shift=3), range(2)) == values(branin(shift=3), range(5, 7))
    assert values(branin(shift=3), range(1)) != values(branin(shift=4), range(1))


def test_failures_by_chance() -> None:
    made = branin(fail=0.25)
    failed = 0
    for seed in range(400):
        try:
            values(made, range(seed, seed + 1))
        except DataError as error:
            failed += 1
            assert "fail=0.25" in str(error)  # noqa: PT017
    assert abs(failed / 400 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_failures_beyond_a_value(direction: Any) -> None:
    problem = Problem("line", Space({"x": bo.real(0, 10)}), Goal("y", direction), line)
    made = wrap(problem, Options(fail_beyond="4"))
    good, bad = (3.9, 4.1) if direction == "minimize" else (4.1, 3.9)
    assert made.evaluate({"x": good}, seed=0) == good
    assert made.evaluate({"x": 4.0}, seed=0) == 4.0
    with pytest.raises(DataError, match="failed beyond 4"):
        made.evaluate({"x": bad}, seed=0)


def test_failures_look_at_the_value_without_noise() -> None:
    exact = values(branin(), range(1))[0]
    made = branin(fail_beyond=exact, noise=100.0)  # a number, as a file has it
    assert len({outcome["value"] for outcome in values(made, range(20))}) == 20


def test_delay() -> None:
    began = time.perf_counter()
    assert values(branin(delay=0.2), range(1)) == values(branin(), range(1))
    assert time.perf_counter() - began >= 0.2


def test_cost() -> None:
    made = branin(cost=100)
    low, high, middle = (
        made.evaluate({"x0": x0, "x1": x1}, seed=0)
        for x0, x1 in ((-5.0, 0.0), (10.0, 15.0), (-5.0, 15.0))
    )
    assert isinstance(low, dict)
    assert isinstance(high, dict)
    assert isinstance(middle, dict)
    assert (low[COST], high[COST]) == (1.0, 100.0)
    assert middle[COST] == pytest.approx(10.0)
    assert middle["value"] == branin().evaluate({"x0": -5.0, "x1": 15.0}, seed=0)


@pytest.mark.parametrize(
    "names",
    [c for n in (2, 6) for c in itertools.combinations(range(6), n)],
    ids=lambda names: "-".join(map(str, names)),
)
def test_they_compose(names: tuple[int, ...]) -> None:
    all_of_them = {
        "noise": 0.1,
        "shift": 2,
        "fail": 0.3,
        "fail_beyond": "200",
        "delay": 0.001,
        "cost": 3.0,
    }
    given = {name: all_of_them[name] for i, name in enumerate(all_of_them) if i in names}
    made = branin(**given)
    again = pickle.loads(pickle.dumps(made))
    assert made.optimum == branin().optimum
    assert made.note is not None
    assert made.note.count(";") == len(given) - 1
    for seed in range(5):
        outcomes: list[Any] = []
        for problem in (made, again):
            try:
                outcomes.append(problem.evaluate({"x0": 1.0, "x1": 2.0}, seed=seed))
            except DataError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
        if isinstance(outcomes[0], dict):
            assert ("value_noiseless" in outcomes[0]) == ("noise" in given)
            assert (COST in outcomes[0]) == ("cost" in given)


def test_a_study_with_all_of_them() -> None:
    made = branin(noise=0.1, shift=2, fail=0.3, cost=3)
    digests: list[Any] = []
    for _ in range(2):
        study = bo.Study(made.space, made.goal, method="random", seed=3)
        study.run(lambda p, trial: made.evaluate(p, seed=trial.seed), budget=20)
        digests.append([(t.state, t.values, t.reason) for t in study.trials])
        assert {t.state for t in study.trials} == {"complete", "failed"}
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"noize": 1}, "did you mean 'noise'"),
        ({"noise": -1}, "option noise expected at least 0"),
        ({"noise": "much"}, "option noise expected real"),
        ({"fail": 1}, "option fail expected 0 to 0.99"),
        ({"fail_beyond": "far"}, "fail_beyond expected a number, got 'far'"),
        ({"fail_beyond": "nan"}, "fail_beyond expected a number, got 'nan'"),
        ({"fail_beyond": "0.1"}, "the best one is 0.397887"),
        ({"cost": 0.5}, "option cost expected 1 to"),
        ({"delay": 1e9}, "option delay expected 0 to 3600"),
        ({"folds": 3}, "expected a known option of problem branin, got 'folds'"),
    ],
)
def test_bad_options(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        branin(**given)


def test_own_options_still_work_beside_them() -> None:
    made = make_problem("svm-wine", {"folds": "2", "noise": "0.1"})
    point = made.space.from_uniforms(np.full((1, len(made.space.free)), 0.5))[0]
    outcome = made.evaluate(point, seed=0)
    assert isinstance(outcome, dict)
    plain = make_problem("svm-wine", {"folds": "2"})
    assert outcome["error_noiseless"] == plain.evaluate(point, seed=0)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (Space({"x": bo.real(0, 1)}, candidates=[{"x": 0.5}]), "a pool of candidates"),
        (
            Space({"a": bo.boolean(), "x": bo.real(0, 1, when={"a": True})}),
            "conditional parameters",
        ),
        (
            Space({"a": bo.real(0, 1), "b": bo.real(0, 1)}, subject_to=["a + b <= 1"]),
            "constraints between parameters",
        ),
    ],
)
def test_what_cannot_be_shifted(space: Space, says: str) -> None:
    problem = Problem("mine", space, Goal("loss", "minimize"), echo)
    with pytest.raises(UsageError, match=says):
        wrap(problem, Options(shift=1))
    if says == "conditional parameters":  # an inactive one costs nothing
        costed = wrap(problem, Options(cost=9.0)).evaluate({"a": False}, seed=0)
        assert isinstance(costed, dict)
        assert costed[COST] == pytest.approx(9.0**0.25)
