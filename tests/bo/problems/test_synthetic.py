"""BoTorch's functions: optima, directions, dimensions."""

import pickle

import numpy as np
import pytest
import torch

from bo.problems.synthetic import FUNCTIONS, MOST_DIMENSIONS, Options, problem
from surrogates.errors import UsageError

NAMES = [
    *(name for name, function in FUNCTIONS.items() if not function.allowed),
    *("ackley10", "ackleymixed53", "dixonprice4", "griewank1", "hartmann3", "hartmann4"),
    *("hartmann6", "labs10", "labs20", "labs30", "labs40", "labs50", "labs60", "labs7", "levy3"),
    *("michalewicz2", "michalewicz5", "michalewicz10", "michalewicz3", "powell8", "rastrigin5"),
    *("rosenbrock2", "rosenbrock20", "styblinskitang6", "trajectoryplanning30"),
]
UNKNOWN_OPTIMUM = {"hartmann4", "labs7", "michalewicz3"}
NO_OPTIMISERS = {"michalewicz5", "michalewicz10", "trajectoryplanning30"}


def value(name: str, point: list[float]) -> float:
    made = problem(name, Options())
    parameters = {
        key: bool(x) if parameter.type == "boolean" else x
        for (key, parameter), x in zip(made.space.parameters.items(), point, strict=True)
    }
    result = made.evaluate(made.space.check(parameters), seed=0)
    assert isinstance(result, float)
    return result


@pytest.mark.parametrize("name", NAMES)
def test_optimum(name: str) -> None:
    made = problem(name, Options())
    if name in UNKNOWN_OPTIMUM:
        assert made.optimum is None
        return
    assert made.optimum is not None
    family = name.rstrip("0123456789") if name not in FUNCTIONS else name
    function = FUNCTIONS[family].make(len(made.space.parameters))
    assert made.optimum == pytest.approx(function.optimal_value, rel=1e-4, abs=1e-6)
    if name not in NO_OPTIMISERS:
        for point in torch.as_tensor(function.optimizers).tolist():
            assert value(name, point) == pytest.approx(made.optimum, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", sorted(set(NAMES) - UNKNOWN_OPTIMUM))
def test_no_point_beats_the_optimum(name: str) -> None:
    made = problem(name, Options())
    assert made.optimum is not None
    uniforms = np.random.default_rng(0).random((50, len(made.space.free)))
    for point in made.space.from_uniforms(uniforms):
        found = made.evaluate(point, seed=0)
        assert isinstance(found, float)
        assert made.goals.only.sign * (found - made.optimum) <= 1e-9


def test_hartmann6() -> None:
    made = problem("hartmann6", Options())
    assert made.optimum == pytest.approx(-3.32237, abs=5e-6)
    assert str(made.goal) == "minimize value"
    assert list(made.space.parameters) == ["x0", "x1", "x2", "x3", "x4", "x5"]


@pytest.mark.parametrize(
    ("name", "bounds"), [("branin", [(-5, 10), (0, 15)]), ("powell4", [(-4, 5)] * 4)]
)
def test_bounds(name: str, bounds: list[tuple[float, float]]) -> None:
    space = problem(name, Options()).space
    assert [(p.low, p.high) for p in space.parameters.values()] == bounds


@pytest.mark.parametrize("name", ["cosine8", "labs20"])
def test_maximised(name: str) -> None:
    assert problem(name, Options()).goals.only.direction == "maximize"


def test_booleans_come_first() -> None:
    types = [p.type for p in problem("ackleymixed6", Options()).space.parameters.values()]
    assert types == ["boolean"] * 3 + ["real"] * 3
    assert {p.type for p in problem("labs5", Options()).space.parameters.values()} == {"boolean"}


def test_float64_whatever_the_default() -> None:
    before = torch.get_default_dtype()
    value("levy3", [1.1, 0.9, 1.3])
    assert torch.get_default_dtype() is before
    # In float32 this difference is lost.
    assert value("styblinskitang2", [1.0, 1.0]) != value("styblinskitang2", [1.0, 1.0 + 1e-10])


def test_travels_to_a_worker() -> None:
    made = problem("hartmann3", Options())
    again = pickle.loads(pickle.dumps(made))
    point = made.space.from_uniforms(np.full((1, 3), 0.3))[0]
    assert again.evaluate(point, seed=0) == made.evaluate(point, seed=1)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hartmann5", "3, 4 or 6"),
        ("hartmann", "3, 4 or 6"),
        ("powell6", "multiples of 4"),
        ("rosenbrock1", f"2 to {MOST_DIMENSIONS}"),
        ("ackley1000000", f"1 to {MOST_DIMENSIONS}"),
        ("ackley99999999999999999999", f"1 to {MOST_DIMENSIONS}"),
        ("ackley0", f"1 to {MOST_DIMENSIONS}"),
        ("ackleymixed3", f"4 to {MOST_DIMENSIONS}"),
        ("trajectoryplanning11", "even numbers"),
        ("branin2", "branin"),
        ("ackly10", "ackley<d>"),
    ],
)
def test_bad_names(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        problem(name, Options())
