"""Linear bandit: rewards x'theta + N(0, noise_std^2), contexts x ~ N(0, I).

    disjoint (default): one context x (d,) for all arms, theta_k (d,) for each of K arms
    shared:             features x_k (d,) for each arm, one theta (d,)

Every theta is uniform on the unit sphere, so mean rewards have variance 1. Contexts (b, K, d). One
normal number of noise is drawn per pull, whatever arm is played.
"""

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from rl.contract import Arms, Outcome, StateDict
from surrogates.options import option, options


@options
class Options:
    """Options of the linear bandit."""

    arms: int = option(default=10, help="number of arms", low=2, high=10_000)
    d: int = option(default=10, help="length of a context", low=1, high=10_000)
    shared: bool = option(
        default=False, help="one parameter vector for all arms, features for each"
    )
    noise_std: float = option(
        default=0.5, help="standard deviation of the noise", low=0.0, high=1e6
    )


class Linear:
    """A linear bandit."""

    def __init__(self, name: str, options: Options, seed: int, device: torch.device) -> None:
        """Draw the parameters from `seed`."""
        self.name = name
        self.arms = Arms(count=options.arms, d=options.d, shared=options.shared)
        self._noise_std = options.noise_std
        generator = torch.Generator(device="cpu").manual_seed(seed)
        theta = torch.randn(
            1 if options.shared else options.arms,
            options.d,
            generator=generator,
            device="cpu",
            dtype=torch.float64,
        )
        self.theta = (theta / torch.linalg.vector_norm(theta, dim=1, keepdim=True)).to(device)

    def contexts(self, b: int, *, generator: Generator) -> Float[Tensor, "b K d"]:
        """Standard normal contexts: one for all arms, or one per arm where theta is shared."""
        count = self.arms.count if self.arms.shared else 1
        x = torch.randn(
            b,
            count,
            self.arms.d,
            generator=generator,
            device=self.theta.device,
            dtype=torch.float64,
        )
        return x.expand(-1, self.arms.count, -1)

    def pull(
        self, contexts: Float[Tensor, "b K d"], arms: Int64[Tensor, " b"], *, generator: Generator
    ) -> Outcome:
        """Play one arm in each of b environments."""
        means = (contexts * self.theta).sum(2)
        expected = means.gather(1, arms.unsqueeze(1)).squeeze(1)
        normal = torch.randn(
            len(arms), generator=generator, device=expected.device, dtype=torch.float64
        )
        return Outcome(
            rewards=expected + self._noise_std * normal, expected=expected, best=means.amax(1)
        )

    def state_dict(self) -> StateDict:
        """Nothing changes as it is played."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """Nothing to restore."""


def problem(name: str, options: Options, seed: int, device: torch.device) -> Linear:
    """The factory of the catalog."""
    return Linear(name, options, seed, device)
