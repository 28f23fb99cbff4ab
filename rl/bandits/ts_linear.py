"""Linear Thompson sampling: Bayesian linear regression with the noise's variance unknown.

Agrawal and Goyal 2013, "Thompson sampling for contextual bandits with linear payoffs"; the
normal-inverse-gamma posterior of Riquelme, Tucker and Snoek 2018, "Deep Bayesian bandits showdown"
(LinFullPost).

    r = x' theta + noise,  noise ~ N(0, noise_var)
    theta | noise_var ~ N(mean, noise_var B^-1)           noise_var ~ InverseGamma(a, b)
    a = a0 + n/2          b = b0 + 1/2 sum (r - x'mean)^2 / (1 + x'B^-1 x), each from before its row

    arm = argmax_k x_k' theta_k

Disjoint arms have one posterior each. All arms see one context x, so only the K numbers x'theta_k
matter, which are independent: K normals are drawn, not K vectors. Where arms share theta it is
drawn once per environment and all arms are judged by the same draw. Contexts (b, K, d), arms (b,).

Departs from the papers: with `noise_std` above 0 the noise is taken as known, as in Agrawal and
Goyal, whose scale v it then is; no initial pulls, since the prior is proper; the prior of the
noise is weaker than LinFullPost's a0 = b0 = 6, which presumes noise of about 1 and explores for
long where there is little.
"""

import math
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
    """Options of linear Thompson sampling."""

    noise_std: float = option(default=0.0, help="scale of the noise; 0: learnt", low=0.0, high=1e6)
    prior_precision: float = option(
        default=1.0, help="precision of a coefficient over the noise's", low=1e-9, high=1e9
    )
    prior_shape: float = option(
        default=1.0, help="a0 of the noise's InverseGamma prior", low=1e-3, high=1e9
    )
    prior_scale: float = option(
        default=0.25, help="b0 of the noise's InverseGamma prior", low=1e-9, high=1e9
    )
    intercept: bool = option(default=True, help="add a constant to the context")


class LinearSampling:
    """Linear Thompson sampling with disjoint or shared parameters."""

    def __init__(
        self, arms: Arms, options: Options, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Begin at the prior."""
        self._noise_std = options.noise_std
        self._ridge = Ridge(
            arms,
            prior_precision=options.prior_precision,
            intercept=options.intercept,
            device=device,
            dtype=dtype,
        )
        count = len(self._ridge.mean)
        self._shape = [options.prior_shape] * count
        self._scale = [options.prior_scale] * count

    def act(self, contexts: Float[Tensor, "b K d"], *, generator: Generator) -> Int64[Tensor, " b"]:
        """The arm that wins a draw from the posterior, for each of b environments."""
        return self.draw(contexts, generator=generator).argmax(1)

    def draw(
        self, contexts: Float[Tensor, "b K d"], *, generator: Generator
    ) -> Float[Tensor, "b K"]:
        """x_k' theta_k of every arm, with theta from the posterior."""
        b, ridge = len(contexts), self._ridge
        kind: dict[str, Any] = {"device": ridge.mean.device, "dtype": ridge.mean.dtype}
        noise_std = self._draw_noise(b, generator)
        if ridge.shared:
            normal = torch.randn(b, ridge.mean.shape[1], generator=generator, **kind)
            theta = ridge.mean + noise_std * (normal @ ridge.root[0].T)
            return (ridge.features(contexts) * theta.unsqueeze(1)).sum(2)
        mean, var = ridge.predict(contexts)
        normal = torch.randn(mean.shape, generator=generator, **kind)
        return mean + noise_std * var.sqrt() * normal

    def update(self, batch: BanditBatch) -> Mapping[str, float]:
        """Learn b rounds."""
        for which, squared in self._ridge.update(batch.contexts, batch.arms, batch.rewards):
            self._shape[which] += 0.5
            self._scale[which] += 0.5 * squared
        return {}

    def summary(self) -> Mapping[str, Any]:
        """The scale of the noise that it holds: one number, or one per arm."""
        if self._noise_std > 0:
            return {}
        pairs = zip(self._scale, self._shape, strict=True)
        found = [math.sqrt(scale / shape) for scale, shape in pairs]
        return {"noise_std": found if len(found) > 1 else found[0]}

    def state_dict(self) -> StateDict:
        """The regressions and the noise's posterior."""
        return {
            "ridge": self._ridge.state_dict(),
            "shape": list(self._shape),
            "scale": list(self._scale),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from `state_dict()`."""
        self._ridge.load_state_dict(state["ridge"])
        self._shape, self._scale = list(state["shape"]), list(state["scale"])

    def _draw_noise(self, b: int, generator: Generator) -> "Tensor | float":
        """A standard deviation per environment and regression (b, A), or the known one."""
        if self._noise_std > 0:
            return self._noise_std
        mean = self._ridge.mean
        shape, scale = torch.tensor(
            [self._shape, self._scale], device=mean.device, dtype=mean.dtype
        )
        gamma = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
            shape.expand(b, -1), generator=generator
        )
        return (scale / gamma).sqrt()


def policy(
    arms: Arms, options: Options, device: torch.device, dtype: torch.dtype
) -> LinearSampling:
    """The factory of the catalog."""
    return LinearSampling(arms, options, device, dtype)
