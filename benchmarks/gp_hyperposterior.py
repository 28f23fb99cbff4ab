"""Effective samples of a GP's hyperparameters per CPU second, beside NUTS by BoTorch and NumPyro.

The data are n Sobol points of Hartmann6 and their standardised values; Matern-5/2 with a
length-scale per input; the priors `dsp` (`dimension-scaled`) and `saas`. The posterior of the eight
logarithms is one for all, checked at points of the prior: `density` is the largest difference of
our log density and NumPyro's, up to a constant.

Ours is `hmc` from 32 chains with its defaults, from nothing: the search for modes, the warm-up and
the diagnostics are in its time. Beside it `gp-hmc` as shipped, `nuts`, `chees` and tempered `smc`.
The peer is NUTS with BoTorch's settings, one chain, its compilation left out (see `nuts_peers`), in
the faster of two forms: BoTorch's models, and the density with mean and shrinkage integrated out.

Effective samples, of the worst hyperparameter, per second:
- by error: the posterior's variance over the mean squared error of a run's mean, over seeds,
  against a long run of ours (effective sample size above 40,000; a long run of NumPyro's beside it
  in the part `dsp n=20`);
- by estimator: `ess_bulk`, the mean over runs. A run of ours whose R-hat is above 1.05 counts as
  none; the peer's count whatever theirs is.

A claim takes the kind whose ratio is smaller. References are kept in the folder that
`WALD_REFERENCES` names, or in one for temporary files.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from botorch.test_functions import Hartmann
from torch import Generator, Tensor
from torch.quasirandom import SobolEngine

from benchmarks import nuts_peers
from benchmarks.harness import Claim, Peer, Report, say
from surrogates.errors import UsageError
from surrogates.gp import bayesian, hmc as gp_hmc, smc as gp_smc
from surrogates.inference import chees, diagnostics, hmc, nuts, smc
from surrogates.inference.contract import Draws
from surrogates.inputs import Inputs

D = 6
PRIORS = {"dsp": "dimension-scaled", "saas": "saas"}
BOUNDS = {20: 30.0, 50: 30.0, 100: 30.0, 200: 10.0}
SEEDS = {20: 20, 50: 20, 100: 10, 200: 10}
QUICK_SEEDS = 2
FIRST_SEED = 20_000
QUICK_SIZES = (20,)
CHAINS = 32
GOOD_RHAT = 1.05
ROUGH = 0.2  # error of a standard deviation at which nuts and chees may end; they are slow
UNIT = "ESS / CPU s"
LONG = hmc.Options(warmup=100, draws=256, most_draws=16384, rhat=1.005, ess=40_000.0, sd_error=0.02)
LONG_CHAINS = 64
LONG_PEER = 20_000
POINTS = 16  # where the densities are compared
CLOSE = 1e-6


@dataclass(frozen=True)
class Run:
    """One run of a method: means (dim,) of the logarithms, what it cost, what it says of itself."""

    mean: Tensor
    seconds: float
    ess: float
    rhat: float


@dataclass(frozen=True)
class Reference:
    """A long run: means and standard deviations (dim,), and its diagnostics."""

    mean: Tensor
    sd: Tensor
    told: Mapping[str, float]


@dataclass(frozen=True)
class Setting:
    """A prior and a number of observations."""

    prior: str
    n: int

    @property
    def name(self) -> str:
        """As claims have it."""
        return f"{self.prior} n={self.n}"

    def data(self) -> tuple[Tensor, Tensor]:
        """(n, d) points and (n,) standardised outcomes."""
        X = SobolEngine(D, scramble=True, seed=0).draw(self.n, dtype=torch.float64)
        y = Hartmann(D)(X)
        return X, (y - y.mean()) / y.std()

    def problem(self, seed: int) -> bayesian.Problem:
        """The density, and where chains begin."""
        X, y = self.data()
        options = bayesian.Options(prior=PRIORS[self.prior])
        generator = Generator(device="cpu").manual_seed(seed)
        return bayesian.Problem(X, y[:, None], None, Inputs.reals(D), options, generator)


SETTINGS = tuple(Setting(prior, n) for prior in PRIORS for n in BOUNDS)


def run(*, quick: bool, only: str | None = None) -> Report:
    """Measure everything, or the setting `only` (see `benchmarks.harness`)."""
    by_name = {setting.name: setting for setting in SETTINGS}
    if only is not None and only not in by_name:
        raise UsageError(f"part expected one of {', '.join(by_name)}, got {only!r}")
    versions = nuts_peers.versions()
    torch.set_num_threads(1)
    nuts_peers.start()
    samples: list[Mapping[str, Any]] = []
    claims: list[Claim] = []
    for setting in SETTINGS if only is None else (by_name[only],):
        if quick and only is None and setting.n not in QUICK_SIZES:
            continue
        found, rows = _measure(setting, QUICK_SEEDS if quick else SEEDS[setting.n], quick=quick)
        claims += found
        samples += rows
    version = ", ".join(f"{name} {told}" for name, told in versions.items())
    ours = hmc.Options()
    settings = nuts_peers.SETTINGS | {
        "hmc": f"{CHAINS} chains, {ours.warmup} + {ours.draws} to {ours.most_draws} trajectories "
        f"of length {ours.trajectory}, until R-hat {ours.rhat}, ESS {ours.ess} and an error of "
        f"every sd of {ours.sd_error}; nuts and chees: {ROUGH}",
        "seeds": QUICK_SEEDS if quick else ", ".join(f"n={n}: {s}" for n, s in SEEDS.items()),
    }
    return Report("gp-hyperposterior", Peer("NUTS", version, settings), claims, samples)


def _measure(
    setting: Setting, seeds: int, *, quick: bool
) -> tuple[list[Claim], list[Mapping[str, Any]]]:
    reference = _reference(setting)
    about = {"setting": setting.name}
    samples: list[Mapping[str, Any]] = [
        {"what": "reference", **about, **reference.told}
        | {"mean": reference.mean.tolist(), "sd": reference.sd.tolist()}
    ]
    claims: list[Claim] = []
    rates: dict[str, tuple[float, float]] = {}
    for measured in OURS.values():  # compiles, or loads what was compiled
        measured(Setting(setting.prior, 20), FIRST_SEED - 1)
    for method, measured in (*OURS.items(), *_peers(setting).items()):
        runs: list[Run] = []
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            runs.append(measured(setting, seed))
            say(f"{setting.name}, {method}, seed {seed}: {runs[-1].seconds:.3g} CPU s")
        off = torch.stack([(run.mean - reference.mean) / reference.sd for run in runs])
        samples += [
            {"what": method, **about, "seed": seed, "cpu_seconds": run.seconds, "ess": run.ess}
            | {"rhat": run.rhat, "off": away.tolist()}
            for seed, (run, away) in enumerate(zip(runs, off, strict=True), FIRST_SEED)
        ]
        rates[method] = _rates(runs, off, strict=method in OURS)
        samples.append(
            {"what": f"{method}, rates", **about, "by_error": rates[method][0]}
            | {"by_estimator": rates[method][1]}
            | {"by_error_of_all": float(1.0 / off.square().mean()) / _seconds(runs)}
            | {"rhat_median": float(torch.tensor([run.rhat for run in runs]).median())}
            | {"cpu_seconds": _seconds(runs)}
        )
    best = tuple(max(rates[peer][kind] for peer in nuts_peers.SAME) for kind in (0, 1))
    ratios = [ours / peer for ours, peer in zip(rates["hmc"], best, strict=True)]
    kind = ratios.index(min(ratios))
    bound = BOUNDS[setting.n] * best[kind]
    claims.append(
        Claim(setting.name, rates["hmc"][kind], best[kind], bound, UNIT, sense="at least")
    )
    for method in OURS:
        for kind, words in enumerate(("by error", "by estimator")):
            if rates[method][kind] == rates[method][kind]:
                name = f"{setting.name}, {method}, {words}"
                claims.append(
                    Claim(name, rates[method][kind], best[kind], None, UNIT, sense="at least")
                )
    difference = _density(setting)
    claims.append(Claim(f"{setting.name}, density", difference, None, CLOSE, "log"))
    if not quick and setting == SETTINGS[0]:
        away = _cross_check(setting, reference)
        samples.append({"what": "long run of NumPyro", **about, **away})
        name = f"{setting.name}, reference off a long run of NumPyro"
        claims.append(Claim(name, away["off"], None, None, "sd"))
    return claims, samples


def _rates(runs: Sequence[Run], off: Tensor, *, strict: bool) -> tuple[float, float]:
    """Effective samples per CPU second by error, and by the estimator.

    Args:
        runs: one per seed.
        off: (runs, dim) errors of their means in standard deviations.
        strict: runs that have not converged count as none.
    """
    seconds = _seconds(runs)
    by_error = float(1.0 / off.square().mean(dim=0).max()) / seconds
    good = [0.0 if strict and not run.rhat <= GOOD_RHAT else run.ess for run in runs]
    if any(run.ess != run.ess for run in runs):
        return by_error, float("nan")
    return by_error, sum(good) / len(good) / seconds


def _seconds(runs: Sequence[Run]) -> float:
    return sum(run.seconds for run in runs) / len(runs)


def _hmc(setting: Setting, seed: int, *, options: hmc.Options, chains: int) -> Run:
    began = time.process_time()
    problem = setting.problem(seed)
    state, _ = problem.chains(chains, None)
    draws, _ = hmc.run(problem.density, state, options=options, generator=problem.generator)
    return _told(draws, began)


def _nuts(setting: Setting, seed: int) -> Run:
    began = time.process_time()
    problem = setting.problem(seed)
    state, _ = problem.chains(CHAINS, None)
    options = nuts.Options(sd_error=ROUGH)
    draws, _ = nuts.run(problem.density, state, options=options, generator=problem.generator)
    return _told(draws, began)


def _chees(setting: Setting, seed: int) -> Run:
    began = time.process_time()
    problem = setting.problem(seed)
    around, _ = problem.chains(CHAINS, None)
    state = chees.init(problem.density, around.x, around.factor)
    options = chees.Options(sd_error=ROUGH)
    draws, _ = chees.run(problem.density, state, options=options, generator=problem.generator)
    return _told(draws, began)


def _smc(setting: Setting, seed: int) -> Run:
    """Its weighted draws have no autocorrelation to estimate from: by error alone."""
    began = time.process_time()
    problem = setting.problem(seed)
    prior, options = problem.prior, gp_smc.Options()
    state = smc.init(prior, prior.sample(options.particles, problem.generator, problem.exact.X))
    draws, _ = smc.run(prior, problem.density, state, options=options, generator=problem.generator)
    seconds = time.process_time() - began
    flat = draws.x.flatten(0, 1)
    if draws.log_weights is None:
        mean = flat.mean(dim=0)
    else:
        mean = draws.log_weights.flatten().exp() @ flat
    return Run(mean, seconds, float("nan"), float("nan"))


def _told(draws: Draws, began: float) -> Run:
    seconds = time.process_time() - began
    return Run(
        draws.x.flatten(0, 1).mean(dim=0),
        seconds,
        float(diagnostics.ess_bulk(draws.x).min()),
        float(diagnostics.rhat(draws.x).max()),
    )


OURS: dict[str, Callable[[Setting, int], Run]] = {
    "hmc": lambda setting, seed: _hmc(setting, seed, options=hmc.Options(), chains=CHAINS),
    "gp-hmc": lambda setting, seed: _hmc(
        setting, seed, options=gp_hmc.Options(), chains=gp_hmc.Options().chains
    ),
    "nuts": _nuts,
    "chees": _chees,
    "smc": _smc,
}


def _peers(setting: Setting) -> dict[str, Callable[[Setting, int], Run]]:
    """Chains whose code is compiled, each in its first call, by the chain of another seed."""
    X, y = setting.data()
    prior = setting.problem(0).prior
    made: dict[str, Callable[[], nuts_peers.Nuts]] = {
        "NumPyro": lambda: nuts_peers.numpyro(X, y, prior),
        "BoTorch": lambda: nuts_peers.botorch(X, y, setting.prior),
    }
    return {name: _Peer(make) for name, make in made.items()}


class _Peer:
    """One of the peer's chains at a time."""

    def __init__(self, make: Callable[[], nuts_peers.Nuts]) -> None:
        self.make = make
        self.chains: nuts_peers.Nuts | None = None

    def __call__(self, setting: Setting, seed: int) -> Run:
        if self.chains is None:
            self.chains = self.make()
            first = self.chains.run(FIRST_SEED - 1)
            say(f"{setting.name}, compiled by a chain of {first.seconds:.3g} CPU s")
        chain = self.chains.run(seed)
        draws = chain.draws.unsqueeze(0)
        return Run(
            chain.draws.mean(dim=0),
            chain.seconds,
            float(diagnostics.ess_bulk(draws).min()),
            float(diagnostics.rhat(draws).max()),
        )


def _reference(setting: Setting) -> Reference:
    """A long run, or what an earlier one has left."""
    folder = os.environ.get("WALD_REFERENCES")
    place = Path(folder) if folder else Path(tempfile.gettempdir()) / "wald-references"
    file = place / f"gp-hyperposterior-{setting.prior}-{setting.n}.json"
    if not file.exists():
        began = time.process_time()
        problem = setting.problem(99)
        state, _ = problem.chains(LONG_CHAINS, None)
        draws, _ = hmc.run(problem.density, state, options=LONG, generator=problem.generator)
        flat = draws.x.flatten(0, 1)
        told = {**draws.diagnostics, "cpu_seconds": time.process_time() - began}
        say(f"{setting.name}, reference: {told}")
        place.mkdir(parents=True, exist_ok=True)
        content = {"mean": flat.mean(dim=0).tolist(), "sd": flat.std(dim=0).tolist(), "told": told}
        file.write_text(json.dumps(content), encoding="utf-8")
    content = json.loads(file.read_text(encoding="utf-8"))
    mean, sd = (
        torch.tensor(content[name], dtype=torch.float64, device="cpu") for name in ("mean", "sd")
    )
    return Reference(mean, sd, content["told"])


def _density(setting: Setting) -> float:
    """The largest difference of our log density and NumPyro's, their constants apart."""
    X, y = setting.data()
    problem = setting.problem(7)
    at = problem.prior.sample(POINTS, problem.generator, X).clamp(-4.0, 6.0)
    theirs = nuts_peers.log_density(nuts_peers.numpyro_model(X, y, problem.prior), at)
    difference = problem.density.value_and_grad(at)[0] - theirs
    return float((difference - difference.mean()).abs().max())


def _cross_check(setting: Setting, reference: Reference) -> dict[str, Any]:
    """A long chain of NumPyro's beside the reference."""
    X, y = setting.data()
    chain = nuts_peers.numpyro(X, y, setting.problem(0).prior, draws=LONG_PEER).run(1)
    off = (chain.draws.mean(dim=0) - reference.mean) / reference.sd
    ratio = chain.draws.std(dim=0) / reference.sd
    draws = chain.draws.unsqueeze(0)
    return {
        "draws": LONG_PEER,
        "cpu_seconds": chain.seconds,
        "ess": float(diagnostics.ess_bulk(draws).min()),
        "rhat": float(diagnostics.rhat(draws).max()),
        "off": float(off.abs().max()),
        "sd_ratio_least": float(ratio.min()),
        "sd_ratio_most": float(ratio.max()),
    }
