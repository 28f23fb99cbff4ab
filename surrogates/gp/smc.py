"""Fully Bayesian Gaussian process: hyperparameters by sequential Monte Carlo.

Chopin (2002), "A Sequential Particle Filter Method for Static Models": the particles of one fit are
weighted by what the next data say of them, and moved only where the weights have become unequal;
the first ones are tempered from the prior (Del Moral, Doucet & Jasra 2006, "Sequential Monte Carlo
Samplers"). The engine is `surrogates/inference/smc.py`; density and priors are `hyperposterior` and
`hyperpriors`, the model of the draws is `mixture`.

Departs from them: where the first fit has many rows, its particles are draws of the posterior by
`hmc`: with 200 rows that takes a quarter of the time of tempering or less, with 60 about as long.

The density that the particles are of is made again from the rows it had, which the state names by
their columns, with the outcomes as they were seen then: these are standardised anew at each fit.
"""

import dataclasses
import math
import zlib
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.contract import State
from surrogates.gp import bayesian, hmc as gp_hmc
from surrogates.gp.bayesian import Problem
from surrogates.gp.hyperposterior import Hyperposterior
from surrogates.gp.mixture import MixtureGP
from surrogates.inference import hmc, smc
from surrogates.inference.contract import Draws
from surrogates.inputs import Inputs
from surrogates.options import option, options
from surrogates.threads import one_thread

_MANY = 50  # with more rows chains take no longer than tempering, with many far less


@options
class Options(bayesian.Options, smc.Options):
    """The model, and how its hyperparameters are drawn."""

    particles: int = option(default=256, help="of the sampler", low=16, high=1_000_000)
    begin: str = option(
        default="auto",
        help="particles of the first fit: tempered from the prior; the posterior's own, by chains "
        "of HMC; or what is sooner done, chains from 51 rows on",
        choices=("auto", "prior", "chains"),
    )
    carried_moves: int = option(
        default=6, help="most trajectories of a stage from an earlier fit", low=1, high=100_000
    )


@one_thread()
def fit(
    train_X: Float[Tensor, "n d"],
    train_Y: Float[Tensor, "n m"],
    train_Yvar: Float[Tensor, "n m"] | None = None,
    *,
    inputs: Inputs,
    options: Options,
    generator: Generator | None = None,
    warm_start: State | None = None,
) -> MixtureGP:
    """Draw the hyperparameters (see `surrogates.contract.Fit`); diagnostics are the engine's.

    `state` holds the particles and the rows of their density. Without particles that once came from
    the prior there is no `log_normaliser`.
    """
    problem = Problem(train_X, train_Y, train_Yvar, inputs, options, generator)
    told = problem.carried(warm_start)
    before = _before(problem, told, options.particles)
    by_chains = options.begin == "chains" or (options.begin == "auto" and len(train_X) > _MANY)
    from_prior = bool(told.get("from_prior", True)) if before is not None else not by_chains
    if before is None and by_chains:
        draws, state = _by_chains(problem, options.particles)
    elif before is None:
        first = problem.prior.sample(options.particles, problem.generator, problem.exact.X)
        state = smc.init(problem.prior, first)
        draws, state = smc.run(
            problem.prior, problem.density, state, options=options, generator=problem.generator
        )
    else:
        state = smc.State.from_json(told["particles"], before, problem.exact.X)
        own = dataclasses.replace(options, most_moves=options.carried_moves)
        draws, state = smc.run(
            before, problem.density, state, options=own, generator=problem.generator
        )
    kept = {"particles": state.to_json(), "rows": _rows(problem), "from_prior": from_prior}
    model = problem.model(draws, kept)
    if not from_prior:
        for name in ("log_normaliser", "log_normaliser_sd"):
            model.diagnostics.pop(name, None)
    return model


def _by_chains(problem: Problem, particles: int) -> tuple[Draws, smc.State]:
    """Draws of the posterior as `gp-hmc` makes them, and as many of them as there are particles."""
    how = gp_hmc.Options()
    least = math.ceil(particles / how.chains)
    how = dataclasses.replace(
        how,
        draws=max(how.draws, least),
        most_draws=max(how.most_draws, least),
        ess=max(how.ess, particles / 2),
    )
    chains, _ = problem.chains(how.chains, None)
    draws, _ = hmc.run(problem.density, chains, options=how, generator=problem.generator)
    drawn = draws.x.flatten(0, 1)
    place = torch.linspace(0, len(drawn) - 1, particles, dtype=torch.float64, device="cpu")
    some = drawn[place.round().to(dtype=torch.int64, device=drawn.device)]
    return draws, smc.init(problem.density, some)


def _rows(problem: Problem) -> list[list[Any]]:
    """Each row's columns (their checksum), outcome and known variance as the density has them."""
    data = problem.exact
    noise = [None] * len(data.y) if data.noise is None else data.noise.tolist()
    return [list(row) for row in zip(_sums(data.X), data.y.tolist(), noise, strict=True)]


def _before(problem: Problem, told: State, particles: int) -> Hyperposterior | None:
    """The density of the fit before, if that had rows of these and hyperparameters as many."""
    if "rows" not in told or len(told["particles"]["x"]) != particles:
        return None
    data = problem.exact
    known = (told["rows"][0][2] is None) == (data.noise is None)
    if not known or len(told["particles"]["factor"]) != data.dim:
        return None
    places: dict[int, list[int]] = {}
    for place, told_sum in enumerate(_sums(data.X)):
        places.setdefault(told_sum, []).append(place)
    found: list[int] = []
    for row in told["rows"]:
        if not places.get(row[0]):
            return None
        found.append(places[row[0]].pop(0))
    where: dict[str, Any] = {"dtype": data.X.dtype, "device": data.X.device}
    noise = None
    if data.noise is not None:
        noise = torch.tensor([row[2] for row in told["rows"]], **where)
    y = torch.tensor([row[1] for row in told["rows"]], **where)
    old = dataclasses.replace(data, X=data.X[found], y=y, noise=noise)
    return Hyperposterior(old, problem.prior)


def _sums(X: Tensor) -> list[int]:
    return [zlib.crc32(row.tobytes()) for row in X.cpu().numpy()]
