"""Log expected hypervolume improvement averaged over draws of hyperparameters, in closed form. CPU.

That of `bo/acquisition/fused_ehvi.py` (Yang, Emmerich, Deutz & Bäck 2019) under each draw, over the
front of the draw's own posterior means at known points, averaged as Snoek, Larochelle & Adams
(2012) average expected improvement: here is the logarithm of the average, and its gradient. The
draws of the goals, and of the limits, go in pairs, each taken as often as it weighs. Limits and
pending points count as in `bo/acquisition/fused_mixture.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from bo.acquisition.fused import Array, Closed
from bo.acquisition.fused_ehvi import hypervolume_slopes, hypervolumes, undominated
from bo.acquisition.fused_mixture import Mixture, imagining
from surrogates.gp.mixture import MixtureGP

DRAWS = 32


class FusedMixtureLogEHVI(Closed):
    """Log expected hypervolume improvement of one point, averaged over at most `DRAWS` draws.

    Args:
        models: one per goal, on the CPU, of as many draws each.
        reference: in the units that they were fitted to.
        pending: (p, d) points under evaluation, or None.
        limits: of what is to be at least 0 at a point that counts; as many draws each.
        seed: of the outcomes that are imagined for pending points.
    """

    def __init__(
        self,
        models: Sequence[MixtureGP],
        reference: Sequence[float],
        pending: Tensor | None,
        *,
        limits: Sequence[MixtureGP] = (),
        seed: int,
    ) -> None:
        super().__init__(models[0])
        random = np.random.default_rng(seed)
        held = [each.thinned(min(DRAWS, len(each.draws))) for each in (*models, *limits)]
        mixtures = [Mixture(imagining(each, pending, random)) for each in held]
        self.goals, self.limits = mixtures[: len(models)], mixtures[len(models) :]
        self.thresholds = np.array([-each.centre / each.unit for each in limits])
        units = np.array([model.unit for model in models])
        corner = (np.array(reference) - np.array([model.centre for model in models])) / units
        known = self.goals[0].inputs
        means = np.stack([goal.moments(known)[0] for goal in self.goals], axis=-1)
        holds = np.ones(means.shape[:2], dtype=np.bool_)
        for limit, threshold in zip(self.limits, self.thresholds, strict=True):
            holds &= limit.moments(known)[0] >= threshold
        boxes = [undominated(mean[ok], corner) for mean, ok in zip(means, holds, strict=True)]
        self.lower = np.concatenate([lower for lower, _ in boxes])
        self.upper = np.concatenate([upper for _, upper in boxes])
        self.draw = np.repeat(np.arange(len(boxes)), [len(lower) for lower, _ in boxes])
        self.log_unit = float(np.log(units).sum()) - math.log(len(boxes))

    def values(self, x: Array) -> Array:
        """Values (m,) at (m, d) columns."""
        means, stds = _stacked([goal.moments(x) for goal in self.goals], x, 0)
        gaps, spreads = _stacked([limit.moments(x) for limit in self.limits], x, means.shape[2])
        gaps = gaps - self.thresholds[:, None]
        cells = (self.lower, self.upper, self.draw)
        return hypervolumes(means, stds, *cells, gaps, spreads) + self.log_unit

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Value and gradient (d,) at one point (d,)."""
        goals = [[told[:, 0] for told in goal.slopes(x[None])] for goal in self.goals]
        limits = [[told[:, 0] for told in limit.slopes(x[None])] for limit in self.limits]
        means = np.stack([told[0] for told in goals])
        stds = np.sqrt(np.stack([told[1] for told in goals]))
        gaps, spreads = np.empty((2, len(limits), means.shape[1]))
        for at, told in enumerate(limits):
            gaps[at], spreads[at] = told[0] - self.thresholds[at], np.sqrt(told[1])
        value, by_mean, by_std, by_gap, by_spread = hypervolume_slopes(
            means, stds, self.lower, self.upper, self.draw, gaps, spreads
        )
        gradient = np.zeros(len(x))
        for told, to_mean, to_std, std in (
            *zip(goals, by_mean, by_std, stds, strict=True),
            *zip(limits, by_gap, by_spread, spreads, strict=True),
        ):
            gradient += to_mean @ told[2] + (to_std / (2.0 * std)) @ told[3]
        return value + self.log_unit, gradient


def _stacked(told: list[tuple[Array, Array]], x: Array, draws: int) -> tuple[Array, Array]:
    """Means and standard deviations (m, k, S) of k models; of none (m, 0, S)."""
    if not told:
        return np.empty((len(x), 0, draws)), np.empty((len(x), 0, draws))
    means = np.stack([mean.T for mean, _ in told], axis=1)
    return means, np.sqrt(np.stack([var.T for _, var in told], axis=1))
