"""The hyperparameters that a fully Bayesian model drew, small enough for a page. No paper.

A length-scale is in ranges of its parameter (of their logarithm, where the parameter has a log
scale): 1 is all of it. Variances are in variances of the outcomes. All are numbers above 0, shown
on a log scale; densities are per decade.
"""

import functools
import math
from typing import Any

import numpy as np
import torch
from botorch.models.model import Model

from bo.health import sampler
from bo.space import Array
from surrogates.gp.hyperpriors import Prior
from surrogates.gp.mixture import MixtureGP
from surrogates.inference import diagnostics
from surrogates.inference.contract import Draws

DRAWS = 64
LENGTHSCALES, OTHERS = 12, 8
CHAINS, TRACE, TRACED = 8, 50, 3
WEIGHTS = 33
_DENSITY = 25
_PRIOR_DRAWS = 32768
_TAIL = 0.002
_DIGITS = 4


def hyperparameters(model: Model, names: list[str]) -> dict[str, Any] | None:
    """The record of a model's hyperparameters; None of one with a single value of each.

    Args:
        model: any.
        names: of the parameters, in the order of the model's groups of columns.

    Returns:
        `draws`: of each hyperparameter what it is (`lengthscale`, `signal_var`, `noise_var`), of
        which `parameter`, at most 64 `values` of equal weight, the `prior` (a density over evenly
        spaced decimal logarithms), and what R-hat and effective size it has, or None. Of more than
        12 length-scales, the 12 shortest; of more than 8 others, the first. `of`: how many there
        are in all. `traces`: of the log density and the two hyperparameters whose R-hat is
        largest, at most 8 chains and 50 draws of each; `every` is the step. `weights`: of weighted
        draws the sums of their shares, the largest first. `light`, `words`: whether to trust the
        draws.
    """
    if not isinstance(model, MixtureGP) or model.sampled is None:
        return None
    drawn = model.sampled.draws
    if drawn.x.shape[:-1].numel() == 1:  # a point estimate
        return None
    labels = _labels(model.data.names, names, drawn.x.shape[-1])
    kept = np.exp(_of_equal_weight(drawn))
    at = _shown(kept, labels)
    priors = _prior(model.sampled.prior, len(labels))
    rhat, ess = _mixing(drawn)
    return {
        "of": len(labels),
        "draws": [
            labels[j]
            | {
                "values": _rounded(kept[:, j]),
                "prior": priors[j],
                "rhat": _rounded(rhat[j : j + 1])[0] if len(rhat) else None,
                "ess": _rounded(ess[j : j + 1])[0] if len(ess) else None,
            }
            for j in at
        ],
        **_traces(drawn, labels, rhat),
        "weights": _weights(drawn),
        **sampler(model.diagnostics),
    }


def _labels(kinds: tuple[str, ...], names: list[str], dim: int) -> list[dict[str, Any]]:
    """What each coordinate is; the indicator of a conditional parameter has no name of its own."""
    told: list[dict[str, Any]] = []
    for kind in [*kinds, *(f"hyperparameter {j + 1}" for j in range(len(kinds), dim))][:dim]:
        what, _, group = kind.partition(".")
        place = int(group) if group else -1
        name = names[place] if 0 <= place < len(names) else f"condition {place - len(names) + 1}"
        told.append({"what": what, "parameter": name if group else None})
    return told


def _of_equal_weight(drawn: Draws) -> Array:
    """Logarithms, (draws, dim): spread evenly over the chains, or picked by their weights."""
    flat = _array(drawn.x.flatten(0, 1))
    if drawn.log_weights is None:
        return _evenly(flat, DRAWS)
    edges = np.cumsum(np.exp(_array(drawn.log_weights.flatten())))
    even = (np.arange(DRAWS) + 0.5) / DRAWS * edges[-1]
    return flat[np.minimum(np.searchsorted(edges, even), len(flat) - 1)]


def _shown(values: Array, labels: list[dict[str, Any]]) -> list[int]:
    scales = [j for j, label in enumerate(labels) if label["what"] == "lengthscale"]
    median = np.median(values, axis=0)
    shortest = sorted(scales, key=lambda j: median[j])[:LENGTHSCALES]
    others = [j for j in range(len(labels)) if j not in scales]
    return sorted([*shortest, *others[:OTHERS]])


def _mixing(drawn: Draws) -> tuple[Array, Array]:
    """R-hat and the smaller effective size of every coordinate, and of the log density last."""
    if len(drawn.x) < 2 or drawn.x.shape[1] < 4:
        return np.empty(0), np.empty(0)
    x = torch.cat([drawn.x, drawn.log_density.unsqueeze(-1)], dim=-1)
    sizes = torch.minimum(diagnostics.ess_bulk(x), diagnostics.ess_tail(x))
    return _array(diagnostics.rhat(x)), _array(sizes)


def _traces(drawn: Draws, labels: list[dict[str, Any]], rhat: Array) -> dict[str, Any]:
    if not len(rhat):
        return {"traces": [], "every": 1, "chains": len(drawn.x)}
    order = np.argsort(-np.nan_to_num(rhat[:-1], nan=np.inf), kind="stable")[: TRACED - 1]
    every = max(1, math.ceil(drawn.x.shape[1] / TRACE))
    chains = _evenly(np.arange(len(drawn.x), dtype=float), CHAINS).astype(int).tolist()
    x = np.exp(_array(drawn.x[chains][:, ::every][:, :, order.tolist()]))
    value = _array(drawn.log_density[chains][:, ::every])
    told = [{"what": "log_density", "parameter": None} | _chains(value, float(rhat[-1]))]
    told += [labels[j] | _chains(x[:, :, i], float(rhat[j])) for i, j in enumerate(order.tolist())]
    return {"traces": told, "every": every, "chains": len(drawn.x)}


def _chains(values: Array, rhat: float) -> dict[str, Any]:
    return {
        "rhat": _rounded(np.array([rhat]))[0],
        "values": [_rounded(chain) for chain in values],
    }


def _weights(drawn: Draws) -> list[float | None] | None:
    """The share of all weight that the largest 0, 1/32, 2/32, ... of the draws have."""
    if drawn.log_weights is None:
        return None
    share = np.sort(np.exp(_array(drawn.log_weights.flatten())))[::-1]
    total = np.concatenate([[0.0], np.cumsum(share) / share.sum()])
    even = np.linspace(0, len(share), WEIGHTS)
    return _rounded(np.interp(even, np.arange(len(total)), total))


@functools.lru_cache(maxsize=8)
def _prior(prior: Prior, dim: int) -> list[dict[str, Any]]:
    """Density of every coordinate, per decade, from draws that are smoothed a little."""
    like = torch.zeros(1, dim, dtype=torch.float64, device="cpu")
    drawn = prior.sample(_PRIOR_DRAWS, torch.Generator(device="cpu").manual_seed(0), like)
    return [_density(column) for column in (_array(drawn) / math.log(10)).T]


def _density(x: Array) -> dict[str, Any]:
    """At evenly spaced places from the 0.2 % to the 99.8 % quantile."""
    low, quarter, three, high = np.quantile(x, [_TAIL, 0.25, 0.75, 1 - _TAIL])
    step = (high - low) / 200
    edges = np.linspace(low - 50 * step, high + 50 * step, 301)
    counts = np.histogram(x, edges)[0] / (len(x) * step)
    width = max(0.9 * (three - quarter) / 1.34 * len(x) ** -0.2 / step, 1.0)
    reach = np.arange(-50, 51)
    kernel = np.exp(-0.5 * (reach / width) ** 2)
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same")
    at = np.linspace(low, high, _DENSITY)
    told = np.interp(at, (edges[1:] + edges[:-1]) / 2, smooth)
    return {"from": float(f"{low:.5g}"), "to": float(f"{high:.5g}"), "density": _rounded(told)}


def _evenly(values: Array, most: int) -> Array:
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(int)]


def _array(values: torch.Tensor) -> Array:
    return values.detach().cpu().double().numpy()


def _rounded(values: Array) -> list[float | None]:
    told = np.asarray(values, dtype=float).tolist()
    return [float(f"{v:.{_DIGITS}g}") if math.isfinite(v) else None for v in told]
