"""An acquisition function of one Gaussian process, averaged over the draws of a mixture.

Snoek, Larochelle & Adams (2012), "Practical Bayesian Optimization of Machine Learning Algorithms",
section 3.1: the integrated acquisition function, the average of those under each draw of the
hyperparameters. BoTorch averages like this where its functions take a batch of models. Those that
do not are built here once per draw, of `surrogates/gp/of_draw.py`, whatever they are:

    OverDraws(model, lambda gp: qMaxValueEntropy(gp, candidates))

`qMaxValueEntropy`, `qLowerBoundMaxValueEntropy` (GIBBON), their multi-fidelity forms,
`qPredictiveEntropySearch` need it. Weights of the draws count. Logarithmic functions (those that
BoTorch marks with `_log`) are averaged before the logarithm.

What `PosteriorStandardDeviation` wants of a mixture is `MixtureStandardDeviation`: not an average
of standard deviations, which leaves out that the draws disagree about the mean.
"""

from collections.abc import Callable
from typing import Any

import torch
from botorch.acquisition import AcquisitionFunction
from botorch.models import SingleTaskGP
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.errors import CapabilityError
from surrogates.gp.mixture import MixtureGP
from surrogates.gp.of_draw import of_draw

_LEAST_VAR = 1e-12
"""As BoTorch's analytic functions bound variances, so that there is a gradient at 0."""


class OverDraws(AcquisitionFunction):
    """The average over the draws; built once for each draw that has a weight.

    Args:
        model: the mixture.
        build: from a draw's Gaussian process to the acquisition function under it.
    """

    def __init__(
        self, model: MixtureGP, build: Callable[[SingleTaskGP], AcquisitionFunction]
    ) -> None:
        super().__init__(model)
        weights = model.weights
        held = [place for place, weight in enumerate(weights.tolist()) if weight > 0.0]
        self.parts = torch.nn.ModuleList([build(of_draw(model, place)) for place in held])
        self.log_weights = weights[held].log()

    def forward(self, X: Float[Tensor, "*b q d"]) -> Float[Tensor, " *b"]:
        """Values at (..., q, d) points."""
        parts: list[Any] = list(self.parts)
        values = torch.stack([part(X) for part in parts])
        share = self.log_weights.reshape(-1, *[1] * (values.ndim - 1))
        if getattr(parts[0], "_log", False):
            return torch.logsumexp(values + share, dim=0)
        return (share.exp() * values).sum(dim=0)


class MixtureStandardDeviation(AcquisitionFunction):
    """The standard deviation of the mixture, in the user's units, for pure exploration.

    Args:
        model: the mixture.
    """

    def __init__(self, model: MixtureGP) -> None:
        super().__init__(model)

    def forward(self, X: Float[Tensor, "*b q d"]) -> Float[Tensor, " *b"]:
        """Values at (..., 1, d) points.

        Raises:
            CapabilityError: of several points together.
        """
        if X.shape[-2] != 1:
            raise CapabilityError(
                f"expected one point at a time, (..., 1, d), got {tuple(X.shape)}; for several "
                "together use qNegIntegratedPosteriorVariance"
            )
        told: Any = self.model.posterior(X)
        return told.mixture_variance.clamp_min(_LEAST_VAR).sqrt().squeeze(-1).squeeze(-1)


def thompson_points(
    model: MixtureGP, X: Float[Tensor, "n d"], count: int, *, generator: Generator
) -> Float[Tensor, "count d"]:
    """For each of `count` functions drawn from the mixture, which of the points maximises it.

    What `MaxPosteriorSampling` is for one Gaussian process; of a mixture, BoTorch's gives points
    for every draw of hyperparameters (S, count, d), each set of its draw alone.
    """
    with torch.no_grad():
        told: Any = model.posterior(X)
        best = told.mixture_samples(count, generator).squeeze(-1).argmax(dim=-1)
    return X[best]
