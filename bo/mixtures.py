"""What a mixture over draws of hyperparameters says beyond its mean and variance. No paper.

A mixture of normals, one of each draw, is no normal: its band lies between its own quantiles. They
are found by bisection of its distribution function, between the least and the greatest quantile of
its parts.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from botorch.models.model import Model
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from botorch.utils.transforms import is_fully_bayesian
from linear_operator.utils.warnings import NumericalWarning
from scipy.special import ndtr, ndtri

from bo.space import Array

TWO_SD = (0.022750131948179195, 0.9772498680518208)
"""Of a normal, the shares below two standard deviations either way."""
LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
"""At which predictions are kept: ends of the middle 95, 80 and 50 %, and the median."""
_HALVINGS = 14
_CHUNK = 2048


class Components(NamedTuple):
    """What the draws predict one by one, and what their mixture does.

    Attributes:
        mean: (draws, n) expectations; in quantiles all draws count the same.
        std: (draws, n) standard deviations.
        moments: (n,) mean and variance of the mixture, as the model itself tells them.
    """

    mean: Array
    std: Array
    moments: tuple[Array, Array]

    def quantile(self, level: float) -> Array:
        """(n,) the values below which so large a share of the mixture lies."""
        std = np.maximum(self.std, 1e-300)
        ends = self.mean + float(ndtri(level)) * std
        low, high = ends.min(axis=0), ends.max(axis=0)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            below = ndtr((middle - self.mean) / std).mean(axis=0) < level
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)


def components(model: Model, x: torch.Tensor, *, noise: bool = False) -> Components | None:
    """Of a model that is a mixture, at (n, 1, d) columns; None of another one."""
    if not is_fully_bayesian(model):
        return None
    told: list[tuple[Array, ...]] = []
    with torch.no_grad(), warnings.catch_warnings(action="ignore", category=NumericalWarning):
        for chunk in x.split(_CHUNK):
            seen = model.posterior(chunk, observation_noise=noise)
            if not isinstance(seen, GaussianMixturePosterior):  # of fantasies, say
                return None
            parts = (seen.mean, seen.variance, seen.mixture_mean, seen.mixture_variance)
            told.append(
                tuple(part.reshape(len(chunk), -1).cpu().double().numpy() for part in parts)
            )
    mean, var, centre, spread = (np.concatenate(each) for each in zip(*told, strict=True))
    moments = centre[:, 0], np.maximum(spread[:, 0], 0.0)
    return Components(mean.T, np.sqrt(np.maximum(var, 0.0)).T, moments)


def normal_score(outcome: float, quantiles: Array) -> float:
    """Of what share of a prediction lies below an outcome, the normal quantile.

    Straight between the kept quantiles, and beyond them on as their outermost two.
    """
    scores = ndtri(np.array(LEVELS))
    at = int(np.clip(np.searchsorted(quantiles, outcome), 1, len(LEVELS) - 1))
    over, width = outcome - quantiles[at - 1], quantiles[at] - quantiles[at - 1]
    if not width > 0:  # a prediction without any doubt
        return math.copysign(math.inf, over) if over else 0.0
    return float(scores[at - 1] + over / width * (scores[at] - scores[at - 1]))
