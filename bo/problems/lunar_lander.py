"""`lunarlander-controller`: twelve weights of a controller that lands a space craft.

Eriksson, Pearce, Gardner, Turner & Poloczek (2019), "Scalable Global Optimization via Local
Bayesian Optimization": the hand-written controller that comes with the environment, its constants
being the weights, each in [0, 2]. The goal is to maximise the mean reward over episodes that start
from the same terrains and pushes every time; the best possible reward is not known. With the
constants of the environment's authors (`STOCK`) it is 263.9.

Departs from the paper: LunarLander-v3, 20 episodes instead of 50.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium

from bo.contract import Problem
from bo.goals import Goal
from bo.space import Parameters, Space, real
from surrogates.errors import NotInstalledError
from surrogates.options import option, options
from surrogates.seeds import derive_seed

STOCK = (0.5, 1.0, 0.4, 0.55, 0.5, 1.0, 0.5, 0.5, 0.0, 0.5, 0.05, 0.05)

_NOTHING, _LEFT, _MAIN, _RIGHT = range(4)


@options
class Options:
    """How a controller is judged."""

    episodes: int = option(default=20, help="landings whose rewards are averaged", low=1, high=1000)
    noisy: bool = option(
        default=False, help="terrains and pushes follow the seed of the evaluation"
    )


def engine(state: Sequence[float], weights: Sequence[float]) -> int:
    """Which engine to fire.

    Args:
        state: horizontal and vertical place, their speeds, angle, its speed, contact of both legs.
        weights: the twelve of the controller.
    """
    x, y, speed_x, speed_y, angle, spin, *legs = state
    lean = min(max(weights[0] * x + weights[1] * speed_x, -weights[2]), weights[2])
    turn = weights[4] * (lean - angle) - weights[5] * spin
    rise = weights[6] * (weights[3] * abs(x) - y) - weights[7] * speed_y
    if any(legs):
        turn, rise = weights[8], -weights[9] * speed_y
    if rise > abs(turn) and rise > weights[10]:
        return _MAIN
    if abs(turn) > weights[11]:
        return _LEFT if turn > 0 else _RIGHT
    return _NOTHING


class Landings:
    """The objective: the mean reward over some episodes.

    Args:
        episodes: how many.
        noisy: whether they follow the seed of the evaluation.
    """

    def __init__(self, episodes: int, *, noisy: bool) -> None:
        self._episodes = episodes
        self._noisy = noisy

    def __call__(self, parameters: Parameters, *, seed: int) -> float:
        """Land with w0, w1, ..."""
        weights = [float(parameters[f"w{i}"]) for i in range(len(STOCK))]
        environment = _environment()
        try:
            starts = range(self._episodes)
            if self._noisy:
                starts = [derive_seed(seed, "episode", i) % 2**31 for i in starts]
            return sum(_reward(environment, weights, start) for start in starts) / self._episodes
        finally:
            environment.close()


def _reward(environment: "gymnasium.Env[Any, Any]", weights: Sequence[float], start: int) -> float:
    state, _ = environment.reset(seed=start)
    total, over = 0.0, False
    while not over:
        state, reward, landed, late, _ = environment.step(engine(state.tolist(), weights))
        total += float(reward)
        over = landed or late
    return total


def _environment() -> "gymnasium.Env[Any, Any]":
    try:
        return gymnasium.make("LunarLander-v3")
    except gymnasium.error.DependencyNotInstalled:
        raise NotInstalledError(
            "lunarlander-controller expected the package Box2D, got none; "
            'do pip install "wald[box2d]"'
        ) from None


def problem(name: str, options: Options) -> Problem:
    """The problem. Raises `NotInstalledError` without Box2D."""
    _environment().close()
    return Problem(
        name=name,
        space=Space({f"w{i}": real(0.0, 2.0) for i in range(len(STOCK))}),
        goal=Goal("reward", "maximize"),
        evaluate=Landings(options.episodes, noisy=options.noisy),
    )
