"""Whether a model can be trusted, as a traffic light in words.

Two sources: what the fit says about itself (`diagnostics`), and what the model said about each
point before it was measured (one-step-ahead predictions, the latest 30).

Predictions are judged by how many outcomes fell outside the 95 % intervals, with an exact binomial
test, P(at least k misses of n | miss rate). A perfect model misses 5 %. But the points are not
drawn at random: the acquisition function goes where the model promises most, so where it errs
optimistically (Smith & Winkler 2006, "The Optimizer's Curse"), and early on from few outcomes.
`gp-map` misses about one in seven on ordinary test functions while it finds their optima. So the
light asks for more than chance against a tolerated rate, not against 5 %: amber where twice the
nominal rate (10 %) does not explain the misses, red where 25 % does not, both at 1 %, since the
light looks again after every trial. Below 10 predictions it says that it is too early.

How large the errors are: the mean of z^2, z = (outcome - mean) / std, is about 1 for a model whose
intervals are right. Above 4 (errors twice as large as told) is amber; the largest one is left out,
since one surprise, such as a cliff, is no habit. It never makes red alone.

The limits for samplers are the usual ones (R-hat 1.05, effective sample size 100, no divergences,
E-BFMI 0.3), and so is that of weighted draws and approximations (Pareto k-hat 0.7). A standard
deviation whose Monte Carlo error is a fifth of it tells of tails that were hardly seen.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Light = Literal["green", "amber", "red"]
Remark = tuple[Light, str]

WINDOW = 30
FEWEST = 10
TOLERATED, INTOLERABLE, CHANCE = 0.10, 0.25, 0.01
_Z95 = 1.959964
_LARGE_Z2, _SMALL_Z2 = 4.0, 0.1
_MUCH_NOISE, _ALL_NOISE = 0.5, 0.9
_RHAT, _BAD_RHAT, _ESS, _BAD_ESS = 1.05, 1.2, 100, 20
_KHAT, _SD_ERROR, _EBFMI = 0.7, 0.2, 0.3
_ORDER: tuple[Light, ...] = ("green", "amber", "red")


def health(
    diagnostics: Mapping[str, Any], predictions: Sequence[tuple[float, float, float]]
) -> dict[str, Any]:
    """The payload of a `diagnostic` event.

    Args:
        diagnostics: of the latest fit, by name. Known ones: `iterations` and `iteration_limit`,
            `noise_var` (standardised: a share of the variance of the outcomes), `rhat_max`,
            `ess_min`, `mcse_sd_max`, `ebfmi_min`, `divergences`, `khat`.
        predictions: (mean, std with noise, outcome) in the order of the trials, those of failed
            trials and of the initial design left out.

    Returns:
        `light`: the worst of all remarks; `words`: one sentence each, the worst first; `numbers`.
    """
    told = {n: float(v) for n, v in diagnostics.items() if _is_number(v)}
    recent = [p for p in predictions if all(map(math.isfinite, p))][-WINDOW:]
    z2 = [_squared(*each) for each in recent]
    remarks = [*_of_fit(told), *_of_sampler(told), *_of_predictions(recent, z2)]
    remarks.sort(key=lambda remark: -_ORDER.index(remark[0]))
    numbers = told | _numbers(z2)
    return {
        "light": remarks[0][0],
        "words": [words for _, words in remarks],
        "numbers": {n: float(f"{v:.5g}") if math.isfinite(v) else None for n, v in numbers.items()},
    }


def sampler(diagnostics: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the draws of hyperparameters alone can be trusted: `light` and `words`."""
    told = {n: float(v) for n, v in diagnostics.items() if _is_number(v)}
    remarks = _of_sampler(told)
    remarks.sort(key=lambda remark: -_ORDER.index(remark[0]))
    if remarks:
        return {"light": remarks[0][0], "words": [words for _, words in remarks]}
    return {"light": "green", "words": [_well(told)]}


def at_least(k: int, n: int, rate: float) -> float:
    """P(at least k of n) where each happens with this rate, exactly."""
    return sum(math.comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(k, n + 1))


def _of_fit(told: Mapping[str, float]) -> list[Remark]:
    remarks: list[Remark] = []
    limit = told.get("iteration_limit", math.inf)
    if told.get("iterations", 0.0) >= limit:
        words = f"The fit stopped at its limit of {limit:.0f} iterations, before it had settled."
        remarks.append(("amber", words))
    noise = told.get("noise_var", 0.0)
    if noise >= _ALL_NOISE:
        words = "The model takes nearly all differences between outcomes for noise: it has found"
        remarks.append(("red", f"{words} no effect of the parameters."))
    elif noise >= _MUCH_NOISE:
        words = f"The model takes {noise:.0%} of the differences between outcomes for noise:"
        remarks.append(("amber", f"{words} it explains the smaller part of them."))
    return remarks


def _of_sampler(told: Mapping[str, float]) -> list[Remark]:
    remarks: list[Remark] = []
    rhat = told.get("rhat_max", 1.0)
    if not rhat <= _RHAT:
        words = f"The chains of the sampler disagree (R-hat {rhat:.3g}, at most {_RHAT} is good):"
        light: Light = "amber" if rhat <= _BAD_RHAT else "red"
        remarks.append((light, f"{words} it has not run long enough."))
    ess = told.get("ess_min", math.inf)
    if not ess >= _ESS:
        words = f"The draws are worth only {ess:.0f} independent ones (at least {_ESS} is good):"
        light = "amber" if ess >= _BAD_ESS else "red"
        remarks.append((light, f"{words} means and intervals are rough."))
    error = told.get("mcse_sd_max", 0.0)
    if not error <= _SD_ERROR:
        words = (
            f"A standard deviation is known to {error:.0%} only (at most {_SD_ERROR:.0%} is good):"
        )
        remarks.append(("amber", f"{words} tails may be too short."))
    energy = told.get("ebfmi_min", math.inf)
    if not energy >= _EBFMI:
        words = (
            f"The chains hardly change their log density (E-BFMI {energy:.2g}, at least {_EBFMI}"
        )
        remarks.append(("amber", f"{words} is good): tails may be too short."))
    khat = told.get("khat", 0.0)
    if not khat <= _KHAT:
        words = f"The approximation misses the plausible ones (k-hat {khat:.2g}, at most {_KHAT} is"
        remarks.append(("amber", f"{words} good): a few of its draws would count for nearly all."))
    if told.get("converged", 1.0) == 0.0 and not remarks:
        particles = "The particles had not settled when their moves ended"
        words = particles if "drift" in told else "The fit ended before it had settled"
        remarks.append(("amber", f"{words}: parts of what is plausible may be missing."))
    divergences = told.get("divergences", 0.0)
    if not divergences <= 0:
        words = f"The sampler lost its way {divergences:.0f} times (divergences): parts of what"
        remarks.append(("amber", f"{words} is plausible may be missing."))
    return remarks


def _well(told: Mapping[str, float]) -> str:
    """What is good about draws that nothing is wrong with."""
    size = told.get("ess_min", told.get("ess", math.nan))
    worth = f"the draws are worth {size:,.0f} independent ones" if math.isfinite(size) else ""
    if "rhat_max" in told:
        none = ", no divergence" if "divergences" in told else ""
        return f"The chains agree (R-hat {told['rhat_max']:.3f}), {worth}{none}."
    if "stages" in told:
        return f"The particles have settled, {worth}."
    if "khat" not in told:
        return f"Nothing is wrong with the draws{', ' * bool(worth)}{worth}."
    khat = f"The approximation holds (k-hat {told['khat']:.2g}, at most {_KHAT} is good)"
    return f"{khat}, {worth}." if worth else f"{khat}."


def _of_predictions(
    recent: Sequence[tuple[float, float, float]], z2: Sequence[float]
) -> list[Remark]:
    n, inside = len(z2), _inside(z2)
    if n < FEWEST:
        words = f"Too early to judge the predictions: {n} of at least {FEWEST} measured so far."
        return [("green", words)]
    if len({outcome for _, _, outcome in recent}) == 1:
        words = f"The latest {n} outcomes are all the same number: there is nothing to learn from."
        return [("amber", words)]
    remarks: list[Remark] = []
    hit = f"{inside} of the latest {n} outcomes fell within their 95 % intervals"
    if at_least(n - inside, n, TOLERATED) >= CHANCE:
        remarks.append(("green", f"{hit}, as far as can be expected."))
    else:
        red = at_least(n - inside, n, INTOLERABLE) < CHANCE
        words = "Some misses more than 5 % are normal, since points are chosen where the model"
        words = f"Only {hit}: the model is too sure of itself. {words} hopes for most; so many"
        remarks.append(("red" if red else "amber", f"{words} are not."))
    rest = _without_largest(z2)
    if rest > _LARGE_Z2:
        size = f"about {math.sqrt(rest):.1f} times" if math.isfinite(rest) else "many times"
        words = f"Errors of the predictions are {size} as large as the model says they should be."
        remarks.append(("amber", words))
    elif sum(z2) / n < _SMALL_Z2:
        words = "Errors are much smaller than the intervals: the model is more careful than it"
        remarks.append(("green", f"{words} needs to be."))
    return remarks


def _numbers(z2: Sequence[float]) -> dict[str, float]:
    if not z2:
        return {"predictions": 0.0}
    return {
        "predictions": float(len(z2)),
        "coverage": _inside(z2) / len(z2),
        "mean_z2": sum(z2) / len(z2),
        "mean_z2_without_largest": _without_largest(z2),
    }


def _squared(mean: float, std: float, outcome: float) -> float:
    if std > 0:
        z = (outcome - mean) / std
        return z * z  # infinite where it overflows; `**` would raise
    return 0.0 if outcome == mean else math.inf


def _inside(z2: Sequence[float]) -> int:
    return sum(value <= _Z95**2 for value in z2)


def _without_largest(z2: Sequence[float]) -> float:
    return sum(sorted(z2)[:-1]) / max(len(z2) - 1, 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
