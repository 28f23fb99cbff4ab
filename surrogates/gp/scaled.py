"""Normal distributions whose least variance is a share of the outcomes' own. No paper.

GPyTorch rounds variances up to 1e-10 (1e-6 in float32) whatever the unit, which is all of the
variance where outcomes differ by 1e-6 (1e-4).
"""

from typing import cast

import torch
from gpytorch import settings
from gpytorch.distributions import MultivariateNormal
from jaxtyping import Float
from linear_operator import LinearOperator
from torch import Tensor


class ScaledNormal(MultivariateNormal):
    """GPyTorch's, with its least variance in standardised units.

    Args:
        mean: (..., q).
        covariance_matrix: (..., q, q).
        unit: standard deviation of the outcomes, a number or of one element; what GPyTorch makes
            of a distribution, a sum or a part, has the unit 1.
    """

    def __init__(
        self, mean: Tensor, covariance_matrix: Tensor | LinearOperator, unit: float | Tensor = 1.0
    ) -> None:
        super().__init__(mean, covariance_matrix)
        self.unit = unit

    @property
    def variance(self) -> Float[Tensor, "*b q"]:
        """At least 1e-10 (1e-6 in float32) of the unit squared."""
        told = self.lazy_covariance_matrix.diagonal(dim1=-1, dim2=-2).expand(self.mean.shape)
        least = cast(float, settings.min_variance.value(told.dtype)) * self.unit**2
        return told.maximum(torch.as_tensor(least, dtype=told.dtype, device=told.device))


def in_unit_of(made: MultivariateNormal, told: ScaledNormal) -> ScaledNormal:
    """What a linear transform made of a distribution, with the unit that goes with it."""
    covariance = made.lazy_covariance_matrix
    most = covariance.diagonal(dim1=-1, dim2=-2).detach().amax().clamp_min(0.0)
    share = most / told.variance.detach().amax()
    return ScaledNormal(made.mean, covariance, told.unit * share.sqrt())
