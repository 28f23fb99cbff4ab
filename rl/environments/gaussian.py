"""Gaussian bandit: K arms with rewards N(m_k, noise_std^2). No context.

    means = normal: m_k ~ N(0, 1)          means = gap: one arm at `gap`, the others at 0

The context is the constant 1 (b, K, 1). One normal number is drawn per pull and added to m of the
arm that was played, so policies under one seed meet the same noise.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from rl.contract import Arms, Outcome, StateDict
from surrogates.options import option, options


@options
class Options:
    """Options of the Gaussian bandit."""

    arms: int = option(default=10, help="number of arms", low=2, high=10_000)
    means: str = option(
        default="normal", help="how mean rewards are made", choices=("normal", "gap")
    )
    gap: float = option(default=0.5, help="mean of the best arm (means = gap)", low=0.0, high=1e6)
    noise_std: float = option(default=1.0, help="standard deviation of a reward", low=0.0, high=1e6)


class Gaussian:
    """A Gaussian bandit."""

    def __init__(self, name: str, options: Options, seed: int, device: torch.device) -> None:
        """Draw the mean rewards from `seed`."""
        self.name = name
        self.arms = Arms(count=options.arms, d=1)
        self._noise_std = options.noise_std
        generator = torch.Generator(device="cpu").manual_seed(seed)
        kind: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float64}
        means = torch.randn(options.arms, generator=generator, **kind)
        if options.means == "gap":
            winner = means.argmax()
            means = torch.zeros(options.arms, **kind)
            means[winner] = options.gap
        self.means = means.to(device)
        self._best = self.means.max()
        self._context = torch.ones(1, options.arms, 1, device=device, dtype=torch.float64)

    def contexts(self, b: int, *, generator: Generator) -> Float[Tensor, "b K d"]:
        """The constant 1."""
        del generator
        return self._context.expand(b, -1, -1)

    def pull(
        self, contexts: Float[Tensor, "b K d"], arms: Int64[Tensor, " b"], *, generator: Generator
    ) -> Outcome:
        """Play one arm in each of b environments."""
        del contexts
        expected = self.means[arms]
        normal = torch.randn(
            len(arms), generator=generator, device=expected.device, dtype=torch.float64
        )
        return Outcome(
            rewards=expected + self._noise_std * normal,
            expected=expected,
            best=self._best.expand(len(arms)),
        )

    def state_dict(self) -> StateDict:
        """Nothing changes as it is played."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """Nothing to restore."""


def problem(name: str, options: Options, seed: int, device: torch.device) -> Gaussian:
    """The factory of the catalog."""
    return Gaussian(name, options, seed, device)
