"""Environments against gymnasium's own, step by step, and restoring in mid-episode."""

import io
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rl.environments import cartpole, classic
from surrogates.errors import DataError
from surrogates.options import build

CPU = torch.device("cpu")
IDS = {"cartpole": "CartPole-v1", "acrobot": "Acrobot-v1", "mountaincar": "MountainCar-v0"}
MODULES = {"cartpole": cartpole, "acrobot": classic, "mountaincar": classic}


def given(options, **values):
    return build(options, values, owner="the test")


def make(name, n=3, seed=0, **options):
    module = MODULES[name]
    return module.environments(name, given(module.Options, **options), n, seed, CPU)


def actions(environments, steps, seed=0):
    g = torch.Generator(device="cpu").manual_seed(seed)
    return torch.randint(environments.actions, (steps, environments.n), generator=g)


def equal(steps, other):
    return all(torch.equal(getattr(steps, name), getattr(other, name)) for name in vars(steps))


@pytest.mark.parametrize("name", IDS)
def test_dynamics_are_gymnasiums(name):
    environments = make(name, n=2, time_limit=60)
    twin: Any = gymnasium.make(IDS[name], disable_env_checker=True).unwrapped
    observations = environments.reset()
    chosen = actions(environments, 200)
    twin.reset(seed=0)

    def follow():
        # The twin takes over the state of copy 1 at the start of each of its episodes.
        states = np.array(environments.state_dict()["states"])
        twin.reset()
        twin.state = states[:, 1].copy() if name == "cartpole" else states[1].copy()

    follow()
    elapsed, ends = 0, 0
    for action in chosen:
        result = environments.step(action)
        observed, reward, terminated, _, _ = twin.step(int(action[1]))
        elapsed += 1
        np.testing.assert_allclose(result.final_observations[1].numpy(), observed, rtol=1e-5)
        assert float(result.rewards[1]) == reward
        assert bool(result.terminated[1]) == terminated
        assert bool(result.truncated[1]) == (not terminated and elapsed == 60)
        if terminated or elapsed == 60:
            assert not torch.equal(result.observations[1], result.final_observations[1])
            elapsed, ends = 0, ends + 1
            follow()
        else:
            assert torch.equal(result.observations[1], result.final_observations[1])
        observations = result.observations
    assert observations.shape == (2, environments.d)
    assert ends >= 3


@pytest.mark.parametrize("name", IDS)
def test_restoring_in_mid_episode_is_exact(name):
    first = make(name, time_limit=40)
    first.reset()
    chosen = actions(first, 150)
    for action in chosen[:57]:  # 57 is no multiple of the limit
        first.step(action)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = make(name, seed=9, time_limit=40)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for action in chosen[57:]:
        assert equal(first.step(action), second.step(action))


@pytest.mark.parametrize("name", IDS)
def test_seeds_and_copies_differ(name):
    starts = [make(name, seed=seed).reset() for seed in (1, 1, 2)]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    assert not torch.equal(starts[0][0], starts[0][1])


def test_the_pole_that_stands_is_truncated_not_terminated():
    environments = make("cartpole", n=1)
    observations, results = environments.reset(), []
    for step in range(1, 501):
        x, speed, angle, spin = observations[0].tolist()
        push = 0.2 * x + 0.4 * speed + 4.0 * angle + spin > 0
        results.append(environments.step(torch.tensor([int(push)])))
        observations = results[-1].observations
        assert not bool(results[-1].terminated)
        assert bool(results[-1].truncated) == (step == 500)
    result = results[-1]
    assert abs(float(result.final_observations[0, 2])) < 0.21
    assert float(result.observations.abs().max()) <= 0.05


def test_a_fall_at_the_limit_is_terminated():
    environments = make("cartpole", n=1)
    environments.reset()
    fall = next(
        step for step in range(1, 50) if bool(environments.step(torch.tensor([1])).terminated)
    )
    environments = make("cartpole", n=1, time_limit=fall)
    environments.reset()
    for _ in range(fall - 1):
        environments.step(torch.tensor([1]))
    result = environments.step(torch.tensor([1]))
    assert bool(result.terminated)
    assert not bool(result.truncated)


@pytest.mark.parametrize("name", IDS)
def test_a_state_of_other_copies_is_refused(name):
    environments = make(name, n=2)
    environments.reset()
    with pytest.raises(DataError, match="expected a state of 3 environments, got 2"):
        make(name, n=3).load_state_dict(environments.state_dict())
