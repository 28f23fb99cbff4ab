"""What a fully Bayesian step of optimisation costs: `gp-smc` and `gp-hmc` beside BoTorch's MAP.

A study of Hartmann6 goes on by the method itself to 104 trials. Its asks with 20, 50 and 100
outcomes (five in a row for each) are timed whole: fit, acquisition function and the search for its
maximum, from the state that the ask before left. At the same outcomes the peer takes its step:
`SingleTaskGP` as shipped, `fit_gpytorch_mll`, `LogExpectedImprovement` by `optimize_acqf` with 8
restarts and 512 raw samples. CPU seconds of one thread; compiled code is loaded before, on both
sides. The claim `n=20` is that of the method whose ratio is worse. Beside them the first ask of a
study that is given the same outcomes: a cold start.

How near the carried posterior is to the truth: its predictive means and standard deviations at 512
points against those of a long run of `hmc` (R-hat told), at 20, 35, 50 and 60 outcomes; in standard
deviations of the reference; 2 seeds. Beside it, the same for `gp-map`, whose prior is another.
"""

import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.test_functions import Hartmann
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Generator, Tensor
from torch.quasirandom import SobolEngine

import bo
from benchmarks.harness import Claim, Peer, Report, say, version_of
from bo.strategies.model_based import ModelBased
from surrogates.gp import hmc, map as gp_map
from surrogates.inputs import Inputs

D = 6
SIZES = (20, 50, 100)
QUALITY = (20, 35, 50, 60)
ASKS = 5
REFERENCES = 2  # seeds
METHODS = ("gp-smc", "gp-hmc")
FUNCTION = Hartmann(D, negate=True)
SPACE = {f"x{i}": bo.real(0.0, 1.0) for i in range(D)}


def run(*, quick: bool) -> Report:
    """Measure everything (see `benchmarks.harness`)."""
    torch.set_num_threads(1)
    seeds = range(1) if quick else range(5)
    samples: list[Mapping[str, Any]] = []
    for seed in seeds:
        for method in METHODS:
            say(f"{method}, seed {seed}")
            known = () if quick or seed >= REFERENCES else QUALITY
            samples += _course(method, seed, known)
    claims: list[Claim] = []
    for n in SIZES:
        told = [
            [_middle(samples, what, method, n) for what in ("ours", "peer")] for method in METHODS
        ]
        ours, peer = max(told, key=lambda pair: pair[0] / pair[1])
        claims.append(Claim(f"n={n}", ours, peer, peer, "CPU s"))
        for method, (ours, peer) in zip(METHODS, told, strict=True):
            claims.append(Claim(f"{method} n={n}", ours, peer, peer, "CPU s"))
    for n in SIZES:
        for method in METHODS:
            ours, peer = (_middle(samples, what, method, n) for what in ("cold", "peer"))
            claims.append(Claim(f"{method} n={n}, cold start", ours, peer, None, "CPU s"))
    for n in () if quick else QUALITY:
        for method in METHODS:
            for what, bound in (("mean off", 0.1), ("sd off", 0.05)):
                ours, peer = (
                    _middle(samples, f"{who}{what}", method, n) for who in ("", "gp-map ")
                )
                claims.append(Claim(f"{method} n={n}, {what}", ours, peer, bound, "sd"))
    settings = {"step": "SingleTaskGP, LogEI, 8 restarts, 512 raw samples", "asks": ASKS}
    peer = Peer("BoTorch MAP", version_of("botorch", extra="dev"), settings)
    return Report("bo-step", peer, claims, samples)


def _middle(samples: Sequence[Mapping[str, Any]], what: str, method: str, n: int) -> float:
    of = [
        s["value"] for s in samples if s["what"] == what and s["method"] == method and s["n"] == n
    ]
    return statistics.median(of) if of else float("nan")


def _course(method: str, seed: int, quality: Sequence[int]) -> list[Mapping[str, Any]]:
    study = bo.Study(SPACE, "maximize value", method=method, seed=seed)
    samples: list[Mapping[str, Any]] = []
    timed = {n + more for n in SIZES for more in range(ASKS)}
    for n in range(max([*timed, *quality]) + 1):
        about: dict[str, Any] = {
            "method": method,
            "seed": seed,
            "n": max((size for size in SIZES if size <= n), default=0),
        }
        began = time.process_time()
        (trial,) = study.ask()
        seconds = time.process_time() - began
        if n in timed:
            samples.append({"what": "ours", "value": seconds, **about})
            samples.append({"what": "peer", "value": _peer(*_known(study)), **about})
        if n in SIZES:
            samples.append({"what": "cold", "value": _cold(study, method, seed), **about})
        if n in quality:
            samples += _quality(study, {**about, "n": n})
        point = torch.tensor([float(v) for v in trial.parameters.values()], dtype=torch.float64)
        study.tell(trial, float(FUNCTION(point)))
    return samples


def _cold(study: Any, method: str, seed: int) -> float:
    other = bo.Study(SPACE, "maximize value", method=method, seed=seed)
    for trial in study.trials:
        if trial.state == "complete":
            other.add(trial.parameters, trial.values["value"])
    began = time.process_time()
    other.ask()
    return time.process_time() - began


def _known(study: Any) -> tuple[Tensor, Tensor]:
    done = [t for t in study.trials if t.state == "complete"]
    X = torch.tensor([[float(v) for v in t.parameters.values()] for t in done], dtype=torch.float64)
    return X, torch.tensor([[t.values["value"]] for t in done], dtype=torch.float64)


def _peer(X: Tensor, Y: Tensor) -> float:
    torch.manual_seed(len(X))
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SingleTaskGP(X, Y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        bounds = torch.tensor([[0.0] * D, [1.0] * D], dtype=torch.float64)
        function = LogExpectedImprovement(model, best_f=Y.max())
        optimize_acqf(function, bounds, q=1, num_restarts=8, raw_samples=512)
    return time.process_time() - began


def _quality(study: Any, about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of the model that the latest ask used, which the strategy still holds."""
    strategy = study.strategy
    assert isinstance(strategy, ModelBased)
    assert strategy._latest is not None
    belief = strategy._latest[1]
    Xs = SobolEngine(D, scramble=True, seed=99).draw(512, dtype=torch.float64).unsqueeze(1)
    X, outcomes = belief.observed, belief.outcomes[:, :1]
    generator = Generator(device="cpu").manual_seed(7)
    long = hmc.Options(
        chains=64, warmup=100, draws=256, most_draws=1024, rhat=1.01, ess=4000.0, kept=1024
    )
    inputs = Inputs.reals(D)
    reference = hmc.fit(X, outcomes, inputs=inputs, options=long, generator=generator)
    mean, sd = _moments(reference, Xs)
    samples: list[Mapping[str, Any]] = [
        {"what": "reference R-hat", "value": reference.diagnostics["rhat_max"], **about}
    ]
    point = gp_map.fit(X, outcomes, inputs=inputs, options=gp_map.Options(), generator=generator)
    for name, model in (("", belief.model), ("gp-map ", point)):
        other, spread = _moments(model, Xs)
        off = float(((other - mean) / sd).square().mean().sqrt())
        ratio = float((spread / sd).log().mean().exp())
        samples.append({"what": f"{name}mean off", "value": off, **about})
        samples.append({"what": f"{name}sd off", "value": abs(ratio - 1.0), **about})
    return samples


def _moments(model: Any, Xs: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        told = model.posterior(Xs)
    if hasattr(told, "mixture_mean"):
        return told.mixture_mean.flatten(), told.mixture_variance.flatten().sqrt()
    return told.mean.flatten(), told.variance.flatten().sqrt()
