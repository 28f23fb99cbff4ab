"""LinUCB: the arm with the greatest upper confidence bound of a ridge regression.

Li, Chu, Langford and Schapire 2010, "A contextual-bandit approach to personalized news article
recommendation", Algorithm 1.

    arm = argmax_k  x_k' mean_k + width sqrt(x_k' B_k^-1 x_k)
    B_k = I + sum x x'      mean_k = B_k^-1 sum r x      over the rounds of arm k

Where arms share one parameter vector, B and the mean are the same for all of them and each arm has
features of its own. Contexts (b, K, d), arms (b,). Ties go to the first arm.

Departs from the paper: contexts get an intercept (option); the hybrid model of Algorithm 2 is not
here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from rl.bandits.ridge import Ridge
from rl.contract import Arms, BanditBatch, StateDict
from surrogates.options import option, options


@options
class Options:
    """Options of LinUCB."""

    width: float = option(
        default=1.0, help="standard errors added to the mean (alpha)", low=0.0, high=1e6
    )
    prior_precision: float = option(
        default=1.0, help="ridge: precision of a coefficient", low=1e-9, high=1e9
    )
    intercept: bool = option(default=True, help="add a constant to the context")


class LinUCB:
    """LinUCB with disjoint or shared parameters."""

    def __init__(
        self, arms: Arms, options: Options, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Begin at the prior."""
        self._width = options.width
        self._ridge = Ridge(
            arms,
            prior_precision=options.prior_precision,
            intercept=options.intercept,
            device=device,
            dtype=dtype,
        )

    def bounds(self, contexts: Float[Tensor, "b K d"]) -> Float[Tensor, "b K"]:
        """Upper confidence bounds of every arm."""
        mean, var = self._ridge.predict(contexts)
        return mean + self._width * var.sqrt()

    def act(self, contexts: Float[Tensor, "b K d"], *, generator: Generator) -> Int64[Tensor, " b"]:
        """The arm of the greatest bound for each of b environments; draws nothing."""
        del generator
        return self.bounds(contexts).argmax(1)

    def update(self, batch: BanditBatch) -> Mapping[str, float]:
        """Learn b rounds."""
        self._ridge.update(batch.contexts, batch.arms, batch.rewards)
        return {}

    def summary(self) -> Mapping[str, Any]:
        """Nothing to show: a bound belongs to a context."""
        return {}

    def state_dict(self) -> StateDict:
        """The regressions."""
        return self._ridge.state_dict()

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from `state_dict()`."""
        self._ridge.load_state_dict(state)


def policy(arms: Arms, options: Options, device: torch.device, dtype: torch.dtype) -> LinUCB:
    """The factory of the catalog."""
    return LinUCB(arms, options, device, dtype)
