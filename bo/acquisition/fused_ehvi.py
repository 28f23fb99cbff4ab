"""Log expected hypervolume improvement over exact GPs, in closed form with its gradient. CPU.

Yang, Emmerich, Deutz & Bäck (2019), "Efficient computation of expected hypervolume improvement
using box decomposition algorithms", theorem 1, for any number of goals: the region that no known
point dominates is cut into boxes (BoTorch does that, Lacour, Klamroth & Fonseca 2017), and the
expected volume gained in a box with lower corner l and upper corner u is the product over the goals
of psi(l) - psi(u), psi(a) the expected improvement over a. Summed in logarithms, as Ament et al.
(2023) do for one goal, so that it has a slope where there is next to nothing to gain.

The front is that of the posterior means at known points, where the limits are expected to hold.
Limits and pending points count as in `bo/acquisition/fused.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from numpy.typing import NDArray
from torch import Tensor

from bo.acquisition.fused import Array, Fused, limit_slopes, log_cdf, log_h, standard
from surrogates.compiled import compiled
from surrogates.gp.map import MapGP

HISTORIES = 8


class FusedLogEHVI(Fused):
    """Log expected hypervolume improvement of one point over the front of the posterior means.

    Args:
        models: one per goal, fitted on the CPU.
        reference: in the units that they were fitted to.
        pending: (p, d) points under evaluation, or None.
        limits: models, fitted on the CPU, of what is to be at least 0 at a point that counts.
        seed: of the histories that are imagined for pending points.
    """

    def __init__(
        self,
        models: Sequence[MapGP],
        reference: Sequence[float],
        pending: Tensor | None,
        *,
        limits: Sequence[MapGP] = (),
        seed: int,
    ) -> None:
        super().__init__(models, limits, pending, seed=seed, histories=HISTORIES)
        scales = [standard(model) for model in models]
        units = np.array([float(scale.stdvs) for scale in scales])
        centres = np.array([float(scale.means) for scale in scales])
        corner = (np.array(reference) - centres) / units
        x = self.predictors[0].data.X
        means = np.stack([each.moments(x)[0] for each in self.predictors], axis=-1)
        holds = self.allowed()
        boxes = [undominated(means[holds[:, h], h], corner) for h in range(means.shape[1])]
        self.lower = np.concatenate([lower for lower, _ in boxes])
        self.upper = np.concatenate([upper for _, upper in boxes])
        self.history = np.repeat(np.arange(len(boxes)), [len(lower) for lower, _ in boxes])
        self.log_unit = float(np.log(units).sum()) - math.log(len(boxes))

    def values(self, x: Array) -> Array:
        """Values (m,) at (m, d) columns."""
        told = [each.moments(x) for each in self.predictors]
        means = np.stack([mean for mean, _ in told], axis=1)
        stds = np.sqrt(np.stack([var for _, var in told], axis=1))
        gaps, spreads = self.limit_moments(x)
        k = means.shape[2]
        stds, spreads = (np.repeat(each[:, :, None], k, axis=2) for each in (stds, spreads))
        cells = (self.lower, self.upper, self.history)
        return hypervolumes(means, stds, *cells, gaps, spreads) + self.log_unit

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Value and gradient (d,) at one point (d,)."""
        told = [each.moments_and_gradients(x) for each in self.predictors]
        means = np.stack([mean for mean, _, _, _ in told])
        stds = np.sqrt(np.array([var for _, var, _, _ in told]))
        gaps, spreads, through = limit_slopes(self, x)
        k = means.shape[1]
        value, by_mean, by_std, by_gap, by_spread = hypervolume_slopes(
            means,
            np.repeat(stds[:, None], k, axis=1),
            self.lower,
            self.upper,
            self.history,
            gaps,
            np.repeat(spreads[:, None], k, axis=1),
        )
        gradient = through(by_gap, by_spread.sum(axis=1)) + np.sum(
            [
                by_mean[j] @ to_mean + by_std[j].sum() * to_var / (2.0 * stds[j])
                for j, (_, _, to_mean, to_var) in enumerate(told)
            ],
            axis=0,
        )
        return value + self.log_unit, gradient


def undominated(means: Array, corner: Array) -> tuple[Array, Array]:
    """Lower and upper corners (K, m) of what the means (n, m) do not dominate."""
    known = torch.as_tensor(means if len(means) else corner[None])
    cut = FastNondominatedPartitioning(ref_point=torch.as_tensor(corner), Y=known)
    lower, upper = cut.get_hypercell_bounds().numpy()
    return np.ascontiguousarray(lower), np.ascontiguousarray(upper)


@compiled
def hypervolume_slopes(
    means: Array,
    stds: Array,
    lower: Array,
    upper: Array,
    history: NDArray[np.int64],
    gaps: Array,
    spreads: Array,
) -> tuple[float, Array, Array, Array, Array]:
    """The log of the sum over histories and boxes of the expected gain times the limits' odds.

    And its derivatives in the means and stds (m, k), gaps and spreads (c, k) of each history.
    """
    m, k = means.shape
    c = len(gaps)
    boxes = len(lower)
    odds = np.zeros(k)
    pulls = np.empty((c, k))
    for h in range(k):
        for i in range(c):
            value, slope = log_cdf(gaps[i, h] / spreads[i, h])
            odds[h] += value
            pulls[i, h] = slope / spreads[i, h]
    logs = np.empty(boxes)
    to_mean, to_std = np.empty((boxes, m)), np.empty((boxes, m))
    for b in range(boxes):
        h = history[b]
        logs[b] = odds[h]
        for j in range(m):
            z = (means[j, h] - lower[b, j]) / stds[j, h]
            gain, slope = log_h(z)
            by_mean, by_std = slope, 1.0 - z * slope
            if upper[b, j] < np.inf:
                z = (means[j, h] - upper[b, j]) / stds[j, h]
                beyond, slope = log_h(z)
                ratio = min(math.exp(beyond - gain), 1.0 - 1e-12)
                by_mean = (by_mean - ratio * slope) / (1.0 - ratio)
                by_std = (by_std - ratio * (1.0 - z * slope)) / (1.0 - ratio)
                gain += math.log1p(-ratio)
            logs[b] += gain + math.log(stds[j, h])
            to_mean[b, j] = by_mean / stds[j, h]
            to_std[b, j] = by_std / stds[j, h]
    top, total = -math.inf, 0.0
    for b in range(boxes):
        top = max(top, logs[b])
    for b in range(boxes):
        total += math.exp(logs[b] - top)
    by_means, by_stds = np.zeros((m, k)), np.zeros((m, k))
    of_history = np.zeros(k)
    for b in range(boxes):
        share = math.exp(logs[b] - top) / total
        of_history[history[b]] += share
        for j in range(m):
            by_means[j, history[b]] += share * to_mean[b, j]
            by_stds[j, history[b]] += share * to_std[b, j]
    by_spread = np.empty((c, k))
    for i in range(c):
        for h in range(k):
            pulls[i, h] *= of_history[h]
            by_spread[i, h] = -pulls[i, h] * gaps[i, h] / spreads[i, h]
    return top + math.log(total), by_means, by_stds, pulls, by_spread


@compiled
def hypervolumes(
    means: Array,
    stds: Array,
    lower: Array,
    upper: Array,
    history: NDArray[np.int64],
    gaps: Array,
    spreads: Array,
) -> Array:
    values = np.empty(len(stds))
    for i in range(len(stds)):
        values[i] = hypervolume_slopes(
            means[i], stds[i], lower, upper, history, gaps[i], spreads[i]
        )[0]
    return values
