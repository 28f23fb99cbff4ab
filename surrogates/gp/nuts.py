"""Fully Bayesian Gaussian process: hyperparameters by the No-U-Turn sampler.

Lalchand & Rasmussen (2020), "Approximate Inference for Fully Bayesian Gaussian Process Regression".
The engine is `surrogates/inference/nuts.py`; density and priors are `hyperposterior` and
`hyperpriors`, the model of the draws is `mixture`.

Departs from the paper: chains are whitened by the Laplace approximation, then by their own
covariance; chains, metric and step size are carried from one fit to the next.
"""

import dataclasses

from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.contract import State
from surrogates.gp import bayesian
from surrogates.gp.bayesian import Problem
from surrogates.gp.mixture import MixtureGP
from surrogates.inference import nuts
from surrogates.inference.chains import pooled_factor
from surrogates.inputs import Inputs
from surrogates.options import option, options
from surrogates.threads import one_thread


@options
class Options(bayesian.Options, nuts.Options):
    """The model, and how its hyperparameters are drawn."""

    chains: int = option(default=16, help="chains, all in one call", low=2, high=100_000)
    sd_error: float = option(
        default=0.15, help="and the relative error of every standard deviation below", low=0.0
    )
    rewarm: int = option(
        default=10, help="trajectories of the warm-up from an earlier fit", low=0, high=100_000
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

    `state` holds where the chains are, their metric and their step size.
    """
    problem = Problem(train_X, train_Y, train_Yvar, inputs, options, generator)
    state, warm = problem.chains(options.chains, warm_start)
    own = dataclasses.replace(options, warmup=options.rewarm) if warm else options
    draws, state = nuts.run(problem.density, state, options=own, generator=problem.generator)
    metric = pooled_factor(draws.x.flatten(0, 1), state.factor)  # of all draws, for the next fit
    state = dataclasses.replace(state, factor=metric)
    return problem.model(draws, {"chains": state.to_json()})
