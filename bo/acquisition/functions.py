"""Acquisition functions by name, from BoTorch. Outcomes are oriented so that higher is better.

- `logei`: log expected improvement over the best posterior mean at the observed points, Ament et
  al. (2023), "Unexpected Improvements to Expected Improvement"; with pending points its Monte
  Carlo form, which conditions on them. Of `gp-map` on the CPU: `bo/acquisition/fused.py`.
- `lognei`: log noisy expected improvement, which also integrates over the incumbent's value.
- `ucb`: upper confidence bound, mean + sqrt(beta) std, Srinivas et al. (2010).
"""

from typing import cast

import torch
from botorch.acquisition import (
    AcquisitionFunction,
    LogExpectedImprovement,
    UpperConfidenceBound,
    qLogExpectedImprovement,
    qLogNoisyExpectedImprovement,
    qUpperConfidenceBound,
)
from botorch.acquisition.utils import prune_inferior_points
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from botorch.sampling import SobolQMCNormalSampler
from jaxtyping import Float
from torch import Tensor

from bo.acquisition.fused import FusedLogEI
from surrogates.gp.map import MapGP

NAMES = ("logei", "lognei", "ucb")
BETA = 4.0
SAMPLES = 128
PRUNING_SAMPLES = 2048


def acquisition(
    name: str,
    model: Model,
    observed: Float[Tensor, "n d"],
    pending: Float[Tensor, "p d"] | None,
    *,
    seed: int,
) -> AcquisitionFunction:
    """The acquisition function of one more point.

    Args:
        name: one of `NAMES`.
        model: fitted to outcomes of which higher is better.
        observed: (n, d) the points it was fitted to.
        pending: (p, d) points under evaluation, or None.
        seed: of the Monte Carlo base samples.
    """
    if name == "logei" and isinstance(model, MapGP) and model.predictor is not None:
        return FusedLogEI(model, pending, seed=seed)
    sampler = SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=seed)
    if name == "lognei":
        # Pruned here: left to BoTorch, it would draw from torch's global generator.
        pruning = SobolQMCNormalSampler(torch.Size([PRUNING_SAMPLES]), seed=seed)
        kept = prune_inferior_points(model, observed, sampler=pruning)
        return qLogNoisyExpectedImprovement(
            model, kept, sampler=sampler, X_pending=pending, prune_baseline=False
        )
    if name == "ucb" and pending is None:
        return UpperConfidenceBound(model, beta=BETA)
    if name == "ucb":
        return qUpperConfidenceBound(model, beta=BETA, sampler=sampler, X_pending=pending)
    with torch.no_grad():
        best = cast(GPyTorchPosterior, model.posterior(observed)).mean.max()
    if pending is None:
        return LogExpectedImprovement(model, best_f=best)
    return qLogExpectedImprovement(model, best_f=best, sampler=sampler, X_pending=pending)
