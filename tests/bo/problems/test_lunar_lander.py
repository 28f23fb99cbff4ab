"""The lander's controller: the environment's own one, determinism, absence of Box2D."""

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest

from bo.problems.lunar_lander import STOCK, Options, engine, problem
from bo.space import Parameters
from surrogates.errors import NotInstalledError

NAME = "lunarlander-controller"
STOCK_POINT: Parameters = {f"w{i}": weight for i, weight in enumerate(STOCK)}


def test_stock_controller() -> None:
    pytest.importorskip("Box2D")
    made = problem(NAME, Options())
    assert str(made.goal) == "maximize reward"
    assert [(p.low, p.high) for p in made.space.parameters.values()] == [(0.0, 2.0)] * 12
    assert made.evaluate(STOCK_POINT, seed=0) == pytest.approx(263.9, abs=0.05)


def test_agrees_with_the_environment_at_every_step() -> None:
    pytest.importorskip("Box2D")
    from gymnasium.envs.box2d.lunar_lander import heuristic

    environment = gymnasium.make("LunarLander-v3")
    state, _ = environment.reset(seed=3)
    seen: list[int] = []
    over = False
    while not over:
        expected = int(heuristic(environment, state))
        assert engine(state.tolist(), STOCK) == expected
        seen.append(expected)
        state, _, landed, late, _ = environment.step(expected)
        over = landed or late
    environment.close()
    assert set(seen) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0], 0),
        ([0, 1, 0, -3, 0, 0, 0, 0], 2),  # falls: main engine
        ([0, 5, 0, 0, 0.5, 0, 0, 0], 3),  # leans to one side
        ([0, 5, 0, 0, -0.5, 0, 0, 0], 1),
        ([9, 0, 9, 0, 0.4, 0, 0, 0], 2),  # lean is capped at 0.4: only height is left to correct
        ([0, 5, 0, -1, 0.5, 0, 1, 0], 2),  # on a leg: angle is left alone
    ],
)
def test_engine(state: list[float], expected: int) -> None:
    assert engine(state, STOCK) == expected


def test_seed_matters_only_where_noisy() -> None:
    pytest.importorskip("Box2D")
    quiet = problem(NAME, Options(episodes=2))
    again = pickle.loads(pickle.dumps(quiet))
    assert quiet.evaluate(STOCK_POINT, seed=1) == again.evaluate(STOCK_POINT, seed=2)
    noisy = problem(NAME, Options(episodes=2, noisy=True))
    values = [noisy.evaluate(STOCK_POINT, seed=seed) for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise gymnasium.error.DependencyNotInstalled(name)

    monkeypatch.setattr(gymnasium, "make", absent)
    with pytest.raises(NotInstalledError, match=r'pip install "wald\[box2d\]"'):
        problem(NAME, Options())


def test_all_weights_matter_somewhere() -> None:
    random = np.random.default_rng(0)
    states = np.hstack([random.normal(size=(4000, 6)), random.random((4000, 2)) < 0.3]).tolist()
    weights = [1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 0.5, 0.5]
    base = [engine(state, weights) for state in states]
    for i in range(12):
        other = [w * 1.8 if i == j else w for j, w in enumerate(weights)]
        assert [engine(state, other) for state in states] != base, f"w{i}"
