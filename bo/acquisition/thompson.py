"""Thompson sampling: the value of one function that is drawn from the model's posterior.

Kandasamy et al. (2018), "Parallelised Bayesian Optimisation via Thompson Sampling": every point of
a batch maximises a draw of its own, so pending points need no further care.

Limits are drawn as well: where one does not hold the score is below all others, and falls with the
sum of the violations (Eriksson & Poloczek 2021, "Scalable Constrained Bayesian Optimization").
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from botorch.acquisition import AcquisitionFunction
from botorch.models.model import Model
from jaxtyping import Float
from torch import Tensor

_BELOW_ALL = 100.0  # standard deviations


class ThompsonSample(AcquisitionFunction):
    """What a drawn function is worth at a point, in units of how much it varies.

    Args:
        goal: a model with the capability `paths`.
        limits: such models of what is to be at least 0 at a point that counts.
        observed: (n, d) the points that have outcomes.
        seed: of the draws.
    """

    def __init__(
        self, goal: Model, limits: Sequence[Model], observed: Float[Tensor, "n d"], *, seed: int
    ) -> None:
        super().__init__(goal)
        generator = torch.Generator(device="cpu").manual_seed(seed)
        models: list[Any] = [goal, *limits]
        self.paths: list[Callable[[Tensor], Tensor]] = [m.draw_path(generator) for m in models]
        told = torch.stack([path(observed) for path in self.paths])
        units = told.std(dim=1)
        self.units = torch.where(units > 0, units, 1.0)
        self.centre = told[0].mean()

    def forward(self, X: Float[Tensor, "b 1 d"]) -> Float[Tensor, " b"]:
        """Values at (b, 1, d) points."""
        x = X.squeeze(-2)
        value = (self.paths[0](x) - self.centre) / self.units[0]
        missing = torch.zeros_like(value)
        for limit, unit in zip(self.paths[1:], self.units[1:], strict=True):
            missing = missing + (-limit(x) / unit).clamp_min(0.0)
        return torch.where(missing > 0, -_BELOW_ALL - missing, value)
