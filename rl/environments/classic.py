"""Classic control problems of gymnasium: Acrobot-v1 and MountainCar-v0.

    observations (n, d), actions (n,), rewards (n,)     d = 6 and 2; 3 actions

n copies are stepped one after the other, each on gymnasium's own dynamics and with a random
generator of its own, spawned from one seed. An ended episode begins anew in the same step; its last
observation stays visible in `Steps.final_observations`. The time limit (500 and 200 steps) is
counted here and reported as `truncated`, never as `terminated`.
"""

import json
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rl.contract import StateDict, Steps
from surrogates.errors import DataError
from surrogates.options import option, options

_IDS = {"acrobot": "Acrobot-v1", "mountaincar": "MountainCar-v0"}


@options
class Options:
    """Options of the classic control problems."""

    time_limit: int = option(
        default=0, help="steps until an episode is cut; 0: gymnasium's limit", low=0
    )


class Classic:
    """n copies of one classic control problem."""

    def __init__(
        self, name: str, options: Options, n: int, seed: int, device: torch.device
    ) -> None:
        """Make n copies.

        Args:
            name: `acrobot` or `mountaincar`.
            options: see `Options`.
            n: number of copies.
            seed: all randomness of the copies comes from it.
            device: where tensors are made; the dynamics run on the CPU.
        """
        made = [gymnasium.make(_IDS[name], disable_env_checker=True) for _ in range(n)]
        spec, space = made[0].spec, made[0].observation_space
        assert spec is not None
        assert space.shape is not None
        # The bare environments: their wrappers would count and reset too.
        self._copies: list[Any] = [environment.unwrapped for environment in made]
        self.n = n
        self.d = space.shape[0]
        self.actions = int(self._copies[0].action_space.n)
        self._device = device
        self._time_limit = options.time_limit or int(spec.max_episode_steps or 0)
        self._elapsed = [0] * n
        self._observations = np.zeros((n, self.d), dtype=np.float32)
        children = np.random.SeedSequence(seed).spawn(n)
        for copy, child in zip(self._copies, children, strict=True):
            copy.np_random = np.random.Generator(np.random.PCG64(child))

    def reset(self) -> Float[Tensor, "n d"]:
        """Begin n episodes."""
        for i, copy in enumerate(self._copies):
            self._observations[i] = copy.reset()[0]
        self._elapsed = [0] * self.n
        return self._tensor(self._observations)

    def step(self, actions: Int64[Tensor, " n"]) -> Steps:
        """Act once in each copy."""
        final = np.empty_like(self._observations)
        rewards, terminated, truncated = [], [], []
        for i, (copy, action) in enumerate(zip(self._copies, actions.tolist(), strict=True)):
            final[i], reward, ended, _, _ = copy.step(action)
            self._elapsed[i] += 1
            cut = not ended and self._elapsed[i] >= self._time_limit
            self._observations[i] = final[i]
            if ended or cut:
                self._observations[i] = copy.reset()[0]
                self._elapsed[i] = 0
            rewards.append(float(reward))
            terminated.append(ended)
            truncated.append(cut)
        return Steps(
            observations=self._tensor(self._observations),
            rewards=torch.tensor(rewards, device=self._device, dtype=torch.float32),
            terminated=torch.tensor(terminated, device=self._device, dtype=torch.bool),
            truncated=torch.tensor(truncated, device=self._device, dtype=torch.bool),
            final_observations=self._tensor(final),
        )

    def state_dict(self) -> StateDict:
        """State, elapsed steps and random state of each copy."""
        return {
            "states": [[float(value) for value in copy.state] for copy in self._copies],
            "elapsed": list(self._elapsed),
            "observations": self._observations.tolist(),
            # Integers of 128 bits: text, since checkpoints hold no more than 64.
            "random": [json.dumps(copy.np_random.bit_generator.state) for copy in self._copies],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Continue in mid-episode."""
        if len(state["states"]) != self.n:
            raise DataError(
                f"expected a state of {self.n} environments, got {len(state['states'])}; "
                "continue with the number of environments of the first part"
            )
        for copy, values, random in zip(
            self._copies, state["states"], state["random"], strict=True
        ):
            copy.reset()  # clears what gymnasium remembers of an episode that has ended
            copy.state = np.array(values, dtype=np.float64)
            copy.np_random.bit_generator.state = json.loads(random)
        self._elapsed = list(state["elapsed"])
        self._observations = np.array(state["observations"], dtype=np.float32)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, device=self._device, dtype=torch.float32)


def environments(name: str, options: Options, n: int, seed: int, device: torch.device) -> Classic:
    """The factory of the catalog."""
    return Classic(name, options, n, seed, device)
