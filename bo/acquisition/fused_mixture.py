"""Log expected improvement averaged over draws of a GP's hyperparameters, in closed form. CPU.

Snoek, Larochelle & Adams (2012), "Practical Bayesian Optimization of Machine Learning Algorithms",
section 3.1: the expected improvement, integrated over the hyperparameters. For each draw it is that
of `bo/acquisition/fused.py`, over the draw's own best mean at known points; here is the logarithm
of their average, and its gradient.

Limits: for each draw, times the probability that each holds by a draw of its own.

Pending points: each draw is given values there that are drawn from what it expects, one for each
(their section 3.2, with as many fantasies as draws). They are values of f, without noise, so that
nothing is to be gained where a point is under evaluation already.

Weights of the draws count as they are; with limits or pending points each draw is taken as often as
it weighs instead, since the draws of several models, and what they imagine, go in pairs.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from linear_operator import to_dense
from scipy.stats import qmc
from torch import Tensor

from bo.acquisition.fused import Array, Closed, log_cdf, log_h
from surrogates.compiled import compiled
from surrogates.gp.hyperposterior import MEAN_VAR
from surrogates.gp.lanes import exp
from surrogates.gp.mixture import MixtureGP
from surrogates.gp.mixture_draws import factor_of

_SQRT5 = math.sqrt(5.0)


class FusedMixtureLogEI(Closed):
    """Log expected improvement of one point, averaged over the draws of the model.

    Args:
        model: of the goal, on the CPU.
        pending: (p, d) points under evaluation, or None.
        limits: of what is to be at least 0 at a point that counts; as many draws each as the model.
        seed: of the outcomes that are imagined for pending points.
        margin: how far above the best mean improvement begins, in the units of the outcomes.
    """

    def __init__(
        self,
        model: MixtureGP,
        pending: Tensor | None,
        *,
        limits: Sequence[MixtureGP] = (),
        seed: int,
        margin: float = 0.0,
    ) -> None:
        super().__init__(model)
        random = np.random.default_rng(seed)
        if limits or pending is not None:
            model, limits = model.equal, [each.equal for each in limits]
        held = [imagining(each, pending, random) for each in (model, *limits)]
        self.goal, *self.limits = (Mixture(each) for each in held)
        self.thresholds = np.array([-each.centre / each.unit for each in limits])
        known = self.goal.inputs
        mean, _ = self.goal.moments(known)
        holds = np.ones(mean.shape, dtype=np.bool_)
        for limit, threshold in zip(self.limits, self.thresholds, strict=True):
            holds &= limit.moments(known)[0] >= threshold
        best = np.where(holds, mean, -np.inf).max(axis=1)
        self.best = np.where(holds.any(axis=1), best, mean.min(axis=1)) + margin / model.unit
        self.log_unit = math.log(model.unit)
        with np.errstate(divide="ignore"):
            self.log_weights = np.log(model.weights.double().numpy())

    def values(self, x: Array) -> Array:
        """Values (m,) at (m, d) columns."""
        mean, var = self.goal.moments(x)
        logs = _log_improvements(mean, np.sqrt(var), self.best) + self.log_weights[:, None]
        for limit, threshold in zip(self.limits, self.thresholds, strict=True):
            mean, var = limit.moments(x)
            logs += _log_chances((mean - threshold) / np.sqrt(var))
        top = logs.max(axis=0)
        return top + np.log(np.exp(logs - top).sum(axis=0)) + self.log_unit

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Value and gradient (d,) at one point (d,)."""
        values, gradients = self.values_and_gradients(x[None])
        return float(values[0]), gradients[0]

    def values_and_gradients(self, x: Array) -> tuple[Array, Array]:
        """Values (m,) and gradients (m, d) at (m, d) columns."""
        mean, var, to_mean, to_var = self.goal.slopes(x)
        std = np.sqrt(var)
        logs, by_mean, by_std = _improvement_slopes(mean, std, self.best)
        logs += self.log_weights[:, None]
        slopes = by_mean[..., None] * to_mean + (by_std / (2.0 * std))[..., None] * to_var
        for limit, threshold in zip(self.limits, self.thresholds, strict=True):
            mean, var, to_mean, to_var = limit.slopes(x)
            std = np.sqrt(var)
            more, by_z = _chance_slopes((mean - threshold) / std)
            logs += more
            slopes += (by_z / std)[..., None] * (
                to_mean - ((mean - threshold) / (2.0 * var))[..., None] * to_var
            )
        top = logs.max(axis=0)
        share = np.exp(logs - top)
        total = share.sum(axis=0)
        gradients = np.einsum("sm,smd->md", share / total, slopes)
        return top + np.log(total) + self.log_unit, gradients


class Mixture:
    """What a mixture predicts, in standardised units, draw by draw."""

    def __init__(self, model: MixtureGP) -> None:
        s, n = model.alpha.shape
        self.matern = model.data.matern
        self.lengthscale = model.lengthscale.double().numpy()
        self.signal_var = model.signal_var.double().numpy()
        self.alpha = model.alpha.double().numpy()
        factor = model.factor.double()
        eye = torch.eye(n, dtype=factor.dtype, device=factor.device).expand(s, n, n)
        root = torch.linalg.solve_triangular(factor, eye, upper=False)
        self.root = np.ascontiguousarray(root.numpy())  # (S, n, n), L^-1
        self.inverse = np.ascontiguousarray((root.mT @ root).numpy())
        self.inputs = np.ascontiguousarray(model.inputs.double().numpy().reshape(n, -1))

    def moments(self, x: Array) -> tuple[Array, Array]:
        """Means and variances (S, m) at (m, d) columns."""
        return _moments(
            np.ascontiguousarray(x),
            self.inputs,
            self.lengthscale,
            self.signal_var,
            self.alpha,
            self.root,
            self.matern,
        )

    def slopes(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """Means and variances (S, m) at (m, d) columns, and their gradients (S, m, d)."""
        return _slopes(
            np.ascontiguousarray(x),
            self.inputs,
            self.lengthscale,
            self.signal_var,
            self.alpha,
            self.inverse,
            self.matern,
        )


def imagining(model: MixtureGP, pending: Tensor | None, random: np.random.Generator) -> MixtureGP:
    """The model with values at pending points, drawn for each draw of what it expects."""
    if pending is None:
        return model
    normal = qmc.MultivariateNormalQMC(np.zeros(len(pending)), rng=random)
    z = torch.as_tensor(normal.random(model.num_mcmc_samples)).to(pending)
    with torch.no_grad():
        told = model.posterior(pending)
        covariance = to_dense(told.covariance_matrix)
        covariance = covariance + torch.diag_embed(1e-9 * told.variance[..., 0])
        # Of points that nearly coincide it takes more: what is rounded is prior variances.
        factor = factor_of(covariance, model.unit**2 * (model.signal_var + MEAN_VAR))
        outcomes = told.mean + factor @ z.unsqueeze(-1)
        return model.condition_on_observations(pending, outcomes, 1e-6 * told.variance)


@compiled
def _moments(
    x: Array,
    inputs: Array,
    lengthscale: Array,
    signal_var: Array,
    alpha: Array,
    root: Array,
    matern: bool,
) -> tuple[Array, Array]:
    (draws, n), (m, d) = alpha.shape, x.shape
    mean, var = np.empty((draws, m)), np.empty((draws, m))
    columns = np.ascontiguousarray(x.T)
    k, half = np.empty((n, m)), np.empty((n, m))
    r, decay, bits = np.empty(m), np.empty(m), np.empty(m)
    for s in range(draws):
        weight = lengthscale[s] ** -2.0
        prior = signal_var[s] + MEAN_VAR
        for i in range(n):
            squared = k[i]
            squared[:] = 0.0
            for c in range(d):
                for j in range(m):
                    difference = columns[c, j] - inputs[i, c]
                    squared[j] += difference * difference * weight[c]
            if matern:
                for j in range(m):
                    r[j] = _SQRT5 * math.sqrt(squared[j])
                    decay[j] = -r[j]
                exp(decay, bits, m)
                for j in range(m):
                    decay[j] *= 1.0 + r[j] + r[j] * r[j] / 3.0
            else:
                for j in range(m):
                    decay[j] = -0.5 * squared[j]
                exp(decay, bits, m)
            for j in range(m):
                k[i, j] = signal_var[s] * decay[j] + MEAN_VAR
        np.dot(alpha[s], k, mean[s])
        np.dot(root[s], k, half)
        left = var[s]
        left[:] = prior
        for i in range(n):
            for j in range(m):
                left[j] -= half[i, j] * half[i, j]
        for j in range(m):
            left[j] = max(left[j], 1e-12 * prior)
    return mean, var


@compiled
def _slopes(
    x: Array,
    inputs: Array,
    lengthscale: Array,
    signal_var: Array,
    alpha: Array,
    inverse: Array,
    matern: bool,
) -> tuple[Array, Array, Array, Array]:
    (draws, n), (m, d) = alpha.shape, x.shape
    mean, var = np.empty((draws, m)), np.empty((draws, m))
    to_mean, to_var = np.empty((draws, m, d)), np.empty((draws, m, d))
    columns = np.ascontiguousarray(inputs.T)
    k, slope, solved = np.empty((m, n)), np.empty((m, n)), np.empty((m, n))
    decay, bits = np.empty(m * n), np.empty(m * n)
    pulls = np.empty((2 * m, n))  # of every input on the mean, then on the variance
    sums = np.empty((2 * m, d))
    for s in range(draws):
        weight = lengthscale[s] ** -2.0
        prior = signal_var[s] + MEAN_VAR
        for j in range(m):
            squared = slope[j]
            squared[:] = 0.0
            for c in range(d):
                for i in range(n):
                    difference = x[j, c] - columns[c, i]
                    squared[i] += difference * difference * weight[c]
        far = slope.reshape(m * n)
        if matern:
            for i in range(m * n):
                far[i] = _SQRT5 * math.sqrt(far[i])
                decay[i] = -far[i]
        else:
            for i in range(m * n):
                decay[i] = -0.5 * far[i]
        exp(decay, bits, m * n)
        seen = k.reshape(m * n)
        if matern:
            for i in range(m * n):
                r, decayed = far[i], signal_var[s] * decay[i]
                seen[i] = (1.0 + r + r * r / 3.0) * decayed + MEAN_VAR
                far[i] = -5.0 / 6.0 * (1.0 + r) * decayed
        else:
            for i in range(m * n):
                decayed = signal_var[s] * decay[i]
                seen[i] = decayed + MEAN_VAR
                far[i] = -0.5 * decayed
        np.dot(k, alpha[s], mean[s])
        np.dot(k, inverse[s], solved)
        for j in range(m):
            left = prior
            for i in range(n):
                left -= solved[j, i] * k[j, i]
                pulls[j, i] = 2.0 * slope[j, i] * alpha[s, i]
                pulls[m + j, i] = -4.0 * slope[j, i] * solved[j, i]
            var[s, j] = max(left, 1e-12 * prior)
        np.dot(pulls, inputs, sums)
        for j in range(m):
            all_mean, all_var = pulls[j].sum(), pulls[m + j].sum()
            for c in range(d):
                to_mean[s, j, c] = weight[c] * (x[j, c] * all_mean - sums[j, c])
                to_var[s, j, c] = weight[c] * (x[j, c] * all_var - sums[m + j, c])
    return mean, var, to_mean, to_var


@compiled
def _log_improvements(mean: Array, std: Array, best: Array) -> Array:
    logs = np.empty(mean.shape)
    for s in range(mean.shape[0]):
        for j in range(mean.shape[1]):
            value, _ = log_h((mean[s, j] - best[s]) / std[s, j])
            logs[s, j] = value + math.log(std[s, j])
    return logs


@compiled
def _log_chances(z: Array) -> Array:
    logs = np.empty(z.shape)
    for s in range(z.shape[0]):
        for j in range(z.shape[1]):
            logs[s, j] = log_cdf(z[s, j])[0]
    return logs


@compiled
def _improvement_slopes(mean: Array, std: Array, best: Array) -> tuple[Array, Array, Array]:
    logs, by_mean, by_std = np.empty(mean.shape), np.empty(mean.shape), np.empty(mean.shape)
    for s in range(mean.shape[0]):
        for j in range(mean.shape[1]):
            z = (mean[s, j] - best[s]) / std[s, j]
            value, slope = log_h(z)
            logs[s, j] = value + math.log(std[s, j])
            by_mean[s, j] = slope / std[s, j]
            by_std[s, j] = (1.0 - z * slope) / std[s, j]
    return logs, by_mean, by_std


@compiled
def _chance_slopes(z: Array) -> tuple[Array, Array]:
    logs, slopes = np.empty(z.shape), np.empty(z.shape)
    for s in range(z.shape[0]):
        for j in range(z.shape[1]):
            logs[s, j], slopes[s, j] = log_cdf(z[s, j])
    return logs, slopes
