"""Log expected improvement over an exact GP, in closed form with its gradient. CPU, float64.

Ament et al. (2023), "Unexpected Improvements to Expected Improvement", section 4.1: with
z = (mean(x) - best) / std(x), log EI = log h(z) + log std(x), h(z) = phi(z) + z Phi(z), evaluated
without cancellation for any z. The gradient follows by the chain rule: h'(z) = Phi(z).

Limits, such as outcome constraints or that an evaluation succeeds at all: EI times the probability
that each holds (Schonlau, Welch & Jones 1998, "Global versus Local Search in Constrained
Optimization of Computer Models"), the best mean taken where the models of the limits expect them to
hold. Departs from the paper where that is nowhere: the improvement is then over the worst mean, so
that the probabilities lead.

Pending points: the average over histories in which they have shown something, drawn from what the
models expect of them (Snoek, Larochelle & Adams 2012, "Practical Bayesian Optimization of Machine
Learning Algorithms", section 3.2). Given a history all is in closed form, so few are enough.
"""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.generation import gen
from botorch.models.transforms import Standardize
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import qmc
from torch import Tensor

from surrogates.compiled import compiled
from surrogates.gp import exact
from surrogates.gp.map import MapGP

Array = NDArray[np.float64]

HISTORIES = 32

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_SQRT_HALF = math.sqrt(0.5)
_BATCHED: Any = getattr(gen, "fmin_l_bfgs_b_batched", None)  # not with every SciPy
_FAR = -30.0  # below it, 1 + z Phi(z) / phi(z) loses too many digits


class Closed(AcquisitionFunction):
    """An acquisition function in closed form with its gradient, in numpy on the CPU."""

    @abc.abstractmethod
    def values(self, x: Array) -> Array:
        """Values (m,) at (m, d) columns."""

    @abc.abstractmethod
    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Value and gradient (d,) at one point (d,)."""

    def values_and_gradients(self, x: Array) -> tuple[Array, Array]:
        """Values (m,) and gradients (m, d) at (m, d) columns."""
        told = [self.value_and_gradient(row) for row in x]
        gradients = np.array([gradient for _, gradient in told]).reshape(x.shape)
        return np.array([value for value, _ in told]), gradients

    def forward(self, X: Float[Tensor, "b 1 d"]) -> Float[Tensor, " b"]:
        """Values at (b, 1, d) points."""
        return cast(Tensor, _WithGradient.apply(X, self))

    def climb(self, starts: Array, free: Sequence[int], *, max_iterations: int) -> Array:
        """L-BFGS-B from (s, d) points within the unit cube, in the free columns only.

        All at once, which costs no more evaluations than one by one and lets a function share the
        work among points; one by one where BoTorch cannot do that (another SciPy).
        """
        columns = np.array(free, dtype=np.int64)
        ends = starts.copy()

        def objective(part: Array, batch_indices: Sequence[int]) -> tuple[Array, Array]:
            x = starts[batch_indices]
            x[:, columns] = part
            values, gradients = self.values_and_gradients(x)
            return -values, -gradients[:, columns]

        bounds = [(0.0, 1.0)] * len(columns)
        if _BATCHED is not None:
            ends[:, columns], _, _ = _BATCHED(
                objective,
                starts[:, columns],
                bounds=bounds,
                maxiter=max_iterations,
                pass_batch_indices=True,
            )
            return ends
        for row, start in enumerate(starts):
            found = minimize(
                lambda part, row=row: tuple(told[0] for told in objective(part[None], [row])),
                start[columns],
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": max_iterations},
            )
            ends[row, columns] = found.x
        return ends


class Fused(Closed):
    """One over models with one set of hyperparameters each, that were fitted on the CPU.

    Args:
        models: of the goals.
        limits: of what is to be at least 0 at a point that counts.
        pending: (p, d) points under evaluation, or None.
        seed: of the histories that are imagined for pending points.
        histories: how many of them.
    """

    def __init__(
        self,
        models: Sequence[MapGP],
        limits: Sequence[MapGP],
        pending: Tensor | None,
        *,
        seed: int,
        histories: int,
    ) -> None:
        super().__init__(models[0])
        found = _predictors([*models, *limits], pending, seed, histories)
        self.predictors, self.limits = found[: len(models)], found[len(models) :]
        standards = [standard(model) for model in limits]
        self.thresholds = np.array([-float(s.means) / float(s.stdvs) for s in standards])

    def allowed(self) -> NDArray[np.bool_]:
        """(n, k) per history, at which of the points known the limits are expected to hold."""
        x = self.predictors[0].data.X
        holds = np.ones((len(x), self.predictors[0].outcomes.shape[1]), dtype=np.bool_)
        for limit, threshold in zip(self.limits, self.thresholds, strict=True):
            holds &= limit.moments(x)[0] >= threshold
        return holds

    def limit_moments(self, x: Array) -> tuple[Array, Array]:
        """How far within each limit, (m, c, k), at (m, d) columns, and with which std, (m, c)."""
        told = [limit.moments(x) for limit in self.limits]
        k = self.predictors[0].outcomes.shape[1]
        gaps, spreads = np.empty((len(x), len(told), k)), np.empty((len(x), len(told)))
        for at, (mean, var) in enumerate(told):
            gaps[:, at] = mean - self.thresholds[at]
            spreads[:, at] = np.sqrt(var)
        return gaps, spreads


class FusedLogEI(Fused):
    """Log expected improvement of one point over the best posterior mean at known points.

    Args:
        model: fitted on the CPU.
        pending: (p, d) points under evaluation, or None.
        limits: models, fitted on the CPU, of what is to be at least 0 at a point that counts.
        seed: of the histories that are imagined for pending points.
        margin: how far above the best mean improvement begins, in the units of the outcomes.
    """

    def __init__(
        self,
        model: MapGP,
        pending: Tensor | None,
        *,
        limits: Sequence[MapGP] = (),
        seed: int,
        margin: float = 0.0,
    ) -> None:
        super().__init__([model], limits, pending, seed=seed, histories=HISTORIES)
        (self.predictor,) = self.predictors
        mean, _ = self.predictor.moments(self.predictor.data.X)
        holds = self.allowed()
        best = np.where(holds, mean, -np.inf).max(axis=0)
        unit = float(standard(model).stdvs)
        self.best = np.where(holds.any(axis=0), best, mean.min(axis=0)) + margin / unit
        self.log_unit = math.log(unit / len(self.best))

    def values(self, x: Array) -> Array:
        """Values (m,) at (m, d) columns."""
        mean, var = self.predictor.moments(x)
        return _values(mean, np.sqrt(var), self.best, *self.limit_moments(x)) + self.log_unit

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Value and gradient (d,) at one point (d,)."""
        mean, var, to_mean, to_var = self.predictor.moments_and_gradients(x)
        std = math.sqrt(var)
        gaps, spreads, slopes = limit_slopes(self, x)
        value, by_mean, by_std, by_gap, by_spread = _slopes(mean, std, self.best, gaps, spreads)
        gradient = by_mean @ to_mean + by_std * to_var / (2.0 * std)
        return value + self.log_unit, gradient + slopes(by_gap, by_spread)


def limit_slopes(
    function: Fused, x: Array
) -> tuple[Array, Array, Callable[[Array, Array], Array | float]]:
    """Gaps (c, k) and spreads (c,) of the limits at one point, and the chain rule through them."""
    told = [limit.moments_and_gradients(x) for limit in function.limits]
    k = function.predictors[0].outcomes.shape[1]
    gaps, spreads = np.empty((len(told), k)), np.empty(len(told))
    for at, (mean, var, _, _) in enumerate(told):
        gaps[at] = mean - function.thresholds[at]
        spreads[at] = math.sqrt(var)

    def through(by_gap: Array, by_spread: Array) -> Array | float:
        pulls = [
            by_gap[at] @ to_mean + by_spread[at] * to_var / (2.0 * spreads[at])
            for at, (_, _, to_mean, to_var) in enumerate(told)
        ]
        return np.sum(pulls, axis=0) if pulls else 0.0

    return gaps, spreads, through


def _predictors(
    models: Sequence[MapGP], pending: Tensor | None, seed: int, histories: int
) -> list[exact.Predictor]:
    """Those of the models, given what they expect of pending points."""
    held = [model.predictor for model in models]
    predictors = [predictor for predictor in held if predictor is not None]
    assert len(predictors) == len(held)
    if pending is None:
        return predictors
    x = pending.detach().double().numpy()
    random = np.random.default_rng(seed)
    engines = [qmc.MultivariateNormalQMC(np.zeros(len(x)), rng=random) for _ in predictors]
    return [
        predictor.imagining(x, engine.random(histories))
        for predictor, engine in zip(predictors, engines, strict=True)
    ]


def standard(model: MapGP) -> Standardize:
    """The scale on which a model sees its outcomes."""
    transform = model.outcome_transform
    assert isinstance(transform, Standardize)
    return transform


class _WithGradient(torch.autograd.Function):
    """Lets torch differentiate what is computed without it."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, function: Closed) -> Tensor:
        x = X.detach().squeeze(1).double().numpy()
        if not ctx.needs_input_grad[0]:
            return torch.as_tensor(function.values(x), dtype=X.dtype, device=X.device)
        values, gradients = function.values_and_gradients(x)
        told = torch.as_tensor(gradients, dtype=X.dtype, device=X.device).reshape(X.shape)
        ctx.save_for_backward(told)
        return torch.as_tensor(values, dtype=X.dtype, device=X.device)

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
def log_cdf(z: float) -> tuple[float, float]:
    """log Phi(z) and its derivative, for any z."""
    if z > _FAR:
        below = 0.5 * math.erfc(-z * _SQRT_HALF)
        return math.log(below), math.exp(-0.5 * z * z - _LOG_SQRT_2PI) / below
    i = 1.0 / (z * z)
    ratio = -(1.0 - i * (1.0 - i * (3.0 - 15.0 * i))) / z  # Phi / phi
    return -0.5 * z * z - _LOG_SQRT_2PI + math.log(ratio), 1.0 / ratio


@compiled
def _slopes(
    mean: Array, std: float, best: Array, gaps: Array, spreads: Array
) -> tuple[float, Array, float, Array, Array]:
    """The log of the sum over the k histories of EI times the probabilities of the c limits.

    And its derivatives in the means (k,), in std, in the limits' gaps (c, k) and spreads (c,).
    """
    c, k = gaps.shape
    logs, slopes, by_std = np.empty(k), np.empty(k), np.empty(k)
    by_gap, by_spread = np.empty((c, k)), np.zeros(c)
    for i in range(k):
        z = (mean[i] - best[i]) / std
        value, slope = log_h(z)
        logs[i] = value + math.log(std)
        slopes[i] = slope / std
        by_std[i] = (1.0 - z * slope) / std
        for j in range(c):
            value, slope = log_cdf(gaps[j, i] / spreads[j])
            logs[i] += value
            by_gap[j, i] = slope / spreads[j]
    top, total, to_std = -math.inf, 0.0, 0.0
    for i in range(k):
        top = max(top, logs[i])
    for i in range(k):
        total += math.exp(logs[i] - top)
    for i in range(k):
        share = math.exp(logs[i] - top) / total
        slopes[i] *= share
        to_std += share * by_std[i]
        for j in range(c):
            by_gap[j, i] *= share
            by_spread[j] -= by_gap[j, i] * gaps[j, i] / spreads[j]
    return top + math.log(total), slopes, to_std, by_gap, by_spread


@compiled
def _values(mean: Array, std: Array, best: Array, gaps: Array, spreads: Array) -> Array:
    values = np.empty(len(std))
    for i in range(len(std)):
        values[i] = _slopes(mean[i], std[i], best, gaps[i], spreads[i])[0]
    return values
