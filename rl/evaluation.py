"""Greedy episodes: how good an agent is when it does not explore.

An evaluation is 20 episodes, the first one of each of 20 copies of the environment, whose first
states depend on a seed alone. The agent is left as it was.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from rl.contract import Agent, Environments

EPISODES = 20
"""Episodes of an evaluation."""


def mean(values: list[float]) -> float:
    """The mean of some numbers."""
    return sum(values) / len(values)


def play(
    make_environments: Callable[[int, int], Environments], agent: Agent, seed: int
) -> list[float]:
    """Returns of 20 greedy episodes: the first one of each of 20 copies."""
    world = make_environments(EPISODES, seed)
    observations = world.reset()
    running = torch.ones(world.n, device=observations.device, dtype=torch.bool)
    returns = torch.zeros(world.n, device=observations.device, dtype=torch.float64)
    while bool(running.any()):
        result = world.step(agent.greedy(observations))
        observations = result.observations
        returns += result.rewards * running
        running &= ~(result.terminated | result.truncated)
    return returns.tolist()


def final_scores(
    make_environments: Callable[[int, int], Environments],
    agent: Agent,
    kept: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Scores of the last and of the kept weights; the agent is left as it was."""
    last = agent.weights()
    metrics = _score("final_score", play(make_environments, agent, seed))
    agent.load_weights(kept["weights"] or last)
    metrics |= _score("score", play(make_environments, agent, seed))
    agent.load_weights(last)
    return metrics


def _score(name: str, returns: list[float]) -> dict[str, Any]:
    centre = mean(returns)
    variance = sum((value - centre) ** 2 for value in returns) / (len(returns) - 1)
    standard_error = (variance / len(returns)) ** 0.5
    return {
        name: centre,
        f"{name}_returns": returns,
        f"{name}_standard_error": standard_error,
    }
