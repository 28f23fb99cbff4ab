"""How sure a model is of which parameters matter: intervals of their shares. No paper.

The share of a parameter is the variance of a function along its slice through the incumbent, as a
part of the sum over the slices. Draws of whole functions from the model's joint posterior each have
shares of their own; an interval holds the middle 95 % of them. It says what the data leave open
where the model is right, at the hyperparameters that it was fitted with, and nothing of how wrong
the model may be. Along a slice, draws vary more than their mean does, so the median of the draws
lies above the share of the mean for a parameter that hardly matters.
"""

import warnings
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from linear_operator.utils.warnings import NumericalWarning

from bo.belief import Belief
from bo.space import Array
from surrogates.errors import CapabilityError

DRAWS = 256
POINTS = 160
"""In all: draws cost the cube of it."""
_LONGEST = 12
_TAIL = 0.025


def intervals(belief: Belief, slices: Mapping[str, Array]) -> dict[str, list[float]]:
    """Low end, median and high end of the share of each parameter.

    Args:
        belief: whose model is asked.
        slices: per parameter, (n, d) columns along its slice.

    Returns:
        Empty where the model has no joint posterior, or its draws are not finite. The draws have
        a seed of their own: the same belief gives the same intervals.
    """
    count = min(max(POINTS // max(len(slices), 1), 2), _LONGEST)
    lines = [_thinned(columns, count) for columns in slices.values()]
    if len(lines) < 2:
        return {}
    drawn = _draws(belief, np.concatenate(lines))
    if drawn is None:
        return {}
    cuts = np.cumsum([len(line) for line in lines])[:-1]
    parts = np.stack([part.var(axis=1) for part in np.split(drawn, cuts, axis=1)])
    whole = parts.sum(axis=0)
    shares = parts[:, whole > 0] / whole[whole > 0]
    if shares.shape[1] == 0:
        return {}
    ends = np.quantile(shares, [_TAIL, 0.5, 1 - _TAIL], axis=1).T
    return {
        name: [float(f"{end:.4g}") for end in three]
        for name, three in zip(slices, ends.tolist(), strict=True)
    }


def _thinned(columns: Array, count: int) -> Array:
    even = np.linspace(0, len(columns) - 1, min(count, len(columns)))
    return columns[np.unique(even.round().astype(int))]


def _draws(belief: Belief, columns: Array) -> Array | None:
    """(draws, n) values of functions drawn from the joint posterior at (n, d) columns."""
    points = torch.as_tensor(columns).to(belief.observed)
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore", category=NumericalWarning):
            posterior = cast(Any, belief.model.posterior(points))
            shape = (DRAWS, *posterior.base_sample_shape)
            normal = np.random.default_rng(0).standard_normal(shape)
            base = torch.as_tensor(normal).to(points)
            drawn = posterior.rsample_from_base_samples(torch.Size([DRAWS]), base)
    except (CapabilityError, NotImplementedError, RuntimeError):  # the last: no Cholesky factor
        return None
    found = drawn.cpu().double().numpy().reshape(-1, len(columns))
    if belief.scale is not None:
        with np.errstate(all="ignore"):
            found = belief.scale.backward(found)
    found = found[np.isfinite(found).all(axis=1)]
    return found if len(found) >= DRAWS // 2 else None
