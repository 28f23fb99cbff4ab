"""Gaussian process with the likeliest hyperparameters, under any prior of `hyperpriors`.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning", section 5.4.1: the mode of
the posterior of the logarithms (MAP) or, with `prior=flat`, of the marginal likelihood (type II
maximum likelihood, ML-II). It is the point estimate that the fully Bayesian surrogates beside it
replace: their density, their model with a single draw. For optimisation take `gp-map`, which is
faster and has the output transforms and warps that pay there.

The mode is the best of L-BFGS runs from draws of the prior (of `moderate` where it is flat) and
from the mode of an earlier fit.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.contract import State
from surrogates.gp import bayesian, hyperpriors
from surrogates.gp.bayesian import Problem
from surrogates.gp.mixture import MixtureGP
from surrogates.inference import laplace
from surrogates.inference.contract import Draws
from surrogates.inputs import Inputs
from surrogates.options import option, options
from surrogates.threads import one_thread


@options
class Options(bayesian.Options):
    """The model, and how the mode is sought."""

    prior: str = option(
        default="moderate",
        help="of the hyperparameters; flat: maximum likelihood",
        choices=(*hyperpriors.NAMES, hyperpriors.FLAT),
    )
    starts: int = option(default=5, help="of the search", low=1, high=10_000)
    max_iterations: int = option(default=200, help="of L-BFGS per start", low=1, high=100_000)


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
    """Find the mode (see `surrogates.contract.Fit`); `log_density` is that of the posterior there.

    `state` holds the mode.
    """
    problem = Problem(train_X, train_Y, train_Yvar, inputs, options, generator)
    starts = problem.searches(warm_start, options.starts)
    found = laplace.init(
        problem.density, starts, laplace.Options(max_iterations=options.max_iterations)
    )
    mode = found.mode.reshape(1, 1, -1)
    value = torch.tensor([[found.value]], dtype=mode.dtype, device=mode.device)
    draws = Draws(mode, value, None, {"log_density": found.value})
    return problem.model(draws, {"mode": found.mode.tolist()})
