"""Samplers on the hyperparameters of Gaussian processes: simulation-based calibration, references.

Talts et al. (2018), "Validating Bayesian Inference Algorithms with Simulation-Based Calibration":
where hyperparameters come from the prior and outcomes from the model, the rank of the truth among
draws of the posterior is uniform.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from botorch.test_functions import Hartmann
from scipy.stats import chisquare
from torch import Generator, Tensor
from torch.quasirandom import SobolEngine

from surrogates.gp import bayesian, hyperpriors
from surrogates.gp.hyperposterior import MEAN_VAR, Data, Hyperposterior
from surrogates.gp.hyperpriors import LEAST_NOISE_VAR
from surrogates.inference import (
    chees,
    diagnostics,
    hmc,
    laplace,
    nuts,
    smc,
    vi_bures,
    vi_fullrank,
    vi_meanfield,
)
from surrogates.inference.contract import Draws
from surrogates.inference.resampling import systematic
from surrogates.inputs import Inputs

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
DATA_SETS, N, D = 200, 15, 2
KEPT, BINS = 63, 8
PAGE = Path(__file__).resolve().parents[3] / "docs" / "inference.md"


def simulated(theta: Tensor, generator: Generator) -> Data:
    """Outcomes of the model with some hyperparameters, as they are: nothing is standardised."""
    X = torch.rand((N, D), generator=generator, **F64)
    scaled = X / theta[:D].exp()
    r = math.sqrt(5.0) * torch.cdist(scaled, scaled)
    k = theta[D].exp() * (1.0 + r + r.square() / 3.0) * torch.exp(-r) + MEAN_VAR
    noise = LEAST_NOISE_VAR + theta[D + 1].exp()
    factor = torch.linalg.cholesky(k + noise * torch.eye(N, **F64))
    y = factor @ torch.randn(N, generator=generator, **F64)
    return Data(X, y, tuple(range(D)), matern=True)


def drawn(engine: str, density: Hyperposterior, generator: Generator) -> Draws:
    prior = density.prior
    if engine == "smc":
        first = prior.sample(512, generator, density.data.X)
        options = smc.Options()
        state = smc.init(prior, first)
        return smc.run(prior, density, state, options=options, generator=generator)[0]
    around = laplace.init(density, prior.sample(4, generator, density.data.X), laplace.Options())
    start = prior.sample(16, generator, density.data.X)
    if engine == "nuts":
        options = nuts.Options(draws=32, most_draws=256, rhat=1.05)
        state = nuts.init(density, start, around.factor)
        return nuts.run(density, state, options=options, generator=generator)[0]
    if engine == "chees":
        options = chees.Options(draws=32, most_draws=256, rhat=1.05)
        state = chees.init(density, start, around.factor)
        return chees.run(density, state, options=options, generator=generator)[0]
    options = hmc.Options(draws=32, most_draws=256, rhat=1.05)
    state = hmc.init(density, start, around.factor)
    return hmc.run(density, state, options=options, generator=generator)[0]


def ranks_of(run: Callable[[Hyperposterior, Generator], Draws]) -> Tensor:
    """(data sets, dim) how many of `KEPT` draws lie below the truth."""
    prior = hyperpriors.named("moderate", D, noise=True)
    ranks = torch.zeros((DATA_SETS, D + 2), dtype=torch.int64, device="cpu")
    for place in range(DATA_SETS):
        generator = Generator(device="cpu").manual_seed(place)
        theta = prior.sample(1, generator, torch.zeros(1, **F64))[0]
        density = Hyperposterior(simulated(theta, generator), prior)
        draws = run(density, generator)
        flat = draws.x.flatten(0, 1)
        if draws.log_weights is not None:
            flat = flat[systematic(draws.log_weights.flatten().exp(), len(flat), generator)]
        kept = flat[torch.randperm(len(flat), generator=generator, device="cpu")[:KEPT]]
        ranks[place] = (kept < theta).sum(dim=0)
    return ranks


def least_p(ranks: Tensor) -> float:
    """Of the chi-squared tests of uniformity, one for each hyperparameter."""
    counts = [torch.bincount(each * BINS // (KEPT + 1), minlength=BINS) for each in ranks.T]
    return min(float(chisquare(each.numpy()).pvalue) for each in counts)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["hmc", "chees", "nuts", "smc"])
def test_the_rank_of_the_truth_is_uniform(engine: str) -> None:
    assert least_p(ranks_of(partial(drawn, engine))) > 0.001


APPROXIMATIONS: dict[str, Any] = {
    "vi_meanfield": vi_meanfield,
    "vi_fullrank": vi_fullrank,
    "vi_bures": vi_bures,
}


def approximated(
    engine: str, weighted: bool, density: Hyperposterior, generator: Generator
) -> Draws:
    """By a variational engine, or by Laplace."""
    start = density.prior.sample(4, generator, density.data.X)
    if engine == "laplace":
        return laplace.run(density, start, options=laplace.Options(), generator=generator)
    module = APPROXIMATIONS[engine]
    options = module.Options(weighted=weighted)
    return module.run(density, start, options=options, generator=generator)[0]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["laplace", *APPROXIMATIONS])
def test_weighted_approximations_are_calibrated(engine: str) -> None:
    assert least_p(ranks_of(partial(approximated, engine, True))) > 0.001


@pytest.mark.slow
@pytest.mark.parametrize("engine", APPROXIMATIONS)
def test_how_narrow_approximations_are_without_weights(engine: str) -> None:
    """The table of `docs/inference.md`: truths within the middle 58 of 64 ranks, the fewest."""
    ranks = ranks_of(partial(approximated, engine, False))
    within = float(((ranks >= 3) & (ranks <= 60)).double().mean(dim=0).min())
    (row,) = re.findall(rf"^\| `{engine}` \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = [float(each) for each in re.findall(r"[\d.e-]+(?= )", row.split("|", 2)[2])]
    assert within == pytest.approx(told[0] / 100, abs=0.03)
    assert (least_p(ranks) > 0.001) == (told[1] > 0.001)


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["dimension-scaled", "moderate", "saas"])
@pytest.mark.parametrize("n", [20, 50, 100])
def test_moments_are_those_of_a_long_reference(n: int, prior: str) -> None:
    """At default options but for the error of a standard deviation, a third of what is allowed."""
    X = SobolEngine(6, scramble=True, seed=n).draw(n, dtype=torch.float64)
    y = Hartmann(6)(X).unsqueeze(-1)
    generator = Generator(device="cpu").manual_seed(n)
    options = bayesian.Options(prior=prior)
    problem = bayesian.Problem(X, y, None, Inputs.reals(6), options, generator)

    def run(options: hmc.Options, chains: int) -> Draws:
        state, _ = problem.chains(chains, None)
        return hmc.run(problem.density, state, options=options, generator=generator)[0]

    long = run(
        hmc.Options(
            warmup=100, draws=1024, most_draws=8192, ess=10_000.0, rhat=1.01, sd_error=0.02
        ),
        64,
    )
    assert long.diagnostics["converged"] == 1.0
    short = run(hmc.Options(sd_error=0.03, most_draws=8192), 32)
    assert short.diagnostics["converged"] == 1.0
    truth, told = long.x.flatten(0, 1), short.x.flatten(0, 1)
    sd = truth.std(dim=0)
    error = sd / diagnostics.ess_mean(short.x).sqrt()
    error = (error.square() + sd.square() / diagnostics.ess_mean(long.x)).sqrt()
    assert bool(((told.mean(dim=0) - truth.mean(dim=0)).abs() < 4.0 * error).all())
    ratio = told.std(dim=0) / sd
    assert bool(((ratio - 1.0).abs() < 0.1).all()), ratio
