"""CartPole-v1, n copies in one numpy computation: gymnasium's own vectorised dynamics.

    observations (n, 4): position, velocity, angle, angular velocity; actions (n,): 0 left, 1 right

Reward 1 a step; terminated when the pole or the cart leaves its bounds, truncated (not terminated:
the pole still stands) at 500 steps.

Departs from gymnasium's `CartPoleVectorEnv`, whose `step` is used: that one begins a new episode
one step late, with a step that belongs to no episode, and draws all first states from one
generator. Here an ended copy begins anew in the same step, its last observation stays visible in
`Steps.final_observations`, and every copy has a generator of its own.
"""

import json

import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from jaxtyping import Float, Int64
from torch import Tensor

from rl.contract import StateDict, Steps
from surrogates.errors import DataError
from surrogates.options import option, options


@options
class Options:
    """Options of CartPole."""

    time_limit: int = option(default=500, help="steps until an episode is cut", low=1)


class CartPole:
    """n copies of CartPole."""

    def __init__(self, options: Options, n: int, seed: int, device: torch.device) -> None:
        """Make n copies.

        Args:
            options: see `Options`.
            n: number of copies.
            seed: all randomness of the copies comes from it.
            device: where tensors are made; the dynamics run on the CPU.
        """
        self.n, self.d, self.actions = n, 4, 2
        self._device = device
        self._inner = CartPoleVectorEnv(num_envs=n, max_episode_steps=options.time_limit)
        self._random = [
            np.random.Generator(np.random.PCG64(child))
            for child in np.random.SeedSequence(seed).spawn(n)
        ]

    def reset(self) -> Float[Tensor, "n d"]:
        """Begin n episodes."""
        self._inner.state = np.empty((4, self.n), dtype=np.float64)
        self._inner.prev_done = np.zeros(self.n, dtype=np.bool_)
        self._begin(self._inner.state, range(self.n))
        return self._tensor(self._inner.state.T)

    def step(self, actions: Int64[Tensor, " n"]) -> Steps:
        """Act once in each copy."""
        observed, rewards, terminated, truncated, _ = self._inner.step(actions.cpu().numpy())
        final = observations = self._tensor(observed)
        state = self._inner.state
        assert state is not None
        truncated &= ~terminated
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            self._begin(state, ended.tolist())
            # Gymnasium would begin these episodes at its next step: they have begun.
            self._inner.prev_done[:] = False
            observations = self._tensor(state.T)
        return Steps(
            observations=observations,
            rewards=self._tensor(rewards),
            terminated=torch.as_tensor(terminated, device=self._device, dtype=torch.bool),
            truncated=torch.as_tensor(truncated, device=self._device, dtype=torch.bool),
            final_observations=final,
        )

    def state_dict(self) -> StateDict:
        """State, elapsed steps and random state of each copy."""
        assert self._inner.state is not None
        return {
            "states": self._inner.state.tolist(),
            "elapsed": self._inner.steps.tolist(),
            # Integers of 128 bits: text, since checkpoints hold no more than 64.
            "random": [json.dumps(random.bit_generator.state) for random in self._random],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Continue in mid-episode."""
        if len(state["elapsed"]) != self.n:
            raise DataError(
                f"expected a state of {self.n} environments, got {len(state['elapsed'])}; "
                "continue with the number of environments of the first part"
            )
        self._inner.state = np.array(state["states"], dtype=np.float64)
        self._inner.steps = np.array(state["elapsed"], dtype=np.int32)
        self._inner.prev_done = np.zeros(self.n, dtype=np.bool_)
        for random, text in zip(self._random, state["random"], strict=True):
            random.bit_generator.state = json.loads(text)

    def _begin(self, state: np.ndarray, copies: "range | list[int]") -> None:
        """Draw the first state of an episode for some copies: uniform within +-0.05."""
        for i in copies:
            state[:, i] = self._random[i].uniform(-0.05, 0.05, size=4)
            self._inner.steps[i] = 0

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, device=self._device, dtype=torch.float32)


def environments(name: str, options: Options, n: int, seed: int, device: torch.device) -> CartPole:
    """The factory of the catalog."""
    del name
    return CartPole(options, n, seed, device)
