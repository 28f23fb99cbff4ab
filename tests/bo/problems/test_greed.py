"""De Ath's functions: optima, values by hand, agreement with BoTorch's functions under the log."""

import math
import pickle

import numpy as np
import pytest
from scipy.optimize import minimize

from bo.problems import synthetic
from bo.problems.greed import FUNCTIONS, MOST_DIMENSIONS, Options, problem
from surrogates.errors import UsageError

NAMES = [
    *(name for name, function in FUNCTIONS.items() if not function.least),
    *("loggsobol1", "loggsobol10", "logrosenbrock2", "logrosenbrock10"),
    *("logstyblinskitang1", "logstyblinskitang10"),
]
# As told by the authors' code, to its digits.
PUBLISHED = {
    "braninforrester": (-16.64402, [(-3.689, 13.629)]),
    "cosines": (-1.6, [(0.3125, 0.3125)]),
    "goldsteinprice": (3.0, [(0.0, -1.0)]),
    "wangfreitas": (-4.0, [(0.9,)]),
    "loggoldsteinprice": (math.log(3), [(0.0, -1.0)]),
    "loggsobol10": (-10 * math.log(2), [(0.5,) * 10]),
    "loghartmann6": (
        -1.20067779,
        [(0.201690, 0.150011, 0.476874, 0.275332, 0.311652, 0.657300)],
    ),
    "logrosenbrock10": (math.log(0.5), [(1.0,) * 10]),
    "logstyblinskitang10": (math.log(400 - 391.6616570377142), [(-2.903534,) * 10]),
}


def value(name: str, point: list[float]) -> float:
    made = problem(name, Options())
    found = made.evaluate({f"x{i}": x for i, x in enumerate(point)}, seed=0)
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_optimum(name: str) -> None:
    optimum, places = PUBLISHED[name]
    made = problem(name, Options())
    assert made.optimum == pytest.approx(optimum, abs=5e-6)
    assert made.goals.only.direction == "minimize"
    for place in places:
        assert value(name, list(place)) == pytest.approx(optimum, abs=2e-5)


def test_optimum_of_the_log_of_the_camel() -> None:
    # Its authors evaluate it at a point of four digits, and so get one that is too high.
    optimum = problem("logsixhumpcamel", Options()).optimum
    assert optimum is not None
    assert optimum == pytest.approx(math.log(1.0317 - 1.031628453489877), abs=1e-9)
    for point in ([0.0898, -0.7126], [-0.0898, 0.7126]):
        assert optimum < value("logsixhumpcamel", point) < optimum + 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_no_point_near_the_optimum_or_elsewhere_beats_it(name: str) -> None:
    made = problem(name, Options())
    assert made.optimum is not None
    family = next(key for key in FUNCTIONS if name.rstrip("0123456789") == key or name == key)
    d = len(made.space.parameters)
    best = np.resize(np.array(FUNCTIONS[family].optimiser, dtype=float), d)
    low, high = (
        np.array([getattr(p, e) for p in made.space.free.values()]) for e in ("low", "high")
    )
    random = np.random.default_rng(0)
    near = np.clip(
        best + random.normal(size=(200, d)) * np.logspace(-6, 0, 200)[:, None], low, high
    )
    far = low + random.random((200, d)) * (high - low)
    for point in [*near.tolist(), *far.tolist()]:
        assert value(name, point) >= made.optimum - 1e-12
    polished = minimize(
        lambda x: value(name, x.tolist()),
        best,
        method="Nelder-Mead",
        bounds=list(zip(low, high, strict=True)),
        options={"maxiter": 400, "xatol": 1e-12, "fatol": 1e-15},
    )
    assert polished.fun == pytest.approx(made.optimum, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "inner", "log"),
    [
        ("loghartmann6", "hartmann6", lambda y: -math.log(-y)),
        ("logrosenbrock3", "rosenbrock3", lambda y: math.log(y + 0.5)),
        ("logsixhumpcamel", "sixhumpcamel", lambda y: math.log(y + 1.0317)),
        ("logstyblinskitang4", "styblinskitang4", lambda y: math.log(y + 160)),
        ("loggoldsteinprice", "goldsteinprice", math.log),
    ],
)
def test_is_the_log_of_a_known_function(name: str, inner: str, log) -> None:
    made = problem(name, Options())
    own = inner in FUNCTIONS
    base = problem(inner, Options()) if own else synthetic.problem(inner, synthetic.Options())
    assert made.space.difference(base.space) is None
    for point in made.space.from_uniforms(np.random.default_rng(1).random((20, made.space.d))):
        expected = log(base.evaluate(point, seed=0))
        # BoTorch rounds the depths of Hartmann's wells to float32: 1.2 becomes 1.20000005.
        rounding = 4e-8 if inner == "hartmann6" else 1e-9
        assert made.evaluate(point, seed=0) == pytest.approx(expected, abs=rounding, rel=1e-9)


def test_branin_forrester_is_branin_with_a_slope() -> None:
    made = problem("braninforrester", Options())
    branin = synthetic.problem("branin", synthetic.Options())
    assert made.space.difference(branin.space) is None
    for point in made.space.from_uniforms(np.random.default_rng(1).random((20, 2))):
        expected = float(branin.evaluate(point, seed=0)) + 5 * float(point["x0"])  # pyright: ignore[reportArgumentType]
        assert made.evaluate(point, seed=0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "point", "expected"),
    [
        ("goldsteinprice", [0.0, 0.0], 600.0),  # (1 + 19) * 30
        ("goldsteinprice", [1.0, 1.0], 1876.0),  # known local values
        ("goldsteinprice", [-0.6, -0.4], 30.0),
        ("goldsteinprice", [1.8, 0.2], 84.0),
        ("cosines", [0.3125, 0.9375], 1.0 - 0.3 * math.cos(3 * math.pi) - 1.3),
        ("wangfreitas", [0.1], -2.0),
        ("wangfreitas", [0.25], -2 * math.exp(-1.125)),
        ("wangfreitas", [0.75], -6.2e-9),
        ("loggsobol2", [0.0, 1.0], 2 * math.log(1.5)),
    ],
)
def test_values_by_hand(name: str, point: list[float], expected: float) -> None:
    assert value(name, point) == pytest.approx(expected, rel=1e-9, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("braninforrester", [(-5, 10), (0, 15)]),
        ("cosines", [(0, 5)] * 2),
        ("goldsteinprice", [(-2, 2)] * 2),
        ("wangfreitas", [(0, 1)]),
        ("loggsobol10", [(-5, 5)] * 10),
        ("logrosenbrock10", [(-5, 10)] * 10),
        ("logsixhumpcamel", [(-3, 3), (-2, 2)]),
        ("logstyblinskitang10", [(-5, 5)] * 10),
    ],
)
def test_bounds(name: str, bounds: list[tuple[float, float]]) -> None:
    space = problem(name, Options()).space
    assert [(p.low, p.high) for p in space.parameters.values()] == bounds


def test_travels_to_a_worker_and_ignores_the_seed() -> None:
    made = problem("logrosenbrock3", Options())
    again = pickle.loads(pickle.dumps(made))
    point = made.space.from_uniforms(np.full((1, 3), 0.3))[0]
    assert again.evaluate(point, seed=0) == made.evaluate(point, seed=1)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("logrosenbrock1", f"2 to {MOST_DIMENSIONS}"),
        ("loggsobol", f"1 to {MOST_DIMENSIONS}, got none"),
        ("loggsobol99999999999999999999", f"1 to {MOST_DIMENSIONS}"),
        ("cosines2", "cosines"),
        ("braninforester", "braninforrester"),
    ],
)
def test_bad_names(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        problem(name, Options())
