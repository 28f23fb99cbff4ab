"""Log expected improvement over an exact GP, in closed form with its gradient. CPU, float64.

Ament et al. (2023), "Unexpected Improvements to Expected Improvement", section 4.1: with
z = (mean(x) - best) / std(x), log EI = log h(z) + log std(x), h(z) = phi(z) + z Phi(z), evaluated
without cancellation for any z. The gradient follows by the chain rule: h'(z) = Phi(z).

Pending points: the average of EI over histories in which they have shown something, drawn from what
the model expects of them (Snoek, Larochelle & Adams 2012, "Practical Bayesian Optimization of
Machine Learning Algorithms", section 3.2). Given a history EI is in closed form, so few are enough.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.models.transforms import Standardize
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import qmc
from torch import Tensor

from surrogates.compiled import compiled
from surrogates.gp.map import MapGP

Array = NDArray[np.float64]

HISTORIES = 32

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_SQRT_HALF = math.sqrt(0.5)
_FAR = -30.0  # below it, 1 + z Phi(z) / phi(z) loses too many digits


class FusedLogEI(AcquisitionFunction):
    """Log expected improvement of one point over the best posterior mean at known points.

    Args:
        model: fitted on the CPU.
        pending: (p, d) points under evaluation, or None.
        seed: of the histories that are imagined for these.
    """

    def __init__(self, model: MapGP, pending: Tensor | None, *, seed: int) -> None:
        super().__init__(model)
        assert model.predictor is not None
        self.predictor = model.predictor
        if pending is not None:
            x = pending.detach().double().numpy()
            engine = qmc.MultivariateNormalQMC(np.zeros(len(x)), rng=np.random.default_rng(seed))
            self.predictor = self.predictor.imagining(x, engine.random(HISTORIES))
        self.best = self.predictor.moments(self.predictor.data.X)[0].max(axis=0)
        transform = model.outcome_transform
        assert isinstance(transform, Standardize)
        self.log_unit = math.log(float(transform.stdvs) / len(self.best))

    def forward(self, X: Float[Tensor, "b 1 d"]) -> Float[Tensor, " b"]:
        """Values at (b, 1, d) points."""
        return cast(Tensor, _WithGradient.apply(X, self))

    def values(self, x: Array) -> Array:
        """Values (m,) at (m, d) columns."""
        mean, var = self.predictor.moments(x)
        return _values(mean, np.sqrt(var), self.best) + self.log_unit

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Value and gradient (d,) at one point (d,)."""
        mean, var, to_mean, to_var = self.predictor.moments_and_gradients(x)
        std = math.sqrt(var)
        value, by_mean, by_std = _slopes(mean, std, self.best)
        return value + self.log_unit, by_mean @ to_mean + by_std * to_var / (2.0 * std)

    def climb(self, start: Array, free: Sequence[int], *, max_iterations: int) -> Array:
        """L-BFGS-B from one point (d,) within the unit cube, in the free columns only."""
        columns = np.array(free, dtype=np.int64)
        x = start.copy()

        def objective(part: Array) -> tuple[float, Array]:
            x[columns] = part
            value, gradient = self.value_and_gradient(x)
            return -value, -gradient[columns]

        found = minimize(
            objective,
            start[columns],
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * len(columns),
            options={"maxiter": max_iterations},
        )
        x[columns] = found.x
        return x


class _WithGradient(torch.autograd.Function):
    """Lets torch differentiate what is computed without it."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, function: FusedLogEI) -> Tensor:
        x = X.detach().squeeze(1).double().numpy()
        if not ctx.needs_input_grad[0]:
            return torch.as_tensor(function.values(x), dtype=X.dtype, device=X.device)
        told = [function.value_and_gradient(row) for row in x]
        gradients = np.array([gradient for _, gradient in told]).reshape(X.shape)
        ctx.save_for_backward(torch.as_tensor(gradients, dtype=X.dtype, device=X.device))
        values = [value for value, _ in told]
        return torch.tensor(values, dtype=X.dtype, device=X.device)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (gradients,) = ctx.saved_tensors
        return upstream[0][:, None, None] * gradients, None


@compiled
def log_h(z: float) -> tuple[float, float]:
    """log(phi(z) + z Phi(z)) and its derivative, for any z."""
    if z > -1.0:
        below = 0.5 * math.erfc(-z * _SQRT_HALF)
        h = math.exp(-0.5 * z * z - _LOG_SQRT_2PI) + z * below
        return math.log(h), below / h
    if z > _FAR:
        ratio = 0.5 * math.erfc(-z * _SQRT_HALF) * math.exp(0.5 * z * z + _LOG_SQRT_2PI)
        rest = 1.0 + z * ratio
    else:
        i = 1.0 / (z * z)
        ratio = -(1.0 - i * (1.0 - i * (3.0 - 15.0 * i))) / z  # Phi / phi
        rest = i * (1.0 - i * (3.0 - i * (15.0 - 105.0 * i)))
    return -0.5 * z * z - _LOG_SQRT_2PI + math.log(rest), ratio / rest


@compiled
def _slopes(mean: Array, std: float, best: Array) -> tuple[float, Array, float]:
    """The log of the sum of EI over the histories, and its derivatives in the means and in std."""
    k = len(mean)
    logs, slopes, by_std = np.empty(k), np.empty(k), np.empty(k)
    for i in range(k):
        z = (mean[i] - best[i]) / std
        value, slope = log_h(z)
        logs[i] = value + math.log(std)
        slopes[i] = slope / std
        by_std[i] = (1.0 - z * slope) / std
    top = logs.max()
    shares = np.exp(logs - top)
    total = shares.sum()
    return top + math.log(total), shares * slopes / total, (shares * by_std).sum() / total


@compiled
def _values(mean: Array, std: Array, best: Array) -> Array:
    values = np.empty(len(std))
    for i in range(len(std)):
        values[i] = _slopes(mean[i], std[i], best)[0]
    return values
