"""Thompson sampling for 0/1 rewards: one Beta posterior per arm.

Thompson 1933; Chapelle and Li 2011, "An empirical evaluation of Thompson sampling".

    theta_k | S_k wins, F_k losses ~ Beta(a0 + S_k, b0 + F_k)       arm = argmax_k theta_k

Counts (K, 2): wins and losses. Contexts (b, K, d) are ignored. Each of the b environments draws its
own theta (b, K) from the posterior that they share.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from scipy.special import betaincinv
from torch import Generator, Tensor

from rl.contract import Arms, BanditBatch, StateDict
from surrogates.errors import CapabilityError, DataError
from surrogates.options import option, options


@options
class Options:
    """The prior of every arm, Beta(wins, losses)."""

    prior_wins: float = option(default=1.0, help="a0 of the Beta prior", low=1e-6, high=1e9)
    prior_losses: float = option(default=1.0, help="b0 of the Beta prior", low=1e-6, high=1e9)


class BetaSampling:
    """Beta-Bernoulli Thompson sampling."""

    def __init__(
        self, arms: Arms, options: Options, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Begin at the prior.

        Raises:
            CapabilityError: rewards that are not 0 or 1.
        """
        if not arms.binary:
            raise CapabilityError(
                "expected a problem with rewards of 0 or 1 for ts-beta, got one with real rewards; "
                "use ts-linear or linucb"
            )
        prior = torch.tensor([options.prior_wins, options.prior_losses], device=device, dtype=dtype)
        self._counts = prior.repeat(arms.count, 1)

    def act(self, contexts: Float[Tensor, "b K d"], *, generator: Generator) -> Int64[Tensor, " b"]:
        """The arm that wins a draw from the posterior, for each of b environments."""
        counts = self._counts.expand(len(contexts), -1, -1)
        draws = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
            counts, generator=generator
        )
        # A Beta variable is the share of one of two Gamma variables.
        return (draws[..., 0] / draws.sum(-1)).argmax(1)

    def update(self, batch: BanditBatch) -> Mapping[str, float]:
        """Count b wins and losses."""
        wins = batch.rewards.to(self._counts.dtype)
        if not bool(((wins == 0) | (wins == 1)).all()):
            raise DataError(
                f"expected rewards of 0 or 1 for ts-beta, got {wins.tolist()[:3]}; "
                "use ts-linear or linucb"
            )
        self._counts.index_add_(0, batch.arms, torch.stack([wins, 1 - wins], dim=1))
        return {}

    def summary(self) -> Mapping[str, Any]:
        """Of each arm's win rate: posterior mean, standard deviation and equal-tailed 95 % ends."""
        total = self._counts.sum(1)
        mean = self._counts[:, 0] / total
        std = (mean * (1 - mean) / (total + 1)).sqrt()
        wins, losses = self._counts.cpu().double().T.numpy()
        return {
            "posterior_mean": mean.tolist(),
            "posterior_std": std.tolist(),
            "posterior_low": betaincinv(wins, losses, 0.025).tolist(),
            "posterior_high": betaincinv(wins, losses, 0.975).tolist(),
        }

    def state_dict(self) -> StateDict:
        """The counts, prior included."""
        return {"counts": self._counts.clone()}

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from `state_dict()`."""
        self._counts.copy_(state["counts"])


def policy(arms: Arms, options: Options, device: torch.device, dtype: torch.dtype) -> BetaSampling:
    """The factory of the catalog."""
    return BetaSampling(arms, options, device, dtype)
