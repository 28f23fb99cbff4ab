"""Bernoulli bandit: K arms that pay 1 with probability p_k, else 0. No context.

    means = uniform: p_k ~ U(0, 1)         means = gap: one arm at `best`, the others `gap` below

The context is the constant 1 (b, K, 1). One uniform number is drawn per pull and compared with p of
the arm that was played, so policies under one seed meet the same luck.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from rl.contract import Arms, Outcome, StateDict
from surrogates.errors import UsageError
from surrogates.options import option, options


@options
class Options:
    """Options of the Bernoulli bandit."""

    arms: int = option(default=10, help="number of arms", low=2, high=10_000)
    means: str = option(
        default="uniform", help="how win rates are made", choices=("uniform", "gap")
    )
    best: float = option(
        default=0.6, help="win rate of the best arm (means = gap)", low=0.0, high=1.0
    )
    gap: float = option(default=0.1, help="what the others lack (means = gap)", low=0.0, high=1.0)


class Bernoulli:
    """A Bernoulli bandit."""

    def __init__(self, name: str, options: Options, seed: int, device: torch.device) -> None:
        """Draw the win rates from `seed`."""
        if options.means == "gap" and options.gap > options.best:
            raise UsageError(
                f"option gap expected at most best = {options.best:g}, got {options.gap:g}; "
                "win rates lie in 0 to 1"
            )
        self.name = name
        self.arms = Arms(count=options.arms, d=1, binary=True)
        generator = torch.Generator(device="cpu").manual_seed(seed)
        kind: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float64}
        means = torch.rand(options.arms, generator=generator, **kind)
        if options.means == "gap":
            winner = means.argmax()
            means = torch.full((options.arms,), options.best - options.gap, **kind)
            means[winner] = options.best
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
        uniform = torch.rand(
            len(arms), generator=generator, device=expected.device, dtype=torch.float64
        )
        return Outcome(
            rewards=(uniform < expected).to(torch.float64),
            expected=expected,
            best=self._best.expand(len(arms)),
        )

    def state_dict(self) -> StateDict:
        """Nothing changes as it is played."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """Nothing to restore."""


def problem(name: str, options: Options, seed: int, device: torch.device) -> Bernoulli:
    """The factory of the catalog."""
    return Bernoulli(name, options, seed, device)
